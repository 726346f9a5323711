//! Lanes: the owners of keys, from acceptance to verdict.
//!
//! Invariants:
//! - A key lives in one lane for ever, chosen by the top bits of MD5(partition key). Resharding
//!   never moves a key between lanes.
//! - A key is ready, in flight or cooling; only ready keys are sent, so nothing overtakes a retry.
//! - `strict` order: one record per key in a request, one request per key in flight. `relaxed`:
//!   many records of a key in a request, still one request per key in flight.
//! - Events of one aggregate are stored or not together, in their order: so it may hold many of a
//!   key, strictly too.
//! - An item leaves by a verdict, by `delivery.timeout` or by the drain's deadline. It is never
//!   dropped, and never sent once it is overdue.
//!
//! `buffer` holds, `fill` chooses, `queue` is a key's events, `line` a shard's ready keys, `pace`
//! says how fast a throttled shard is sent to, `batch` is what goes into one request and what
//! shares a record there, `settle` turns verdicts into outcomes and retries, `doubt` says whether a
//! refusal is the stream's, `dedupe` knows the ids that callers chose and `remembered` keeps them,
//! `report` is what an operator who asks is told, `slack` says when memory is given back; all are
//! pure. The shell with the clock and the service is the daemon's.

pub mod ages;
pub mod batch;
pub mod buffer;
pub mod dedupe;
mod doubt;
mod fill;
#[cfg(test)]
mod kit;
mod line;
mod pace;
mod queue;
mod remembered;
pub mod report;
pub mod settle;
pub mod slack;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::batch::Company;
use crate::ack::Ticket;
use crate::settings::{Aggregation, KeyOrder};
use dispatchd_core::limits::{KIB, MIB, REQUEST_RECORDS_MAX};
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{Cause, Record};

/// How a lane decides; the part of the configuration that concerns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long the oldest ready event waits for company.
    pub linger: Duration,
    /// Records in a request, at most 500.
    pub max_records: usize,
    /// Bytes that a request aims at; a record that is larger goes alone.
    pub max_bytes: usize,
    /// Requests at once, and `max_in_flight * max_bytes` bytes of them: a larger record waits for
    /// room.
    pub max_in_flight: usize,
    /// What is promised of two events of one key.
    pub ordering: KeyOrder,
    /// Which events travel as one record.
    pub aggregation: Aggregation,
    /// Of a shard's events.
    pub aggregate_max_bytes: usize,
    /// From acceptance to a refusal.
    pub timeout: Duration,
    pub backoff: Backoff,
}

/// One event on its way: record and ticket, and what has been tried.
#[derive(Debug)]
pub struct Item {
    pub record: Record,
    pub ticket: Ticket,
    pub accepted: Instant,
    /// Attempts that failed.
    pub failures: u32,
    /// Of the last one.
    pub cause: Option<Cause>,
    /// Whether one of them may have stored the record all the same.
    pub maybe_stored: bool,
    pub company: Company,
}

impl Default for Rules {
    /// As a daemon decides that is told nothing (`docs/configuration.md`).
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(10),
            max_records: REQUEST_RECORDS_MAX,
            max_bytes: MIB,
            max_in_flight: 16,
            ordering: KeyOrder::Strict,
            aggregation: Aggregation::Off,
            aggregate_max_bytes: 50 * KIB,
            timeout: Duration::from_secs(120),
            backoff: Backoff { min: Duration::from_millis(50), max: Duration::from_secs(5) },
        }
    }
}

impl Rules {
    /// Whether an item has waited for `delivery.timeout`.
    fn is_overdue(&self, item: &Item, now: Instant) -> bool {
        now.saturating_duration_since(item.accepted) >= self.timeout
    }

    /// Whether a request holds no more than one event of a key.
    fn sends_one_of_a_key(&self) -> bool {
        self.ordering == KeyOrder::Strict && self.aggregation == Aggregation::Off
    }
}

impl Item {
    pub fn new(record: Record, ticket: Ticket, accepted: Instant) -> BoxedItem {
        Box::new(Self {
            record,
            ticket,
            accepted,
            failures: 0,
            cause: None,
            maybe_stored: false,
            company: Company::Any,
        })
    }
}

/// An item by its address: it passes through many hands, and only the address moves.
pub type BoxedItem = Box<Item>;

/// What a reader hands over at once: the events of one read, in their order.
pub type Group = Vec<BoxedItem>;

/// The inboxes of all lanes.
#[derive(Debug, Clone)]
pub struct Lanes(Arc<[mpsc::Sender<Group>]>);

/// One reader's way into the lanes. Items travel in groups: one wake-up for many.
#[derive(Debug)]
pub struct Inlet {
    lanes: Lanes,
    /// What the next `flush` hands over, by lane.
    groups: Vec<Group>,
}

impl Lanes {
    /// # Panics
    /// Without a lane.
    pub fn new(inboxes: Vec<mpsc::Sender<Group>>) -> Self {
        assert!(!inboxes.is_empty(), "a daemon has at least one lane");
        Self(inboxes.into())
    }

    pub fn inlet(&self) -> Inlet {
        Inlet { lanes: self.clone(), groups: self.0.iter().map(|_| Vec::new()).collect() }
    }
}

impl Inlet {
    /// Puts an item into the group of the lane that owns its key.
    pub fn add(&mut self, item: BoxedItem) {
        let lane = lane_of(item.record.key_hash, self.groups.len());
        self.groups[lane].push(item);
    }

    /// Hands every group over. Waits for room in a lane's inbox: a lane waits for nobody, so it
    /// comes.
    pub async fn flush(&mut self) {
        for (lane, group) in self.lanes.0.iter().zip(&mut self.groups) {
            if !group.is_empty() {
                // A lane that is gone crashed: the items answer for themselves as they are dropped.
                let _ = lane.send(std::mem::take(group)).await;
            }
        }
    }
}

/// The lane of a key: a slice of the hash ring, by the top 32 bits.
fn lane_of(key_hash: u128, lanes: usize) -> usize {
    let top = (key_hash >> 96) as usize; // 32 bits fit
    (top * lanes) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_equal_slices_of_the_ring() {
        assert_eq!(lane_of(u128::MAX, 1), 0);
        for (position, lane) in [
            (0, 0),
            (u128::MAX / 4, 0),
            (u128::MAX / 4 + (1 << 97), 1),
            (u128::MAX / 2 + 1, 2),
            (u128::MAX, 3),
        ] {
            assert_eq!(lane_of(position, 4), lane, "{position:x}");
        }
    }
}
