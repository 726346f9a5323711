use std::cell::Cell;
use std::time::Duration;
use std::vec;

use super::*;
use crate::credit::CreditTotal;
use crate::ticket::{AnswerGroup, EventId};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{
    Base64, EventAnswer, Extras, Outcome, PartitionKey, Position, RawData, RawRecord, Shows,
};
use uuid::Uuid;

const LIMIT: Option<usize> = Some(1000);

fn shared(answers_max: usize, budget_bytes: usize) -> Arc<IntakeShared> {
    Arc::new(IntakeShared {
        producer_id: "app@host".into(),
        envelopes: Default::default(),
        transaction: Default::default(),
        answers_max,
        answer_bytes_max: 10_000,
        record_bytes_carried: 2000,
        budget: Budget::new(budget_bytes),
        counters: Arc::default(),
        fingerprints: Fingerprints::default(),
        checks: Default::default(),
    })
}

fn event(data: &str) -> Event<'_> {
    let event_type = "t".into();
    let (key, explicit_hash, user_id, id) = (None, None, None, None);
    let (echo, extras) = (false, None);
    Event { event_type, data, key, explicit_hash, user_id, id, echo, extras }
}

fn at(unix_ms: u64) -> Now {
    Now { instant: Instant::now(), timestamp: Timestamp::from_unix_ms(unix_ms) }
}

fn request<'a>(event: Event<'a>, shared: &IntakeShared) -> EventRequest<'a> {
    EventRequest::new(event, Reference::Number(1), &shared.fingerprints, Uuid::new_v4)
}

fn accepted(offered: Offered) -> BoxedItem {
    match offered {
        Offered::Accepted(item) => item,
        other => panic!("{other:?}"),
    }
}

fn needs(offered: Offered) -> Shortage {
    match offered {
        Offered::Needs(shortage) => shortage,
        other => panic!("{other:?}"),
    }
}

/// The answers that a connection has got, their credits given back.
fn answers(back: &mut WayBack) -> vec::IntoIter<Answer> {
    let mut answers = Vec::new();
    while let Ok(group) = back.answers.try_recv() {
        answers.extend(group);
    }
    let mut written = CreditTotal::default();
    for answer in &answers {
        match answer {
            Answer::Event { credit, .. }
            | Answer::Control { credit, .. }
            | Answer::Flush { credit, .. } => written.add(*credit),
            Answer::Gathered(gathered) => written.add(gathered.credit),
        }
    }
    back.credits.give_back(written);
    answers.into_iter()
}

fn store(item: BoxedItem) {
    let (shard_id, sequence_number) = ("shardId-000000000000".into(), "1".into());
    let position = Position { shard_id, sequence_number, sub_sequence_number: None };
    AnswerGroup::default().answer(item.ticket, item.record, Outcome::Durable(position));
}

#[tokio::test]
async fn a_request_that_waits_for_both_is_drawn_once_and_has_the_id_and_the_key_it_began_with() {
    // Room for one event and one answer.
    let shared = shared(1, 2 * (ITEM_BYTES + 300));
    let (mut intake, mut back) = shared.open(LIMIT);
    let drawn = Cell::new(0);
    let fresh_id = || {
        drawn.set(drawn.get() + 1);
        Uuid::from_u128(drawn.get())
    };
    let mut first =
        EventRequest::new(event("{}"), Reference::Number(1), &shared.fingerprints, fresh_id);
    let mut second = EventRequest::new(
        event("{}"),
        Reference::Text("\"a\"".into()),
        &shared.fingerprints,
        fresh_id,
    );
    let first = accepted(intake.offer(&mut first, &at(1)));
    for _ in 0..3 {
        let shortage = needs(intake.offer(&mut second, &at(2)));
        assert!(matches!(shortage, Shortage::Credit(_)), "{shortage:?}");
    }
    store(first);
    assert_eq!(answers(&mut back).len(), 1);
    intake.give_back();
    let others = [(); 2].map(|()| shared.budget.connection().try_take(usize::MAX));
    assert_eq!(shared.budget.used_bytes(), shared.budget.limit_bytes(), "others hold all of it");
    let shortage = needs(intake.offer(&mut second, &at(3)));
    assert!(matches!(shortage, Shortage::Bytes(_)), "{shortage:?}");
    drop(others);
    intake.wait(shortage).await;
    let item = accepted(intake.offer(&mut second, &at(4)));
    assert_eq!(drawn.get(), 4, "an id and a key for each of the two");
    assert_eq!(item.ticket.id(), Uuid::from_u128(3));
    assert_eq!(item.record.key, PartitionKey::of_id(Uuid::from_u128(4)));
    assert_eq!(item.ticket.timestamp(), at(4).timestamp, "accepted after the wait");
    let envelope = String::from_utf8_lossy(&item.record.data).into_owned();
    assert!(envelope.contains(&Uuid::from_u128(3).to_string()), "{envelope}");
    store(item);
    let Some(Answer::Event { reference, answer: EventAnswer::Durable(told), .. }) =
        answers(&mut back).next()
    else {
        panic!("it was stored");
    };
    assert_eq!((told.id, reference), (Uuid::from_u128(3), Reference::Text("\"a\"".into())));
}

