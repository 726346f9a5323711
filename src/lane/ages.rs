//! How old the oldest event is, without remembering each: counts of live events by the tick they came in.
//!
//! Pure. One tree entry a tick that has live events, so its size is bounded by timeout / tick.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Counts of the live events by arrival.
#[derive(Debug)]
pub struct Ages {
    /// Arrivals are counted from here; fixed at the first one.
    epoch: Option<Instant>,
    tick: Duration,
    live: BTreeMap<u128, usize>,
}

impl Ages {
    /// `tick`: how exactly an age is known.
    pub fn new(tick: Duration) -> Self {
        Self { epoch: None, tick, live: BTreeMap::new() }
    }

    pub fn add(&mut self, accepted: Instant) {
        let tick = self.tick_of(accepted);
        *self.live.entry(tick).or_default() += 1;
    }

    /// # Panics
    /// If no live event came at `accepted`: the books of the lane are wrong.
    pub fn remove(&mut self, accepted: Instant) {
        let tick = self.tick_of(accepted);
        let count = self.live.get_mut(&tick).expect("an event that leaves was counted when it came");
        *count -= 1;
        if *count == 0 {
            self.live.remove(&tick);
        }
    }

    /// When the oldest live event came, at most one tick too early.
    pub fn oldest(&self) -> Option<Instant> {
        let (&ticks, _) = self.live.first_key_value()?;
        let since_epoch = self.tick.as_nanos() * ticks;
        Some(self.epoch? + Duration::from_nanos(u64::try_from(since_epoch).unwrap_or(u64::MAX)))
    }

    fn tick_of(&mut self, accepted: Instant) -> u128 {
        let epoch = *self.epoch.get_or_insert(accepted);
        // Groups of other connections may bring an event that is older than the first one by a moment.
        accepted.saturating_duration_since(epoch).as_nanos() / self.tick.as_nanos()
    }
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
