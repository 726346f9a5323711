//! `send --schema`: events are checked by the schemas of a folder before they are sent, as a daemon
//! with `schema.mode = "enforce"` and `schema.unknown = "reject"` would. The line that does not fit
//! ends the input: it is not sent, nor is what follows it.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::schema::Loaded;

/// Why an event is not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misfit {
    #[error("there is no schema for the type {0}")]
    NoSchema(String),
    #[error("{event_type}: {violation}")]
    Violation { event_type: String, violation: dispatchd_schema::compiled::Violation },
}

/// Checks an event's data.
pub(super) fn check(schemas: &Loaded, event_type: &str, data: &str) -> Result<(), Misfit> {
    let schema = schemas.schema(event_type);
    let schema = schema.ok_or_else(|| Misfit::NoSchema(event_type.to_owned()))?;
    let event_type = || event_type.to_owned();
    schema
        .validate(data)
        .map_err(|violation| Misfit::Violation { event_type: event_type(), violation })
}

/// Lines of the protocol, each of which is read on once its events were checked.
#[derive(Debug)]
pub(super) struct Checked<R> {
    lines: R,
    schemas: Loaded,
    /// The number of the line that is read on.
    number: u64,
    line: Vec<u8>,
    taken: usize,
}

/// What of a line is looked at. What is no such line is the daemon's to refuse.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Of the control line `batch`.
    #[serde(borrow, default)]
    events: Vec<Line<'a>>,
}

impl<R: BufRead> Checked<R> {
    pub(super) fn new(lines: R, schemas: Loaded) -> Self {
        Self { lines, schemas, number: 0, line: Vec::new(), taken: 0 }
    }

    fn next_line(&mut self) -> io::Result<()> {
        self.line.clear();
        self.taken = 0;
        self.number += 1;
        self.lines.read_until(b'\n', &mut self.line)?;
        let read = serde_json::from_slice::<Line<'_>>(&self.line);
        let checked = read.map_or(Ok(()), |line| line.check(&self.schemas));
        checked.map_err(|misfit| {
            self.line.clear();
            let what = format!("line {}, which is not sent: {misfit}", self.number);
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }
}

impl Line<'_> {
    fn check(&self, schemas: &Loaded) -> Result<(), Misfit> {
        if let (Some(event_type), Some(data)) = (&self.event_type, self.data) {
            check(schemas, event_type, data.get())?;
        }
        self.events.iter().try_for_each(|event| event.check(schemas))
    }
}

impl<R: BufRead> Read for Checked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.line.len() {
            self.next_line()?;
        }
        let mut rest = &self.line[self.taken..];
        let read = rest.read(buf)?;
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas() -> Loaded {
        let folder = tempfile::tempdir().expect("there is room");
        let schema = r#"{"properties": {"id": {"type": "integer"}}}"#;
        std::fs::write(folder.path().join("Order.schema.json"), schema).expect("there is room");
        Loaded::of(folder.path()).expect("it is a schema")
    }

    /// What is read of lines, and why it ends.
    fn read(lines: &str) -> (String, String) {
        let mut text = Vec::new();
        let ended = Checked::new(lines.as_bytes(), schemas()).read_to_end(&mut text);
        let why = ended.err().map(|error| error.to_string()).unwrap_or_default();
        (String::from_utf8(text).expect("lines are text"), why)
    }

    /// What could go wrong: an event that does not fit is sent, or one before it is not.
    #[test]
    fn lines_are_read_up_to_the_first_that_does_not_fit() {
        let right = "{\"type\":\"Order\",\"data\":{\"id\":1}}\n";
        let others = "{\"op\":\"hello\"}\n\nno JSON\n{\"dataBase64\":\"AA==\"}\n";
        let fitting = right.to_owned() + others + right;
        assert_eq!(read(&fitting), (fitting.clone(), String::new()));
        let ends = |line: &str| read(&(fitting.clone() + line + "\n" + right));
        for (line, why) in [
            (r#"{"data":{"id":"secret"},"type":"Order"}"#, "Order: data at /id: expected integer"),
            (r#"{"type":"Odrer","data":{}}"#, "there is no schema for the type Odrer"),
            (
                r#"{"op":"batch","events":[{"type":"Order","data":{"id":null}}]}"#,
                "Order: data at /id: expected integer",
            ),
        ] {
            let (text, said) = ends(line);
            assert_eq!(text, fitting);
            assert!(said.starts_with(&format!("line 7, which is not sent: {why}")), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
