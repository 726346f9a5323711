//! The byte budget: how much of the callers' bytes the daemon may hold.
//!
//! The intake takes bytes before it accepts an event, and its input waits when there are none: a
//! full daemon stops reading its sockets instead of growing or dropping. First come, first served;
//! one connection can hold at most half. Nothing here knows what the bytes are for, or reads a
//! clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use dispatchd_core::limits::KIB;

/// Bytes that are taken in advance: some 30 events of 500 bytes.
const PREFETCH_BYTES: usize = 32 * KIB;

/// The daemon's budget. Every connection shares it; only atomics are touched by an event that finds
/// room.
#[derive(Debug)]
pub struct Budget {
    free: Semaphore,
    limit_bytes: usize,
    /// The bytes of open transactions, a part of what is taken.
    staged_bytes: AtomicUsize,
}

/// One connection's part of the budget.
#[derive(Debug)]
pub struct ConnectionBudget {
    budget: Arc<Budget>,
    free: Semaphore,
}

/// The right to hold so many bytes. Dropped, it gives them back.
#[derive(Debug)]
pub struct Permit {
    from: Arc<ConnectionBudget>,
    bytes: u32,
}

/// Bytes that are taken already, for the events that come next: once for many, since every taking
/// costs.
#[derive(Debug, Default)]
pub(crate) struct Prefetch(Option<Permit>);

impl Budget {
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let (free, staged_bytes) = (Semaphore::new(limit_bytes), AtomicUsize::new(0));
        Arc::new(Self { free, limit_bytes, staged_bytes })
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> usize {
        self.limit_bytes - self.free.available_permits()
    }

    /// The part of one connection: at most half, so that a flood leaves room for the others.
    pub fn connection(self: &Arc<Self>) -> Arc<ConnectionBudget> {
        let free = Semaphore::new(self.limit_bytes / 2);
        Arc::new(ConnectionBudget { budget: Arc::clone(self), free })
    }
}

impl ConnectionBudget {
    /// Takes so many bytes; `None` if they are not free now.
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let bytes = self.clamp(bytes);
        let own = self.free.try_acquire_many(bytes).ok()?;
        let all = self.budget.free.try_acquire_many(bytes).ok()?;
        own.forget();
        all.forget();
        Some(Permit { from: Arc::clone(self), bytes })
    }

    /// Waits until the bytes are free, and takes them. Cancelled, it has taken nothing.
    pub async fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        let bytes = self.clamp(bytes);
        let own = self.free.acquire_many(bytes).await.expect("the semaphore is never closed");
        let all =
            self.budget.free.acquire_many(bytes).await.expect("the semaphore is never closed");
        own.forget();
        all.forget();
        Permit { from: Arc::clone(self), bytes }
    }

    /// An event larger than the whole part passes alone, when the part is free. A budget that small
    /// is refused by the configuration, but the stream's record limit is learnt later.
    fn clamp(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.share_bytes())).unwrap_or(u32::MAX)
    }

    /// The most that one connection may hold.
    pub(crate) fn share_bytes(&self) -> usize {
        self.budget.limit_bytes / 2
    }

    /// Takes note of bytes held by a transaction of this connection; says no where the transactions
    /// of all connections would hold more than half of the budget. So whoever is in the middle of
    /// one, the events of others find room.
    pub(crate) fn try_stage(&self, bytes: usize) -> bool {
        let staged_max = self.budget.limit_bytes / 2;
        let more = |staged: usize| staged.checked_add(bytes).filter(|staged| *staged <= staged_max);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.budget.staged_bytes.fetch_update(set, get, more).is_ok()
    }

    /// The bytes are no transaction's any more.
    pub(crate) fn unstage(&self, bytes: usize) {
        self.budget.staged_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Permit {
    /// Takes a part out of the permit; `None` if the permit is smaller.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        let bytes = self.from.clamp(bytes);
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Self { from: Arc::clone(&self.from), bytes })
    }

    /// Gives back all but so many bytes.
    pub(crate) fn reduced_to(mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes as usize);
        self.split(bytes).expect("it has as many")
    }

    /// Takes another one of the same connection along, to go back as one: every return takes a
    /// lock. One of another connection goes back now.
    pub fn merge(&mut self, mut other: Self) {
        if Arc::ptr_eq(&self.from, &other.from)
            && let Some(sum) = self.bytes.checked_add(other.bytes)
        {
            self.bytes = sum;
            other.bytes = 0;
        }
    }
}

impl Prefetch {
    /// Takes so many bytes out of what is taken already, or of what can be taken now; `None` if
    /// neither has as many.
    pub(crate) fn try_take(
        &mut self,
        budget: &Arc<ConnectionBudget>,
        bytes: usize,
    ) -> Option<Permit> {
        if let Some(permit) = self.0.as_mut().and_then(|taken| taken.split(bytes)) {
            return Some(permit);
        }
        self.give_back();
        self.0 = budget.try_take(bytes.max(PREFETCH_BYTES));
        self.0.as_mut()?.split(bytes)
    }

    /// Gives back what is left: to be called before its owner waits, since others may wait for it.
    pub(crate) fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.from.free.add_permits(self.bytes as usize);
            self.from.budget.free.add_permits(self.bytes as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_when_the_permit_is_dropped() {
        let budget = Budget::new(100);
        let connection = budget.connection();
        let permit = connection.try_take(30).expect("30 of 50");
        assert_eq!(budget.used_bytes(), 30);
        drop(permit);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn one_connection_never_holds_more_than_half() {
        let budget = Budget::new(100);
        let (greedy, other) = (budget.connection(), budget.connection());
        let _held = greedy.try_take(50).expect("half");
        assert!(greedy.try_take(1).is_none());
        assert!(other.try_take(50).is_some());
    }

    #[test]
    fn a_refused_take_leaves_nothing_behind() {
        let budget = Budget::new(100);
        let (a, b, c) = (budget.connection(), budget.connection(), budget.connection());
        let _a = a.try_take(50).expect("half");
        let _b = b.try_take(40).expect("less than half");
        assert!(c.try_take(20).is_none());
        assert!(c.try_take(10).is_some(), "the half of c was not kept by the take that failed");
    }

    #[test]
    fn what_was_taken_ahead_and_not_used_goes_back_when_it_is_told_to() {
        let budget = Budget::new(4 * PREFETCH_BYTES);
        let (connection, mut prefetch) = (budget.connection(), Prefetch::default());
        let permits =
            [10, 20].map(|bytes| prefetch.try_take(&connection, bytes).expect("there is room"));
        assert_eq!(budget.used_bytes(), PREFETCH_BYTES, "taken once for both");
        prefetch.give_back();
        assert_eq!(budget.used_bytes(), 30);
        drop(permits);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_waiting_reader_goes_on_when_bytes_come_back() {
        let budget = Budget::new(100);
        let (a, b) = (budget.connection(), budget.connection());
        let (first, second) =
            (a.try_take(50).expect("half"), b.try_take(50).expect("the other half"));
        let c = budget.connection();
        let waiting = tokio::spawn(async move { c.take(60).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop((first, second));
        let permit = waiting.await.expect("the task does not panic");
        assert_eq!(budget.used_bytes(), 50, "more than a half is held as a whole half");
        drop(permit);
    }
}
