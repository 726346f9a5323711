//! Why a value does not fit: where, by which keyword, and what was expected. Never the value: not
//! its texts, nor the names of properties that the schema does not know, which are data too.

use std::fmt;
use std::sync::Arc;

use crate::bounds::VIOLATION_TEXT_BYTES_MAX;

/// A step into a value, from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A property that the schema names.
    Named(Arc<str>),
    Index(usize),
    /// A property that it does not name.
    Other,
}

/// A violation as it is found: its steps from the inside out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) steps: Vec<Step>,
    pub(super) keyword: &'static str,
    pub(super) expected: String,
}

/// The first demand of a schema that a value does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// Where, as a JSON pointer; `*` stands for the name of a property that the schema does not
    /// name. Empty: the value itself.
    pub pointer: String,
    /// The keyword of the schema.
    pub keyword: &'static str,
    /// What was expected there.
    pub expected: String,
}

impl Fault {
    #[cold]
    pub(super) fn new(keyword: &'static str, expected: String) -> Box<Self> {
        Box::new(Self { steps: Vec::new(), keyword, expected })
    }

    /// The same, seen from one level further out.
    #[cold]
    pub(super) fn inside(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }
}

impl Violation {
    pub(super) fn new(fault: Fault) -> Self {
        let mut pointer = String::new();
        for step in fault.steps.iter().rev() {
            pointer.push('/');
            match step {
                Step::Named(name) => pointer.push_str(&escaped(name)),
                Step::Index(index) => pointer.push_str(&index.to_string()),
                Step::Other => pointer.push('*'),
            }
        }
        let bounded = |text| cut(text, VIOLATION_TEXT_BYTES_MAX);
        let (pointer, expected) = (bounded(pointer), bounded(fault.expected));
        Self { pointer, keyword: fault.keyword, expected }
    }
}

/// A name as a part of a JSON pointer (RFC 6901).
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A text of at most so many bytes, and a sign where something is left out.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, keyword, expected } = self;
        match &**pointer {
            "" => write!(f, "data itself: expected {expected} ({keyword})"),
            pointer => write!(f, "data at {pointer}: expected {expected} ({keyword})"),
        }
    }
}
