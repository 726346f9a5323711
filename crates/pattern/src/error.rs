//! Why a text is no pattern, and why a text is no event.

use crate::reader::DEPTH_MAX;

/// Why a text is no pattern: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}{}: {reason}", within(.path))]
pub struct PatternError {
    /// In bytes, from the beginning of the text.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The keys that lead there, with dots between them.
    pub path: String,
    pub reason: Reason,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    #[error("a pattern has at most {max} characters, this one has {chars}")]
    TooLong { chars: usize, max: usize },
    #[error("this is not JSON: expected {expected}")]
    NotJson { expected: &'static str },
    #[error("fields are nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("the alternatives of `$or`, multiplied, are more than {max}")]
    TooManyCombinations { max: usize },
    #[error("with its alternatives multiplied, the pattern asks for more than {max} things")]
    TooComplex { max: usize },
    #[error("a pattern is a JSON object")]
    NotAnObject,
    #[error("an object without fields asks for nothing")]
    EmptyObject,
    #[error("a list without values can never match")]
    EmptyList,
    #[error("a field takes a list of values, or an object with fields in it: put the value in []")]
    NotAList,
    #[error("a list holds texts, numbers, true, false, null and objects with one operator")]
    ListInList,
    #[error("an object in a list holds one operator, such as {{\"prefix\": \"a\"}}")]
    NoOperator,
    #[error("an object in a list holds one operator, and `{name}` is a second")]
    SecondOperator { name: String },
    #[error("there is no operator `{name}`")]
    UnknownOperator { name: String },
    #[error(
        "there is no operator `{name}`; and `$or` takes a list of at least two objects of fields, \
         none of which has an operator's name"
    )]
    NotAlternatives { name: String },
    #[error("`{operator}` takes {takes}")]
    Operand { operator: &'static str, takes: &'static str },
    #[error("`anything-but` takes texts or numbers, not both")]
    Mixed,
    #[error("`{operator}` of an empty text excludes every text")]
    ExcludesAll { operator: &'static str },
    #[error("no double holds this number exactly: EventBridge puts no others in order")]
    Inexact,
    #[error("a range has its lower bound first, and the upper one must be above it")]
    EmptyRange,
    #[error("`*` beside `*`, at character {index} of the text")]
    ConsecutiveWildcards { index: usize },
    #[error("a backslash stands before `*` or a backslash only, at character {index} of the text")]
    WildcardEscape { index: usize },
    #[error("a range of addresses has one `/`; for a single address, write it without an operator")]
    NoMask,
    #[error("that is no IP address")]
    NotAnAddress,
    #[error(
        "the mask is a number below {below}; for a single address, write it without an operator"
    )]
    Mask { below: u32 },
}

fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(", in `{path}`") }
}

/// Why a text is no event: no pattern matches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnEvent {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is not JSON: expected {expected} at byte {offset}")]
    NotJson { offset: usize, expected: &'static str },
    #[error("it is nested deeper than {DEPTH_MAX} levels at byte {offset}")]
    TooDeep { offset: usize },
    #[error("it is JSON, and not an object")]
    NotAnObject,
}
