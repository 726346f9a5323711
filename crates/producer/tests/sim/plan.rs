//! What one seed stands for: the settings, the traffic, the faults, and when each thing happens. It
//! only draws: nothing here runs, and nothing but the seed decides.

use std::time::Duration;

use bytes::Bytes;
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{HashKey, PartitionKey, Reason, Record};
use dispatchd_producer::lane::Settings;
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::{Aggregation, KeyOrder};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Time since the run began.
pub(crate) type At = Duration;

/// One run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub settings: Settings,
    pub window: Window,
    /// The events in the order in which the lane gets them: that is the order to keep.
    pub events: Vec<Event>,
    pub keys_count: usize,
    /// Ids that callers chose.
    pub ids_count: usize,
    /// Whether all records of a key go to one shard. Explicit hash keys can part them.
    pub key_has_one_shard: bool,
    /// By how much groups of different connections may overtake each other between intake and lane.
    pub disorder: Duration,
    pub faults: Faults,
    /// From when on only poison fails, and what passes the limit of a shard.
    pub calm: At,
    /// The limit of each shard.
    pub limit: Option<Limit>,
    pub shards_count: u32,
    /// When the lane first learns of the shards, if ever.
    pub map_known: Option<At>,
    pub reshards: Vec<At>,
    pub drain: Option<At>,
    pub abandon: Option<At>,
    pub flight: (Duration, Duration),
    /// The part of the flights that takes far longer than the others.
    pub slow_ratio: f64,
    pub slow: Duration,
}

/// One line that a caller wrote.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub record: Record,
    /// The number of the id that its caller chose, if it did. Those of one id are the first and its
    /// copies.
    pub id: Option<usize>,
    /// What its caller said of it. Those of one id that say another thing are no copies, but a
    /// caller's mistake.
    pub said: u32,
    /// The key's number in this run.
    pub key: usize,
    pub accepted: At,
    pub pushed: At,
    /// Until when the caller waits; `None` where it does not say.
    pub deadline: Option<At>,
    /// Whether no request that holds it is ever taken.
    pub poison: bool,
}

/// What a shard takes. The lane thinks in shards of 1,000 records a second; that these are smaller
/// says to it that others use them too.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// This many records in each whole second of the clock.
    PerSecond(u32),
    Bucket {
        per_second: u32,
        burst: u32,
    },
}

/// What goes wrong, as ratios and periods.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub record_throttled: f64,
    pub record_failed: f64,
    /// The reply has an entry for the record that says nothing of it, whether it is stored or not.
    pub record_unclear: f64,
    pub request_throttled: f64,
    /// Transient, nothing stored; whether the error says that it may be is drawn.
    pub request_lost: f64,
    /// Transient, and all or a part is stored.
    pub reply_lost: f64,
    pub blocked: Option<(At, At, Reason)>,
    /// Every request is refused, in words that name no record.
    pub refuses_all: Option<(At, At)>,
    /// The shard at this position of the ring takes nothing for a time.
    pub shard_throttled: Option<(At, At, u128)>,
    pub poison_is: PoisonIs,
}

