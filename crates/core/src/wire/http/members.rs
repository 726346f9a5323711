//! The events of a body: an array's members, or lines. How many there are is bounded before any
//! memory is taken for them; what they say is not looked at.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::Problem;
use crate::limits::REQUEST_EVENTS_MAX;
use crate::model::{Code, Refusal};
use crate::wire::ndjson::request::Members;

/// The lines of a body that are not blank. The last one needs no line end: the body's length says
/// where it ends.
#[derive(Debug, Clone)]
pub struct Lines<'a>(&'a [u8]);

/// Reads a JSON array of events.
///
/// # Errors
/// As [`members`].
pub fn events(json: &str) -> Result<Members<'_>, Problem> {
    let read = Members::alone(json);
    if !read.as_ref().is_ok_and(Members::are_objects) {
        members(json)?; // one event may be wrong, or the whole is no JSON
    }
    read.map_err(|_| invalid("the body is not an array of JSON".to_owned()))
}

/// Reads a JSON array, as the texts of its members.
///
/// # Errors
/// It is no array of JSON, or has too many members.
pub fn members(json: &str) -> Result<Vec<&RawValue>, Problem> {
    if !json.trim_ascii_start().starts_with('[') {
        return Err(invalid("the body is not an array".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let members =
        reader.deserialize_seq(ArrayVisitor).and_then(|found| reader.end().map(|()| found));
    match members {
        Ok(members) if members.len() > REQUEST_EVENTS_MAX => Err(too_many()),
        Ok(members) => Ok(members),
        // serde's own words name the place, never the text that was found there.
        Err(error) if error.is_data() => Err(too_many()),
        Err(error) => Err(invalid(format!("the body is not JSON: {error}"))),
    }
}

impl<'a> Lines<'a> {
    /// The lines of this body.
    ///
    /// # Errors
    /// There are too many.
    pub fn of(body: &'a [u8]) -> Result<Self, Problem> {
        let lines = Self(body);
        if lines.clone().count() > REQUEST_EVENTS_MAX { Err(too_many()) } else { Ok(lines) }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = memchr::memchr(b'\n', self.0).unwrap_or(self.0.len());
            let line = &self.0[..end];
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if !line.trim_ascii().is_empty() {
                return Some(line.strip_suffix(b"\r").unwrap_or(line));
            }
        }
        None
    }
}

struct ArrayVisitor;

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = array.next_element()? {
            if members.len() == REQUEST_EVENTS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            members.push(member);
        }
        Ok(members)
    }
}

fn too_many() -> Problem {
    let message =
        format!("a request holds at most {REQUEST_EVENTS_MAX} events: send these in several");
    Refusal::new(Code::EventTooLarge, message).into()
}

fn invalid(message: String) -> Problem {
    Refusal::new(Code::InvalidRequest, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_an_array_are_its_texts() {
        let texts = |json| members(json).map(|found| found.iter().map(|raw| raw.get()).collect());
        assert_eq!(texts(" [ {\"a\" : 1}, 7,\"x\" ]\n"), Ok(vec!["{\"a\" : 1}", "7", "\"x\""]));
        assert_eq!(texts("[]"), Ok(Vec::new()));
        for json in ["{}", "", "[1", "[1] 2", "[1,]"] {
            assert_eq!(texts(json).expect_err(json).status, 400, "{json}");
        }
    }

    #[test]
    fn events_are_read_unless_the_whole_is_no_json() {
        let texts = |json| {
            events(json).map(|found| found.each(|event, _| event.json()).collect::<Vec<_>>())
        };
        let array = r#" [ {"type":"t","data":{}} , 7, {"type":"t","type":"t"}, {"\ud800":1} ] "#;
        let read = members(array).expect("it is JSON");
        assert_eq!(texts(array), Ok(read.iter().map(|raw| raw.get()).collect()));
        assert_eq!(texts("[]"), Ok(Vec::new()));
        for none in ["{}", "", "\x0c[]", "[{}", "[{}] 2", "[{},]", "[{\"a\":h},{}]", "[h]"] {
            let problem = events(none).expect_err(none);
            assert_eq!(Err(problem), members(none).map(drop), "{none}");
        }
        let many = format!("[{{}}{}]", ",{}".repeat(REQUEST_EVENTS_MAX));
        assert_eq!(events(&many).expect_err("one more").status, 413);
    }

    #[test]
    fn lines_are_counted_without_the_blank_ones_and_the_last_one_needs_no_end() {
        let lines: Vec<_> = Lines::of(b"a\r\n\n \r\nb").expect("two").collect();
        assert_eq!(lines, [b"a", b"b"]);
        assert_eq!(Lines::of(b"").expect("none").count(), 0);
        assert_eq!(Lines::of(b"\n\n").expect("none").count(), 0);
    }

    #[test]
    fn more_events_than_a_request_may_hold_are_refused_as_too_large() {
        let at_most = "[".to_owned() + &"0,".repeat(REQUEST_EVENTS_MAX - 1) + "0]";
        assert_eq!(members(&at_most).expect("just as many").len(), REQUEST_EVENTS_MAX);
        let more = at_most.replace(']', ",0]");
        assert_eq!(members(&more).expect_err("one more").status, 413);
        let lines = "x\n".repeat(REQUEST_EVENTS_MAX);
        assert!(Lines::of(lines.as_bytes()).is_ok());
        let more = lines + "x";
        assert_eq!(Lines::of(more.as_bytes()).expect_err("one more").status, 413);
    }
}
