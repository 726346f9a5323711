//! Dead letters in a file, one line each, synced before anyone is told that they are kept.
//!
//! - A file that is full is renamed to `PATH.1`, `PATH.2` and so on; the numbers only grow, so that
//!   an operator who moves files away never meets a name twice: `PATH.lock` holds the last. Where
//!   as many files are there as may be, nothing more is taken: a letter is the last copy, and none
//!   is deleted for another.
//! - The last line of a crash, which nobody was told of, is cut off at the next start.
//! - `PATH.lock` keeps two processes apart. The files are for their owner alone: they hold events.
//!
//! It blocks: who calls it does so from a thread that may wait for a disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::lines::Line;
use dispatchd_core::limits::MIB;

const MODE: u32 = 0o600;

/// Bytes that are read at once, from the end, to find the last line's end.
const TAIL_BYTES: u64 = 64 * 1024;

/// Bytes of the number of a full file, and a line end.
const NUMBER_BYTES_MAX: usize = 21;

/// The file, and how much there may be of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    pub path: PathBuf,
    /// Bytes from which on a file is full; its last letters may go beyond.
    pub max_bytes: u64,
    /// How many files there may be, the one that is written among them.
    pub max_files: usize,
}

/// Why letters are not kept, or no file is there for them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FileError {
    #[error("dead letters: cannot {what} {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: Arc<io::Error> },
    #[error("dead letters: another process writes to {}", path.display())]
    Locked { path: PathBuf },
    #[error(
        "dead letters: {count} files are there as {}, as many as may be: move those with a number \
         away once they are replayed",
        path.display()
    )]
    Full { path: PathBuf, count: usize },
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct LetterFile {
    settings: FileSettings,
    file: File,
    /// Bytes of whole lines that are synced.
    bytes: u64,
    /// Whether more than those may be there: half of a line that could not be cut off.
    is_torn: bool,
    /// Held as long as this lives; in it, the last number that a full file got.
    lock: File,
}

impl FileSettings {
    /// 64 MiB a file and ten files.
    pub fn new(path: PathBuf) -> Self {
        Self { path, max_bytes: 64 * MIB as u64, max_files: 10 }
    }
}

impl LetterFile {
    pub(super) fn open(settings: FileSettings) -> Result<Self, FileError> {
        let path = &settings.path;
        let folder = folder(path);
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        let lock = lock(&beside(path, "lock"))?;
        let (file, bytes) = open_whole(path)?;
        Ok(Self { settings, file, bytes, is_torn: false, lock })
    }

    /// Appends these letters, and syncs them.
    pub(super) fn append(&mut self, lines: &[Line]) -> Result<(), FileError> {
        if !self.has_its_name()? {
            let path = &self.settings.path;
            (self.file, self.bytes) = open_whole(path)?;
            self.is_torn = false;
            tracing::info!(path = %path.display(), "dead letters: the file is gone, another was begun");
        }
        if self.is_torn {
            self.file.set_len(self.bytes).map_err(failed("repair", &self.settings.path))?;
            self.is_torn = false;
        }
        if self.bytes >= self.settings.max_bytes {
            self.rotate()?;
        }
        let text: Vec<u8> = lines.iter().flat_map(|line| line.json.iter().copied()).collect();
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half of a line must not stand before the next one. Where that fails too, it is tried
            // again before the next one is written; the next start would find it as well.
            self.is_torn = self.file.set_len(self.bytes).is_err();
            return Err(failed("write", &self.settings.path)(error));
        }
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Whether the file is still the one of that name. Into one that was moved away, or deleted,
    /// nothing more is written: who took it may be done with it.
    fn has_its_name(&self) -> Result<bool, FileError> {
        let path = &self.settings.path;
        let ours = self.file.metadata().map_err(failed("look at", path))?;
        match fs::metadata(path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("look at", path)(error)),
        }
    }

    /// Gives the full file a number, and begins another.
    fn rotate(&mut self) -> Result<(), FileError> {
        let path = &self.settings.path;
        let numbers = numbers(path)?;
        let count = numbers.len() + 1;
        if count >= self.settings.max_files {
            return Err(FileError::Full { path: path.clone(), count });
        }
        let last = last_number(&self.lock).map_err(failed("read the lock of", path))?;
        let number = numbers.into_iter().max().unwrap_or(0).max(last) + 1;
        let text = format!("{number}\n"); // as long as the one before, or longer
        let noted = self.lock.write_all_at(text.as_bytes(), 0);
        noted.and_then(|()| self.lock.sync_data()).map_err(failed("number", path))?;
        let full = beside(path, &number.to_string());
        fs::rename(path, &full).map_err(failed("rename", path))?;
        (self.file, self.bytes) = open_whole(path)?;
        tracing::info!(full = %full.display(), "dead letters: a file is full, another was begun");
        Ok(())
    }
}

