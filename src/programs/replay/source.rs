//! Reads events where the index says they are, one after the other. It holds a few lines and a few
//! open files, and looks at no file from its beginning again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use dispatchd_core::wire::archive::{self, Archived, Line};

use super::index::{Index, LINE_BYTES_MAX, Place};

/// Files that are open at once: files of one time, such as one of each shard, are read by turns.
const OPEN_MAX: usize = 16;

/// Lines of several events that are held at once, and the bytes of their texts: such lines of one
/// time are read by turns as well, and each of them may hold thousands of events.
const LINES_MAX: usize = 64;
const LINES_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// The events of an index.
#[derive(Debug)]
pub(super) struct EventSource<'a> {
    index: &'a Index,
    /// The last one that was read stands last.
    open: Vec<(u32, File)>,
    /// Lines of several events; the last one that was read stands last.
    lines: Vec<Held>,
}

/// A line that is held.
#[derive(Debug)]
struct Held {
    /// Its file, and where in it.
    at: (u32, u64),
    /// Of its text.
    bytes: usize,
    line: Line,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot read {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} was changed while it was replayed", path.display())]
    Changed { path: PathBuf },
}

impl<'a> EventSource<'a> {
    pub(super) fn new(index: &'a Index) -> Self {
        Self { index, open: Vec::new(), lines: Vec::new() }
    }

    /// The event of this number.
    pub(super) fn event(&mut self, number: u64) -> Result<Archived, ReadError> {
        let place = self.index.places[number as usize];
        let path = || self.index.files[place.file as usize].path.clone();
        let at = (place.file, place.offset);
        let held = match self.lines.iter().position(|held| held.at == at) {
            Some(held) => self.lines.remove(held),
            None => {
                let text =
                    self.text(&place).map_err(|error| ReadError::Io { path: path(), error })?;
                let line = str::from_utf8(&text).ok().and_then(|text| archive::read(text).ok());
                let line = line.ok_or_else(|| ReadError::Changed { path: path() })?;
                Held { at, bytes: text.len(), line }
            }
        };
        let event = held.line.event(place.nth as usize);
        if held.line.events_count() > 1 {
            self.hold(held);
        }
        event.ok_or_else(|| ReadError::Changed { path: path() })
    }

    /// Holds a line, and lets go of those that were not read for longest.
    fn hold(&mut self, held: Held) {
        self.lines.push(held);
        let mut bytes: usize = self.lines.iter().map(|held| held.bytes).sum();
        while self.lines.len() > LINES_MAX || bytes > LINES_BYTES_MAX {
            bytes -= self.lines.remove(0).bytes;
        }
    }

    fn text(&mut self, place: &Place) -> io::Result<Vec<u8>> {
        let mut text = vec![0; place.bytes as usize];
        if self.index.files[place.file as usize].is_gzip {
            self.index.inflated.read_exact_at(&mut text, place.offset)?;
            return Ok(text);
        }
        self.file(place.file)?.read_exact_at(&mut text, place.offset)?;
        Ok(text)
    }

    fn file(&mut self, file: u32) -> io::Result<&File> {
        let (open, path) = (&mut self.open, &self.index.files[file as usize].path);
        let held = open.iter().position(|(held, _)| *held == file);
        let entry = match held {
            Some(at) => open.remove(at),
            None => (file, File::open(path)?),
        };
        if open.len() == OPEN_MAX {
            open.remove(0);
        }
        Ok(&open.push_mut(entry).1)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Selection;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use dispatchd_consumer::filter::Filter;

    fn all_of_it() -> Selection {
        Selection { from: None, to: None, filter: Filter::default(), wanted: Vec::new() }
    }

    #[test]
    fn lines_of_one_time_are_read_by_turns_and_each_of_them_once() {
        // What could go wrong: two shards were archived, so their events stand by turns in the
        // order of time, and a line of thousands of events is read anew for each of them.
        let folder = tempfile::tempdir().expect("a folder");
        let record = |second: usize| {
            let data = format!(r#"{{"timestamp":"2026-11-20T21:34:{second:02}Z"}}"#);
            format!(r#"{{"kinesis":{{"data":"{}"}}}}"#, STANDARD.encode(data))
        };
        for shard in 0..2 {
            let records: Vec<_> = (0..20).map(|n| record(2 * n + shard)).collect();
            let line = format!(r#"{{"Records":[{}]}}"#, records.join(","));
            fs::write(folder.path().join(shard.to_string()), line).expect("it is written");
        }
        let index =
            Index::read(&[folder.path().to_owned()], &all_of_it(), None).expect("they are read");
        let mut source = EventSource::new(&index);
        for number in 0..40 {
            if number == 2 {
                // Both lines were read: whoever reads them again finds nothing.
                index.files.iter().for_each(|file| fs::write(&file.path, "").expect("it is cut"));
            }
            let data = source.event(number).expect("it is held").data;
            let expected = format!(r#"{{"timestamp":"2026-11-20T21:34:{number:02}Z"}}"#);
            assert_eq!(data, expected);
        }
    }

    #[test]
    fn lines_that_are_held_are_few_and_the_last_one_is_among_them() {
        let index = Index::read(&[], &all_of_it(), None).expect("there is nothing to read");
        let mut source = EventSource::new(&index);
        let line = || archive::read(r#"{"Records":[]}"#).expect("it is read");
        for number in 0..100 {
            source.hold(Held { at: (0, number), bytes: LINE_BYTES_MAX / 2, line: line() });
            assert_eq!(source.lines.last().map(|held| held.at), Some((0, number)));
            let bytes: usize = source.lines.iter().map(|held| held.bytes).sum();
            assert!(bytes <= LINES_BYTES_MAX);
        }
        (0..100).for_each(|n| source.hold(Held { at: (1, n), bytes: 1, line: line() }));
        assert_eq!(source.lines.len(), LINES_MAX);
    }
}
