//! The bytes of all pages together: what is being asked for, what waits to be taken, what is being
//! printed.
//!
//! One bound for all shards of a stream, however many they are. A reader reserves what its next
//! page may take, asks for no more records than fit, and gives back what it did not need once the
//! page is here. A page that is larger all the same (its records are larger than those before it)
//! is held, and others wait the longer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use dispatchd_core::limits::{KIB, MIB};

/// Bytes of a page that a shard with a backlog is asked for: GetRecords gives no more at once.
pub(super) const PAGE_BYTES_MAX: usize = 10 * MIB;
/// Bytes of a page that a shard at its tip is asked for: what it takes in a second.
pub(super) const TIP_PAGE_BYTES: usize = MIB;
/// Bytes of all pages together. One large page can be read at a time, or a dozen small ones.
const PAGES_BYTES_MAX: usize = 48 * MIB;
/// While it is read a page is there as a reply (in base64, in pieces and as a whole) and as
/// records.
const READING_FACTOR: usize = 4;

const _: () =
    assert!(PAGE_BYTES_MAX * READING_FACTOR <= PAGES_BYTES_MAX, "the largest page can be read");

/// In KiB, as the semaphore counts in 32 bits.
#[derive(Debug, Clone)]
pub(super) struct Pages(Arc<Semaphore>);

/// Bytes of one page, given back when dropped.
#[derive(Debug)]
pub struct Held(OwnedSemaphorePermit);

impl Pages {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PAGES_BYTES_MAX / KIB)))
    }

    /// Waits until a page of so many bytes can be read. First come, first served.
    pub(super) async fn reserve(&self, page_bytes: usize) -> Held {
        let permits = permits(page_bytes * READING_FACTOR);
        let reserved = Arc::clone(&self.0).acquire_many_owned(permits).await;
        Held(reserved.expect("the semaphore is never closed"))
    }
}

impl Held {
    /// The page is here and takes so much: what is over goes back. What it takes beyond that is
    /// counted as far as there is room; to wait for more room with the page in hand, as others may,
    /// would end in all of them waiting.
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
    let permits = bytes.div_ceil(KIB).min(PAGES_BYTES_MAX / KIB);
    u32::try_from(permits).expect("the bound is some ten thousand KiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn free_bytes(pages: &Pages) -> usize {
        pages.0.available_permits() * KIB
    }

    /// Whether another page has to wait; under a paused clock this takes no time.
    async fn waits(pages: &Pages, page_bytes: usize) -> bool {
        timeout(Duration::from_secs(1), pages.reserve(page_bytes)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn all_pages_together_stay_below_the_bound() {
        let pages = Pages::new();
        let first = pages.reserve(PAGE_BYTES_MAX).await;
        assert!(waits(&pages, PAGE_BYTES_MAX).await, "two replies at once");
        assert!(!waits(&pages, TIP_PAGE_BYTES).await, "a shard at its tip need not wait for one");
        drop(first);
        assert_eq!(free_bytes(&pages), PAGES_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn pages_that_nobody_takes_stop_the_reading() {
        let pages = Pages::new();
        let mut held = Vec::new();
        while !waits(&pages, PAGE_BYTES_MAX).await {
            let mut page = pages.reserve(PAGE_BYTES_MAX).await;
            page.settle(PAGE_BYTES_MAX);
            held.push(page);
        }
        assert_eq!(held.len(), 1, "then the next reply would pass the bound");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_page_does_not_take_goes_back_and_what_it_takes_more_is_counted_if_there_is_room()
     {
        let pages = Pages::new();
        let mut small = pages.reserve(PAGE_BYTES_MAX).await;
        small.settle(1);
        assert_eq!(free_bytes(&pages), PAGES_BYTES_MAX - KIB);
        small.settle(30 * MIB);
        assert_eq!(free_bytes(&pages), PAGES_BYTES_MAX - 30 * MIB);
        let mut large = pages.reserve(TIP_PAGE_BYTES).await;
        large.settle(30 * MIB);
        assert_eq!(free_bytes(&pages), 0);
        drop((small, large));
        assert_eq!(free_bytes(&pages), PAGES_BYTES_MAX, "nothing is given back twice");
    }
}
