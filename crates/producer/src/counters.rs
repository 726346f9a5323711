//! The event counters: accepted = acked + refused + in flight, at every moment. Only atomics, and
//! nothing here decides what is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use dispatchd_core::model::{Code, EventAnswer};

/// What became of every event that was accepted, as numbers. One for the daemon.
#[derive(Debug, Default)]
pub struct EventCounters {
    accepted: AtomicU64,
    acked: AtomicU64,
    refused: [AtomicU64; Code::ALL.len()],
}

/// One consistent reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    pub accepted: u64,
    pub acked: u64,
    /// By code, in the order of `Code::ALL`.
    pub refused: [u64; Code::ALL.len()],
}

impl EventCounters {
    /// Reads what was answered first and what was accepted last, so that the difference, what is in
    /// flight, is never negative.
    pub fn snapshot(&self) -> Snapshot {
        let acked = self.acked.load(Ordering::Acquire);
        let refused = std::array::from_fn(|i| self.refused[i].load(Ordering::Acquire));
        Snapshot { accepted: self.accepted.load(Ordering::Acquire), acked, refused }
    }

    pub(crate) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Release);
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
    /// Events that were accepted and are not answered yet.
    pub fn in_flight(&self) -> u64 {
        self.accepted - self.acked - self.refused.iter().sum::<u64>()
    }

    /// Events answered with `code`.
    pub fn refused(&self, code: Code) -> u64 {
        self.refused[code as usize]
    }
}
