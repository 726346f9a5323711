//! What really happened: every record that the upstream stored through the proxy, and the facts of
//! every PutRecords.
//!
//! Booked before the client hears of it, so whoever holds an ack finds its record here. It never
//! holds what the upstream refused. One PutRecord alone passes the proxy unbooked: dispatchd does
//! not use it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// A record the upstream stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Booked {
    /// Place among all bookings. Two requests at the same time may be booked in another order than
    /// they were stored in: within a shard the sequence number tells the stream's order.
    pub arrival: usize,
    /// The PutRecords that brought it, and its place in there.
    pub request: u64,
    pub place: usize,
    pub stream: String,
    pub partition_key: String,
    pub explicit_hash_key: Option<String>,
    pub shard: String,
    pub sequence: String,
    pub data: Bytes,
}

/// One PutRecords.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestFact {
    /// 1-based, in order of arrival.
    pub number: u64,
    pub stream: String,
    /// The partition keys in the request's order.
    pub keys: Vec<String>,
    /// Data and partition keys.
    pub bytes: usize,
    pub done: Done,
    /// Records the upstream took.
    pub stored: usize,
    /// Records answered with an error, by the proxy or by the upstream.
    pub failed: usize,
    /// Since the server's start.
    pub at: Duration,
    /// When it was answered, or its client left; none while it is in flight.
    pub ended: Option<Duration>,
}

/// What the proxy did to a request. Failed records are told by [`RequestFact::failed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Passed,
    Refused { status: u16, code: Option<String> },
    ClosedBefore,
    HungBefore,
    HungAfter,
    Cut,
    Short,
    Said,
}

/// A handle to the books; clones see the same.
///
/// The lock guards the books for the length of one entry or one copy, never across an await. Not a
/// channel: tests ask at any time, from any task.
#[derive(Clone)]
pub struct Ledger {
    books: Arc<Mutex<Books>>,
    started: Instant,
}

#[derive(Default)]
struct Books {
    records: Vec<Booked>,
    requests: Vec<RequestFact>,
    calls: HashMap<String, usize>,
    in_flight: usize,
    in_flight_max: usize,
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger { books: Arc::default(), started: Instant::now() }
    }

    pub fn records(&self) -> Vec<Booked> {
        self.books().records.clone()
    }

    /// How many [`Ledger::records`] are.
    pub fn records_count(&self) -> usize {
        self.books().records.len()
    }

    pub fn requests(&self) -> Vec<RequestFact> {
        self.books().requests.clone()
    }

    /// PutRecords that have arrived and are neither answered nor left.
    pub fn in_flight(&self) -> usize {
        self.books().in_flight
    }

    /// The most that [`Ledger::in_flight`] has ever been.
    pub fn in_flight_max(&self) -> usize {
        self.books().in_flight_max
    }

    /// How often an operation was asked for, by name. The proxy's own questions to the upstream do
    /// not count.
    pub fn calls(&self, operation: &str) -> usize {
        self.books().calls.get(operation).copied().unwrap_or(0)
    }

    pub(super) fn call(&self, operation: &str) {
        *self.books().calls.entry(operation.to_owned()).or_default() += 1;
    }

    /// The ledger's time: since the server's start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Books an arrival; the flight ends when what is returned is dropped.
    pub(super) fn arrive(&self, fact: RequestFact) -> Flight {
        let mut books = self.books();
        let number = fact.number;
        books.requests.push(fact);
        books.in_flight += 1;
        books.in_flight_max = books.in_flight_max.max(books.in_flight);
        Flight { number, ledger: self.clone() }
    }

    /// Books what the upstream stored of request `number`, and how many of its records failed.
    pub(super) fn store(&self, number: u64, records: impl Iterator<Item = Booked>, failed: usize) {
        let mut books = self.books();
        let before = books.records.len();
        for record in records {
            let arrival = books.records.len();
            books.records.push(Booked { arrival, ..record });
        }
        let stored = books.records.len() - before;
        let fact = books.fact(number);
        fact.stored += stored;
        fact.failed += failed;
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no holder of this lock panics")
    }
}

impl Books {
    fn fact(&mut self, number: u64) -> &mut RequestFact {
        let place = usize::try_from(number - 1).expect("numbers count what is in memory");
        &mut self.requests[place]
    }
}

/// A request in flight. Dropped when it is answered or its client left: the flight has ended either
/// way.
pub(super) struct Flight {
    pub number: u64,
    ledger: Ledger,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let ended = self.ledger.started.elapsed();
        let mut books = self.ledger.books();
        books.in_flight -= 1;
        books.fact(self.number).ended = Some(ended);
    }
}
