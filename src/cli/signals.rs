//! Signals as tokio hands them on. One that was ignored when the process began stays ignored, here
//! and in what is started from here: whoever began it so (`nohup`, a script's shell with its
//! background jobs) meant it.

use std::fs;
use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that comes to us; none where it is ignored.
#[derive(Debug)]
pub(super) struct Caught(Option<Signal>);

/// From now on this signal comes here, unless it is ignored.
///
/// # Errors
/// If it cannot be caught.
pub(super) fn catch(kind: SignalKind) -> io::Result<Caught> {
    // Without /proc nobody can tell, and every signal is caught.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_ignored(&status, kind) { Ok(Caught(None)) } else { Ok(Caught(Some(signal(kind)?))) }
}

impl Caught {
    /// The next one.
    pub(super) async fn recv(&mut self) -> Option<()> {
        match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => pending().await,
        }
    }
}

/// What the kernel says of it, in a mask whose lowest bit is signal 1.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (mask >> (kind.as_raw_value() - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_mask_says_which_signals_are_ignored() {
        let status = "Name:\tdispatchd\nSigBlk:\t0000000000000003\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(is_ignored(status, SignalKind::hangup()) && is_ignored(status, SignalKind::pipe()));
        assert!(
            !is_ignored(status, SignalKind::interrupt())
                && !is_ignored(status, SignalKind::terminate())
        );
        assert!(!is_ignored("", SignalKind::hangup()));
    }
}
