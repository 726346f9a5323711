//! What signals ask of a program: to stop, and to read the configuration again. The one owner of
//! both; `exec` catches those that are meant for its command.
//!
//! A signal that was ignored when the process began stays ignored, here and in what is started from
//! here: whoever began it so (`nohup`, a script's shell with its background jobs) meant it.

use std::fs;
use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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

#[cfg(test)]
mod tests {
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
}
