//! The time as a reader knows it: of its last look at the clock. One look a read, not one an event.

use std::time::{Instant, SystemTime};

use dispatchd_core::model::envelope::Timestamp;

/// The time of the last look.
#[derive(Debug)]
pub(super) struct Clock {
    pub now: Instant,
    unix_ms: u64,
    pub timestamp: Timestamp,
}

impl Clock {
    pub(super) fn read() -> Self {
        let unix_ms = unix_ms();
        Self { now: now(), unix_ms, timestamp: Timestamp::from_unix_ms(unix_ms) }
    }

    pub(super) fn refresh(&mut self) {
        self.now = now();
        let unix_ms = unix_ms();
        if unix_ms != self.unix_ms {
            self.unix_ms = unix_ms;
            self.timestamp = Timestamp::from_unix_ms(unix_ms);
        }
    }
}

/// tokio's clock, so that a test can pause it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn unix_ms() -> u64 {
    // A clock before 1970 is a broken clock; the event is dated 1970 then.
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
