//! One record that Kinesis will never take costs the others of its request one round trip each, and
//! no more.

use testkit::client;
use testkit::daemon::event;
use testkit::fault::FaultServer;
use testkit::fault::ledger::{Done, RequestFact};
use testkit::fault::plan::{Plan, Poison};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::truth::{
    assert_acks_are_true, assert_key_order_with_gaps, numbered_lines_some_long, refs,
};

use crate::DISPATCHD;

/// Kinesis takes no record over this. Events have 200 bytes; the poisoned one has 3,000 more.
const RECORD_BYTES_MAX: usize = 2_000;
/// Halving 500 down to one record takes 9 cuts, and the tenth refusal is of that record alone.
const ROUNDS_MAX: usize = 10;

struct Case {
    ordering: &'static str,
    events: usize,
    keys: usize,
    /// The line that holds the poison.
    poison: usize,
    named: bool,
}

/// Delivers the case's events, asserts what holds for every case, and gives the requests.
async fn delivered(case: &Case) -> Vec<RequestFact> {
    let Case { ordering, events, keys, poison, named } = *case;
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    server.set(Plan {
        poison: Some(Poison { max_record_bytes: RECORD_BYTES_MAX, named }),
        ..Plan::default()
    });
    // Only full requests go out in time: what is left of a broken one is sent at once, or in a
    // minute.
    let linger = if events == 500 { "60s" } else { "100ms" };
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("delivery.ordering", ordering)
        .set("batch.linger", linger);
    let daemon = start.start().await;
    let lines = numbered_lines_some_long(events, keys, 3_000, |n| n == poison);
    let answers = daemon.connect().await.pipeline(lines).await;
    let (acked, rejected): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer["ok"] == true);
    assert_eq!(refs(&rejected), [poison as u64], "only the poisoned record is refused");
    assert_eq!(rejected[0]["error"]["code"], "Rejected");
    assert_eq!(acked.len(), events - 1);
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    assert_eq!(assert_acks_are_true(&acked, &stored), 0, "each is there once");
    assert_key_order_with_gaps(&stored);
    server.ledger().requests()
}

fn rounds(requests: &[RequestFact]) -> usize {
    requests.iter().filter(|fact| matches!(fact.done, Done::Refused { .. })).count()
}

#[tokio::test]
async fn a_named_record_is_taken_out_in_two_rounds_and_its_mates_go_at_once() {
    for ordering in ["strict", "relaxed"] {
        for poison in [0, 251, 499] {
            let requests =
                delivered(&Case { ordering, events: 500, keys: 500, poison, named: true }).await;
            assert_eq!(rounds(&requests), 2, "{ordering}, {poison}");
            assert!(requests.len() <= 4, "{} requests, {ordering}, {poison}", requests.len());
        }
    }
}

#[tokio::test]
async fn an_unnamed_record_is_found_by_halves_and_its_mates_go_at_once() {
    for ordering in ["strict", "relaxed"] {
        for poison in [0, 251, 499] {
            let requests =
                delivered(&Case { ordering, events: 500, keys: 500, poison, named: false }).await;
            let rounds = rounds(&requests);
            assert!(rounds <= ROUNDS_MAX, "{rounds} rounds, {ordering}, poison at {poison}");
        }
    }
}

#[tokio::test]
async fn a_poisoned_record_of_a_busy_key_is_refused_alone_and_the_key_keeps_its_order() {
    for named in [true, false] {
        for keys in [1, 50] {
            delivered(&Case { ordering: "relaxed", events: 1_100, keys, poison: 251, named }).await;
        }
    }
}

#[tokio::test]
async fn a_poisoned_record_of_a_busy_key_is_found_by_halves_too() {
    for (keys, poison, named, most) in
        [(50, 251, true, 2), (50, 251, false, ROUNDS_MAX), (1, 300, false, ROUNDS_MAX)]
    {
        let events = if keys == 1 { 2_001 } else { 500 };
        let rounds =
            rounds(&delivered(&Case { ordering: "relaxed", events, keys, poison, named }).await);
        assert!(rounds <= most, "{rounds} rounds, {keys} keys, named: {named}");
    }
}

#[tokio::test]
async fn records_that_are_refused_in_the_same_words_are_refused_alone_while_others_are_taken() {
    // Two of them in one request get the same words, and so are taken for the stream's fault; what
    // is taken shows whose it is.
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    server.set(Plan {
        poison: Some(Poison { max_record_bytes: RECORD_BYTES_MAX, named: false }),
        ..Plan::default()
    });
    let daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("batch.linger", "100ms").start().await;
    let is_poison = |n: usize| n % 50 == 7;
    let pipeline =
        daemon.connect().await.pipeline(numbered_lines_some_long(200, 200, 3_000, is_poison));
    // Where nothing else is taken, the last two of them would wait: nobody could tell them from the
    // stream.
    let mut other = daemon.connect().await;
    let others = async {
        loop {
            assert_eq!(other.ask(&event(1, "other", "{}")).await["ok"], true);
        }
    };
    let answers = tokio::select! {
        answers = pipeline => answers,
        () = others => unreachable!("it has no end"),
    };
    let (acked, rejected): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer["ok"] == true);
    assert_eq!(
        refs(&rejected),
        (0..200).filter(|n| is_poison(*n)).map(|n| n as u64).collect::<Vec<_>>()
    );
    assert!(rejected.iter().all(|answer| answer["error"]["code"] == "Rejected"), "{rejected:?}");
    assert_eq!(acked.len(), 196);
}
