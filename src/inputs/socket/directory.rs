//! A directory in which a socket may lie: whether files could be made there, and whose it is.
//!
//! It only looks. Nothing is made, and nothing is left behind.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

/// Whether files could be made in a directory, which may itself have to be made. It looks and makes
/// nothing, so that two may look at once; the kernel minds read-only mounts, capabilities and ACLs.
///
/// # Errors
/// Why they could not.
pub(crate) fn could_make_files(dir: &Path) -> io::Result<()> {
    let place = match dir.metadata() {
        Ok(found) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => dir,
        Err(_) => {
            dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
        }
    };
    Ok(access(place, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The user other than us and root to whom a directory belongs, or the link that stands for it.
///
/// # Errors
/// If there is no such directory, or it cannot be looked at.
pub(crate) fn foreign_owner(dir: &Path) -> io::Result<Option<u32>> {
    let own = rustix::process::geteuid().as_raw();
    let owners = [dir.symlink_metadata()?.uid(), dir.metadata()?.uid()];
    Ok(owners.into_iter().find(|owner| *owner != own && *owner != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_whether_files_can_be_made_makes_nothing() {
        let root = tempfile::tempdir().expect("the temporary directory is writable");
        std::fs::write(root.path().join("file"), "").expect("the root is writable");
        let modified = || root.path().metadata().expect("it is there").modified().expect("a time");
        let before = modified();
        assert!(could_make_files(root.path()).is_ok());
        assert!(could_make_files(&root.path().join("new")).is_ok());
        assert!(could_make_files(&root.path().join("file")).is_err());
        assert!(could_make_files(&root.path().join("file/below")).is_err());
        assert!(could_make_files(&root.path().join("no/such")).is_err());
        assert_eq!(modified(), before);
    }
}
