//! The metrics of the lanes: handles that are made once at the start and given to every lane.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say. It depends on the `metrics` facade and on the closed sets of events alone, and never on a
//! global recorder: two sets of lanes can run side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use dispatchd_core::model::Reason;

/// How a PutRecords request ended, for the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutOutcome {
    /// Every record was stored.
    Stored,
    /// Some records were stored, others were not.
    Partial,
    Throttled,
    Transient,
    Blocked,
    Poison,
}

/// Why records are sent again, for the label `class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Throttled,
    Transient,
    Blocked,
    /// A packed record was taken apart, and its members are sent in another grouping.
    Regrouped,
}

/// The label of each outcome, in the order of [`PutOutcome`].
const PUT_OUTCOMES: [&str; 6] =
    ["stored", "partial", "throttled", "transient", "blocked", "poison"];

/// The label of each class, in the order of [`Retry`].
const RETRIES: [&str; 4] = ["throttled", "transient", "blocked", "regrouped"];

/// Handles of what the lanes count. All lanes share one set: what they add to a gauge adds up.
#[derive(Debug)]
pub struct LaneMetrics {
    pub events_deduplicated: Counter,
    /// Written once an event, and so kept by the exporter as counts, not as samples.
    pub ack_duration: Histogram,
    pub put_records_duration: Histogram,
    pub batch_records: Histogram,
    pub batch_bytes: Histogram,
    pub put_records_in_flight: Gauge,
    pub records_stored: Counter,
    pub records_throttled: Counter,
    pub records_failed: Counter,
    pub records_rejected: Counter,
    pub shards_cooling: Gauge,
    pub keys_cooling: Gauge,
    pub keys_held_by_order: Gauge,
    put_records: [Counter; PUT_OUTCOMES.len()],
    retries: [Counter; RETRIES.len()],
    stream_blocked: [Gauge; Reason::ALL.len()],
}

/// When the oldest event of a lane was accepted: written by the lane, read by a scrape and by the
/// admin socket.
#[derive(Debug)]
pub struct OldestEvent {
    epoch: Instant,
    /// Milliseconds since `epoch`, plus one; 0 while the lane is empty.
    accepted_ms: AtomicU64,
}

impl LaneMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub fn register() -> Self {
        let records =
            |outcome: &'static str| counter!("dispatchd_records_total", "outcome" => outcome);
        Self {
            events_deduplicated: counter!("dispatchd_events_deduplicated_total"),
            ack_duration: histogram!("dispatchd_ack_duration_seconds"),
            put_records_duration: histogram!("dispatchd_put_records_duration_seconds"),
            batch_records: histogram!("dispatchd_put_records_batch_records"),
            batch_bytes: histogram!("dispatchd_put_records_batch_bytes"),
            put_records_in_flight: gauge!("dispatchd_put_records_in_flight"),
            records_stored: records("stored"),
            records_throttled: records("throttled"),
            records_failed: records("failed"),
            records_rejected: records("rejected"),
            shards_cooling: gauge!("dispatchd_shards_cooling"),
            keys_cooling: gauge!("dispatchd_keys_cooling"),
            keys_held_by_order: gauge!("dispatchd_keys_held_by_order"),
            put_records: PUT_OUTCOMES
                .map(|outcome| counter!("dispatchd_put_records_total", "outcome" => outcome)),
            retries: RETRIES.map(|class| counter!("dispatchd_retries_total", "class" => class)),
            stream_blocked: Reason::ALL
                .map(|reason| gauge!("dispatchd_stream_blocked", "reason" => reason.as_str())),
        }
    }

    /// The counter of PutRecords requests that ended so.
    pub(super) fn put_records(&self, outcome: PutOutcome) -> &Counter {
        &self.put_records[outcome as usize]
    }

    /// The counter of records that are sent again for this reason.
    pub(super) fn retries(&self, class: Retry) -> &Counter {
        &self.retries[class as usize]
    }

    /// Shows why the stream is blocked; `None`: it is not.
    pub(super) fn set_blocked(&self, why: Option<Reason>) {
        for (reason, gauge) in Reason::ALL.iter().zip(&self.stream_blocked) {
            gauge.set(f64::from(u8::from(Some(*reason) == why)));
        }
    }
}

impl OldestEvent {
    /// `epoch`: no event was accepted before it.
    pub fn new(epoch: Instant) -> Arc<Self> {
        Arc::new(Self { epoch, accepted_ms: AtomicU64::new(0) })
    }

    /// `accepted`: when the lane's oldest event was accepted; `None` while the lane is empty.
    pub fn set(&self, accepted: Option<Instant>) {
        let ms = accepted.map_or(0, |accepted| {
            accepted.saturating_duration_since(self.epoch).as_millis() as u64 + 1
        });
        self.accepted_ms.store(ms, Ordering::Relaxed);
    }

    /// The age of the oldest event at `now`; 0 while the lane is empty.
    pub fn age_seconds(&self, now: Instant) -> f64 {
        match self.accepted_ms.load(Ordering::Relaxed) {
            0 => 0.0,
            ms => {
                let accepted = self.epoch + Duration::from_millis(ms - 1);
                now.saturating_duration_since(accepted).as_secs_f64()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_oldest_event_and_zero_without_one() {
        let epoch = Instant::now();
        let at = |seconds| epoch + Duration::from_secs(seconds);
        let oldest = OldestEvent::new(epoch);
        assert_eq!(oldest.age_seconds(at(9)), 0.0);
        for accepted in [0, 4] {
            oldest.set(Some(at(accepted)));
            assert_eq!(oldest.age_seconds(at(9)), 9.0 - accepted as f64);
        }
        assert_eq!(oldest.age_seconds(at(3)), 0.0, "it came after now was read");
        oldest.set(None);
        assert_eq!(oldest.age_seconds(at(9)), 0.0);
    }
}
