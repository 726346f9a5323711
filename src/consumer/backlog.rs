//! Whether a stream is read to its tip, all of it: for who ends once nothing more is there.
//!
//! What is behind is counted: each shard from its start until a page brought it to its tip, and
//! shards that may be there and are not known yet, which follow one that has ended. It says nothing
//! of what comes next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much of a stream is behind. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backlog(Arc<AtomicUsize>);

/// A part of a stream that is behind, until this is dropped.
#[derive(Debug)]
pub(crate) struct Behind(Backlog);

impl Backlog {
    /// One part more.
    pub(crate) fn behind(&self) -> Behind {
        self.0.fetch_add(1, Ordering::AcqRel);
        Behind(self.clone())
    }

    /// Whether nothing is behind. What was handed on before that is seen by who asks.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let Self(Backlog(count)) = self;
        count.fetch_sub(1, Ordering::AcqRel);
    }
}
