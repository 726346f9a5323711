//! Keeps two forwarders from delivering one stream to one target with one book of checkpoints.
//!
//! The lock ends with the process, however that ends. Its file stays, and says who holds it: that
//! is for people alone.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// For the forwarder's own user: whoever can open the file can lock it.
const MODE: u32 = 0o600;
/// Bytes of a holder's name that are read of a file that anybody may have written.
const HOLDER_BYTES_MAX: u64 = 256;

/// The right to a book.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why there is no right to a book.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLocked {
    #[error(
        "another forwarder holds it: {0}. Stop that one, or give this one a target of another name"
    )]
    Held(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of this file, and writes down who has it.
    pub(super) fn take(path: &Path) -> Result<Self, NotLocked> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NotLocked::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        writeln!(file, "process {} on {host}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock of this file; `None` if nobody does, or there is no such file. Whoever takes
/// the lock at this very moment is refused it.
pub(super) fn held_by(path: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn holder(file: &mut File) -> String {
    let mut name = Vec::new();
    let read = file.rewind().and_then(|()| file.take(HOLDER_BYTES_MAX).read_to_end(&mut name));
    let name = String::from_utf8_lossy(&name);
    match (read, name.trim()) {
        (Err(_), _) | (_, "") => "it does not say who it is".to_owned(),
        (_, name) => name.to_owned(),
    }
}
