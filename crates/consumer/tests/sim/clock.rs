//! Virtual time: milliseconds since the run began, as both clocks show them.

use std::time::{Duration, Instant, SystemTime};

use dispatchd_consumer::delivery::Now;

use crate::scenario::At;

/// What the wall shows when a run begins.
const STARTED: Duration = Duration::from_secs(1_795_000_000);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self, at: At) -> Now {
        Now { instant: self.instant(at), time: time_at(at) }
    }

    pub(crate) fn instant(self, at: At) -> Instant {
        self.0 + Duration::from_millis(at)
    }

    /// Rounded up: whoever wakes then is not too early.
    pub(crate) fn at(self, instant: Instant) -> At {
        let since = instant.saturating_duration_since(self.0);
        u64::try_from(since.as_nanos().div_ceil(1_000_000)).expect("a run is short")
    }
}

pub(crate) fn time_at(at: At) -> SystemTime {
    SystemTime::UNIX_EPOCH + STARTED + Duration::from_millis(at)
}

pub(crate) fn since_start(time: SystemTime) -> At {
    let since = time.duration_since(SystemTime::UNIX_EPOCH + STARTED).unwrap_or_default();
    u64::try_from(since.as_millis()).expect("a run is short")
}