/// Opens the file to append to it, or makes it; what is no whole line at its end is cut off.
fn open_whole(path: &Path) -> Result<(File, u64), FileError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    let file = options.open(path).map_err(failed("open", path))?;
    let bytes = file.metadata().map_err(failed("look at", path))?.len();
    let whole = whole_lines_bytes(&file, bytes).map_err(failed("read", path))?;
    if whole < bytes {
        file.set_len(whole).map_err(failed("repair", path))?;
        tracing::warn!(
            path = %path.display(),
            bytes = bytes - whole,
            "dead letters: the last line was not whole and is cut off. A crash left it: its record \
             was not counted as done, and comes again"
        );
    }
    file.sync_all().map_err(failed("sync", path))?;
    sync_folder(path)?;
    Ok((file, whole))
}

/// Bytes up to the end of the last whole line.
fn whole_lines_bytes(file: &File, bytes: u64) -> io::Result<u64> {
    let mut end = bytes;
    while end > 0 {
        let begin = end.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; (end - begin) as usize]; // at most TAIL_BYTES
        file.read_exact_at(&mut tail, begin)?;
        if let Some(last) = memchr::memrchr(b'\n', &tail) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// The numbers of the full files.
fn numbers(path: &Path) -> Result<Vec<u64>, FileError> {
    let folder = folder(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
    let entries = fs::read_dir(folder).map_err(failed("list", folder))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", folder))?.file_name();
        let number = entry.to_str().and_then(|entry| entry.strip_prefix(&name));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// The number that the lock holds; 0 if it holds none.
fn last_number(lock: &File) -> io::Result<u64> {
    let mut text = [0; NUMBER_BYTES_MAX];
    let bytes = lock.read_at(&mut text, 0)?;
    let number = str::from_utf8(&text[..bytes]).ok().and_then(|text| text.trim().parse().ok());
    Ok(number.unwrap_or(0))
}

/// A name that was made or changed is on the disk once its folder is.
fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn lock(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(failed("open", path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| FileError::Locked { path: path.to_owned() })?;
    Ok(file)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(ending);
    name.into()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError::Io { what, path, error: Arc::new(error) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn line(text: &str) -> Line {
        Line { json: format!("{text}\n").into_bytes(), partition_key: None }
    }

    fn settings(folder: &Path) -> FileSettings {
        FileSettings { path: folder.join("letters.ndjson"), max_bytes: 4, max_files: 3 }
    }

    fn open(folder: &Path) -> LetterFile {
        LetterFile::open(settings(folder)).expect("the folder is there")
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn what_a_crash_left_of_a_line_is_cut_off_and_whole_lines_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = settings(folder.path()).path;
        let long = "x".repeat(3 * TAIL_BYTES as usize);
        for (left, whole) in [
            ("a\nb\n{\"torn", "a\nb\n"),
            ("{\"torn", ""),
            ("", ""),
            ("a\n", "a\n"),
            (&*format!("a\n{long}"), "a\n"),
        ] {
            fs::write(&path, left).expect("it is written");
            let mut file = open(folder.path());
            assert_eq!(read(&path), whole);
            file.settings.max_bytes = u64::MAX;
            file.append(&[line("c")]).expect("there is room");
            assert_eq!(read(&path), format!("{whole}c\n"));
        }
    }

    #[test]
    fn a_full_file_gets_a_number_that_no_file_had_and_none_is_deleted_for_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = settings(folder.path()).path;
        let mut file = open(folder.path());
        for text in ["one", "two", "three"] {
            file.append(&[line(text)]).expect("three files may be there");
        }
        let numbered = |number: u32| beside(&path, &number.to_string());
        assert_eq!(
            [read(&numbered(1)), read(&numbered(2)), read(&path)],
            ["one\n", "two\n", "three\n"]
        );
        let error = file.append(&[line("four")]).expect_err("there is no room");
        assert!(matches!(error, FileError::Full { count: 3, .. }), "{error}");
        fs::remove_file(numbered(1)).expect("it was replayed");
        file.append(&[line("four")]).expect("there is room again");
        assert_eq!(
            [read(&numbered(2)), read(&numbered(3)), read(&path)],
            ["two\n", "three\n", "four\n"]
        );
        for number in [2, 3] {
            fs::remove_file(numbered(number)).expect("it was replayed");
        }
        drop(file);
        open(folder.path()).append(&[line("five")]).expect("there is room");
        assert_eq!([read(&numbered(4)), read(&path)], ["four\n", "five\n"]);
    }

    #[test]
    fn a_file_that_is_gone_is_followed_by_another() {
        // What could go wrong: a letter is kept in a file that has no name any more, and is lost
        // with it; or a full one cannot be renamed, now and for ever, and its shards wait.
        let folder = tempfile::tempdir().expect("a folder");
        let path = settings(folder.path()).path;
        let mut file = open(folder.path());
        for (text, max_bytes) in [("one", u64::MAX), ("two", 4), ("three", 4)] {
            file.settings.max_bytes = max_bytes;
            file.append(&[line(text)]).expect("there is room, or another is begun");
            assert_eq!(read(&path), format!("{text}\n"));
            fs::remove_file(&path).expect("an operator may");
        }
    }

    #[test]
    fn half_of_a_line_that_could_not_be_cut_off_at_once_is_cut_off_before_the_next() {
        // What could go wrong: the next letter is kept behind it, and nobody can read either.
        let folder = tempfile::tempdir().expect("a folder");
        let path = settings(folder.path()).path;
        let mut file = open(folder.path());
        file.append(&[line("a")]).expect("there is room");
        fs::write(&path, "a\n{\"torn").expect("as a full disk leaves it");
        let writable = std::mem::replace(&mut file.file, File::open(&path).expect("to read"));
        file.append(&[line("b")]).expect_err("nothing can be written or cut off");
        file.append(&[line("b")]).expect_err("nor the next time");
        file.file = writable;
        file.append(&[line("c")]).expect("it can be written again");
        assert_eq!(read(&path), "a\nc\n");
    }

    #[test]
    fn a_file_is_for_its_owner_alone_and_for_one_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = open(folder.path());
        let mode = fs::metadata(&file.settings.path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let error = LetterFile::open(settings(folder.path())).expect_err("it is locked");
        assert!(matches!(error, FileError::Locked { .. }), "{error}");
        drop(file);
        open(folder.path());
    }

    #[test]
    fn what_could_not_be_written_leaves_no_half_of_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = settings(folder.path()).path;
        let mut file = open(folder.path());
        file.append(&[line("a")]).expect("there is room");
        let writable = std::mem::replace(&mut file.file, File::open(&path).expect("to read"));
        file.append(&[line("b")]).expect_err("it is open to be read");
        file.file = writable;
        file.append(&[line("c")]).expect("it can be written again");
        assert_eq!(read(&path), "a\nc\n");
    }
}
