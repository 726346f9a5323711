//! `check`: would `run` work here? Findings are values; whoever asked prints them.
//!
//! `online` asks the service, `host` looks at this machine, `endpoint` says where requests go.
//! Every check is made, whatever another one found, but for those that could not be asked: without
//! credentials no request is signed. Nothing is written to the stream, nothing is left on the host,
//! and no call takes longer than `kinesis.attempt_timeout`.

mod endpoint;
mod host;
mod online;

use serde::Serialize;

use crate::config::{Config, Machine};
pub(crate) use endpoint::{Target, target};

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

/// Makes every check, in the order in which they are printed.
pub(crate) async fn run(config: &Config, machine: &Machine) -> Vec<Finding> {
    let mut findings = online::check(config).await;
    findings.extend(places(config).await);
    findings.push(host::memory(config, machine.memory_limit));
    findings.push(host::shutdown(config));
    findings
}

/// Whether the places that the configuration names are free on this host. A failure here is what
/// would keep `run` from starting.
pub(crate) async fn places(config: &Config) -> [Finding; 2] {
    let (socket, is_running) = host::socket(&config.socket).await;
    [socket, host::admin(&config.admin, is_running).await]
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
