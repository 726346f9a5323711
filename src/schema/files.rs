//! Reads and writes the files of a folder of schemas, within bounds. It knows their names, and not
//! what is in them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dispatchd_schema::bounds::{FILE_BYTES_MAX, FILES_MAX, FOLDER_BYTES_MAX};
use dispatchd_schema::folder::{FileError, Folder, Part};
use rustix::fs::OFlags;

/// Why a folder is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: it has more than {FILES_MAX} files of types", path.display())]
    TooMany { path: PathBuf },
    #[error("{}: it is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}: its files of types have more than {FOLDER_BYTES_MAX} bytes", path.display())]
    FolderTooLarge { path: PathBuf },
    #[error("{}: it is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("{}/{error}", folder.display())]
    Name { folder: PathBuf, error: FileError },
}

/// A file of a folder.
pub(crate) struct Found<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: Vec<u8>,
    /// What it looked like before it was read.
    pub(crate) about: Metadata,
}

/// Reads the files of a folder that are one of these parts of a type.
pub(crate) fn read(folder: &Path, parts: &[Part]) -> Result<Folder, ReadError> {
    let mut found = Folder::default();
    each(folder, parts, |Found { name, text, .. }| {
        found.add(name, text).map_err(|error| ReadError::Name { folder: folder.to_owned(), error })
    })?;
    Ok(found)
}

/// Hands over each file of a folder that is one of these parts of a type. Links are followed: a
/// ConfigMap has its files as links. Only files are opened for longer than it takes to see what
/// they are: nobody may ever write into a pipe, and a device has no end.
pub(crate) fn each<E: From<ReadError>>(
    folder: &Path,
    parts: &[Part],
    mut take: impl FnMut(Found<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue }; // no ending of ours
        if !Part::of(name).is_some_and(|(part, _)| parts.contains(&part)) {
            continue;
        }
        let path = entry.path();
        let (text, about) = regular(&path)?;
        (count, bytes) = (count + 1, bytes + text.len());
        if count > FILES_MAX {
            return Err(ReadError::TooMany { path: folder.to_owned() }.into());
        }
        if bytes > FOLDER_BYTES_MAX {
            return Err(ReadError::FolderTooLarge { path: folder.to_owned() }.into());
        }
        take(Found { name, text, about })?;
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    |error| ReadError::Io { path: path.to_owned(), error }
}

/// Reads a file that is nothing else.
fn regular(path: &Path) -> Result<(Vec<u8>, Metadata), ReadError> {
    // A pipe that nobody writes into would not be opened otherwise.
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblocking).open(path);
    let file = file.map_err(failed(path))?;
    let about = file.metadata().map_err(failed(path))?;
    if !about.is_file() {
        return Err(ReadError::NoFile { path: path.to_owned() });
    }
    Ok((to_end(file, path, about.len())?, about))
}

/// Reads whatever is there, if it is no larger than a file of a folder may be.
pub(crate) fn bounded(path: &Path) -> Result<Vec<u8>, ReadError> {
    to_end(File::open(path).map_err(failed(path))?, path, 0)
}

fn to_end(file: File, path: &Path, expected_bytes: u64) -> Result<Vec<u8>, ReadError> {
    const MAX: u64 = FILE_BYTES_MAX as u64;
    // One more than is expected: then the end is seen without a larger buffer.
    let mut text = Vec::with_capacity(expected_bytes.min(MAX) as usize + 1);
    file.take(MAX + 1).read_to_end(&mut text).map_err(failed(path))?;
    match text.len() {
        bytes if bytes > FILE_BYTES_MAX => Err(ReadError::TooLarge { path: path.to_owned() }),
        _ => Ok(text),
    }
}

