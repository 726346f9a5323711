//! Reads a line of a child's standard output, as tolerantly as the KCL: null and missing are the
//! same, a number may stand where text is expected and the other way round, and the last of two
//! members of one name counts. A member that the KCL does not know makes the line none of its own.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Action;

/// What a child says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The child has done what it was told; `None` if it does not say what, or it is no action.
    Status(Option<Action>),
    Checkpoint(Asked),
}

/// The checkpoint that a child asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Text, whatever it holds: its answer repeats it. `None`: what was delivered last.
    pub sequence_number: Option<String>,
    pub sub_sequence_number: Option<i64>,
}

/// Why a line is no message for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// A line of white space: libraries write one before and after each message.
    Blank,
    /// A line that is no JSON object: what the processor printed.
    NotJson,
    /// An object that is no message for us, or one of the messages that we send.
    OtherAction,
    /// A message with a member that the protocol does not have, or a value that cannot be meant.
    UnknownMember,
}

/// Reads one line, with or without its line feed.
///
/// # Errors
/// Why the line is to be skipped.
pub fn read(line: &[u8]) -> Result<Message, Skipped> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Err(Skipped::Blank);
    }
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(line).map_err(|_| Skipped::NotJson)?;
    let action = members.get("action").and_then(|value| text(value).ok().flatten());
    match action.as_deref() {
        Some("status") => status(&members),
        Some("checkpoint") => checkpoint(&members),
        _ => Err(Skipped::OtherAction),
    }
}

fn status(members: &BTreeMap<String, &RawValue>) -> Result<Message, Skipped> {
    knows_only(members, &["action", "responseFor"])?;
    let name = members.get("responseFor").map(|value| text(value)).transpose()?.flatten();
    let action = name.and_then(|name| Action::ALL.into_iter().find(|action| action.name() == name));
    Ok(Message::Status(action))
}

fn checkpoint(members: &BTreeMap<String, &RawValue>) -> Result<Message, Skipped> {
    knows_only(members, &["action", "sequenceNumber", "subSequenceNumber", "error"])?;
    let member = |name| members.get(name).map(|value| text(value)).transpose();
    let sub = member("subSequenceNumber")?.flatten().filter(|text| !text.is_empty());
    Ok(Message::Checkpoint(Asked {
        sequence_number: member("sequenceNumber")?.flatten(),
        sub_sequence_number: sub
            .map(|text| text.parse().map_err(|_| Skipped::UnknownMember))
            .transpose()?,
    }))
}

fn knows_only(members: &BTreeMap<String, &RawValue>, known: &[&str]) -> Result<(), Skipped> {
    let knows_all = members.keys().all(|name| known.contains(&name.as_str()));
    if knows_all { Ok(()) } else { Err(Skipped::UnknownMember) }
}

/// The text of a value: that of a string, the digits of a number (a sequence number has more than a
/// float holds), a truth value's word, nothing of null.
fn text(value: &RawValue) -> Result<Option<String>, Skipped> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str(json).map(Some).map_err(|_| Skipped::UnknownMember),
        Some(b'{' | b'[') | None => Err(Skipped::UnknownMember),
        Some(_) => Ok(Some(json.to_owned())),
    }
}