/// Its bytes would pay for the next event, however large that is, and nobody has them until then.
#[tokio::test]
async fn what_waited_for_bytes_and_is_refused_then_leaves_them_to_others() {
    let shared = shared(9, 8 * (ITEM_BYTES + 300));
    let (mut intake, mut back) = shared.open(LIMIT);
    intake.begin("tx", &at(0)).expect("there is room");
    let others = [(); 2].map(|()| shared.budget.connection().try_take(usize::MAX));
    let mut staged = request(event("{}"), &shared);
    let Staging::Needs(shortage) = intake.stage("tx", &mut staged, &at(1)) else {
        panic!("others hold all of the budget");
    };
    drop(others);
    intake.wait(shortage).await;
    intake.roll_back("tx", &at(2)).expect("it is open");
    let staging = intake.stage("tx", &mut staged, &at(3));
    assert!(matches!(staging, Staging::Refused(Code::TransactionEnded)), "{staging:?}");
    assert_eq!(answers(&mut back).len(), 1);
    assert_eq!(shared.budget.used_bytes(), 0);
}

#[test]
fn a_refusal_waits_for_its_credit_like_an_event_and_is_told_once() {
    let shared = shared(1, 1 << 20);
    let (mut intake, mut back) = shared.open(LIMIT);
    let data = format!("{{\"a\":\"{}\"}}", "x".repeat(1000));
    let mut large = request(event(&data), &shared);
    let mut fits = request(event("{}"), &shared);
    let item = accepted(intake.offer(&mut fits, &at(0)));
    let shortage = needs(intake.offer(&mut large, &at(0)));
    assert!(matches!(shortage, Shortage::Credit(_)), "{shortage:?}");
    assert_eq!(shared.counters.snapshot().accepted, 1, "what waits is not accepted");
    store(item);
    assert_eq!(answers(&mut back).len(), 1);
    let offered = intake.offer(&mut large, &at(0));
    assert!(matches!(offered, Offered::Refused(Code::EventTooLarge)), "{offered:?}");
    assert_eq!(answers(&mut back).len(), 1);
    let told = shared.counters.snapshot();
    assert_eq!((told.acked, told.refused(Code::EventTooLarge), told.in_flight()), (1, 1, 0));
}

