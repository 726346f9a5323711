//! A directory for one socket that nobody else looks for: below the temporary directory, under a
//! name that is drawn.

use std::env;
use std::fs;
#[cfg(feature = "local")]
use std::io;
#[cfg(feature = "local")]
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// The directory, by its name. It is removed, with all that is in it, when this value is dropped.
#[derive(Debug)]
pub(crate) struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// A directory for a daemon, which makes it for its own user.
    pub(crate) fn unmade(purpose: &str) -> Self {
        let name = format!("dispatchd-{purpose}-{:08x}", rand::random::<u32>());
        Self(env::temp_dir().join(name))
    }

    /// A directory that is there, for our own user.
    ///
    /// # Errors
    /// If it cannot be made.
    #[cfg(feature = "local")]
    pub(super) fn made(purpose: &str) -> io::Result<Self> {
        const MODE: u32 = 0o700;
        let directory = Self::unmade(purpose);
        fs::DirBuilder::new().mode(MODE).create(&directory.0)?;
        Ok(directory)
    }

    /// Where its socket goes.
    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("d.sock")
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // nobody made it where the socket went elsewhere
    }
}
