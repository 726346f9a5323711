//! The event counters, of each input its own. At every moment, accepted = acked + refused + rolled
//! back + in flight + staged. Only atomics, and nothing here decides what is counted.

use std::array;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dispatchd_core::model::{Code, EventAnswer, Input};

/// What became of every event that was accepted, as numbers. One for each input.
#[derive(Debug, Default)]
pub struct EventCounters {
    accepted: AtomicU64,
    acked: AtomicU64,
    refused: [AtomicU64; Code::ALL.len()],
    rolled_back: AtomicU64,
    staged: AtomicU64,
    transactions: TransactionCounters,
}

/// What became of transactions.
#[derive(Debug, Default)]
struct TransactionCounters {
    open: AtomicU64,
    ended: [AtomicU64; TransactionEnd::ALL.len()],
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    Committed,
    /// The caller rolled it back.
    RolledBack,
    /// The transaction was open for too long.
    TimedOut,
    /// The connection ended, or the daemon stopped.
    Cut,
}

impl TransactionEnd {
    /// Every end, in order: an end is its index here.
    pub const ALL: [Self; 4] = [Self::Committed, Self::RolledBack, Self::TimedOut, Self::Cut];

    /// The name of the end in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::TimedOut => "timed_out",
            Self::Cut => "cut",
        }
    }
}

/// The counters of every input.
#[derive(Debug, Clone, Default)]
pub struct InputCounters([Arc<EventCounters>; Input::ALL.len()]);

/// One consistent reading of counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub accepted: u64,
    pub acked: u64,
    /// Events that were refused, by code in the order of `Code::ALL`.
    pub refused: [u64; Code::ALL.len()],
    /// Events of transactions that ended without a commit.
    pub rolled_back: u64,
    /// Events of transactions that are open.
    pub staged: u64,
    pub transactions_open: u64,
    /// Transactions that ended, in the order of `TransactionEnd::ALL`.
    pub transactions_ended: [u64; TransactionEnd::ALL.len()],
}

impl InputCounters {
    /// The counters of one input.
    pub fn of(&self, input: Input) -> &Arc<EventCounters> {
        &self.0[input as usize]
    }

    /// A reading of all inputs together.
    pub fn snapshot(&self) -> Snapshot {
        self.0.iter().map(|input| input.snapshot()).fold(Snapshot::default(), Add::add)
    }
}

impl EventCounters {
    /// Reads what has ended first and what was accepted last, so that the difference, what is in
    /// flight, is never negative: an event leaves one number before it enters the next.
    pub fn snapshot(&self) -> Snapshot {
        let acked = self.acked.load(Ordering::Acquire);
        let refused = array::from_fn(|i| self.refused[i].load(Ordering::Acquire));
        let rolled_back = self.rolled_back.load(Ordering::Acquire);
        let staged = self.staged.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Acquire);
        let TransactionCounters { open, ended } = &self.transactions;
        let transactions_ended = array::from_fn(|i| ended[i].load(Ordering::Acquire));
        let transactions_open = open.load(Ordering::Acquire);
        Snapshot {
            accepted,
            acked,
            refused,
            rolled_back,
            staged,
            transactions_open,
            transactions_ended,
        }
    }

    pub(crate) fn accept(&self) {
        self.accept_many(1);
    }

    pub(crate) fn accept_many(&self, events: usize) {
        self.accepted.fetch_add(events as u64, Ordering::Release);
    }

    /// An event waits for the commit of its transaction.
    pub(crate) fn stage(&self) {
        self.accept();
        self.staged.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn begin(&self) {
        self.transactions.open.fetch_add(1, Ordering::Release);
    }

    /// A transaction ended, with so many events.
    pub(crate) fn end(&self, end: TransactionEnd, events: usize) {
        self.transactions.open.fetch_sub(1, Ordering::Release);
        self.transactions.ended[end as usize].fetch_add(1, Ordering::Release);
        self.staged.fetch_sub(events as u64, Ordering::Release);
        if end != TransactionEnd::Committed {
            self.rolled_back.fetch_add(events as u64, Ordering::Release);
        }
    }

    pub(crate) fn answer(&self, answer: &EventAnswer) {
        match answer {
            EventAnswer::Durable(_) => self.ack(1),
            EventAnswer::Refused(refusal) => self.refuse(refusal.code),
        }
    }

    pub(crate) fn ack(&self, events: u64) {
        self.acked.fetch_add(events, Ordering::Release);
    }

    pub(crate) fn refuse(&self, code: Code) {
        self.refused[code as usize].fetch_add(1, Ordering::Release);
    }
}

impl Snapshot {
    /// Events that went on their way and are not answered yet.
    pub fn in_flight(&self) -> u64 {
        let ended = self.acked + self.refused.iter().sum::<u64>() + self.rolled_back;
        self.accepted - ended - self.staged
    }

    /// Events answered with `code`.
    pub fn refused(&self, code: Code) -> u64 {
        self.refused[code as usize]
    }
}

impl Add for Snapshot {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            acked: self.acked + other.acked,
            refused: array::from_fn(|i| self.refused[i] + other.refused[i]),
            rolled_back: self.rolled_back + other.rolled_back,
            staged: self.staged + other.staged,
            transactions_open: self.transactions_open + other.transactions_open,
            transactions_ended: array::from_fn(|i| {
                self.transactions_ended[i] + other.transactions_ended[i]
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_counts_for_itself_and_the_readings_add_up() {
        let counters = InputCounters::default();
        for _ in 0..3 {
            counters.of(Input::Ndjson).accept();
        }
        counters.of(Input::Http).accept();
        counters.of(Input::Ndjson).ack(1);
        counters.of(Input::Http).refuse(Code::Rejected);
        let all = counters.snapshot();
        assert_eq!((all.accepted, all.acked, all.refused(Code::Rejected)), (4, 1, 1));
        let in_flight = Input::ALL.map(|input| counters.of(input).snapshot().in_flight());
        assert_eq!((in_flight, all.in_flight()), ([2, 0, 0], 2));
    }

    #[test]
    fn the_transactions_of_all_inputs_add_up() {
        let counters = InputCounters::default();
        for input in [Input::Ndjson, Input::Http] {
            let counters = counters.of(input);
            for _ in 0..3 {
                counters.begin();
                counters.stage();
                counters.stage();
            }
            counters.end(TransactionEnd::RolledBack, 2);
        }
        let all = counters.snapshot();
        assert_eq!((all.transactions_open, all.transactions_ended), (4, [0, 2, 0, 0]));
        assert_eq!((all.staged, all.rolled_back, all.in_flight()), (8, 4, 0));
    }
}
