//! What is read of a stream: positions in a shard, pages, records and their events, and the shards
//! themselves. Only data.

use std::time::SystemTime;

use dispatchd_core::wire::packed;

/// Where to begin in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    Latest,
    TrimHorizon,
    /// After the record with this sequence number.
    After(String),
    /// At the first record that arrived then or later, by the service's clock.
    At(SystemTime),
}

/// A record as read from the stream: one event, or an aggregate of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub sequence_number: String,
    /// Nothing where it was written without one: a stream that distributes records itself takes
    /// such.
    pub partition_key: Option<String>,
    pub data: Vec<u8>,
    /// By the service's clock.
    pub arrived: Option<SystemTime>,
}

/// One event of a record that was read, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    pub sequence_number: &'a str,
    /// The member's index in the aggregate, as the KCL numbers it.
    pub sub_sequence_number: Option<usize>,
    pub partition_key: Option<&'a str>,
    pub data: &'a [u8],
}

/// A place in a shard, as the service names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub iterator: String,
    /// When it was given out, by the service's clock, if that was ever told. Not later than that;
    /// earlier by less than a second, the unit of that clock, and what the call took.
    pub given: Option<SystemTime>,
}

/// The answer to one GetRecords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Read>,
    /// Nothing when the shard is closed and read to its end.
    pub next_iterator: Option<String>,
    pub millis_behind_latest: i64,
}

/// A shard as a consumer sees it, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    pub id: String,
    /// None, the shard it was split from, or the two it was merged from. They may be gone already.
    pub parents: Vec<String>,
    pub open: bool,
}

impl Read {
    /// Bytes that it takes, and that its aggregate's events take: they are taken apart where they
    /// lie.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.sequence_number.len()
            + self.partition_key.as_ref().map_or(0, String::len)
            + self.data.len()
    }

    /// Its events: an aggregate is taken apart, whatever wrote it.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let whole = Event {
            sequence_number: &self.sequence_number,
            sub_sequence_number: None,
            partition_key: self.partition_key.as_deref(),
            data: &self.data,
        };
        let members = packed::decode(&self.data);
        let alone = members.is_none().then_some(whole);
        let members = members.into_iter().flatten().enumerate().map(move |(index, member)| Event {
            sub_sequence_number: Some(index),
            partition_key: Some(member.partition_key),
            data: member.data,
            ..whole
        });
        alone.into_iter().chain(members)
    }
}
