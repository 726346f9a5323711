//! What the configuration says of schemas: the section `schema`.

use std::collections::HashMap;
use std::path::PathBuf;

use dispatchd_core::choice;
use dispatchd_schema::name;
use serde::{Deserialize, Deserializer};

/// Where schemas are, and what becomes of an event that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// `None`: there are none.
    pub dir: Option<PathBuf>,
    pub mode: Mode,
    /// What becomes of an event whose type has no schema.
    pub unknown: Unchecked,
    /// What becomes of a record that says no type.
    pub raw: Unchecked,
    /// Types for which another mode holds.
    #[serde(deserialize_with = "modes_by_type")]
    pub types: HashMap<Box<str>, Mode>,
}

choice! {
    /// What becomes of an event that does not fit its schema.
    pub(crate) enum Mode {
        /// Nothing is checked.
        Off = "off",
        /// It is counted and told, and accepted.
        Warn = "warn",
        /// It is refused.
        Enforce = "enforce",
    }
}

choice! {
    /// What becomes of what cannot be checked.
    pub(crate) enum Unchecked {
        Allow = "allow",
        Reject = "reject",
    }
}

impl Settings {
    /// Whether any event is checked. Then there must be a folder.
    pub(crate) fn is_on(&self) -> bool {
        let is_on = |mode: &Mode| *mode != Mode::Off;
        is_on(&self.mode) || self.types.values().any(is_on)
    }

    /// The mode that holds for a type.
    pub(super) fn mode(&self, event_type: &str) -> Mode {
        if self.types.is_empty() {
            return self.mode;
        }
        self.types.get(event_type).copied().unwrap_or(self.mode)
    }
}

/// Whether a text is modes of types, as `TYPE=MODE,TYPE=MODE`, each type as its file is named.
pub(crate) fn is_modes(text: &str) -> bool {
    modes(text).is_some()
}

fn modes(text: &str) -> Option<HashMap<Box<str>, Mode>> {
    let mut modes = HashMap::new();
    for part in text.split(',') {
        let (stem, mode) = part.split_once('=')?;
        let event_type = name::event_type(stem.trim())?;
        let mode = mode.trim().parse().ok()?;
        if modes.insert(event_type.into(), mode).is_some() {
            return None; // which of the two would hold?
        }
    }
    Some(modes)
}

fn modes_by_type<'de, D: Deserializer<'de>>(from: D) -> Result<HashMap<Box<str>, Mode>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.and_then(|text| modes(&text)).unwrap_or_default()) // its rule has read it
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_as_its_file_is_and_named_once() {
        let found = modes("Order=warn, a%2Fb=off").expect("two types");
        assert_eq!(found, [("Order".into(), Mode::Warn), ("a/b".into(), Mode::Off)].into());
        for text in ["", "Order", "Order=", "Order=on", "a/b=off", "A=off,A=warn", "A=off,"] {
            assert!(!is_modes(text), "{text}");
        }
    }
}
