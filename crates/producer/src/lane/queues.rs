//! The keys of a lane: a queue per key, which keys stand ready in which shard queue, which cool,
//! when a request is due, and what has waited for too long.
//!
//! Pure. A key comes in ready, `batch_builder` takes it for a flight, and `end_flight` brings it
//! back, ready or cooling. No item is dropped: it leaves in a batch, or overdue, or when the lane
//! is abandoned.
//!
//! - A shard queue counts what one request could take of its ready keys, and of no other.
//! - A key in flight keeps its queue, be it empty; any other key's queue holds something.
//! - A shard that cools holds back its own keys and no other's, and no key starves.

use std::collections::hash_map;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ages::Ages;
use super::cooling::CoolingKeys;
use super::deadlines::Deadlines;
use super::item::BoxedItem;
use super::key_queue::{Key, KeyQueue, KeyState, Keys};
use super::settings::{Aggregation, Settings};
use super::shard_queue::ShardQueues;
use dispatchd_core::model::ShardMap;

/// How many events of one key behind each other are worth a hint: at one a request they wait for
/// seconds.
const HELD_HINT: usize = 500;

/// The most places left behind by keys whose events were given up: beyond it the shard queues are
/// made anew. A place costs some bytes, and making the queues anew costs a look at every key.
const PLACES_LEFT_MAX: usize = 1024;

/// What the lane relies on: where it is not so, the lane has miscounted.
pub(super) const KEEPS_ITS_QUEUE: &str = "a key in flight keeps its queue";

/// The queues of a lane, by key and by shard.
#[derive(Debug)]
pub(super) struct Queues {
    /// The settings as they hold now: the drain shortens waits, and nothing is aggregated where
    /// keys do not decide the shard, whatever is configured.
    pub settings: Settings,
    /// Whether the drain began: time is short.
    pub is_draining: bool,
    pub keys: Keys<KeyQueue>,
    pub shards: ShardQueues,
    /// The ages of all events that are not answered, in flight or not.
    pub ages: Ages,
    /// The deadlines of the events that wait here.
    pub deadlines: Deadlines,
    cooling: CoolingKeys,
    /// Items that are overdue, and were taken out to be answered.
    late: Vec<BoxedItem>,
    /// When overdue items are searched for next at the earliest; `None` before the first search.
    next_sweep: Option<Instant>,
    /// Keys in flight with events waiting behind them.
    pub keys_held: usize,
    keys_cooling: usize,
    /// How many places in the shard queues are left behind, at most.
    places_left: usize,
    holds_many: bool,
}

