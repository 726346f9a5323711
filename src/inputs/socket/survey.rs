//! What is at a socket's path before anybody binds it. It looks, and takes nothing.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::directory::{could_make_files, foreign_owner};
use super::error::BindError;
use super::peer::{Peer, who_serves};
use dispatchd_core::limits::SOCKET_PATH_BYTES_MAX;

/// The permissions of a socket's directory, where it has to be made.
pub(super) const OWN_DIRECTORY_MODE: u32 = 0o700;

/// A socket's path as it is before anybody binds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketSurvey {
    /// Whom a socket made here belongs to.
    pub uid: u32,
    pub gid: u32,
    /// Permission bits of its directory, and whose group it has.
    pub directory_mode: u32,
    pub directory_gid: u32,
    /// Who listens there now; `None` if nobody does.
    pub served_by: Option<Peer>,
}

/// Looks at a path as binding it would, and takes nothing: a daemon that serves it is not
/// disturbed.
///
/// # Errors
/// What a bind would refuse, but for one who serves the path already.
pub(crate) async fn survey(path: &Path) -> Result<SocketSurvey, BindError> {
    refuse_long(path)?;
    let directory = directory_of(path);
    let failed =
        |source| BindError::Io { what: "make files in", path: directory.to_owned(), source };
    could_make_files(directory).map_err(failed)?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let Ok(found) = directory.metadata() else {
        // As a bind will make it.
        return Ok(SocketSurvey {
            uid,
            gid,
            directory_mode: OWN_DIRECTORY_MODE,
            directory_gid: gid,
            served_by: None,
        });
    };
    refuse_foreign(directory)?;
    refuse_other_files(path)?;
    Ok(SocketSurvey {
        uid,
        gid: gid_of_new_file(gid, found.mode(), found.gid()),
        directory_mode: found.mode() & 0o777,
        directory_gid: found.gid(),
        served_by: who_serves(path)
            .await
            .map_err(|source| BindError::Unknown { path: path.into(), source })?,
    })
}

/// Whose group a file has that a process of the group `gid` makes in a directory.
fn gid_of_new_file(gid: u32, directory_mode: u32, directory_gid: u32) -> u32 {
    const SET_GROUP: u32 = 0o2000;
    if directory_mode & SET_GROUP == 0 { gid } else { directory_gid }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_group_of_its_maker_unless_its_directory_hands_its_own_on() {
        for (directory_mode, gid) in [(0o775, 7), (0o1777, 7), (0o2775, 8), (0o2000, 8)] {
            assert_eq!(gid_of_new_file(7, directory_mode, 8), gid, "{directory_mode:o}");
        }
    }
}
