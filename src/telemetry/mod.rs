//! What the daemon tells of itself: metrics for Prometheus, logs for people and collectors.
//!
//! `table` describes every metric, `exporter` renders what the rooms count. Never a payload, and
//! never a label from a key, an id, a peer or a shard.

pub(crate) mod exporter;
mod histogram;
pub(crate) mod level;
pub(crate) mod log;
pub(crate) mod stderr;
pub(crate) mod table;
