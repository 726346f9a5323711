//! Whether an event fits a PutRecords request by number and bytes, and whether it shares a packed
//! record with those before it there.
//!
//! Pure. Which event comes next is chosen in `batch_builder`, which also keeps the rule of the
//! order of a key (one record of a key under strict order); how records are packed is
//! `wire::packed`'s matter.

use std::time::Instant;

use super::batch::{Batch, Placement};
use super::item::{AggregateScope, Item};
use super::settings::Aggregation;

/// How much one request takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub entries: usize,
    /// Bytes of the data and the partition keys of all entries.
    pub bytes: usize,
    /// A first record may be larger than `bytes`, up to this.
    pub first_bytes: usize,
    /// A record that is larger than this shares its request with no other; `None` without such a
    /// bound.
    pub shared_bytes: Option<usize>,
    pub aggregation: Aggregation,
    /// The largest packed record, its partition key counted.
    pub aggregate_bytes: usize,
    /// What was accepted by then is overdue: reckoned once a request, not once an event. `None`
    /// where nothing is.
    pub overdue: Option<Instant>,
}

impl Limits {
    pub(super) fn is_overdue(&self, item: &Item) -> bool {
        self.overdue.is_some_and(|overdue| item.accepted <= overdue)
    }

    /// How this item, predicted for this shard, would travel in the batch; `None` if it has to wait
    /// for another request.
    pub(super) fn placement(&self, batch: &Batch, item: &Item, shard: usize) -> Option<Placement> {
        let size = item.record.size();
        let Some(first) = batch.first() else {
            return (size <= self.first_bytes).then_some(Placement::Begins);
        };
        if self.shared_bytes.is_some_and(|shared| size.max(first.record.size()) > shared) {
            return None;
        }
        if self.may_join(batch, item, shard) && batch.bytes_if_joined(&item.record) <= self.bytes {
            return Some(Placement::Joins);
        }
        let begins = batch.len() < self.entries && batch.bytes() + size <= self.bytes;
        begins.then_some(Placement::Begins)
    }

    /// Whether an item may share the last entry's record, as far as that record is concerned.
    fn may_join(&self, batch: &Batch, item: &Item, shard: usize) -> bool {
        let Some((head, head_shard)) = batch.last_entry() else { return false };
        let (one, other) = (&head.record, &item.record);
        let belongs = match (self.aggregation, head.scope.max(item.scope)) {
            (Aggregation::Off, _) | (_, AggregateScope::Alone) => false,
            // Two public readers give a member without an explicit hash key that of another.
            (Aggregation::Shard, AggregateScope::AsConfigured) => {
                head_shard == shard
                    && one.explicit_hash().is_some() == other.explicit_hash().is_some()
            }
            (Aggregation::Key, AggregateScope::AsConfigured) | (_, AggregateScope::OwnKey) => {
                one.key_hash == other.key_hash && one.explicit_hash() == other.explicit_hash()
            }
        };
        belongs && batch.aggregate_bytes_if_joined(other) <= self.aggregate_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{Kit, settings};
    use dispatchd_core::wire::packed;

    /// Room for everything: a test takes away what it is about.
    fn limits(aggregation: Aggregation) -> Limits {
        Limits {
            entries: 500,
            bytes: 1 << 20,
            first_bytes: 1 << 20,
            shared_bytes: None,
            aggregation,
            aggregate_bytes: 1 << 20,
            overdue: None,
        }
    }

    #[test]
    fn a_record_of_its_own_may_fill_a_request_to_the_byte_and_no_further() {
        let kit = Kit::new(settings());
        let batch: Batch =
            [kit.item_of_bytes("a", 600), kit.item_of_bytes("b", 300)].into_iter().collect();
        let limits = Limits { bytes: 1000, ..limits(Aggregation::Off) };
        let fits = |bytes| limits.placement(&batch, &kit.item_of_bytes("c", bytes), 0);
        assert_eq!((fits(100), fits(101)), (Some(Placement::Begins), None));
    }

    #[test]
    fn a_first_record_may_fill_the_room_that_flights_leave_and_no_more() {
        let kit = Kit::new(settings());
        let limits = Limits { bytes: 100, first_bytes: 1000, ..limits(Aggregation::Off) };
        let fits = |bytes| limits.placement(&Batch::default(), &kit.item_of_bytes("a", bytes), 0);
        assert_eq!((fits(1000), fits(1001)), (Some(Placement::Begins), None));
    }

    #[test]
    fn a_member_may_fill_its_aggregate_and_the_request_to_the_byte_and_no_further() {
        let kit = Kit::new(settings());
        let member = |item: &Item| packed::member_bytes_max(&item.record);
        for others in 0..3 {
            let mut batch: Batch = [kit.item_of_bytes("a", 300)].into_iter().collect();
            let first = kit.item_of_bytes("key", 200);
            let mut aggregate_bytes = packed::FRAME_BYTES + "key".len() + member(&first);
            batch.push(first, 0, Placement::Begins);
            for _ in 0..others {
                let other = kit.item_of_bytes("key", 100);
                aggregate_bytes += member(&other);
                batch.push(other, 0, Placement::Joins);
            }
            let next = kit.item_of_bytes("key", 50);
            aggregate_bytes += member(&next);
            let placement = |bytes, aggregate_bytes| {
                let limits = limits(Aggregation::Key);
                Limits { entries: 2, bytes, aggregate_bytes, ..limits }.placement(&batch, &next, 0)
            };
            let bytes = 300 + aggregate_bytes;
            assert_eq!(placement(bytes, aggregate_bytes), Some(Placement::Joins), "{others}");
            assert_eq!(placement(bytes - 1, aggregate_bytes), None, "the request is full");
            assert_eq!(placement(bytes, aggregate_bytes - 1), None, "the aggregate is full");
            batch.push(next, 0, Placement::Joins);
            assert_eq!(batch.bytes(), bytes, "as large as was foreseen");
        }
    }
}
