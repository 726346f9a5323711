//! One shard of four asked for too much, for a minute of virtual time: real lanes against the
//! model stream with the limits of Kinesis. It asks for shares and waits, not for promises, so it
//! keeps sums and watches no single event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dispatchd_core::limits::RECORD_BYTES_DEFAULT;
use dispatchd_core::model::{
    Distribution, EventAnswer, PartitionKey, Record, StreamFacts, Verdict,
};
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::{Batch, Landed, Settings};
use dispatchd_producer::ticket::EventId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::caller::Caller;
use crate::copies;
use crate::lane::WatchedLane;
use crate::plan::{At, Limit, ms};
use crate::stream::Stream;

const SHARDS_COUNT: u32 = 4;
/// Keys of a shard: enough that strict order does not limit it.
const KEYS_COUNT: u128 = 4000;
/// An event for one of the other shards comes in, to each lane.
const COLD_EVERY_MS: u128 = 3;
const LINGER: Duration = ms(10);
const FLIGHT_LONGEST: Duration = ms(20);

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How many lanes send to the same stream.
    pub lanes: usize,
    pub limit: Limit,
    /// Events a millisecond for the first shard, to each lane.
    pub hot_per_ms: u32,
    pub seconds: u64,
    /// Whether the pace is forgotten after every reply.
    pub without_pace: bool,
}

/// What became of it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Shares {
    /// The part of the records sent to the hot shard that was refused.
    pub refused: f64,
    /// The part of what the hot shard could take that each lane used.
    pub used: Vec<f64>,
    /// The longest that an event for another shard took to be durable.
    pub cold_longest: Duration,
    /// Events for other shards: durable, and not yet.
    pub cold_durable: usize,
    pub cold_open: usize,
}

impl Shares {
    /// What one may ask of senders that share a shard with nobody but their like, and does not get.
    pub(crate) fn complaints(&self) -> Vec<&'static str> {
        let each = if self.used.len() == 1 { 0.95 } else { 0.35 };
        let longest = LINGER + FLIGHT_LONGEST;
        // At the end those of the last moment are open, at most one a millisecond.
        let open_most = self.used.len() * longest.as_millis() as usize;
        let asked = [
            ("few are refused", self.refused < 0.10),
            ("the shard is used", self.used.iter().sum::<f64>() >= 0.95),
            ("each has its share", self.used.iter().all(|used| *used >= each)),
            (
                "other shards do not wait",
                self.cold_longest <= longest && self.cold_open <= open_most,
            ),
            ("other shards are sent to", self.cold_durable > 1000),
        ];
        asked.into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Arrives(usize),
    Lands(usize),
    Timer(usize),
    /// Events come in, every millisecond.
    Events,
}

#[derive(Debug)]
struct Flight {
    lane: usize,
    batch: Batch,
    sent: At,
    verdicts: Vec<Verdict>,
}

/// An event that is on its way.
#[derive(Debug, Clone, Copy)]
struct Sent {
    lane: usize,
    is_hot: bool,
    accepted: At,
}

#[derive(Debug)]
struct Overload {
    load: Load,
    base: Instant,
    now: At,
    lanes: Vec<WatchedLane>,
    stream: Stream,
    caller: Caller,
    todo: BTreeMap<(At, Todo), ()>,
    /// When the timer of each lane goes off.
    timers: Vec<Option<At>>,
    flights: BTreeMap<usize, Flight>,
    flights_count: usize,
    /// The events by their lines.
    events: Vec<Sent>,
    rng: SmallRng,
    hot_sent: usize,
    hot_stored: Vec<usize>,
    shares: Shares,
}

pub(crate) fn run(load: Load) -> Shares {
    let stream = Stream::new(SHARDS_COUNT, Some(load.limit));
    let base = Instant::now();
    let (settings, caller) = (Settings::default(), Caller::new());
    let window = Window { ids_max: 0, keep_for: Duration::ZERO };
    let lane = |_| WatchedLane::new(settings, window, Arc::clone(caller.budget()), base);
    let mut lanes: Vec<_> = (0..load.lanes).map(lane).collect();
    let (shards, record_limit) = (Some(stream.map()), Some(RECORD_BYTES_DEFAULT));
    let facts = StreamFacts { shards, record_limit, distribution: Distribution::ByKey };
    lanes.iter_mut().for_each(|lane| lane.learn(facts.clone(), base));
    let mut overload = Overload {
        load,
        base,
        now: At::ZERO,
        lanes,
        stream,
        caller,
        todo: BTreeMap::from([((At::ZERO, Todo::Events), ())]),
        timers: vec![None; load.lanes],
        flights: BTreeMap::new(),
        flights_count: 0,
        events: Vec::new(),
        rng: SmallRng::seed_from_u64(7),
        hot_sent: 0,
        hot_stored: vec![0; load.lanes],
        shares: Shares::default(),
    };
    overload.go();
    let stored: usize = overload.hot_stored.iter().sum();
    let could = f64::from(load.limit.per_second()) * load.seconds as f64;
    Shares {
        refused: 1.0 - stored as f64 / overload.hot_sent as f64,
        used: overload.hot_stored.iter().map(|stored| *stored as f64 / could).collect(),
        ..overload.shares
    }
}

