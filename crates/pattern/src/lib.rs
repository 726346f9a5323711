//! EventBridge's event patterns: parsed once, then matched against JSON as it is read.
//!
//! ```
//! use dispatchd_pattern::Pattern;
//!
//! let pattern = Pattern::parse(
//!     r#"{"type": [{"prefix": "order"}], "total": [{"numeric": [">", 9]}]}"#,
//! )?;
//! assert_eq!(pattern.matches(r#"{"type": "order placed", "total": 250.5}"#), Ok(true));
//! # Ok::<(), dispatchd_pattern::PatternError>(())
//! ```
//!
//! # The language
//! A pattern is a JSON object of the form of the events: each of its fields must be in the event
//! with one of the values in its list, and whatever else the event has does not matter.
//!
//! | in a list | takes |
//! |---|---|
//! | `"text"`, `5`, `true`, `null` | that value; numbers by value (`5` is `5.0`), and no text is a number |
//! | `{"prefix": "a"}`, `{"suffix": "a"}` | texts that begin or end so; with `{"equals-ignore-case": "a"}` in the place of `"a"`, in any case |
//! | `{"equals-ignore-case": "a"}` | texts that are so in any case |
//! | `{"wildcard": "a*b"}` | texts, with `*` for any text; `\*` and `\\` are themselves |
//! | `{"numeric": [">", 0, "<=", 5]}` | numbers; `=`, `<`, `<=`, `>`, `>=`, or a lower bound before an upper one |
//! | `{"cidr": "10.0.0.0/8"}` | texts that are IP addresses of that range |
//! | `{"anything-but": …}` | any value but a text, a number, those of a list; or but texts with `prefix`, `suffix`, `wildcard` or `equals-ignore-case`, each of a text or a list of them |
//! | `{"exists": true}` | any value that is no object and no list |
//! | `{"exists": false}` | that the field is missing, or is an object or an empty list |
//!
//! - `"$or": [{…}, {…}]` among the fields: one of these objects of fields must hold as well.
//! - A list in an event matches if one of its elements does, however deep lists are in lists. What
//!   is asked of an object must hold for a single element, if the event has a list of objects. A
//!   field that has to be missing must be missing from that element if a field before it, in the
//!   order of paths, has chosen one, and from all of them otherwise.
//! - A key with dots is a path: `{"a.b": [1]}` and `{"a": {"b": [1]}}` are the same, in patterns
//!   and in events. A key that comes twice counts twice in an event; in a pattern its last list
//!   counts.
//!
//! # Where it differs from event-ruler
//! EventBridge's matcher is open source: event-ruler, which 322 cases of the tests are compared
//! with (version 2.0.1). These are known to differ, on purpose:
//!
//! - A number of an event is compared exactly, however many digits it has. event-ruler compares
//!   numbers that no double holds by the way they are written.
//! - Case is ignored character by character: `ß` is not `SS`.
//! - An address with zeros in front (`010.0.0.1`) is none: whether it is octal depends on who reads
//!   it.
//! - A list with a wildcard that begins with `*`, and behind it `equals-ignore-case` of one
//!   character, takes what one of both takes. event-ruler takes every text.
//! - Nothing may follow the event or the pattern in its text.
//! - Where a field stands beside an `$or` and in it, both of its lists must take a value.
//!   event-ruler forgets the first of them.
//! - Where a field stands in several alternatives of an `$or`, each of its lists takes what it
//!   takes alone. event-ruler may miss an event if they share a value.
//! - Objects and lists are in each other 128 deep at most.
//! - A pattern that comes to more than 1,000 combinations is refused, as EventBridge does.
//!
//! # What it costs
//! An event is read once, and once for all patterns that [`Pattern::any_of`] makes one. What is
//! allocated for it grows with what the pattern asks for, and not with the event.
//!
//! The time grows with the bytes of the event, each of them multiplied by no more than what the
//! pattern asks for: a text or a number is looked at once by each test of its field, whatever stars
//! the test has; and an object asks once whether each combination of alternatives holds for it. A
//! pattern has 4,096 characters at most, comes to 1,000 combinations of its alternatives at most,
//! and these to 65,536 conditions.

mod cidr;
mod clauses;
mod error;
mod literal;
mod number;
mod reader;
mod syntax;
mod test;
mod text;
mod tree;
mod walk;
mod wildcard;

pub use error::{NotAnEvent, PatternError, Reason};
pub use walk::Member;

use tree::Tree;

/// A pattern that events are matched with.
#[derive(Debug, Clone)]
pub struct Pattern(Tree);

impl Pattern {
    /// # Errors
    /// If the text is no pattern; the error says where and why.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let scope = syntax::parse(text)?;
        let tree = clauses::clauses(&scope).and_then(|clauses| Tree::new(&clauses));
        tree.map(Self).map_err(|reason| PatternError::at(text, 0, "", reason))
    }

    /// The pattern that takes what one of these takes, and reads an event once for all of them.
    #[must_use]
    pub fn any_of(patterns: impl IntoIterator<Item = Self>) -> Self {
        Self(Tree::of_all(patterns.into_iter().map(|pattern| pattern.0)))
    }

    /// Whether an event, a JSON object, matches.
    ///
    /// # Errors
    /// If it is no event.
    pub fn matches(&self, event: impl AsRef<[u8]>) -> Result<bool, NotAnEvent> {
        walk::matches(&self.0, event.as_ref())
    }

    /// Whether an object of these members matches, which nobody has to write as one.
    ///
    /// # Errors
    /// If one of them is not JSON.
    pub fn matches_members(&self, members: &[(&str, Member<'_>)]) -> Result<bool, NotAnEvent> {
        walk::matches_members(&self.0, members)
    }
}
