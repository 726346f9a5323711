//! What is read of a stream: its shards as they are listed, where to begin in a shard, and the
//! pages of records that come back. Only data.

use std::time::SystemTime;

/// A shard as ListShards tells of it, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedShard {
    pub id: String,
    /// The shards whose ranges it took over: none, the one it was split from, or the two it was
    /// merged from. The stream may have forgotten them already.
    pub parents: Vec<String>,
    pub open: bool,
}

/// Where to begin reading in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartingPosition {
    Latest,
    TrimHorizon,
    /// Begin after the record with this sequence number.
    After(String),
    /// Begin at the record with this sequence number: a packed record is read again from its
    /// beginning.
    AtRecord(String),
    /// Begin at the first record that arrived then or later, by the service's clock.
    At(SystemTime),
}

/// A place in a shard, as the service names it. It expires after five minutes without use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator {
    pub token: String,
    /// When it was issued, by the service's clock: not later than that, and earlier by less than
    /// what the call took and one second, the unit of that clock. `None` if the service has not
    /// told the time.
    pub issued: Option<SystemTime>,
}

/// The reply to one GetRecords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<StoredRecord>,
    /// The token for the next page; `None` if the shard is closed and read to its end.
    pub next_iterator: Option<String>,
    pub millis_behind_latest: i64,
}

/// A record as it was read from the stream: one event, or several that were packed into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    pub sequence_number: String,
    /// `None` if it was written without one, which streams take that distribute records themselves.
    pub partition_key: Option<String>,
    pub data: Vec<u8>,
    /// When it arrived, by the service's clock; `None` if the service does not say.
    pub arrived: Option<SystemTime>,
}

impl StoredRecord {
    /// Bytes that it takes in memory. The events packed into it take no more: they are read where
    /// they lie.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.sequence_number.len()
            + self.partition_key.as_ref().map_or(0, String::len)
            + self.data.len()
    }
}
