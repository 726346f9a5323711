//! Where the events are: every file is read to its end once, and of each event that is sent its
//! place and its time are kept. Nothing is sent from here, and no event stays in memory.
//!
//! An event's time is what it says, else when the stream took it, else the hour in its file's name,
//! else that of the event before it in the file. Events of one time stay in the order of the files'
//! names and of their places. So an index of the same files is always the same, and an event's
//! number in it is its name.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use dispatchd_consumer::filter::Wanted;
use dispatchd_core::limits::MIB;
use dispatchd_core::wire::archive::event::{Micros, archive_hour, said};
use dispatchd_core::wire::archive::{self, NotArchived};
use md5::{Digest, Md5};

use super::Selection;
use super::inflated::{InflateError, Inflated, is_gzip};

/// Events that are sent in one run: their places take 32 bytes each, 320 MB.
pub(crate) const EVENTS_MAX: usize = 10_000_000;

/// Files that are read in one run: their names are held.
pub(crate) const FILES_MAX: usize = 1_000_000;

/// Bytes of a line, and of a file that is one document: an invocation of Lambda's has 6 MB, and a
/// dead letter a record of 10 MiB in base64.
pub(crate) const LINE_BYTES_MAX: usize = 32 * MIB;

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    time: Micros,
    pub offset: u64,
    pub file: u32,
    pub bytes: u32,
    /// From 1, as an editor counts.
    pub line: u32,
    /// Which of the events in the line.
    pub nth: u32,
}

/// All events that are sent, in their order.
#[derive(Debug)]
pub(crate) struct Index {
    pub(super) files: Vec<Source>,
    pub(super) places: Vec<Place>,
    pub(super) inflated: Inflated,
    /// Events that were read, sent or not.
    pub events_read: u64,
    /// Of these, the ones left out since they are no JSON that a filter could look at.
    pub not_json: u64,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub path: PathBuf,
    /// Whether gzip compressed it: then its text is kept elsewhere, and everything here is of that.
    pub is_gzip: bool,
    pub bytes: u64,
    /// The MD5 of its bytes: it tells a file that was changed, not one that was forged.
    pub digest: [u8; 16],
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("cannot read {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}, line {line}: {error}", path.display())]
    Line { path: PathBuf, line: u32, error: NotArchived },
    #[error("{}, line {line}: is not UTF-8", path.display())]
    NotText { path: PathBuf, line: u32 },
    #[error("{}, line {line}: is longer than {} MiB", path.display(), LINE_BYTES_MAX / MIB)]
    LongLine { path: PathBuf, line: u32 },
    #[error("{}: {error}", path.display())]
    Gzip { path: PathBuf, error: InflateError },
    #[error(
        "{} is no file: it is read twice, to find what is in it and to send that. Write what comes \
         through a pipe into a file first",
        path.display()
    )]
    NoFile { path: PathBuf },
    #[error(
        "there are more than {EVENTS_MAX} events to send: replay a part at a time, with --from and --to"
    )]
    ManyEvents,
    #[error("there are more than {FILES_MAX} files: replay one folder after the other")]
    ManyFiles,
}

impl Index {
    /// Reads the files, and those in the folders but the state file, which may stand there too.
    ///
    /// # Errors
    /// If one of them cannot be read, or holds what is no event.
    pub(crate) fn read(
        inputs: &[PathBuf],
        selection: &Selection,
        state: Option<&Path>,
    ) -> Result<Self, IndexError> {
        // One that is not made yet is in no folder.
        let state = state.and_then(|state| fs::canonicalize(state).ok());
        let mut paths = Vec::new();
        for input in inputs {
            list(input, state.as_deref(), &mut paths)?;
        }
        let mut index = Self {
            files: Vec::new(),
            places: Vec::new(),
            inflated: Inflated::default(),
            events_read: 0,
            not_json: 0,
        };
        for path in paths {
            index.read_file(path, selection)?;
        }
        // Stable: what has the same time stays as it was read.
        index.places.sort_by_key(|place| place.time);
        Ok(index)
    }

