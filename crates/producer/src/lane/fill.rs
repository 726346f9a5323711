//! What goes into the next request: the oldest events that may be sent, up to its limits.
//!
//! Pure. Which line and key comes next is decided here, how an event travels in `batch`. Nothing is
//! sent here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Rules;
use super::batch::{Batch, Fit, Limits};
use super::buffer::Buffer;
use super::line::{Key, line_of};
use super::pace;
use super::queue::State;
use crate::settings::{Aggregation, KeyOrder};
use dispatchd_core::limits::RECORD_BYTES_DEFAULT;

impl Buffer {
    /// Takes the oldest events that may be sent, up to the limits of a request.
    pub(super) fn fill(&mut self, max_entries: usize, now: Instant) -> Batch {
        let mut batch = Batch::default();
        let limits = self.limits(max_entries, now);
        let sendable = self.lines.iter().enumerate().filter(|(_, line)| line.sendable(now).0 > 0);
        let mut oldest_first: BinaryHeap<_> = sendable
            .filter_map(|(index, line)| line.oldest().map(|oldest| Reverse((oldest, index))))
            .collect();
        // The line whose next event shares the last entry's record: it goes before older ones of
        // other lines.
        let mut open = None;
        while let Some(line) =
            open.take().or_else(|| oldest_first.pop().map(|Reverse((_, line))| line))
        {
            let Some(key) = self.lines[line].first() else { continue };
            if !self.take(key, line, &mut batch, &limits, now) {
                break;
            }
            self.lines[line].pop_first();
            let next = self.lines[line].oldest().filter(|_| !self.lines[line].is_spent(now));
            open = next.and(Some(line)).filter(|line| self.next_joins(*line, &batch, &limits));
            if open.is_none() {
                oldest_first.extend(next.map(|oldest| Reverse((oldest, line))));
            }
        }
        batch
    }

    fn limits(&self, max_entries: usize, now: Instant) -> Limits {
        let Rules { max_bytes, max_in_flight, aggregation, aggregate_max_bytes, .. } = self.rules;
        // What any stream takes.
        let record_bytes_max = self.record_limit.unwrap_or(RECORD_BYTES_DEFAULT);
        let room = (max_in_flight * max_bytes).saturating_sub(self.flying_bytes);
        Limits {
            entries: max_entries,
            bytes: max_bytes.min(room),
            // A record that is larger than the aim goes alone, when the others leave room for its
            // request.
            first_bytes: if self.gauges.flights == 0 { usize::MAX } else { room },
            // So that the stream's word on it is on nothing else, where nobody knows what it takes.
            shared_bytes: self.record_limit.is_none().then_some(record_bytes_max),
            // Without shards to predict, only events of one key are known to belong together.
            aggregation: if self.shards.is_none() {
                aggregation.min(Aggregation::Key)
            } else {
                aggregation
            },
            aggregate_bytes: match aggregation {
                Aggregation::Shard => aggregate_max_bytes.min(record_bytes_max),
                _ => record_bytes_max,
            },
            overdue: now
                .checked_sub(self.rules.timeout)
                .filter(|overdue| self.ages.oldest().is_some_and(|oldest| oldest <= *overdue)),
        }
    }

    /// Whether the event at the front of a line shares the last entry's record.
    fn next_joins(&self, line: usize, batch: &Batch, limits: &Limits) -> bool {
        if limits.aggregation != Aggregation::Shard {
            return false;
        }
        let queue = self.lines[line].first().and_then(|key| self.keys.get(&key));
        let head =
            queue.filter(|queue| queue.state == State::Ready(line)).and_then(|queue| queue.front());
        head.is_some_and(|head| batch.fit(head, line, limits) == Fit::Joins)
    }

