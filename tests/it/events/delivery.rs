//! The first promise, on independent servers: an ack means that the event is in the stream, once,
//! in order.

use testkit::client;
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Plan, RecordError, Refusal};
use testkit::kinesis::{Ferro, Kinesalite};
use testkit::stream::{create_stream, read_all};
use testkit::truth::{assert_acks_are_true, assert_key_order, numbered_lines};

use crate::DISPATCHD;

const EVENTS: usize = 10_000;

async fn ten_thousand_events_arrive(endpoint: &str, threads: usize) {
    let client = client(endpoint);
    create_stream(&client, "s", 4).await;
    let daemon = DISPATCHD.daemon(endpoint, "s").set("runtime.threads", threads).start().await;
    let answers = daemon.connect().await.pipeline(numbered_lines(EVENTS, 500)).await;
    assert_eq!(answers.len(), EVENTS);
    let stored = read_all(&client, "s").await;
    assert_eq!(assert_acks_are_true(&answers, &stored), 0, "each event is there once");
    assert_key_order(&stored);
}

#[tokio::test]
async fn ten_thousand_events_arrive_once_and_in_order_under_shard_limits() {
    let ferro = Ferro::start(true).await;
    ten_thousand_events_arrive(&ferro.endpoint(), 1).await;
}

#[tokio::test]
async fn ten_thousand_events_arrive_once_and_in_order_on_several_threads() {
    let ferro = Ferro::start(false).await;
    ten_thousand_events_arrive(&ferro.endpoint(), 3).await;
}

#[tokio::test]
async fn ten_thousand_events_arrive_once_and_in_order_on_kinesalite() {
    let Some(kinesalite) = Kinesalite::start().await else { return };
    ten_thousand_events_arrive(&kinesalite.endpoint(), 1).await;
}

/// A reply that is cut after the commit makes a second copy; nothing else may.
async fn faults_cost_neither_acks_nor_order(ordering: &str) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    server.set(Plan {
        throttled_ratio: 0.10,
        internal_ratio: 0.05,
        cut_ratio: 0.02,
        ..Plan::default()
    });
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("delivery.ordering", ordering)
        .set("delivery.backoff_max", "200ms");
    let daemon = start.start().await;
    let answers = daemon.connect().await.pipeline(numbered_lines(EVENTS, 500)).await;
    assert_eq!(answers.len(), EVENTS);
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    let copies = assert_acks_are_true(&answers, &stored);
    let cut: usize = server
        .ledger()
        .requests()
        .iter()
        .filter(|fact| fact.done == testkit::fault::ledger::Done::Cut)
        .map(|fact| fact.stored)
        .sum();
    assert_eq!(copies, cut, "a second copy exists only of what a cut reply stored");
    if ordering == "strict" {
        assert_key_order(&stored);
    }
    assert!(daemon.metric("dispatchd_records_total{outcome=\"throttled\"}").await > 500.0);
    assert!(daemon.metric("dispatchd_retries_total{class=\"transient\"}").await > 200.0);
}

#[tokio::test]
async fn faults_cost_neither_acks_nor_order_when_strict() {
    faults_cost_neither_acks_nor_order("strict").await;
}

#[tokio::test]
async fn faults_cost_no_acks_when_relaxed() {
    faults_cost_neither_acks_nor_order("relaxed").await;
}

#[tokio::test]
async fn a_record_that_kinesis_refuses_for_good_is_rejected_alone_and_at_once() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("batch.linger", "200ms").start().await;
    let refused = RecordError::Other {
        code: "InvalidArgumentException".into(),
        message: "not this one".into(),
    };
    server.next(Fault::FailRecords(vec![3], refused));
    let answers = daemon.connect().await.pipeline(numbered_lines(10, 10)).await;
    let rejected: Vec<_> = answers.iter().filter(|answer| answer["ok"] == false).collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["error"]["code"], "Rejected");
    assert_eq!(
        rejected[0]["error"]["message"],
        "Kinesis refused it: InvalidArgumentException: not this one"
    );
    assert_eq!(rejected[0]["error"]["retryable"], false);
    assert_eq!(server.ledger().requests().len(), 1, "nothing was sent again");
}

#[tokio::test]
async fn a_request_refused_for_one_record_delivers_the_others() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    for named in [true, false] {
        server.set(Plan {
            poison: Some(testkit::fault::plan::Poison { max_record_bytes: 2_000, named }),
            ..Plan::default()
        });
        let daemon =
            DISPATCHD.daemon(&server.endpoint(), "s").set("batch.linger", "200ms").start().await;
        let long = "x".repeat(3_000);
        let lines = numbered_lines(100, 100).replacen(
            "\"place\":0}",
            &format!("\"place\":0,\"x\":\"{long}\"}}"),
            42,
        );
        let lines = lines.replacen(&format!("\"place\":0,\"x\":\"{long}\"}}"), "\"place\":0}", 41);
        let answers = daemon.connect().await.pipeline(lines).await;
        let rejected: Vec<_> = answers.iter().filter(|answer| answer["ok"] == false).collect();
        assert_eq!(rejected.len(), 1, "named: {named}");
        assert_eq!(rejected[0]["ref"], 41);
        assert_eq!(rejected[0]["error"]["code"], "Rejected");
    }
}

#[tokio::test]
async fn a_blocked_stream_refuses_nothing_and_goes_on_when_it_is_let() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    server.next(Fault::Refuse(Refusal::expired_token()));
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let answers = daemon.connect().await.pipeline(numbered_lines(10, 10)).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    let said = daemon.told("the stream takes nothing").await;
    assert_eq!(said.len(), 1, "one line a transition");
    assert_eq!((&said[0]["level"], &said[0]["cause"]), (&"ERROR".into(), &"credentials".into()));
    assert_eq!(daemon.told("the stream takes records again").await.len(), 1);
    assert_eq!(daemon.metric("dispatchd_stream_blocked{reason=\"credentials\"}").await, 0.0);
}

#[tokio::test]
async fn a_late_event_is_refused_with_what_is_known_of_it() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    for (ratio, outcome) in [
        (Plan { throttled_ratio: 1.0, ..Plan::default() }, "not_stored"),
        (Plan { cut_ratio: 1.0, ..Plan::default() }, "unknown"),
    ] {
        server.set(ratio);
        let daemon =
            DISPATCHD.daemon(&server.endpoint(), "s").set("delivery.timeout", "1s").start().await;
        let answers = daemon.connect().await.pipeline(numbered_lines(3, 3)).await;
        assert_eq!(answers.len(), 3);
        for answer in answers {
            assert_eq!(answer["error"]["code"], "DeliveryTimeout");
            assert_eq!(answer["error"]["retryable"], true);
            assert_eq!(answer["error"]["outcome"], outcome);
        }
    }
}
