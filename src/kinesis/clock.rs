//! The time that requests are signed with.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;

/// 9999-12-31T23:59:59Z. The SDK panics where it writes a later time: years of five digits are not in its formats.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The system's clock, up to the last time that can be written. Past it Kinesis refuses the signature, as it would
/// any wrong time, and says so.
#[derive(Debug)]
pub(super) struct Clock;

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::now().min(SystemTime::UNIX_EPOCH + LAST)
    }
}
