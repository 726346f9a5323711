//! Transactions and batches under chance: the real intake and the real lane against a stream that
//! fails at random, in virtual time. One seed is one caller with a handful of transactions, and
//! decides what becomes of each: commit, rollback, too long, cut, stop.
//!
//! The promises are about what belongs together, so nothing else is watched here: order, pace and
//! retries are `run`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dispatchd_core::limits::RECORD_BYTES_MAX;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{
    Class, Code, Distribution, Entries, EventAnswer, Outcome, PartitionKey, PutError, Record,
    Reference, ShardMap, StreamFacts, Verdict,
};
use dispatchd_producer::counters::Snapshot;
use dispatchd_producer::credit::CreditTotal;
use dispatchd_producer::intake::{
    EventRequest, Intake, IntakeShared, Member, Now, Offered, OfferedTogether, Staging,
    TransactionSettings, WayBack,
};
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::{BoxedItem, Landed, Settings};
use dispatchd_producer::ticket::{Answer, AnswerGroup, EventId};
use dispatchd_simulation::Broken;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::caller::shared;
use crate::lane::WatchedLane;

/// How long a transaction may be open.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A run in which something is not answered by then is broken.
const LONGEST: Duration = Duration::from_secs(120);
const KEYS_COUNT: u32 = 3;

/// A caller, an intake or a lane that is wrong on purpose, and the check that must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An event is sent when it is staged.
    SentWhenStaged,
    /// A commit loses an event on its way to the lane.
    EventLost,
    /// A commit sends its events in reverse.
    Reversed,
    /// What was rolled back is sent all the same.
    RollbackSent,
    /// A transaction is committed whose time is over.
    TimeUnheard,
    /// What was cut is sent all the same.
    CutSent,
    /// A commit is told that all is well before it is.
    ToldEarly,
}

impl Wrong {
    pub(crate) const ALL: &[(Wrong, &str)] = &[
        (Wrong::SentWhenStaged, "nothing is visible before its commit"),
        (Wrong::EventLost, "a commit is answered for each of its events"),
        (Wrong::Reversed, "a transaction keeps its order"),
        (Wrong::RollbackSent, "nothing is visible of what was not committed"),
        (Wrong::TimeUnheard, "nothing is visible of what was not committed"),
        (Wrong::CutSent, "nothing is visible of what was not committed"),
        (Wrong::ToldEarly, "what is acked is stored"),
    ];
}

fn check(holds: bool, check: &'static str, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { check, what: what() }) }
}

/// What is to become of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    Rollback,
    /// The transaction is committed when its time is over.
    TooLate,
    /// The connection of the transaction ends.
    Cut,
    /// There is no transaction: the events come in one line.
    Batch,
}

/// What happens next, and to which transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Begin(usize),
    Stage(usize, u32),
    End(usize),
    Lands(usize),
}

#[derive(Debug)]
struct Tx {
    name: String,
    end: End,
    events: u32,
    /// Whether it went on its way; nothing of it is stored before.
    went: bool,
    /// Whether its one answer has come.
    is_answered: bool,
}

#[derive(Debug)]
struct Run {
    wrong: Option<Wrong>,
    rng: SmallRng,
    base: Instant,
    now: Duration,
    shared: Arc<IntakeShared>,
    /// The intake of the one connection; `None` once the caller is gone.
    intake: Option<Intake>,
    way_back: WayBack,
    lane: WatchedLane,
    todo: BTreeMap<(Duration, Todo), ()>,
    txs: Vec<Tx>,
    flights: BTreeMap<usize, Landed>,
    flights_count: usize,
    /// Events in the order in which they were stored first: transaction and place.
    stored: Vec<(usize, u32)>,
    fails: f64,
}

/// Runs one seed. Returns the counts at its end.
pub(crate) fn run(seed: u64, wrong: Option<Wrong>) -> Result<Snapshot, Broken> {
    let mut run = Run::new(seed, wrong);
    run.go().map_err(|broken| broken.at(seed, format_args!("at {:?}", run.now)))
}

