//! One lane's memory: a queue per key, and which keys may be sent now.
//!
//! Pure: time comes in as an argument, work goes out as values. It never talks to Kinesis, never
//! answers a ticket and never drops an item.
//!
//! Ready keys stand in the line of the shard they are predicted for: a shard that cools holds back
//! its own keys and no other's, and no key starves. A key that leaves a line out of turn (it
//! expired) leaves its place behind; whoever comes to the place looks at the key's state, which
//! alone counts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque, hash_map};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ages::Ages;
use super::batch::Batch;
use super::doubt::Doubt;
use super::line::{Key, Line, line_of};
use super::queue::{Queue, State};
use super::{BoxedItem, Rules};
use crate::settings::Aggregation;
use dispatchd_core::model::Reason;
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{Distribution, ShardMap, StreamFacts};

/// Events of one key behind each other that are worth a hint: at one a request, seconds of waiting.
const HELD_HINT: usize = 500;

/// The longest wait after a failure while the daemon drains: its deadline is seconds away.
const DRAIN_BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Where this is not so, the lane's books are wrong.
const KEEPS_ITS_QUEUE: &str = "a key in flight keeps its queue";

/// By key. A key is an MD5 sum, but callers choose what it is the sum of: so it is hashed once
/// more, with a seed, and quickly.
type Keys<V> = HashMap<Key, V, foldhash::fast::RandomState>;

/// What to do now.
#[derive(Debug)]
pub enum Poll {
    /// These have waited for `delivery.timeout`: they are answered now, and never sent again.
    Late(Vec<BoxedItem>),
    Send(Batch),
    /// Nothing before this time, unless something arrives; without a time, nothing until then.
    Wait(Option<Instant>),
}

/// What the lane's gauges show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    pub flights: usize,
    pub shards_cooling: usize,
    pub keys_cooling: usize,
    /// Keys in flight with events waiting behind them.
    pub keys_held: usize,
}

/// One lane's memory.
#[derive(Debug)]
pub struct Buffer {
    /// As they hold now: nothing is aggregated where keys do not decide the shard, whatever is
    /// configured.
    pub(super) rules: Rules,
    /// `delivery.aggregation`.
    aggregation: Aggregation,
    /// Nothing where there are none to predict.
    pub(super) shards: Option<Arc<ShardMap>>,
    /// The largest record that the stream takes, if that is known.
    pub(super) record_limit: Option<usize>,
    /// Since when `shards` are known: a flight that went out earlier says nothing about the map.
    pub(super) mapped: Option<Instant>,
    pub(super) keys: Keys<Queue>,
    /// By index of `shards`; a single one without a map.
    pub(super) lines: Vec<Line>,
    /// Keys that cool, by when they wake. A key whose events all expired leaves its entry behind,
    /// as in a line.
    cooling: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Batches made by taking one apart that was refused as a whole; their keys are in flight.
    pub(super) parts: VecDeque<Batch>,
    /// Keys that were cut in two by that: what their queue begins with, each piece to be sent by
    /// itself.
    cuts: Keys<VecDeque<Cut>>,
    pub(super) blocked: Option<Blocked>,
    pub(super) doubt: Doubt,
    pub(super) ages: Ages,
    /// Bytes of the flights that are out.
    pub(super) flying_bytes: usize,
    /// The stop began: time is short.
    pub(super) draining: bool,
    /// No search for overdue items before this.
    next_sweep: Option<Instant>,
    /// Overdue, and taken out to be answered.
    pub(super) late: Vec<BoxedItem>,
    /// Whether strict order has held so many events of one key back that its owner should hear of
    /// it.
    holds_many: bool,
    pub(super) gauges: Gauges,
}

/// A piece that was cut off of a key: so many items at the front of its queue.
#[derive(Debug)]
pub(super) struct Cut {
    pub items: usize,
    /// It is the other half of what is in flight: if that is taken, the record at fault is in this
    /// one.
    pub is_other_half: bool,
}

/// The stream takes nothing until an operator acts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocked {
    pub reason: Reason,
    pub since: Instant,
    pub next_probe: Instant,
    /// Probes that failed in a row.
    pub probes: u32,
}

