//! A record: the bytes of one event as they go to Kinesis. Once sealed, no byte of it changes.

use bytes::Bytes;

use super::{HashKey, PartitionKey};

/// The sealed bytes of one event with the key that places them.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: PartitionKey,
    /// The MD5 of `key`, computed once, when the record is made. It names the key's queue and lane.
    pub key_hash: u128,
    /// The caller's own place on the hash ring: it decides the shard in place of `key_hash`, and
    /// never the order. `None` where the key decides both.
    pub explicit_hash: Option<HashKey>,
    /// The envelope, as it will be read from the stream.
    pub data: Bytes,
}

impl Record {
    pub fn new(key: PartitionKey, explicit_hash: Option<HashKey>, data: Bytes) -> Self {
        Self { key_hash: key.hash(), key, explicit_hash, data }
    }

    /// The bytes that count against every limit of the service: data and partition key.
    pub fn size(&self) -> usize {
        self.data.len() + self.key.as_str().len()
    }

    /// Where on the hash ring Kinesis will put this record.
    pub fn ring_position(&self) -> u128 {
        self.explicit_hash.map_or(self.key_hash, |hash| hash.0)
    }
}
