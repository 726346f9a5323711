//! How long a peer may leave a line unfinished. Pure: times are arguments.
//!
//! Each line has its own time, so that a peer whose writes never end exactly with a line does not
//! seem to stall. Only the peer's own delay counts: neither the time in which we had no room for
//! its bytes, nor a pause of ours (a process that was stopped or frozen), which looks like one long
//! wait. So the wait is counted in looks, and a look counts for no more than its own length.

use std::time::Duration;

use dispatchd_core::limits::PARTIAL_LINE_TIMEOUT;

/// The time between two looks at a peer that sends nothing: as much as a pause of ours can cost it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is left of the patience with one connection.
#[derive(Debug)]
pub(super) struct Patience {
    /// The number of the line that is not ended.
    line: u64,
    left: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { line: 0, left: PARTIAL_LINE_TIMEOUT }
    }

    /// The line of this number is not ended. With each new line the time begins anew.
    pub(super) fn with_line(&mut self, number: u64) {
        if self.line != number {
            *self = Self { line: number, left: PARTIAL_LINE_TIMEOUT };
        }
    }

    /// How long to wait until the next look. Zero means that it is over if there are no bytes now.
    pub(super) fn next_look(&self) -> Duration {
        self.left.min(LOOK_EVERY)
    }

    /// A look waited so long for bytes.
    pub(super) fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time.min(self.next_look()));
    }

    /// Whether the peer has had all its time.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_ours_costs_the_peer_one_look_and_its_own_delay_all_of_its_time() {
        let mut patience = Patience::new();
        patience.with_line(1);
        patience.waited(Duration::from_secs(3600));
        assert!(!patience.is_over());
        let looks = (0..100).take_while(|_| {
            patience.waited(LOOK_EVERY);
            !patience.is_over()
        });
        assert_eq!(looks.count(), 28, "with the pause and the last one thirty");
    }

    #[test]
    fn each_line_has_the_whole_time_and_bytes_in_between_give_none_back() {
        let mut patience = Patience::new();
        patience.with_line(7);
        for _ in 0..59 {
            patience.with_line(7);
            patience.waited(LOOK_EVERY / 2);
        }
        assert!(!patience.is_over());
        patience.waited(LOOK_EVERY / 2);
        assert!(patience.is_over());
        patience.with_line(8);
        assert_eq!(patience.next_look(), LOOK_EVERY);
    }
}
