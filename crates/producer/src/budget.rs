//! The byte budget: how much of the callers' bytes the daemon may hold.
//!
//! A reader takes bytes before it accepts a line and waits here when there are none, so that a full
//! daemon stops reading its sockets instead of growing or dropping. First come, first served; one
//! connection can hold at most half. Nothing here knows what the bytes are for.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use dispatchd_core::limits::KIB;

/// Bytes that are taken ahead: some 30 events of 500 bytes.
const AHEAD_BYTES: usize = 32 * KIB;

/// The daemon's budget. Shared by every connection; only atomics on the way of an event.
#[derive(Debug)]
pub struct Budget {
    free: Semaphore,
    limit_bytes: usize,
    /// Taken by a reader that must wait and by a scrape, for a few additions; never on the way of
    /// an event that finds room. Two atomics would not do: a scrape between the two would see a
    /// wait twice or not at all.
    waits: Mutex<Waits>,
}

/// How long readers have waited for bytes, for `dispatchd_backpressure_seconds_total`: those that
/// wait still count, or a daemon that takes nothing at all would seem to hold nobody back.
#[derive(Debug)]
struct Waits {
    epoch: Instant,
    ended: Duration,
    now: u32,
    /// When those that wait now began, since the epoch, added up.
    began: Duration,
}

/// A reader waits as long as this lives.
struct Waiting<'a> {
    budget: &'a Budget,
    began: Duration,
}

/// One connection's part of the budget.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    free: Semaphore,
}

/// Bytes taken; returned when dropped.
#[derive(Debug)]
pub struct Charge {
    share: Arc<Share>,
    bytes: u32,
}

/// Bytes that are taken already, for events that come one after the other: once for many, as every
/// taking costs.
#[derive(Debug, Default)]
pub struct Ahead(Option<Charge>);

impl Budget {
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let waits =
            Waits { epoch: Instant::now(), ended: Duration::ZERO, now: 0, began: Duration::ZERO };
        Arc::new(Self { free: Semaphore::new(limit_bytes), limit_bytes, waits: Mutex::new(waits) })
    }

    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn used_bytes(&self) -> usize {
        self.limit_bytes - self.free.available_permits()
    }

    /// How long readers have waited up to now, added up over all of them.
    pub fn waited(&self) -> Duration {
        let waits = self.waits();
        waits.ended + waits.epoch.elapsed() * waits.now - waits.began
    }

    /// The part of one connection: at most half, so that a flood leaves room for the others.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { budget: Arc::clone(self), free: Semaphore::new(self.limit_bytes / 2) })
    }

    fn wait(&self) -> Waiting<'_> {
        let mut waits = self.waits();
        let began = waits.epoch.elapsed();
        waits.now += 1;
        waits.began += began;
        Waiting { budget: self, began }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().expect("nobody panics between two additions")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.budget.waits();
        let ended = waits.epoch.elapsed();
        waits.now -= 1;
        waits.began -= self.began;
        waits.ended += ended - self.began;
    }
}

impl Share {
    /// Takes bytes if they are free now.
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let bytes = self.clamp(bytes);
        let own = self.free.try_acquire_many(bytes).ok()?;
        let all = self.budget.free.try_acquire_many(bytes).ok()?;
        own.forget();
        all.forget();
        Some(Charge { share: Arc::clone(self), bytes })
    }

    /// Waits until the bytes are free. Cancelled, it holds nothing.
    pub async fn take(self: &Arc<Self>, bytes: usize) -> Charge {
        let _waiting = self.budget.wait();
        let bytes = self.clamp(bytes);
        let own = self.free.acquire_many(bytes).await.expect("the semaphore is never closed");
        let all =
            self.budget.free.acquire_many(bytes).await.expect("the semaphore is never closed");
        own.forget();
        all.forget();
        Charge { share: Arc::clone(self), bytes }
    }

    /// An event larger than the whole share passes alone, when the share is free; a budget that
    /// small is refused by the configuration, but the stream's record limit is learnt later.
    fn clamp(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.budget.limit_bytes / 2)).unwrap_or(u32::MAX)
    }
}

