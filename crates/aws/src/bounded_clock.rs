//! Bounds the time that requests are signed with to what can be written.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;

/// 9999-12-31T23:59:59Z. The SDK panics when it writes a later time, since its formats have no
/// years of five digits.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The time itself, or the last one that can be written. Kinesis refuses a signature of that time
/// as it does any wrong time, and says so.
pub(super) fn writable(time: SystemTime) -> SystemTime {
    time.min(SystemTime::UNIX_EPOCH + LAST)
}

/// The system's clock within that bound, for the SDK.
#[derive(Debug)]
pub(super) struct BoundedClock;

impl TimeSource for BoundedClock {
    fn now(&self) -> SystemTime {
        writable(SystemTime::now())
    }
}
