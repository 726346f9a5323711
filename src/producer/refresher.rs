//! Keeps what is known of the stream up to date: its open shards (ListShards), its record limit,
//! and who distributes its records (DescribeStreamSummary).
//!
//! One task, with one loop for each of the two calls, since one may be forbidden, slow or failing
//! without the other. It asks at the start, when a lane finds the shard map old, when an operator
//! reloads, and now and then. It publishes by `watch` and never clears what it has: the old map
//! serves until the new one is there. Lanes work without it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dispatchd_aws::{DESCRIBE_STREAM_SUMMARY, Kinesis, LIST_SHARDS, Summary};
use dispatchd_core::limits::{KIB, MIB, RECORD_BYTES_MAX, RECORD_BYTES_MIN};
use dispatchd_core::model::{
    Backoff, CallError, Cause, Class, Distribution, ShardMap, StreamFacts,
};
use dispatchd_producer::recent_errors::RecentErrors;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::stream_metrics::StreamMetrics;
use crate::config::Carried;

/// The time between two calls without a reason to ask sooner. It finds a reshard that none of our
/// records has met, and a limit that was raised.
const EVERY: Duration = Duration::from_secs(300);
/// The least time between two calls, however often the lanes ask: one call corrects an old map for
/// all of them.
const NOT_BEFORE: Duration = Duration::from_secs(1);
/// The waits after a failed call, and after requests of the lanes that brought nothing new: an
/// account has 1,000 ListShards and 20 DescribeStreamSummary a second for all its daemons together.
const AGAIN: Backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(60) };

/// Notified by a lane whose map is old.
pub type RefreshRequested = Arc<Notify>;

/// The task that makes both calls.
#[derive(Debug)]
pub(crate) struct Refresher {
    kinesis: Kinesis,
    facts: watch::Sender<StreamFacts>,
    calls: watch::Sender<Calls>,
    refresh_requested: RefreshRequested,
    /// Changes when an operator reloads. Then both calls are made at once, even one that failed
    /// just now.
    reloads: watch::Receiver<()>,
    /// `stream.max_record_bytes`; `None` if the stream is to be asked.
    record_bytes_max: Option<usize>,
    /// The largest records that memory carries. The log tells if the stream takes larger ones.
    carried: Carried,
    metrics: StreamMetrics,
    recent_errors: Arc<RecentErrors>,
}

/// The daemon's side of the refresher: what is known of the stream, and the ways to have it asked
/// again.
#[derive(Debug)]
pub struct StreamHandle {
    pub facts: watch::Receiver<StreamFacts>,
    pub calls: watch::Receiver<Calls>,
    pub refresh_requested: RefreshRequested,
    /// For an operator's reload.
    pub reloads: watch::Sender<()>,
}

/// How the two calls fared, for the operator who asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    pub list_shards: Fares,
    pub describe_stream: Fares,
}

/// How one call fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fares {
    pub last_ok: Option<SystemTime>,
    pub last_failed: Option<SystemTime>,
    /// Failures in a row, up to now.
    pub failures: u32,
}

impl Refresher {
    /// A task that asks `kinesis`, and knows nothing yet but `stream.max_record_bytes` where that
    /// is set.
    pub(crate) fn new(
        kinesis: Kinesis,
        record_bytes_max: Option<usize>,
        carried: Carried,
        metrics: StreamMetrics,
        recent_errors: Arc<RecentErrors>,
    ) -> (Self, StreamHandle) {
        let (facts_in, facts) = watch::channel(StreamFacts::unknown(record_bytes_max));
        let (calls_in, calls) = watch::channel(Calls::default());
        let (reloads_in, reloads) = watch::channel(());
        let refresh_requested = RefreshRequested::default();
        let refresher = Self {
            kinesis,
            facts: facts_in,
            calls: calls_in,
            refresh_requested: Arc::clone(&refresh_requested),
            reloads,
            record_bytes_max,
            carried,
            metrics,
            recent_errors,
        };
        (refresher, StreamHandle { facts, calls, refresh_requested, reloads: reloads_in })
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let handed_on = Notify::new();
        tokio::join!(self.keep_listed(&handed_on), self.keep_described(&handed_on));
    }

    /// Keeps the list of open shards. Requests of the lanes are handed on: a record that is in
    /// another shard than predicted may mean that the service distributes records itself now.
    async fn keep_listed(&self, hand_on: &Notify) {
        let (mut reloads, mut requested, mut in_vain) = (self.reloads.clone(), false, 0u32);
        loop {
            let asked = Instant::now();
            let listed = self.open_shards().await;
            let wait = self.fared(
                &listed,
                |calls| &mut calls.list_shards,
                "kinesis:ListShards",
                self.without_list(),
            );
            let (fails, mut not_before) = (listed.is_err(), NOT_BEFORE);
            match listed {
                Ok(shards) => {
                    self.metrics.shard_map_refreshes_ok.increment(1);
                    let is_news = self.publish(|known| known.shards = Some(shards));
                    in_vain = if requested && !is_news { in_vain.saturating_add(1) } else { 0 };
                    if in_vain > 0 {
                        not_before = AGAIN.delay(in_vain, &mut rand::rng());
                    }
                }
                Err(_) => self.metrics.shard_map_refreshes_failed.increment(1),
            }
            let lanes = (!fails).then_some(&*self.refresh_requested);
            requested = tokio::select! {
                requested = rest(asked, not_before, wait, lanes, Early::Forgotten) => requested,
                Ok(()) = reloads.changed() => false,
            };
            if requested {
                hand_on.notify_one();
            }
        }
    }

