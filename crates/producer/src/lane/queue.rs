//! A key's events that are not in flight, oldest first, and what the key may do now.
//!
//! Pure. It counts bytes and keeps order; when a key becomes ready, and for which shard, the buffer
//! decides.

use std::collections::VecDeque;
use std::time::Instant;

use super::{BoxedItem, Item, Rules};
use crate::settings::{Aggregation, KeyOrder};

/// A key's items that are not in flight, oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    /// By itself: most keys hold one item at a time, and need no list for it.
    first: Option<BoxedItem>,
    rest: VecDeque<BoxedItem>,
    bytes: usize,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// In this line.
    Ready(usize),
    InFlight,
    /// Until then.
    Cooling(Instant),
}

impl Queue {
    pub(super) fn new(item: BoxedItem, state: State) -> Self {
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

    /// All of them, in order.
    pub(super) fn into_items(self) -> impl Iterator<Item = BoxedItem> {
        self.first.into_iter().chain(self.rest)
    }

    /// What a request could take: records and bytes.
    pub(super) fn sendable(&self, rules: &Rules) -> (usize, usize) {
        match (rules.aggregation, self.front()) {
            (_, None) => (0, 0),
            (Aggregation::Off, Some(head)) if rules.ordering == KeyOrder::Strict => {
                (1, head.record.size())
            }
            (Aggregation::Off, _) => (self.len(), self.bytes),
            (Aggregation::Key, _) => (1, self.bytes),
            (Aggregation::Shard, _) => (1, self.bytes.min(rules.aggregate_max_bytes)),
        }
    }
}
