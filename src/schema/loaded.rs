//! A folder's schemas as they were read, and a stamp by which it is seen to have changed since.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dispatchd_schema::bounds::{CATALOG_BYTES_MAX, FILES_MAX};
use dispatchd_schema::catalog::Catalog;
use dispatchd_schema::compiled::Schema;
use dispatchd_schema::folder::{FileError, Part};

use super::Settings;
use super::files::{self, Found, ReadError};

/// What was read of a folder.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(super) catalog: Catalog,
    /// What the folder looked like; `None` of no folder.
    pub(super) stamp: Option<Stamp>,
}

/// What a folder looks like from outside. A ConfigMap's files are links, and what they lead to is
/// another file after a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    folder: PathBuf,
    files: Vec<FileStamp>,
}

/// A file by its name, its number, its size and its time.
type FileStamp = (String, u64, u64, Option<SystemTime>);

/// Why a folder's schemas are not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("it names no folder, and schema.mode or schema.types has events checked")]
    NoFolder,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{}", listed(.0))]
    Files(Vec<FileError>),
    #[error("{}: its schemas take more than {CATALOG_BYTES_MAX} bytes of memory", .0.display())]
    TooMuch(PathBuf),
}

/// The first few, and how many there are besides.
fn listed(errors: &[FileError]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut shown: Vec<String> = errors.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if errors.len() > SHOWN_MAX {
        shown.push(format!("and {} more", errors.len() - SHOWN_MAX));
    }
    shown.join("; ")
}

impl Loaded {
    /// Reads what the settings name. Blocks.
    ///
    /// # Errors
    /// If a schema there is not loaded, or the folder is not read.
    pub(crate) fn read(settings: &Settings) -> Result<Self, LoadError> {
        if !settings.is_on() {
            return Ok(Self::default());
        }
        Self::of(settings.dir.as_deref().ok_or(LoadError::NoFolder)?)
    }

    /// Reads a folder. Blocks.
    ///
    /// # Errors
    /// If a schema there is not loaded, or the folder is not read.
    pub(crate) fn of(folder: &Path) -> Result<Self, LoadError> {
        let (mut catalog, mut files, mut errors) = (Catalog::default(), Vec::new(), Vec::new());
        files::each(folder, &[Part::Schema], |Found { name, text, about }| {
            // Looked at before it was read: what changes meanwhile is then seen to have changed.
            files.push(file_stamp(name, &about));
            errors.extend(catalog.add(name, &text).err());
            if catalog.bytes() > CATALOG_BYTES_MAX {
                return Err(LoadError::TooMuch(folder.to_owned()));
            }
            Ok(())
        })?;
        if !errors.is_empty() {
            errors.sort_by(|one, other| one.file.cmp(&other.file));
            return Err(LoadError::Files(errors));
        }
        Ok(Self { catalog, stamp: Some(Stamp::new(folder, files)) })
    }

    /// The schema of a type.
    pub(crate) fn schema(&self, event_type: &str) -> Option<&Schema> {
        self.catalog.get(event_type)
    }

    /// How many types have a schema.
    pub(crate) fn types(&self) -> usize {
        self.catalog.len()
    }

    /// Bytes of memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.catalog.bytes()
    }
}

impl Stamp {
    fn new(folder: &Path, mut files: Vec<FileStamp>) -> Self {
        files.sort_unstable();
        Self { folder: folder.to_owned(), files }
    }

    /// Looks at a folder. Blocks.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|name| name.ends_with(Part::Schema.ending())) else {
                continue;
            };
            files.push(file_stamp(name, &fs::metadata(&path)?));
            if files.len() > FILES_MAX {
                break; // it is refused, whatever else there is
            }
        }
        Ok(Self::new(folder, files))
    }
}

fn file_stamp(name: &str, about: &Metadata) -> FileStamp {
    (name.to_owned(), about.ino(), about.len(), about.modified().ok())
}
