//! How long callers are held back by a full budget. It reads the clock and decides nothing.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long readers have waited for bytes of the budget, for
/// `dispatchd_backpressure_seconds_total`. Those that wait still count, or a daemon that takes
/// nothing at all would seem to hold nobody back.
#[derive(Debug)]
pub struct Backpressure {
    epoch: Instant,
    /// Taken by a reader that must wait and by a scrape, for a few additions; never on the way of
    /// an event that finds room. Two atomics would not do: a scrape between the two would see a
    /// wait twice or not at all.
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    ended: Duration,
    now: u32,
    /// When those that wait now began, since the epoch, added up.
    began: Duration,
}

/// A reader that waits, as long as this lives.
#[derive(Debug)]
pub struct Waiting<'a> {
    backpressure: &'a Backpressure,
    began: Duration,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self { epoch: Instant::now(), waits: Mutex::default() }
    }
}

impl Backpressure {
    /// How long readers have waited up to now, added up over all of them.
    pub fn waited(&self) -> Duration {
        let waits = self.waits();
        waits.ended + self.epoch.elapsed() * waits.now - waits.began
    }

    /// A reader begins to wait.
    pub fn wait(&self) -> Waiting<'_> {
        let mut waits = self.waits();
        let began = self.epoch.elapsed();
        waits.now += 1;
        waits.began += began;
        Waiting { backpressure: self, began }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().expect("nobody panics between two additions")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.backpressure.waits();
        let ended = self.backpressure.epoch.elapsed();
        waits.now -= 1;
        waits.began -= self.began;
        waits.ended += ended - self.began;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_while_a_reader_waits_and_stops_when_it_gives_up() {
        let backpressure = Backpressure::default();
        assert_eq!(backpressure.waited(), Duration::ZERO);
        let waiting = backpressure.wait();
        let grows = |from: Duration| {
            let began = Instant::now();
            while backpressure.waited() <= from {
                assert!(began.elapsed() < Duration::from_secs(10), "it counts while it waits");
            }
            backpressure.waited()
        };
        grows(grows(Duration::ZERO));
        drop(waiting);
        let waited = backpressure.waited();
        assert_eq!(backpressure.waited(), waited, "nobody waits any more");
    }
}
