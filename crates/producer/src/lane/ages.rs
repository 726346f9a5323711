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
        Some(self.epoch? + Duration::from_nanos(self.tick_ns * ticks))
    }

    fn tick_of(&mut self, accepted: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(accepted);
        // Groups of other connections may bring an event that is older than the first one by a
        // moment.
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
}
