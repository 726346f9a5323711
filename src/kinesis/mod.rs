//! The stream service in our words. No SDK type leaves this folder.
//!
//! One verdict per record: no type here can say that a request succeeded when a record in it did not.
//! What an error means is decided in one table, `fault`; where a record goes, in `shards`.

pub mod aggregate;
pub mod aws;
pub mod fault;
pub mod refresher;
pub mod shards;

use std::future::Future;
use std::sync::Arc;

pub use shards::ShardMap;

use crate::event::{Class, Record};

/// Kinesis' word on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Stored { shard_id: String, sequence_number: String },
    Failed { class: Class, code: String, message: String },
}

/// Kinesis' word, or silence, on a whole request: no record in it was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PutError {
    pub class: Class,
    pub code: String,
    pub message: String,
    /// Whether the records may have been stored all the same: the reply was lost, not the request.
    pub maybe_stored: bool,
}

/// The one call of the event's path.
pub trait PutRecords: Send + Sync + 'static {
    /// Sends one request. The reply has one verdict per record, in order; implementations turn a reply of
    /// another length into an error.
    ///
    /// Never retries, and returns within the attempt timeout.
    fn put(&self, records: &[Record]) -> impl Future<Output = Result<Vec<Verdict>, PutError>> + Send;
}

/// What is known of the stream besides its records. Published by the refresher, never cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Nothing until the shards were listed once, or for good where that is not permitted.
    pub shards: Option<Arc<ShardMap>>,
    /// The largest record (data and partition key) that the stream takes.
    pub record_bytes_max: usize,
}
