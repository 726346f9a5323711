//! The time that requests are signed with.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;

/// 9999-12-31T23:59:59Z. The SDK panics where it writes a later time: years of five digits are not
/// in its formats.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// This time, or the last one that can be written. Past it Kinesis refuses the signature, as it
/// would any wrong time, and says so.
pub(super) fn writable(time: SystemTime) -> SystemTime {
    time.min(SystemTime::UNIX_EPOCH + LAST)
}

/// The system's clock, for the SDK.
#[derive(Debug)]
pub(super) struct BoundedClock;

impl TimeSource for BoundedClock {
    fn now(&self) -> SystemTime {
        writable(SystemTime::now())
    }
}
