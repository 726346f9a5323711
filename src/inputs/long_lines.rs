//! Room for lines that are longer than a line buffer: bytes that all connections share, so that
//! memory is the same sum whatever record limit the stream has.
//!
//! A line takes room for the longest line that is permitted, at once, and holds it until it has
//! left its buffer. So two lines that are half read never wait for each other. First come, first
//! served. Nothing is read here.

use bytes::BytesMut;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The room that long lines share.
#[derive(Debug)]
pub struct LongLines {
    free: Semaphore,
    bytes: u32,
}

impl LongLines {
    pub fn new(bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { free: Semaphore::new(bytes as usize), bytes }
    }

    /// Waits for room for a line of up to so many bytes. A line that is longer than all of the room
    /// has it to itself.
    pub(crate) async fn room(&self, line_bytes_max: usize) -> SemaphorePermit<'_> {
        let bytes = u32::try_from(line_bytes_max).unwrap_or(u32::MAX).min(self.bytes);
        self.free.acquire_many(bytes).await.expect("the semaphore is never closed")
    }
}

/// A buffer that begins with these bytes and holds a line of up to so many bytes without growing:
/// to grow, the old buffer and a new one of twice its size would be needed at once.
pub(crate) fn buffer_of(line_bytes_max: usize, begun: &[u8]) -> BytesMut {
    // The splitter knows that a line is too long by its second byte over the limit, since the first
    // may be a `\r`.
    let mut buf = BytesMut::with_capacity(begun.len().max(line_bytes_max + 2));
    buf.extend_from_slice(begun);
    buf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_hold_no_more_than_the_room_and_each_that_is_begun_can_be_ended() {
        let lines = LongLines::new(100);
        let (first, second) = (lines.room(40).await, lines.room(40).await);
        let third = async {
            let room = lines.room(1_000).await;
            assert_eq!(room.num_permits(), 100, "it has all of it to itself");
        };
        let mut third = std::pin::pin!(third);
        assert!(futures_are_pending(&mut third).await);
        drop(first);
        assert!(futures_are_pending(&mut third).await, "one half of the room is no room for it");
        drop(second);
        third.await;
    }

    async fn futures_are_pending(
        future: &mut std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, future).await.is_err()
    }

    #[test]
    fn a_buffer_for_a_long_line_does_not_grow() {
        let mut buf = buffer_of(1_000_000, b"begun");
        let capacity = buf.capacity();
        buf.extend_from_slice(&vec![b'x'; 1_000_002 - 5]);
        assert_eq!((buf.capacity(), &buf[..5]), (capacity, &b"begun"[..]));
    }
}
