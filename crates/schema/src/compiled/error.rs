//! Why a schema is not loaded. Only data.

use super::violation::cut;
use crate::bounds::LOAD_ERROR_TEXT_BYTES_MAX;

/// Why a schema is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {}: {why}", if pointer.is_empty() { "the root" } else { pointer })]
pub struct LoadError {
    /// Where in the schema, as a JSON pointer. What is long is cut, here and below.
    pub pointer: String,
    pub why: String,
}

impl LoadError {
    pub(super) fn new(pointer: &str, why: impl Into<String>) -> Self {
        let bounded = |text| cut(text, LOAD_ERROR_TEXT_BYTES_MAX);
        Self { pointer: bounded(pointer.to_owned()), why: bounded(why.into()) }
    }
}