/// How a poison record shows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoisonIs {
    /// The request is refused and the message names the record.
    Named,
    /// The request is refused and the message names nothing.
    Unnamed,
    /// The request is refused and the message names a record that was not there.
    Misnamed,
    /// The record alone is refused, in a reply that takes the others.
    #[default]
    Record,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let settings = settings(rng);
        let span = ms(pick(rng, &[50, 400, 2000, 6000]));
        let calm = span.mul_f64(rng.random_range(0.5..2.0));
        let disorder = ms(pick(rng, &[0, 0, 3]));
        let has_poison = rng.random_bool(0.35);
        let key_has_one_shard = rng.random_bool(0.8);
        let keys = keys(rng);
        let mut events =
            events(rng, &settings, &keys, span, disorder, has_poison, key_has_one_shard);
        let ids_count = send_some_again(rng, &mut events, &keys, span, settings.timeout, disorder);
        let drain = rng.random_bool(0.5).then(|| span.mul_f64(rng.random_range(0.0..1.5)));
        let abandon =
            drain.filter(|_| rng.random_bool(0.4)).map(|at| at + ms(rng.random_range(1..4000)));
        let reshards_count = pick(rng, &[0, 0, 1, 3]);
        let limit = rng.random_bool(0.3).then(|| limit(rng));
        // Without other faults it shows most clearly that a shard which is full costs the others
        // nothing.
        let nothing_else = limit.is_some() && rng.random_bool(0.6);
        let mut plan = Self {
            settings,
            window: Window {
                ids_max: pick(rng, &[0, 1, 3, 20, 1000]),
                keep_for: ms(pick(rng, &[20, 500, 5000, 300_000])),
            },
            events,
            keys_count: keys.all.len(),
            ids_count,
            key_has_one_shard,
            disorder,
            faults: if nothing_else { Faults::default() } else { faults(rng, calm) },
            calm,
            limit,
            shards_count: pick(rng, &[1, 2, 4, 9]),
            map_known: pick(rng, &[None, Some(0.0), Some(0.0), Some(0.4)])
                .map(|part| span.mul_f64(part)),
            reshards: (0..reshards_count)
                .map(|_| span.mul_f64(rng.random_range(0.0..1.0)))
                .collect(),
            drain,
            abandon,
            flight: pick(rng, &[(ms(5), ms(20)), (ms(1), ms(300)), (ms(50), ms(60))]),
            slow_ratio: pick(rng, &[0.0, 0.0, 0.05]),
            slow: ms(3000),
        };
        plan.draw_deadlines(rng);
        plan
    }

    /// Some callers do not wait for as long as `delivery.timeout`.
    fn draw_deadlines(&mut self, rng: &mut SmallRng) {
        let (ratio, longest) = (pick(rng, &[0.0, 0.0, 0.2, 1.0]), pick(rng, &[3, 30, 300, 3000]));
        for event in &mut self.events {
            let waits = ms(longest).mul_f64(rng.random_range(0.0..1.0));
            event.deadline = rng.random_bool(ratio).then_some(event.accepted + waits);
        }
    }

    /// From when on an event that is not in flight is overdue.
    pub(crate) fn overdue(&self, event: usize) -> At {
        let Event { accepted, deadline, .. } = self.events[event];
        (accepted + self.settings.timeout).min(deadline.unwrap_or(At::MAX))
    }

    /// Within this time everything is answered, whatever was drawn.
    pub(crate) fn deadline(&self) -> At {
        let last_push = self.events.last().map_or(Duration::ZERO, |event| event.pushed);
        let flight_longest = self.flight.1.max(self.slow);
        let poison_count = self.events.iter().filter(|event| event.poison).count();
        // The worst case sends one record at a time; a poison record takes a few rounds more.
        let rounds = u32::try_from(self.events.len() + 10 * poison_count).expect("a run is small");
        let probe_longest = Duration::from_secs(31);
        // A shard at its limit rests no longer than it has stored nothing, within a factor.
        let seconds_at_limit = self.limit.map_or(0, |limit| {
            1 + u32::try_from(self.events.len()).unwrap_or(u32::MAX) / limit.per_second()
        });
        // Two poison records that get the same words are taken for a stream that refuses all, and
        // are tried until they are late.
        let doubted = self.faults.poison_is == PoisonIs::Unnamed && poison_count > 0;
        let late = if doubted { self.settings.timeout + probe_longest } else { Duration::ZERO };
        self.calm.max(last_push)
            + late
            + probe_longest
            + 3 * self.settings.backoff.max
            + rounds * (flight_longest + self.settings.linger)
            + seconds_at_limit * Duration::from_secs(3)
    }
}

