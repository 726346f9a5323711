//! What the commands on schemas do besides printing: folders are read from disk or from a revision
//! of git, and what was made is written. What schemas mean is `dispatchd_schema`'s.

mod git;

use std::path::{Path, PathBuf};

use dispatchd_schema::folder::{FileError, Folder, Part};
use dispatchd_schema::shape::Rules;

use self::git::GitError;
use crate::schema::files::{self, ReadError};

/// Why a command does not do what it was asked for: files, each with what is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{}", lines(.0))]
    Files(Vec<FileError>),
    #[error("cannot write {}: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
}

fn lines(errors: &[FileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// All files of a folder.
pub(crate) fn folder(path: &Path) -> Result<Folder, Error> {
    Ok(files::read(path, &Part::ALL)?)
}

/// The folder as it was: another one, if there is one of that name, else at a revision of git.
pub(crate) fn against(path: &Path, other: &str) -> Result<Folder, Error> {
    match Path::new(other) {
        other if other.is_dir() => folder(other),
        _ => Ok(git::folder_at(path, other)?),
    }
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub path: PathBuf,
    /// Whether it was not there, or was another.
    pub is_changed: bool,
}

/// Writes the schema of each type that has samples beside them.
pub(crate) fn generate(path: &Path, rules: Rules) -> Result<Vec<Written>, Error> {
    let folder = folder(path)?;
    let texts = folder.generate(rules).map_err(Error::Files)?;
    let named = texts.iter().map(|(event_type, text)| (Part::Schema.file_name(event_type), text));
    write_all(path, named)
}

/// Writes files into a folder, which is made if there is none.
pub(crate) fn write_all(
    folder: &Path,
    texts: impl Iterator<Item = (String, impl AsRef<str>)>,
) -> Result<Vec<Written>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Write { path, error }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let written = texts.map(|(name, text)| {
        let path = folder.join(name);
        let is_changed = files::write(&path, text.as_ref()).map_err(failed(&path))?;
        Ok(Written { path, is_changed })
    });
    written.collect()
}
