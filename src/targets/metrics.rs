//! The metrics of one target: handles that are made once, when it begins.
//!
//! The label `target` has the names of the configuration alone. What each metric means, `telemetry`
//! says.

use std::time::{Duration, Instant, SystemTime};

use dispatchd_consumer::delivery::{Failure, FailureKind, Response};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::board::TargetBoard;

/// What one target counts.
#[derive(Debug)]
pub(crate) struct TargetMetrics {
    pub delivered: Counter,
    /// Records that the filters leave out.
    pub filtered: Counter,
    /// Records that the target's format cannot carry.
    pub unfit: Counter,
    pub dead_lettered: Counter,
    pub wedged: Gauge,
    attempts: Attempts,
    batch_duration: Histogram,
    batch_records: Histogram,
    behind: Gauge,
    checkpoint_age: Gauge,
    shards: Gauge,
    blocked: Gauge,
}

/// Requests by what came of them.
#[derive(Debug)]
struct Attempts {
    delivered: Counter,
    partial: Counter,
    unavailable: Counter,
    failed: Counter,
    refused: Counter,
    unauthorized: Counter,
}

impl TargetMetrics {
    /// Registers every series with the recorder that is in force here.
    pub(crate) fn register(target: &str) -> Self {
        let target = target.to_owned();
        let records = |outcome: &'static str| counter!("dispatchd_forward_records_total", "target" => target.clone(), "outcome" => outcome);
        let attempts = |outcome: &'static str| counter!("dispatchd_forward_attempts_total", "target" => target.clone(), "outcome" => outcome);
        Self {
            delivered: records("delivered"),
            filtered: records("filtered"),
            unfit: records("unfit"),
            dead_lettered: records("dead_lettered"),
            wedged: gauge!("dispatchd_forward_wedged", "target" => target.clone()),
            attempts: Attempts {
                delivered: attempts("delivered"),
                partial: attempts("partial"),
                unavailable: attempts("unavailable"),
                failed: attempts("failed"),
                refused: attempts("refused"),
                unauthorized: attempts("unauthorized"),
            },
            batch_duration: histogram!("dispatchd_forward_batch_duration_seconds", "target" => target.clone()),
            batch_records: histogram!("dispatchd_forward_batch_records", "target" => target.clone()),
            behind: gauge!("dispatchd_forward_behind_seconds", "target" => target.clone()),
            checkpoint_age: gauge!("dispatchd_forward_checkpoint_age_seconds", "target" => target.clone()),
            shards: gauge!("dispatchd_forward_shards", "target" => target.clone()),
            blocked: gauge!("dispatchd_forward_shards_blocked", "target" => target),
        }
    }

    /// Counts a request that was answered, or was not.
    pub(crate) fn attempt(&self, response: &Response, records: usize, took: Duration) {
        let attempts = &self.attempts;
        match response {
            Response::Delivered => &attempts.delivered,
            Response::Until(_) => &attempts.partial,
            Response::Failed(Failure { kind, .. }) => match kind {
                FailureKind::Unavailable => &attempts.unavailable,
                FailureKind::Failed => &attempts.failed,
                FailureKind::Refused => &attempts.refused,
                FailureKind::Unauthorized => &attempts.unauthorized,
            },
        }
        .increment(1);
        self.batch_duration.record(took.as_secs_f64());
        self.batch_records.record(records as f64);
    }

    /// Shows that it has ended: a scrape that asks for another's shows nothing of it.
    pub(crate) fn ended(&self) {
        let Self { wedged, behind, checkpoint_age, shards, blocked, .. } = self;
        [wedged, behind, checkpoint_age, shards, blocked].iter().for_each(|gauge| gauge.set(0.0));
    }

    /// Shows what a scrape asks for: how the shards stand now. Without a shard all of it is 0.
    pub(crate) fn at_scrape(&self, board: &TargetBoard, wall: SystemTime, now: Instant) {
        let shards = board.shards();
        let most = |of: &dyn Fn(&super::board::ShardShown) -> f64| {
            shards.iter().map(|(_, shown)| of(shown)).fold(0.0, f64::max)
        };
        self.behind.set(most(&|shown| shown.behind_seconds(wall)));
        self.checkpoint_age.set(most(&|shown| shown.checkpoint_age_seconds(now)));
        self.shards.set(shards.len() as f64);
        self.blocked.set(shards.iter().filter(|(_, shown)| shown.is_blocked()).count() as f64);
    }
}
