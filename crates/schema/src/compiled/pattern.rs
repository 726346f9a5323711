//! A regular expression → an automaton, which reads each byte of a text once, whatever the pattern
//! and the text are. What would become a large one is refused when the schema is loaded.
//!
//! `\d`, `\w`, `\s` and `\b` mean what they do in ECMA-262, by which JSON Schema reads patterns: a
//! digit is one of ASCII's.

use std::fmt;

use regex_automata::dfa::dense::{self, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input};
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassBracketed, ClassPerl, ClassPerlKind, ClassSet, ClassSetItem,
};
use regex_syntax::hir::Hir;
use regex_syntax::hir::translate::Translator;

use crate::bounds::{PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX};

/// A regular expression, with its text.
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    automaton: DFA<Vec<u32>>,
}

impl Pattern {
    /// # Errors
    /// If it is none, or would be large, in words.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "a pattern of {} bytes, it may have {PATTERN_BYTES_MAX}",
                text.len()
            ));
        }
        let automaton = automaton(text).map_err(|why| format!("pattern {text}: {why}"))?;
        Ok(Self { text: text.into(), automaton })
    }

    /// Whether it is found anywhere in the text.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        let found = self.automaton.try_search_fwd(&input);
        found.expect("it was built for this search, and gives up at no byte").is_some()
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.automaton.memory_usage()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Pattern").field(&self.text).finish()
    }
}

fn automaton(text: &str) -> Result<DFA<Vec<u32>>, String> {
    let steps = thompson::Config::new()
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(PATTERN_COMPILED_BYTES_MAX));
    let steps = thompson::Compiler::new().configure(steps).build_from_hir(&expression(text)?);
    let steps = steps.map_err(|error| told(error.size_limit().is_some(), &error))?;
    let config = dense::Config::new()
        .start_kind(StartKind::Unanchored)
        .accelerate(false)
        .dfa_size_limit(Some(PATTERN_COMPILED_BYTES_MAX))
        .determinize_size_limit(Some(PATTERN_COMPILED_BYTES_MAX));
    let built = dense::Builder::new().configure(config).build_from_nfa(&steps);
    built.map_err(|error| told(error.is_size_limit_exceeded(), &error))
}

fn told(is_large: bool, error: &dyn std::error::Error) -> String {
    if is_large {
        return format!(
            "it would take more than {PATTERN_COMPILED_BYTES_MAX} bytes compiled. A length is \
             bounded by maxLength, not by a count of repetitions"
        );
    }
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn expression(text: &str) -> Result<Hir, String> {
    let mut ast = Parser::new().parse(text).map_err(|error| error.kind().to_string())?;
    read_as_ecma(&mut ast);
    Translator::new().translate(text, &ast).map_err(|error| error.kind().to_string())
}

/// The parser bounds how deep it goes.
fn read_as_ecma(ast: &mut Ast) {
    match ast {
        Ast::ClassPerl(class) => *ast = Ast::class_bracketed(ecma_class(class)),
        Ast::ClassBracketed(class) => read_set_as_ecma(&mut class.kind),
        Ast::Assertion(assertion) => match assertion.kind {
            AssertionKind::WordBoundary => *ast = constant(r"(?-u:\b)"),
            AssertionKind::NotWordBoundary => *ast = constant(r"(?-u:\B)"),
            _ => {}
        },
        Ast::Repetition(repetition) => read_as_ecma(&mut repetition.ast),
        Ast::Group(group) => read_as_ecma(&mut group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter_mut().for_each(read_as_ecma),
        Ast::Concat(concat) => concat.asts.iter_mut().for_each(read_as_ecma),
        Ast::Empty(_) | Ast::Flags(_) | Ast::Literal(_) | Ast::Dot(_) | Ast::ClassUnicode(_) => {}
    }
}

fn read_set_as_ecma(set: &mut ClassSet) {
    match set {
        ClassSet::Item(item) => read_item_as_ecma(item),
        ClassSet::BinaryOp(operation) => {
            read_set_as_ecma(&mut operation.lhs);
            read_set_as_ecma(&mut operation.rhs);
        }
    }
}

fn read_item_as_ecma(item: &mut ClassSetItem) {
    match item {
        ClassSetItem::Perl(class) => *item = ClassSetItem::Bracketed(Box::new(ecma_class(class))),
        ClassSetItem::Bracketed(class) => read_set_as_ecma(&mut class.kind),
        ClassSetItem::Union(union) => union.items.iter_mut().for_each(read_item_as_ecma),
        _ => {}
    }
}

/// White space and line terminators of ECMA-262, Unicode's among them.
const SPACE: &str = concat!(
    r"[\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}",
    r"\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}]"
);

fn ecma_class(class: &ClassPerl) -> ClassBracketed {
    let text = match class.kind {
        ClassPerlKind::Digit => "[0-9]",
        ClassPerlKind::Word => "[0-9A-Za-z_]",
        ClassPerlKind::Space => SPACE,
    };
    let Ast::ClassBracketed(ecma) = &constant(text) else { unreachable!("each of them is one") };
    ClassBracketed { negated: class.negated, ..(**ecma).clone() }
}

fn constant(text: &str) -> Ast {
    Parser::new().parse(text).expect("it is an expression")
}
