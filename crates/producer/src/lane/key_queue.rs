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

    /// Takes out the first `count` items that are wanted, wherever they stand, and looks at none
    /// behind them. They come out in no order.
    pub(super) fn take_out(
        &mut self,
        count: usize,
        wanted: impl Fn(&Item) -> bool,
    ) -> Vec<BoxedItem> {
        let mut out = Vec::with_capacity(count);
        while out.len() < count && self.front().is_some_and(&wanted) {
            out.extend(self.pop_front());
        }
        // Each item that stays goes before all that were found, so that those stand in a row.
        let (mut index, mut stay) = (0, 0);
        while out.len() + index - stay < count && index < self.rest.len() {
            if !wanted(&self.rest[index]) {
                self.rest.swap(stay, index);
                stay += 1;
            }
            index += 1;
        }
        for item in self.rest.drain(stay..index) {
            self.bytes -= item.record.size();
            out.push(item);
        }
        out
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::lane::test_support::{Kit, settings};

    /// A key's items by their ids: what is left of 0, 1, 2 … and what was taken out, and how many
    /// were looked at for it.
    fn taken_out(
        items: u128,
        count: usize,
        wanted: impl Fn(u128) -> bool,
    ) -> (Vec<u128>, Vec<u128>, usize) {
        let kit = Kit::new(settings());
        let id = |item: &Item| item.ticket.id().as_u128();
        let mut queue = KeyQueue::new(kit.item_of(0, "key"), KeyState::InFlight);
        (1..items).for_each(|number| queue.push_back(kit.item_of(number, "key")));
        let looked_at = Cell::new(0);
        let out = queue.take_out(count, |item| {
            looked_at.set(looked_at.get() + 1);
            wanted(id(item))
        });
        let bytes = queue.bytes;
        let left: Vec<_> = queue.into_items().collect();
        assert_eq!(bytes, left.iter().map(|item| item.record.size()).sum::<usize>());
        let ids = |items: Vec<BoxedItem>| items.iter().map(|item| id(item)).collect();
        (ids(left), ids(out), looked_at.get())
    }

    #[test]
    fn what_is_taken_out_leaves_the_others_in_order_wherever_it_stood() {
        let (left, mut out, _) = taken_out(10, 5, |id| [0, 1, 4, 6, 7, 9].contains(&id));
        out.sort_unstable();
        assert_eq!((left, out), (vec![2, 3, 5, 8, 9], vec![0, 1, 4, 6, 7]));
    }

    #[test]
    fn each_item_is_looked_at_once_however_many_are_taken_out() {
        let (left, out, looked_at) = taken_out(1000, 400, |id| (500..900).contains(&id));
        assert_eq!((left.len(), out.len()), (600, 400));
        assert_eq!(looked_at, 900);
    }

    #[test]
    fn what_stands_behind_the_last_one_taken_out_is_not_looked_at() {
        let (_, out, looked_at) = taken_out(1000, 3, |id| id < 3);
        assert_eq!((out, looked_at), (vec![0, 1, 2], 3));
    }
}
