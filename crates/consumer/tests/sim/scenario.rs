//! What a seed stands for: the rules of a target, what is written and when, and every fault.

use std::time::Duration;

use dispatchd_consumer::delivery::{Delivered, GiveUp, Rules};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Milliseconds since the run began.
pub(crate) type At = u64;

/// When the last event is written, the last crash is over and the last fault of a target ends.
pub(crate) const CALM_AT: At = 120_000;

#[derive(Debug)]
pub(crate) struct Scenario {
    pub rules: Rules,
    /// Whether reading begins with what is stored from then on.
    pub is_latest: bool,
    pub shards: usize,
    /// In the order in which they are written.
    pub records: Vec<Planned>,
    /// One for each event of the records.
    pub events: Vec<Event>,
    pub reshards: Vec<At>,
    pub crashes: Vec<At>,
    pub stops: Vec<At>,
    pub phases: Vec<(At, Phase)>,
    /// Whether the target names the first record that it failed for.
    pub is_partial: bool,
    pub latency_max: At,
    /// Of 100 calls each: how many fail.
    pub persist_fails: u32,
    pub keeping_fails: u32,
    pub throttled: u32,
    pub expired: u32,
    pub responses_lost: u32,
}

/// A record of the stream.
#[derive(Debug)]
pub(crate) struct Planned {
    pub at: At,
    /// Indices of its events: many, if it is packed.
    pub events: Vec<usize>,
    pub is_packed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub key: Option<u8>,
    pub bytes: usize,
    pub is_wanted: bool,
    pub nature: Nature,
}

/// What a target that works says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Fine,
    /// It fails so many times.
    Flaky(u32),
    /// It fails until all is calm, or for ever where events are given up.
    Poison,
    /// It is refused as long as that.
    Refused,
}

/// How a target is for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Works,
    /// Nobody listens.
    Down,
    /// 503, and it asks to be left alone for so many seconds.
    Busy(u64),
    /// 500 for everything.
    Broken,
    /// 401 for everything.
    RefusesUs,
    /// 400 for everything.
    RefusesAll,
}

pub(crate) fn bytes_of(record: &Delivered) -> usize {
    record.data.len()
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rng = &mut rng;
        let rules = rules(rng);
        let (records, events) = records(rng);
        let is_rough = rng.random_ratio(4, 5);
        let mut rate = |max| if is_rough { rng.random_range(0..=max) } else { 0 };
        let (persist_fails, keeping_fails, throttled) = (rate(40), rate(40), rate(40));
        let (expired, responses_lost) = (rate(20), rate(15));
        Self {
            rules,
            is_latest: rng.random_ratio(1, 4),
            shards: rng.random_range(1..=2),
            records,
            events,
            reshards: times(rng, 3),
            crashes: times(rng, 2),
            stops: times(rng, 2),
            phases: phases(rng),
            is_partial: rng.random_ratio(1, 2),
            latency_max: rng.random_range(1..3000),
            persist_fails,
            keeping_fails,
            throttled,
            expired,
            responses_lost,
        }
    }

    pub(crate) fn phase(&self, now: At) -> Phase {
        let began = self.phases.iter().rev().find(|(at, _)| *at <= now);
        began.map_or(Phase::Works, |(_, phase)| *phase)
    }

    /// Whether what a target has against an event lasts for ever.
    pub(crate) fn gives_up_events(&self) -> bool {
        self.rules.give_up.is_some_and(|give_up| give_up.retries_max.is_some())
    }
}

fn rules(rng: &mut SmallRng) -> Rules {
    let windows = [0, 0, 300, 2500];
    let give_up = rng.random_ratio(3, 5).then(|| GiveUp {
        retries_max: rng.random_ratio(3, 4).then(|| rng.random_range(0..4)),
        age_max: rng.random_ratio(1, 3).then(|| Duration::from_secs(rng.random_range(5..90))),
    });
    Rules {
        batch_records: rng.random_range(1..=6),
        batch_bytes: rng.random_range(20..300),
        batch_window: Duration::from_millis(windows[rng.random_range(0..windows.len())]),
        strands: if rng.random_ratio(1, 2) { 1 } else { rng.random_range(2..=4) },
        bisect: rng.random_ratio(1, 2),
        give_up,
        ..Rules::new(bytes_of)
    }
}

fn records(rng: &mut SmallRng) -> (Vec<Planned>, Vec<Event>) {
    let (mut records, mut events) = (Vec::new(), Vec::new());
    let (keys, skipped) = (rng.random_range(1..12), rng.random_range(0..50));
    let (ill, ill_times) = (rng.random_range(0..15), rng.random_range(1..4));
    for at in times(rng, 40) {
        let is_packed = rng.random_ratio(1, 5);
        let members = if is_packed { rng.random_range(1..6) } else { 1 };
        let first = events.len();
        for _ in 0..members {
            let nature = match rng.random_range(0..3) {
                _ if rng.random_range(0..100) >= ill => Nature::Fine,
                0 => Nature::Flaky(ill_times),
                1 => Nature::Poison,
                _ => Nature::Refused,
            };
            events.push(Event {
                key: rng.random_ratio(9, 10).then(|| rng.random_range(0..keys)),
                bytes: rng.random_range(8..50),
                is_wanted: rng.random_range(0..100) >= skipped,
                nature,
            });
        }
        records.push(Planned { at, events: (first..events.len()).collect(), is_packed });
    }
    (records, events)
}

fn phases(rng: &mut SmallRng) -> Vec<(At, Phase)> {
    let mut phases: Vec<(At, Phase)> = times(rng, 5)
        .into_iter()
        .map(|at| {
            let phase = match rng.random_range(0..8) {
                0 => Phase::Down,
                1 => Phase::Busy(rng.random_range(0..4)),
                2 => Phase::Broken,
                3 => Phase::RefusesUs,
                4 => Phase::RefusesAll,
                _ => Phase::Works,
            };
            (at, phase)
        })
        .collect();
    phases.push((CALM_AT, Phase::Works));
    phases
}

fn times(rng: &mut SmallRng, max: usize) -> Vec<At> {
    let count = rng.random_range(0..=max);
    let mut times: Vec<At> = (0..count).map(|_| rng.random_range(0..CALM_AT)).collect();
    times.sort_unstable();
    times
}