impl Run {
    fn new(seed: u64, wrong: Option<Wrong>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let shared = shared(TransactionSettings { timeout: TIMEOUT, ..Default::default() });
        let (intake, way_back) = shared.open(None);
        let base = Instant::now();
        let settings = Settings { timeout: Duration::from_secs(30), ..Settings::default() };
        let window = Window { ids_max: 0, keep_for: Duration::ZERO }; // nobody chooses ids here
        let mut lane = WatchedLane::new(settings, window, Arc::clone(&shared.budget), base);
        let shards = Some(Arc::new(
            ShardMap::new(vec![dispatchd_core::model::Shard {
                first: 0,
                id: "shardId-000000000000".into(),
            }])
            .expect("one shard"),
        ));
        let record_limit = Some(RECORD_BYTES_MAX);
        lane.learn(StreamFacts { shards, record_limit, distribution: Distribution::ByKey }, base);
        let mut todo = BTreeMap::new();
        let mut cut_at = None;
        let txs = (0..rng.random_range(2..6)).map(|number| {
            let events = rng.random_range(0..8);
            let ends =
                [End::Commit, End::Commit, End::Rollback, End::TooLate, End::Cut, End::Batch];
            let end = ends[rng.random_range(0..ends.len())];
            let mut at = Duration::from_millis(rng.random_range(0..2000));
            todo.insert((at, Todo::Begin(number)), ());
            for event in 0..events {
                at += Duration::from_millis(rng.random_range(0..100));
                todo.insert((at, Todo::Stage(number, event)), ());
            }
            at += match end {
                End::TooLate => TIMEOUT,
                End::Cut => Duration::from_millis(4000),
                _ => Duration::from_millis(rng.random_range(1..500)),
            };
            if end == End::Cut {
                cut_at = cut_at.max(Some(at));
            }
            todo.insert((at, Todo::End(number)), ());
            Tx { name: format!("t{number}"), end, events, went: false, is_answered: false }
        });
        let txs = txs.collect();
        let fails = [0.0, 0.1, 0.4][rng.random_range(0..3)];
        Self {
            wrong,
            rng,
            base,
            now: Duration::ZERO,
            shared,
            intake: Some(intake),
            way_back,
            lane,
            todo,
            txs,
            flights: BTreeMap::new(),
            flights_count: 0,
            stored: Vec::new(),
            fails,
        }
    }

    fn go(&mut self) -> Result<Snapshot, Broken> {
        loop {
            let until = self.turn();
            self.read()?;
            self.counts()?;
            let next = self.todo.first_key_value().map(|((at, todo), ())| (*at, *todo));
            match (next, until) {
                (Some((at, todo)), until) if until.is_none_or(|until| at <= until) => {
                    self.todo.remove(&(at, todo));
                    self.now = self.now.max(at);
                    self.does(todo)?;
                }
                (_, Some(until)) => self.now = until,
                (_, None) => break,
            }
            check(self.now < LONGEST, "everything ends", || format!("{:?}", self.txs))?;
        }
        self.intake = None; // the daemon stops
        self.read()?;
        let counts = self.counts()?;
        for tx in self.txs.iter().filter(|tx| tx.went) {
            const ANSWERED: &str = "a commit is answered for each of its events";
            check(tx.is_answered, ANSWERED, || format!("{tx:?}"))?;
        }
        let used_bytes = self.shared.budget.used_bytes();
        let is_empty = counts.in_flight() == 0 && counts.staged == 0 && used_bytes == 0;
        check(is_empty, "nothing is left", || format!("{counts:?}, {used_bytes} bytes"))?;
        Ok(counts)
    }

    fn does(&mut self, todo: Todo) -> Result<(), Broken> {
        let now = self.time();
        match todo {
            Todo::Lands(number) => {
                let landed = self.flights.remove(&number).expect("it is out");
                self.lane.land(landed, now.instant, &mut self.rng);
            }
            Todo::Begin(number) => {
                let tx = &self.txs[number];
                if let (Some(intake), true) = (&mut self.intake, tx.end != End::Batch) {
                    intake.begin(&tx.name, &now).expect("the name is free");
                }
            }
            Todo::Stage(number, event) => self.stage(number, event, &now)?,
            Todo::End(number) => self.end(number, &now)?,
        }
        Ok(())
    }

