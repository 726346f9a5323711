//! A shard's ready keys, oldest event first, and whether the shard may be sent to; and all shard
//! queues of a lane, by the shard map.
//!
//! Pure. Keys that have just come in stand in order by themselves; keys that come back, with an
//! older head, are sorted in. A key that leaves out of turn (its event expired) leaves its place
//! behind: whoever comes to a place looks at the key's state, which alone counts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::cooling::ShardCooling;
use super::item::BoxedItem;
use super::key_queue::{Key, KeyQueue, KeyState};
use super::pacing::Pacing;
use super::settings::Settings;
use super::throttle_counts::ThrottleCounts;
use dispatchd_core::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};
use dispatchd_core::model::Record;
use dispatchd_core::model::ShardMap;

/// The keys of one shard that are ready, oldest event first.
#[derive(Debug, Default)]
pub(super) struct ShardQueue {
    /// Keys whose head had just come in: they stand in order by themselves.
    fresh: VecDeque<(Instant, Key)>,
    /// Keys that came back, with an older head.
    back: BinaryHeap<Reverse<(Instant, Key)>>,
    /// What one request could take of these keys: under strict order their heads alone.
    records: usize,
    bytes: usize,
    pub cooling: ShardCooling,
    /// How fast the shard may be sent to; `None` while it has not been throttled of late.
    pub pacing: Option<Pacing>,
    /// What the shard took and refused of late.
    pub counts: ThrottleCounts,
}

/// The shard queues of a lane.
#[derive(Debug)]
pub(super) struct ShardQueues {
    /// The shards that records are predicted for; `None` where none can be predicted.
    map: Option<Arc<ShardMap>>,
    /// Since when the map is known: a flight that went out earlier says nothing about it.
    known_since: Option<Instant>,
    /// The queues by the index of the map; a single one without a map.
    queues: Vec<ShardQueue>,
}

impl ShardQueue {
    /// This shard under a new map: it goes on as it was, without its keys.
    fn without_keys(&self) -> Self {
        Self {
            cooling: self.cooling,
            pacing: self.pacing.clone(),
            counts: self.counts,
            ..Self::default()
        }
    }

    /// Records that one request could take, whether the shard may be sent to or not.
    pub(super) fn ready(&self) -> usize {
        self.records
    }

    /// Records and bytes that may be sent now.
    pub(super) fn sendable(&self, now: Instant) -> (usize, usize) {
        match &self.pacing {
            _ if self.cooling.until().is_some() => (0, 0),
            None => (self.records, self.bytes),
            Some(pacing) => {
                let allowance = pacing.allowance(now);
                // A part of a record is one more: the pace pays for it afterwards.
                let records = (allowance * SHARD_RECORDS_PER_SECOND).ceil() as usize;
                let bytes = (allowance * SHARD_BYTES_PER_SECOND) as usize;
                (self.records.min(records), self.bytes.min(bytes))
            }
        }
    }

    /// Whether the shard's pace lets nothing more into the request that is being filled.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.pacing.as_ref().is_some_and(|pacing| pacing.is_spent(now))
    }

    /// When the shard may be sent to again; `None` where it may be now, or nothing waits for it.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let waits_for = |pacing: &&Pacing| self.records > 0 && pacing.allowance(now) == 0.0;
        let paced = self.pacing.as_ref().filter(waits_for);
        self.cooling.until().or(paced.map(|pacing| pacing.ready_at(now)))
    }

    /// Ends the cooling and the pace, each if it is over.
    fn wake(&mut self, now: Instant) {
        self.cooling.wake(now);
        self.pacing = self.pacing.take().filter(|pacing| !pacing.is_over(now));
    }

    /// Puts a key whose head has just come in at the end.
    fn join(&mut self, accepted: Instant, key: Key) {
        self.fresh.push_back((accepted, key));
    }

    /// Puts a key that comes back where its head belongs.
    pub(super) fn rejoin(&mut self, accepted: Instant, key: Key) {
        self.back.push(Reverse((accepted, key)));
    }

    /// Counts records and bytes that one request could take more.
    pub(super) fn count(&mut self, (records, bytes): (usize, usize)) {
        self.records += records;
        self.bytes += bytes;
    }

    pub(super) fn discount(&mut self, (records, bytes): (usize, usize)) {
        self.records -= records;
        self.bytes -= bytes;
    }

    /// When the event at the front was accepted.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.front().map(|(accepted, _)| accepted)
    }

    /// The key at the front.
    pub(super) fn first(&self) -> Option<Key> {
        self.front().map(|(_, key)| key)
    }

    fn front(&self) -> Option<(Instant, Key)> {
        match (self.fresh.front(), self.back.peek()) {
            (Some(fresh), Some(Reverse(back))) => Some(*fresh.min(back)),
            (fresh, back) => fresh.copied().or(back.map(|Reverse(back)| *back)),
        }
    }

    /// Takes the first place away.
    pub(super) fn pop_first(&mut self) {
        if self.fresh.front().copied() == self.front() {
            self.fresh.pop_front();
        } else {
            self.back.pop();
        }
    }
}

