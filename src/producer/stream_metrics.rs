//! The metrics of what is known of the stream: handles that are made once at the start and given to
//! the refresher.
//!
//! Names and labels stand here; `telemetry` says what each metric means and how it is exported.
//! Only the `metrics` facade is used, and never a global recorder.

use metrics::{Counter, Gauge, counter, gauge};

/// Handles of what is known of the stream, and of how it came to be known.
#[derive(Debug)]
pub(crate) struct StreamMetrics {
    /// Open shards; 0 while they are not known.
    pub shards: Gauge,
    /// 1 while the stream places records itself, whatever their keys.
    pub ignores_keys: Gauge,
    pub shard_map_refreshes_ok: Counter,
    pub shard_map_refreshes_failed: Counter,
}

impl StreamMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub(crate) fn register() -> Self {
        let refreshes = |outcome: &'static str| counter!("dispatchd_shard_map_refreshes_total", "outcome" => outcome);
        Self {
            shards: gauge!("dispatchd_shards"),
            ignores_keys: gauge!("dispatchd_stream_ignores_keys"),
            shard_map_refreshes_ok: refreshes("ok"),
            shard_map_refreshes_failed: refreshes("error"),
        }
    }
}
