//! What a check found: a value that whoever asked prints.

use serde::Serialize;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at, in one word.
    pub name: &'static str,
    pub level: Level,
    /// What was found; for a failure, its cause.
    pub what: String,
    /// What to do about it; `None` where nothing needs to be done.
    pub fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// `run` works, but less well than it could, or the answer is not known.
    Warn,
    /// `run` would not start, or would deliver nothing.
    Fail,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Finding {
    pub(super) fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, what: what.into(), fix: None }
    }

    pub(super) fn warn(
        name: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { name, level: Level::Warn, what: what.into(), fix: Some(fix.into()) }
    }

    pub(super) fn fail(
        name: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { name, level: Level::Fail, what: what.into(), fix: Some(fix.into()) }
    }
}
