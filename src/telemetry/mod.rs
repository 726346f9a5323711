//! What the daemon tells of itself: metrics for Prometheus, logs for people and collectors.
//!
//! Never a payload, never a label from a key, an id, a peer or a shard.

pub mod backpressure;
pub mod histogram;
pub mod log;
pub mod metrics;
pub mod outage;
pub mod recent;
pub mod stderr;
