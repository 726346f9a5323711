//! When the memory that a burst of events took is given back to the system: once, a moment after
//! the burst.
//!
//! Pure. As long as events keep coming, the allocator gives memory back by itself; this is for the
//! silence after them.

use std::time::{Duration, Instant};

use dispatchd_core::limits::MIB;

/// How many bytes of the budget in use make a burst. A stream that keeps up holds less: at 50 MB/s
/// and 20 ms away it holds 1 MB.
const BURST_BYTES_MIN: usize = 8 * MIB;
/// A burst is over when no more bytes of the budget than this are in use.
const REST_BYTES_MAX: usize = MIB;
/// The wait from the end of a burst until its memory is given back: answers are still being
/// written, and the next burst may come.
const PAUSE: Duration = Duration::from_millis(300);

/// What a lane knows of bursts.
#[derive(Debug, Default)]
pub(super) struct IdleTrim {
    burst: bool,
    over_since: Option<Instant>,
}

impl IdleTrim {
    /// Takes note of the bytes that are held now. Returns when memory is to be given back if
    /// nothing changes; `None` where there is none to give back.
    pub(super) fn poll(&mut self, held_bytes: usize, now: Instant) -> Option<Instant> {
        self.burst |= held_bytes >= BURST_BYTES_MIN;
        let over = self.burst && held_bytes <= REST_BYTES_MAX;
        self.over_since = over.then(|| self.over_since.unwrap_or(now));
        self.over_since.map(|since| since + PAUSE)
    }

    /// The memory was given back: until the next burst there is nothing to do.
    pub(super) fn given_back(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_a_moment_after_a_burst() {
        let (mut trim, start) = (IdleTrim::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(trim.poll(BURST_BYTES_MIN - 1, at(0)), None);
        assert_eq!(trim.poll(0, at(1)), None, "it was no burst");
        assert_eq!(trim.poll(BURST_BYTES_MIN, at(2)), None, "it is not over");
        assert_eq!(trim.poll(REST_BYTES_MAX, at(3)), Some(at(3) + PAUSE));
        assert_eq!(
            trim.poll(0, at(100)),
            Some(at(3) + PAUSE),
            "a little traffic does not put it off"
        );
        trim.given_back();
        assert_eq!(trim.poll(0, at(400)), None, "there is nothing more to give");
    }

    #[test]
    fn a_burst_that_goes_on_keeps_its_memory() {
        let (mut trim, start) = (IdleTrim::default(), Instant::now());
        trim.poll(BURST_BYTES_MIN, start);
        trim.poll(0, start);
        assert_eq!(trim.poll(REST_BYTES_MAX + 1, start + PAUSE / 2), None);
        assert_eq!(trim.poll(0, start + PAUSE), Some(start + 2 * PAUSE));
    }
}
