//! Schemas of what passes in a stream: each event adds to the shape of its type, and what that
//! changes is a file to write and lines to show. A folder says where to begin: with the samples of
//! a type if it has some, else with its schema, if that was made from samples. A schema that
//! somebody wrote by hand is left as it is.
//!
//! Types, bytes of an event and bytes of all shapes have bounds: what is beyond one of them is left
//! out and counted. It keeps no value of an event, writes no file, and fetches nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::bounds::{
    DEPTH_MAX, DISCOVERED_BYTES_MAX, DISCOVERED_EVENT_BYTES_MAX, DISCOVERED_TYPES_MAX,
    FILE_NAME_BYTES_MAX,
};
use crate::diff::diff;
use crate::folder::{FileError, Files, Folder, Part};
use crate::shape::{Rules, Shape};

/// What was seen of all types.
#[derive(Debug)]
pub struct Discovery {
    rules: Rules,
    types: BTreeMap<String, Type>,
    /// Bytes that shapes may still take.
    room: usize,
    left_out: LeftOut,
}

#[derive(Debug)]
enum Type {
    Seen(Seen),
    /// Its file is not written: by hand, or since no schema can be made.
    LeftAlone,
}

/// What was seen of a type.
#[derive(Debug)]
struct Seen {
    shape: Shape,
    /// Its patch, if there is one.
    patch: Files,
    /// The schema as the folder has it; empty where it has none.
    text: String,
    /// Whether an event came since.
    is_due: bool,
}

/// A schema that is another one than it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name of its file.
    pub file: String,
    pub is_new: bool,
    /// All of the file.
    pub text: String,
    /// The lines in which it differs from what it was.
    pub diff: String,
}

/// Events that nothing was concluded from, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// They say no type, or one that no file can be named by.
    pub untyped: u64,
    pub too_large: u64,
    pub too_deep: u64,
    /// Their types are too many.
    pub types: u64,
    /// The shapes of all types would take too much.
    pub room: u64,
    /// The schema of their type is left as it is.
    pub left_alone: u64,
}

