//! Says when something that happens often is to be told: at once, and then once a minute, with how
//! often it happened. Pure.

use std::collections::BTreeSet;
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

/// Something that is tried again and again, for each shard, or strand of one, by itself.
#[derive(Debug)]
pub(super) struct Failing<K> {
    /// For which it failed the last time.
    whose: BTreeSet<K>,
    seldom: Seldom,
}

impl<K> Default for Failing<K> {
    fn default() -> Self {
        Self { whose: BTreeSet::new(), seldom: Seldom::default() }
    }
}

impl<K: Ord> Failing<K> {
    /// Takes note that it failed. Returns how often since it was told last, if it is to be told
    /// now.
    pub(super) fn fails(&mut self, whose: K, now: Instant) -> Option<u64> {
        self.whose.insert(whose);
        self.seldom.note(1, now)
    }

    /// Takes note that it succeeded. Returns whether that is to be told: it had failed, and fails
    /// for no other any more.
    pub(super) fn succeeds(&mut self, whose: &K) -> bool {
        let is_over = self.whose.remove(whose) && self.whose.is_empty();
        if is_over {
            self.seldom = Seldom::default();
        }
        is_over
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

    #[test]
    fn what_fails_for_one_strand_is_not_over_while_it_succeeds_for_others() {
        // What could go wrong: two lines of the log for every try, one of which is not true.
        let (mut failing, began) = (Failing::default(), Instant::now());
        let [one, other] = [("shard", 0), ("shard", 1)];
        assert!(!failing.succeeds(&other), "it never failed");
        assert_eq!(failing.fails(one, began), Some(1));
        assert_eq!(failing.fails(other, began), None);
        assert!(!failing.succeeds(&other), "it fails for one");
        assert_eq!(failing.fails(one, began), None);
        assert!(failing.succeeds(&one));
        assert_eq!(failing.fails(one, began), Some(1), "it begins anew");
    }
}