    /// How many events are sent.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn files_count(&self) -> usize {
        self.files.len()
    }

    /// The times of the first and the last event that is sent, of those that have one.
    pub(crate) fn span(&self) -> Option<(Micros, Micros)> {
        let first = self.places.iter().find(|place| place.time != Micros::MIN)?;
        Some((first.time, self.places.last()?.time))
    }

    /// Where an event is, for a person.
    pub(super) fn name(&self, number: u64) -> String {
        let place = &self.places[number as usize];
        format!("{}, line {}", self.files[place.file as usize].path.display(), place.line)
    }

    fn read_file(&mut self, path: PathBuf, selection: &Selection) -> Result<(), IndexError> {
        let file = u32::try_from(self.files.len()).map_err(|_| IndexError::ManyFiles)?;
        let of_name = path.file_name().and_then(|name| archive_hour(name.to_str()?));
        let mut lines = Lines::open(&path, &mut self.inflated)?;
        let mut before = Micros::MIN;
        while let Some(found) = lines.next()? {
            for (event, nth) in found.content.events().zip(0..) {
                self.events_read += 1;
                let said = said(&event.data);
                let time = said.time.or(event.arrived).or(of_name);
                if let Some(time) = time {
                    before = time;
                }
                match selection.wants(&event, time) {
                    Wanted::Yes => {}
                    Wanted::No => continue,
                    Wanted::NotJson => {
                        self.not_json += 1;
                        continue;
                    }
                }
                if self.places.len() == EVENTS_MAX {
                    return Err(IndexError::ManyEvents);
                }
                let Found { bytes, line, .. } = found;
                let offset = lines.begin + found.offset;
                self.places.push(Place { time: before, offset, file, bytes, line, nth });
            }
        }
        let (bytes, is_gzip) = (lines.offset, lines.is_gzip);
        let digest = lines.digest.finalize().into();
        self.files.push(Source { path, is_gzip, bytes, digest });
        Ok(())
    }
}

/// The files under a path, by their names. What begins with a dot is left out of folders.
fn list(path: &Path, state: Option<&Path>, paths: &mut Vec<PathBuf>) -> Result<(), IndexError> {
    let failed = |error| IndexError::Io { path: path.to_owned(), error };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        if !metadata.is_file() {
            return Err(IndexError::NoFile { path: path.to_owned() });
        }
        paths.push(path.to_owned());
        return if paths.len() > FILES_MAX { Err(IndexError::ManyFiles) } else { Ok(()) };
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link to a folder may lead round in a circle.
        let is_linked_folder = entry.file_type().map_err(failed)?.is_symlink()
            && fs::metadata(entry.path()).is_ok_and(|linked| linked.is_dir());
        let is_state = || {
            // By its name first: there may be a million files.
            let is_named_so = |state: &&Path| state.file_name() == Some(&entry.file_name());
            let state = state.filter(is_named_so);
            state.is_some_and(|state| fs::canonicalize(entry.path()).is_ok_and(|it| it == state))
        };
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && !is_linked_folder && !is_state() {
            entries.push(entry.path());
        }
    }
    entries.sort();
    entries.iter().try_for_each(|entry| list(entry, state, paths))
}

/// A line that was read: what is in it, and where it is.
struct Found {
    content: archive::Line,
    offset: u64,
    bytes: u32,
    line: u32,
}