impl Discovery {
    /// Begins with what a folder has.
    ///
    /// # Errors
    /// The files that nothing can be made of.
    pub fn new(folder: &Folder, rules: Rules) -> Result<Self, Vec<FileError>> {
        let (mut types, mut errors) = (BTreeMap::new(), Vec::new());
        let mut room = DISCOVERED_BYTES_MAX;
        for (event_type, files) in folder.types() {
            match begin(event_type, files) {
                Ok(found) => {
                    if let Type::Seen(seen) = &found {
                        room = room.saturating_sub(seen.shape.bytes());
                    }
                    types.insert(event_type.to_owned(), found);
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { rules, types, room, left_out: LeftOut::default() })
    }

    /// The types whose schemas are left as they are.
    pub fn left_alone(&self) -> impl Iterator<Item = &str> {
        let types = self.types.iter().filter(|(_, found)| matches!(found, Type::LeftAlone));
        types.map(|(event_type, _)| event_type.as_str())
    }

    /// Adds an event: its type, if it says one, and its data, which is JSON.
    pub fn see(&mut self, event_type: Option<&str>, data: &str) {
        if let Err(reason) = self.try_to_see(event_type, data) {
            *reason(&mut self.left_out) += 1;
        }
    }

    fn try_to_see(&mut self, event_type: Option<&str>, data: &str) -> Result<(), Reason> {
        let event_type = event_type.filter(|name| is_file_name(name)).ok_or(UNTYPED)?;
        match self.types.get(event_type) {
            Some(Type::LeftAlone) => return Err(|left_out| &mut left_out.left_alone),
            None if self.types.len() >= DISCOVERED_TYPES_MAX => {
                return Err(|left_out| &mut left_out.types);
            }
            Some(Type::Seen(_)) | None => {}
        }
        if data.len() > DISCOVERED_EVENT_BYTES_MAX {
            return Err(|left_out| &mut left_out.too_large);
        }
        // What is JSON and is not read as such goes deeper than the reader does.
        let mut shape = Shape::default();
        serde_json::from_str::<Value>(data)
            .ok()
            .and_then(|value| shape.see(&value).ok())
            .ok_or(TOO_DEEP)?;
        let grows = match self.types.get(event_type) {
            Some(Type::Seen(seen)) => seen.shape.growth(&shape),
            _ => shape.bytes(),
        };
        self.room = self.room.checked_sub(grows).ok_or(NO_ROOM)?;
        let found = self.types.entry(event_type.to_owned()).or_insert_with(|| {
            Type::Seen(Seen::new(Shape::default(), Files::default(), String::new()))
        });
        if let Type::Seen(seen) = found {
            seen.shape.merge(&shape);
            seen.is_due = true;
        }
        Ok(())
    }

    /// The schemas that are others since this was last asked. An error is a type of which no schema
    /// can be made, such as one with too many places; it is left alone from now on.
    pub fn changes(&mut self) -> Vec<Result<Change, FileError>> {
        let mut changes = Vec::new();
        for (event_type, found) in &mut self.types {
            let Type::Seen(seen) = found else { continue };
            if !std::mem::take(&mut seen.is_due) {
                continue;
            }
            match seen.change(event_type, self.rules) {
                Ok(change) => changes.extend(change.map(Ok)),
                Err(error) => {
                    *found = Type::LeftAlone;
                    changes.push(Err(error));
                }
            }
        }
        changes
    }

    /// The events that nothing was concluded from.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

/// Which count an event goes into.
type Reason = fn(&mut LeftOut) -> &mut u64;

const UNTYPED: Reason = |left_out| &mut left_out.untyped;
const TOO_DEEP: Reason = |left_out| &mut left_out.too_deep;
const NO_ROOM: Reason = |left_out| &mut left_out.room;

fn is_file_name(event_type: &str) -> bool {
    // A name only grows by being encoded: a long one is not encoded to be measured.
    !event_type.is_empty()
        && event_type.len() <= FILE_NAME_BYTES_MAX
        && Part::Schema.file_name(event_type).len() <= FILE_NAME_BYTES_MAX
}

fn begin(event_type: &str, files: &Files) -> Result<Type, FileError> {
    let committed = files.committed(event_type)?;
    let shape = match &committed {
        _ if files.has_samples() => Some(files.shape(event_type)?),
        None => Some(Shape::default()),
        Some(schema) => Shape::of_schema(schema),
    };
    let text = files.part(Part::Schema).map(|text| String::from_utf8_lossy(text).into_owned());
    Ok(shape.map_or(Type::LeftAlone, |shape| {
        Type::Seen(Seen::new(shape, files.only_patch(), text.unwrap_or_default()))
    }))
}

impl Seen {
    fn new(shape: Shape, patch: Files, text: String) -> Self {
        Self { shape, patch, text, is_due: false }
    }

    fn change(&mut self, event_type: &str, rules: Rules) -> Result<Option<Change>, FileError> {
        let text = self.patch.patched(event_type, &self.shape, rules)?;
        if text == self.text {
            return Ok(None);
        }
        let before = std::mem::replace(&mut self.text, text.clone());
        let (file, is_new) = (Part::Schema.file_name(event_type), before.is_empty());
        Ok(Some(Change { file, is_new, diff: diff(&before, &text), text }))
    }
}

impl fmt::Display for LeftOut {
    /// The reasons that there are, one a line; nothing if nothing was left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { untyped, too_large, too_deep, types, room, left_alone } = *self;
        let bounds = [
            (untyped, "they say no type that a file can be named by".to_owned()),
            (too_large, format!("their data is over {DISCOVERED_EVENT_BYTES_MAX} bytes")),
            (too_deep, format!("their data goes deeper than {DEPTH_MAX} levels")),
            (types, format!("there are {DISCOVERED_TYPES_MAX} types already")),
            (room, format!("all types together would take over {DISCOVERED_BYTES_MAX} bytes")),
            (left_alone, "the schema of their type is left as it is".to_owned()),
        ];
        for (events, why) in bounds.iter().filter(|(events, _)| *events > 0) {
            let s = if *events == 1 { "" } else { "s" };
            writeln!(f, "nothing was concluded from {events} event{s}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
