//! Bounds the bytes of all pages together: those that are being asked for, those that wait to be
//! taken, and those that are being printed or delivered.
//!
//! The bound is one for all shards of a stream, however many there are. A reader reserves what its
//! next page may take, asks for no more records than fit, and gives back what it did not need once
//! the page is here. A page that is larger all the same, because its records are larger than those
//! before it, is held too, and others wait longer.
//!
//! Pages may be held for long: those of a shard whose target refuses it, until an operator acts.
//! They must not stop the other shards. So every shard may have a small page of its own beside the
//! window, however much of that is taken: it goes on in small steps, which are as many bytes a
//! second as a shard gives.

use std::sync::Arc;

use dispatchd_core::limits::{KIB, MIB};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a page that a shard with a backlog is asked for: GetRecords gives no more at once.
pub(crate) const PAGE_BYTES_MAX: usize = 10 * MIB;
/// Bytes of a page that a shard at its tip is asked for: what a shard takes in a second. It is also
/// the page that a shard may always have.
pub(crate) const TIP_PAGE_BYTES: usize = MIB;
/// Bytes of all pages together. One large page can be read at a time, or a dozen small ones.
const WINDOW_BYTES: usize = 48 * MIB;
/// How many times a page is in memory while it is read: as a reply (in base64, in pieces and as a
/// whole) and as records.
const READING_FACTOR: usize = 4;

const _: () =
    assert!(PAGE_BYTES_MAX * READING_FACTOR <= WINDOW_BYTES, "the largest page can be read");

/// The most bytes of the pages of so many shards, those that are being read among them. One whose
/// records are larger than those before it comes on top.
pub fn bytes_max(shards: usize) -> usize {
    WINDOW_BYTES + (READING_FACTOR + shards) * TIP_PAGE_BYTES
}

/// The bytes that all pages together may still take. Counted in KiB, as the semaphore counts in 32
/// bits. Clones share them.
#[derive(Debug, Clone)]
pub struct Window {
    shared: Arc<Semaphore>,
    /// Whose turn it is to read a page of its own beside the window: such pages are read one after
    /// the other, and a call ends in time.
    turn: Arc<Semaphore>,
}

/// One shard's part in a window.
#[derive(Debug)]
pub struct ShardWindow {
    window: Window,
    /// The page of its own, while there is none.
    own: Arc<Semaphore>,
}

