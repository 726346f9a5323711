//! The locks around a socket: one allows one daemon a path, the other keeps cleaners of temporary
//! files away.
//!
//! A lock ends with the process, however that ends. Its file stays, since removing it would let two
//! daemons lock two different files. Nothing is written into a file, and a file that is not our own
//! is never touched.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::BindError;

/// The permissions of a lock file: nobody else can open it, not even for reading, since whoever can
/// open a file can lock it.
const LOCK_MODE: u32 = 0o600;
/// The bits of a mode that are permissions.
const MODE_BITS: u32 = 0o7777;

/// What tells a file from every other one for as long as something holds it.
pub(super) type Inode = (u64, u64);

/// The right to a socket's path.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    inode: Inode,
    _file: File,
}

impl Lock {
    /// Takes the lock of this socket; `None` if somebody holds it.
    pub(super) fn take(socket: &Path) -> Result<Option<Self>, BindError> {
        let path = lock_path(socket);
        let file = open_own(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(BindError::Io { what: "lock", path, source });
            }
        }
        let found = file.metadata().map_err(|source| BindError::Io {
            what: "look at",
            path: path.clone(),
            source,
        })?;
        let lock = Self { path, inode: inode_of(&found), _file: file };
        // Somebody may have made the file anew since it was opened.
        Ok(lock.leads_here().then_some(lock))
    }

    /// Takes the lock though a process holds its file: a new file takes its place. `None` if
    /// somebody locks the new one first.
    pub(super) fn take_anew(socket: &Path) -> Result<Option<Self>, BindError> {
        let path = lock_path(socket);
        std::fs::remove_file(&path).map_err(|source| BindError::Io {
            what: "remove",
            path,
            source,
        })?;
        Self::take(socket)
    }

    /// Whether the next one who asks for the lock finds this one.
    pub(super) fn leads_here(&self) -> bool {
        inode(&self.path).is_ok_and(|inode| inode == self.inode)
    }
}

/// Keeps systemd-tmpfiles and its like from taking away what lies in a directory of ours: they pass
/// over one that is locked. A directory that others use too, such as `/tmp`, stays theirs to clean.
pub(super) fn hold_directory(directory: &Path) -> Option<File> {
    const STICKY: u32 = 0o1000;
    let open =
        File::options().read(true).custom_flags(flags(OFlags::DIRECTORY)).open(directory).ok()?;
    let found = open.metadata().ok()?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & STICKY == 0;
    (is_ours && open.try_lock_shared().is_ok()).then_some(open)
}

pub(super) fn inode(path: &Path) -> io::Result<Inode> {
    path.symlink_metadata().map(|found| inode_of(&found))
}

fn inode_of(found: &std::fs::Metadata) -> Inode {
    (found.dev(), found.ino())
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.to_owned().into_os_string();
    path.push(".lock");
    path.into()
}

/// Opens or makes the file. In a directory that others may write to, one could have planted a link
/// there, to a file that is worth something.
fn open_own(path: &Path) -> Result<File, BindError> {
    let failed = |what| move |source| BindError::Io { what, path: path.to_owned(), source };
    let not_ours = |what| BindError::NotOurLock { path: path.to_owned(), what };
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(LOCK_MODE);
    let file = match options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(not_ours("is a symbolic link"));
        }
        opened => opened.map_err(failed("open"))?,
    };
    let found = file.metadata().map_err(failed("look at"))?;
    if !found.is_file() {
        return Err(not_ours("is no regular file"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(not_ours("belongs to another user"));
    }
    if found.nlink() > 1 {
        return Err(not_ours("has another name too"));
    }
    if found.mode() & MODE_BITS != LOCK_MODE {
        file.set_permissions(PermissionsExt::from_mode(LOCK_MODE))
            .map_err(failed("set the permissions of"))?;
    }
    Ok(file)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}