impl Overload {
    fn go(&mut self) {
        while let Some(((at, todo), ())) = self.todo.pop_first() {
            self.now = at;
            if at >= Duration::from_secs(self.load.seconds) {
                return;
            }
            match todo {
                Todo::Arrives(number) => {
                    let flight = self.flights.get_mut(&number).expect("it arrives before it lands");
                    let entries = flight.batch.entries();
                    flight.verdicts =
                        entries.iter().map(|events| self.stream.take(events, at)).collect();
                }
                Todo::Lands(number) => self.land(number),
                Todo::Timer(lane) => self.turn(lane),
                Todo::Events => self.events(),
            }
        }
    }

    fn events(&mut self) {
        for lane in 0..self.load.lanes {
            for _ in 0..self.load.hot_per_ms {
                self.push(lane, 0);
            }
            if self.now.as_millis().is_multiple_of(COLD_EVERY_MS) {
                let cold = self.rng.random_range(1..SHARDS_COUNT);
                self.push(lane, cold);
                self.shares.cold_open += 1;
            }
            self.turn(lane);
        }
        self.todo.insert((self.now + ms(1), Todo::Events), ());
    }

    fn push(&mut self, lane: usize, shard: u32) {
        let width = u128::MAX / u128::from(SHARDS_COUNT);
        // In turns: no key waits for itself before it is behind.
        let line = self.events.len();
        let number = line as u128 % KEYS_COUNT;
        // Where it lands is all that its hash is for.
        let key_hash = u128::from(shard) * width + 1 + number * (width / KEYS_COUNT);
        let record = Record {
            key: PartitionKey::new("key").expect("a short text"),
            key_hash,
            ring_position: key_hash,
            is_position_chosen: false,
            data: Bytes::from(
                u32::try_from(line).expect("a minute is short").to_le_bytes().to_vec(),
            ),
        };
        self.events.push(Sent { lane, is_hot: is_hot(&record), accepted: self.now });
        let (id, timestamp) = (EventId::Made(Uuid::nil()), copies::timestamp(0));
        let now = self.base + self.now;
        let item = self.caller.write(line, record, id, timestamp, now, None);
        self.lanes[lane].take_in(vec![item], now);
    }

    fn turn(&mut self, lane: usize) {
        let (sent, until) = self.lanes[lane].turn(self.base + self.now);
        self.read_outbox();
        sent.into_iter().for_each(|batch| self.launch(lane, batch));
        if let Some(before) = std::mem::replace(&mut self.timers[lane], until) {
            self.todo.remove(&(before, Todo::Timer(lane)));
        }
        self.todo.extend(until.map(|until| ((until, Todo::Timer(lane)), ())));
    }

    fn launch(&mut self, lane: usize, batch: Batch) {
        self.hot_sent += batch.records().filter(|record| is_hot(record)).count();
        let number = self.flights_count;
        self.flights_count += 1;
        let takes = self.rng.random_range(ms(5)..=FLIGHT_LONGEST);
        let arrives = takes.mul_f64(self.rng.random_range(0.0..1.0));
        self.todo.insert((self.now + arrives, Todo::Arrives(number)), ());
        self.todo.insert((self.now + takes, Todo::Lands(number)), ());
        self.flights.insert(number, Flight { lane, batch, sent: self.now, verdicts: Vec::new() });
    }

    fn land(&mut self, number: usize) {
        let flight = self.flights.remove(&number).expect("it lands once");
        let Flight { lane, batch, sent, verdicts } = flight;
        let now = self.base + self.now;
        let landed = Landed { batch, reply: Ok(verdicts), took: self.now - sent };
        self.lanes[lane].land(landed, now, &mut self.rng);
        if self.load.without_pace {
            self.lanes[lane].drain(now); // the only way from outside
        }
        self.turn(lane);
    }

    fn read_outbox(&mut self) {
        while let Some((line, answer)) = self.caller.read() {
            assert!(matches!(answer, EventAnswer::Durable(_)), "nothing else can become of it");
            let Sent { lane, is_hot, accepted } = self.events[line];
            if is_hot {
                self.hot_stored[lane] += 1;
            } else {
                self.shares.cold_durable += 1;
                self.shares.cold_open -= 1;
                self.shares.cold_longest = self.shares.cold_longest.max(self.now - accepted);
            }
        }
    }
}

/// Whether it is for the shard that is asked for too much.
fn is_hot(record: &Record) -> bool {
    record.key_hash < u128::MAX / u128::from(SHARDS_COUNT)
}
