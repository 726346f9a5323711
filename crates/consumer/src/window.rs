//! Bounds the bytes of all pages together: those that are being asked for, those that wait to be
//! taken, and those that are being printed.
//!
//! The bound is one for all shards of a stream, however many there are. A reader reserves what its
//! next page may take, asks for no more records than fit, and gives back what it did not need once
//! the page is here. A page that is larger all the same, because its records are larger than those
//! before it, is held too, and others wait longer.

use std::sync::Arc;

use dispatchd_core::limits::{KIB, MIB};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a page that a shard with a backlog is asked for: GetRecords gives no more at once.
pub(crate) const PAGE_BYTES_MAX: usize = 10 * MIB;
/// Bytes of a page that a shard at its tip is asked for: what a shard takes in a second.
pub(crate) const TIP_PAGE_BYTES: usize = MIB;
/// Bytes of all pages together. One large page can be read at a time, or a dozen small ones.
const WINDOW_BYTES: usize = 48 * MIB;
/// How many times a page is in memory while it is read: as a reply (in base64, in pieces and as a
/// whole) and as records.
const READING_FACTOR: usize = 4;

const _: () =
    assert!(PAGE_BYTES_MAX * READING_FACTOR <= WINDOW_BYTES, "the largest page can be read");

/// The bytes that all pages together may still take. Counted in KiB, as the semaphore counts in 32
/// bits. Clones share them.
#[derive(Debug, Clone)]
pub struct Window(Arc<Semaphore>);

/// The bytes of one page, which are given back when this is dropped.
#[derive(Debug)]
pub struct PageBytes(OwnedSemaphorePermit);

impl Default for Window {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WINDOW_BYTES / KIB)))
    }
}

impl Window {
    /// Waits until a page of so many bytes can be read. First come, first served.
    pub async fn reserve(&self, page_bytes: usize) -> PageBytes {
        let permits = permits(page_bytes * READING_FACTOR);
        let reserved = Arc::clone(&self.0).acquire_many_owned(permits).await;
        PageBytes(reserved.expect("the semaphore is never closed"))
    }
}

impl PageBytes {
    /// Takes note that the page is here and takes so many bytes. What was reserved beyond that goes
    /// back. What the page takes beyond the reservation is counted only as far as there is room: if
    /// readers waited for more room with a page in hand, all of them might end up waiting.
    pub fn settle(&mut self, bytes: usize) {
        let (held, needed) = (self.0.num_permits(), permits(bytes) as usize);
        if needed < held {
            drop(self.0.split(held - needed));
            return;
        }
        let more = (needed - held).min(self.0.semaphore().available_permits());
        let more = u32::try_from(more).expect("there are fewer permits than that");
        if let Ok(more) = Arc::clone(self.0.semaphore()).try_acquire_many_owned(more) {
            self.0.merge(more);
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
        window.0.available_permits() * KIB
    }

    /// Whether another page has to wait; under a paused clock this takes no time.
    async fn waits(window: &Window, page_bytes: usize) -> bool {
        timeout(Duration::from_secs(1), window.reserve(page_bytes)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn all_pages_together_stay_below_the_bound() {
        let window = Window::default();
        let first = window.reserve(PAGE_BYTES_MAX).await;
        assert!(waits(&window, PAGE_BYTES_MAX).await, "two replies at once");
        assert!(!waits(&window, TIP_PAGE_BYTES).await, "a shard at its tip need not wait for one");
        drop(first);
        assert_eq!(free_bytes(&window), WINDOW_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn pages_that_nobody_takes_stop_the_reading() {
        let window = Window::default();
        let mut held = Vec::new();
        while !waits(&window, PAGE_BYTES_MAX).await {
            let mut page = window.reserve(PAGE_BYTES_MAX).await;
            page.settle(PAGE_BYTES_MAX);
            held.push(page);
        }
        assert_eq!(held.len(), 1, "then the next reply would pass the bound");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_page_leaves_goes_back_and_what_it_takes_more_is_counted_if_there_is_room() {
        let window = Window::default();
        let mut small = window.reserve(PAGE_BYTES_MAX).await;
        small.settle(1);
        assert_eq!(free_bytes(&window), WINDOW_BYTES - KIB);
        small.settle(30 * MIB);
        assert_eq!(free_bytes(&window), WINDOW_BYTES - 30 * MIB);
        let mut large = window.reserve(TIP_PAGE_BYTES).await;
        large.settle(30 * MIB);
        assert_eq!(free_bytes(&window), 0);
        drop((small, large));
        assert_eq!(free_bytes(&window), WINDOW_BYTES, "nothing is given back twice");
    }
}
