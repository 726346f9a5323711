//! The time as a reader knows it: when it last looked at the clock. It looks once a read, not once
//! an event.

use std::time::{Instant, SystemTime};

use dispatchd_core::model::envelope::Timestamp;
use dispatchd_producer::intake::Now;

/// The time of the last look.
#[derive(Debug)]
pub(crate) struct Clock {
    pub now: Now,
    /// The time that the timestamp was printed from.
    unix_ms: u64,
}

impl Clock {
    pub(crate) fn read() -> Self {
        let unix_ms = unix_ms();
        let timestamp = Timestamp::from_unix_ms(unix_ms);
        Self { now: Now { instant: now(), timestamp }, unix_ms }
    }

    pub(crate) fn refresh(&mut self) {
        self.now.instant = now();
        let unix_ms = unix_ms();
        if unix_ms != self.unix_ms {
            self.unix_ms = unix_ms;
            self.now.timestamp = Timestamp::from_unix_ms(unix_ms);
        }
    }
}

/// tokio's clock, so that a test can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn unix_ms() -> u64 {
    // A clock before 1970 is a broken clock; the event is dated 1970 then.
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