    async fn keep_described(&self, requested: &Notify) {
        let (mut reloads, mut impossible_kib) = (self.reloads.clone(), None);
        loop {
            let asked = Instant::now();
            let described = self.kinesis.summary().await;
            let (action, meanwhile) = ("kinesis:DescribeStreamSummary", self.without_description());
            let wait =
                self.fared(&described, |calls| &mut calls.describe_stream, action, meanwhile);
            let fails = described.is_err();
            match described {
                Ok(summary) => {
                    self.tell_impossible(&summary, &mut impossible_kib);
                    self.publish(|known| {
                        let limit = self.record_bytes_max.or(summary.record_limit());
                        known.record_limit = limit.or(known.record_limit);
                        known.distribution = summary.distribution();
                    });
                }
                // Then it is taken to go by the key, as most streams do.
                Err(_) => drop(self.publish(|known| {
                    if known.distribution == Distribution::NotAsked {
                        known.distribution = Distribution::ByKey;
                    }
                })),
            }
            let requests = (!fails).then_some(requested);
            tokio::select! {
                _ = rest(asked, NOT_BEFORE, wait, requests, Early::Kept) => {}
                Ok(()) = reloads.changed() => {}
            }
        }
    }

    async fn open_shards(&self) -> Result<Arc<ShardMap>, CallError> {
        let shards = self.kinesis.open_shards().await?;
        // A stream that is being created or deleted has none for a while.
        ShardMap::new(shards).map(Arc::new).ok_or_else(|| CallError {
            operation: LIST_SHARDS,
            class: Class::Transient,
            cause: Cause::Service,
            code: "BadReply".into(),
            message: "no shard is open".into(),
        })
    }

    /// Takes note of how a call went, and logs a change. Returns the time from the start of this
    /// call to the next one.
    fn fared<T>(
        &self,
        outcome: &Result<T, CallError>,
        of: impl Fn(&mut Calls) -> &mut Fares,
        action: &str,
        meanwhile: &str,
    ) -> Duration {
        let now = SystemTime::now();
        let mut before = Fares::default();
        self.calls.send_modify(|calls| {
            let fares = of(calls);
            before = *fares;
            *fares = fares.after(outcome.is_ok(), now);
        });
        let Err(error) = outcome else {
            if before.failures > 0 {
                tracing::info!(
                    action,
                    failures = before.failures,
                    "a call for what is known of the stream succeeds again"
                );
            }
            return EVERY;
        };
        self.recent_errors.note(error.operation, &error.code, &error.message, now);
        if before.failures == 0 {
            tracing::warn!(
                call = error.operation,
                code = error.code,
                reason = error.message,
                to_do = error.advice(action),
                "{meanwhile}"
            );
        }
        match error.class {
            Class::Blocked(_) => AGAIN.max,
            _ => AGAIN.delay(before.failures.saturating_add(1), &mut rand::rng()),
        }
    }

    fn without_list(&self) -> &'static str {
        match self.facts.borrow().shards {
            None => {
                "the stream's shards are not known: events go out all the same, but a throttled \
                 shard is noticed only per key"
            }
            Some(_) => "the stream's shards cannot be listed now: the list of before serves",
        }
    }

    fn without_description(&self) -> &'static str {
        match self.facts.borrow().record_limit {
            None => {
                "the stream's record limit is not known: events over 1 MiB go alone and Kinesis' \
                 own word on them counts. Keys are taken to decide the shard"
            }
            Some(_) => {
                "the stream cannot be described now: its record limit is taken as known or \
                 configured, and who distributes its records as it was"
            }
        }
    }

    /// Logs a record limit that no stream can have, once for each such limit.
    fn tell_impossible(&self, summary: &Summary, told: &mut Option<i32>) {
        let before = std::mem::replace(told, summary.impossible_record_kib);
        if let Some(kib) = summary
            .impossible_record_kib
            .filter(|_| *told != before && self.record_bytes_max.is_none())
        {
            tracing::warn!(
                call = DESCRIBE_STREAM_SUMMARY,
                max_record_size_in_kib = kib,
                "the stream tells a record limit that cannot be: streams have {} KiB to {} MiB. It \
                 is taken as not told; set stream.max_record_bytes if you know it",
                RECORD_BYTES_MIN / KIB,
                RECORD_BYTES_MAX / MIB
            );
        }
    }

    /// Changes what is known. Returns whether that is different from what was known before.
    fn publish(&self, change: impl FnOnce(&mut StreamFacts)) -> bool {
        self.facts.send_if_modified(|known| {
            let before = known.clone();
            change(known);
            if *known != before {
                self.tell(&before, known);
            }
            *known != before
        })
    }

    fn tell(&self, before: &StreamFacts, now: &StreamFacts) {
        let shards = now.shards.as_ref().map_or(0, |shards| shards.len());
        self.metrics.shards.set(shards as f64);
        if (&before.shards, before.record_limit) != (&now.shards, now.record_limit) {
            tracing::info!(shards, record_bytes_max = now.record_limit, "stream");
        }
        if let Some(limit) = now.record_limit.filter(|_| before.record_limit != now.record_limit) {
            tell_carried(self.carried, limit);
        }
        let (was_auto, is_auto) =
            (before.distribution == Distribution::Auto, now.distribution == Distribution::Auto);
        self.metrics.ignores_keys.set(f64::from(u8::from(is_auto)));
        if is_auto && !was_auto {
            tracing::warn!(
                "the stream ignores partition keys (record distribution strategy AUTO): the order \
                 of a key is not kept there, nothing is aggregated, and throttling is noticed per \
                 key. Where order matters, set the strategy to USER_PARTITION_KEY"
            );
        }
        if was_auto && !is_auto {
            tracing::info!(
                "the stream goes by partition keys again (record distribution strategy \
                 USER_PARTITION_KEY): order and aggregation hold as configured"
            );
        }
    }
}