/// The lines of a file, one after the other.
struct Lines<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead>,
    is_gzip: bool,
    /// Where its first byte is, in the file that is read.
    begin: u64,
    text: Vec<u8>,
    /// Bytes read so far.
    offset: u64,
    line: u32,
    digest: Md5,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path, inflated: &mut Inflated) -> Result<Self, IndexError> {
        let failed = |error| IndexError::Io { path: path.to_owned(), error };
        let mut file = BufReader::with_capacity(MIB, File::open(path).map_err(failed)?);
        let is_gzip = is_gzip(file.fill_buf().map_err(failed)?);
        let (begin, reader): (u64, Box<dyn BufRead>) = if is_gzip {
            let added = inflated.add(file);
            let (begin, reader) =
                added.map_err(|error| IndexError::Gzip { path: path.to_owned(), error })?;
            (begin, Box::new(reader))
        } else {
            (0, Box::new(file))
        };
        let digest = Md5::new();
        Ok(Self { path, reader, is_gzip, begin, text: Vec::new(), offset: 0, line: 0, digest })
    }

    /// The next line that is not empty; `None` at the end.
    fn next(&mut self) -> Result<Option<Found>, IndexError> {
        loop {
            self.text.clear();
            let (begin, line) = (self.offset, self.line + 1);
            if !self.read_more()? {
                return Ok(None);
            }
            if self.text.trim_ascii().is_empty() {
                continue;
            }
            let content = match self.content(line) {
                // A file that is one document may have it on many lines.
                Err(IndexError::Line { error, .. }) if error.is_unfinished() && line == 1 => loop {
                    match self.read_more() {
                        Ok(true) => {}
                        Ok(false) => break self.content(line)?,
                        // It is no document, so it is the first line that is wrong.
                        Err(IndexError::LongLine { path, .. }) => {
                            return Err(IndexError::Line { path, line, error });
                        }
                        Err(error) => return Err(error),
                    }
                },
                content => content?,
            };
            let trimmed = self.text.trim_ascii();
            let leading = self.text.len() - self.text.trim_ascii_start().len();
            let (offset, bytes) = (begin + leading as u64, trimmed.len() as u32); // below the bound
            return Ok(Some(Found { content, offset, bytes, line }));
        }
    }

    /// Appends a line to the text; says no at the end of the file.
    fn read_more(&mut self) -> Result<bool, IndexError> {
        let before = self.text.len();
        let room = (LINE_BYTES_MAX + 1 - before) as u64;
        let read = self.reader.by_ref().take(room).read_until(b'\n', &mut self.text);
        let read = read.map_err(|error| IndexError::Io { path: self.path.to_owned(), error })?;
        self.line = self.line.saturating_add(1);
        if self.text.len() > LINE_BYTES_MAX {
            return Err(IndexError::LongLine { path: self.path.to_owned(), line: self.line });
        }
        self.offset += read as u64;
        self.digest.update(&self.text[before..]);
        Ok(read > 0)
    }

    fn content(&self, line: u32) -> Result<archive::Line, IndexError> {
        let path = || self.path.to_owned();
        let text = str::from_utf8(self.text.trim_ascii())
            .map_err(|_| IndexError::NotText { path: path(), line })?;
        archive::read(text).map_err(|error| IndexError::Line { path: path(), line, error })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use super::super::source::EventSource;
    use super::*;
    use dispatchd_consumer::filter::Filter;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn all() -> Selection {
        Selection { from: None, to: None, filter: Filter::default(), wanted: Vec::new() }
    }

    fn read(inputs: &[PathBuf]) -> Result<Index, IndexError> {
        Index::read(inputs, &all(), None)
    }

    fn data(index: &Index) -> Vec<String> {
        let mut source = EventSource::new(index);
        let numbers = 0..index.len() as u64;
        let data = |number| source.event(number).expect("it is still there").data;
        numbers
            .map(data)
            .map(|data| String::from_utf8(data.to_vec()).expect("it is text"))
            .collect()
    }

    fn event(id: &str, second: u32) -> String {
        format!(r#"{{"id":"{id}","type":"t","timestamp":"2026-11-20T21:34:{second:02}.000Z"}}"#)
    }

    #[test]
    fn events_of_all_files_stand_in_the_order_of_time_and_keep_theirs_where_it_is_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let day = folder.path().join("2026/11/20");
        fs::create_dir_all(&day).expect("it is made");
        let pretty = "{\n  \"type\": \"t\",\n  \"timestamp\": \"2026-11-20T21:34:03Z\"\n}";
        fs::write(day.join("a"), event("late", 9)).expect("it is written");
        fs::write(day.join("b"), format!("{pretty}\n")).expect("it is written");
        let lines = [event("2", 2), String::new(), event("1", 1), event("1b", 1)].join("\r\n");
        fs::write(folder.path().join("lines"), lines).expect("it is written");
        fs::write(folder.path().join(".hidden"), "no event").expect("it is written");
        let index = read(&[folder.path().to_owned()]).expect("all of it is read");
        let expected =
            [event("1", 1), event("1b", 1), event("2", 2), pretty.to_owned(), event("late", 9)];
        assert_eq!(data(&index), expected);
        assert_eq!((index.events_read, index.files_count()), (5, 3));
    }

    #[test]
    fn an_event_without_a_time_stays_behind_the_one_before_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let none = r#"{"type":"none"}"#.to_owned();
        let text = [event("2", 2), none.clone(), event("1", 1)].join("\n");
        fs::write(&path, text).expect("it is written");
        let index = read(&[path]).expect("it is read");
        assert_eq!(data(&index), [event("1", 1), event("2", 2), none]);
    }

    #[test]
    fn what_is_no_event_is_told_by_its_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let long = format!("{{\"type\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        let cut = "{\"type\":\n".to_owned() + &("x".repeat(MIB) + "\n").repeat(33);
        for (text, words) in [
            (b"{\"type\":\"t\"}\n\nhello\n".to_vec(), "lines, line 3: is not JSON"),
            (b"{\"type\":\"t\"}\n{\"id\":1}\n".to_vec(), "lines, line 2: is of no form"),
            (b"{\"type\":\"t\"}\n{\"type\":\n".to_vec(), "lines, line 2: is not JSON"),
            (b"\xff\xfe\n".to_vec(), "lines, line 1: is not UTF-8"),
            (b"\x1f\x8b\x08".to_vec(), "damaged or cut off"),
            (compressed(b"{\"type\":\"t\"}\nhello\n"), "lines, line 2: is not JSON"),
            (long.into_bytes(), "line 1: is longer than 32 MiB"),
            (cut.into_bytes(), "lines, line 1: is not JSON: EOF"),
        ] {
            fs::write(&path, text).expect("it is written");
            let error = read(std::slice::from_ref(&path)).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        UnixListener::bind(folder.path().join("socket")).expect("it is made");
        let error = read(&[folder.path().to_owned()]).expect_err("it is no file").to_string();
        assert!(error.contains("socket is no file"), "{error}");
        let error = read(&[folder.path().join("nowhere")]).expect_err("it is not there");
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    /// What gzip makes of a text: two members, as where one file was appended to another.
    fn compressed(text: &[u8]) -> Vec<u8> {
        let member = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes it")
        };
        let (first, second) = text.split_at(text.len() / 2);
        [member(first), member(second)].concat()
    }

    #[test]
    fn compressed_files_are_read_beside_others_in_the_order_of_time() {
        // What could go wrong: an offset counts in the compressed file; the second member is left
        // out; the texts of two files are mixed.
        let folder = tempfile::tempdir().expect("a folder");
        let lines = |seconds: [u32; 2]| seconds.map(|second| event("e", second)).join("\n");
        let write = |name, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
        write("a.gz", &compressed(lines([4, 1]).as_bytes())).expect("it is written");
        write("b", lines([5, 2]).as_bytes()).expect("it is written");
        write("c", &compressed(lines([6, 3]).as_bytes())).expect("it is written");
        write("d.gz", b"").expect("it is written");
        let index = read(&[folder.path().to_owned()]).expect("all of it is read");
        assert_eq!(data(&index), (1..7).map(|second| event("e", second)).collect::<Vec<_>>());
    }

    #[test]
    fn a_compressed_file_that_was_cut_off_anywhere_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("torn.gz");
        let whole = compressed(event("e", 1).as_bytes());
        let ends = whole.len() / 2; // between the members it would be whole
        for cut in [3, ends - 4, whole.len() - 9, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).expect("it is written");
            let error = read(std::slice::from_ref(&path)).expect_err("it is torn").to_string();
            assert!(error.contains("torn.gz") && error.contains("cut off"), "at {cut}: {error}");
        }
    }

    #[test]
    fn what_a_filter_cannot_look_at_is_left_out_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let record = r#"{"sequenceNumber":"1","data":"aGVsbG8="}"#;
        fs::write(&path, format!("{}\n{record}\n{{\"type\":\"u\"}}\n", event("1", 1)))
            .expect("it is written");
        let filter = Filter::default().of_types(&["t".to_owned()]).expect("one is few");
        let index = Index::read(&[path], &Selection { filter, ..all() }, None).expect("it is read");
        assert_eq!((index.events_read, index.len(), index.not_json), (3, 1, 1));
    }

    #[test]
    fn an_archived_hour_gives_its_time_to_records_that_have_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = |n: u8| format!(r#"{{"sequenceNumber":"{n}","data":"eyJ9"}}"#);
        for (name, n) in [("2017-11-31_23", 2), ("2017-02-31_05", 1)] {
            fs::write(folder.path().join(name), record(n)).expect("it is written");
        }
        let index = read(&[folder.path().to_owned()]).expect("it is read");
        let (first, last) = index.span().expect("they have a time");
        assert_eq!(Some(first), archive_hour("2017-02-31_05"));
        assert_eq!(Some(last), archive_hour("2017-11-31_23"));
    }
}
