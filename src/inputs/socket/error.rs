//! Why a socket's path cannot be had, in words that say what to do. Nothing is decided here.

use std::io;
use std::path::PathBuf;

use super::peer::Peer;
use dispatchd_core::limits::SOCKET_PATH_BYTES_MAX;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "the socket path {} is {} bytes, a Unix socket takes at most {SOCKET_PATH_BYTES_MAX}: \
         choose a shorter one",
        .0.display(),
        .0.as_os_str().len()
    )]
    TooLong(PathBuf),
    #[error(
        "{} exists and is no socket: it is not replaced. Remove it or choose another path",
        .0.display()
    )]
    NotASocket(PathBuf),
    #[error("{peer} serves {}: it is left alone. Stop it or choose another path", path.display())]
    InUse { path: PathBuf, peer: Peer },
    #[error(
        "cannot tell whether {} is served, so it is left alone: {source}. Remove it if nobody \
         needs it, or choose another path",
        path.display()
    )]
    Unknown { path: PathBuf, source: io::Error },
    #[error(
        "the directory {} belongs to user {owner}, who could replace the socket in it: choose \
         another path",
        path.display()
    )]
    ForeignDirectory { path: PathBuf, owner: u32 },
    #[error(
        "every user may write to the directory {}, and replace the socket in it: take that right \
         away (chmod o-w), or choose another path",
        .0.display()
    )]
    OpenDirectory(PathBuf),
    #[error(
        "{} {what}: it is no lock of this daemon's user, and is left alone. Remove it or choose \
         another path",
        path.display()
    )]
    NotOurLock { path: PathBuf, what: &'static str },
    #[error("{} was made anew by somebody else at the same time: start again", .0.display())]
    Raced(PathBuf),
    #[error(
        "cannot {what} {}: {source}. The directory must be writable to user {}",
        path.display(),
        rustix::process::geteuid().as_raw()
    )]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}
