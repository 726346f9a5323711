//! `exec -- CMD`: a daemon for the life of one command, for cron, CI, plain Docker and jobs. It
//! ends with the command's own exit code.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::common::{exit, fail};
use super::flags::ConfigFlags;
use super::run::{code_of, prepare, start_failed};
use crate::programs::daemon::Ended;
use crate::programs::exec::{self, Outcome, Ran};
use crate::programs::private_directory::PrivateDirectory;
use dispatchd_core::limits::SOCKET_PATH_BYTES_MAX;

/// The exit codes of a command that was found and cannot be executed, and of one that was not
/// found: a shell's.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: u8 = 128;

#[derive(Debug, Args)]
#[command(
    after_help = "The command finds the socket in DISPATCHD_SOCKET. Unless set, the socket is a \
                  private one, metrics and probes are off, and the log begins at warn."
)]
pub(super) struct Exec {
    #[command(flatten)]
    flags: ConfigFlags,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) fn main(self) -> ExitCode {
        let mut inputs = self.flags.inputs();
        let directory = PrivateDirectory::unmade("exec");
        inputs.preset = exec::presets(&directory);
        inputs.machine.client_socket = None; // that of an `exec` around this one
        let (plan, runtime) = match prepare(inputs) {
            Ok(prepared) => prepared,
            Err(code) => return code,
        };
        let socket = match seen_from_anywhere(&plan.resolved.config.socket.path) {
            Ok(socket) => socket,
            Err(error) => return fail(format_args!("{error:#}"), exit::USAGE),
        };
        let ran = runtime.block_on(exec::run(plan, &socket, &self.command));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        match ran {
            Ok(Outcome::Stopped(signal)) => signalled(signal.as_raw()),
            Ok(Outcome::Ran(ran, ended)) => code(ran, ended, &self.command),
            Err(error) => start_failed(&error),
        }
    }
}

/// The socket's path as a command sees it that may work in another directory.
///
/// # Errors
/// If the path is then too long for the command to connect.
fn seen_from_anywhere(socket: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(socket)
        .context("cannot tell the working directory, which --socket is relative to")?;
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        let path = path.display();
        bail!(
            "socket.path (--socket) is {path} to the command: {bytes} bytes, a Unix socket takes \
             at most {SOCKET_PATH_BYTES_MAX}"
        );
    }
    Ok(path)
}

/// The exit code. The command's own failure wins: that is what the caller of a job looks at. Ours
/// shows where the command succeeded.
fn code(ran: Ran, ended: Ended, command: &[OsString]) -> ExitCode {
    let program =
        command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    match ran {
        Ran::Ended(status) => match status.code() {
            Some(0) => code_of(ended).into(),
            // An exit status has eight bits.
            Some(code) => u8::try_from(code).unwrap_or(exit::FAILED).into(),
            None => signalled(status.signal().unwrap_or(0)),
        },
        Ran::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => {
            fail(format_args!("{program}: command not found"), NOT_FOUND)
        }
        Ran::NotStarted(error) => {
            fail(format_args!("cannot execute {program}: {error}"), NOT_EXECUTABLE)
        }
        Ran::Orphaned => fail(
            format_args!("the daemon ended before {program} did, so {program} was ended too"),
            if ended.task_died { exit::DEFECT } else { code_of(ended).max(exit::FAILED) },
        ),
    }
}

fn signalled(signal: i32) -> ExitCode {
    (SIGNALLED + u8::try_from(signal).unwrap_or(0)).into()
}
