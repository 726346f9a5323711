//! How old the oldest event is that is not answered, without remembering each: events are counted
//! by the tick that they came in.
//!
//! Pure. The tree has one entry for each tick with such events, so its size is bounded by the
//! timeout divided by the tick.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Counts of the events that are not answered, by arrival.
#[derive(Debug)]
pub(super) struct Ages {
    /// Ticks are counted from here, the first arrival; `None` before it.
    epoch: Option<Instant>,
    tick_ns: u64,
    live: BTreeMap<i64, usize>,
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

    /// # Panics
    /// If no event that came at `accepted` is counted: the books of the lane are wrong.
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
        let epoch = self.epoch?;
        let distance = Duration::from_nanos(self.tick_ns * ticks.unsigned_abs());
        Some(if ticks < 0 {
            epoch.checked_sub(distance).unwrap_or(epoch)
        } else {
            epoch + distance
        })
    }

    /// The tick that an event came in: the one that ends no later than it. Groups of other
    /// connections may bring an event that is older than the first one by a moment.
    fn tick_of(&mut self, accepted: Instant) -> i64 {
        let epoch = *self.epoch.get_or_insert(accepted);
        match accepted.checked_duration_since(epoch) {
            Some(later) => (nanos(later) / self.tick_ns).cast_signed(),
            None => -nanos(epoch - accepted).div_ceil(self.tick_ns).cast_signed(),
        }
    }
}

/// A time in nanoseconds: 63 bits hold those of 292 years.
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
        for (ms, oldest) in [(100, 100), (99, 90), (90, 90), (89, 80)] {
            ages.add(at(ms));
            assert_eq!(ages.oldest(), Some(at(oldest)), "{ms}");
        }
        for (ms, oldest) in [(89, Some(90)), (90, Some(90)), (99, Some(100)), (100, None)] {
            ages.remove(at(ms));
            assert_eq!(ages.oldest(), oldest.map(at), "{ms}");
        }
    }
}
