//! What the drain has to know of callers: when they were last heard, and how many of their lines
//! nobody read. Counts only.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The callers of all connections together.
#[derive(Debug)]
pub struct Callers {
    began: Instant,
    /// Nanoseconds since `began`.
    last_heard: AtomicU64,
    held_up: AtomicUsize,
    unread_lines: AtomicU64,
}

/// A caller that cannot be heard, since we have no room for its lines. It counts until this is
/// dropped.
#[derive(Debug)]
pub(crate) struct HeldUp<'a>(&'a Callers);

impl Callers {
    pub fn new(now: Instant) -> Self {
        let (last_heard, unread_lines) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began: now, last_heard, held_up: AtomicUsize::new(0), unread_lines }
    }

    /// A caller sent bytes.
    pub(crate) fn heard(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_nanos();
        self.last_heard.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A caller waits until we have room for its lines.
    pub(crate) fn hold_up(&self) -> HeldUp<'_> {
        self.held_up.fetch_add(1, Ordering::Relaxed);
        HeldUp(self)
    }

    /// When a caller was last heard; `None` while one is held up.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        let since = Duration::from_nanos(self.last_heard.load(Ordering::Relaxed));
        (self.held_up.load(Ordering::Relaxed) == 0).then(|| self.began + since)
    }

    /// So many lines were not read of a caller that is gone and will not be told.
    pub(crate) fn left_unread(&self, lines: u64) {
        self.unread_lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines that were not read of callers that are gone.
    pub(crate) fn unread_lines(&self) -> u64 {
        self.unread_lines.load(Ordering::Relaxed)
    }
}

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.held_up.fetch_sub(1, Ordering::Relaxed);
    }
}
