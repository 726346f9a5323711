//! The stream service as the lanes see it: the one call of the event's path, the verdict on each
//! record of it, and what is known of the stream besides its records.
//!
//! One verdict per entry: no type here can say that a request succeeded when a record in it did
//! not. No SDK type is named here; the crate `dispatchd-aws` implements the call.

use std::future::Future;
use std::sync::Arc;

use super::{Cause, Class, Record, ShardMap};

/// What goes into one PutRecords: entries in their order, each a record of the stream. It holds one
/// event, or several as a packed record.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    records: Vec<&'a Record>,
    /// Where in `records` each entry ends.
    ends: &'a [usize],
}

/// Kinesis' word on one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Stored {
        shard_id: Arc<str>,
        sequence_number: Arc<str>,
    },
    Failed {
        class: Class,
        code: String,
        message: String,
    },
    /// Neither a place nor an error: the record may be stored all the same.
    Unclear,
}

/// Kinesis' word, or silence, on a whole request: no record in it was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PutError {
    pub class: Class,
    /// What failed, in words for whoever has to act.
    pub cause: Cause,
    pub code: String,
    pub message: String,
    /// Whether the records may have been stored all the same: the reply was lost, not the request.
    pub maybe_stored: bool,
}

impl<'a> Entries<'a> {
    /// Entries that end at these indexes of `records`.
    ///
    /// # Panics
    /// If an entry is empty, or they are not all of `records`.
    pub fn new(records: Vec<&'a Record>, ends: &'a [usize]) -> Self {
        assert!(
            ends.is_sorted_by(|a, b| a < b) && ends.first() != Some(&0),
            "every entry holds an event"
        );
        assert_eq!(ends.last().copied().unwrap_or(0), records.len(), "every event is in an entry");
        Self { records, ends }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The events of each entry; never none.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[&'a Record]> {
        self.ends.iter().enumerate().map(|(index, &end)| {
            let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.records[begin..end]
        })
    }
}

/// The one call of the event's path.
pub trait PutRecords: Send + Sync + 'static {
    /// Sends one request. The reply has one verdict per entry, in order; implementations turn a
    /// reply of another length into an error.
    ///
    /// Never retries, and returns within the attempt timeout.
    fn put(
        &self,
        entries: Entries<'_>,
    ) -> impl Future<Output = Result<Vec<Verdict>, PutError>> + Send;
}

/// What is known of the stream besides its records. Published by the refresher, never cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// The open shards; `None` until they were listed once, or for good where that is not
    /// permitted.
    pub shards: Option<Arc<ShardMap>>,
    /// The largest record (data and partition key) that the stream takes, as it says or as it is
    /// configured. `None` while nobody has said it: then no event is refused for it, and Kinesis'
    /// own word on the record is the fact.
    pub record_limit: Option<usize>,
    pub distribution: Distribution,
}

/// What decides which shard a record goes to: the stream's `RecordDistributionStrategy`, which can
/// be switched at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// The stream was not asked yet: it is taken as by key, but for what does harm where it is not,
    /// which is aggregation.
    NotAsked,
    /// The partition key (`USER_PARTITION_KEY`): so the stream says, or has no say in it, or may
    /// not be asked.
    ByKey,
    /// The service, whatever the key (`AUTO`).
    Auto,
}

impl StreamFacts {
    /// The facts before anything was asked; `record_limit` where it is configured.
    pub fn unknown(record_limit: Option<usize>) -> Self {
        Self { shards: None, record_limit, distribution: Distribution::NotAsked }
    }
}
