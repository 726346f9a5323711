//! What goes into the next request: the oldest events that may be sent, up to its limits.
//!
//! Pure. Which line and key comes next is decided here, how an event travels in `batch`. Nothing is sent here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Rules;
use super::batch::{Batch, Fit, Limits};
use super::buffer::Buffer;
use super::line::{Key, line_of};
use super::pace;
use super::queue::State;
use crate::config::{Aggregation, KeyOrder};

impl Buffer {
    /// Takes the oldest events that may be sent, up to the limits of a request.
    pub(super) fn fill(&mut self, max_entries: usize, now: Instant) -> Batch {
        let mut batch = Batch::default();
        let limits = self.limits(max_entries, now);
        let sendable = self.lines.iter().enumerate().filter(|(_, line)| line.sendable(now).0 > 0);
        let mut oldest_first: BinaryHeap<_> =
            sendable.filter_map(|(index, line)| line.oldest().map(|oldest| Reverse((oldest, index)))).collect();
        // The line whose next event shares the last entry's record: it goes before older ones of other lines.
        let mut open = None;
        while let Some(line) = open.take().or_else(|| oldest_first.pop().map(|Reverse((_, line))| line)) {
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
        let room = (max_in_flight * max_bytes).saturating_sub(self.flying_bytes);
        Limits {
            entries: max_entries,
            bytes: max_bytes.min(room),
            // A record that is larger than the aim goes alone, when the others leave room for its request.
            first_bytes: if self.gauges.flights == 0 { usize::MAX } else { room },
            // Without shards to predict, only events of one key are known to belong together.
            aggregation: if self.shards.is_none() { aggregation.min(Aggregation::Key) } else { aggregation },
            aggregate_bytes: match aggregation {
                Aggregation::Shard => aggregate_max_bytes.min(self.record_bytes_max),
                _ => self.record_bytes_max,
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
        let head = queue.filter(|queue| queue.state == State::Ready(line)).and_then(|queue| queue.front());
        head.is_some_and(|head| batch.fit(head, line, limits) == Fit::Joins)
    }

    /// Moves what fits of a key into the batch; the key is in flight then. False if its head does not fit.
    fn take(&mut self, key: Key, index: usize, batch: &mut Batch, limits: &Limits, now: Instant) -> bool {
        let Some(queue) = self.keys.get_mut(&key).filter(|queue| queue.state == State::Ready(index)) else {
            return true; // a place left behind
        };
        if queue.front().is_some_and(|head| limits.is_overdue(head)) {
            self.expire_head(key, index, now);
            return true; // its place is left behind
        }
        let (line, shards) = (&mut self.lines[index], self.shards.as_deref());
        let before = queue.sendable(&self.rules);
        let mut is_first = true;
        while let Some(head) = queue.front() {
            // A key stands in the line of its head; explicit hash keys can part the events behind it.
            let shard = if limits.aggregation == Aggregation::Shard { line_of(shards, &head.record) } else { index };
            let fit = batch.fit(head, shard, limits);
            // Under strict order a request holds one record of a key.
            let goes = match fit {
                Fit::Joins => true,
                Fit::Begins => is_first || self.rules.ordering == KeyOrder::Relaxed,
                Fit::Not => false,
            };
            // Groups of other connections may have brought one that is older than the head by a moment.
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
