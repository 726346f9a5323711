//! `exec`: a daemon for the life of one command. The daemon runs in this process; the command is
//! its child, in the same process group and with the same streams.
//!
//! It says how both ended and never what that means to a caller: exit codes are `cli`'s.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::daemon::{Daemon, Ended, Plan, StartError};
use super::private_directory::PrivateDirectory;
use super::signals::{Signals, catch};
use crate::config::Flag;

/// How long a command may take to end once its daemon is gone; after that it is killed.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);

/// How both ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This signal came before the command was started.
    Stopped(Signal),
    Ran(Ran, Ended),
}

/// How the command ended, or why it did not begin.
#[derive(Debug)]
pub(crate) enum Ran {
    Ended(ExitStatus),
    NotStarted(io::Error),
    /// The daemon was gone before the command ended.
    Orphaned,
}

/// A daemon's task, and what it ended with.
type Serving = JoinHandle<Result<Ended, StartError>>;
type Served = Result<Result<Ended, StartError>, JoinError>;

/// Runs a command beside a daemon of its own, which it finds at `socket`.
///
/// # Errors
/// If the daemon cannot start; then the command does not start either.
pub(crate) async fn run(
    plan: Plan,
    socket: &Path,
    command: &[OsString],
) -> Result<Outcome, StartError> {
    let mut signals = Forwarded::listen()?;
    let (stop, stops) = mpsc::channel(2);
    let (_hangups, reload) = mpsc::channel(1); // SIGHUP is the command's; `admin reload` is left
    let daemon = tokio::select! {
        biased;
        signal = signals.that_ends() => return Ok(Outcome::Stopped(signal)),
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
    Ok(Outcome::Ran(ran, ended))
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
            // By itself the daemon ends only when a task died or an operator told it to quit.
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
/// come together with the command's end: what ended it may have been sent to both.
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
        // The command was not waited for yet, so the id is still its own; one that has ended takes
        // no signal.
        let _ = kill_process(pid, signal);
    }
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

    /// Waits for the next signal of those that end a command which does nothing about them.
    async fn that_ends(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP].contains(&signal) {
                return signal;
            }
        }
    }
}

/// Whether the terminal sent this signal, and so sent it to the command too: Ctrl-C and Ctrl-\ go
/// to every process in the foreground.
fn is_of_the_terminal(signal: Signal) -> bool {
    let in_foreground = || {
        let foreground = tcgetpgrp(File::open("/dev/tty").ok()?).ok()?;
        Some(foreground == getpgrp())
    };
    [Signal::INT, Signal::QUIT].contains(&signal) && in_foreground().unwrap_or(false)
}

/// Settings that a daemon beside a command has in place of the defaults. Two such daemons on one
/// machine must not meet at a socket or a port, and standard error is the command's.
pub(crate) fn presets(directory: &PrivateDirectory) -> Vec<Flag> {
    let socket = directory.socket().display().to_string();
    let presets =
        [("socket.path", socket), ("admin.listen", "off".into()), ("log.level", "warn".into())];
    presets.map(|(key, value)| Flag { key: key.into(), value, flag: "exec".into() }).into()
}
