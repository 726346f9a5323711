//! What goes into the next PutRecords request: the oldest events that may be sent, up to its
//! limits.
//!
//! Pure. Which shard queue and which key comes next is decided here, and how many events of a key
//! may follow its first one (`take`: one record of a key under strict order). Whether the next
//! event fits by number and bytes, and whether it shares a packed record, is `packing`'s. What a
//! request could take of a key, `key_queue` foresees (`sendable`) and must say the same. Nothing is
//! sent here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::batch::{Batch, Placement};
use super::flight::Flights;
use super::key_queue::{Key, KeyState};
use super::pacing;
use super::packing::Limits;
use super::queues::Queues;
use super::settings::{Aggregation, KeyOrder, Settings};
use dispatchd_core::limits::RECORD_BYTES_DEFAULT;

/// A request that is being filled.
#[derive(Debug)]
pub(super) struct BatchBuilder<'a> {
    queues: &'a mut Queues,
    limits: Limits,
    now: Instant,
    batch: Batch,
}

/// What limits a request besides the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub max_entries: usize,
    pub flights: Flights,
    /// The largest record that the stream takes; `None` while that is not known.
    pub record_limit: Option<usize>,
}

impl<'a> BatchBuilder<'a> {
    pub(super) fn new(queues: &'a mut Queues, bounds: Bounds, now: Instant) -> Self {
        let limits = limits(queues, bounds, now);
        Self { queues, limits, now, batch: Batch::default() }
    }

    /// Takes the oldest events that may be sent. The batch is empty where none may.
    pub(super) fn fill(mut self) -> Batch {
        let now = self.now;
        let shard_queues = self.queues.shards.iter().enumerate();
        let sendable = shard_queues.filter(|(_, queue)| queue.sendable(now).0 > 0);
        let mut oldest_first: BinaryHeap<_> = sendable
            .filter_map(|(shard, queue)| queue.oldest().map(|oldest| Reverse((oldest, shard))))
            .collect();
        // The shard queue whose next event shares the last entry's record: it goes before older
        // events of others.
        let mut open = None;
        while let Some(shard) =
            open.take().or_else(|| oldest_first.pop().map(|Reverse((_, shard))| shard))
        {
            let Some(key) = self.queues.shards.at(shard).first() else { continue };
            if !self.take(key, shard) {
                break;
            }
            let queue = self.queues.shards.at(shard);
            queue.pop_first();
            let next = queue.oldest().filter(|_| !queue.is_spent(now));
            open = next.and(Some(shard)).filter(|shard| self.next_joins(*shard));
            if open.is_none() {
                oldest_first.extend(next.map(|oldest| Reverse((oldest, shard))));
            }
        }
        self.batch
    }

    /// Whether the event at the front of a shard queue shares the last entry's record.
    fn next_joins(&mut self, shard: usize) -> bool {
        if self.limits.aggregation != Aggregation::Shard {
            return false;
        }
        let first = self.queues.shards.at(shard).first();
        let queue = first.and_then(|key| self.queues.keys.get(&key));
        let head = queue
            .filter(|queue| queue.state == KeyState::Ready(shard))
            .and_then(|queue| queue.front());
        head.is_some_and(|head| {
            self.limits.placement(&self.batch, head, shard) == Some(Placement::Joins)
        })
    }

    /// Moves what fits of a key into the batch; the key is in flight then. False if its head does
    /// not fit.
    fn take(&mut self, key: Key, index: usize) -> bool {
        let Self { queues, limits, now, batch } = self;
        let Queues { settings, keys, shards, deadlines, keys_held, .. } = &mut **queues;
        let Some(queue) = keys.get_mut(&key).filter(|queue| queue.state == KeyState::Ready(index))
        else {
            return true; // a place left behind
        };
        if limits.overdue.is_some() && queue.front().is_some_and(|head| limits.is_overdue(head)) {
            queues.expire_head(key, index, *now);
            return true; // its place is left behind
        }
        let before = queue.sendable(settings);
        let mut is_first = true;
        while let Some(head) = queue.front() {
            // A key stands in the queue of its head's shard; explicit hash keys can part the events
            // behind it.
            let shard = match limits.aggregation {
                Aggregation::Shard => shards.index_of(&head.record),
                Aggregation::Off | Aggregation::Key => index,
            };
            let Some(placement) = limits.placement(batch, head, shard) else { break };
            // Under strict order a request holds one record of a key.
            let may_follow =
                placement == Placement::Joins || settings.ordering == KeyOrder::Relaxed;
            // Groups of other connections may have brought one that is older than the head by a
            // moment.
            if !is_first && (!may_follow || limits.is_overdue(head)) {
                break;
            }
            let Some(item) = queue.pop_front() else { break };
            deadlines.remove(&item);
            let shard_queue = shards.at(index);
            if let Some(pacing) = &mut shard_queue.pacing {
                let cost = match placement {
                    Placement::Joins => pacing::cost_of_more,
                    Placement::Begins => pacing::cost,
                };
                pacing.spend(cost(item.record.size()), *now);
            }
            batch.push(item, shard, placement);
            is_first = false;
            if shard_queue.is_spent(*now) {
                break;
            }
        }
        if is_first {
            return false;
        }
        shards.at(index).discount(before);
        queue.state = KeyState::InFlight;
        *keys_held += usize::from(!queue.is_empty());
        true
    }
}

