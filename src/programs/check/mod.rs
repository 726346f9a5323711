//! Before a deployment: would `run` work here? Findings are values; whoever asked prints them.
//!
//! `online` asks the service, `host` looks at this machine. Every check is made, whatever another
//! one found, but for those that nothing could be asked for: without credentials no request is
//! signed. Nothing is written to the stream, nothing is left on the host, and no call takes longer
//! than `kinesis.attempt_timeout`.

mod endpoint;
mod host;
mod online;

use serde::Serialize;

use crate::config::{Config, Machine};
pub use endpoint::{Target, target};

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in one word.
    pub name: &'static str,
    pub level: Level,
    /// What was found; for a failure its cause.
    pub what: String,
    /// What to do about it; nothing where nothing needs to be done.
    pub fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// `run` works, but less well than it could, or it could not be known.
    Warn,
    /// `run` would not start, or would deliver nothing.
    Fail,
}

/// Makes every check, in the order in which they are printed.
pub async fn run(config: &Config, machine: &Machine) -> Vec<Finding> {
    let mut findings = online::check(config).await;
    findings.extend(places(config).await);
    findings.push(host::memory(config, machine.memory_limit));
    findings.push(host::shutdown(config));
    findings
}

/// Whether this host has the places free that the configuration names. A failure is what `run`
/// would be refused with.
pub async fn places(config: &Config) -> [Finding; 2] {
    let (socket, is_running) = host::socket(&config.socket).await;
    [socket, host::admin(&config.admin, is_running).await]
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Finding {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, what: what.into(), fix: None }
    }

    fn warn(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, what: what.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, what: what.into(), fix: Some(fix.into()) }
    }
}
