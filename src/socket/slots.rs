//! The answers that a connection may owe, by number and by bytes: taken by the reader before a line
//! is accepted, given back by the writer once they are written. So answering never waits, and a
//! peer that reads nothing holds a known amount of memory.
//!
//! Nothing here answers or writes; who takes and who gives back count for themselves, and only
//! their sums are shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The reader's side.
#[derive(Debug)]
pub(super) struct Slots {
    window: u64,
    room_bytes: u64,
    /// Since the connection began.
    taken: Owed,
    given_back: Arc<GivenBack>,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Returns(Arc<GivenBack>);

/// Answers, and the bytes that they hold until they are written.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Owed {
    pub answers: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct GivenBack {
    answers: AtomicU64,
    bytes: AtomicU64,
    more: Notify,
}

/// For so many answers that are owed at once, and so many bytes of them.
pub(super) fn slots(window: usize, room_bytes: usize) -> (Slots, Returns) {
    let given_back = Arc::<GivenBack>::default();
    let returns = Returns(Arc::clone(&given_back));
    (
        Slots {
            window: window as u64,
            room_bytes: room_bytes as u64,
            taken: Owed::default(),
            given_back,
        },
        returns,
    )
}

impl Slots {
    /// Takes a slot of so many bytes if there is one now. A longer answer than there is room for
    /// takes all of it.
    pub(super) fn try_take(&mut self, bytes: usize) -> Option<u32> {
        let bytes = (bytes as u64).min(self.room_bytes);
        let answers = self.taken.answers - self.given_back.answers.load(Ordering::Acquire);
        let held = self.taken.bytes - self.given_back.bytes.load(Ordering::Acquire);
        if answers >= self.window || held + bytes > self.room_bytes {
            return None;
        }
        self.taken.answers += 1;
        self.taken.bytes += bytes;
        Some(u32::try_from(bytes).expect("the room is far below 4 GiB"))
    }

    /// Waits until there is such a slot, and takes it. Cancelled, it holds nothing.
    pub(super) async fn take(&mut self, bytes: usize) -> u32 {
        loop {
            if let Some(room) = self.try_take(bytes) {
                return room;
            }
            self.given_back.more.notified().await;
        }
    }
}

impl Owed {
    /// One answer more, of so many bytes.
    pub(super) fn add(&mut self, bytes: u32) {
        self.answers += 1;
        self.bytes += u64::from(bytes);
    }
}

impl Returns {
    /// What was owed is written.
    pub(super) fn give_back(&self, written: Owed) {
        self.0.answers.fetch_add(written.answers, Ordering::Release);
        self.0.bytes.fetch_add(written.bytes, Ordering::Release);
        self.0.more.notify_one(); // kept for a reader that is about to wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_owed_than_the_window_and_the_room_allow() {
        let (mut slots, returns) = slots(3, 100);
        assert_eq!(
            (slots.try_take(40), slots.try_take(40), slots.try_take(40)),
            (Some(40), Some(40), None)
        );
        assert_eq!(slots.try_take(20), Some(20));
        returns.give_back(Owed { answers: 1, bytes: 40 });
        assert_eq!(
            (slots.try_take(41), slots.try_take(40), slots.try_take(0)),
            (None, Some(40), None)
        );
    }

    #[test]
    fn an_answer_longer_than_the_room_has_it_to_itself() {
        let (mut slots, returns) = slots(3, 100);
        assert_eq!((slots.try_take(1000), slots.try_take(1)), (Some(100), None));
        returns.give_back(Owed { answers: 1, bytes: 100 });
        assert_eq!((slots.try_take(1), slots.try_take(1000)), (Some(1), None));
    }

    #[tokio::test]
    async fn a_waiting_reader_goes_on_when_answers_are_written() {
        let (mut slots, returns) = slots(1, 100);
        slots.take(10).await;
        let waiting = tokio::spawn(async move { slots.take(20).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        returns.give_back(Owed { answers: 1, bytes: 10 });
        assert_eq!(waiting.await.expect("it does not panic"), 20);
    }
}