/// The bytes of one page, which are given back when this is dropped.
#[derive(Debug)]
pub struct PageBytes {
    /// What the page may take.
    bytes: usize,
    /// Of the window. It may be nothing.
    shared: OwnedSemaphorePermit,
    /// Of a page of the shard's own: that it is there, and, while it is read, the turn.
    own: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Default for Window {
    fn default() -> Self {
        let shared = Arc::new(Semaphore::new(WINDOW_BYTES / KIB));
        Self { shared, turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Window {
    /// The part of another shard.
    pub fn shard(&self) -> ShardWindow {
        ShardWindow { window: self.clone(), own: Arc::new(Semaphore::new(1)) }
    }
}

impl ShardWindow {
    /// Waits until a page of so many bytes can be read, or else a small one, which is the shard's
    /// own: [`PageBytes::bytes`] says which. First come, first served.
    pub async fn reserve(&self, page_bytes: usize) -> PageBytes {
        let permits = permits(page_bytes * READING_FACTOR);
        let shared = acquire(&self.window.shared, permits);
        let own = async {
            let own = acquire(&self.own, 1).await;
            (own, acquire(&self.window.turn, 1).await)
        };
        tokio::select! {
            // The page of its own is for when there is no room.
            biased;
            shared = shared => PageBytes { bytes: page_bytes, shared, own: None, turn: None },
            (own, turn) = own => PageBytes {
                bytes: page_bytes.min(TIP_PAGE_BYTES),
                shared: acquire(&self.window.shared, 0).await,
                own: Some(own),
                turn: Some(turn),
            },
        }
    }
}

async fn acquire(of: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    let permits = Arc::clone(of).acquire_many_owned(permits).await;
    permits.expect("the semaphore is never closed")
}

impl PageBytes {
    /// Bytes that the page may take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes note that the page is here and takes so many bytes. What was reserved beyond that goes
    /// back. What the page takes beyond the reservation is counted only as far as there is room: if
    /// readers waited for more room with a page in hand, all of them might end up waiting.
    pub fn settle(&mut self, bytes: usize) {
        self.turn = None;
        let own = if self.own.is_some() { TIP_PAGE_BYTES } else { 0 };
        let (held, needed) = (self.shared.num_permits(), permits(bytes.saturating_sub(own)));
        let needed = needed as usize;
        if needed < held {
            drop(self.shared.split(held - needed));
            return;
        }
        let semaphore = self.shared.semaphore();
        let more = (needed - held).min(semaphore.available_permits());
        let more = u32::try_from(more).expect("there are fewer permits than that");
        if let Ok(more) = Arc::clone(semaphore).try_acquire_many_owned(more) {
            self.shared.merge(more);
        }
    }
}

fn permits(bytes: usize) -> u32 {
    let permits = bytes.div_ceil(KIB).min(WINDOW_BYTES / KIB);
    u32::try_from(permits).expect("the bound is some ten thousand KiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn free_bytes(window: &Window) -> usize {
        window.shared.available_permits() * KIB
    }

    /// A page of the window, if there is room; under a paused clock this takes no time. The shard
    /// has its own page already.
    async fn shared_page(window: &Window, page_bytes: usize) -> Option<PageBytes> {
        let shard = window.shard();
        let _own = acquire(&shard.own, 1).await;
        timeout(Duration::from_secs(1), shard.reserve(page_bytes)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn all_pages_together_stay_below_the_bound() {
        let window = Window::default();
        let first = shared_page(&window, PAGE_BYTES_MAX).await.expect("nothing is held");
        assert!(shared_page(&window, PAGE_BYTES_MAX).await.is_none(), "two replies at once");
        let tip = shared_page(&window, TIP_PAGE_BYTES).await;
        assert!(tip.is_some(), "a shard at its tip need not wait for one");
        drop((first, tip));
        assert_eq!(free_bytes(&window), WINDOW_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_at_most_is_within_the_bound_however_many_shards_there_are() {
        for count in [1, 3, 100] {
            let window = Window::default();
            let mut held_bytes = WINDOW_BYTES;
            let _full = shared_page(&window, WINDOW_BYTES / READING_FACTOR).await;
            let (mut shards, mut pages) = (Vec::new(), Vec::new());
            shards.resize_with(count, || window.shard());
            for shard in &shards {
                let mut page = shard.reserve(PAGE_BYTES_MAX).await;
                page.settle(page.bytes());
                held_bytes += page.bytes();
                pages.push(page);
            }
            let read_bytes = READING_FACTOR * TIP_PAGE_BYTES;
            assert_eq!(held_bytes + read_bytes, bytes_max(count), "one more is being read");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pages_that_nobody_takes_stop_the_reading() {
        let (window, mut held) = (Window::default(), Vec::new());
        while let Some(mut page) = shared_page(&window, PAGE_BYTES_MAX).await {
            page.settle(PAGE_BYTES_MAX);
            held.push(page);
        }
        assert_eq!(held.len(), 1, "then the next reply would pass the bound");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_whose_pages_nobody_takes_stops_no_other_shard() {
        // A target may refuse one shard's record for days. Without a page of their own the others
        // would wait behind it for room that never comes.
        let window = Window::default();
        let (blocked, other) = (window.shard(), window.shard());
        let mut taken = Vec::new();
        while let Ok(mut page) =
            timeout(Duration::from_secs(1), blocked.reserve(PAGE_BYTES_MAX)).await
        {
            page.settle(page.bytes());
            taken.push(page);
        }
        assert_eq!(taken.len(), 2, "a large page, and one of its own");
        let waiting = blocked.reserve(PAGE_BYTES_MAX);
        let mut waiting = std::pin::pin!(waiting);
        assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());
        for _ in 0..100 {
            let mut page = timeout(Duration::from_secs(1), other.reserve(PAGE_BYTES_MAX))
                .await
                .expect("the other has its own page, once the one before is delivered");
            page.settle(page.bytes());
        }
        assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err(), "it waits as before");
        drop(taken);
        assert_eq!(waiting.await.bytes(), PAGE_BYTES_MAX, "and goes on when it is delivered");
    }

    #[tokio::test(start_paused = true)]
    async fn pages_of_their_own_are_read_one_after_the_other() {
        // However many shards there are: what is read takes four times what is held.
        let window = Window::default();
        let _full = shared_page(&window, WINDOW_BYTES / READING_FACTOR).await.expect("all of it");
        let (one, other) = (window.shard(), window.shard());
        let mut first = one.reserve(PAGE_BYTES_MAX).await;
        assert_eq!(first.bytes(), TIP_PAGE_BYTES);
        let second = timeout(Duration::from_secs(1), other.reserve(PAGE_BYTES_MAX)).await;
        assert!(second.is_err(), "the first is being read");
        first.settle(TIP_PAGE_BYTES);
        other.reserve(PAGE_BYTES_MAX).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_page_leaves_goes_back_and_what_it_takes_more_is_counted_if_there_is_room() {
        let window = Window::default();
        let mut small = shared_page(&window, PAGE_BYTES_MAX).await.expect("nothing is held");
        small.settle(1);
        assert_eq!(free_bytes(&window), WINDOW_BYTES - KIB);
        small.settle(30 * MIB);
        assert_eq!(free_bytes(&window), WINDOW_BYTES - 30 * MIB);
        let mut large = shared_page(&window, TIP_PAGE_BYTES).await.expect("there is room");
        large.settle(30 * MIB);
        assert_eq!(free_bytes(&window), 0);
        let mut own = window.shard().reserve(TIP_PAGE_BYTES).await;
        drop(large);
        own.settle(3 * MIB);
        assert_eq!(free_bytes(&window), WINDOW_BYTES - 32 * MIB, "a MiB of it is its own");
        drop((small, own));
        assert_eq!(free_bytes(&window), WINDOW_BYTES, "nothing is given back twice");
    }
}
