//! The events of an array: each is read once, where it stands, and in the order that they have.
//! What an event is, is not known here: [`Element`] reads it.
//!
//! The array is gone through as a whole before any of its events is looked at, so that a text that
//! breaks off is known for one. What was read of the first events is kept; how much is bounded, and
//! the events behind those are read again when it is their turn.

use super::split::{byte_at, skip_space};
use crate::limits::REQUEST_EVENTS_MAX;

/// How many events are kept as they were read.
pub(super) const KEPT_MAX: usize = 500;

/// An event that stands in an array.
pub trait Element<'a>: Sized {
    /// Reads the event that begins at this byte. Gives it and where it ends. `None` where nothing
    /// begins, or the text ends before it.
    fn read(array: &'a str, from: usize) -> Option<(Self, usize)>;

    /// Whether it is an object that could be read.
    fn is_object(&self) -> bool;
}

/// The events of an array that was gone through.
#[derive(Debug)]
pub struct Members<'a, E> {
    json: &'a str,
    kept: Vec<E>,
    /// Where the first event stands that is not kept.
    rest: usize,
    len: usize,
    are_objects: bool,
}

/// Why an array's events are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMembers {
    /// There is no array, or it breaks off.
    Broken,
    /// The array has more than [`REQUEST_EVENTS_MAX`] events.
    TooMany,
}

impl<'a, E: Element<'a>> Members<'a, E> {
    /// Reads the events of the array that begins at this byte. Gives them and where the array ends.
    ///
    /// # Errors
    /// There is no array, it breaks off, or it has too many events.
    pub(super) fn read(json: &'a str, from: usize) -> Result<(Self, usize), NoMembers> {
        let mut at = match byte_at(json, from) {
            Some(b'[') => skip_space(json, from + 1),
            _ => return Err(NoMembers::Broken),
        };
        let mut members = Self { json, kept: Vec::new(), rest: at, len: 0, are_objects: true };
        if byte_at(json, at) == Some(b']') {
            return Ok((members, at + 1));
        }
        loop {
            let (member, end) = E::read(json, at).ok_or(NoMembers::Broken)?;
            members.are_objects &= member.is_object();
            members.len += 1;
            let (after, next) = following(json, end);
            if members.kept.len() < KEPT_MAX {
                members.kept.push(member);
                members.rest = next;
            }
            match after {
                Some(b',') if members.len == REQUEST_EVENTS_MAX => return Err(NoMembers::TooMany),
                Some(b',') => at = next,
                Some(b']') => return Ok((members, next)),
                _ => return Err(NoMembers::Broken),
            }
        }
    }

    /// Reads the events of an array that is all of the text, white space aside.
    ///
    /// # Errors
    /// There is no array, it breaks off, or it has too many events.
    pub fn alone(json: &'a str) -> Result<Self, NoMembers> {
        let (members, end) = Self::read(json, skip_space(json, 0))?;
        if skip_space(json, end) == json.len() { Ok(members) } else { Err(NoMembers::Broken) }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether each of them could be read as an object.
    pub fn are_objects(&self) -> bool {
        self.are_objects
    }

    /// What is made of each event, in their order. `make` is told its index too.
    pub fn each<T>(&self, make: impl Fn(&E, u64) -> T) -> impl Iterator<Item = T> {
        let mut at = self.rest;
        (0..self.len).map(move |index| match self.kept.get(index) {
            Some(member) => make(member, index as u64),
            None => {
                let (member, end) = E::read(self.json, at).expect("it was read before");
                at = following(self.json, end).1;
                make(&member, index as u64)
            }
        })
    }
}

/// The byte behind a value, white space aside, and where what follows that byte begins.
fn following(json: &str, end: usize) -> (Option<u8>, usize) {
    let after = skip_space(json, end);
    let byte = byte_at(json, after);
    let next = if byte == Some(b',') { skip_space(json, after + 1) } else { after + 1 };
    (byte, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ndjson::request::Members;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn texts(json: &str) -> Result<Vec<&str>, NoMembers> {
        let members = Members::alone(json)?;
        let found: Vec<_> = members.each(|member, _| member.json()).collect();
        assert_eq!(found.len(), members.len());
        Ok(found)
    }

    #[test]
    fn members_are_found_whatever_stands_in_them() {
        let array = r#"[ {"a":[1,"],\"}"]} , "x,\\", -1.5e3,null,[ ],{} ]"#;
        let expected = [r#"{"a":[1,"],\"}"]}"#, r#""x,\\""#, "-1.5e3", "null", "[ ]", "{}"];
        assert_eq!(texts(array).as_deref(), Ok(&expected[..]));
        assert_eq!(texts("[ ]"), Ok(vec![]));
        for none in ["", "{}", "[", "[1", "[,]", "[1,]", "[1 2]", "[1]x", "[\"]", "[\"\\\"]"] {
            assert_eq!(texts(none), Err(NoMembers::Broken), "{none}");
        }
    }

    #[test]
    fn those_that_are_not_kept_are_read_again_in_their_place() {
        let events: Vec<_> = (0..KEPT_MAX + 3).map(|n| format!("{{\"ref\":{n}}}")).collect();
        let array = format!("x[ {} ]y", events.join(" , "));
        let (members, end) = Members::read(&array, 1).expect("it is one");
        assert_eq!((members.len(), end), (events.len(), array.len() - 1));
        assert_eq!(members.kept.len(), KEPT_MAX);
        let indices = 0..events.len() as u64;
        for _ in 0..2 {
            let again = members.each(|member, index| (member.json(), index));
            assert!(again.eq(events.iter().map(String::as_str).zip(indices.clone())));
        }
    }

    #[test]
    fn no_more_are_read_than_a_request_may_hold() {
        let array = |events: usize| format!("[0{}]", ",0".repeat(events - 1));
        let most = array(REQUEST_EVENTS_MAX);
        assert_eq!(texts(&most).map(|found| found.len()), Ok(REQUEST_EVENTS_MAX));
        assert_eq!(texts(&array(REQUEST_EVENTS_MAX + 1)), Err(NoMembers::TooMany));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_of_json_they_are_the_members_that_serde_finds(
            text in r#"\[[\[\]{},:"\\ ae1]{0,24}\]"#,
        ) {
            let found = texts(&text);
            if let Ok(read) = serde_json::from_str::<Vec<&RawValue>>(&text) {
                let read: Vec<_> = read.iter().map(|member| member.get()).collect();
                prop_assert_eq!(found, Ok(read));
            }
        }
    }
}
