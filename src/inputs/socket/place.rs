//! Where a socket may lie, and who is there already. It looks, and takes nothing.

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tokio::net::UnixStream;

use super::bind::{BindError, OWN_DIRECTORY_MODE};
use super::directory::{could_make_files, foreign_owner};
use dispatchd_core::limits::SOCKET_PATH_BYTES_MAX;

/// Bytes of a process' name, as the kernel keeps it.
const NAME_BYTES_MAX: usize = 15;

/// The place of a socket as it is before anybody takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Whom a socket made here belongs to.
    pub uid: u32,
    pub gid: u32,
    /// Permission bits of its directory, and whose group it has.
    pub directory_mode: u32,
    pub directory_gid: u32,
    /// Who listens there now.
    pub served_by: Option<Peer>,
}

/// Who listens at a socket, by the credentials that he listened with. What is not known is not
/// told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    name: Option<String>,
    pid: Option<i32>,
    uid: Option<u32>,
}

impl Peer {
    /// Whether it is a daemon as we are.
    pub fn is_dispatchd(&self) -> bool {
        self.name.as_deref() == Some(env!("CARGO_PKG_NAME"))
    }

    fn of(stream: &UnixStream) -> Self {
        let Ok(credentials) = stream.peer_cred() else { return Self::default() };
        let pid = credentials.pid().filter(|pid| *pid != 0); // of another PID namespace
        Self { name: pid.and_then(process_name), pid, uid: Some(credentials.uid()) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if self.is_dispatchd() => write!(f, "another {name}")?,
            Some(name) => f.write_str(name)?,
            None => f.write_str("another program")?,
        }
        match (self.pid, self.uid) {
            (Some(pid), Some(uid)) => write!(f, " (process {pid}, user {uid})"),
            (None, Some(uid)) => write!(f, " (of user {uid}, in another container)"),
            _ => Ok(()),
        }
    }
}

/// Whatever a process calls itself, it is a word on the operator's terminal.
fn process_name(pid: i32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let is_plain = |c: char| c.is_ascii_graphic();
    Some(
        name.trim()
            .chars()
            .map(|c| if is_plain(c) { c } else { '?' })
            .take(NAME_BYTES_MAX)
            .collect(),
    )
}

/// Who listens at this path; nothing where a file was left behind, or there is none.
///
/// # Errors
/// If that cannot be known, as with another user's socket.
pub(super) async fn who_serves(path: &Path) -> Result<Option<Peer>, BindError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(Peer::of(&stream))),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::WouldBlock => Ok(Some(Peer::default())), // more wait than its queue holds
            _ => Err(BindError::Unknown { path: path.into(), source: error }),
        },
    }
}

/// Looks at a place as [`Bound::new`](super::bind::Bound::new) would and takes nothing: a daemon
/// that serves it is not disturbed.
///
/// # Errors
/// What a bind would refuse, but for one who serves the path already.
pub async fn survey(path: &Path) -> Result<Site, BindError> {
    const SET_GROUP: u32 = 0o2000;
    refuse_long(path)?;
    let directory = directory_of(path);
    let failed =
        |source| BindError::Io { what: "make files in", path: directory.to_owned(), source };
    could_make_files(directory).map_err(failed)?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let Ok(found) = directory.metadata() else {
        // As a bind will make it.
        return Ok(Site {
            uid,
            gid,
            directory_mode: OWN_DIRECTORY_MODE,
            directory_gid: gid,
            served_by: None,
        });
    };
    refuse_foreign(directory)?;
    refuse_other_files(path)?;
    Ok(Site {
        uid,
        gid: if found.mode() & SET_GROUP == 0 { gid } else { found.gid() },
        directory_mode: found.mode() & 0o777,
        directory_gid: found.gid(),
        served_by: who_serves(path).await?,
    })
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn refuse_long(path: &Path) -> Result<(), BindError> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        Err(BindError::TooLong(path.into()))
    } else {
        Ok(())
    }
}

/// In a shared place such as `/tmp`, refuses a directory, or a link to one, that somebody else made
/// or may write to: the socket in it could be exchanged.
pub(super) fn refuse_foreign(directory: &Path) -> Result<(), BindError> {
    const STICKY: u32 = 0o1000;
    const WRITABLE_TO_ALL: u32 = 0o002;
    let mode_of = |path: &Path| path.metadata().map(|found| found.mode());
    let in_shared_place = directory
        .parent()
        .is_some_and(|parent| mode_of(parent).is_ok_and(|mode| mode & STICKY != 0));
    if !in_shared_place {
        return Ok(());
    }
    let failed = |source| BindError::Io { what: "look at", path: directory.to_owned(), source };
    if let Some(owner) = foreign_owner(directory).map_err(failed)? {
        return Err(BindError::ForeignDirectory { path: directory.to_owned(), owner });
    }
    if mode_of(directory).map_err(failed)? & (STICKY | WRITABLE_TO_ALL) == WRITABLE_TO_ALL {
        return Err(BindError::OpenDirectory(directory.to_owned()));
    }
    Ok(())
}

pub(super) fn refuse_other_files(path: &Path) -> Result<(), BindError> {
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NotASocket(path.into())),
        _ => Ok(()),
    }
}