impl Charge {
    /// Takes a part out of it, if it is as large.
    fn split(&mut self, bytes: usize) -> Option<Self> {
        let bytes = self.share.clamp(bytes);
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Self { share: Arc::clone(&self.share), bytes })
    }

    /// Takes another of the same connection along, to go back as one: every return takes a lock.
    pub fn merge(&mut self, mut other: Self) {
        if Arc::ptr_eq(&self.share, &other.share)
            && let Some(sum) = self.bytes.checked_add(other.bytes)
        {
            self.bytes = sum;
            other.bytes = 0;
        }
    }
}

impl Ahead {
    /// Out of what is taken already, or of what can be taken now.
    pub fn try_take(&mut self, share: &Arc<Share>, bytes: usize) -> Option<Charge> {
        if let Some(charge) = self.0.as_mut().and_then(|ahead| ahead.split(bytes)) {
            return Some(charge);
        }
        self.give_back();
        self.0 = share.try_take(bytes.max(AHEAD_BYTES));
        self.0.as_mut()?.split(bytes)
    }

    /// What is left goes back: to be called before its owner waits, since others may wait for it.
    pub fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.free.add_permits(self.bytes as usize);
            self.share.budget.free.add_permits(self.bytes as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_when_the_charge_is_dropped() {
        let budget = Budget::new(100);
        let share = budget.share();
        let charge = share.try_take(30).expect("30 of 50");
        assert_eq!(budget.used_bytes(), 30);
        drop(charge);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn one_connection_never_holds_more_than_half() {
        let budget = Budget::new(100);
        let (greedy, other) = (budget.share(), budget.share());
        let _held = greedy.try_take(50).expect("half");
        assert!(greedy.try_take(1).is_none());
        assert!(other.try_take(50).is_some());
    }

    #[test]
    fn a_refused_take_leaves_nothing_behind() {
        let budget = Budget::new(100);
        let (a, b, c) = (budget.share(), budget.share(), budget.share());
        let _a = a.try_take(50).expect("half");
        let _b = b.try_take(40).expect("less than half");
        assert!(c.try_take(20).is_none());
        assert!(c.try_take(10).is_some(), "the share of c was not kept by the take that failed");
    }

    #[test]
    fn what_was_taken_ahead_and_not_used_goes_back_when_it_is_told_to() {
        let budget = Budget::new(4 * AHEAD_BYTES);
        let (share, mut ahead) = (budget.share(), Ahead::default());
        let charges = [10, 20].map(|bytes| ahead.try_take(&share, bytes).expect("there is room"));
        assert_eq!(budget.used_bytes(), AHEAD_BYTES, "taken once for both");
        ahead.give_back();
        assert_eq!(budget.used_bytes(), 30);
        drop(charges);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_waiting_reader_goes_on_when_bytes_come_back() {
        let budget = Budget::new(100);
        let (a, b) = (budget.share(), budget.share());
        let (first, second) =
            (a.try_take(50).expect("half"), b.try_take(50).expect("the other half"));
        let c = budget.share();
        let waiting = tokio::spawn(async move { c.take(60).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop((first, second));
        let charge = waiting.await.expect("the task does not panic");
        assert_eq!(budget.used_bytes(), 50, "more than a share is held as a whole share");
        drop(charge);
    }

    #[tokio::test]
    async fn time_counts_while_a_reader_waits_and_stops_when_it_is_cancelled() {
        let budget = Budget::new(100);
        let _held = budget.share().try_take(50).expect("half");
        let _rest = budget.share().try_take(50).expect("the other half");
        assert_eq!(budget.waited(), Duration::ZERO);
        let share = budget.share();
        let waiting = tokio::spawn(async move { share.take(10).await });
        let grows = async |from: Duration| {
            while budget.waited() <= from {
                tokio::task::yield_now().await;
            }
            budget.waited()
        };
        let counted = async { grows(grows(Duration::ZERO).await).await };
        tokio::time::timeout(Duration::from_secs(10), counted)
            .await
            .expect("it counts before the wait is over");
        waiting.abort();
        assert!(waiting.await.expect_err("it was cancelled").is_cancelled());
        let waited = budget.waited();
        assert_eq!(budget.waited(), waited, "nobody waits any more");
    }
}
