//! Says when something that happens often is to be told: at once, and then once a minute, with how
//! often it happened. Pure.

use std::time::{Duration, Instant};

/// Between two lines of the log about the same thing.
const APART: Duration = Duration::from_secs(60);

/// What happened and was not told yet.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    told: Option<Instant>,
    count: u64,
}

impl Seldom {
    /// Takes note that it happened so often. Returns how often since it was told last, if it is to
    /// be told now.
    pub(super) fn note(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.count += count;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < APART) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_at_once_and_then_once_a_minute_and_none_is_left_out() {
        let (mut seldom, began) = (Seldom::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(seldom.note(3, at(0)), Some(3));
        assert_eq!(seldom.note(1, at(1)), None);
        assert_eq!(seldom.note(2, at(59)), None);
        assert_eq!(seldom.note(1, at(60)), Some(4));
    }
}
