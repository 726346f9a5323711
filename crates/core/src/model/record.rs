//! A record: the bytes of one event as they go to Kinesis. Once sealed, no byte of it changes.

use bytes::Bytes;

use super::{HashKey, PartitionKey};

/// The sealed bytes of one event with the key that places them.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: PartitionKey,
    /// The MD5 of `key`, computed once, when the record is made. It names the key's queue and lane.
    pub key_hash: u128,
    /// Where on the hash ring Kinesis will put this record. It decides the shard, and never the
    /// order.
    pub ring_position: u128,
    /// Whether the caller chose that position; else it is `key_hash`. An `Option` of a choice would
    /// take 16 bytes more.
    pub is_position_chosen: bool,
    /// The envelope, as it will be read from the stream.
    pub data: Bytes,
}

impl Record {
    /// `explicit_hash`: the position that the caller chose; `None` where the key decides.
    pub fn new(key: PartitionKey, explicit_hash: Option<HashKey>, data: Bytes) -> Self {
        let key_hash = key.hash();
        let ring_position = explicit_hash.map_or(key_hash, |hash| hash.0);
        Self { key, key_hash, ring_position, is_position_chosen: explicit_hash.is_some(), data }
    }

    /// The position that the caller chose; `None` where the key decides.
    pub fn explicit_hash(&self) -> Option<HashKey> {
        self.is_position_chosen.then_some(HashKey(self.ring_position))
    }

    /// The bytes that count against every limit of the service: data and partition key.
    pub fn size(&self) -> usize {
        self.data.len() + self.key.as_str().len()
    }
}
