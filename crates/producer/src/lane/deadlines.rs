//! When the events are given up whose callers wait no longer than they said: by deadline, with the
//! key to look at.
//!
//! Pure. It counts what waits in the queues and nothing else: an event in flight has no entry,
//! since its flight settles it. So there are never more entries than events that wait, whose
//! `limits::ITEM_BYTES` cover theirs; and an event without a deadline has none and costs nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::item::Item;
use super::key_queue::Key;

/// How many events of a key wait until a deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeMap<(Instant, Key), usize>);

impl Deadlines {
    /// An event waits in its key's queue.
    pub(super) fn add(&mut self, item: &Item) {
        if let Some(deadline) = item.deadline {
            *self.0.entry((deadline, item.record.key_hash)).or_default() += 1;
        }
    }

    /// An event left its key's queue, whatever for.
    ///
    /// # Panics
    /// If it was not counted: the lane has miscounted.
    pub(super) fn remove(&mut self, item: &Item) {
        if self.0.is_empty() {
            // Most daemons have no deadlines. What nothing else reads of an item at this point is
            // not read for nothing: it would be a cache miss an event.
            debug_assert_eq!(item.deadline, None, "an event that leaves was counted");
            return;
        }
        let Some(deadline) = item.deadline else { return };
        let entry = (deadline, item.record.key_hash);
        let count = self.0.get_mut(&entry).expect("an event that leaves was counted");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&entry);
        }
    }

    /// Takes out the entries whose deadlines have come: of which keys, and of how many events each.
    pub(super) fn take_due(&mut self, now: Instant) -> BTreeMap<Key, usize> {
        let mut due = BTreeMap::new();
        while let Some(entry) = self.0.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, key), count) = entry.remove_entry();
            *due.entry(key).or_default() += count;
        }
        due
    }

    /// The next deadline; `None` without one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|(&(deadline, _), _)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{Kit, settings};

    #[test]
    fn the_next_deadline_is_known_while_an_event_waits_for_it_and_no_longer() {
        let kit = Kit::new(settings());
        let item = |key, deadline_ms: Option<u64>| {
            let mut item = kit.item_of(1, key);
            item.deadline = deadline_ms.map(|ms| kit.at(ms));
            item
        };
        let (early, late, never) = (item("a", Some(5)), item("b", Some(9)), item("c", None));
        let mut deadlines = Deadlines::default();
        [&early, &early, &late, &never].into_iter().for_each(|item| deadlines.add(item));
        assert_eq!(deadlines.next(), Some(kit.at(5)));
        assert_eq!(deadlines.take_due(kit.at(4)), BTreeMap::new());
        [&early, &never].into_iter().for_each(|item| deadlines.remove(item));
        assert_eq!(deadlines.next(), Some(kit.at(5)), "one of two is left");
        deadlines.remove(&early);
        assert_eq!(deadlines.next(), Some(kit.at(9)));
        deadlines.add(&late);
        deadlines.add(&item("a", Some(8)));
        deadlines.add(&item("b", Some(10)));
        let due = BTreeMap::from([(early.record.key_hash, 1), (late.record.key_hash, 2)]);
        assert_eq!(deadlines.take_due(kit.at(9)), due);
        assert_eq!(deadlines.next(), Some(kit.at(10)));
    }

    #[test]
    fn what_is_due_of_a_key_is_told_together_however_many_deadlines_it_had() {
        let kit = Kit::new(settings());
        let mut deadlines = Deadlines::default();
        for ms in [5, 7, 6] {
            let mut item = kit.item_of(1, "key");
            item.deadline = Some(kit.at(ms));
            deadlines.add(&item);
        }
        let due: Vec<_> = deadlines.take_due(kit.at(6)).into_values().collect();
        assert_eq!((due, deadlines.next()), (vec![2], Some(kit.at(7))));
    }
}
