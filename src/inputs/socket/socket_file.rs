//! The socket file: bound where callers look for it, and kept there.
//!
//! Whoever listens at the path already is left alone; a file that a killed daemon left never blocks
//! a start. The file is bound under its own name, since cleaners of temporary files go by the name
//! that the kernel tells. It has its permissions before it listens, so nobody can connect with
//! wrong ones. What is no socket is never replaced.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixSocket};
use tokio::time::{Instant, sleep};

use super::error::BindError;
use super::lock::{Inode, Lock, hold_directory, inode};
use super::peer::who_serves;
use super::survey::{
    OWN_DIRECTORY_MODE, directory_of, refuse_foreign, refuse_long, refuse_other_files,
};

/// Connections that may wait to be accepted. The kernel caps this at `net.core.somaxconn`, 4096 by
/// default.
const BACKLOG: u32 = 1024;
/// How long the lock may be held by one who does not listen: a daemon that starts does so within
/// milliseconds.
const LOCK_WITHOUT_SOCKET_MAX: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often a socket's owner looks whether its path still leads to it.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A socket that listens at its path. Dropped, it removes its file, if that is still its own.
#[derive(Debug)]
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    mode: u32,
    inode: Inode,
    lock: Lock,
    _directory: Option<File>,
    reach: Reach,
}

/// Whether callers who connect now come to us. The owner of the file writes it, the probes read it.
#[derive(Debug, Clone)]
pub struct Reach(Arc<AtomicBool>);

/// What a look at the path came to.
#[derive(Debug)]
pub(crate) enum Look {
    Here,
    /// The path led elsewhere, and leads to a new listener now. This is the old one, for callers
    /// who had connected there and were not accepted yet.
    BoundAgain(UnixListener),
    Lost,
}

impl SocketFile {
    /// Makes the directory if it is missing, takes the path, sets the permissions, and only then
    /// listens.
    ///
    /// # Errors
    /// The path cannot be had, or somebody serves it.
    pub(crate) async fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        refuse_long(path)?;
        make_directory(path)?;
        let lock = take_lock(path).await?;
        let (listener, inode) = listen(path, mode)?;
        let (path, directory) = (path.to_owned(), hold_directory(directory_of(path)));
        Ok(Self { listener, path, mode, inode, lock, _directory: directory, reach: Reach::new() })
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// The same listener for another thread's runtime.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub(crate) fn share(&self) -> io::Result<StdUnixListener> {
        self.listener.as_fd().try_clone_to_owned().map(StdUnixListener::from)
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// Looks whether the path still leads here, and binds again if it does not: a cleaner may have
    /// taken the file, or a volume been mounted anew. Where that cannot be, it says why, once, and
    /// the next look tries again.
    pub(crate) async fn look(&mut self) -> Look {
        let is_here = inode(&self.path).is_ok_and(|inode| inode == self.inode);
        let looked =
            if is_here { self.lock_again().map(|()| Look::Here) } else { self.bind_again().await };
        let (look, error) = match looked {
            Ok(look) => (look, None),
            Err(error) => (if is_here { Look::Here } else { Look::Lost }, Some(error)),
        };
        let was_here = self.reach.0.swap(!matches!(look, Look::Lost), Ordering::AcqRel);
        let socket = self.path.display();
        match (&look, error) {
            (Look::Lost, Some(error)) if was_here => tracing::error!(
                %socket, %error,
                "the socket's path leads to this daemon no more, and it cannot be bound again: who \
                 connects now does not come here. It is tried again every second; callers that \
                 are connected are served"
            ),
            (Look::BoundAgain(_), _) => tracing::warn!(
                %socket,
                "the socket's path led to this daemon no more, it is bound again: see what removes \
                 or replaces it. Callers that are connected stay so"
            ),
            (Look::Here, _) if !was_here => {
                tracing::info!(%socket, "the socket's path leads to this daemon again")
            }
            _ => {}
        }
        look
    }

    /// Without its lock file a second daemon would come as far as the socket, and be refused there.
    fn lock_again(&mut self) -> Result<(), BindError> {
        if !self.lock.leads_here()
            && let Some(lock) = Lock::take(&self.path)?
        {
            self.lock = lock;
        }
        Ok(())
    }

    async fn bind_again(&mut self) -> Result<Look, BindError> {
        make_directory(&self.path)?;
        if self.lock.leads_here() {
            refuse_served(&self.path).await?;
        } else {
            self.lock = take_lock(&self.path).await?;
        }
        let (listener, inode) = listen(&self.path, self.mode)?;
        self.inode = inode;
        self._directory = hold_directory(directory_of(&self.path));
        Ok(Look::BoundAgain(std::mem::replace(&mut self.listener, listener)))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // A file that cannot be removed is stale, and stale files block nobody.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Reach {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn is_here(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Makes the directory for us alone if it is missing.
fn make_directory(path: &Path) -> Result<(), BindError> {
    let directory = directory_of(path);
    let failed =
        |source| BindError::Io { what: "make the directory", path: directory.to_owned(), source };
    match DirBuilder::new().mode(OWN_DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    refuse_foreign(directory)
}

/// Takes the lock of a path that nobody serves. Who holds it without listening for long is no
/// daemon, and may not keep one from starting: whoever could open the file once, as a lock of an
/// older version, could lock it for ever.
async fn take_lock(path: &Path) -> Result<Lock, BindError> {
    let began = Instant::now();
    loop {
        refuse_served(path).await?;
        if let Some(lock) = Lock::take(path)? {
            refuse_served(path).await?; // the one before us may have listened in between
            return Ok(lock);
        }
        if began.elapsed() >= LOCK_WITHOUT_SOCKET_MAX {
            let lock = Lock::take_anew(path)?.ok_or_else(|| BindError::Raced(path.to_owned()))?;
            tracing::warn!(
                socket = %path.display(),
                "the socket's lock was held by a process that does not serve it: the lock is made \
                 anew. See who may open it"
            );
            return Ok(lock);
        }
        sleep(ASK_AGAIN).await;
    }
}

async fn refuse_served(path: &Path) -> Result<(), BindError> {
    refuse_other_files(path)?;
    let unknown = |source| BindError::Unknown { path: path.into(), source };
    match who_serves(path).await.map_err(unknown)? {
        Some(peer) => Err(BindError::InUse { path: path.to_owned(), peer }),
        None => Ok(()),
    }
}

/// Binds in the place of a file that nobody serves, under the lock.
fn listen(path: &Path, mode: u32) -> Result<(UnixListener, Inode), BindError> {
    let failed = |what| move |source| BindError::Io { what, path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove")(error));
        }
        _ => {}
    }
    let socket = UnixSocket::new_stream().map_err(failed("make a socket for"))?;
    socket.bind(path).map_err(failed("bind"))?;
    let inode = set_mode(path, mode).map_err(failed("set the permissions of"))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listen at"))?;
    Ok((listener, inode))
}

/// Of the socket that we made: not of what somebody put in its place, nor of what a link there
/// leads to.
fn set_mode(path: &Path, mode: u32) -> io::Result<Inode> {
    let made = File::from(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let found = made.metadata()?;
    if !found.file_type().is_socket() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("somebody else has put another file there"));
    }
    // A descriptor that only names a file is changed by no other call. Where nothing is mounted at
    // /proc, as in a bare chroot, its path has to do: nobody but us can replace it, or the
    // directory would have been refused.
    let permissions = || PermissionsExt::from_mode(mode);
    match std::fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), permissions()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::set_permissions(path, permissions())?
        }
        set => set?,
    }
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests;