    fn stage(&mut self, number: usize, event: u32, now: &Now) -> Result<(), Broken> {
        let mut request = request(number, event);
        let tx = &self.txs[number];
        let Some(intake) = &mut self.intake else { return Ok(()) };
        if tx.end == End::Batch {
            return Ok(());
        }
        if self.wrong == Some(Wrong::SentWhenStaged) {
            if let Offered::Accepted(item) = intake.offer(&mut request, now) {
                self.lane.take_in(vec![item], now.instant);
            }
            return Ok(());
        }
        match intake.stage(&tx.name, &mut request, now) {
            Staging::Staged { credit, .. } => intake.answer(credit, Vec::new()),
            other => panic!("its time is not over: {other:?}"),
        }
        intake.give_back();
        Ok(())
    }

    fn end(&mut self, number: usize, now: &Now) -> Result<(), Broken> {
        let Tx { name, end, events, .. } = &self.txs[number];
        let (name, mut end, events) = (name.clone(), *end, *events);
        let now = match self.wrong {
            // Its clock stands still.
            Some(Wrong::TimeUnheard) => Now { instant: now.instant - TIMEOUT, ..*now },
            Some(Wrong::RollbackSent) if end == End::Rollback => {
                end = End::Commit;
                *now
            }
            Some(Wrong::CutSent) if end == End::Cut => {
                end = End::Commit;
                *now
            }
            _ => *now,
        };
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let head = number.to_string().into_bytes();
        let offered = match end {
            End::Commit | End::TooLate => intake.commit(&name, &head, &now),
            End::Batch => {
                let members = (0..events).map(|event| Member::Ok(request(number, event)));
                intake.offer_together(&head, members, &now)
            }
            End::Rollback => {
                intake.roll_back(&name, &now).expect("it is open");
                return Ok(());
            }
            End::Cut => {
                self.intake = None;
                return Ok(());
            }
        };
        intake.give_back();
        match offered {
            OfferedTogether::Accepted(items) => self.go_on(number, items),
            OfferedTogether::Refused(refusal) => {
                check(
                    end == End::TooLate && refusal.code == Code::TransactionEnded,
                    "a commit in time is taken",
                    || format!("{refusal:?}"),
                )?;
            }
            OfferedTogether::Needs(shortage) => panic!("a run fits: {shortage:?}"),
        }
        Ok(())
    }

    fn go_on(&mut self, number: usize, mut items: Vec<BoxedItem>) {
        self.txs[number].went = true;
        match self.wrong {
            Some(Wrong::EventLost) if !items.is_empty() => std::mem::forget(items.pop()),
            Some(Wrong::Reversed) => items.reverse(),
            Some(Wrong::ToldEarly) => {
                for item in items {
                    let position = dispatchd_core::model::Position {
                        shard_id: "shardId-000000000000".into(),
                        sequence_number: "0".into(),
                        sub_sequence_number: None,
                    };
                    let outcome = Outcome::Durable(position);
                    AnswerGroup::default().answer(item.ticket, item.record, outcome);
                }
                return;
            }
            _ => {}
        }
        self.lane.take_in(items, self.base + self.now);
    }

    /// Sends what may be sent. Returns until when the lane waits.
    fn turn(&mut self) -> Option<Duration> {
        let (sent, until) = self.lane.turn(self.base + self.now);
        for batch in sent {
            let reply = self.put(batch.entries());
            let took = Duration::from_millis(self.rng.random_range(1..50));
            self.flights_count += 1;
            self.todo.insert((self.now + took, Todo::Lands(self.flights_count)), ());
            self.flights.insert(self.flights_count, Landed { batch, reply, took });
        }
        until
    }

    /// The stream: a request is lost before or after it is stored, or records of it fail.
    fn put(&mut self, entries: Entries<'_>) -> Result<Vec<Verdict>, PutError> {
        let lost = |maybe_stored| {
            let (code, message) = ("timeout".to_owned(), "lost".to_owned());
            let (class, cause) = (Class::Transient, Class::Transient.into());
            Err(PutError { class, cause, code, message, maybe_stored })
        };
        if self.rng.random_bool(self.fails / 2.0) {
            return lost(false);
        }
        let mut verdicts = Vec::new();
        for events in entries.iter() {
            if self.rng.random_bool(self.fails) {
                let (code, message) = ("throttled".to_owned(), String::new());
                verdicts.push(Verdict::Failed { class: Class::Transient, code, message });
                continue;
            }
            self.stored.extend(events.iter().map(|event| named(event)));
            let (shard_id, sequence_number) =
                ("shardId-000000000000".into(), self.stored.len().to_string().into());
            verdicts.push(Verdict::Stored { shard_id, sequence_number });
        }
        if self.rng.random_bool(self.fails / 2.0) { lost(true) } else { Ok(verdicts) }
    }

