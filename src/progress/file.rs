//! A book's file, and its lock beside it. Every call here blocks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::document::{self, Contents, NotABook};
use super::lock::{Lock, NotLocked, held_by};

/// Checkpoints name shards and numbers, and nothing of a record: yet only the forwarder writes
/// them.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The file of one stream's and one target's checkpoints, and the right to write it.
#[derive(Debug)]
pub(super) struct BookFile {
    path: PathBuf,
    stream: String,
    target: String,
    _lock: Lock,
}

/// Why a book cannot be opened, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot use {} for checkpoints: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: NotLocked },
    #[error(
        "{}: {why}. Nothing is delivered until it is mended; moved away, it lets delivery begin \
         where `from` says", path.display()
    )]
    NotABook { path: PathBuf, why: NotABook },
}

/// What was seen of a book that was not opened.
#[derive(Debug)]
pub(crate) struct Survey {
    pub path: PathBuf,
    /// How many have a checkpoint.
    pub shards: usize,
    /// The forwarder that holds it.
    pub holder: Option<String>,
}

/// Looks at a book as [`BookFile::open`] would, and leaves everything as it is.
///
/// # Errors
/// Why it could not be opened, but for its lock.
pub(crate) fn survey(directory: &Path, stream: &str, target: &str) -> Result<Survey, OpenError> {
    let (directory, path, lock) = places(directory, stream, target);
    writable(&directory).map_err(|source| OpenError::Io { path: directory, source })?;
    let shards = read(&path, stream, target)?.shards.len();
    let holder = held_by(&lock)
        .map_err(|source| OpenError::Lock { path: lock.clone(), source: source.into() })?;
    Ok(Survey { path, shards, holder })
}

/// Whether files can be made in a directory, or the directory itself where it is not there.
///
/// # Errors
/// Why not.
pub(crate) fn writable(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Err(Errno::NOENT) => match directory.parent() {
            Some(parent) => writable(parent),
            None => Err(Errno::NOENT.into()),
        },
        may => Ok(may?),
    }
}

/// The directory of a stream's books, the book of a target, and its lock.
fn places(directory: &Path, stream: &str, target: &str) -> (PathBuf, PathBuf, PathBuf) {
    let directory = directory.join(file_name(stream));
    let [path, lock] = ["json", "lock"].map(|end| directory.join(format!("{target}.{end}")));
    (directory, path, lock)
}

/// What a book holds: nothing, where there is none.
fn read(path: &Path, stream: &str, target: &str) -> Result<Contents, OpenError> {
    match fs::read(path) {
        Ok(text) => document::read(&text, stream, target)
            .map_err(|why| OpenError::NotABook { path: path.to_owned(), why }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
        Err(source) => Err(OpenError::Io { path: path.to_owned(), source }),
    }
}

impl BookFile {
    /// Opens the book below this directory, which is made if it is not there, and reads it.
    pub(super) fn open(
        directory: &Path,
        stream: &str,
        target: &str,
    ) -> Result<(Self, Contents), OpenError> {
        let (directory, path, lock_path) = places(directory, stream, target);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&directory)
            .map_err(failed(&directory))?;
        let lock =
            Lock::take(&lock_path).map_err(|source| OpenError::Lock { path: lock_path, source })?;
        let mut contents = read(&path, stream, target)?;
        contents.opened(SystemTime::now());
        let (stream, target) = (stream.to_owned(), target.to_owned());
        let book = Self { path, stream, target, _lock: lock };
        book.write(&contents).map_err(failed(&book.path))?; // now, and not after a first delivery
        Ok((book, contents))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the book. It is on the disk when this returns; if it fails, the old one is.
    pub(super) fn write(&self, contents: &Contents) -> io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(FILE_MODE);
        let mut file = options.open(&beside)?;
        file.write_all(&document::write(&self.stream, &self.target, contents))?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let directory = self.path.parent().expect("the file lies in a directory that was joined");
        File::open(directory)?.sync_all() // or the new name may be lost
    }
}

/// A stream's name or ARN as the name of a directory: an ARN has a slash.
fn file_name(stream: &str) -> String {
    stream.replace('/', "_")
}

#[cfg(test)]
mod tests {
    use dispatchd_consumer::delivery::Checkpoint;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("the temporary directory is writable")
    }

    #[test]
    fn what_was_written_is_there_when_the_book_is_opened_again() {
        let directory = directory();
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        let (book, contents) = BookFile::open(directory.path(), arn, "crm").expect("it is new");
        assert_eq!(contents, Contents::default());
        let shards = [("shard-0".to_owned(), Checkpoint::End)].into();
        let contents = Contents { shards, ..contents };
        book.write(&contents).expect("the directory is writable");
        drop(book);
        let (_book, read) = BookFile::open(directory.path(), arn, "crm").expect("it is whole");
        assert_eq!(read, contents);
    }

    #[test]
    fn a_second_forwarder_is_refused_and_told_of_the_first() {
        let directory = directory();
        let open = || BookFile::open(directory.path(), "orders", "crm");
        let first = open().expect("it is new");
        let refused = open().expect_err("it is held").to_string();
        let holder = format!("another forwarder holds it: process {} on ", std::process::id());
        assert!(refused.contains(&holder), "{refused}");
        BookFile::open(directory.path(), "orders", "mail").expect("another target is another book");
        drop(first);
        open().expect("it is free again");
    }

    #[test]
    fn a_survey_says_what_a_book_holds_and_who_holds_it_and_makes_nothing() {
        let directory = directory();
        let survey = || survey(directory.path(), "orders", "crm");
        let empty = survey().expect("the directory is writable");
        assert_eq!((empty.shards, empty.holder), (0, None));
        assert!(!directory.path().join("orders").exists());
        let (book, contents) =
            BookFile::open(directory.path(), "orders", "crm").expect("it is new");
        let shards = [("shard-0".to_owned(), Checkpoint::End)].into();
        book.write(&Contents { shards, ..contents }).expect("the directory is writable");
        let held = survey().expect("it is whole");
        assert_eq!(held.shards, 1);
        let holder = format!("process {} on ", std::process::id());
        assert!(held.holder.is_some_and(|told| told.starts_with(&holder)));
        drop(book);
        assert_eq!(survey().expect("it is whole").holder, None);
        fs::write(directory.path().join("orders/crm.json"), "{").expect("it is ours");
        assert!(matches!(survey(), Err(OpenError::NotABook { .. })));
    }

    #[test]
    fn a_torn_book_is_refused_by_name_and_left_as_it_is() {
        let directory = directory();
        let open = || BookFile::open(directory.path(), "orders", "crm");
        drop(open().expect("it is new"));
        let path = directory.path().join("orders/crm.json");
        fs::write(&path, "{\"version\":1,\"str").expect("the directory is writable");
        let refused = open().expect_err("it is torn").to_string();
        assert!(refused.starts_with(&path.display().to_string()), "{refused}");
        assert_eq!(fs::read(&path).expect("it is there"), b"{\"version\":1,\"str");
    }
}
