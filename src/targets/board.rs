//! What is shown of the targets: the tasks of their shards write it, scrapes and operators read it.
//!
//! It moves no record. A lock for each shard, held for a copy: its task writes once a turn, and
//! nobody waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use dispatchd_consumer::delivery::{Checkpoint, Failure, Standing};

/// Every target that runs. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Arc<TargetBoard>>>>);

/// One target's shards, by their ids.
#[derive(Debug, Default)]
pub(crate) struct TargetBoard(Mutex<BTreeMap<Arc<str>, Arc<Mutex<ShardShown>>>>);

/// A shard's place on the board, which is taken away when this is dropped.
#[derive(Debug)]
pub(crate) struct ShardPlace {
    target: Arc<TargetBoard>,
    shard: Arc<str>,
    shown: Arc<Mutex<ShardShown>>,
}

/// How a shard stands with its target.
#[derive(Debug, Clone)]
pub(crate) struct ShardShown {
    pub standing: Standing,
    /// Since when no batch was a success, and what the target said last; `None` since one was.
    pub failing: Option<(Instant, Failure)>,
    /// The checkpoint that is kept, and when it was kept; `None` while none is.
    pub checkpoint: Option<Checkpoint>,
    pub kept_at: Option<Instant>,
    /// When the first record arrived that was read and is not done.
    pub oldest: Option<SystemTime>,
    /// How far the last page was behind the shard's tip.
    pub millis_behind_latest: i64,
    /// Requests that are out.
    pub in_flight: usize,
}

impl Default for ShardShown {
    fn default() -> Self {
        Self {
            standing: Standing::Delivering,
            failing: None,
            checkpoint: None,
            kept_at: None,
            oldest: None,
            millis_behind_latest: 0,
            in_flight: 0,
        }
    }
}

impl Board {
    /// The target of this name, which is made if it is not there.
    pub(crate) fn target(&self, name: &str) -> Arc<TargetBoard> {
        Arc::clone(locked(&self.0).entry(name.to_owned()).or_default())
    }

    /// Takes a target away that is gone.
    pub(crate) fn remove(&self, name: &str) {
        locked(&self.0).remove(name);
    }
}

impl TargetBoard {
    /// A place for a shard.
    pub(crate) fn shard(self: &Arc<Self>, shard: &Arc<str>) -> ShardPlace {
        let shown = Arc::default();
        locked(&self.0).insert(Arc::clone(shard), Arc::clone(&shown));
        ShardPlace { target: Arc::clone(self), shard: Arc::clone(shard), shown }
    }

    /// All shards as they are now.
    pub(crate) fn shards(&self) -> Vec<(Arc<str>, ShardShown)> {
        let shards: Vec<_> = locked(&self.0)
            .iter()
            .map(|(shard, shown)| (Arc::clone(shard), Arc::clone(shown)))
            .collect();
        shards.into_iter().map(|(shard, shown)| (shard, locked(&shown).clone())).collect()
    }
}

impl ShardPlace {
    pub(crate) fn show(&self, change: impl FnOnce(&mut ShardShown)) {
        change(&mut locked(&self.shown));
    }
}

impl Drop for ShardPlace {
    fn drop(&mut self) {
        locked(&self.target.0).remove(&self.shard);
    }
}

impl ShardShown {
    /// How long ago the first record arrived that is not done, in seconds; 0 at the tip.
    pub(crate) fn behind_seconds(&self, now: SystemTime) -> f64 {
        let of_page = self.millis_behind_latest as f64 / 1000.0;
        let of_oldest = self.oldest.and_then(|oldest| now.duration_since(oldest).ok());
        of_oldest.map_or(of_page, |age| age.as_secs_f64().max(of_page))
    }

    /// How long ago its checkpoint was kept while there are records that are not done; 0 while
    /// there are none.
    pub(crate) fn checkpoint_age_seconds(&self, now: Instant) -> f64 {
        match (self.oldest, self.kept_at) {
            (Some(_), Some(kept)) => now.saturating_duration_since(kept).as_secs_f64(),
            _ => 0.0,
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        matches!(self.standing, Standing::Blocked(_))
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
