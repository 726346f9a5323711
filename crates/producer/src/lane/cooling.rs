//! Whether a key or a shard may be sent to after a failure: until when each of them cools.
//!
//! Pure. How long a wait is comes from `backoff`; how fast a shard is sent to once it is awake is
//! `pacing`'s to say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::Rng;

use super::key_queue::Key;
use dispatchd_core::model::backoff::Backoff;

/// The least that a paced shard rests, and the base of its exponential back-off.
pub const PACED_REST_MIN: Duration = Duration::from_millis(10);

/// Keys that cool, by when they wake. A key whose items all expired, or that was woken by a drain,
/// leaves its entry behind: whoever takes an entry out looks at the key's state, which alone
/// counts.
#[derive(Debug, Default)]
pub(super) struct CoolingKeys(BinaryHeap<Reverse<(Instant, Key)>>);

impl CoolingKeys {
    pub(super) fn add(&mut self, key: Key, until: Instant) {
        self.0.push(Reverse((until, key)));
    }

    /// Takes an entry out whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Key)> {
        self.next_wake().filter(|until| *until <= now)?;
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// Takes all entries out, whenever they wake.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (Instant, Key)> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|Reverse(entry)| entry)
    }

    /// When the next key wakes; `None` where none cools.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((until, _))| *until)
    }
}

/// Whether one shard rests after it was throttled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ShardCooling {
    until: Option<Instant>,
    /// Times it was throttled in a row.
    throttles: u32,
}

impl ShardCooling {
    /// The shard was throttled. Returns until when it rests from now on; `None` where it rested
    /// already: flights that were out together are throttled together, which is one throttling and
    /// not many.
    pub(super) fn throttled(
        &mut self,
        backoff: Backoff,
        is_paced: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Instant> {
        if self.until.is_some_and(|until| until > now) {
            return None;
        }
        self.throttles = self.throttles.saturating_add(1);
        let Backoff { min, max } = backoff;
        // Where a pace limits what asking again costs, it is asked soon: Kinesis counts over a
        // second, and what is missed at the beginning of the next one is lost.
        let min = if is_paced { min.min(PACED_REST_MIN) } else { min };
        self.until = Some(now + Backoff { min, max }.delay(self.throttles, rng));
        self.until
    }

    /// The shard took a record: the next rest is a short one again.
    pub(super) fn stored(&mut self) {
        self.throttles = 0;
    }

    /// Ends a rest whose time is over.
    pub(super) fn wake(&mut self, now: Instant) {
        self.until = self.until.filter(|until| *until > now);
    }

    /// Ends the rest at once.
    pub(super) fn end(&mut self) {
        self.until = None;
    }

    /// Until when it rests; `None` where it does not. A rest that is over counts until `wake`.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}
