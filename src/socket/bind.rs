//! The socket file: made beside its path, then renamed over it.
//!
//! A file that a killed daemon left never blocks a start, and there is no moment without a socket or with wrong
//! permissions. A lock file beside it keeps two live daemons apart. What is no socket is never replaced.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::config::try_making_files;
use crate::limits::SOCKET_PATH_BYTES_MAX;

/// Connections that may wait to be accepted. The kernel cuts it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 1024;

/// Of the directory, where it has to be made.
const OWN_DIRECTORY_MODE: u32 = 0o700;

/// A socket that listens at its path.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    place: Place,
}

/// The socket's file. Dropped, it takes the file along, if it is still its own.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    inode: (u64, u64),
    /// Held as long as the socket is: the lock ends with the file's last handle.
    _lock: File,
}

/// The place of a socket as it is before anybody takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Whom a socket made here belongs to.
    pub uid: u32,
    pub gid: u32,
    /// Permission bits of its directory, and whose group it has.
    pub directory_mode: u32,
    pub directory_gid: u32,
    /// Somebody listens there now.
    pub is_served: bool,
}

/// Why there is no socket. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("the socket path {} is {} bytes, a Unix socket takes at most {SOCKET_PATH_BYTES_MAX}: choose a shorter one", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    #[error("{} exists and is no socket: it is not replaced. Remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    #[error("another dispatchd{owner} serves {}: stop it or choose another path", path.display())]
    InUse { path: PathBuf, owner: String },
    #[error("the directory {} belongs to user {owner}, who could replace the socket in it: choose another path", path.display())]
    ForeignDirectory { path: PathBuf, owner: u32 },
    #[error("cannot {what} {}: {source}. The directory must be writable to user {}", path.display(), rustix::process::geteuid().as_raw())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl Bound {
    /// Binds, sets the permissions, listens, and only then puts the socket in its place.
    pub fn new(path: &Path, mode: u32) -> Result<Self, BindError> {
        refuse_long(path)?;
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| BindError::Io { what, path, source }
        };
        make_directory(path)?;
        let lock = lock(path)?;
        refuse_other_files(path)?;
        let temporary = temporary_name(path);
        refuse_other_files(&temporary)?;
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &temporary)(error));
            }
            _ => {}
        }
        let socket = UnixSocket::new_stream().map_err(failed("make a socket for", path))?;
        socket.bind(&temporary).map_err(failed("bind", &temporary))?;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&temporary, permissions).map_err(failed("set the permissions of", &temporary))?;
        let listener = socket.listen(BACKLOG).map_err(failed("listen at", &temporary))?;
        let inode = inode(&temporary).map_err(failed("look at", &temporary))?;
        std::fs::rename(&temporary, path).map_err(failed("move the socket to", path))?;
        Ok(Self { listener, place: Place { path: path.to_owned(), inode, _lock: lock } })
    }

    pub fn path(&self) -> &Path {
        &self.place.path
    }

    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// The socket and its file, for one who listens on another thread.
    pub fn into_parts(self) -> (UnixListener, Place) {
        (self.listener, self.place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // A file that cannot be removed is stale, and stale files block nobody.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Looks at a place as [`Bound::new`] would and takes nothing: a daemon that serves it is not disturbed.
///
/// # Errors
/// What [`Bound::new`] would refuse, but for a daemon that serves the path already.
pub async fn survey(path: &Path) -> Result<Site, BindError> {
    const SET_GROUP: u32 = 0o2000;
    refuse_long(path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| BindError::Io { what: "make files in", path: directory.to_owned(), source };
    try_making_files(directory).map_err(failed)?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let Ok(found) = directory.metadata() else {
        // As `make_directory` will make it.
        return Ok(Site { uid, gid, directory_mode: OWN_DIRECTORY_MODE, directory_gid: gid, is_served: false });
    };
    refuse_foreign(directory)?;
    refuse_other_files(path)?;
    let is_served = match UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock, // more wait than its queue holds
    };
    Ok(Site {
        uid,
        gid: if found.mode() & SET_GROUP == 0 { gid } else { found.gid() },
        directory_mode: found.mode() & 0o777,
        directory_gid: found.gid(),
        is_served,
    })
}

fn refuse_long(path: &Path) -> Result<(), BindError> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX { Err(BindError::TooLong(path.into())) } else { Ok(()) }
}

/// Makes the directory for us alone if it is missing. One that somebody else made in a shared place such as
/// `/tmp` is refused: the socket in it could be exchanged.
fn make_directory(path: &Path) -> Result<(), BindError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    let failed = |source| BindError::Io { what: "make the directory", path: directory.to_owned(), source };
    match DirBuilder::new().mode(OWN_DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    refuse_foreign(directory)
}

fn refuse_foreign(directory: &Path) -> Result<(), BindError> {
    const STICKY: u32 = 0o1000;
    let in_shared_place =
        directory.parent().and_then(|parent| parent.metadata().ok()).is_some_and(|parent| parent.mode() & STICKY != 0);
    let failed = |source| BindError::Io { what: "look at", path: directory.to_owned(), source };
    let owner = directory.metadata().map_err(failed)?.uid();
    if in_shared_place && owner != rustix::process::geteuid().as_raw() && owner != 0 {
        return Err(BindError::ForeignDirectory { path: directory.to_owned(), owner });
    }
    Ok(())
}

/// One daemon a path. The lock ends with the process, however it ends; the file stays, since removing it would
/// let two daemons lock two different files.
fn lock(path: &Path) -> Result<File, BindError> {
    let mut lock_path = path.to_owned().into_os_string();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |what| {
        let path = lock_path.clone();
        move |source| BindError::Io { what, path, source }
    };
    let mut options = File::options();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&lock_path).map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            let owner =
                if read.is_ok() && !pid.is_empty() { format!(" (process {})", pid.trim()) } else { String::new() };
            return Err(BindError::InUse { path: path.to_owned(), owner });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed("write"))?;
    Ok(file)
}

