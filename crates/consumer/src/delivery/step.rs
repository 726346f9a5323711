//! What goes into the delivery of a shard, and what it asks for. Only data.

use std::time::{Duration, Instant, SystemTime};

use super::{Batch, Checkpoint, DeadLetters, Delivered, FailureKind, Place};

/// The time by both clocks: waits are measured by one, the age of records by the other.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub time: SystemTime,
}

/// A record that was read.
#[derive(Debug)]
pub enum Read {
    Wanted(Delivered),
    /// The target does not want it: it is done at once.
    Skipped(Place),
}

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    Send(Batch),
    /// Keep these before they count as done.
    KeepLetters(DeadLetters),
    Persist(Checkpoint),
    /// Nothing until then, or until something is put in: a page, a response, an end.
    Wait(Option<Instant>),
    End(End),
}

/// Why nothing more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The shard was read and delivered to its end, and that is persisted.
    ShardRead,
    /// It was told to stop, nothing is under way, and what was done is persisted.
    Stopped,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Records that are done now.
    pub delivered: usize,
    pub follows: Follows,
}

/// What follows for the records of a batch that are not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// There are none.
    Nothing,
    /// They are sent again after this wait.
    Retry(Duration),
    /// They are sent again in halves, after this wait.
    Halves(Duration),
    /// Some or all of them are given up.
    GivenUp,
}

/// How a shard stands with its target, for an operator who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Delivering,
    /// The last batch of a strand was not done: this is why.
    Retrying(FailureKind),
    /// The same, and only an operator can end it, or time.
    Blocked(FailureKind),
}

/// What is held of a shard for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Records that were read and are not done, and those behind them.
    pub records: usize,
    /// Bytes of those that are not done.
    pub bytes: usize,
    /// When the first that is not done arrived.
    pub oldest: Option<SystemTime>,
}
