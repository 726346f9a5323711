//! How much of what was sent to a shard of late it took, and how much it refused because it came
//! too fast.
//!
//! Pure. There are two windows, the one that is filling and the one before. So what is told covers
//! the last half minute to a minute, and what is older is forgotten without a list of times.

use std::time::{Duration, Instant};

/// How long a window fills.
const WINDOW: Duration = Duration::from_secs(30);

/// Records that a shard took and refused of late.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ThrottleCounts {
    filling: Counts,
    before: Counts,
    /// When `filling` began; `None` before the first record.
    began: Option<Instant>,
}

/// Records by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub stored: u64,
    pub throttled: u64,
}

impl ThrottleCounts {
    pub(super) fn stored(&mut self, now: Instant) {
        self.turn_over(now);
        self.filling.stored += 1;
    }

    pub(super) fn throttled(&mut self, now: Instant) {
        self.turn_over(now);
        self.filling.throttled += 1;
    }

    /// What was counted in the last 30 to 60 s.
    pub(super) fn of_late(mut self, now: Instant) -> Counts {
        self.turn_over(now);
        Counts {
            stored: self.filling.stored + self.before.stored,
            throttled: self.filling.throttled + self.before.throttled,
        }
    }

    fn turn_over(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age < WINDOW {
            return;
        }
        self.before =
            if age < 2 * WINDOW { std::mem::take(&mut self.filling) } else { Counts::default() };
        self.filling = Counts::default();
        self.began = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_covers_half_a_minute_at_least_and_a_minute_at_most() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut counts = ThrottleCounts::default();
        assert_eq!(counts.of_late(start), Counts::default());
        counts.stored(at(0));
        counts.throttled(at(1));
        assert_eq!(counts.of_late(at(29)), Counts { stored: 1, throttled: 1 });
        counts.stored(at(31));
        assert_eq!(counts.of_late(at(59)), Counts { stored: 2, throttled: 1 });
        assert_eq!(counts.of_late(at(62)), Counts { stored: 1, throttled: 0 });
        assert_eq!(counts.of_late(at(200)), Counts::default());
    }
}
