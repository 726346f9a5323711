//! What this crate counts.

use metrics::{Gauge, describe_gauge, gauge};

/// Handles of the metrics of this crate.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// When the credentials that were provided last expire, in seconds since 1970; 0 if they do
    /// not, or while none were provided.
    pub(crate) credentials_expiry: Gauge,
}

impl Metrics {
    /// Makes the metrics, at 0, with whatever recorder is current.
    pub fn register() -> Self {
        const EXPIRY: &str = "dispatchd_credentials_expiry_timestamp_seconds";
        describe_gauge!(
            EXPIRY,
            "When the AWS credentials in use expire, in seconds since 1970; 0: never, or not known \
             yet"
        );
        Self { credentials_expiry: gauge!(EXPIRY) }
    }

    /// Metrics that nobody reads: for a command that ends.
    pub fn unread() -> Self {
        Self { credentials_expiry: Gauge::noop() }
    }
}