impl Buffer {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            aggregation: rules.aggregation,
            shards: None,
            record_limit: None,
            mapped: None,
            keys: Keys::default(),
            lines: vec![Line::default()],
            cooling: BinaryHeap::new(),
            parts: VecDeque::new(),
            cuts: Keys::default(),
            blocked: None,
            doubt: Doubt::default(),
            ages: Ages::new(expiry_tick(rules.timeout)),
            flying_bytes: 0,
            draining: false,
            next_sweep: None,
            late: Vec::new(),
            holds_many: false,
            gauges: Gauges::default(),
        }
    }

    /// Takes an item in, behind every earlier one of its key.
    pub fn push(&mut self, item: BoxedItem) {
        let key = item.record.key_hash;
        self.ages.add(item.accepted);
        match self.keys.entry(key) {
            hash_map::Entry::Vacant(vacant) => {
                let line = line_of(self.shards.as_deref(), &item.record);
                self.lines[line].join(item.accepted, key);
                let queue = vacant.insert(Queue::new(item, State::Ready(line)));
                self.lines[line].count(queue.sendable(&self.rules));
            }
            hash_map::Entry::Occupied(mut occupied) => {
                let queue = occupied.get_mut();
                let before = queue.sendable(&self.rules);
                queue.push_back(item);
                self.holds_many |= self.rules.sends_one_of_a_key() && queue.len() >= HELD_HINT;
                match queue.state {
                    State::Ready(line) => {
                        self.lines[line].discount(before);
                        self.lines[line].count(queue.sendable(&self.rules));
                    }
                    State::InFlight if queue.len() == 1 => self.gauges.keys_held += 1,
                    _ => {}
                }
            }
        }
    }

    /// What to do at `now`. To be asked again after every push, send and settle, and at the time it
    /// names.
    pub fn poll(&mut self, now: Instant) -> Poll {
        self.sweep(now);
        if !self.late.is_empty() {
            return Poll::Late(std::mem::take(&mut self.late));
        }
        match self.send_or_wait(now) {
            Poll::Wait(_) if !self.late.is_empty() => Poll::Late(std::mem::take(&mut self.late)),
            next => next,
        }
    }

    fn send_or_wait(&mut self, now: Instant) -> Poll {
        self.wake(now);
        let sleep = earliest(self.next_wake(now), self.next_expiry());
        if self.gauges.flights >= self.rules.max_in_flight {
            return Poll::Wait(sleep); // the flight that lands first asks again
        }
        let batch = match self.blocked {
            Some(_) if self.gauges.flights > 0 => return Poll::Wait(sleep),
            Some(blocked) if now < blocked.next_probe => {
                return Poll::Wait(earliest(sleep, Some(blocked.next_probe)));
            }
            Some(_) => self.fill(1, now), // one record, to see whether the stream takes it now
            None => match (self.next_part(now), self.due(now)) {
                (Some(part), _) => part,
                (None, Some(due)) if due > now => return Poll::Wait(earliest(sleep, Some(due))),
                (None, Some(_)) => self.fill(self.rules.max_records, now),
                (None, None) => return Poll::Wait(sleep),
            },
        };
        if batch.is_empty() {
            return Poll::Wait(sleep);
        }
        self.gauges.flights += 1;
        self.flying_bytes += batch.bytes();
        Poll::Send(batch.send(now))
    }

    /// Takes out what has waited for `delivery.timeout` and is not in flight. What it misses until
    /// the next time, since it looks once a tick, is met when its turn comes to be sent.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        // What is overdue but in flight is met again when it lands; until then one look a tick is
        // enough.
        self.next_sweep = Some(now + expiry_tick(self.rules.timeout));
        let Self { rules, keys, lines, cuts, ages, gauges, late, .. } = self;
        keys.retain(|key, queue| {
            if !queue.front().is_some_and(|head| rules.is_overdue(head, now)) {
                return true;
            }
            cuts.remove(key); // what is left of them goes as it comes
            if let State::Ready(line) = queue.state {
                lines[line].discount(queue.sendable(rules));
            }
            while let Some(item) = queue.pop_front_if(|item| rules.is_overdue(item, now)) {
                ages.remove(item.accepted);
                late.push(item);
            }
            match (queue.state, queue.is_empty()) {
                (State::Ready(line), false) => lines[line].count(queue.sendable(rules)),
                (State::Cooling(_), true) => gauges.keys_cooling -= 1,
                (State::InFlight, true) => gauges.keys_held -= 1,
                _ => {}
            }
            !queue.is_empty() || queue.state == State::InFlight
        });
    }

    /// A ready key whose turn has come and whose head is overdue: it stands anew where its next
    /// event belongs.
    #[cold]
    pub(super) fn expire_head(&mut self, key: Key, line: usize, now: Instant) {
        let hash_map::Entry::Occupied(mut entry) = self.keys.entry(key) else { return };
        let queue = entry.get_mut();
        self.lines[line].discount(queue.sendable(&self.rules));
        while let Some(item) = queue.pop_front_if(|item| self.rules.is_overdue(item, now)) {
            self.ages.remove(item.accepted);
            self.late.push(item);
        }
        let Some(head) = queue.front() else {
            entry.remove();
            return;
        };
        let line = line_of(self.shards.as_deref(), &head.record);
        self.lines[line].rejoin(head.accepted, key);
        self.lines[line].count(queue.sendable(&self.rules));
        queue.state = State::Ready(line);
    }

    /// The next part of a request that was taken apart, without what is overdue in it.
    fn next_part(&mut self, now: Instant) -> Option<Batch> {
        while let Some(part) = self.parts.pop_front() {
            if !part.items().any(|item| self.rules.is_overdue(item, now)) {
                return Some(part);
            }
            let (late, rest): (Vec<_>, Vec<_>) =
                part.into_items().partition(|item| self.rules.is_overdue(item, now));
            let mut keys: Vec<Key> = late.iter().map(|item| item.record.key_hash).collect();
            keys.dedup(); // events of one key are neighbours
            keys.retain(|key| rest.iter().all(|item| item.record.key_hash != *key));
            late.iter().for_each(|item| self.ages.remove(item.accepted));
            self.late.extend(late);
            keys.into_iter().for_each(|key| self.give_back(key, Vec::new(), None));
            if !rest.is_empty() {
                return Some(rest.into_iter().collect());
            }
        }
        None
    }

    /// Takes everything out that is not in flight: the deadline has come.
    pub fn abandon(&mut self) -> Vec<BoxedItem> {
        self.ages = Ages::new(expiry_tick(self.rules.timeout));
        self.gauges = Gauges::default();
        self.cuts.clear();
        let queued = self.keys.drain().flat_map(|(_, queue)| queue.into_items());
        let parts = self.parts.drain(..).flat_map(Batch::into_items);
        queued.chain(parts).collect()
    }

    /// From `now` on nothing lingers and nothing is paced; what cools may go at once, and cools
    /// briefly from then on: what is refused costs less than what is not tried in time.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.rules = drained(self.rules);
        for line in &mut self.lines {
            line.cooling_until = None;
            line.pace = None;
        }
        for Reverse((until, key)) in std::mem::take(&mut self.cooling) {
            self.end_cooling(key, until);
        }
        self.probe(now);
    }

    /// Other rules hold from `now` on, but for order and aggregation. A blocked stream is tried at
    /// once: who changes the rules may have mended more.
    ///
    /// # Panics
    /// If order or aggregation are others: what the lines count of their keys depends on them.
    pub fn set_rules(&mut self, rules: Rules, now: Instant) {
        let lasting =
            |rules: &Rules| (rules.ordering, rules.aggregation, rules.aggregate_max_bytes);
        let before = Rules { aggregation: self.aggregation, ..self.rules };
        assert_eq!(
            lasting(&rules),
            lasting(&before),
            "order and aggregation hold for the life of a lane"
        );
        let rules = Rules { aggregation: self.rules.aggregation, ..rules };
        self.rules = if self.draining { drained(rules) } else { rules };
        self.probe(now);
    }

    fn probe(&mut self, now: Instant) {
        if let Some(blocked) = &mut self.blocked {
            *blocked = Blocked { next_probe: now, probes: 0, ..*blocked };
        }
    }

    /// What is known of the stream now. It may have no shards that can be predicted; every ready
    /// key moves to its new line, and is counted anew: what a request could take of it depends on
    /// aggregation. What is in flight is settled as it is.
    pub fn learn(&mut self, facts: StreamFacts, now: Instant) {
        let StreamFacts { shards, record_limit, distribution } = facts;
        let shards = shards.filter(|_| distribution != Distribution::Auto);
        self.record_limit = record_limit;
        // Readers drop an aggregate silently that lies in another shard than its keys say.
        self.rules.aggregation =
            if distribution == Distribution::ByKey { self.aggregation } else { Aggregation::Off };
        self.mapped = Some(now);
        let old = std::mem::take(&mut self.lines);
        let after =
            |index, new: &ShardMap| Line::after(self.shards.as_deref(), &old, new.id(index));
        self.lines = match &shards {
            Some(new) => (0..new.len()).map(|index| after(index, new)).collect(),
            None => vec![Line::default()],
        };
        let Self { rules, keys, lines, .. } = self;
        for (&key, queue) in keys {
            if let (State::Ready(_), Some(head)) = (queue.state, queue.front()) {
                let line = line_of(shards.as_deref(), &head.record);
                lines[line].rejoin(head.accepted, key);
                lines[line].count(queue.sendable(rules));
                queue.state = State::Ready(line);
            }
        }
        self.shards = shards;
    }

    /// Whether nothing is held and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that hold something or have something in flight.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub fn gauges(&self) -> Gauges {
        self.gauges
    }

    /// Whether strict order has held back a long queue of one key.
    pub fn holds_many(&self) -> bool {
        self.holds_many
    }

    /// Why the stream takes nothing, while that is so.
    pub fn blocked(&self) -> Option<Reason> {
        self.blocked.map(|blocked| blocked.reason)
    }

    /// When the oldest event that is not settled was accepted.
    pub fn oldest(&self) -> Option<Instant> {
        self.ages.oldest()
    }

    /// Ends a key's flight: what is left of it goes back to the front. The key cools, or is ready
    /// at once.
    pub(super) fn give_back(
        &mut self,
        key: Key,
        items: Vec<BoxedItem>,
        cool_until: Option<Instant>,
    ) {
        if !self.cuts.is_empty() {
            self.cuts.remove(&key);
        }
        let hash_map::Entry::Occupied(mut entry) = self.keys.entry(key) else {
            panic!("{KEEPS_ITS_QUEUE}")
        };
        let queue = entry.get_mut();
        assert_eq!(queue.state, State::InFlight, "only what was in flight can come back");
        self.gauges.keys_held -= usize::from(!queue.is_empty());
        queue.put_front(items);
        let Some(head) = queue.front() else {
            entry.remove();
            return;
        };
        if let Some(until) = cool_until {
            queue.state = State::Cooling(until);
            self.gauges.keys_cooling += 1;
            self.cooling.push(Reverse((until, key)));
        } else {
            let line = line_of(self.shards.as_deref(), &head.record);
            self.lines[line].rejoin(head.accepted, key);
            self.lines[line].count(queue.sendable(&self.rules));
            queue.state = State::Ready(line);
        }
    }

    /// Lets the keys behind this one go first, if it is its line's next: the ones before it have
    /// been tried in vain.
    pub(super) fn stand_last(&mut self, key: Key, now: Instant) {
        let Some(State::Ready(line)) = self.keys.get(&key).map(|queue| queue.state) else { return };
        if self.lines[line].first() == Some(key) {
            self.lines[line].pop_first();
            self.lines[line].rejoin(now, key);
        }
    }

    /// Cuts a key whose flight goes on: these pieces, in order, stand before the others of its
    /// queue.
    pub(super) fn cut(&mut self, key: Key, pieces: Vec<Vec<BoxedItem>>, are_halves: bool) {
        let cuts = self.cuts.entry(key).or_default();
        if let Some(before) = cuts.front_mut() {
            before.is_other_half = false; // what was in flight was refused: it says nothing of the rest
        }
        for piece in pieces.iter().rev() {
            cuts.push_front(Cut { items: piece.len(), is_other_half: are_halves });
        }
        let queue = self.keys.get_mut(&key).expect(KEEPS_ITS_QUEUE);
        self.gauges.keys_held += usize::from(queue.is_empty());
        queue.put_front(pieces.into_iter().flatten().collect());
    }

    /// Sends the next piece of a key that was cut, if it was; `taken` says that what was in flight
    /// is stored.
    pub(super) fn send_next_cut(&mut self, key: Key, taken: bool) -> bool {
        let Some(cuts) = self.cuts.get_mut(&key) else { return false };
        let Some(Cut { items, is_other_half }) = cuts.pop_front() else { return false };
        let sends = if taken && is_other_half && items > 1 { items / 2 } else { items };
        if sends < items {
            cuts.push_front(Cut { items: items - sends, is_other_half: true });
        }
        if cuts.is_empty() {
            self.cuts.remove(&key);
        }
        let queue = self.keys.get_mut(&key).expect(KEEPS_ITS_QUEUE);
        let part: Batch = std::iter::from_fn(|| queue.pop_front()).take(sends).collect();
        self.gauges.keys_held -= usize::from(queue.is_empty());
        self.parts.push_back(part);
        true
    }

    /// When something must be sent at the latest; `now` if a request can be filled. Nothing where
    /// nothing may be sent.
    fn due(&self, now: Instant) -> Option<Instant> {
        let (mut records, mut bytes, mut oldest) = (0usize, 0usize, None);
        for line in &self.lines {
            let (line_records, line_bytes) = line.sendable(now);
            if line_records > 0 {
                records += line_records;
                bytes += line_bytes;
                oldest = earliest(oldest, line.oldest());
            }
        }
        // How many records the events of a shard will make is not known before.
        let full_of_records =
            self.rules.aggregation != Aggregation::Shard && records >= self.rules.max_records;
        let full = full_of_records || bytes >= self.rules.max_bytes;
        oldest.map(|oldest| if full { now } else { oldest + self.rules.linger })
    }

    fn wake(&mut self, now: Instant) {
        self.gauges.shards_cooling = 0;
        for line in &mut self.lines {
            line.cooling_until = line.cooling_until.filter(|until| *until > now);
            line.pace = line.pace.take().filter(|pace| !pace.is_over(now));
            self.gauges.shards_cooling += usize::from(line.cooling_until.is_some());
        }
        while self.cooling.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            if let Some(Reverse((until, key))) = self.cooling.pop() {
                self.end_cooling(key, until);
            }
        }
    }

    fn end_cooling(&mut self, key: Key, until: Instant) {
        let Some(queue) =
            self.keys.get_mut(&key).filter(|queue| queue.state == State::Cooling(until))
        else {
            return;
        };
        let Some(head) = queue.front() else { return };
        let line = line_of(self.shards.as_deref(), &head.record);
        self.lines[line].rejoin(head.accepted, key);
        self.lines[line].count(queue.sendable(&self.rules));
        queue.state = State::Ready(line);
        self.gauges.keys_cooling -= 1;
    }

    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let shard = self.lines.iter().filter_map(|line| line.wakes_at(now)).min();
        earliest(shard, self.cooling.peek().map(|Reverse((until, _))| *until))
    }

    fn next_expiry(&self) -> Option<Instant> {
        let expiry = self.ages.oldest()?.checked_add(self.rules.timeout)?;
        Some(self.next_sweep.map_or(expiry, |sweep| sweep.max(expiry)))
    }
}

/// The rules of a drain.
fn drained(rules: Rules) -> Rules {
    let Backoff { min, max } = rules.backoff;
    let backoff = Backoff { min: min.min(DRAIN_BACKOFF_MAX), max: max.min(DRAIN_BACKOFF_MAX) };
    Rules { linger: Duration::ZERO, backoff, ..rules }
}

/// Expiry is as exact as a 64th of the timeout, and never worse than a second.
fn expiry_tick(timeout: Duration) -> Duration {
    (timeout / 64).clamp(Duration::from_millis(1), Duration::from_secs(1))
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
