//! Answer credits: the right to one more unanswered event, by number and by bytes.
//!
//! The intake takes a credit before it accepts an event, and the input gives it back once the
//! answer is written. So answering never waits, and a peer that reads nothing holds a known amount
//! of memory. Nothing here answers or writes. Who takes and who gives back count for themselves;
//! only their sums are shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The credits of one connection, in the hands of its intake.
#[derive(Debug)]
pub struct Credits {
    answers_max: u64,
    bytes_max: u64,
    /// Since the connection began.
    taken: CreditTotal,
    returned: Arc<Returned>,
}

/// The way back for the credits of one connection, in the hands of its writer.
#[derive(Debug)]
pub struct CreditReturns(Arc<Returned>);

/// The right to one answer of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    bytes: u32,
}

/// Credits added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CreditTotal {
    answers: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Returned {
    answers: AtomicU64,
    bytes: AtomicU64,
    more: Notify,
}

/// Credits for so many answers at once, and for so many bytes of them.
pub fn credits(answers_max: usize, bytes_max: usize) -> (Credits, CreditReturns) {
    let returned = Arc::<Returned>::default();
    let returns = CreditReturns(Arc::clone(&returned));
    let credits = Credits {
        answers_max: answers_max as u64,
        bytes_max: bytes_max as u64,
        taken: CreditTotal::default(),
        returned,
    };
    (credits, returns)
}

impl Credits {
    /// Takes a credit for an answer of so many bytes; `None` if there is none now. An answer that
    /// is longer than all the bytes takes all of them.
    pub fn try_take(&mut self, bytes: usize) -> Option<Credit> {
        let bytes = (bytes as u64).min(self.bytes_max);
        let answers = self.taken.answers - self.returned.answers.load(Ordering::Acquire);
        let held = self.taken.bytes - self.returned.bytes.load(Ordering::Acquire);
        if answers >= self.answers_max || held + bytes > self.bytes_max {
            return None;
        }
        let bytes = u32::try_from(bytes).expect("a connection's answers are far below 4 GiB");
        let credit = Credit { bytes };
        self.taken.add(credit);
        Some(credit)
    }

    /// Waits until there is such a credit, and takes it. Cancelled, it has taken nothing.
    pub async fn take(&mut self, bytes: usize) -> Credit {
        loop {
            if let Some(credit) = self.try_take(bytes) {
                return credit;
            }
            self.returned.more.notified().await;
        }
    }
}

impl Credit {
    /// The credit of an answer that is a part of another one.
    pub(crate) const NONE: Self = Self { bytes: 0 };
}

impl CreditTotal {
    pub fn add(&mut self, credit: Credit) {
        self.answers += 1;
        self.bytes += u64::from(credit.bytes);
    }
}

impl CreditReturns {
    /// Gives credits back: their answers are written.
    pub fn give_back(&self, written: CreditTotal) {
        self.0.answers.fetch_add(written.answers, Ordering::Release);
        self.0.bytes.fetch_add(written.bytes, Ordering::Release);
        self.0.more.notify_one(); // kept for a reader that is about to wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(credit: Option<Credit>) -> Option<u32> {
        credit.map(|credit| credit.bytes)
    }

    fn one_of(bytes: u64) -> CreditTotal {
        CreditTotal { answers: 1, bytes }
    }

    #[test]
    fn no_more_is_owed_than_the_answers_and_the_bytes_allow() {
        let (mut credits, returns) = credits(3, 100);
        assert_eq!([40, 40, 40].map(|n| bytes(credits.try_take(n))), [Some(40), Some(40), None]);
        assert_eq!(bytes(credits.try_take(20)), Some(20));
        returns.give_back(one_of(40));
        assert_eq!([41, 40, 0].map(|n| bytes(credits.try_take(n))), [None, Some(40), None]);
    }

    #[test]
    fn an_answer_longer_than_all_bytes_has_them_to_itself() {
        let (mut credits, returns) = credits(3, 100);
        assert_eq!([1000, 1].map(|n| bytes(credits.try_take(n))), [Some(100), None]);
        returns.give_back(one_of(100));
        assert_eq!([1, 1000].map(|n| bytes(credits.try_take(n))), [Some(1), None]);
    }

    #[tokio::test]
    async fn a_waiting_reader_goes_on_when_answers_are_written() {
        let (mut credits, returns) = credits(1, 100);
        credits.take(10).await;
        let waiting = tokio::spawn(async move { credits.take(20).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        returns.give_back(one_of(10));
        assert_eq!(waiting.await.expect("it does not panic"), Credit { bytes: 20 });
    }
}
