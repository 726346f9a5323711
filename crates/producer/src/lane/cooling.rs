//! Whether a key or a shard may be sent to after a failure: until when each of them cools.
//!
//! Pure. How long a wait is comes from `core::model::backoff`, and its bounds from the lane's
//! settings, but for a shard that is paced: it cools for less, from [`PACED_REST_MIN`]. How fast a
//! shard is sent to once it is awake is `pacing`'s to say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rand::Rng;

use super::key_queue::Key;
use dispatchd_core::model::backoff::Backoff;

/// The least that a paced shard cools, and the base of its exponential back-off.
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

/// Whether one shard cools after it was throttled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ShardCooling {
    until: Option<Instant>,
    /// Times it was throttled in a row.
    throttles: u32,
}

impl ShardCooling {
    /// The shard was throttled. Returns until when it cools from now on; `None` where it cooled
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

    /// The shard took a record: it cools for a short time again when it is throttled next.
    pub(super) fn stored(&mut self) {
        self.throttles = 0;
    }

    /// Ends a cooling whose time is over.
    pub(super) fn wake(&mut self, now: Instant) {
        self.until = self.until.filter(|until| *until > now);
    }

    /// Ends the cooling at once.
    pub(super) fn end(&mut self) {
        self.until = None;
    }

    /// Until when the shard cools; `None` where it does not. A cooling that is over counts until
    /// `wake`.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const BACKOFF: Backoff =
        Backoff { min: Duration::from_millis(100), max: Duration::from_millis(100) };

    #[test]
    fn a_shard_that_is_throttled_as_it_rests_rests_once_and_anew_when_that_is_over() {
        let (mut cooling, mut rng) = (ShardCooling::default(), SmallRng::seed_from_u64(7));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttled = |ms| cooling.throttled(BACKOFF, false, at(ms), &mut rng);
        assert_eq!(throttled(0), Some(at(100)));
        assert_eq!(throttled(99), None);
        assert_eq!(throttled(100), Some(at(200)));
    }

    #[test]
    fn a_shard_that_took_a_record_cools_as_briefly_as_at_first_when_it_is_throttled_next() {
        let backoff = Backoff { max: Duration::from_secs(100), ..BACKOFF };
        let (mut cooling, mut rng) = (ShardCooling::default(), SmallRng::seed_from_u64(7));
        let mut now = Instant::now();
        for _ in 0..9 {
            now = cooling.throttled(backoff, false, now, &mut rng).expect("it is awake by then");
        }
        cooling.stored();
        let until = cooling.throttled(backoff, false, now, &mut rng).expect("it is awake by now");
        assert!(until - now <= 2 * backoff.min, "{:?}", until - now);
    }

    #[test]
    fn keys_wake_in_order_of_their_times_and_none_before_its_own() {
        let mut keys = CoolingKeys::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (key, ms) in [(1, 30), (2, 10), (3, 20)] {
            keys.add(key, at(ms));
        }
        assert_eq!((keys.pop_due(at(9)), keys.next_wake()), (None, Some(at(10))));
        assert_eq!(keys.pop_due(at(20)), Some((at(10), 2)));
        assert_eq!(keys.pop_due(at(20)), Some((at(20), 3)));
        assert_eq!(keys.pop_due(at(20)), None);
    }
}
