//! The metrics of the stream and of the calls about it: handles that are made once at the start and
//! given to whoever makes the calls.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say. It depends on the `metrics` facade alone, and never on a global recorder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, counter, gauge};

/// Handles of what is known of the stream, and of how it came to be known.
#[derive(Debug)]
pub struct StreamMetrics {
    /// Open shards; 0 while they are not known.
    pub shards: Gauge,
    /// 1 while the stream places records itself, whatever their keys.
    pub ignores_keys: Gauge,
    pub shard_map_refreshes_ok: Counter,
    pub shard_map_refreshes_failed: Counter,
}

/// When the credentials in use expire: written where they are provided, read by a scrape and by the
/// admin socket.
#[derive(Debug, Default)]
pub struct CredentialsExpiry {
    /// Seconds since 1970; 0: never, or not known.
    unix_seconds: AtomicU64,
}

impl StreamMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub fn register() -> Self {
        let refreshes = |outcome: &'static str| counter!("dispatchd_shard_map_refreshes_total", "outcome" => outcome);
        Self {
            shards: gauge!("dispatchd_shards"),
            ignores_keys: gauge!("dispatchd_stream_ignores_keys"),
            shard_map_refreshes_ok: refreshes("ok"),
            shard_map_refreshes_failed: refreshes("error"),
        }
    }
}

impl CredentialsExpiry {
    /// `None`: the credentials in use do not expire.
    pub fn set(&self, expiry: Option<SystemTime>) {
        let since_epoch = expiry.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        self.unix_seconds.store(since_epoch.map_or(0, |at| at.as_secs()), Ordering::Relaxed);
    }

    /// When they expire, to the second; `None` while no credentials are known, or where those that
    /// are do not expire.
    pub fn get(&self) -> Option<SystemTime> {
        let seconds = self.unix_seconds();
        (seconds > 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// When they expire, in seconds since 1970; 0: never, or not known.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds.load(Ordering::Relaxed)
    }
}
