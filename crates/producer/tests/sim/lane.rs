//! The lane as it ships, and what can be seen of it from outside: what it sends, when it wants to
//! be called again, and what its gauges show. It decides nothing and looks into nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dispatchd_core::model::StreamFacts;
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::dedupe::{Dedupe, Window};
use dispatchd_producer::lane::metrics::{LaneMetrics, OldestEvent};
use dispatchd_producer::lane::{Batch, BoxedItem, Landed, Lane, LaneShared, News, Settings, Wait};
use metrics::{Counter, Gauge};
use rand::rngs::SmallRng;

use crate::plan::At;

/// A lane with the handles of its metrics.
#[derive(Debug)]
pub(crate) struct WatchedLane {
    lane: Lane,
    base: Instant,
    window: Arc<Mutex<Dedupe>>,
    oldest: Arc<OldestEvent>,
    flights: Arc<AtomicU64>,
    keys_cooling: Arc<AtomicU64>,
    keys_held: Arc<AtomicU64>,
    deduplicated: Arc<AtomicU64>,
}

/// What an operator and a scrape are shown of a lane.
#[derive(Debug)]
pub(crate) struct Shown {
    pub flights: usize,
    pub keys_cooling: usize,
    pub keys_held: usize,
    pub is_blocked: bool,
    /// Whether the daemon's drain may end.
    pub is_empty: bool,
    /// When the oldest event was accepted, by the millisecond.
    pub oldest: Option<At>,
}

impl WatchedLane {
    /// `base`: when the run began.
    pub(crate) fn new(
        settings: Settings,
        window: Window,
        budget: Arc<Budget>,
        base: Instant,
    ) -> Self {
        let [flights, keys_cooling, keys_held, deduplicated] =
            std::array::from_fn(|_| Arc::<AtomicU64>::default());
        let mut metrics = LaneMetrics::register();
        metrics.put_records_in_flight = Gauge::from_arc(Arc::clone(&flights));
        metrics.keys_cooling = Gauge::from_arc(Arc::clone(&keys_cooling));
        metrics.keys_held_by_order = Gauge::from_arc(Arc::clone(&keys_held));
        metrics.events_deduplicated = Counter::from_arc(Arc::clone(&deduplicated));
        let (window, oldest) = (Arc::new(Mutex::new(Dedupe::new(window))), OldestEvent::new(base));
        let shared = LaneShared {
            dedupe: Arc::clone(&window),
            metrics: Arc::new(metrics),
            budget,
            outage: Arc::default(),
        };
        let lane = Lane::new(settings, shared, Arc::clone(&oldest));
        Self { lane, base, window, oldest, flights, keys_cooling, keys_held, deduplicated }
    }

    /// What is sent at `now`, and until when the lane waits.
    pub(crate) fn turn(&mut self, now: Instant) -> (Vec<Batch>, Option<At>) {
        let mut sent = Vec::new();
        let Wait { until, .. } = self.lane.turn(now, |batch| sent.push(batch));
        (sent, until.map(|until| until.duration_since(self.base)))
    }

    /// Takes events in, as a group of a reader's.
    pub(crate) fn take_in(&mut self, items: Vec<BoxedItem>, now: Instant) {
        self.lane.take_in(items, now);
    }

    pub(crate) fn land(&mut self, landed: Landed, now: Instant, rng: &mut SmallRng) -> News {
        self.lane.land(landed, now, rng)
    }

    pub(crate) fn learn(&mut self, facts: StreamFacts, now: Instant) {
        self.lane.learn(facts, now);
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        self.lane.drain(now);
    }

    /// The deadline of the drain. Returns the dedupe window, which lives as long as any lane.
    pub(crate) fn abandon(mut self, now: Instant) -> Arc<Mutex<Dedupe>> {
        self.lane.abandon(now);
        self.window
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lane.is_empty()
    }

    pub(crate) fn is_blocked(&self, now: Instant) -> bool {
        self.lane.report(now).blocked.is_some()
    }

    /// Copies that were known for it so far.
    pub(crate) fn deduplicated(&self) -> u64 {
        self.deduplicated.load(Ordering::Relaxed)
    }

    pub(crate) fn shown(&self, now: Instant) -> Shown {
        let gauge = |gauge: &AtomicU64| f64::from_bits(gauge.load(Ordering::Relaxed)) as usize;
        let age = Duration::from_secs_f64(self.oldest.age_seconds(now));
        let is_old = !age.is_zero() || !self.is_empty();
        Shown {
            flights: gauge(&self.flights),
            keys_cooling: gauge(&self.keys_cooling),
            keys_held: gauge(&self.keys_held),
            is_blocked: self.is_blocked(now),
            is_empty: self.is_empty(),
            oldest: is_old.then(|| now.duration_since(self.base).saturating_sub(age)),
        }
    }
}
