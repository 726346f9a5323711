//! A record: what goes to Kinesis, sealed. Nothing below the door changes a byte of it.

use bytes::Bytes;

use super::{HashKey, PartitionKey};

/// The sealed bytes of one event with the key that places them.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: PartitionKey,
    /// MD5 of `key`, computed once at the door. It names the key's queue and lane.
    pub key_hash: u128,
    /// The caller's own place on the ring; overrides `key_hash` for placement, never for order.
    pub explicit_hash: Option<HashKey>,
    /// The envelope, as it will be read from the stream.
    pub data: Bytes,
}

impl Record {
    pub fn new(key: PartitionKey, explicit_hash: Option<HashKey>, data: Bytes) -> Self {
        Self { key_hash: key.hash(), key, explicit_hash, data }
    }

    /// Bytes that count against every limit of the service: data and partition key.
    pub fn size(&self) -> usize {
        self.data.len() + self.key.as_str().len()
    }

    /// Where on the hash ring Kinesis will put this record.
    pub fn ring_position(&self) -> u128 {
        self.explicit_hash.map_or(self.key_hash, |hash| hash.0)
    }
}
