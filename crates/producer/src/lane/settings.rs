//! How a lane decides: the part of the configuration that is about the lanes. Plain values with
//! their units in the types, and how a drain shortens its waits; nothing here is read from a file.

use std::time::Duration;

use dispatchd_core::choice;
use dispatchd_core::limits::{KIB, MIB, REQUEST_RECORDS_MAX};
use dispatchd_core::model::backoff::Backoff;

/// The longest wait after a failure while the daemon drains: its deadline is seconds away.
const DRAIN_BACKOFF_MAX: Duration = Duration::from_millis(250);

/// How a lane decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long the oldest ready event waits for others to share its request.
    pub linger: Duration,
    /// Records in a request, at most 500.
    pub max_records: usize,
    /// Bytes that a request aims at; a record that is larger goes alone.
    pub max_bytes: usize,
    /// Requests that may be out at once. Together they hold at most `max_in_flight * max_bytes`
    /// bytes: a record that is larger than what is left of that waits.
    pub max_in_flight: usize,
    /// What is promised of two events of one key.
    pub ordering: KeyOrder,
    /// Which events travel as one record.
    pub aggregation: Aggregation,
    /// The largest packed record of several keys of a shard.
    pub aggregate_max_bytes: usize,
    /// How long an event may wait, from its acceptance until it is refused.
    pub timeout: Duration,
    /// The waits between attempts.
    pub backoff: Backoff,
}

choice! {
    /// The order that events of one partition key keep.
    pub enum KeyOrder {
        /// One record per key in a request: order holds under every failure.
        Strict = "strict",
        /// Many records per key in a request: a partial failure may let a later one land first.
        Relaxed = "relaxed",
    }
}

choice! {
    /// Which events travel as one record, in the KPL's format. Each choice allows what the one
    /// before it allows, and more.
    #[derive(PartialOrd, Ord)]
    pub enum Aggregation {
        /// No two events: each is a record of its own.
        Off = "off",
        /// Events of one partition key.
        Key = "key",
        /// Events that are predicted for one shard.
        Shard = "shard",
    }
}

impl Default for Settings {
    /// The settings of a daemon whose configuration says nothing (`docs/configuration.md`).
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(10),
            max_records: REQUEST_RECORDS_MAX,
            max_bytes: MIB,
            max_in_flight: 16,
            ordering: KeyOrder::Strict,
            aggregation: Aggregation::Off,
            aggregate_max_bytes: 50 * KIB,
            timeout: Duration::from_secs(120),
            backoff: Backoff { min: Duration::from_millis(50), max: Duration::from_secs(5) },
        }
    }
}

impl Settings {
    /// Whether a request holds no more than one event of a key.
    pub(super) fn sends_one_of_a_key(&self) -> bool {
        self.ordering == KeyOrder::Strict && self.aggregation == Aggregation::Off
    }

    /// These settings for the drain: nothing lingers, and no wait after a failure is long.
    pub(super) fn draining(self) -> Self {
        let Backoff { min, max } = self.backoff;
        let backoff = Backoff { min: min.min(DRAIN_BACKOFF_MAX), max: max.min(DRAIN_BACKOFF_MAX) };
        Self { linger: Duration::ZERO, backoff, ..self }
    }
}
