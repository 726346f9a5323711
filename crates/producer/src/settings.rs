//! What the configuration says of events on their way: the sections `envelope`, `batch` and
//! `delivery`, whose fields are named as their keys are. Plain values: the ranges stand in the
//! configuration's table, and nothing here is read from a file.

use std::time::Duration;

use serde::Deserialize;

use crate::lane::dedupe::Window;
use crate::lane::{self, Aggregation, KeyOrder};
use dispatchd_core::model::{Backoff, Profile};

/// What is published of an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The form, where neither connection nor event says another.
    pub profile: Profile,
    /// Where events come from, in the forms that say it. `None`: the producer.
    pub source: Option<String>,
}

/// How events are put together into requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// How long the oldest ready event waits for others to share its request.
    pub linger: Duration,
    /// Records in a request.
    pub max_records: usize,
    /// Bytes that a request aims at; one larger record may still go alone.
    pub max_bytes: usize,
    /// Requests that may be out at once.
    pub max_in_flight: usize,
}

/// What is promised about each event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub ordering: KeyOrder,
    pub aggregation: Aggregation,
    /// Bytes of a packed record of a shard's events; never more than the record limit.
    pub aggregate_max_bytes: usize,
    /// The time from acceptance to `DeliveryTimeout`.
    pub timeout: Duration,
    /// The least wait after a failure; at most `backoff_max`.
    pub backoff_min: Duration,
    /// The greatest wait after a failure.
    pub backoff_max: Duration,
    /// How many ids of settled events are remembered; 0: none.
    pub dedupe_ids: usize,
    /// For how long they are remembered.
    pub dedupe_for: Duration,
}

impl lane::Settings {
    /// How a lane decides where these sections hold.
    pub fn of(batch: &Batch, delivery: &Delivery) -> Self {
        Self {
            linger: batch.linger,
            max_records: batch.max_records,
            max_bytes: batch.max_bytes,
            max_in_flight: batch.max_in_flight,
            ordering: delivery.ordering,
            aggregation: delivery.aggregation,
            aggregate_max_bytes: delivery.aggregate_max_bytes,
            timeout: delivery.timeout,
            backoff: Backoff { min: delivery.backoff_min, max: delivery.backoff_max },
        }
    }
}

impl Window {
    /// Which ids are remembered, where these settings hold.
    pub fn of(delivery: &Delivery) -> Self {
        Self { ids_max: delivery.dedupe_ids, keep_for: delivery.dedupe_for }
    }
}
