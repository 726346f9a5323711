//! Records that go in one request. Only data.

use std::sync::Arc;

use super::Delivered;

/// Names what was handed out, until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchId {
    pub(super) strand: usize,
    pub(super) serial: u64,
}

impl BatchId {
    /// Which strand of its shard it is of.
    pub fn strand(self) -> usize {
        self.strand
    }
}

/// Records that go to the target in one request, in the order of the shard. Never empty.
#[derive(Debug, Clone)]
pub struct Batch {
    /// To be handed back to [`ShardDelivery::responded`](super::ShardDelivery::responded).
    pub id: BatchId,
    pub records: Vec<Arc<Delivered>>,
    /// Which delivery of these records this is, counted from 1; what does not count as an attempt
    /// does not count here.
    pub attempt: u32,
}
