//! What a lane does between two waits, one promise a test. Times are milliseconds since the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, HistogramFn};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::lane::dedupe::Window;
use crate::lane::flight::Reply;
use crate::lane::test_support::{Kit, facts, failed, ms, settings, shards, stored};
use dispatchd_core::limits::MIB;
use dispatchd_core::model::{Class, PutError};

/// Lanes with a budget and gauges in a test's hands.
struct World {
    kit: Kit,
    shared: LaneShared,
    in_flight: Arc<AtomicU64>,
    held: Arc<AtomicU64>,
    rng: SmallRng,
}

impl World {
    fn new() -> Self {
        let (in_flight, held) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut metrics = LaneMetrics::register();
        metrics.put_records_in_flight = Gauge::from_arc(Arc::clone(&in_flight));
        metrics.keys_held_by_order = Gauge::from_arc(Arc::clone(&held));
        let window = Window { ids_max: 10, keep_for: ms(60_000) };
        let shared = LaneShared {
            dedupe: Arc::new(Mutex::new(Dedupe::new(window))),
            metrics: Arc::new(metrics),
            budget: Budget::new(64 * MIB),
            outage: Arc::default(),
        };
        Self { kit: Kit::new(settings()), shared, in_flight, held, rng: SmallRng::seed_from_u64(7) }
    }

    fn lane(&self, settings: Settings) -> Lane {
        Lane::new(settings, self.shared.clone(), OldestEvent::new(self.kit.at(0)))
    }

    /// Puts events of this key in.
    fn take_in(&self, lane: &mut Lane, key: &str, count: u128) {
        lane.take_in((0..count).map(|id| self.kit.item_of(id, key)).collect(), self.kit.at(0));
    }

    /// What is sent in a turn, and what is to be done then.
    fn turn(&self, lane: &mut Lane, at_ms: u64) -> (Vec<Batch>, Wait) {
        let mut sent = Vec::new();
        let wait = lane.turn(self.kit.at(at_ms), |batch| sent.push(batch));
        (sent, wait)
    }

    fn land(&mut self, lane: &mut Lane, at_ms: u64, batch: Batch, reply: Reply) -> News {
        lane.land(Landed { batch, reply, took: ms(5) }, self.kit.at(at_ms), &mut self.rng)
    }

    fn shown(gauge: &AtomicU64) -> f64 {
        f64::from_bits(gauge.load(Ordering::Relaxed))
    }
}

/// Seconds from accepted to acked.
#[derive(Debug, Default)]
struct Acks(Mutex<Vec<f64>>);

impl HistogramFn for Acks {
    fn record(&self, seconds: f64) {
        self.0.lock().expect("no test fails in it").push(seconds);
    }
}

fn refusal(message: &str) -> Reply {
    let (class, code) = (Class::Poison, "ValidationException".to_owned());
    let message = message.to_owned();
    Err(PutError { class, cause: class.into(), code, message, maybe_stored: false })
}

#[test]
fn what_is_late_is_answered_in_the_turn_that_finds_it() {
    let world = World::new();
    let mut lane = world.lane(settings());
    world.take_in(&mut lane, "a", 1);
    lane.learn(StreamFacts::unknown(None), world.kit.at(0));
    let (sent, wait) = world.turn(&mut lane, 1000);
    assert!(sent.is_empty() && lane.is_empty());
    assert_eq!(wait, Wait { until: None, gives_memory_back: false, holds_many: false });
}

#[test]
fn what_a_lane_learns_of_its_stream_is_told_to_whoever_asks() {
    let world = World::new();
    let mut lane = world.lane(settings());
    lane.learn(facts(Some(shards(&[0, 1 << 127]))), world.kit.at(0));
    assert_eq!(lane.report(world.kit.at(0)).shards.len(), 2);
}

#[test]
fn an_event_lingers_until_a_stop_begins_or_other_settings_say_so() {
    let world = World::new();
    let at = world.kit.at(0);
    for is_stop in [true, false] {
        let mut lane = world.lane(settings());
        world.take_in(&mut lane, "a", 1);
        assert!(world.turn(&mut lane, 0).0.is_empty() && !lane.is_draining());
        if is_stop {
            lane.drain(at);
        } else {
            lane.set_settings(Settings { linger: ms(0), ..settings() }, at);
        }
        assert_eq!((world.turn(&mut lane, 0).0.len(), lane.is_draining()), (1, is_stop));
        assert!(!lane.is_empty(), "it is in flight");
    }
}

#[test]
fn a_lane_says_once_that_it_holds_many_events_of_one_key() {
    let world = World::new();
    let mut lane = world.lane(Settings { timeout: ms(60_000), ..settings() });
    world.take_in(&mut lane, "a", 499);
    assert!(!world.turn(&mut lane, 0).1.holds_many);
    world.take_in(&mut lane, "a", 1);
    assert!(world.turn(&mut lane, 0).1.holds_many);
    assert!(!world.turn(&mut lane, 0).1.holds_many);
}

#[test]
fn memory_is_given_back_in_the_turn_that_a_burst_asks_for_and_once() {
    let world = World::new();
    let mut lane = world.lane(settings());
    let burst = world.shared.budget.connection().try_take(16 * MIB).expect("it is free");
    assert_eq!(world.turn(&mut lane, 0).1.until, None, "the burst goes on");
    drop(burst);
    let (_, wait) = world.turn(&mut lane, 1);
    assert_eq!((wait.until, wait.gives_memory_back), (Some(world.kit.at(301)), false));
    let (_, wait) = world.turn(&mut lane, 301);
    assert_eq!((wait.until, wait.gives_memory_back), (None, true));
    let (_, wait) = world.turn(&mut lane, 302);
    assert_eq!((wait.until, wait.gives_memory_back), (None, false));
}

