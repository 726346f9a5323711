//! What goes into one PutRecords: records in order, each with what waits for its verdict. Pure.

use std::time::Instant;

use super::Item;
use crate::ack::Ticket;
use crate::event::Record;

/// One request's records and, at the same index, who waits for them. A batch is made by the buffer and comes
/// back to `settle`; records of one key are always neighbours in it.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<Record>,
    waiting: Vec<Waiting>,
    bytes: usize,
    sent: Option<Instant>,
}

/// An item without its record.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    accepted: Instant,
    failures: u32,
    maybe_stored: bool,
}

impl Batch {
    pub fn push(&mut self, item: Item) {
        let Item { record, ticket, accepted, failures, maybe_stored } = item;
        self.bytes += record.size();
        self.records.push(record);
        self.waiting.push(Waiting { ticket, accepted, failures, maybe_stored });
    }

    /// What is sent.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Data and partition keys, as the service counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// It goes out now.
    pub(super) fn send(mut self, now: Instant) -> Self {
        self.sent = Some(now);
        self
    }

    /// When it went out.
    ///
    /// # Panics
    /// If it did not.
    pub(super) fn sent(&self) -> Instant {
        self.sent.expect("only what went out comes back")
    }

    /// The most attempts that failed for one of the records.
    pub fn failures_max(&self) -> u32 {
        self.waiting.iter().map(|waiting| waiting.failures).max().unwrap_or(0)
    }

    pub fn into_items(self) -> impl DoubleEndedIterator<Item = Item> + ExactSizeIterator {
        self.records.into_iter().zip(self.waiting).map(|(record, waiting)| {
            let Waiting { ticket, accepted, failures, maybe_stored } = waiting;
            Item { record, ticket, accepted, failures, maybe_stored }
        })
    }
}

impl FromIterator<Item> for Batch {
    fn from_iter<I: IntoIterator<Item = Item>>(items: I) -> Self {
        let mut batch = Self::default();
        items.into_iter().for_each(|item| batch.push(item));
        batch
    }
}
