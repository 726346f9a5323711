//! What is wrong with a configuration, in words for the person who wrote it.

use std::path::PathBuf;

use thiserror::Error;

use super::rule::without_login;
use super::setting::{Origin, Setting};

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}{} (from {origin}): expected {expected}", shown(.value))]
pub(crate) struct Problem {
    pub key: String,
    /// The value as it may be shown. `None` under an unknown key, where it may be a secret.
    pub value: Option<String>,
    /// What would have been accepted.
    pub expected: String,
    pub origin: Origin,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Problems {
    #[error("cannot read {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    /// There is at least one; each is displayed on a line of its own.
    #[error("{}", lines(.0))]
    Values(Vec<Problem>),
}

/// The problem of this setting, without the login that its value may hold.
pub(super) fn problem(setting: &Setting, expected: String) -> Problem {
    let Setting { key, value, origin } = setting.clone();
    Problem { key, value: Some(without_login(&value)), expected, origin }
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(" = {value:?}")).unwrap_or_default()
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}