/// Writes a file unless it has this text already; `true` if it was written. Whoever reads it
/// meanwhile has all of the old text or all of the new one.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(false);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&beside, path).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_types_are_read_and_links_are_followed() {
        let folder = tempfile::tempdir().expect("there is room");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("..data")).expect("it is new");
        for (name, text) in [
            ("..data/A.schema.json", "{}"),
            ("B.sample.json", "1"),
            ("README.md", "not ours"),
            ("C.schema.json.new", "half"),
        ] {
            fs::write(at(name), text).expect("there is room");
        }
        std::os::unix::fs::symlink("..data/A.schema.json", at("A.schema.json")).expect("it is new");
        let found = read(folder.path(), &Part::ALL).expect("it is readable");
        assert_eq!(found.types().map(|(name, _)| name).collect::<Vec<_>>(), ["A", "B"]);
        let found = read(folder.path(), &[Part::Schema]).expect("it is readable");
        assert_eq!(found.types().map(|(name, _)| name).collect::<Vec<_>>(), ["A"]);
    }

    #[test]
    fn what_keeps_a_folder_from_being_read_is_named() {
        let folder = tempfile::tempdir().expect("there is room");
        let missing = folder.path().join("none");
        let error = read(&missing, &Part::ALL).expect_err("there is none").to_string();
        assert!(error.starts_with(&*missing.to_string_lossy()), "{error}");
        fs::write(folder.path().join("a:b.sample.json"), "1").expect("there is room");
        let error = read(folder.path(), &Part::ALL).expect_err("its name is wrong").to_string();
        assert!(error.contains("/a:b.sample.json: ") && error.contains("a%3Ab"), "{error}");
        let large = folder.path().join("large");
        File::create(&large)
            .and_then(|file| file.set_len(FILE_BYTES_MAX as u64 + 1))
            .expect("room");
        assert!(matches!(bounded(&large), Err(ReadError::TooLarge { .. })));
    }

    /// What could go wrong: somebody mounts a folder that makes the daemon wait for ever, or read
    /// without an end.
    #[test]
    fn what_is_no_file_is_refused_at_once_by_its_name() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("A.schema.json");
        let pipe = |path: &Path| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .expect("it is new");
        };
        let link = |to: &'static str| {
            move |path: &Path| std::os::unix::fs::symlink(to, path).expect("it is new")
        };
        type Make<'a> = &'a dyn Fn(&Path);
        let cases: [(Make<'_>, &str); 5] = [
            (&pipe, "A.schema.json: it is no file"),
            (&link("/dev/zero"), "A.schema.json: it is no file"),
            (&link("A.schema.json"), "A.schema.json: "), // in the words of the system
            (&link("nowhere"), "A.schema.json: "),
            (&|path| fs::create_dir(path).expect("it is new"), "A.schema.json: it is no file"),
        ];
        for (make, said) in cases {
            make(&path);
            let error = read(folder.path(), &Part::ALL).expect_err("it is no file").to_string();
            assert!(error.contains(said), "{error}");
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).expect("it is there");
        }
    }

    #[test]
    fn a_folder_has_a_bound_for_each_file_for_their_number_and_for_all_of_them() {
        let folder = tempfile::tempdir().expect("there is room");
        let large = |number: usize, bytes: u64| {
            let path = folder.path().join(format!("{number}.schema.json"));
            File::create(path).and_then(|file| file.set_len(bytes)).expect("there is room");
        };
        let said = || read(folder.path(), &Part::ALL).err().map(|error| error.to_string());
        large(0, 100 * 1024 * 1024);
        assert!(said().expect("it is too large").contains("/0.schema.json: it is larger than"));
        let each = FILE_BYTES_MAX as u64;
        (0..FOLDER_BYTES_MAX / FILE_BYTES_MAX).for_each(|number| large(number, each));
        assert_eq!(said(), None);
        large(99_999, 1);
        assert!(said().expect("one byte too many").contains("more than 67108864 bytes"));
        (0..=FILES_MAX).for_each(|number| large(number, 0));
        assert!(said().expect("one too many").contains("more than 10000 files"));
    }

    #[test]
    fn a_file_is_written_only_if_its_text_changes() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("A.schema.json");
        assert!(write(&path, "1").expect("there is room"));
        assert!(!write(&path, "1").expect("it is there"));
        assert!(write(&path, "2").expect("there is room"));
        assert_eq!(fs::read_dir(folder.path()).expect("it is readable").count(), 1);
    }
}
