//! Lines one after another, through the intake: what belongs to a transaction goes on its way with
//! its commit or never, and whatever the lines are, the counts balance and nothing is held at the
//! end.
//!
//! An input is what a caller writes. A blank line lets a second pass; what goes on its way is
//! durable at once. The model beside it knows nothing but names and counts.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{EventAnswer, Fingerprints, Outcome, Position, Reference};
use dispatchd_core::wire::ndjson::request::{self, Parsed, Request};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::credit::CreditTotal;
use dispatchd_producer::intake::{
    EventRequest, Intake, IntakeShared, Member, Now, Offered, OfferedTogether, Staging,
    TransactionSettings, WayBack,
};
use dispatchd_producer::lane::BoxedItem;
use dispatchd_producer::ticket::{Answer, AnswerGroup};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(3);
const EVENTS_MAX: usize = 4;
const RECORD_BYTES_MAX: usize = 4096;
/// The budget, of which one connection may hold half and stage a quarter.
const BUDGET_BYTES: usize = 64 * 1024;

fuzz_target!(|input: &[u8]| {
    let shared = Arc::new(IntakeShared {
        producer_id: "app@host".into(),
        envelopes: Default::default(),
        transaction: TransactionSettings { timeout: TIMEOUT, max_events: EVENTS_MAX },
        answers_max: 64,
        answer_bytes_max: 64 * 1024,
        record_bytes_carried: RECORD_BYTES_MAX,
        budget: Budget::new(BUDGET_BYTES),
        counters: Arc::default(),
        fingerprints: Fingerprints::default(),
        checks: Arc::default(),
    });
    let (intake, way_back) = shared.open(None);
    let now = Now { instant: Instant::now(), timestamp: Timestamp::from_unix_ms(0) };
    let mut caller =
        Caller { shared: Arc::clone(&shared), intake, way_back, now, open: HashMap::new() };
    for (number, line) in (1..).zip(input.split(|b| *b == b'\n')) {
        if line.trim_ascii().is_empty() {
            caller.now.instant += Duration::from_secs(1);
        } else {
            caller.take(line, number);
        }
        caller.intake.give_back();
        caller.intake.expire(caller.now.instant);
        let over = |began: &Instant| caller.now.instant >= *began + TIMEOUT;
        caller.open.retain(|_, (began, _)| !over(began));
        caller.check_counts();
    }
    let Caller { intake, open, .. } = caller;
    drop(intake);
    let counts = shared.counters.snapshot();
    assert_eq!(
        (counts.staged, counts.in_flight(), counts.transactions_open),
        (0, 0, 0),
        "{counts:?}"
    );
    assert!(counts.rolled_back >= open.values().map(|(_, events)| *events as u64).sum());
    assert_eq!(shared.budget.used_bytes(), 0);
});

struct Caller {
    shared: Arc<IntakeShared>,
    intake: Intake,
    way_back: WayBack,
    now: Now,
    /// The transactions that are open: since when, and with how many events.
    open: HashMap<String, (Instant, usize)>,
}

impl Caller {
    fn take(&mut self, line: &[u8], number: u64) {
        let Parsed { reference, tx, request, .. } = request::parse(line, number);
        let shared = Arc::clone(&self.shared);
        match request {
            Ok(Request::Event(event)) => {
                let fingerprints = &shared.fingerprints;
                self.publish(EventRequest::new(event, reference, fingerprints, Uuid::new_v4), tx);
            }
            Ok(Request::Record(record)) => {
                let fingerprints = &shared.fingerprints;
                self.publish(EventRequest::raw(record, reference, fingerprints, Uuid::new_v4), tx);
            }
            Ok(Request::Batch(members)) => {
                let count = members.len();
                let members = members.each(|event, index| member(event, index + 1, &shared));
                let offered = self.intake.offer_together(b"head", members, &self.now);
                self.gathered(offered, |results| assert_eq!(results, count));
            }
            Ok(Request::Begin(tx)) => {
                let is_open = self.open.contains_key(&*tx);
                let begun = self.intake.begin(&tx, &self.now);
                assert_eq!(begun.is_ok(), !is_open && self.open.len() < 64, "{begun:?}");
                if begun.is_ok() {
                    self.open.insert(tx.into_owned(), (self.now.instant, 0));
                }
            }
            Ok(Request::Commit(tx)) => {
                let known = self.open.remove(&*tx);
                let offered = self.intake.commit(&tx, b"head", &self.now);
                match known {
                    Some((_, events)) => {
                        self.gathered(offered, |results| assert_eq!(results, events));
                    }
                    None => assert!(matches!(offered, OfferedTogether::Refused(_)), "{offered:?}"),
                }
            }
            Ok(Request::Rollback(tx)) => {
                let ended = self.intake.roll_back(&tx, &self.now);
                assert_eq!(ended.is_ok(), self.open.remove(&*tx).is_some());
            }
            _ => {}
        }
    }