#[cfg(test)]
impl ShardQueue {
    /// Places, those that keys left behind among them.
    pub(super) fn places(&self) -> usize {
        self.fresh.len() + self.back.len()
    }
}

impl ShardQueues {
    /// A single queue, while the shards are not known.
    pub(super) fn unknown() -> Self {
        Self { map: None, known_since: None, queues: vec![ShardQueue::default()] }
    }

    /// Other shards hold from `now` on, or none can be predicted any more. Every queue comes out
    /// empty: each ready key is to be made ready again.
    pub(super) fn remap(&mut self, map: Option<Arc<ShardMap>>, now: Instant) {
        let old = std::mem::take(&mut self.queues);
        let old: HashMap<_, _> = match &self.map {
            Some(map) => (0..map.len()).map(|index| map.id(index)).zip(old).collect(),
            None => HashMap::new(),
        };
        let queue_of = |id| old.get(id).map_or_else(ShardQueue::default, ShardQueue::without_keys);
        self.queues = match &map {
            Some(new) => (0..new.len()).map(|index| queue_of(new.id(index))).collect(),
            None => vec![ShardQueue::default()],
        };
        self.map = map;
        self.known_since = Some(now);
    }

    /// Every queue loses its keys, and goes on as it was: each ready key is to be made ready again.
    pub(super) fn forget_places(&mut self) {
        self.queues.iter_mut().for_each(|queue| *queue = queue.without_keys());
    }

    pub(super) fn map(&self) -> Option<&ShardMap> {
        self.map.as_deref()
    }

    /// Whether the map was known when a flight went out.
    pub(super) fn were_known_at(&self, sent: Instant) -> bool {
        self.known_since.is_some_and(|since| sent >= since)
    }

    /// The queue of the shard that a record is predicted for.
    pub(super) fn index_of(&self, record: &Record) -> usize {
        self.map.as_deref().map_or(0, |map| map.index_of(record.ring_position))
    }

