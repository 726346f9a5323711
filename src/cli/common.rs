//! What the commands share: exit codes, how an error is told, the log and the runtime.

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use super::out::{self, Taken};
use crate::telemetry::log::{self, Log, StartError};

/// Exit codes, as `docs/operations.md` lists them. 0: nothing was abandoned.
pub(super) mod exit {
    /// The start failed, or a command's work did.
    pub(in crate::cli) const FAILED: u8 = 1;
    /// Bad usage or configuration (EX_USAGE of sysexits.h).
    pub(in crate::cli) const USAGE: u8 = 64;
    /// `check` found that something would not work (EX_UNAVAILABLE).
    pub(in crate::cli) const UNAVAILABLE: u8 = 69;
    /// A task died: a defect (EX_SOFTWARE).
    pub(in crate::cli) const DEFECT: u8 = 70;
    /// The deadline passed with events unconfirmed (EX_TEMPFAIL).
    pub(in crate::cli) const UNCONFIRMED: u8 = 75;
}

/// Prints an error for a person and gives its exit code.
pub(super) fn fail(error: impl std::fmt::Display, code: u8) -> ExitCode {
    out::tell(&format!("dispatchd: {error}\n"));
    code.into()
}

/// The exit code of a command that has said what it had to say. It is the same if nobody was there
/// to read it.
pub(super) fn said(taken: Taken, code: u8) -> ExitCode {
    match taken {
        Ok(_) => code.into(),
        Err(error) => fail(error, exit::FAILED),
    }
}

/// Starts the log as configured. An error is the exit code of what was told already.
pub(super) fn start_log(config: &log::Settings) -> Result<Log, ExitCode> {
    log::start(config.format, &config.level).map_err(|error| match error {
        StartError::Level(_) => fail(error, exit::USAGE),
        StartError::Thread(_) => fail(error, exit::FAILED),
    })
}

/// Makes the runtime of a command.
pub(super) fn runtime(threads: usize) -> std::io::Result<Runtime> {
    match threads {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}