#[test]
fn a_record_that_is_too_large_is_told_whose_limit_it_is_over() {
    let shared = shared(9, 1 << 20);
    let data = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    for (stream, says) in [(LIMIT, "the stream takes 1000"), (None, "memory carries 2000; if")] {
        let (mut intake, mut back) = shared.open(None);
        intake.set_record_limit(stream);
        let offered = intake.offer(&mut request(event(&data), &shared), &at(0));
        assert!(matches!(offered, Offered::Refused(Code::EventTooLarge)), "{offered:?}");
        match answers(&mut back).next() {
            Some(Answer::Event { answer: EventAnswer::Refused(refusal), .. }) => {
                assert!(refusal.message.contains(says), "{}", refusal.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_sealed_record_is_published_as_it_is() {
    let shared = shared(9, 1 << 20);
    let (mut intake, _back) = shared.open(LIMIT);
    let key = PartitionKey::new("k").expect("one character");
    let record = Record::new(key, None, "no envelope".into());
    let id = EventId::Made(Uuid::from_u128(7));
    let mut request = EventRequest::sealed(record, Reference::Number(1), id);
    let item = accepted(intake.offer(&mut request, &at(0)));
    assert_eq!((&*item.record.data, item.ticket.id()), (&b"no envelope"[..], id.id()));
}

#[test]
fn an_event_that_is_sent_again_says_the_same_whatever_key_we_gave_it() {
    let shared = shared(9, 1 << 20);
    let (mut intake, _back) = shared.open(LIMIT);
    let chosen = || Event { id: Some(Uuid::from_u128(9)), ..event("{}") };
    let items = [chosen(), chosen(), Event { data: "{\"a\":1}", ..chosen() }].map(|event| {
        let mut request = request(event, &shared);
        accepted(intake.offer(&mut request, &at(0)))
    });
    let said = items.each_ref().map(|item| item.ticket.said().expect("its caller chose the id"));
    assert_eq!(said[0], said[1]);
    assert_ne!(said[0], said[2]);
    assert_eq!(items[0].record.key, PartitionKey::of_id(Uuid::from_u128(9)));
}

#[test]
fn what_answers_something_else_than_an_event_comes_back_and_is_counted_as_none() {
    let shared = shared(9, 1 << 20);
    let (mut intake, mut back) = shared.open(LIMIT);
    let credit = intake.credit(10).expect("nothing is unanswered yet");
    intake.answer(credit, b"pong".to_vec());
    match answers(&mut back).next() {
        Some(Answer::Control { line, .. }) => assert_eq!(line, b"pong"),
        other => panic!("{other:?}"),
    }
    assert_eq!(shared.counters.snapshot().accepted, 0);
}

#[test]
fn a_flush_names_the_events_since_the_one_before_it() {
    let shared = shared(9, 1 << 20);
    let (mut intake, mut back) = shared.open(LIMIT);
    let mut flushed = |events: usize| {
        for item in members(events, "{}", &shared) {
            store(accepted(intake.offer(&mut item.expect("an event"), &at(0))));
        }
        let credit = intake.credit(10).expect("few are unanswered");
        intake.flush(credit, Reference::Number(7));
        match answers(&mut back).next_back() {
            Some(Answer::Flush { reference, epoch, events, .. }) => (reference, epoch, events),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(flushed(2), (Reference::Number(7), 0, 2));
    assert_eq!(flushed(3), (Reference::Number(7), 1, 3));
    assert_eq!(flushed(0), (Reference::Number(7), 2, 0));
}

#[test]
fn an_answer_is_reckoned_with_the_bytes_that_its_reference_holds_besides_its_own() {
    let own = answer_bytes(&Reference::Number(1));
    assert!(own >= size_of::<Answer>(), "{own}");
    assert_eq!(answer_bytes(&Reference::Text("\"abc\"".into())), own + 5);
}

#[test]
fn a_form_is_the_events_own_else_the_connections_else_the_configured_one() {
    let mut shared = Arc::into_inner(shared(9, 1 << 20)).expect("nobody else has it");
    shared.envelopes.profile = Profile::TypeData;
    let shared = Arc::new(shared);
    let (mut intake, _back) = shared.open(LIMIT);
    let published = |intake: &mut Intake, envelope: Option<Profile>| {
        let extras = envelope.map(|_| Box::new(Extras { envelope, ..Extras::default() }));
        let mut request = request(Event { extras, ..event("{}") }, &shared);
        let record = accepted(intake.offer(&mut request, &at(0))).record;
        let data = String::from_utf8_lossy(&record.data).into_owned();
        (data, record.key.as_str().to_owned())
    };
    let type_data = (r#"{"type":"t","data":{}}"#.to_owned(), "t".to_owned());
    assert_eq!(published(&mut intake, None), type_data, "the type is the key that nobody named");
    intake.set_context(Context { envelope: Some(Profile::CloudEvents), ..Context::default() });
    let (data, key) = published(&mut intake, None);
    assert!(data.starts_with(r#"{"specversion":"1.0","#), "{data}");
    assert!(data.contains(r#","source":"app@host","#), "{data}");
    assert!(data.contains(&key) && key.len() == 36, "{key}: {data}");
    assert_eq!(published(&mut intake, Some(Profile::TypeData)), type_data);
    let (data, _) = published(&mut intake, Some(Profile::Lk));
    assert!(data.starts_with(r#"{"id":""#) && data.ends_with(r#""}}"#), "{data}");
    let organisation_id = Some("o".to_owned());
    intake.set_context(Context { organisation_id, ..Context::default() });
    let (data, _) = published(&mut intake, Some(Profile::Lk));
    assert!(data.ends_with(r#","organisationId":"o"}}"#), "{data}");
}

#[test]
fn a_type_that_is_no_key_is_refused_where_it_would_be_one() {
    let shared = shared(9, 1 << 20);
    let (mut intake, mut back) = shared.open(LIMIT);
    let extras = Extras { envelope: Some(Profile::TypeData), ..Extras::default() };
    let long = Event { event_type: "x".repeat(257).into(), ..event("{}") };
    let mut request = request(Event { extras: Some(Box::new(extras)), ..long }, &shared);
    let offered = intake.offer(&mut request, &at(0));
    assert!(matches!(offered, Offered::Refused(Code::InvalidRequest)), "{offered:?}");
    assert_eq!(answers(&mut back).len(), 1);
}

#[test]
fn a_raw_record_is_copied_once_it_is_accepted_and_shows_an_id_only_if_it_was_given() {
    let shared = shared(9, 1 << 20);
    let (mut intake, mut back) = shared.open(LIMIT);
    for id in [None, Some(Uuid::from_u128(9))] {
        let data = RawData::Base64(Base64::new("AAE=".into()).expect("it is base64"));
        let record = RawRecord { data, key: None, explicit_hash: None, id };
        let reference = Reference::Number(1);
        let mut request =
            EventRequest::raw(record, reference, &shared.fingerprints, || Uuid::from_u128(5));
        let item = accepted(intake.offer(&mut request, &at(0)));
        assert_eq!(&*item.record.data, b"\0\x01");
        let key = PartitionKey::of_id(id.unwrap_or(Uuid::from_u128(5)));
        assert_eq!((&item.record.key, item.ticket.said().is_some()), (&key, id.is_some()));
        store(item);
        match answers(&mut back).next() {
            Some(Answer::Event { answer: EventAnswer::Durable(durable), .. }) => {
                assert_eq!(durable.shows, Shows { id: id.is_some(), timestamp: false });
            }
            other => panic!("{other:?}"),
        }
    }
}

fn members(count: usize, data: &'static str, shared: &IntakeShared) -> Vec<Member<'static>> {
    let fingerprints = &shared.fingerprints;
    let member = |n| {
        let reference = Reference::Number(n as u64);
        Ok(EventRequest::new(event(data), reference, fingerprints, Uuid::new_v4))
    };
    (0..count).map(member).collect()
}

fn together(offered: OfferedTogether) -> Vec<BoxedItem> {
    match offered {
        OfferedTogether::Accepted(items) => items,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_that_share_an_answer_hold_nothing_while_they_wait_and_go_all_at_once() {
    let shared = shared(9, 40_000);
    let (mut intake, mut back) = shared.open(LIMIT);
    let others = [(); 2].map(|()| shared.budget.connection().try_take(15_000));
    let offered = intake.offer_together(b"{", members(12, "{}", &shared).into_iter(), &at(0));
    let OfferedTogether::Needs(shortage @ Shortage::Bytes(_)) = offered else {
        panic!("{offered:?}");
    };
    intake.give_back();
    assert_eq!(shared.budget.used_bytes(), 30_000, "not a part of it");
    assert_eq!(shared.counters.snapshot().accepted, 0, "what waits is not accepted");
    drop(others);
    intake.wait(shortage).await;
    let mut again = members(12, "{}", &shared);
    again[5] = Err((Reference::Number(5), Refusal::new(Code::InvalidRequest, "no")));
    let mut items = together(intake.offer_together(b"{", again.into_iter(), &at(1)));
    assert_eq!((items.len(), shared.counters.snapshot().accepted), (11, 12));
    items.reverse();
    items.into_iter().for_each(store);
    match answers(&mut back).next() {
        Some(Answer::Gathered(gathered)) => {
            assert!(!gathered.is_ok());
            let told: Vec<_> = gathered.results.iter().map(|(reference, _)| reference).collect();
            let wanted: Vec<_> = (0..12).map(Reference::Number).collect();
            assert_eq!(told, wanted.iter().collect::<Vec<_>>(), "in the order of the events");
        }
        other => panic!("{other:?}"),
    }
    intake.give_back();
    assert_eq!(shared.budget.used_bytes(), 0);
}

#[test]
fn more_events_than_a_connection_can_hold_are_refused_together() {
    let shared = shared(9, 20_000);
    let (mut intake, _back) = shared.open(LIMIT);
    let offered = intake.offer_together(b"{", members(12, "{}", &shared).into_iter(), &at(0));
    let OfferedTogether::Refused(refusal) = offered else { panic!("{offered:?}") };
    assert_eq!(refusal.code, Code::EventTooLarge);
    assert!(refusal.message.contains("may hold 10000, half of memory.budget"), "{refusal:?}");
}

/// A peer that takes no answers holds its own credits, and of the budget only what they do not pay
/// for.
#[test]
fn results_that_nobody_takes_hold_credits_and_of_the_budget_no_more_than_is_over_them() {
    let shared = shared(9, 1 << 20); // and 10,000 bytes of answers
    let (mut intake, mut back) = shared.open(LIMIT);
    let few = members(20, "{}", &shared).into_iter();
    together(intake.offer_together(b"{", few, &at(0))).into_iter().for_each(store);
    intake.give_back();
    assert_eq!(shared.budget.used_bytes(), 0, "they are paid for");
    let again = members(40, "{}", &shared);
    let offered = intake.offer_together(b"{", again.into_iter(), &at(0));
    assert!(matches!(offered, OfferedTogether::Needs(Shortage::Credit(_))), "{offered:?}");
    drop(answers(&mut back));
    let many = members(60, "{}", &shared).into_iter();
    together(intake.offer_together(b"{", many, &at(0))).into_iter().for_each(store);
    intake.give_back();
    let over = 60 * (ANSWER_BYTES + 36) - 10_000;
    assert_eq!(shared.budget.used_bytes(), over, "what its credit does not pay for");
    drop(answers(&mut back));
    assert_eq!(shared.budget.used_bytes(), 0);
}

fn stage(intake: &mut Intake, tx: &str, shared: &IntakeShared, now: &Now) -> Result<(), Code> {
    match intake.stage(tx, &mut request(event("{}"), shared), now) {
        Staging::Staged { credit, .. } => {
            intake.answer(credit, Vec::new());
            Ok(())
        }
        Staging::Refused(code) => Err(code),
        Staging::Needs(shortage) => panic!("{shortage:?}"),
    }
}

#[test]
fn a_transaction_takes_as_many_events_as_it_may_and_its_name_is_free_when_it_has_ended() {
    let plain = Arc::into_inner(shared(9, 1 << 20)).expect("nobody else has it");
    let transaction = TransactionSettings { max_events: 3, ..Default::default() };
    let shared = Arc::new(IntakeShared { transaction, ..plain });
    let (mut intake, _back) = shared.open(LIMIT);
    intake.begin("tx", &at(0)).expect("the name is free");
    let again = intake.begin("tx", &at(0)).expect_err("it is open");
    assert_eq!(again.code, Code::InvalidRequest);
    let staged = [(); 4].map(|()| stage(&mut intake, "tx", &shared, &at(0)));
    assert_eq!(staged, [Ok(()), Ok(()), Ok(()), Err(Code::TransactionTooLarge)]);
    assert_eq!(together(intake.commit("tx", b"{", &at(0))).len(), 3);
    assert_eq!(stage(&mut intake, "tx", &shared, &at(0)), Err(Code::TransactionEnded));
    intake.begin("tx", &at(0)).expect("the name is free");
}

#[test]
fn the_open_transactions_of_a_connection_hold_a_quarter_of_the_budget_at_most() {
    let roomy = shared(9, 1 << 20);
    let (mut intake, _back) = roomy.open(LIMIT);
    intake.begin("a", &at(0)).expect("there is room");
    stage(&mut intake, "a", &roomy, &at(0)).expect("there is room");
    intake.give_back();
    let event_bytes = roomy.budget.used_bytes();
    for (budget_bytes, second) in
        [(4 * 2 * event_bytes, Ok(())), (4 * 2 * event_bytes - 1, Err(Code::TransactionTooLarge))]
    {
        let shared = shared(9, budget_bytes);
        let (mut intake, _back) = shared.open(LIMIT);
        for (tx, staged) in [("a", Ok(())), ("b", second)] {
            intake.begin(tx, &at(0)).expect("there is room");
            assert_eq!(stage(&mut intake, tx, &shared, &at(0)), staged, "{budget_bytes}");
        }
        intake.roll_back("a", &at(0)).expect("it is open");
        stage(&mut intake, "b", &shared, &at(0)).expect("there is room again");
    }
}

#[test]
fn a_transaction_is_rolled_back_when_its_time_is_over_and_not_before() {
    let shared = shared(9, 1 << 20);
    let (mut intake, _back) = shared.open(LIMIT);
    let (began, second) = (at(0), Duration::from_secs(1));
    let later = |by| Now { instant: began.instant + by, ..began };
    for (tx, by) in [("a", Duration::ZERO), ("b", second)] {
        intake.begin(tx, &later(by)).expect("there is room");
        stage(&mut intake, tx, &shared, &later(by)).expect("there is room");
    }
    let timeout = TransactionSettings::default().timeout;
    assert_eq!(intake.next_end(), Some(began.instant + timeout));
    intake.expire(began.instant + timeout - Duration::from_nanos(1));
    assert_eq!(shared.counters.snapshot().staged, 2);
    intake.expire(began.instant + timeout);
    let counted = shared.counters.snapshot();
    assert_eq!((counted.staged, counted.rolled_back), (1, 1));
    assert_eq!(counted.transactions_ended[TransactionEnd::TimedOut as usize], 1);
    assert_eq!(intake.next_end(), Some(began.instant + second + timeout));
    let late = intake.commit("a", b"{", &later(timeout));
    assert!(matches!(&late, OfferedTogether::Refused(it) if it.code == Code::TransactionEnded));
    assert_eq!(together(intake.commit("b", b"{", &later(timeout))).len(), 1);
    assert_eq!(intake.next_end(), None);
    intake.begin("c", &later(timeout)).expect("there is room");
    intake.expire(began.instant + 3 * timeout);
    assert_eq!(intake.next_end(), None, "however late it is looked at");
}

#[test]
fn a_transaction_whose_connection_goes_is_rolled_back() {
    let shared = shared(9, 1 << 20);
    let (mut intake, back) = shared.open(LIMIT);
    intake.begin("tx", &at(0)).expect("there is room");
    stage(&mut intake, "tx", &shared, &at(0)).expect("there is room");
    drop((intake, back));
    let counted = shared.counters.snapshot();
    assert_eq!((counted.accepted, counted.staged, counted.rolled_back), (1, 0, 1));
    assert_eq!(counted.transactions_ended[TransactionEnd::Cut as usize], 1);
    assert_eq!(shared.budget.used_bytes(), 0);
}

/// What could go wrong: results that nobody has paid for, or a commit that waits though there is
/// room for its results.
#[test]
fn a_commit_waits_until_there_is_room_for_all_its_results() {
    let shared = shared(9, 1 << 20); // and 10,000 bytes of answers
    let (mut intake, mut back) = shared.open(LIMIT);
    intake.begin("tx", &at(0)).expect("there is room");
    for _ in 0..5 {
        stage(&mut intake, "tx", &shared, &at(0)).expect("there is room");
    }
    drop(answers(&mut back));
    let needed = 5 * (ANSWER_BYTES + 36) + b"{".len();
    let taken = intake.credit(10_000 - needed + 1).expect("nothing is unanswered");
    let offered = intake.commit("tx", b"{", &at(0));
    assert!(matches!(offered, OfferedTogether::Needs(Shortage::Credit(_))), "{offered:?}");
    intake.answer(taken, Vec::new());
    drop(answers(&mut back));
    let _taken = intake.credit(10_000 - needed).expect("nothing is unanswered");
    assert_eq!(together(intake.commit("tx", b"{", &at(0))).len(), 5);
}

/// Refuses events with the type `wrong`, and records that say none; counts what it was asked.
#[derive(Debug, Default)]
struct Picky(std::sync::Mutex<Vec<String>>);

impl Picky {
    fn asked(&self, of: String) -> Result<(), Refusal> {
        let is_wrong = of.starts_with("wrong") || of == "record";
        self.0.lock().expect("nobody died").push(of);
        if is_wrong { Err(Refusal::new(Code::SchemaViolation, "wrong")) } else { Ok(()) }
    }
}

impl Validator for Arc<Picky> {
    fn event(&self, event_type: &str, data: &str) -> Result<(), Refusal> {
        self.asked(format!("{event_type} {data}"))
    }

    fn record(&self) -> Result<(), Refusal> {
        self.asked("record".to_owned())
    }
}

#[tokio::test]
async fn who_knows_more_of_events_is_asked_once_of_each_and_may_refuse_it() {
    let picky = Arc::<Picky>::default();
    let checks = Arc::new(Checks::new(Box::new(Arc::clone(&picky))));
    let plain = shared(1, 1_000_000);
    let plain = Arc::into_inner(plain).expect("nobody else has it");
    let shared = Arc::new(IntakeShared { checks: Arc::clone(&checks), ..plain });
    let (mut intake, mut back) = shared.open(LIMIT);
    let asked = || std::mem::take(&mut *picky.0.lock().expect("nobody died"));
    let wrong = || Event { event_type: "wrong".into(), ..event("{}") };

    let item = accepted(intake.offer(&mut request(wrong(), &shared), &at(1)));
    assert_eq!(asked(), [""; 0], "nobody asks yet");
    checks.set_on(true);
    // The one credit is taken: what is offered again is not checked again.
    let mut second = request(event("{}"), &shared);
    for _ in 0..3 {
        needs(intake.offer(&mut second, &at(2)));
    }
    assert_eq!(asked(), [""; 0]);
    store(item);
    assert_eq!(answers(&mut back).len(), 1);
    store(accepted(intake.offer(&mut second, &at(2))));
    assert_eq!(answers(&mut back).len(), 1);
    assert_eq!(asked(), ["t {}"]);

    let key = PartitionKey::new("k").expect("it is short");
    let sealed = || {
        let record = Record::new(key.clone(), None, "{}".into());
        EventRequest::sealed(record, Reference::Number(1), EventId::Made(Uuid::nil()))
    };
    for mut refused in [request(wrong(), &shared), sealed(), sealed().saying("wrong", "1")] {
        let offered = intake.offer(&mut refused, &at(3));
        assert!(matches!(offered, Offered::Refused(Code::SchemaViolation)), "{offered:?}");
        assert_eq!(answers(&mut back).len(), 1);
    }
    assert_eq!(asked(), ["wrong {}", "record", "wrong 1"]);

    intake.begin("tx", &at(4)).expect("there is room");
    let staging = intake.stage("tx", &mut request(wrong(), &shared), &at(4));
    assert!(matches!(staging, Staging::Refused(Code::SchemaViolation)), "{staging:?}");
    assert_eq!(answers(&mut back).len(), 1);
    let members = [wrong(), event("{}")].map(|event| Ok(request(event, &shared)));
    match intake.offer_together(b"", members.into_iter(), &at(5)) {
        OfferedTogether::Accepted(items) => assert_eq!(items.len(), 1),
        other => panic!("{other:?}"),
    }
}
