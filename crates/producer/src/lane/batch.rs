//! What goes into one PutRecords request: events in order, which of them travel as one record, and
//! who waits for them.
//!
//! Pure. A batch holds and counts. Which events come into it is decided in `batch_builder`; whether
//! one fits, and whether it shares a packed record there, in `packing`.

use std::time::Instant;
use std::vec;

use super::item::{BoxedItem, Item};
use dispatchd_core::model::Entries;
use dispatchd_core::model::Record;
use dispatchd_core::wire::packed;

/// One request's events. Events of one key are always neighbours in it.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<BoxedItem>,
    /// Where in `items` each entry ends.
    ends: Vec<usize>,
    bytes: usize,
    /// Bytes of the last entry, were it a packed record.
    aggregate_bytes: usize,
    /// The shard that the last entry is for, by its index in the map.
    shard: usize,
    sent: Option<Instant>,
}

/// How an event travels in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// The event goes into the record of those before it.
    Joins,
    /// The event has a record of its own, which others may join.
    Begins,
}

impl Batch {
    /// Takes an item in that is predicted for this shard.
    pub(super) fn push(&mut self, item: BoxedItem, shard: usize, placement: Placement) {
        match placement {
            Placement::Joins => {
                self.bytes = self.bytes_if_joined(&item.record);
                self.aggregate_bytes = self.aggregate_bytes_if_joined(&item.record);
                self.ends.pop();
            }
            Placement::Begins => {
                self.bytes += item.record.size();
                self.aggregate_bytes = packed::FRAME_BYTES
                    + item.record.key.as_str().len()
                    + packed::member_bytes_max(&item.record);
                self.shard = shard;
            }
        }
        self.items.push(item);
        self.ends.push(self.items.len());
    }

    /// Bytes of the whole batch, if this record joined the last entry.
    pub(super) fn bytes_if_joined(&self, record: &Record) -> usize {
        let entry_bytes = match &self.items[self.last_begin()..] {
            [one] => one.record.size(),
            _ => self.aggregate_bytes,
        };
        self.bytes - entry_bytes + self.aggregate_bytes_if_joined(record)
    }

    /// Bytes of the last entry, if this record joined it.
    pub(super) fn aggregate_bytes_if_joined(&self, record: &Record) -> usize {
        self.aggregate_bytes + packed::member_bytes_max(record)
    }

    /// The first event of the batch; `None` while it is empty.
    pub(super) fn first(&self) -> Option<&Item> {
        self.items.first().map(|item| &**item)
    }

    /// The first event of the last entry, and the shard that the entry is for; `None` while the
    /// batch is empty.
    pub(super) fn last_entry(&self) -> Option<(&Item, usize)> {
        self.items.get(self.last_begin()).map(|item| (&**item, self.shard))
    }

    /// Where the last entry begins.
    fn last_begin(&self) -> usize {
        self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before])
    }

    /// What is sent. It lists where the records are, since the model knows no items: 10
    /// instructions an event, of the 960 that its place in the request's body takes (2026-11).
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(self.records().collect(), &self.ends)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The events of all entries.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> + DoubleEndedIterator {
        self.items.iter().map(|item| &item.record)
    }

    /// The first event of each entry, whose key places the entry.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Record> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.take(self.ends.len()).map(|begin| &self.items[begin].record)
    }

    /// The event of a request that holds but one.
    pub(super) fn sole(&self) -> Option<&Item> {
        match &self.items[..] {
            [item] => Some(item),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().map(|item| &**item)
    }

    /// Whether several events share a record.
    pub(super) fn is_aggregated(&self) -> bool {
        self.ends.len() < self.items.len()
    }

    /// Bytes of data and partition keys, as the service counts them; for a packed record, the most
    /// that they can be.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Marks it as sent at `now`.
    pub(super) fn send(mut self, now: Instant) -> Self {
        self.sent = Some(now);
        self
    }

    /// When it was sent.
    ///
    /// # Panics
    /// If it was not.
    pub(super) fn sent(&self) -> Instant {
        self.sent.expect("only what was sent comes back")
    }

    /// The most attempts that failed for one of the events.
    pub(super) fn failures_max(&self) -> u32 {
        self.items.iter().map(|item| item.failures).max().unwrap_or(0)
    }

    pub fn into_items(self) -> vec::IntoIter<BoxedItem> {
        self.items.into_iter()
    }

    /// The items in order, and how many of them each entry holds.
    pub(super) fn into_entries(self) -> (vec::IntoIter<BoxedItem>, impl Iterator<Item = usize>) {
        let mut begin = 0;
        let lengths =
            self.ends.into_iter().map(move |end| end - std::mem::replace(&mut begin, end));
        (self.items.into_iter(), lengths)
    }
}

/// A batch in which each item has a record of its own.
impl FromIterator<BoxedItem> for Batch {
    fn from_iter<I: IntoIterator<Item = BoxedItem>>(items: I) -> Self {
        let mut batch = Self::default();
        items.into_iter().for_each(|item| batch.push(item, 0, Placement::Begins));
        batch
    }
}
