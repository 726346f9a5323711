//! How far a shard is done for a target.

use std::time::SystemTime;

use dispatchd_core::model::read::StartingPosition;

use super::Place;
use crate::plan::Resume;

/// What a subscription remembers of a shard. Places of one shard only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// Nothing was done yet, and what arrived from this time on is wanted. It is kept for a shard
    /// that is read from `LATEST`, so that a restart before its first record skips nothing.
    From(SystemTime),
    /// The record at this place is done, and all before it.
    After(Place),
    /// The shard was read to its end, and all of it is done.
    End,
}

impl Checkpoint {
    /// Where reading the shard goes on. Inside a packed record that record is read again: its
    /// events that are done are passed over.
    pub fn resume(&self) -> Resume {
        match self {
            Self::From(time) => Resume::From(StartingPosition::At(*time)),
            Self::After(Place { sequence_number, sub_sequence_number: None }) => {
                Resume::From(StartingPosition::After(sequence_number.clone()))
            }
            Self::After(Place { sequence_number, sub_sequence_number: Some(_) }) => {
                Resume::From(StartingPosition::AtRecord(sequence_number.clone()))
            }
            Self::End => Resume::Ended,
        }
    }
}
