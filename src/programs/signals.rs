//! What signals ask of a program: to stop, and to read the configuration again. The one owner of
//! both; `exec` catches those that are meant for its command.
//!
//! A signal that was ignored when the process began stays ignored, here and in what is started from
//! here: whoever began it so (`nohup`, a script's shell with its background jobs) meant it.

use std::fs;
use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A signal that comes this soon after the first one expresses the same wish: `kill 0` in an
/// entrypoint, managers that signal a group and a child, a terminal beside them. All of these take
/// milliseconds; a person who has had enough takes longer.
const SAME_WISH: Duration = Duration::from_secs(1);

/// What tells a running daemon what to do, besides its admin socket.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The first one begins the stop; one that comes more than a second after it gives up what is
    /// left.
    pub stop: mpsc::Receiver<()>,
    /// Read the configuration again.
    pub reload: mpsc::Receiver<()>,
}

/// The signals of one kind as they come; none come where the kind is ignored.
#[derive(Debug)]
pub(crate) struct Caught(Option<Signal>);

impl Signals {
    /// Catches them from now on: SIGTERM and SIGINT stop, SIGHUP reloads.
    ///
    /// # Errors
    /// If one of them cannot be caught.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { stop: stops()?, reload: reloads()? })
    }
}

/// Catches signals of this kind from now on, unless they are ignored.
///
/// # Errors
/// If it cannot be caught.
pub(crate) fn catch(kind: SignalKind) -> io::Result<Caught> {
    // Without /proc nobody can tell, and every signal is caught.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_ignored(&status, kind) { Ok(Caught(None)) } else { Ok(Caught(Some(signal(kind)?))) }
}

impl Caught {
    /// Waits for the next signal.
    pub(crate) async fn recv(&mut self) -> Option<()> {
        match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => pending().await,
        }
    }
}

/// Whether the kernel says that signals of this kind are ignored: in a mask whose lowest bit is
/// signal 1.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (mask >> (kind.as_raw_value() - 1)) & 1 == 1
}

/// SIGTERM and SIGINT, as they come.
fn stops() -> io::Result<mpsc::Receiver<()>> {
    let (mut terminate, mut interrupt) =
        (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let (tell, told) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if tell.send(()).await.is_err() {
                return; // the daemon has ended
            }
        }
    });
    Ok(told)
}

/// SIGHUP, as it comes. A signal that comes before the last one was answered is answered with it.
fn reloads() -> io::Result<mpsc::Receiver<()>> {
    let mut hangup = catch(SignalKind::hangup())?;
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(()) {
                return; // the daemon has ended
            }
        }
    });
    Ok(told)
}

/// A token that the first SIGINT or SIGTERM cancels, for commands that have nothing to drain.
pub(crate) fn stop_signal() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) =
        (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

/// Ends when a signal comes that is a second wish, not an echo of the first signal.
pub(crate) async fn another_wish(signals: &mut mpsc::Receiver<()>, first: Instant) {
    let mut is_told = false;
    while signals.recv().await.is_some() {
        if first.elapsed() > SAME_WISH {
            return;
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                "another signal came within 1 s of the first: both are one wish to stop. A later \
                 one gives up what is left"
            );
        }
    }
    pending().await // nobody is left to send one
}

/// Logs it if a task died, and says whether it did.
pub(crate) fn tell_died(ended: Result<(), JoinError>) -> bool {
    if let Err(error) = &ended {
        tracing::error!(%error, "a task died: what it had under way is not answered. This is a \
                                 defect of dispatchd, please report it");
    }
    ended.is_err()
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn the_kernels_mask_says_which_signals_are_ignored() {
        let status = "Name:\tdispatchd\nSigBlk:\t0000000000000003\n\
             SigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(is_ignored(status, SignalKind::hangup()) && is_ignored(status, SignalKind::pipe()));
        assert!(
            !is_ignored(status, SignalKind::interrupt())
                && !is_ignored(status, SignalKind::terminate())
        );
        assert!(!is_ignored("", SignalKind::hangup()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_a_second_of_the_first_signal_is_the_same_wish() {
        let (signal, mut signals) = mpsc::channel(1);
        let first = Instant::now();
        let another = tokio::spawn(async move { another_wish(&mut signals, first).await });
        for _ in 0..10 {
            signal.send(()).await.expect("it listens");
            sleep(Duration::from_millis(100)).await;
        }
        assert!(!another.is_finished(), "ten of them within the second");
        sleep(Duration::from_millis(1)).await;
        signal.send(()).await.expect("it listens");
        another.await.expect("it does not panic");
    }
}