    /// Moves what fits of a key into the batch; the key is in flight then. False if its head does
    /// not fit.
    fn take(
        &mut self,
        key: Key,
        index: usize,
        batch: &mut Batch,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let Some(queue) =
            self.keys.get_mut(&key).filter(|queue| queue.state == State::Ready(index))
        else {
            return true; // a place left behind
        };
        if limits.overdue.is_some() && queue.front().is_some_and(|head| limits.is_overdue(head)) {
            self.expire_head(key, index, now);
            return true; // its place is left behind
        }
        let (line, shards) = (&mut self.lines[index], self.shards.as_deref());
        let before = queue.sendable(&self.rules);
        let mut is_first = true;
        while let Some(head) = queue.front() {
            // A key stands in the line of its head; explicit hash keys can part the events behind
            // it.
            let shard = if limits.aggregation == Aggregation::Shard {
                line_of(shards, &head.record)
            } else {
                index
            };
            let fit = batch.fit(head, shard, limits);
            // Under strict order a request holds one record of a key.
            let goes = match fit {
                Fit::Joins => true,
                Fit::Begins => is_first || self.rules.ordering == KeyOrder::Relaxed,
                Fit::Not => false,
            };
            // Groups of other connections may have brought one that is older than the head by a
            // moment.
            let goes = goes && (is_first || !limits.is_overdue(head));
            let Some(item) = queue.pop_front_if(|_| goes) else { break };
            if let Some(pace) = &mut line.pace {
                let cost = if fit == Fit::Joins { pace::cost_of_more } else { pace::cost };
                pace.spend(cost(item.record.size()), now);
            }
            batch.push(item, shard, fit);
            is_first = false;
            if line.is_spent(now) {
                break;
            }
        }
        if is_first {
            return false;
        }
        line.discount(before);
        queue.state = State::InFlight;
        self.gauges.keys_held += usize::from(!queue.is_empty());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::kit::{Kit, facts, failed, names, relaxed, rules, shards, stored};
    use dispatchd_core::limits::MIB;
    use dispatchd_core::model::Class;
    use dispatchd_core::model::{Distribution, StreamFacts};

    const HALVES: [u128; 2] = [0, 1 << 127];

    fn distributed(distribution: Distribution) -> StreamFacts {
        StreamFacts { distribution, ..facts(Some(shards(&HALVES))) }
    }

    fn aggregating(aggregation: Aggregation) -> Kit {
        Kit::with_two_shards(Rules { aggregation, ..rules() })
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
        let counted = |kit: &Kit| {
            kit.buffer.lines.iter().map(|line| line.sendable(kit.at(0)).1).sum::<usize>()
        };
        let (all, head) = (counted(&kit), "aa1".len());
        assert_eq!(all, 3 * head);
        kit.buffer.learn(distributed(Distribution::Auto), kit.at(0));
        assert_eq!(
            (counted(&kit), kit.buffer.lines.len()),
            (head, 1),
            "one record of a key, and no shard is predicted"
        );
        let batch = kit.send(10);
        assert_eq!(names(&batch), ["a1"]);
        kit.buffer.set_rules(Rules { aggregation: Aggregation::Key, ..rules() }, kit.at(15));
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
        let mut kit = Kit::with_two_shards(rules());
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
        let mut kit = Kit::new(Rules { max_bytes: 10 * MIB, ..relaxed() });
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

        let mut kit = Kit::new(Rules { max_bytes: 10 * MIB, ..relaxed() });
        kit.buffer.learn(StreamFacts { record_limit: Some(2 * MIB), ..facts(None) }, kit.at(0));
        kit.push_bytes(0, "a", "a", small);
        kit.push_bytes(0, "b", "b", large);
        assert_eq!(names(&kit.send(10)), ["a", "b"], "a limit that is known is the stream's word");
    }

    #[test]
    fn an_aggregate_is_no_larger_than_what_any_stream_takes_until_the_limit_is_known() {
        let mut kit =
            Kit::new(Rules { max_bytes: 10 * MIB, aggregation: Aggregation::Key, ..rules() });
        for name in ["1", "2", "3"] {
            kit.push_bytes(0, "a", name, 400 * 1024);
        }
        let batch = kit.send(10);
        assert_eq!((names(&batch), batch.len()), (vec!["1".into(), "2".into()], 1));
        kit.buffer.learn(StreamFacts { record_limit: Some(2 * MIB), ..facts(None) }, kit.at(10));
        kit.land(20, batch, vec![failed(Class::Transient)]);
        assert_eq!(names(&kit.send(200)), ["1", "2", "3"]);
    }
}
