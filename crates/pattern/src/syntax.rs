//! Reads the text of a pattern: which fields it names, and what each may be. It decides what is a
//! pattern, and never looks at an event.

mod operators;

use std::collections::BTreeMap;

use crate::error::{PatternError, Reason};
use crate::literal::{Literal, Place};
use crate::number::Number;
use crate::reader::{DEPTH_MAX, Flaw, ReadError, Reader, Scalar, Value};
use crate::test::Test;

/// Characters of a pattern, as EventBridge counts them.
const CHARS_MAX: usize = 4096;

const OR: &str = "$or";

/// Names that event-ruler keeps for operators: an object in `$or` that has one of them is none of
/// its alternatives.
const RESERVED: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// What must hold together: each field's list, and one alternative of each `$or`.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// By path: the keys that lead there, with dots between them. A dot in a key is no other dot.
    pub(crate) fields: BTreeMap<String, Field>,
    /// Wherever it stands: its fields have whole paths.
    pub(crate) ors: Vec<Vec<Scope>>,
}

/// What a field may be: any of the tests will do, or that it is missing.
#[derive(Debug, Default)]
pub(crate) struct Field {
    pub(crate) tests: Vec<Test>,
    pub(crate) may_be_absent: bool,
}

/// Reads a pattern.
pub(crate) fn parse(text: &str) -> Result<Scope, PatternError> {
    let chars = text.chars().count();
    if chars > CHARS_MAX {
        return Err(PatternError::at(text, 0, "", Reason::TooLong { chars, max: CHARS_MAX }));
    }
    let mut parser = Parser { reader: Reader::new(text) };
    parser.pattern().map_err(|Fault { offset, path, reason }| {
        PatternError::at(text, offset, &path.unwrap_or_default(), reason)
    })
}

impl PatternError {
    pub(crate) fn at(text: &str, offset: usize, path: &str, reason: Reason) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or(before);
        Self {
            offset,
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            path: path.to_owned(),
            reason,
        }
    }
}

/// A reason and its place, before the text is looked at for lines.
struct Fault {
    offset: usize,
    /// Filled in by the innermost field around it.
    path: Option<String>,
    reason: Reason,
}

impl From<ReadError> for Fault {
    fn from(ReadError { offset, flaw }: ReadError) -> Self {
        let reason = match flaw {
            Flaw::NotJson(expected) => Reason::NotJson { expected },
            Flaw::TooDeep => Reason::TooDeep,
        };
        Self { offset, path: None, reason }
    }
}

type Parsed<T> = Result<T, Fault>;

struct Parser<'a> {
    reader: Reader<'a>,
}

impl Parser<'_> {
    fn pattern(&mut self) -> Parsed<Scope> {
        let mut scope = Scope::default();
        match self.reader.value()? {
            Value::Object => self.fields(&mut scope, "")?,
            _ => return Err(self.fault(Reason::NotAnObject)),
        }
        self.reader.end()?;
        Ok(scope)
    }

    /// The members of an object that was just opened. `prefix` is what their paths begin with.
    fn fields(&mut self, scope: &mut Scope, prefix: &str) -> Parsed<()> {
        let mut is_empty = true;
        while let Some(key) = self.reader.key()? {
            is_empty = false;
            let key = key.decoded();
            let path = format!("{prefix}{key}");
            let read = if key == OR && self.are_alternatives()? {
                self.alternatives(scope, prefix)
            } else {
                self.field(scope, &path)
            };
            read.map_err(|fault| Fault { path: fault.path.or(Some(path)), ..fault })?;
        }
        if is_empty { Err(self.fault(Reason::EmptyObject)) } else { Ok(()) }
    }

    fn field(&mut self, scope: &mut Scope, path: &str) -> Parsed<()> {
        match self.reader.value()? {
            Value::Object => self.fields(scope, &format!("{path}.")),
            Value::Array if path.split('.').count() > DEPTH_MAX => Err(self.fault(Reason::TooDeep)),
            Value::Array => {
                let field = self.list(path)?;
                // Of two lists for one field the last counts.
                scope.fields.insert(path.to_owned(), field);
                Ok(())
            }
            Value::Scalar(_) => Err(self.fault(Reason::NotAList)),
        }
    }

    fn list(&mut self, path: &str) -> Parsed<Field> {
        let mut field = Field::default();
        let mut is_empty = true;
        while self.reader.element()? {
            is_empty = false;
            match self.reader.value()? {
                Value::Scalar(scalar) => field.tests.push(exactly(scalar)),
                Value::Object => self.operator(&mut field, path)?,
                Value::Array => return Err(self.fault(Reason::ListInList)),
            }
        }
        if is_empty { Err(self.fault(Reason::EmptyList)) } else { Ok(field) }
    }

    /// Whether `$or` has what makes it more than a field of that name: at least two objects, each
    /// with fields, none of which has the name of an operator. It looks ahead.
    fn are_alternatives(&self) -> Parsed<bool> {
        let mut ahead = self.reader;
        let Value::Array = ahead.value()? else { return Ok(false) };
        let mut count = 0;
        while ahead.element()? {
            let Value::Object = ahead.value()? else { return Ok(false) };
            let mut is_empty = true;
            while let Some(key) = ahead.key()? {
                if RESERVED.contains(&&*key.decoded()) {
                    return Ok(false);
                }
                is_empty = false;
                let value = ahead.value()?;
                ahead.skip(value)?;
            }
            if is_empty {
                return Ok(false);
            }
            count += 1;
        }
        Ok(count > 1)
    }

    fn alternatives(&mut self, scope: &mut Scope, prefix: &str) -> Parsed<()> {
        self.reader.value()?;
        let mut alternatives = Vec::new();
        while self.reader.element()? {
            self.reader.value()?;
            let mut alternative = Scope::default();
            self.fields(&mut alternative, prefix)?;
            alternatives.push(alternative);
        }
        scope.ors.push(alternatives);
        Ok(())
    }

    /// A fault of what was read last.
    fn fault(&self, reason: Reason) -> Fault {
        Fault { offset: self.reader.token_at(), path: None, reason }
    }
}

/// The test for a value that stands in the list as it is.
fn exactly(value: Scalar<'_>) -> Test {
    match value {
        Scalar::Text(text) => Test::Literal(Literal::new(text.decoded(), Place::Whole, false)),
        Scalar::Number(number) => Test::Number(Number::new(number)),
        Scalar::Bool(value) => Test::Bool(value),
        Scalar::Null => Test::Null,
    }
}
