//! How fast events are sent, where somebody said a rate. Pure.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How much of what was missed, while there was no room, may be caught up at once.
const BURST: Duration = Duration::from_millis(100);

/// When the next event is due.
#[derive(Debug)]
pub(super) struct Pace {
    each: Duration,
    next: Instant,
}

impl Pace {
    /// So many a second.
    pub(super) fn new(rate: NonZeroU32, now: Instant) -> Self {
        Self { each: Duration::from_secs(1) / rate.get(), next: now }
    }

    /// Whether the next event is due; if not, when.
    pub(super) fn due(&self, now: Instant) -> Result<(), Instant> {
        if now >= self.next { Ok(()) } else { Err(self.next) }
    }

    /// An event was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.next = self.next.max(earliest) + self.each;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all that is due at a time.
    fn send(pace: &mut Pace, now: Instant) -> usize {
        std::iter::from_fn(|| pace.due(now).ok().map(|()| pace.sent(now))).count()
    }

    #[test]
    fn so_many_are_sent_in_a_second_and_what_was_missed_is_caught_up_in_part() {
        let start = Instant::now();
        let mut pace = Pace::new(NonZeroU32::new(100).expect("not zero"), start);
        let sent: usize = (0..100u32).map(|tick| send(&mut pace, start + tick * BURST / 10)).sum();
        assert_eq!(sent, 100, "in a second");
        let late = start + Duration::from_secs(60);
        assert_eq!(send(&mut pace, late), 11, "a burst and the one that is due");
        assert_eq!(
            pace.due(late).expect_err("the next one is not"),
            late + Duration::from_millis(10)
        );
    }
}