#[test]
fn what_lanes_show_adds_up_and_goes_back_to_nothing() {
    let mut world = World::new();
    let mut lanes = [world.lane(settings()), world.lane(settings())];
    let mut flights = Vec::new();
    for (lane, key) in lanes.iter_mut().zip(["a", "b"]) {
        world.take_in(lane, key, 2);
        flights.extend(world.turn(lane, 10).0);
    }
    let shown = |world: &World| (World::shown(&world.in_flight), World::shown(&world.held));
    assert_eq!(shown(&world), (2.0, 2.0));
    for (lane, batch) in lanes.iter_mut().zip(flights) {
        world.land(lane, 20, batch, Ok(vec![stored()]));
        lane.abandon(world.kit.at(20));
        assert!(lane.is_empty());
    }
    assert_eq!(shown(&world), (0.0, 0.0));
}

#[test]
fn a_reply_leaves_the_first_error_for_the_operator_and_none_for_a_throttled_record() {
    let mut world = World::new();
    let mut lane = world.lane(settings());
    for key in ["a", "b"] {
        world.take_in(&mut lane, key, 1);
    }
    let batch = world.turn(&mut lane, 10).0.pop().expect("both are due");
    let verdicts = vec![failed(Class::Throttled), failed(Class::Poison)];
    let news = world.land(&mut lane, 20, batch, Ok(verdicts));
    let kept = KeptError { code: "Code".into(), message: "the caller was told why".into() };
    assert_eq!((news.error, news.failed), (Some(kept), None));
    let batch = world.turn(&mut lane, 200).0.pop().expect("it has cooled");
    let news = world.land(&mut lane, 210, batch, Ok(vec![failed(Class::Throttled)]));
    assert_eq!((news.error, news.failed, news.map_is_old), (None, None, false));
}

#[test]
fn a_record_that_failed_is_counted_whether_the_stream_may_take_it_later_or_is_blocked() {
    let mut world = World::new();
    let counted: [Arc<AtomicU64>; 4] = Default::default();
    let mut metrics = LaneMetrics::register();
    let [stored_to, throttled, failed_to, rejected] =
        counted.each_ref().map(|counter| Counter::from_arc(Arc::clone(counter)));
    (metrics.records_stored, metrics.records_throttled) = (stored_to, throttled);
    (metrics.records_failed, metrics.records_rejected) = (failed_to, rejected);
    world.shared.metrics = Arc::new(metrics);
    let mut lane = world.lane(Settings { max_records: 6, ..settings() });
    for key in ["a", "b", "c", "d", "e", "f"] {
        world.take_in(&mut lane, key, 1);
    }
    let batch = world.turn(&mut lane, 10).0.pop().expect("it is full");
    let classes = [
        Class::Throttled,
        Class::Transient,
        Class::Transient,
        Class::Blocked(Reason::AccessDenied),
    ];
    let verdicts = classes.map(failed).into_iter().chain([stored(), failed(Class::Poison)]);
    world.land(&mut lane, 20, batch, Ok(verdicts.collect()));
    assert_eq!(counted.map(|it| it.load(Ordering::Relaxed)), [1, 1, 3, 1]);
}

#[test]
fn each_ack_is_timed_from_when_its_own_event_was_accepted() {
    let mut world = World::new();
    let acks = Arc::<Acks>::default();
    let mut metrics = LaneMetrics::register();
    metrics.ack_duration = Histogram::from_arc(Arc::clone(&acks));
    world.shared.metrics = Arc::new(metrics);
    let mut lane = world.lane(settings());
    for (key, accepted_ms) in [("a", 0), ("b", 0), ("c", 4)] {
        let mut item = world.kit.item_of(1, key);
        item.accepted = world.kit.at(accepted_ms);
        lane.take_in(vec![item], world.kit.at(accepted_ms));
    }
    let batch = world.turn(&mut lane, 10).0.pop().expect("all are due");
    world.land(&mut lane, 20, batch, Ok(vec![stored(); 3]));
    assert_eq!(*acks.0.lock().expect("no test fails in it"), [0.020, 0.020, 0.016]);
}

#[test]
fn a_stream_that_refuses_every_record_is_an_outage_and_its_words_are_told() {
    let mut world = World::new();
    let mut lane = world.lane(Settings { max_records: 1, ..settings() });
    let mut told = Vec::new();
    for (id, key) in [(1, "a"), (2, "b")] {
        lane.take_in(vec![world.kit.item_of(id, key)], world.kit.at(0));
        let batch = world.turn(&mut lane, 10).0.pop().expect("it is full");
        let news = world.land(&mut lane, 20, batch, refusal("no stream of this name"));
        let failed = news.failed.expect("the whole request failed");
        assert_eq!((&*failed.reason, failed.records), ("the caller was told why", 1));
        told.push((news.error.expect("it is kept").message, news.outage.is_some()));
    }
    let words = |text: &str| text.to_owned();
    assert_eq!(
        told,
        [(words("the caller was told why"), false), (words("no stream of this name"), true)]
    );
    let cause = world.shared.outage.standing(world.kit.at(20)).map(|standing| standing.cause);
    assert_eq!(cause, Some(Cause::Blocked(Reason::RequestRefused)));
}
