//! How old the oldest event is that is not answered, without remembering each: events are counted
//! by the tick that they came in.
//!
//! Pure. The tree has one entry for each tick with such events, so its size is bounded by the
//! timeout divided by the tick.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many ticks older than the first event that came another one may be. The events of other
/// connections are older by a moment; 64 ticks are the timeout, or a minute where that is longer.
const OLDER_TICKS_MAX: u64 = 64;

/// Counts of the events that are not answered, by arrival.
#[derive(Debug)]
pub(super) struct Ages {
    /// Ticks are counted from here, some time before the first arrival; `None` before it.
    epoch: Option<Instant>,
    tick_ns: u64,
    live: BTreeMap<u64, usize>,
}

impl Ages {
    /// Counts that know an age to `tick`.
    pub(super) fn new(tick: Duration) -> Self {
        Self { epoch: None, tick_ns: nanos(tick).max(1), live: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, accepted: Instant) {
        let tick = self.tick_of(accepted);
        *self.live.entry(tick).or_default() += 1;
    }

    /// Takes one event away that came at `accepted`.
    ///
    /// # Panics
    /// If no event that came at `accepted` is counted: the lane has miscounted.
    pub(super) fn remove(&mut self, accepted: Instant) {
        let tick = self.tick_of(accepted);
        let count =
            self.live.get_mut(&tick).expect("an event that leaves was counted when it came");
        *count -= 1;
        if *count == 0 {
            self.live.remove(&tick);
        }
    }

    /// When the oldest event came, at most one tick too early; `None` without an event.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let (&ticks, _) = self.live.first_key_value()?;
        Some(self.epoch? + Duration::from_nanos(self.tick_ns * ticks))
    }

    fn tick_of(&mut self, accepted: Instant) -> u64 {
        let older = Duration::from_nanos(self.tick_ns.saturating_mul(OLDER_TICKS_MAX));
        let before = || accepted.checked_sub(older).unwrap_or(accepted);
        let epoch = *self.epoch.get_or_insert_with(before);
        nanos(accepted.saturating_duration_since(epoch)) / self.tick_ns
    }
}

/// A time in nanoseconds: 64 bits hold those of 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_live_event_is_known_to_a_tick() {
        let tick = Duration::from_millis(10);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ages = Ages::new(tick);
        assert_eq!(ages.oldest(), None);
        for ms in [0, 14, 19, 250] {
            ages.add(at(ms));
        }
        ages.remove(at(0));
        assert_eq!(ages.oldest(), Some(at(10)));
        ages.remove(at(14));
        ages.remove(at(19));
        assert_eq!(ages.oldest(), Some(at(250)));
        ages.remove(at(250));
        assert_eq!(ages.oldest(), None);
    }

    #[test]
    fn an_event_that_is_older_than_the_first_one_is_never_taken_for_a_younger_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ages = Ages::new(Duration::from_millis(10));
        for (ms, oldest) in [(1000, 1000), (999, 990), (990, 990), (989, 980)] {
            ages.add(at(ms));
            assert_eq!(ages.oldest(), Some(at(oldest)), "{ms}");
        }
        for (ms, oldest) in [(989, Some(990)), (990, Some(990)), (999, Some(1000)), (1000, None)] {
            ages.remove(at(ms));
            assert_eq!(ages.oldest(), oldest.map(at), "{ms}");
        }
    }
}
