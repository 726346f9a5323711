//! What follows when a child fails: how long the next one waits, and whether it is told.
//!
//! A child that fails is followed by another, for ever: its shard would stand still otherwise. A
//! cause is told once, and then once a minute with a count, until a child has come further.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dispatchd_core::model::Backoff;
use rand::Rng;

/// The waits before the next child. A program that cannot start is tried every minute in the end.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(200), max: Duration::from_secs(60) };

/// A child that lived so long does not count as one more failure in a row: processors that never
/// set a checkpoint run well too.
const LIVED_WELL: Duration = Duration::from_secs(300);

/// The time between two lines on one cause.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The children of one shard, one after the other. `C` is the kind of a cause.
#[derive(Debug)]
pub struct Restarts<C> {
    failures_in_a_row: u32,
    told: BTreeMap<C, LastTold>,
}

#[derive(Debug)]
struct LastTold {
    at: Instant,
    /// Failures since then.
    more: u64,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// The wait before the next child.
    pub wait: Duration,
    /// How often it happened since it was told last, with this time; `None` if it is not to be told
    /// now.
    pub tell: Option<u64>,
}

impl<C> Default for Restarts<C> {
    fn default() -> Self {
        Self { failures_in_a_row: 0, told: BTreeMap::new() }
    }
}

impl<C: Ord> Restarts<C> {
    /// A child that lived so long failed at `now`.
    pub fn failed(
        &mut self,
        cause: C,
        lived: Duration,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Restart {
        let before = if lived >= LIVED_WELL { 0 } else { self.failures_in_a_row };
        self.failures_in_a_row = before.saturating_add(1);
        let wait = BACKOFF.delay(self.failures_in_a_row, rng);
        Restart { wait, tell: self.tell(cause, now) }
    }

    fn tell(&mut self, cause: C, now: Instant) -> Option<u64> {
        let Some(told) = self.told.get_mut(&cause) else {
            self.told.insert(cause, LastTold { at: now, more: 0 });
            return Some(1);
        };
        told.more += 1;
        if now < told.at + TELL_EVERY {
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.more))
    }

    /// A child has set a checkpoint: it has come further than the ones before it. Returns whether
    /// it is to be told that all is well again.
    pub fn came_further(&mut self) -> bool {
        self.failures_in_a_row = 0;
        let had_failed = !self.told.is_empty();
        self.told.clear();
        had_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn a_cause_is_told_once_and_then_once_a_minute_until_a_child_came_further() {
        let (mut restarts, mut rng) = (Restarts::default(), SmallRng::seed_from_u64(1));
        let began = Instant::now();
        let mut tell = |restarts: &mut Restarts<&str>, cause, seconds| {
            restarts.failed(cause, SHORT, began + Duration::from_secs(seconds), &mut rng).tell
        };
        assert_eq!(tell(&mut restarts, "exited", 0), Some(1));
        assert_eq!(tell(&mut restarts, "exited", 1), None);
        assert_eq!(tell(&mut restarts, "hung", 2), Some(1), "another cause");
        assert_eq!(tell(&mut restarts, "exited", 59), None);
        assert_eq!(tell(&mut restarts, "exited", 60), Some(3));
        assert_eq!(tell(&mut restarts, "exited", 61), None);
        assert!(restarts.came_further());
        assert!(!restarts.came_further(), "that is told once");
        assert_eq!(tell(&mut restarts, "exited", 62), Some(1));
    }

    /// A batch that kills every child must not keep a core busy.
    #[test]
    fn children_that_come_no_further_wait_longer_and_longer() {
        let (mut restarts, mut rng) = (Restarts::default(), SmallRng::seed_from_u64(1));
        let now = Instant::now();
        let mut waits = |restarts: &mut Restarts<u8>, lived, count: usize| -> Vec<Duration> {
            (0..count).map(|_| restarts.failed(0, lived, now, &mut rng).wait).collect()
        };
        let longest = waits(&mut restarts, SHORT, 40).into_iter().max();
        assert!(longest > Some(BACKOFF.max / 2), "{longest:?}");
        restarts.came_further();
        assert!(waits(&mut restarts, SHORT, 1)[0] <= 2 * BACKOFF.min);
        let longest = waits(&mut restarts, LIVED_WELL, 20).into_iter().max();
        assert!(longest <= Some(2 * BACKOFF.min), "each lived well");
    }
}