    pub(super) fn at(&mut self, index: usize) -> &mut ShardQueue {
        &mut self.queues[index]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ShardQueue> {
        self.queues.iter()
    }

    /// A key whose first event has just come in stands behind all others of its shard.
    pub(super) fn add_new(&mut self, key: Key, item: BoxedItem, settings: &Settings) -> KeyQueue {
        let index = self.index_of(&item.record);
        let shard_queue = &mut self.queues[index];
        shard_queue.join(item.accepted, key);
        let key_queue = KeyQueue::new(item, KeyState::Ready(index));
        shard_queue.count(key_queue.sendable(settings));
        key_queue
    }

    /// Makes a key that holds something ready: it stands where its head belongs. The one way back
    /// to ready, whatever the key comes from.
    pub(super) fn make_ready(&mut self, key: Key, key_queue: &mut KeyQueue, settings: &Settings) {
        let Some(head) = key_queue.front() else { return };
        let index = self.index_of(&head.record);
        let shard_queue = &mut self.queues[index];
        shard_queue.rejoin(head.accepted, key);
        shard_queue.count(key_queue.sendable(settings));
        key_queue.state = KeyState::Ready(index);
    }

    /// A ready key of this shard lost events out of turn, and is to be counted anew: says whether
    /// it keeps its place. It leaves it behind where nothing is left of it, and where its next
    /// event belongs to another shard.
    pub(super) fn stays(
        &mut self,
        key: Key,
        key_queue: &mut KeyQueue,
        index: usize,
        settings: &Settings,
    ) -> bool {
        let Some(head) = key_queue.front() else { return false };
        let stays = self.index_of(&head.record) == index;
        if stays {
            self.queues[index].count(key_queue.sendable(settings));
        } else {
            self.make_ready(key, key_queue, settings);
        }
        stays
    }

    /// Ends coolings and paces that are over. Returns how many shards cool still.
    pub(super) fn wake(&mut self, now: Instant) -> usize {
        self.queues.iter_mut().for_each(|queue| queue.wake(now));
        self.queues.iter().filter(|queue| queue.cooling.until().is_some()).count()
    }

    /// Ends every cooling and every pace.
    pub(super) fn wake_all(&mut self) {
        for queue in &mut self.queues {
            queue.cooling.end();
            queue.pacing = None;
        }
    }

    /// When the next shard may be sent to again; `None` where nothing waits for that.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        self.queues.iter().filter_map(|queue| queue.wakes_at(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dispatchd_core::model::Shard;
    use dispatchd_core::model::backoff::Backoff;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::lane::throttle_counts::Counts;

    const BACKOFF: Backoff =
        Backoff { min: Duration::from_millis(100), max: Duration::from_millis(100) };

    /// A shard that was throttled at `now`, with two keys, one of which came back.
    fn throttled(now: Instant) -> ShardQueue {
        let mut queue = ShardQueue { pacing: Some(Pacing::new(now)), ..ShardQueue::default() };
        queue.cooling.throttled(BACKOFF, true, now, &mut SmallRng::seed_from_u64(7));
        queue.counts.throttled(now);
        queue.join(now, 1);
        queue.rejoin(now, 2);
        queue.count((2, 20));
        queue
    }

    /// Whether the shard cools until `until`, is paced, and counts one refusal.
    fn goes_on(queue: &ShardQueue, until: Option<Instant>, now: Instant) -> bool {
        let refused = Counts { stored: 0, throttled: 1 };
        until.is_some()
            && queue.cooling.until() == until
            && queue.pacing.is_some()
            && queue.counts.of_late(now) == refused
    }

    #[test]
    fn a_shard_whose_keys_are_taken_away_cools_and_is_paced_as_before_and_counts_none_of_them() {
        let now = Instant::now();
        let before = throttled(now);
        let mut queue = before.without_keys();
        assert!(goes_on(&queue, before.cooling.until(), now), "{queue:?}");
        assert_eq!((queue.places(), queue.first()), (0, None));
        queue.cooling.end();
        queue.pacing = None;
        assert_eq!(queue.sendable(now), (0, 0));
    }

    #[test]
    fn a_paced_shard_is_sent_what_its_pace_allows_and_wakes_once_it_allows_something() {
        let now = Instant::now();
        let mut queue = ShardQueue { pacing: Some(Pacing::new(now)), ..ShardQueue::default() };
        assert_eq!(queue.wakes_at(now), None, "nothing waits");
        queue.count((1000, 1_000_000));
        assert!(queue.wakes_at(now) > Some(now));
        // A tenth of what a shard takes in a second, give or take a rounding.
        let later = now + Duration::from_millis(100);
        let (records, bytes) = queue.sendable(later);
        assert!((100..=101).contains(&records), "{records}");
        assert!((104_857..=104_858).contains(&bytes), "{bytes}");
        assert_eq!(queue.wakes_at(later), None, "it may be sent to");
    }

    #[test]
    fn a_shard_goes_on_under_another_map_wherever_it_stands_there_and_a_new_one_begins_anew() {
        let now = Instant::now();
        let map = |shards: &[(&str, u128)]| {
            let shard = |&(id, first): &(&str, u128)| Shard { id: id.to_owned(), first };
            ShardMap::new(shards.iter().map(shard).collect()).map(Arc::new)
        };
        let mut shards = ShardQueues::unknown();
        shards.remap(map(&[("low", 0), ("high", 1 << 127)]), now);
        *shards.at(1) = throttled(now);
        let until = shards.at(1).cooling.until();
        shards.remap(map(&[("child", 0), ("other child", 1 << 126), ("high", 1 << 127)]), now);
        let cooling: Vec<_> = shards.iter().map(|queue| queue.cooling.until()).collect();
        assert_eq!(cooling, [None, None, until]);
        assert!(goes_on(shards.at(2), until, now), "{shards:?}");
        shards.remap(None, now);
        shards.remap(map(&[("high", 0)]), now);
        assert_eq!(shards.at(0).cooling.until(), None, "nothing is known of it any more");
    }
}
