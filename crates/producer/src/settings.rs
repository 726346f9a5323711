//! The choices that the configuration leaves to its reader and that the lanes act on. Plain values:
//! nothing here is read from a file.

/// The order that events of one partition key keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// One record per key in a request: order holds under every failure.
    Strict,
    /// Many records per key in a request: a partial failure may let a later one land first.
    Relaxed,
}

/// Which events travel as one record, in the KPL's format. Each takes in what the one before it
/// allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aggregation {
    /// None: one event, one record.
    Off,
    /// Those of one partition key.
    Key,
    /// Those that are predicted for one shard.
    Shard,
}
