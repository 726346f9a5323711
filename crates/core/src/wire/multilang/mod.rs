//! The MultiLangDaemon protocol of the Kinesis Client Library (KCL): one JSON object a line, to a
//! record processor in a process of its own and back. Pure.
//!
//! - `to_child`: what is written. Every member is always there, `null` where there is nothing to
//!   say, and every object has an `action`: `amazon_kclpy` dies of a member that is left out.
//! - `from_child`: what is read, as the KCL reads it. A line that is no message is skipped:
//!   children print what they like beside the protocol.
//!
//! It never decides what follows a message: that is `dispatchd_consumer::dialogue`.

mod from_child;
mod to_child;

use std::fmt;

pub use from_child::{Asked, Message, Skipped, read};
pub use to_child::{Record, RecordsMessage, checkpoint_answer, initialize, plain};

/// Bytes of a line from a child. Its messages have some 200; what is longer is what it prints.
pub const LINE_BYTES_MAX: usize = 64 * crate::limits::KIB;

/// What a child is told to do; it says when it has done it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Initialize,
    ProcessRecords,
    /// The worker is about to stop: the last checkpoint may be set.
    ShutdownRequested,
    /// The shard is another's from now on: nothing may be set.
    LeaseLost,
    /// Everything in the shard was delivered, and there will be no more: the child sets its end.
    ShardEnded,
}

impl Action {
    pub const ALL: [Self; 5] = [
        Self::Initialize,
        Self::ProcessRecords,
        Self::ShutdownRequested,
        Self::LeaseLost,
        Self::ShardEnded,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::ProcessRecords => "processRecords",
            Self::ShutdownRequested => "shutdownRequested",
            Self::LeaseLost => "leaseLost",
            Self::ShardEnded => "shardEnded",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a checkpoint is not set. The names are those of the KCL's exceptions, which processors
/// compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The shard is another's: stop.
    Shutdown,
    /// The store has no room now: try again later.
    Throttling,
    /// The checkpoint may not be set now, or there is nowhere to set it.
    InvalidState,
    /// The store failed: try again.
    Dependency,
    /// The number is before the last checkpoint, behind what was delivered, or no sequence number.
    IllegalArgument,
}

impl Refusal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "ShutdownException",
            Self::Throttling => "ThrottlingException",
            Self::InvalidState => "InvalidStateException",
            Self::Dependency => "KinesisClientLibDependencyException",
            Self::IllegalArgument => "IllegalArgumentException",
        }
    }
}

#[cfg(test)]
mod tests;
