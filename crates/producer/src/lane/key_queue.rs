//! One key's items that are not in flight, oldest first, and whether the key may be sent now.
//!
//! Pure. A key queue keeps order and counts bytes, and foresees what one PutRecords request could
//! take of it (`sendable`), which `batch_builder` and `packing` then decide. When its key becomes
//! ready, and for which shard, is decided in `queues`.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::item::{BoxedItem, Item};
use super::settings::{Aggregation, KeyOrder, Settings};

/// A key's name inside a lane: the MD5 sum of the partition key.
pub(super) type Key = u128;

/// Values by key. Callers choose what a key is the sum of: so it is hashed once more, with a seed,
/// and quickly.
pub(super) type Keys<V> = HashMap<Key, V, foldhash::fast::RandomState>;

/// One key's items that are not in flight, oldest first.
#[derive(Debug)]
pub(super) struct KeyQueue {
    /// The oldest item by itself: most keys hold one item at a time, and need no list for it.
    first: Option<BoxedItem>,
    rest: VecDeque<BoxedItem>,
    bytes: usize,
    pub state: KeyState,
}

/// What a key may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyState {
    /// The key may be sent, and stands in the shard queue of this index.
    Ready(usize),
    /// A batch with some of its items is being sent, or waits to be.
    InFlight,
    /// The key may be sent again at this time.
    Cooling(Instant),
}

impl KeyQueue {
    pub(super) fn new(item: BoxedItem, state: KeyState) -> Self {
        let bytes = item.record.size();
        Self { first: Some(item), rest: VecDeque::new(), bytes, state }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.first.as_deref()
    }

    pub(super) fn push_back(&mut self, item: BoxedItem) {
        self.bytes += item.record.size();
        match &self.first {
            None => self.first = Some(item),
            Some(_) => self.rest.push_back(item),
        }
    }

    /// Puts items, in their order, before all others.
    pub(super) fn put_front(&mut self, items: Vec<BoxedItem>) {
        for item in items.into_iter().rev() {
            self.bytes += item.record.size();
            if let Some(second) = self.first.replace(item) {
                self.rest.push_front(second);
            }
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<BoxedItem> {
        let item = std::mem::replace(&mut self.first, self.rest.pop_front())?;
        self.bytes -= item.record.size();
        Some(item)
    }

    pub(super) fn pop_front_if(&mut self, wanted: impl FnOnce(&Item) -> bool) -> Option<BoxedItem> {
        if self.front().is_some_and(wanted) { self.pop_front() } else { None }
    }

    /// Takes the first item out that is wanted, wherever it stands.
    pub(super) fn take_out(&mut self, wanted: impl Fn(&Item) -> bool) -> Option<BoxedItem> {
        if self.front().is_some_and(&wanted) {
            return self.pop_front();
        }
        let index = self.rest.iter().position(|item| wanted(item))?;
        let item = self.rest.remove(index)?;
        self.bytes -= item.record.size();
        Some(item)
    }

    /// All items, in order.
    pub(super) fn into_items(self) -> impl Iterator<Item = BoxedItem> {
        self.first.into_iter().chain(self.rest)
    }

    /// What one request could take of this key: records and bytes.
    pub(super) fn sendable(&self, settings: &Settings) -> (usize, usize) {
        match (settings.aggregation, self.front()) {
            (_, None) => (0, 0),
            (Aggregation::Off, Some(head)) if settings.ordering == KeyOrder::Strict => {
                (1, head.record.size())
            }
            (Aggregation::Off, _) => (self.len(), self.bytes),
            (Aggregation::Key, _) => (1, self.bytes),
            (Aggregation::Shard, _) => (1, self.bytes.min(settings.aggregate_max_bytes)),
        }
    }
}