impl Limit {
    pub(crate) fn per_second(self) -> u32 {
        match self {
            Limit::PerSecond(count) | Limit::Bucket { per_second: count, .. } => count,
        }
    }
}

fn settings(rng: &mut SmallRng) -> Settings {
    let backoff = |(min, max)| Backoff { min: ms(min), max: ms(max) };
    Settings {
        linger: ms(pick(rng, &[0, 1, 10, 50])),
        max_records: pick(rng, &[1, 3, 10, 50, 500]),
        max_bytes: pick(rng, &[300, 2000, 20_000]),
        max_in_flight: pick(rng, &[1, 2, 4, 16]),
        ordering: pick(rng, &[KeyOrder::Strict, KeyOrder::Strict, KeyOrder::Relaxed]),
        aggregation: pick(
            rng,
            &[Aggregation::Off, Aggregation::Off, Aggregation::Key, Aggregation::Shard],
        ),
        aggregate_max_bytes: pick(rng, &[200, 1000]),
        timeout: ms(pick(rng, &[400, 2000, 10_000, 120_000])),
        backoff: backoff(pick(rng, &[(1, 10), (20, 200), (50, 5000), (100, 600)])),
    }
}

fn limit(rng: &mut SmallRng) -> Limit {
    let per_second = pick(rng, &[4, 20, 60]);
    match rng.random_bool(0.5) {
        true => Limit::PerSecond(per_second),
        false => Limit::Bucket { per_second, burst: pick(rng, &[1, per_second / 4, per_second]) },
    }
}

/// The keys of a run: the first few are hot.
struct Keys {
    hot_count: usize,
    all: Vec<(PartitionKey, Option<HashKey>)>,
}

fn keys(rng: &mut SmallRng) -> Keys {
    let (hot_count, cold_count) = (rng.random_range(1..=3), rng.random_range(1..=60));
    let explicit_ratio = pick(rng, &[0.0, 0.0, 0.3]);
    // As long as a key may be.
    let end = if rng.random_bool(0.1) { "\u{1F511}".repeat(240) } else { String::new() };
    let all = (0..hot_count + cold_count).map(|number| {
        let key = PartitionKey::new(format!("key-{number}{end}")).expect("at most 256 characters");
        let explicit = rng.random_bool(explicit_ratio).then(|| HashKey(rng.random()));
        (key, explicit)
    });
    Keys { hot_count, all: all.collect() }
}

/// Bursts of events over `span`.
fn events(
    rng: &mut SmallRng,
    settings: &Settings,
    keys: &Keys,
    span: Duration,
    disorder: Duration,
    has_poison: bool,
    key_has_one_shard: bool,
) -> Vec<Event> {
    let count = rng.random_range(20..=100);
    let hot_ratio = pick(rng, &[0.0, 0.3, 0.8]);
    let large_ratio = pick(rng, &[0.0, 0.0, 0.15]);
    let mut events: Vec<Event> = Vec::with_capacity(count);
    let mut pushed = Duration::from_millis(1) + disorder;
    while events.len() < count {
        let burst_most = pick(rng, &[1, 4, 30]);
        for _ in 0..rng.random_range(1..=burst_most).min(count - events.len()) {
            let hot = rng.random_bool(hot_ratio);
            let key = rng.random_range(if hot {
                0..keys.hot_count
            } else {
                keys.hot_count..keys.all.len()
            });
            let (name, explicit) = &keys.all[key];
            let large = rng.random_bool(large_ratio);
            let len = if large {
                settings.max_bytes * rng.random_range(40..130) / 100
            } else {
                rng.random_range(4..120)
            };
            let own_place = !key_has_one_shard && rng.random_bool(0.3);
            events.push(Event {
                record: Record::new(
                    name.clone(),
                    if own_place { Some(HashKey(rng.random())) } else { *explicit },
                    Bytes::from(vec![0; len.max(4)]),
                ),
                id: None,
                said: 0,
                key,
                accepted: pushed.saturating_sub(disorder.mul_f64(rng.random_range(0.0..1.0))),
                pushed,
                deadline: None,
                poison: has_poison && rng.random_bool(0.04),
            });
        }
        // On average the bursts fill the span; some come at once, some late.
        let gap = span.mul_f64(8.0 / count as f64 * rng.random_range(0.0..1.0));
        pushed += if rng.random_bool(0.2) { Duration::ZERO } else { gap };
    }
    events
}

