//! Keeps what is known of the stream: its open shards and its record limit.
//!
//! One task. It asks at the start, when a lane finds the map old, and now and then; it publishes by `watch` and
//! never clears what it has: the old map serves until the new one is there. Lanes work without it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::aws::{CallError, Kinesis};
use super::{ShardMap, StreamFacts};
use crate::backoff::Backoff;
use crate::event::Class;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;

/// Without a reason to ask sooner: a reshard that no record of ours has met.
const EVERY: Duration = Duration::from_secs(300);
/// However often the lanes ask: ListShards takes 1000 calls a second for a whole account, and a map that was old
/// a moment ago is corrected by one call.
const NOT_BEFORE: Duration = Duration::from_secs(1);
/// After a call that failed.
const AGAIN: Backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60) };

/// Rung by a lane whose map is old.
pub type Bell = Arc<Notify>;

/// The task's parts.
#[derive(Debug)]
pub struct Refresher {
    pub kinesis: Kinesis,
    pub facts: watch::Sender<StreamFacts>,
    pub bell: Bell,
    /// `stream.max_record_bytes` where it is set; otherwise the stream is asked.
    pub record_bytes_max: Option<usize>,
    pub metrics: Arc<Metrics>,
    pub recent: Arc<Recent>,
}

impl Refresher {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut failures = 0u32;
        let mut told = false;
        loop {
            let asked = Instant::now();
            let wait = match self.refresh().await {
                Ok(()) => {
                    failures = 0;
                    told = false;
                    EVERY
                }
                Err(error) => {
                    self.recent.note(error.operation, &error.code, &error.message, SystemTime::now());
                    failures = failures.saturating_add(1);
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            code = error.code,
                            reason = error.message,
                            call = error.operation,
                            "the stream's shards are not known: events go out all the same, but a throttled shard is noticed only per key. Allow kinesis:ListShards and kinesis:DescribeStreamSummary"
                        );
                    }
                    if matches!(error.class, Class::Blocked(_)) {
                        EVERY.min(AGAIN.max)
                    } else {
                        AGAIN.delay(failures, &mut rand::rng())
                    }
                }
            };
            tokio::time::sleep_until(asked + NOT_BEFORE).await;
            self.silence().await;
            tokio::select! {
                () = tokio::time::sleep_until(asked + wait) => {}
                () = self.bell.notified() => {}
            }
        }
    }

    /// Forgets a ring that is older than the map: flights that were out together find it old together, and one call
    /// corrects it for all. Where it is still wrong, the next reply rings again.
    async fn silence(&self) {
        tokio::select! {
            biased;
            () = self.bell.notified() => {}
            () = std::future::ready(()) => {}
        }
    }

    /// Asks, and publishes what there is to know: each of the two calls may be forbidden without the other.
    async fn refresh(&self) -> Result<(), CallError> {
        let summary = self.kinesis.summary().await;
        let ignores_keys = summary.as_ref().is_ok_and(|summary| summary.ignores_keys);
        // Where the service ignores keys there is no shard to predict.
        let shards = if ignores_keys { Ok(None) } else { self.open_shards().await.map(Some) };
        let known = self.facts.borrow().clone();
        let asked_bytes = summary.ok().and_then(|summary| summary.record_bytes_max);
        let record_bytes_max = self.record_bytes_max.or(asked_bytes).unwrap_or(known.record_bytes_max);
        let (shards, outcome) = match shards {
            Ok(shards) => (shards, Ok(())),
            Err(error) => (known.shards, Err(error)),
        };
        match outcome {
            Ok(()) => self.metrics.shard_map_refreshes_ok.increment(1),
            Err(_) => self.metrics.shard_map_refreshes_failed.increment(1),
        }
        self.publish(StreamFacts { shards, record_bytes_max });
        outcome
    }

    async fn open_shards(&self) -> Result<Arc<ShardMap>, CallError> {
        let shards = self.kinesis.open_shards().await?;
        // A stream that is being made or deleted has none for a while.
        ShardMap::new(shards).map(Arc::new).ok_or_else(|| CallError {
            operation: "ListShards",
            class: Class::Transient,
            code: "BadReply".into(),
            message: "no shard is open".into(),
        })
    }

    fn publish(&self, facts: StreamFacts) {
        let shards = facts.shards.as_ref().map_or(0, |shards| shards.len());
        self.metrics.shards.set(shards as f64);
        self.facts.send_if_modified(|known| {
            let changed = *known != facts;
            if changed {
                tracing::info!(shards, record_bytes_max = facts.record_bytes_max, "stream");
                *known = facts;
            }
            changed
        });
    }
}
