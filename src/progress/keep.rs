//! Where checkpoints are kept, as the configuration says it.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

/// Where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// In files below this directory.
    Files(PathBuf),
    /// Nowhere: a restart begins where `from` says.
    Nowhere,
}

impl Keep {
    /// Reads `file:DIR` or `none`; `None` for any other text.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "none" => Some(Self::Nowhere),
            Some(("file", directory)) if !directory.is_empty() => {
                Some(Self::Files(directory.into()))
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| de::Error::custom("expected file:DIR or none"))
    }
}