    /// What a caller and a reader of the stream see.
    fn read(&mut self) -> Result<(), Broken> {
        for &(number, event) in &self.stored {
            let tx = &self.txs[number];
            check(tx.went, "nothing is visible before its commit", || format!("{tx:?} {event}"))?;
            let goes = matches!(tx.end, End::Commit | End::Batch);
            check(goes, "nothing is visible of what was not committed", || format!("{tx:?}"))?;
        }
        for number in 0..self.txs.len() {
            for key in 0..KEYS_COUNT {
                let of_key =
                    |stored: &&(usize, u32)| stored.0 == number && stored.1 % KEYS_COUNT == key;
                let mut seen = Vec::new();
                for (_, event) in self.stored.iter().filter(of_key) {
                    if !seen.contains(event) {
                        seen.push(*event); // second copies of a lost reply have no order
                    }
                }
                check(seen.is_sorted(), "a transaction keeps its order", || format!("{seen:?}"))?;
            }
        }
        while let Ok(group) = self.way_back.answers.try_recv() {
            let mut written = CreditTotal::default();
            for answer in group {
                match answer {
                    Answer::Gathered(gathered) => {
                        written.add(gathered.credit);
                        let number = String::from_utf8_lossy(&gathered.head).parse::<usize>();
                        self.told(number.expect("we wrote it"), &gathered.results)?;
                    }
                    Answer::Control { credit, .. } | Answer::Event { credit, .. } => {
                        written.add(credit);
                    }
                    Answer::Flush { .. } => unreachable!("nobody flushes"),
                }
            }
            self.way_back.credits.give_back(written);
        }
        Ok(())
    }

    fn told(&mut self, number: usize, results: &[(Reference, EventAnswer)]) -> Result<(), Broken> {
        let tx = &mut self.txs[number];
        let once = !std::mem::replace(&mut tx.is_answered, true);
        check(once, "a commit is answered once", || format!("{tx:?}"))?;
        let in_order = results.iter().map(|(reference, _)| reference).eq((0..tx.events)
            .map(|event| Reference::Number(event.into()))
            .collect::<Vec<_>>()
            .iter());
        check(in_order, "a commit is answered for each of its events", || format!("{results:?}"))?;
        for (event, (_, answer)) in (0..).zip(results) {
            if let EventAnswer::Durable(_) = answer {
                let is_there = self.stored.contains(&(number, event));
                check(is_there, "what is acked is stored", || format!("{number} {event}"))?;
            }
        }
        Ok(())
    }

    /// accepted = acked + refused + rolled back + in flight + staged.
    fn counts(&self) -> Result<Snapshot, Broken> {
        let counts = self.shared.counters.snapshot();
        let ended = counts.acked + counts.refused.iter().sum::<u64>() + counts.rolled_back;
        check(counts.accepted >= ended + counts.staged, "the counts balance", || {
            format!("{counts:?}")
        })?;
        Ok(counts)
    }

    fn time(&self) -> Now {
        let timestamp = Timestamp::from_unix_ms(0);
        Now { instant: self.base + self.now, timestamp }
    }
}

/// An event that says which one it is.
fn request(number: usize, event: u32) -> EventRequest<'static> {
    let key = PartitionKey::new(format!("k{}", event % KEYS_COUNT)).expect("it is short");
    let record = Record::new(key, None, format!("{number} {event}").into());
    let id = EventId::Made(Uuid::from_u128(number as u128 * 1000 + u128::from(event)));
    EventRequest::sealed(record, Reference::Number(event.into()), id)
}

fn named(event: &Record) -> (usize, u32) {
    let text = std::str::from_utf8(&event.data).expect("we wrote it");
    let (number, event) = text.split_once(' ').expect("two numbers");
    (number.parse().expect("a number"), event.parse().expect("a number"))
}
