//! Decides what of a record is printed, and in which form; counts what is not.

use dispatchd_consumer::filter::{Filter, Wanted};
use dispatchd_core::choice;
use dispatchd_core::wire::forward::lambda::Mapping;
use dispatchd_core::wire::forward::{Outgoing, kinesis};
use dispatchd_core::wire::gzip::inflated;
use dispatchd_schema::discover::LeftOut;

use super::discoverer::Discoverer;
use super::{colours, lumigo, print};
use crate::programs::schema;
use crate::terminal::escaped;

choice! {
    /// The form of what is printed.
    pub enum Format {
        /// The event, as one line of text; in JSON around it, if it is none.
        Envelope = "envelope",
        /// The event as it is.
        Data = "data",
        /// Lambda's object `kinesis`: a line that `replay` reads, as does Rabble Rouser's client.
        Record = "record",
        /// An invocation of Lambda's with one record.
        Lambda = "lambda",
        /// As `lumigo-cli tail-eventbridge-bus` prints events.
        Lumigo = "lumigo",
    }
}

/// Who looks at what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// A program: it gets the bytes.
    None,
    /// A terminal: characters that are not seen are written out (see `terminal`).
    Plain,
    /// One that shows colours.
    Coloured,
}

/// What became of the events that were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub printed: u64,
    /// Left out by the filter.
    pub unwanted: u64,
    /// Left out since they are no JSON that a filter could look at.
    pub not_json: u64,
    /// Nothing was concluded from them, where schemas are made.
    pub left_out: LeftOut,
}

#[derive(Debug)]
pub(super) struct Printer {
    pub(super) filter: Filter,
    pub(super) format: Format,
    pub(super) is_pretty: bool,
    pub(super) mapping: Mapping,
    /// Who takes the events instead.
    pub(super) discoverer: Option<Discoverer>,
    pub(super) screen: Screen,
    /// How many events are printed in all.
    pub(super) count_max: u64,
    pub(super) tally: Tally,
}

impl Printer {
    /// Whether everything that was asked for is printed.
    pub(super) fn is_done(&self) -> bool {
        self.tally.printed >= self.count_max
    }

    /// What became of the events until now.
    pub(super) fn tally(&self) -> Tally {
        let left_out = self.discoverer.as_ref().map(Discoverer::left_out);
        Tally { left_out: left_out.unwrap_or_default(), ..self.tally }
    }

    /// Ends a page: appends what was discovered in it. Blocks, where files are written.
    pub(super) fn page(&mut self, out: &mut Vec<u8>) -> Result<(), schema::Error> {
        let Some(discoverer) = &mut self.discoverer else { return Ok(()) };
        let shown = discoverer.write()?;
        match self.screen {
            Screen::None => out.extend_from_slice(shown.as_bytes()),
            Screen::Plain | Screen::Coloured => out.extend_from_slice(escaped(&shown).as_bytes()),
        }
        Ok(())
    }

    /// Appends one event of a record, if it is wanted and not one too many. Data that gzip
    /// compressed is shown as it was before, but in the forms that hold the bytes of the record.
    pub(super) fn event(&mut self, event: &Outgoing<'_>, out: &mut Vec<u8>) {
        if self.is_done() {
            return;
        }
        match self.filter.wants(event.partition_key, event.data) {
            Wanted::Yes => self.tally.printed += 1,
            Wanted::No => return self.tally.unwanted += 1,
            Wanted::NotJson => return self.tally.not_json += 1,
        }
        let data = inflated(event.data);
        if let Some(discoverer) = &mut self.discoverer {
            return discoverer.see(&data);
        }
        let begins = out.len();
        self.form(event, &data, out);
        if self.screen != Screen::None {
            let printed = String::from_utf8_lossy(&out[begins..]).into_owned();
            out.truncate(begins);
            self.show(&printed, out);
        }
    }

    fn form(&self, event: &Outgoing<'_>, data: &[u8], out: &mut Vec<u8>) {
        let shown = Outgoing { data, ..*event };
        match self.format {
            Format::Envelope if self.is_pretty => print::pretty(&shown, out),
            Format::Envelope => print::line(&shown, out),
            Format::Data => print::data(&shown, out),
            Format::Lumigo => lumigo::push(&shown, out),
            Format::Record => {
                kinesis::push(event, out);
                out.push(b'\n');
            }
            Format::Lambda => {
                out.extend(self.mapping.body(std::iter::once(*event)));
                out.push(b'\n');
            }
        }
    }

    fn show(&self, printed: &str, out: &mut Vec<u8>) {
        let shown = escaped(printed);
        if self.screen == Screen::Coloured {
            let mut coloured = String::with_capacity(2 * shown.len());
            colours::push(&shown, &mut coloured);
            out.extend_from_slice(coloured.as_bytes());
        } else {
            out.extend_from_slice(shown.as_bytes());
        }
    }
}
