//! Exponential back-off with full jitter. Pure: the random number is an argument.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Bounds of the waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row, counted from 1: evenly spread between
    /// `min` and `min` doubled once a failure, at most `max`.
    pub fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doubled = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
        let ceiling = self.min.saturating_mul(doubled).min(self.max).max(self.min);
        rng.random_range(self.min..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    proptest! {
        #[test]
        fn a_wait_is_always_between_the_bounds(
            seed in any::<u64>(),
            failures in any::<u32>(),
            min in 1u64..10_000,
            more in 0u64..100_000,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let backoff = Backoff { min, max };
            let delay = backoff.delay(failures, &mut SmallRng::seed_from_u64(seed));
            prop_assert!(backoff.min <= delay && delay <= backoff.max);
        }
    }

    #[test]
    fn the_ceiling_doubles_with_each_failure() {
        let backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_secs(5) };
        let mut rng = SmallRng::seed_from_u64(7);
        for failures in 1..6 {
            let longest =
                (0..500).map(|_| backoff.delay(failures, &mut rng)).max().expect("500 draws");
            let ceiling = backoff.min * 2u32.pow(failures);
            assert!(longest <= ceiling && longest > ceiling / 2, "{failures}: {longest:?}");
        }
    }
}
