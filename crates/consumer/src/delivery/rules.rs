//! How a target is delivered to: the values of its settings. Only data, and the bounds of them.

use std::time::Duration;

use dispatchd_core::limits::MIB;
use dispatchd_core::model::backoff::Backoff;

use super::Delivered;

/// Records of a batch at most: Lambda's bound.
pub const BATCH_RECORDS_MAX: usize = 10_000;
/// Bytes of a request at most, encoded: Lambda's bound.
pub const BATCH_BYTES_MAX: usize = 6 * MIB;
/// How long a batch that is not full may wait for more: Lambda's bound.
pub const BATCH_WINDOW_MAX: Duration = Duration::from_secs(300);
/// Strands of a shard at most: Lambda's bound of its ParallelizationFactor.
pub const STRANDS_MAX: usize = 10;
/// The waits between attempts.
pub const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(200), max: Duration::from_secs(60) };

/// How one target is delivered to.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Records of a batch at most (`batch_size`); at least 1.
    pub batch_records: usize,
    /// Bytes of a batch at most, as `bytes_of` counts them. A record that is larger goes alone.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub batch_window: Duration,
    /// Into how many strands a shard is split by key (`parallelization`); at least 1.
    pub strands: usize,
    /// Whether a batch that failed is halved, to find the record that it failed for.
    pub bisect: bool,
    /// When a record is given up and dead-lettered; `None` blocks its strand until it is delivered.
    pub give_up: Option<GiveUp>,
    pub backoff: Backoff,
    /// Bytes that a record takes in a request of the target's format.
    pub bytes_of: fn(&Delivered) -> usize,
}

/// When a record is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GiveUp {
    /// How often a batch that failed is sent again (`max_attempts`, Lambda's MaximumRetryAttempts);
    /// `None` does not count.
    pub retries_max: Option<u32>,
    /// How old a record may be, since the service took it (`max_age`); `None` does not look.
    pub age_max: Option<Duration>,
}

impl Rules {
    /// The rules of a target that names none.
    pub fn new(bytes_of: fn(&Delivered) -> usize) -> Self {
        Self {
            batch_records: 100,
            batch_bytes: BATCH_BYTES_MAX,
            batch_window: Duration::ZERO,
            strands: 1,
            bisect: false,
            give_up: None,
            backoff: BACKOFF,
            bytes_of,
        }
    }
}
