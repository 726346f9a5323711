//! Reading a stream to its live end, every shard of it, through reshards.
//!
//! - A shard is read by one reader, from one place, once; never before its parents are read to
//!   their end. So the records of one key come in the order in which they were stored, across
//!   splits and merges too.
//! - No record comes twice and none is left out, also when calls fail or an iterator expires. A
//!   tail keeps nothing between two runs; that is for a consumer with checkpoints.
//!
//! `plan` decides which shards to read now (pure). `cursor` knows where in a shard (pure). `reader`
//! is one shard's loop. `pages` bounds what all readers hold. `trouble` says when calls fail
//! (pure). `task` owns them all and finds new shards.

mod cursor;
mod pages;
pub mod plan;
mod reader;
mod task;
mod trouble;

use std::sync::Arc;

pub use pages::Held;
pub use plan::From;
pub use reader::CALLS_APART;
pub use task::{Options, run};

use crate::kinesis::error::CallError;
use crate::kinesis::read::Read;
use dispatchd_core::model::{Class, Reason};

/// Records of one shard, in their order. Never empty.
#[derive(Debug)]
pub struct Chunk {
    pub shard: Arc<str>,
    pub records: Vec<Read>,
    /// What they take of the bytes that all shards may hold, until this is dropped.
    pub held: Held,
}

/// The stream cannot be read, and waiting will not help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call}: {}", advice(.call.class))]
pub struct ReadError {
    pub call: CallError,
}

/// What whoever reads does about it.
fn advice(class: Class) -> &'static str {
    match class {
        Class::Blocked(Reason::AccessDenied) => {
            "allow kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords on the stream to this identity"
        }
        Class::Blocked(Reason::Credentials) => {
            "give valid credentials (environment, profile, IRSA, Pod Identity or instance role) and check the clock"
        }
        Class::Blocked(Reason::StreamNotFound) => {
            "check the stream's name, the region and the endpoint"
        }
        Class::Blocked(Reason::Kms) => {
            "enable the stream's KMS key and allow kms:Decrypt on it to this identity"
        }
        Class::Poison | Class::Blocked(Reason::RequestRefused) => {
            "the service will not take this call, however often it is made"
        }
        Class::Throttled | Class::Transient => "it may pass",
    }
}