    fn publish(&mut self, mut request: EventRequest<'_>, tx: Option<std::borrow::Cow<'_, str>>) {
        let Some(tx) = tx else {
            match self.intake.offer(&mut request, &self.now) {
                Offered::Accepted(item) => store(item),
                Offered::Refused(_) => {}
                // What is staged, and an event of half of the budget.
                Offered::Needs(shortage) => assert!(!self.open.is_empty(), "{shortage:?}"),
            }
            self.read();
            return;
        };
        match self.intake.stage(&tx, &mut request, &self.now) {
            Staging::Staged { credit, .. } => {
                self.intake.answer(credit, Vec::new());
                let (_, events) = self.open.get_mut(&*tx).expect("it is open");
                *events += 1;
                assert!(*events <= EVENTS_MAX);
            }
            Staging::Refused(_) => {}
            Staging::Needs(shortage) => assert!(!self.open.is_empty(), "{shortage:?}"),
        }
        self.read();
    }

    /// Stores what goes on its way, and reads the one answer.
    fn gathered(&mut self, offered: OfferedTogether, check: impl Fn(usize)) {
        match offered {
            OfferedTogether::Accepted(items) => {
                items.into_iter().for_each(store);
                let mut answers = self.read();
                assert_eq!(answers.len(), 1, "there is one answer");
                check(answers.remove(0));
            }
            OfferedTogether::Refused(_) => {}
            OfferedTogether::Needs(shortage) => assert!(!self.open.is_empty(), "{shortage:?}"),
        }
    }

    /// Reads every answer; how many results each of those has that many events share.
    fn read(&mut self) -> Vec<usize> {
        let mut gathered = Vec::new();
        let mut written = CreditTotal::default();
        while let Ok(group) = self.way_back.answers.try_recv() {
            for answer in group {
                match answer {
                    Answer::Gathered(answer) => {
                        assert_eq!(answer.head, b"head");
                        written.add(answer.credit);
                        gathered.push(answer.results.len());
                        let is_ok = |(_, answer): &(Reference, EventAnswer)| {
                            matches!(answer, EventAnswer::Durable(_))
                        };
                        assert_eq!(answer.is_ok(), answer.results.iter().all(is_ok));
                    }
                    Answer::Event { credit, .. }
                    | Answer::Control { credit, .. }
                    | Answer::Flush { credit, .. } => written.add(credit),
                }
            }
        }
        self.way_back.credits.give_back(written);
        gathered
    }

    fn check_counts(&self) {
        let counts = self.shared.counters.snapshot();
        let staged: usize = self.open.values().map(|(_, events)| *events).sum();
        assert_eq!((counts.staged, counts.in_flight()), (staged as u64, 0), "{counts:?}");
        assert_eq!(counts.transactions_open, self.open.len() as u64);
        assert!(self.shared.budget.used_bytes() <= BUDGET_BYTES / 4, "what one may stage");
        assert_eq!(self.shared.budget.used_bytes() == 0, staged == 0);
    }
}

fn member<'a>(event: &request::Member<'a>, place: u64, shared: &IntakeShared) -> Member<'a> {
    let (reference, request) = event.of_batch(place)?;
    let fingerprints = &shared.fingerprints;
    Ok(match request {
        Request::Record(record) => EventRequest::raw(record, reference, fingerprints, Uuid::new_v4),
        Request::Event(event) => EventRequest::new(event, reference, fingerprints, Uuid::new_v4),
        other => panic!("no control line is an event of a batch: {other:?}"),
    })
}

fn store(item: BoxedItem) {
    let (shard_id, sequence_number) = ("shardId-000000000000".into(), "1".into());
    let position = Position { shard_id, sequence_number, sub_sequence_number: None };
    AnswerGroup::default().answer(item.ticket, item.record, Outcome::Durable(position));
}
