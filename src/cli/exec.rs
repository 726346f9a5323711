//! `exec -- CMD`: a daemon for the life of one command, for cron, CI, plain Docker and jobs.
//!
//! The daemon runs in this process, the command is its child in the same process group and with the
//! same streams. What the command ends with is what this ends with.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::run::{code_of, prepare, start_failed};
use super::signals::catch;
use super::{ConfigFlags, exit, fail};
use crate::config::Flag;
use crate::daemon::{Daemon, Ended, Plan, Signals, StartError};
use dispatchd_core::limits::SOCKET_PATH_BYTES_MAX;

/// A command that was found and cannot be executed, and one that was not found: as a shell says it.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: u8 = 128;
/// How long a command may take to end once its daemon is gone; then it is killed.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "The command finds the socket in DISPATCHD_SOCKET. Unless set, the socket is a private one, metrics and probes are off, and the log begins at warn."
)]
pub(super) struct Exec {
    #[command(flatten)]
    flags: ConfigFlags,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// How the command ended, or why it never began.
#[derive(Debug)]
enum Ran {
    Ended(ExitStatus),
    NotStarted(io::Error),
    /// Its daemon was gone before it ended.
    Orphaned,
}

/// A daemon's task, and its end.
type Serving = JoinHandle<Result<Ended, StartError>>;
type Served = Result<Result<Ended, StartError>, JoinError>;

impl Exec {
    pub(super) fn main(self) -> ExitCode {
        let mut inputs = self.flags.inputs();
        let directory = PrivateDirectory::new();
        inputs.preset = presets(&directory);
        inputs.machine.client_socket = None; // that of an `exec` around this one
        let (plan, runtime) = match prepare(inputs) {
            Ok(prepared) => prepared,
            Err(code) => return code,
        };
        let socket = match seen_from_anywhere(&plan.resolved.config.socket.path) {
            Ok(socket) => socket,
            Err(error) => return fail(format_args!("{error:#}"), exit::USAGE),
        };
        let code = runtime.block_on(serve(plan, &socket, &self.command));
        runtime.shutdown_background(); // a look-up of a name that hangs must not hold up the end
        code.unwrap_or_else(|error| start_failed(&error))
    }
}

/// Two of these on one machine must not meet at a socket or a port, and standard error is the
/// command's.
fn presets(directory: &PrivateDirectory) -> Vec<Flag> {
    let socket = directory.0.join("d.sock").display().to_string();
    let presets =
        [("socket.path", socket), ("admin.listen", "off".into()), ("log.level", "warn".into())];
    presets.map(|(key, value)| Flag { key: key.into(), value, flag: "exec".into() }).into()
}

/// The socket's path, for a command that may work in another directory.
///
/// # Errors
/// Then it is too long for the command to connect.
fn seen_from_anywhere(socket: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(socket)
        .context("cannot tell the working directory, which --socket is relative to")?;
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        let path = path.display();
        bail!(
            "socket.path (--socket) is {path} to the command: {bytes} bytes, a Unix socket takes at most {SOCKET_PATH_BYTES_MAX}"
        );
    }
    Ok(path)
}

async fn serve(plan: Plan, socket: &Path, command: &[OsString]) -> Result<ExitCode, StartError> {
    let mut signals = Forwarded::listen()?;
    let (stop, stops) = mpsc::channel(2);
    let (_hangups, reload) = mpsc::channel(1); // SIGHUP is the command's; `admin reload` is left
    let daemon = tokio::select! {
        biased;
        signal = signals.that_ends() => return Ok(signalled(signal.as_raw())), // the command was never started
        built = Daemon::build(plan) => built?,
    };
    let mut serving = tokio::spawn(daemon.run(Signals { stop: stops, reload }));
    let (ran, early) = match start(command, socket) {
        Err(error) => (Ran::NotStarted(error), None),
        Ok(child) => attend(child, &mut serving, &mut signals).await,
    };
    let served = match early {
        Some(served) => served,
        None => drain(serving, &mut signals, &stop).await,
    };
    let ended = served.unwrap_or(Ok(Ended { unconfirmed: 0, task_died: true }))?;
    Ok(code(ran, ended, command))
}

