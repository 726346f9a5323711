//! `tail --discover`: makes schemas of the events that pass, writes each one that is new or changed
//! into a folder, and shows the lines in which it differs. Names of types and properties are
//! written and shown, values never.
//!
//! It writes while nothing else of the command runs: a few small files for a page, and an end in
//! between leaves none half written.

use std::fmt::Write;
use std::path::PathBuf;

use dispatchd_core::wire::forward::content;
use dispatchd_schema::discover::{Change, Discovery, LeftOut};
use dispatchd_schema::folder::Part;
use dispatchd_schema::shape::Rules;

use crate::programs::schema::{self, Error};

/// Where schemas are written, and how much is concluded.
#[derive(Debug, Clone)]
pub struct Discover {
    pub folder: PathBuf,
    pub rules: Rules,
}

#[derive(Debug)]
pub(super) struct Discoverer {
    folder: PathBuf,
    discovery: Discovery,
    /// What is shown with the next page.
    notes: String,
}

impl Discoverer {
    /// Begins with what the folder has; makes it, if there is none. Blocks.
    pub(super) fn new(Discover { folder, rules }: Discover) -> Result<Self, Error> {
        schema::write_all(&folder, std::iter::empty::<(String, String)>())?;
        let discovery = Discovery::new(&schema::folder(&folder)?, rules).map_err(Error::Files)?;
        let mut notes = String::new();
        for event_type in discovery.left_alone() {
            let file = folder.join(Part::Schema.file_name(event_type));
            // Writing to a String cannot fail.
            let _ = writeln!(
                notes,
                "{}: left as it is, since it has what samples do not make: write samples and a \
                 patch beside it\n",
                file.display()
            );
        }
        Ok(Self { folder, discovery, notes })
    }

    /// Adds an event.
    pub(super) fn see(&mut self, record: &[u8]) {
        match content::read(record) {
            Some(event) => self.discovery.see(Some(&event.event_type), event.data),
            None => self.discovery.see(None, ""),
        }
    }

    /// Writes the schemas that are others since this was last called, and returns what is to be
    /// shown of them. Blocks.
    pub(super) fn write(&mut self) -> Result<String, Error> {
        let mut shown = std::mem::take(&mut self.notes);
        let mut texts = Vec::new();
        for change in self.discovery.changes() {
            // Writing to a String cannot fail.
            let _ = match change {
                Ok(Change { file, is_new, text, diff }) => {
                    let path = self.folder.join(&file);
                    let what = if is_new { "new" } else { "changed" };
                    texts.push((file, text));
                    writeln!(shown, "{}: {what}\n{diff}", path.display())
                }
                Err(error) => writeln!(shown, "{error}; it is left as it is from now on\n"),
            };
        }
        schema::write_all(&self.folder, texts.into_iter())?;
        Ok(shown)
    }

    /// The events that nothing was concluded from.
    pub(super) fn left_out(&self) -> LeftOut {
        self.discovery.left_out()
    }
}
