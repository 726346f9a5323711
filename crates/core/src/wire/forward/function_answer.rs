//! What a function answered to an invocation, where the HTTP status says nothing: the runtime
//! interface emulator answers 200 whatever happened, and a function that reports what failed
//! answers 200 as well.
//!
//! | body | means |
//! |---|---|
//! | nothing | the function's process ended |
//! | `Task timed out after N.00 seconds` | the function took too long |
//! | an object with `errorType` and `errorMessage` | the function failed |
//! | other text that is not JSON | nobody knows: failed |
//! | `{"batchItemFailures":[{"itemIdentifier":"N"},…]}` | the records from the first N on failed |
//! | the same with an identifier that is empty, no text or missing | all of them failed |
//! | any other JSON, `null`, `""` and `{}` too | done |

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why an answer does not say that the batch is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionFailed {
    #[error("the function's answer is empty: its process may have ended")]
    Empty,
    #[error("the function timed out")]
    TimedOut,
    #[error("the function failed: {error_type}")]
    Error {
        /// The kind of error as the runtime names it; at most [`ERROR_TYPE_CHARS_MAX`] characters
        /// of it, none of them a control.
        error_type: String,
    },
    #[error("the function's answer is not JSON")]
    NotJson,
    #[error("batchItemFailures is no list of objects that name a record by itemIdentifier")]
    BadItems,
}

/// Characters of an error's type. Java's are the names of classes.
pub const ERROR_TYPE_CHARS_MAX: usize = 128;

/// How the runtime interface emulator begins to tell a time-out.
const TIMED_OUT: &[u8] = b"Task timed out after ";

/// The sequence numbers of the records that failed; none: all of them are done.
///
/// # Errors
/// None of them counts as done.
pub fn failed_items(body: &[u8]) -> Result<Vec<Cow<'_, str>>, FunctionFailed> {
    if body.trim_ascii().is_empty() {
        return Err(FunctionFailed::Empty);
    }
    let json: &RawValue = serde_json::from_slice(body).map_err(|_| {
        let is_late = body.starts_with(TIMED_OUT);
        if is_late { FunctionFailed::TimedOut } else { FunctionFailed::NotJson }
    })?;
    if !json.get().starts_with('{') {
        return Ok(Vec::new());
    }
    let answer: Answer<'_> =
        serde_json::from_str(json.get()).map_err(|_| FunctionFailed::BadItems)?;
    if let (Some(error_type), Some(_)) = (answer.error_type, answer.error_message) {
        return Err(FunctionFailed::Error { error_type: shown(error_type) });
    }
    let Some(items) = answer.items else { return Ok(Vec::new()) };
    let items: Option<Vec<Item<'_>>> =
        serde_json::from_str(items.get()).map_err(|_| FunctionFailed::BadItems)?;
    let items = items.unwrap_or_default().into_iter().map(|Item { number }| number);
    let items: Vec<_> = items.collect();
    if items.iter().any(|number| number.is_empty()) {
        return Err(FunctionFailed::BadItems);
    }
    Ok(items)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default, rename = "errorType", deserialize_with = "present")]
    error_type: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "errorMessage", deserialize_with = "present")]
    error_message: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "batchItemFailures", deserialize_with = "present")]
    items: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "itemIdentifier")]
    number: Cow<'a, str>,
}

/// A member that is there, even if it is null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// An error's type for people; the JSON itself where it is no text.
fn shown(error_type: &RawValue) -> String {
    let text = serde_json::from_str(error_type.get());
    let text: String = text.unwrap_or_else(|_| error_type.get().to_owned());
    text.chars().filter(|c| !c.is_control()).take(ERROR_TYPE_CHARS_MAX).collect()
}