/// How much the next request takes.
fn limits(queues: &Queues, bounds: Bounds, now: Instant) -> Limits {
    let Settings { max_bytes, max_in_flight, aggregation, aggregate_max_bytes, timeout, .. } =
        queues.settings;
    // Without a word from the stream: what any stream takes.
    let record_bytes_max = bounds.record_limit.unwrap_or(RECORD_BYTES_DEFAULT);
    let room_bytes = (max_in_flight * max_bytes).saturating_sub(bounds.flights.bytes());
    Limits {
        entries: bounds.max_entries,
        bytes: max_bytes.min(room_bytes),
        // A record that is larger than the aim goes alone, when the others leave room for its
        // request.
        first_bytes: if bounds.flights.count() == 0 { usize::MAX } else { room_bytes },
        // So that the stream's word on it is on nothing else, where nobody knows what it takes.
        shared_bytes: bounds.record_limit.is_none().then_some(record_bytes_max),
        // Without shards to predict, only events of one key are known to belong together.
        aggregation: match queues.shards.map() {
            None => aggregation.min(Aggregation::Key),
            Some(_) => aggregation,
        },
        aggregate_bytes: match aggregation {
            Aggregation::Shard => aggregate_max_bytes.min(record_bytes_max),
            Aggregation::Off | Aggregation::Key => record_bytes_max,
        },
        overdue: now
            .checked_sub(timeout)
            .filter(|overdue| queues.ages.oldest().is_some_and(|oldest| oldest <= *overdue)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{Kit, facts, failed, names, relaxed, settings, shards, stored};
    use dispatchd_core::limits::MIB;
    use dispatchd_core::model::Class;
    use dispatchd_core::model::{Distribution, StreamFacts};

    const HALVES: [u128; 2] = [0, 1 << 127];

    fn distributed(distribution: Distribution) -> StreamFacts {
        StreamFacts { distribution, ..facts(Some(shards(&HALVES))) }
    }

    fn aggregating(aggregation: Aggregation) -> Kit {
        Kit::with_two_shards(Settings { aggregation, ..settings() })
    }

    #[test]
    fn where_the_service_distributes_records_or_nobody_asked_yet_none_share_a_record() {
        for distribution in [Distribution::Auto, Distribution::NotAsked] {
            for aggregation in [Aggregation::Key, Aggregation::Shard] {
                let mut kit = aggregating(aggregation);
                kit.buffer.learn(distributed(distribution), kit.at(0));
                kit.push(0, "a", &["a1", "a2"]);
                kit.push(0, "b", &["b1"]);
                let batch = kit.send(10);
                assert_eq!(
                    (names(&batch), batch.is_aggregated()),
                    (vec!["a1".into(), "b1".into()], false)
                );
            }
        }
    }

    #[test]
    fn a_stream_that_is_switched_while_events_wait_counts_them_anew_and_goes_on() {
        let mut kit = aggregating(Aggregation::Key);
        kit.push(0, "a", &["a1", "a2", "a3"]);
        let counted = |kit: &Kit| kit.buffer.sendable_bytes(kit.at(0));
        let (all, head) = (counted(&kit), "aa1".len());
        assert_eq!(all, 3 * head);
        kit.buffer.learn(distributed(Distribution::Auto), kit.at(0));
        assert_eq!(
            (counted(&kit), kit.buffer.shard_queues()),
            (head, 1),
            "one record of a key, and no shard is predicted"
        );
        let batch = kit.send(10);
        assert_eq!(names(&batch), ["a1"]);
        kit.buffer
            .set_settings(Settings { aggregation: Aggregation::Key, ..settings() }, kit.at(15));
        kit.land_stored(20, batch);
        let batch = kit.send(20);
        assert_eq!(
            (names(&batch), batch.is_aggregated()),
            (vec!["a2".into()], false),
            "a reload changes nothing of it"
        );
        kit.push(20, "a", &["a4"]);
        kit.buffer.learn(distributed(Distribution::ByKey), kit.at(20));
        kit.land_stored(30, batch);
        let batch = kit.send(30);
        assert_eq!(
            (names(&batch), batch.len()),
            (vec!["a3".into(), "a4".into()], 1),
            "switched back, they share one"
        );
        kit.land_stored(40, batch);
        assert!(kit.buffer.is_empty() && counted(&kit) == 0);
    }

    #[test]
    fn where_the_service_distributes_records_a_throttled_key_cools_and_no_shard_does() {
        let mut kit = Kit::with_two_shards(settings());
        kit.push_to(0, 0, "a", "a");
        kit.buffer.learn(distributed(Distribution::Auto), kit.at(0));
        kit.push_to(0, 0, "b", "b");
        let batch = kit.send(10);
        kit.land(20, batch, vec![failed(Class::Throttled), stored()]);
        assert!(kit.poll(20).is_none());
        let gauges = kit.buffer.gauges();
        assert_eq!((gauges.shards_cooling, gauges.keys_cooling), (0, 1));
        kit.push_to(0, 21, "c", "c");
        assert_eq!(names(&kit.send(31)), ["c"], "others of what would be its shard go on");
    }

    #[test]
    fn while_the_record_limit_is_not_known_what_some_stream_may_refuse_goes_alone() {
        let mut kit = Kit::new(Settings { max_bytes: 10 * MIB, ..relaxed() });
        let (small, large) = (MIB, MIB + 1);
        for (key, name, bytes) in
            [("a", "a", small), ("b", "b", large), ("c", "c1", small), ("c", "c2", large)]
        {
            kit.push_bytes(0, key, name, bytes);
        }
        let batches: Vec<_> =
            std::iter::from_fn(|| kit.poll(10)).map(|batch| names(&batch)).collect();
        assert_eq!(
            batches,
            [vec!["a"], vec!["b"], vec!["c1"]],
            "and what is behind it does not join it"
        );

        let mut kit = Kit::new(Settings { max_bytes: 10 * MIB, ..relaxed() });
        kit.buffer.learn(StreamFacts { record_limit: Some(2 * MIB), ..facts(None) }, kit.at(0));
        kit.push_bytes(0, "a", "a", small);
        kit.push_bytes(0, "b", "b", large);
        assert_eq!(names(&kit.send(10)), ["a", "b"], "a limit that is known is the stream's word");
    }

    #[test]
    fn an_aggregate_is_no_larger_than_what_any_stream_takes_until_the_limit_is_known() {
        let mut kit =
            Kit::new(Settings { max_bytes: 10 * MIB, aggregation: Aggregation::Key, ..settings() });
        for name in ["1", "2", "3"] {
            kit.push_bytes(0, "a", name, 400 * 1024);
        }
        let batch = kit.send(10);
        assert_eq!((names(&batch), batch.len()), (vec!["1".into(), "2".into()], 1));
        kit.buffer.learn(StreamFacts { record_limit: Some(2 * MIB), ..facts(None) }, kit.at(10));
        kit.land(20, batch, vec![failed(Class::Transient)]);
        assert_eq!(names(&kit.send(200)), ["1", "2", "3"]);
    }

    #[test]
    fn events_of_one_shard_share_a_record_though_older_ones_of_another_stand_between() {
        let mut kit = aggregating(Aggregation::Shard);
        for (at_ms, shard, name) in [(0, 0, "a"), (1, 1, "b"), (2, 0, "c"), (3, 1, "d")] {
            kit.push_to(shard, at_ms, name, name);
        }
        let batch = kit.send(10);
        assert_eq!(
            (names(&batch), batch.len()),
            (["a", "c", "b", "d"].map(String::from).into(), 2)
        );
    }
}
