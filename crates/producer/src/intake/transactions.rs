//! The open transactions of one connection: events that are staged until a commit.
//!
//! A transaction ends once: by its commit or rollback, when its time is over, or with its
//! connection. Its name is free then. Nothing here reads a clock or answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::staged::Staged;
use crate::budget::ConnectionBudget;
use crate::counters::TransactionEnd;
use crate::ticket::Outbox;
use dispatchd_core::model::{Code, Refusal};

/// Transactions that are open at once on one connection.
const CONNECTION_TRANSACTIONS_MAX: usize = 64;

/// What the configuration says of transactions: the section `transaction`, whose fields are named
/// as its keys are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionSettings {
    /// How long a transaction may last until its commit: it is rolled back then.
    pub timeout: Duration,
    /// How many events a transaction may hold.
    pub max_events: usize,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), max_events: 10_000 }
    }
}

/// The open transactions of one connection.
#[derive(Debug)]
pub(super) struct Transactions {
    settings: TransactionSettings,
    outbox: Arc<Outbox>,
    budget: Arc<ConnectionBudget>,
    open: HashMap<Box<str>, Transaction>,
    /// The bytes that all of them hold.
    bytes: usize,
}

#[derive(Debug)]
struct Transaction {
    staged: Staged,
    bytes: usize,
    /// The bytes of the results alone.
    result_bytes: usize,
    /// When its time is over.
    ends: Instant,
}

impl Transactions {
    pub(super) fn new(
        settings: TransactionSettings,
        outbox: &Arc<Outbox>,
        budget: &Arc<ConnectionBudget>,
    ) -> Self {
        let (outbox, budget) = (Arc::clone(outbox), Arc::clone(budget));
        Self { settings, outbox, budget, open: HashMap::new(), bytes: 0 }
    }

    /// Opens one more.
    pub(super) fn begin(&mut self, name: &str, now: Instant) -> Result<(), Refusal> {
        if self.open.contains_key(name) {
            const OPEN: &str = "tx is the name of a transaction that is open on this connection";
            return Err(Refusal::new(Code::InvalidRequest, OPEN));
        }
        if self.open.len() >= CONNECTION_TRANSACTIONS_MAX {
            let max = CONNECTION_TRANSACTIONS_MAX;
            let why = format!("{max} transactions are open on this connection, it takes no more");
            return Err(Refusal::new(Code::TransactionTooLarge, why));
        }
        let staged = Staged::new(&self.outbox);
        let ends = now + self.settings.timeout;
        let transaction = Transaction { staged, bytes: 0, result_bytes: 0, ends };
        self.open.insert(name.into(), transaction);
        self.outbox.counters().begin();
        Ok(())
    }

    /// Whether an event of so many bytes may be staged in it.
    pub(super) fn may_stage(&self, name: &str, bytes: usize) -> Result<(), Refusal> {
        let Some(transaction) = self.open.get(name) else { return Err(self.ended()) };
        let events_max = self.settings.max_events;
        if transaction.staged.len() >= events_max {
            return Err(too_large(format!(
                "the transaction has {events_max} events, the most that it takes: \
                 transaction.max_events"
            )));
        }
        let bytes_max = self.budget.share_bytes() / 2;
        if self.bytes + bytes > bytes_max {
            return Err(too_large(format!(
                "the open transactions of this connection hold {} bytes and may hold {bytes_max}, \
                 a quarter of memory.budget: this event takes {bytes}",
                self.bytes
            )));
        }
        Ok(())
    }

    /// Takes note of so many bytes for one of them, some of them its result's; gives the place for
    /// the event. `None` where the transactions of all connections hold what they may.
    pub(super) fn place(
        &mut self,
        name: &str,
        bytes: usize,
        result_bytes: usize,
    ) -> Option<&mut Staged> {
        let transaction = self.open.get_mut(name)?;
        if !self.budget.try_stage(bytes) {
            return None;
        }
        transaction.bytes += bytes;
        transaction.result_bytes += result_bytes;
        self.bytes += bytes;
        self.outbox.counters().stage();
        Some(&mut transaction.staged)
    }

    /// What the results of one take until they are written; `None` if it is not open.
    pub(super) fn result_bytes(&self, name: &str) -> Option<usize> {
        self.open.get(name).map(|transaction| transaction.result_bytes)
    }

    /// Ends one.
    pub(super) fn end(&mut self, name: &str, how: TransactionEnd) -> Result<Staged, Refusal> {
        let Some(Transaction { staged, bytes, .. }) = self.open.remove(name) else {
            return Err(self.ended());
        };
        self.bytes -= bytes;
        self.budget.unstage(bytes);
        self.outbox.counters().end(how, staged.len());
        Ok(staged)
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_end().is_none_or(|end| now < end) {
            return;
        }
        let is_over = |transaction: &Transaction| transaction.ends <= now;
        let over = self.open.iter().filter(|(_, transaction)| is_over(transaction));
        let over: Vec<_> = over.map(|(name, _)| name.clone()).collect();
        for name in over {
            drop(self.end(&name, TransactionEnd::TimedOut));
        }
    }

    /// When the time of one is over next.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.open.values().map(|transaction| transaction.ends).min()
    }

    #[cold]
    pub(super) fn ended(&self) -> Refusal {
        let seconds = self.settings.timeout.as_secs_f64();
        let why = format!(
            "no transaction of this name is open on this connection: it was not begun here, or \
             was committed or rolled back, or was open for {seconds} s (transaction.timeout). \
             Nothing is stored of one that was not committed: begin again, with the same ids"
        );
        Refusal::new(Code::TransactionEnded, why)
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        let names: Vec<_> = self.open.keys().cloned().collect();
        for name in names {
            drop(self.end(&name, TransactionEnd::Cut));
        }
    }
}

#[cold]
fn too_large(why: String) -> Refusal {
    Refusal::new(Code::TransactionTooLarge, why)
}