/// Gives some events an id of their callers' choice and sends some of these again, then numbers all
/// of them. Returns how many ids there are.
fn send_some_again(
    rng: &mut SmallRng,
    events: &mut Vec<Event>,
    keys: &Keys,
    span: Duration,
    timeout: Duration,
    disorder: Duration,
) -> usize {
    let chosen_ratio = pick(rng, &[0.0, 0.2, 0.7]);
    let again_ratio = pick(rng, &[0.1, 0.5]);
    let mut ids_count = 0;
    for first in 0..events.len() {
        if !rng.random_bool(chosen_ratio) {
            continue;
        }
        events[first].id = Some(ids_count);
        ids_count += 1;
        let copies_count = if rng.random_bool(again_ratio) { rng.random_range(1..=3) } else { 0 };
        for number in 0..copies_count {
            let mut copy = events[first].clone();
            // While the first is on its way; once it is answered; when it may be given up, or
            // forgotten.
            copy.pushed += pick(rng, &[ms(5), ms(100), span, 2 * span, 2 * timeout.min(span)])
                .mul_f64(rng.random_range(0.0..1.0));
            copy.accepted =
                copy.pushed.saturating_sub(disorder.mul_f64(rng.random_range(0.0..1.0)));
            if rng.random_bool(0.2) {
                // The caller broke its word: it is another event, mostly of another key.
                copy.said = 1 + number;
                copy.key = rng.random_range(0..keys.all.len());
                let (name, explicit) = &keys.all[copy.key];
                copy.record = Record::new(name.clone(), *explicit, copy.record.data);
                copy.poison = false;
            }
            events.push(copy);
        }
    }
    events.sort_by_key(|event| event.pushed);
    for (number, event) in events.iter_mut().enumerate() {
        let mut data = event.record.data.to_vec();
        data[..4].copy_from_slice(&u32::try_from(number).expect("a run is small").to_le_bytes());
        event.record.data = Bytes::from(data);
    }
    ids_count
}

fn faults(rng: &mut SmallRng, calm: At) -> Faults {
    let mut ratio =
        |often: f64| if rng.random_bool(often) { pick(rng, &[0.02, 0.1, 0.4]) } else { 0.0 };
    let (record_throttled, record_failed, record_unclear) = (ratio(0.4), ratio(0.4), ratio(0.2));
    let (request_throttled, request_lost, reply_lost) = (ratio(0.25), ratio(0.3), ratio(0.4));
    let reason = pick(
        rng,
        &[Reason::AccessDenied, Reason::Credentials, Reason::StreamNotFound, Reason::Kms],
    );
    let mut period = |often: f64| {
        let from = calm.mul_f64(rng.random_range(0.0..1.0));
        rng.random_bool(often)
            .then(|| (from, from + (calm - from).mul_f64(rng.random_range(0.1..1.0))))
    };
    let (blocked, shard, refuses_all) = (period(0.25), period(0.3), period(0.15));
    Faults {
        record_throttled,
        record_failed,
        record_unclear,
        request_throttled,
        request_lost,
        reply_lost,
        blocked: blocked.map(|(from, to)| (from, to, reason)),
        refuses_all,
        shard_throttled: shard.map(|(from, to)| (from, to, rng.random())),
        poison_is: pick(
            rng,
            &[PoisonIs::Named, PoisonIs::Unnamed, PoisonIs::Misnamed, PoisonIs::Record],
        ),
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut SmallRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
