//! Schemas for other tools: older drafts of JSON Schema, OpenAPI 3.0 (EventBridge's registry takes
//! it and draft 4), and a description of the stream as AsyncAPI 3.
//!
//! What an older form cannot say is not left out in silence: the export is refused, with the
//! keyword.

mod asyncapi;
mod draft;
mod openapi;
mod walk;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::asyncapi::{About, asyncapi};
pub use self::draft::Draft;
pub use self::openapi::openapi;

use crate::folder::{FileError, Folder};

/// The schemas of some types, by type.
pub type Schemas<'a> = BTreeMap<&'a str, Value>;

/// What a form cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event_type}, at {}: {keyword} cannot be said in {form}", place(pointer))]
pub struct Unsayable {
    pub event_type: String,
    /// Where in the schema, as a JSON pointer.
    pub pointer: String,
    pub keyword: String,
    pub form: &'static str,
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the root" } else { pointer }
}

/// The committed schemas of a folder.
///
/// # Errors
/// Every file that is wrong.
pub fn committed(folder: &Folder) -> Result<Schemas<'_>, Vec<FileError>> {
    let (mut schemas, mut errors) = (Schemas::new(), Vec::new());
    for (event_type, files) in folder.types() {
        // Loaded as well: what is exported was checked.
        match files.loaded(event_type).and_then(|_| files.committed(event_type)) {
            Ok(Some(schema)) => drop(schemas.insert(event_type, schema)),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(schemas) } else { Err(errors) }
}

#[cfg(test)]
mod tests;
