//! What the configuration says of the socket for events: the section `socket`, whose fields are
//! named as its keys are.

use std::path::PathBuf;

use serde::Deserialize;

/// Where applications connect, and what they may have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub path: PathBuf,
    /// The permissions of the socket's file.
    pub mode: u32,
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// How many unanswered events a connection may have.
    pub window: usize,
}
