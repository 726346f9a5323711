//! Whether a socket's directory bars those whom the socket's mode lets in: who connects must pass
//! through the directory.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What `socket.mode` is unless somebody chose it: that a directory bars its group is then nobody's
/// mistake.
pub(crate) const DEFAULT_MODE: u32 = 0o660;

/// Who is kept out by a socket's directory though a mode that somebody chose lets them in, and what
/// would let them pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Barred {
    pub who: String,
    /// For chmod.
    pub wanted: &'static str,
}

/// Who is barred from a socket of this mode; `None` if nobody is. `gid` is the socket's group.
pub(crate) fn barred(
    mode: u32,
    gid: u32,
    directory_mode: u32,
    directory_gid: u32,
) -> Option<Barred> {
    let everybody_passes = directory_mode & 0o001 != 0;
    let group_passes = everybody_passes || (directory_gid == gid && directory_mode & 0o010 != 0);
    if mode & 0o002 != 0 && !everybody_passes {
        return Some(Barred { who: "other users".to_owned(), wanted: "o+x" });
    }
    let is_barred = mode != DEFAULT_MODE && mode & 0o020 != 0 && !group_passes;
    // Of another group, the directory lets nobody of the socket's pass but with everybody.
    let wanted = if directory_gid == gid { "g+x" } else { "o+x" };
    is_barred.then(|| Barred { who: format!("group {gid}"), wanted })
}

/// Who is barred from a socket that is there; `None` if nobody is.
///
/// # Errors
/// If the socket or its directory cannot be looked at.
pub(crate) fn barred_from(socket: &Path, mode: u32) -> io::Result<Option<Barred>> {
    let directory = socket
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let (socket, directory) = (socket.metadata()?, directory.metadata()?);
    Ok(barred(mode, socket.gid(), directory.mode(), directory.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_bars_whom_it_does_not_let_pass() {
        let others = Some(("other users".to_owned(), "o+x"));
        let group = |wanted| Some(("group 7".to_owned(), wanted));
        for (mode, directory_mode, directory_gid, expected) in [
            (0o666, 0o700, 7, others.clone()),
            (0o666, 0o750, 7, others),
            (0o666, 0o755, 0, None),
            (0o620, 0o700, 7, group("g+x")),
            (0o620, 0o750, 0, group("o+x")),
            (0o620, 0o750, 7, None),
            (0o620, 0o711, 0, None),
            (0o600, 0o700, 7, None),
            (DEFAULT_MODE, 0o700, 7, None),
        ] {
            let found = barred(mode, 7, directory_mode, directory_gid)
                .map(|barred| (barred.who, barred.wanted));
            assert_eq!(found, expected, "{mode:o} in {directory_mode:o} of {directory_gid}");
        }
    }
}
