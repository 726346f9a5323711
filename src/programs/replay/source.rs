//! Reads events where the index says they are, one after the other. It holds one line and a few
//! open files, and looks at no file from its beginning again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use dispatchd_core::wire::archive::{self, Archived};

use super::index::{Index, Place};

/// Files that are open at once: files of one time, such as one of each shard, are read by turns.
const OPEN_MAX: usize = 16;

/// The events of an index.
#[derive(Debug)]
pub(super) struct EventSource<'a> {
    index: &'a Index,
    /// The last one that was read stands last.
    open: Vec<(u32, File)>,
    /// The last line that was read, by its place: a line may hold thousands of events.
    line: Option<((u32, u64), Vec<Archived>)>,
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
        Self { index, open: Vec::new(), line: None }
    }

    /// The event of this number.
    pub(super) fn event(&mut self, number: u64) -> Result<Archived, ReadError> {
        let place = self.index.places[number as usize];
        let path = || self.index.files[place.file as usize].path.clone();
        let at = (place.file, place.offset);
        if self.line.as_ref().is_none_or(|(held, _)| *held != at) {
            let text = self.text(&place).map_err(|error| ReadError::Io { path: path(), error })?;
            let events = str::from_utf8(&text).ok().and_then(|text| archive::read(text).ok());
            let events = events.ok_or_else(|| ReadError::Changed { path: path() })?;
            self.line = Some((at, events));
        }
        let (_, events) = self.line.as_ref().expect("it was read just now");
        let event = events.get(place.nth as usize).cloned();
        event.ok_or_else(|| ReadError::Changed { path: path() })
    }

    fn text(&mut self, place: &Place) -> io::Result<Vec<u8>> {
        let mut text = vec![0; place.bytes as usize];
        if self.index.files[place.file as usize].is_packed {
            self.index.unpacked.read_exact_at(&mut text, place.offset)?;
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
