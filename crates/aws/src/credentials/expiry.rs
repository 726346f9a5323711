//! When the credentials in use expire, for a scrape and for the admin socket. Written where
//! credentials are provided; readable while everything else is busy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When the credentials that were provided last expire.
#[derive(Debug, Default)]
pub struct CredentialsExpiry {
    /// Seconds since 1970; 0: never, or not known.
    unix_seconds: AtomicU64,
}

impl CredentialsExpiry {
    /// Sets when the credentials in use expire; `None` where they do not.
    pub(super) fn set(&self, expiry: Option<SystemTime>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_that_was_told_holds_to_the_second_and_none_is_none() {
        let expiry = CredentialsExpiry::default();
        assert_eq!((expiry.get(), expiry.unix_seconds()), (None, 0));
        let at = UNIX_EPOCH + Duration::from_secs(5);
        expiry.set(Some(at + Duration::from_millis(900)));
        assert_eq!((expiry.get(), expiry.unix_seconds()), (Some(at), 5));
        expiry.set(None);
        assert_eq!(expiry.get(), None);
    }
}
