//! When a shard's checkpoint is persisted: one at a time, not too often, at once at an end, and
//! again after a wait where it failed.

use std::time::{Duration, Instant};

use rand::Rng;

use dispatchd_core::model::backoff::Backoff;

use super::Checkpoint;

/// Between two checkpoints of a shard: each is a file that is written and synced. What was
/// delivered in this time is delivered again after a crash.
const PERSIST_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Persisting {
    persisted: Option<Checkpoint>,
    /// What was handed out and is not home.
    under_way: Option<Checkpoint>,
    /// Until when none is handed out.
    not_before: Option<Instant>,
    /// How often in a row it failed.
    failures: u32,
}

impl Persisting {
    pub(super) fn new(persisted: Option<Checkpoint>) -> Self {
        Self { persisted, under_way: None, not_before: None, failures: 0 }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn persisted(&self) -> Option<&Checkpoint> {
        self.persisted.as_ref()
    }

    /// From when on this checkpoint can be persisted; `None` if it is, or while another is under
    /// way. `at_end`: nothing will come after it.
    pub(super) fn due_at(
        &self,
        latest: Option<&Checkpoint>,
        at_end: bool,
        now: Instant,
    ) -> Option<Instant> {
        let latest = latest?;
        if self.under_way.is_some() || self.persisted.as_ref() == Some(latest) {
            return None;
        }
        Some(if at_end && self.failures == 0 { now } else { self.not_before.unwrap_or(now) })
    }

    pub(super) fn hand_out(&mut self, checkpoint: Checkpoint, now: Instant) -> Checkpoint {
        self.under_way = Some(checkpoint.clone());
        self.not_before = Some(now + PERSIST_EVERY);
        checkpoint
    }

    /// # Panics
    /// If none is under way.
    pub(super) fn came_home(
        &mut self,
        kept: bool,
        now: Instant,
        backoff: &Backoff,
        rng: &mut impl Rng,
    ) {
        let checkpoint = self.under_way.take().expect("it was handed out");
        if kept {
            (self.persisted, self.failures) = (Some(checkpoint), 0);
        } else {
            self.failures = self.failures.saturating_add(1);
            self.not_before = Some(now + backoff.delay(self.failures, rng).max(PERSIST_EVERY));
        }
    }
}