impl Fares {
    fn after(self, is_ok: bool, now: SystemTime) -> Self {
        if is_ok {
            Self { last_ok: Some(now), failures: 0, ..self }
        } else {
            Self { last_failed: Some(now), failures: self.failures.saturating_add(1), ..self }
        }
    }
}

/// What becomes of a request that comes before a call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    /// It is older than what is known by then: flights that were out together find the map old
    /// together, and one list corrects it for all. If the map is still wrong, the next reply makes
    /// a lane ask again.
    Forgotten,
    /// It is answered then. A request that was handed on is repeated by nobody once the new map is
    /// right.
    Kept,
}

/// Waits from a call that was made at `asked` to the next one: for `wait`, or until it is requested
/// after `not_before`. Returns whether it was. After a failed call nobody is listened to, since it
/// has its back-off.
async fn rest(
    asked: Instant,
    not_before: Duration,
    wait: Duration,
    requested: Option<&Notify>,
    early: Early,
) -> bool {
    let Some(requested) = requested else {
        sleep_until(asked + wait).await;
        return false;
    };
    sleep_until(asked + not_before).await;
    if early == Early::Forgotten {
        tokio::select! {
            biased;
            () = requested.notified() => {}
            () = std::future::ready(()) => {}
        }
    }
    tokio::select! {
        () = sleep_until(asked + wait) => false,
        () = requested.notified() => true,
    }
}

/// Logs that the stream takes larger records than memory carries.
fn tell_carried(carried: Carried, record_bytes_max: usize) {
    if carried.record_bytes < record_bytes_max {
        tracing::warn!(
            record_bytes_max,
            record_bytes_carried = carried.record_bytes,
            "the stream takes larger records than this daemon's memory carries: larger ones are \
             refused (EventTooLarge). To take them, {}",
            carried.to_carry(record_bytes_max)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(300);

    /// How long it rests if a lane asks at these seconds, and whether that ended the rest.
    async fn rests(requests: &[u64], hears: bool, early: Early) -> (u64, bool) {
        let (requested, began) = (Notify::new(), Instant::now());
        let lane = async {
            for second in requests {
                sleep_until(began + Duration::from_secs(*second)).await;
                requested.notify_one();
            }
            std::future::pending().await
        };
        let (not_before, lanes) = (Duration::from_secs(8), hears.then_some(&requested));
        tokio::select! {
            was_asked = rest(began, not_before, WAIT, lanes, early) => {
                (began.elapsed().as_secs(), was_asked)
            }
            () = lane => unreachable!("it never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_is_heard_once_the_map_can_be_wrong_again_and_not_after_a_call_that_failed() {
        for early in [Early::Forgotten, Early::Kept] {
            assert_eq!(rests(&[], true, early).await, (300, false));
            assert_eq!(rests(&[20], true, early).await, (20, true));
            assert_eq!(rests(&[20], false, early).await, (300, false));
        }
        assert_eq!(
            rests(&[1, 2, 3], true, Early::Forgotten).await,
            (300, false),
            "they are older than what was learnt since"
        );
        assert_eq!(rests(&[1, 9], true, Early::Forgotten).await, (9, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_handed_on_early_is_answered_as_soon_as_it_may_be() {
        // What could go wrong: the list is new by then, so no reply makes a lane ask again, and a
        // stream that distributes records itself is not noticed for five minutes.
        assert_eq!(rests(&[1, 2, 3], true, Early::Kept).await, (8, true));
    }

    #[test]
    fn a_call_counts_its_failures_in_a_row_and_remembers_both_ends() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let fares = Fares::default().after(true, at(1)).after(false, at(2)).after(false, at(3));
        assert_eq!(fares, Fares { last_ok: Some(at(1)), last_failed: Some(at(3)), failures: 2 });
        assert_eq!(
            fares.after(true, at(4)),
            Fares { last_ok: Some(at(4)), last_failed: Some(at(3)), failures: 0 }
        );
    }
}
