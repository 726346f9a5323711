//! What the lane may make a shard wait for, watched from outside: the rest after a refusal, and the
//! pace from then on.
//!
//! It knows what the lane knows of the shards, and the bounds of its waits; never how it decides.

use std::collections::HashMap;
use std::sync::Arc;

use dispatchd_core::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};
use dispatchd_core::model::Record;
use dispatchd_core::model::ShardMap;
use dispatchd_core::model::backoff::Backoff;
use dispatchd_simulation::Broken;

use crate::plan::{At, Plan, ms};
use crate::watch::check;

/// The least that a paced shard is sent, in shards.
const RATE_MIN: f64 = 0.02;

/// The shards, as the lane knows them.
#[derive(Debug)]
pub(crate) struct Rests {
    backoff: Backoff,
    map: Option<Arc<ShardMap>>,
    /// The shards that were throttled: a run is shorter than the time after which that is
    /// forgotten.
    throttled: HashMap<String, Throttled>,
    /// How long a pace holds a shard up at the most: the largest record is paid for, and tokens for
    /// the next come together.
    pause_max: At,
}

#[derive(Debug, Clone, Copy, Default)]
struct Throttled {
    /// Until when the shard rests at least.
    until: At,
    /// Until when the shard rests at most.
    until_maybe: At,
    /// When something was sent to it last.
    sent: At,
}

impl Rests {
    pub(crate) fn new(plan: &Plan) -> Self {
        let largest = plan.events.iter().map(|event| event.record.size()).max().unwrap_or(0);
        let cost = (largest as f64 / SHARD_BYTES_PER_SECOND).max(1.0 / SHARD_RECORDS_PER_SECOND);
        let pause_max =
            ms(2) + At::from_secs_f64((cost + 1.0 / SHARD_RECORDS_PER_SECOND) / RATE_MIN);
        Self { backoff: plan.settings.backoff, map: None, throttled: HashMap::new(), pause_max }
    }

    pub(crate) fn map_set(&mut self, map: Arc<ShardMap>) {
        // New shards are not tired.
        self.throttled.retain(|shard, _| (0..map.len()).any(|index| map.id(index) == shard));
        self.map = Some(map);
    }

    pub(crate) fn drained(&mut self) {
        self.throttled.clear();
    }

    /// The shard that the lane must think this record goes to.
    pub(crate) fn shard(&self, record: &Record) -> Option<&str> {
        self.map.as_ref().map(|map| map.id(map.index_of(record.ring_position)))
    }

    /// Whether a shard may rest, or may be sent to more slowly since it was throttled.
    pub(crate) fn holds_back(&self, record: &Record) -> bool {
        self.shard(record).is_some_and(|shard| self.throttled.contains_key(shard))
    }

    pub(crate) fn holds_back_any(&self) -> bool {
        !self.throttled.is_empty()
    }

    /// A reply says that a shard takes less than it is sent.
    pub(crate) fn throttled(&mut self, shard: &str, now: At) {
        let before = self.throttled.get(shard).copied();
        let throttled = self.throttled.entry(shard.to_owned()).or_default();
        // One that rests already does not rest longer for it, so then there is no telling from
        // when. One that is paced rests less than the back-off asks for.
        if before.is_none_or(|before| before.until_maybe < now) {
            throttled.until = throttled.until.max(now + self.backoff.min.min(ms(10)));
        }
        throttled.until_maybe = now + self.backoff.max;
    }

    /// A record goes to a shard, with a request of its own time. False if the shard was never
    /// throttled.
    pub(crate) fn sent(&mut self, shard: &str, now: At) -> Result<bool, Broken> {
        let Some(throttled) = self.throttled.get_mut(shard) else { return Ok(false) };
        let floor = throttled.until;
        check!("a shard rests", now >= floor, "sent to {shard} before {floor:?}");
        throttled.sent = now;
        Ok(true)
    }

    /// When a record goes at the latest, if nothing but its shard holds it since `free`.
    pub(crate) fn goes_on_by(&self, record: &Record, free: At) -> At {
        match self.shard(record).and_then(|shard| self.throttled.get(shard)) {
            Some(throttled) => free.max(throttled.until_maybe).max(throttled.sent) + self.pause_max,
            None => free,
        }
    }
}
