//! What a case is told by its surroundings.

use std::process::ExitStatus;

use tokio::net::UnixStream;
use tokio::time::Instant;

/// What may have happened and not been looked at yet, in lines and connections. Where it is full
/// the client waits, as before any socket.
pub(super) const HAPPENINGS_MAX: usize = 1024;

/// What a case was told by its surroundings.
#[derive(Debug)]
pub(super) enum Happening {
    Connected(UnixStream),
    TurnedAway,
    Line {
        connection: usize,
        line: Vec<u8>,
    },
    /// The client ended a connection, with so many bytes of a line that has no end.
    HungUp {
        connection: usize,
        torn_bytes: usize,
    },
    Said {
        line: String,
        at: Instant,
    },
    Ended(ExitStatus),
}