impl Queues {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            is_draining: false,
            keys: Keys::default(),
            shards: ShardQueues::unknown(),
            ages: Ages::new(expiry_tick(settings.timeout)),
            deadlines: Deadlines::default(),
            cooling: CoolingKeys::default(),
            late: Vec::new(),
            next_sweep: None,
            keys_cooling: 0,
            keys_held: 0,
            places_left: 0,
            holds_many: false,
        }
    }

    /// Takes an item in, behind every earlier one of its key.
    pub(super) fn push(&mut self, item: BoxedItem) {
        let key = item.record.key_hash;
        self.ages.add(item.accepted);
        self.deadlines.add(&item);
        match self.keys.entry(key) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(self.shards.add_new(key, item, &self.settings));
            }
            hash_map::Entry::Occupied(mut occupied) => {
                let queue = occupied.get_mut();
                let before = queue.sendable(&self.settings);
                queue.push_back(item);
                self.holds_many |= self.settings.sends_one_of_a_key() && queue.len() >= HELD_HINT;
                match queue.state {
                    KeyState::Ready(index) => {
                        self.shards.at(index).discount(before);
                        self.shards.at(index).count(queue.sendable(&self.settings));
                    }
                    KeyState::InFlight if queue.len() == 1 => self.keys_held += 1,
                    KeyState::InFlight | KeyState::Cooling(_) => {}
                }
            }
        }
    }

    /// Ends a key's flight: what is left of it goes back to the front. The key cools until then, or
    /// is ready at once; where nothing is left, it is forgotten.
    ///
    /// # Panics
    /// If the key is not in flight.
    pub(super) fn end_flight(
        &mut self,
        key: Key,
        items: Vec<BoxedItem>,
        cool_until: Option<Instant>,
    ) {
        let hash_map::Entry::Occupied(mut entry) = self.keys.entry(key) else {
            panic!("{KEEPS_ITS_QUEUE}")
        };
        let queue = entry.get_mut();
        assert_eq!(queue.state, KeyState::InFlight, "only what was in flight can come back");
        self.keys_held -= usize::from(!queue.is_empty());
        items.iter().for_each(|item| self.deadlines.add(item));
        queue.put_front(items);
        if queue.is_empty() {
            entry.remove();
        } else if let Some(until) = cool_until {
            queue.state = KeyState::Cooling(until);
            self.keys_cooling += 1;
            self.cooling.add(key, until);
        } else {
            self.shards.make_ready(key, queue, &self.settings);
        }
    }

    /// Puts items, in their order, before the others of a key whose flight goes on.
    pub(super) fn put_behind_flight(&mut self, key: Key, items: Vec<BoxedItem>) {
        let queue = self.keys.get_mut(&key).expect(KEEPS_ITS_QUEUE);
        self.keys_held += usize::from(queue.is_empty());
        items.iter().for_each(|item| self.deadlines.add(item));
        queue.put_front(items);
    }

    /// Takes the first items of a key out whose flight goes on with them.
    pub(super) fn take_behind_flight(&mut self, key: Key, items: usize) -> Vec<BoxedItem> {
        let queue = self.keys.get_mut(&key).expect(KEEPS_ITS_QUEUE);
        let taken: Vec<_> = std::iter::from_fn(|| queue.pop_front()).take(items).collect();
        taken.iter().for_each(|item| self.deadlines.remove(item));
        self.keys_held -= usize::from(queue.is_empty());
        taken
    }

    /// Lets the keys behind this one go first, if it is the next of its shard: the ones before it
    /// have been tried in vain.
    pub(super) fn stand_last(&mut self, key: Key, now: Instant) {
        let Some(KeyState::Ready(index)) = self.keys.get(&key).map(|queue| queue.state) else {
            return;
        };
        let shard_queue = self.shards.at(index);
        if shard_queue.first() == Some(key) {
            shard_queue.pop_first();
            shard_queue.rejoin(now, key);
        }
    }

    /// Takes out what is overdue and not in flight, and tells the keys that lost something. What
    /// has a deadline is met when that comes. For what has waited for the timeout it looks once a
    /// tick: what it misses until then is met when its turn comes to be sent.
    pub(super) fn sweep(&mut self, now: Instant, mut expired: impl FnMut(Key)) {
        for (key, count) in self.deadlines.take_due(now) {
            self.give_up(key, count, now);
            expired(key);
        }
        if self.places_left > PLACES_LEFT_MAX.max(self.keys.len()) {
            self.shards.forget_places();
            self.make_all_ready();
        }
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        // What is overdue but in flight is met again when it lands; until then one look a tick is
        // enough.
        self.next_sweep = Some(now + expiry_tick(self.settings.timeout));
        let Self {
            settings,
            keys,
            shards,
            ages,
            deadlines,
            late,
            keys_cooling,
            keys_held,
            places_left,
            ..
        } = self;
        keys.retain(|key, queue| {
            if !queue.front().is_some_and(|head| head.is_overdue(settings.timeout, now)) {
                return true;
            }
            expired(*key);
            if let KeyState::Ready(index) = queue.state {
                shards.at(index).discount(queue.sendable(settings));
            }
            take_late(queue, settings.timeout, now, ages, deadlines, late);
            match (queue.state, queue.is_empty()) {
                (KeyState::Ready(index), _) => {
                    *places_left += usize::from(!shards.stays(*key, queue, index, settings));
                }
                (KeyState::Cooling(_), true) => *keys_cooling -= 1,
                (KeyState::InFlight, true) => *keys_held -= 1,
                _ => {}
            }
            !queue.is_empty() || queue.state == KeyState::InFlight
        });
    }

    /// Takes out the events of a key whose deadlines have come, which are `count`, wherever they
    /// stand.
    #[cold]
    fn give_up(&mut self, key: Key, count: usize, now: Instant) {
        const COUNTED: &str = "a deadline is counted while its event waits";
        let hash_map::Entry::Occupied(mut entry) = self.keys.entry(key) else {
            panic!("{COUNTED}")
        };
        let queue = entry.get_mut();
        if let KeyState::Ready(index) = queue.state {
            self.shards.at(index).discount(queue.sendable(&self.settings));
        }
        let out = queue.take_out(count, |item| item.is_past_deadline(now));
        assert_eq!(out.len(), count, "{COUNTED}");
        out.iter().for_each(|item| self.ages.remove(item.accepted));
        self.late.extend(out);
        match (queue.state, queue.is_empty()) {
            (KeyState::Ready(index), _) => {
                let stays = self.shards.stays(key, queue, index, &self.settings);
                self.places_left += usize::from(!stays);
            }
            (KeyState::Cooling(_), true) => self.keys_cooling -= 1,
            (KeyState::InFlight, true) => self.keys_held -= 1,
            (KeyState::Cooling(_) | KeyState::InFlight, false) => {}
        }
        if queue.is_empty() && queue.state != KeyState::InFlight {
            entry.remove();
        }
    }

    /// A ready key whose turn has come and whose head is overdue: it stands anew where its next
    /// event belongs.
    #[cold]
    pub(super) fn expire_head(&mut self, key: Key, shard: usize, now: Instant) {
        let hash_map::Entry::Occupied(mut entry) = self.keys.entry(key) else { return };
        let queue = entry.get_mut();
        self.shards.at(shard).discount(queue.sendable(&self.settings));
        let (ages, deadlines) = (&mut self.ages, &mut self.deadlines);
        take_late(queue, self.settings.timeout, now, ages, deadlines, &mut self.late);
        if queue.is_empty() {
            entry.remove();
        } else {
            self.shards.make_ready(key, queue, &self.settings);
        }
    }

    /// Adds overdue items that were in flight.
    pub(super) fn add_late(&mut self, items: Vec<BoxedItem>) {
        items.iter().for_each(|item| self.ages.remove(item.accepted));
        self.late.extend(items);
    }

    /// What is overdue, to be answered now; `None` where nothing is.
    pub(super) fn take_late(&mut self) -> Option<Vec<BoxedItem>> {
        (!self.late.is_empty()).then(|| std::mem::take(&mut self.late))
    }

    /// When something must be sent at the latest; `now` if a request can be filled; `None` where
    /// nothing may be sent.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let (mut records, mut bytes, mut oldest) = (0usize, 0usize, None);
        for shard_queue in self.shards.iter() {
            let (shard_records, shard_bytes) = shard_queue.sendable(now);
            if shard_records > 0 {
                records += shard_records;
                bytes += shard_bytes;
                oldest = earliest(oldest, shard_queue.oldest());
            }
        }
        // How many records the events of a shard will make is not known before.
        let full_of_records =
            self.settings.aggregation != Aggregation::Shard && records >= self.settings.max_records;
        let full = full_of_records || bytes >= self.settings.max_bytes;
        oldest.map(|oldest| if full { now } else { oldest + self.settings.linger })
    }

    /// Makes what has cooled ready. Returns how many shards cool still.
    pub(super) fn wake(&mut self, now: Instant) -> usize {
        while let Some((until, key)) = self.cooling.pop_due(now) {
            self.end_cooling(key, until);
        }
        self.shards.wake(now)
    }

    /// When something has to be done, whatever comes in: a key or a shard wakes, or an item is
    /// overdue; `None` where nothing waits.
    pub(super) fn next_event(&self, now: Instant) -> Option<Instant> {
        let wake = earliest(self.shards.next_wake(now), self.cooling.next_wake());
        earliest(wake, earliest(self.deadlines.next(), self.next_expiry()))
    }

    /// Begins the drain: from now on nothing lingers and nothing is paced. What cools may go at
    /// once, and cools briefly from then on: what is refused costs less than what is not tried in
    /// time.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        self.settings = self.settings.draining();
        self.shards.wake_all();
        for (until, key) in self.cooling.take_all() {
            self.end_cooling(key, until);
        }
    }

    /// Other shards and another choice of aggregation hold from `now` on: every ready key moves to
    /// its new shard queue and is counted anew. What is in flight is not touched.
    pub(super) fn remap(
        &mut self,
        map: Option<Arc<ShardMap>>,
        aggregation: Aggregation,
        now: Instant,
    ) {
        self.settings.aggregation = aggregation;
        self.shards.remap(map, now);
        self.make_all_ready();
    }

    /// Every ready key gets its place in shard queues that have lost all of theirs.
    fn make_all_ready(&mut self) {
        self.places_left = 0;
        for (&key, queue) in &mut self.keys {
            if let KeyState::Ready(_) = queue.state {
                self.shards.make_ready(key, queue, &self.settings);
            }
        }
    }

    /// Takes everything out that is not in flight, and forgets the rest.
    pub(super) fn abandon(&mut self) -> Vec<BoxedItem> {
        self.ages = Ages::new(expiry_tick(self.settings.timeout));
        self.deadlines = Deadlines::default();
        (self.keys_cooling, self.keys_held) = (0, 0);
        self.keys.drain().flat_map(|(_, queue)| queue.into_items()).collect()
    }

    pub(super) fn keys_cooling(&self) -> usize {
        self.keys_cooling
    }

    /// Whether strict order has held back so many events of one key that the operator should hear
    /// of it.
    pub(super) fn holds_many(&self) -> bool {
        self.holds_many
    }

    fn end_cooling(&mut self, key: Key, until: Instant) {
        let cools = |queue: &&mut KeyQueue| queue.state == KeyState::Cooling(until);
        let Some(queue) = self.keys.get_mut(&key).filter(cools) else { return };
        self.shards.make_ready(key, queue, &self.settings);
        self.keys_cooling -= 1;
    }

    fn next_expiry(&self) -> Option<Instant> {
        let expiry = self.ages.oldest()?.checked_add(self.settings.timeout)?;
        Some(self.next_sweep.map_or(expiry, |sweep| sweep.max(expiry)))
    }
}

/// Takes what is overdue out of the front of a key's queue.
fn take_late(
    queue: &mut KeyQueue,
    timeout: Duration,
    now: Instant,
    ages: &mut Ages,
    deadlines: &mut Deadlines,
    late: &mut Vec<BoxedItem>,
) {
    while let Some(item) = queue.pop_front_if(|item| item.is_overdue(timeout, now)) {
        ages.remove(item.accepted);
        deadlines.remove(&item);
        late.push(item);
    }
}

/// Expiry is as exact as a 64th of the timeout, and never worse than a second.
fn expiry_tick(timeout: Duration) -> Duration {
    (timeout / 64).clamp(Duration::from_millis(1), Duration::from_secs(1))
}

/// The earlier of two times, either of which may be missing.
pub(super) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