fn start(command: &[OsString], socket: &Path) -> io::Result<Child> {
    let (program, arguments) = command.split_first().expect("the arguments have at least one");
    Command::new(program).args(arguments).env("DISPATCHD_SOCKET", socket).spawn()
}

/// Hands signals on to the command until it ends, or its daemon does.
async fn attend(
    mut child: Child,
    serving: &mut Serving,
    signals: &mut Forwarded,
) -> (Ran, Option<Served>) {
    loop {
        tokio::select! {
            biased;
            ended = child.wait() => return (ended.map_or_else(Ran::NotStarted, Ran::Ended), None),
            signal = signals.next() => {
                if !is_of_the_terminal(signal) {
                    send(&child, signal);
                }
            }
            // By itself it ends only when a task died or an operator told it to quit.
            served = &mut *serving => {
                send(&child, Signal::TERM);
                if timeout(ORPHAN_GRACE, child.wait()).await.is_err() {
                    let _ = child.kill().await; // it may just have ended
                }
                return (Ran::Orphaned, Some(served));
            }
        }
    }
}

/// Ends the daemon. Signals that would have ended the command give up what is left, unless they
/// come together with its end: what ended it may have been sent to both.
async fn drain(mut serving: Serving, signals: &mut Forwarded, stop: &mpsc::Sender<()>) -> Served {
    let _ = stop.send(()).await; // a daemon that is gone needs no telling
    loop {
        tokio::select! {
            biased;
            served = &mut serving => return served,
            _ = signals.that_ends() => {
                let _ = stop.try_send(()); // one that is full was told already
            }
        }
    }
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It was not waited for yet, so the id is still its own; one that has ended takes no
        // signal.
        let _ = kill_process(pid, signal);
    }
}

/// The command's own failure wins: that is what the caller of a job looks at. Ours shows where it
/// succeeded.
fn code(ran: Ran, ended: Ended, command: &[OsString]) -> ExitCode {
    let program =
        command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    match ran {
        Ran::Ended(status) => match status.code() {
            Some(0) => code_of(ended).into(),
            Some(code) => u8::try_from(code).unwrap_or(exit::FAILED).into(), // an exit status has eight bits
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

/// The signals that are meant for the command.
struct Forwarded {
    signals: mpsc::Receiver<Signal>,
}

impl Forwarded {
    fn listen() -> io::Result<Self> {
        const KINDS: [(SignalKind, Signal); 6] = [
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::quit(), Signal::QUIT),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
        ];
        let (tell, signals) = mpsc::channel(KINDS.len());
        for (kind, number) in KINDS {
            let (mut caught, tell) = (catch(kind)?, tell.clone());
            tokio::spawn(async move {
                while caught.recv().await.is_some() && tell.send(number).await.is_ok() {}
            });
        }
        Ok(Self { signals })
    }

    async fn next(&mut self) -> Signal {
        self.signals.recv().await.expect("the senders live as long as the runtime")
    }

    /// The next of those that end a command which does nothing about them.
    async fn that_ends(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP].contains(&signal) {
                return signal;
            }
        }
    }
}

/// Whether the terminal sent it, which sends it to the command too: Ctrl-C and Ctrl-\ go to every
/// process in the foreground.
fn is_of_the_terminal(signal: Signal) -> bool {
    let in_foreground = || {
        let foreground = tcgetpgrp(File::open("/dev/tty").ok()?).ok()?;
        Some(foreground == getpgrp())
    };
    [Signal::INT, Signal::QUIT].contains(&signal) && in_foreground().unwrap_or(false)
}

/// A place for a socket that nobody else looks for. The daemon makes it, for its own user; it goes
/// when this is dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn new() -> Self {
        let name = format!("dispatchd-exec-{:08x}", rand::random::<u32>());
        Self(env::temp_dir().join(name))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // it is not there where socket.path was set
    }
}