fn refuse_other_files(path: &Path) -> Result<(), BindError> {
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NotASocket(path.into())),
        _ => Ok(()),
    }
}

/// A name in the same directory and of the same length, so that it is never too long when the path is not. It is
/// always the same: what a killed daemon left there is removed under the lock.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().as_bytes().to_vec();
    if let Some(last) = name.last_mut() {
        *last = if *last == b'~' { b'_' } else { b'~' };
    }
    std::ffi::OsStr::from_bytes(&name).into()
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<Bound, String> {
        Bound::new(path, 0o660).map_err(|error| error.to_string())
    }

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().expect("it exists").mode() & 0o777
    }

    #[tokio::test]
    async fn a_stale_file_blocks_no_start_and_a_stop_takes_the_file_along() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("new/d.sock");
        std::fs::create_dir(dir.path().join("new")).expect("a directory");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket to go stale"));
        std::fs::File::create(temporary_name(&path)).expect("a file");
        assert!(bind(&path).expect_err("no socket is replaced").contains("is no socket"));
        std::fs::remove_file(temporary_name(&path)).expect("it is there");
        let bound = bind(&path).expect("the stale socket is replaced");
        assert_eq!(mode(&path), 0o660);
        UnixStream::connect(&path).await.expect("it listens");
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn two_live_daemons_never_share_a_path() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("d.sock");
        let first = bind(&path).expect("it is free");
        let refused = bind(&path).expect_err("it is taken");
        assert!(refused.contains(&format!("another dispatchd (process {})", std::process::id())), "{refused}");
        UnixStream::connect(&path).await.expect("the first one still listens");
        drop(first);
        bind(&path).expect("it is free again");
    }

    #[tokio::test]
    async fn a_survey_sees_what_a_start_would_meet_and_changes_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("made/d.sock");
        let unmade = survey(&path).await.expect("the directory can be made");
        assert_eq!((unmade.directory_mode, unmade.is_served), (0o700, false));
        assert!(!dir.path().join("made").exists());
        let bound = bind(&path).expect("it is free");
        let served = survey(&path).await.expect("a daemon that serves it is no obstacle");
        assert_eq!(served, Site { is_served: true, ..unmade });
        assert_eq!(std::fs::read_dir(dir.path().join("made")).expect("a directory").count(), 2, "socket and lock");
        drop(bound);
        std::fs::File::create(&path).expect("a file");
        assert!(matches!(survey(&path).await, Err(BindError::NotASocket(_))));
        assert!(matches!(survey(&path.join("below/d.sock")).await, Err(BindError::Io { what: "make files in", .. })));
    }

    #[tokio::test]
    async fn the_directory_is_made_for_us_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("made/d.sock");
        let _bound = bind(&path).expect("the directory is made");
        assert_eq!(mode(&dir.path().join("made")), 0o700);
    }

    #[tokio::test]
    async fn a_path_may_be_107_bytes_and_no_more() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let room = SOCKET_PATH_BYTES_MAX - dir.path().as_os_str().len() - 1;
        bind(&dir.path().join("s".repeat(room))).expect("107 bytes fit");
        let refused = bind(&dir.path().join("s".repeat(room + 1))).expect_err("108 do not");
        assert!(refused.contains("is 108 bytes, a Unix socket takes at most 107"), "{refused}");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_ours_any_more_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("d.sock");
        let bound = bind(&path).expect("it is free");
        std::fs::remove_file(&path).expect("it is there");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("another socket");
        drop(bound);
        assert!(path.exists());
    }
}
