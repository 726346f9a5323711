//! Sending again with the same `options.id` is safe: one outcome, and one record unless a reply of
//! Kinesis was lost.

use serde_json::{Value, json};
use testkit::daemon::{Caller, Daemon, Start};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Plan, RecordError};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::{client, eventually};

use crate::DISPATCHD;

const ID: &str = "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11";

fn line(reference: u32) -> String {
    format!(
        r#"{{"ref":{reference},"type":"t","data":{{}},"options":{{"id":"{ID}","partitionKey":"k","echo":true}}}}"#
    )
}

async fn setting(start: impl FnOnce(Start) -> Start) -> (Ferro, FaultServer, Daemon) {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let daemon = start(DISPATCHD.daemon(&server.endpoint(), "s")).start().await;
    (ferro, server, daemon)
}

/// What must be the same in an ack that is given again.
fn place(ack: &Value) -> Value {
    assert_eq!(ack["ok"], true, "{ack}");
    json!([ack["id"], ack["timestamp"], ack["partitionKey"], ack["shardId"], ack["sequenceNumber"]])
}

#[tokio::test]
async fn an_event_sent_twice_is_stored_once_and_both_are_told_where() {
    let (ferro, server, daemon) = setting(|start| start.set("batch.linger", "100ms")).await;
    let (mut first, mut second) = (daemon.connect().await, daemon.connect().await);
    first.send(&line(1)).await;
    second.send(&line(2)).await;
    let (first, joined) = (first.answer().await, second.answer().await);
    assert_eq!(place(&first), place(&joined));
    let again = daemon.connect().await.ask(&line(3)).await;
    assert_eq!(place(&again), place(&first));
    let marked = [&first, &joined, &again].iter().filter(|ack| ack["deduplicated"] == true).count();
    assert_eq!(marked, 2, "all but one say that they are copies");
    assert_eq!(again["event"], Value::Null, "the envelope is not kept for an echo");
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
    assert_eq!(server.ledger().requests().len(), 1);
    assert_eq!(daemon.metric("dispatchd_events_deduplicated_total").await, 2.0);
    assert_eq!(daemon.metric("dispatchd_events_acked_total").await, 3.0);
}

#[tokio::test]
async fn a_copy_waits_for_the_first_one_through_its_retries() {
    let (ferro, server, daemon) = setting(|start| start).await;
    server.next(Fault::FailAll(RecordError::Internal));
    let mut caller = daemon.connect().await;
    caller.send_bytes(format!("{}\n{}\n", line(1), line(2)).as_bytes()).await;
    let answers = [caller.answer().await, caller.answer().await];
    assert_eq!(place(&answers[0]), place(&answers[1]));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again() {
    let (ferro, server, daemon) =
        setting(|start| start.set("delivery.timeout", "1s").set("kinesis.attempt_timeout", "2s"))
            .await;
    server.set(Plan { hang_before_ratio: 1.0, ..Default::default() });
    let mut caller = daemon.connect().await;
    assert_eq!(caller.ask(&line(1)).await["error"]["code"], "DeliveryTimeout");
    server.set(Plan::default());
    let ack = caller.ask(&line(2)).await;
    assert_eq!((&ack["ok"], &ack["deduplicated"]), (&true.into(), &Value::Null));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
}

#[tokio::test]
async fn with_a_window_of_none_every_copy_is_an_event_of_its_own() {
    let (ferro, _server, daemon) = setting(|start| start.set("delivery.dedupe_ids", 0)).await;
    let mut caller = daemon.connect().await;
    assert_ne!(place(&caller.ask(&line(1)).await), place(&caller.ask(&line(2)).await));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 2);
}

/// What the window is asked about an id: everything that a caller can say of an event, each said in
/// another way.
const OTHERS: [&str; 7] = [
    r#""type":"u","data":{},"options":{"partitionKey":"k""#,
    r#""type":"t","data":{"a":1},"options":{"partitionKey":"k""#,
    r#""type":"t","data":{ },"options":{"partitionKey":"k""#,
    r#""type":"t","data":{},"options":{"partitionKey":"l""#,
    r#""type":"t","data":{},"options":{"sourceUserId":null"#,
    r#""type":"t","data":{},"options":{"partitionKey":"k","explicitHashKey":"1""#,
    r#""type":"t","data":{},"options":{"partitionKey":"k","sourceUserId":"u""#,
];

/// Events with the id that are no copies of [`line`].
fn others() -> String {
    OTHERS.map(|said| format!("{{{said},\"id\":\"{ID}\"}}}}\n")).concat()
}

async fn assert_all_reused(caller: &mut Caller) {
    for said in OTHERS {
        let refused = caller.answer().await;
        assert_eq!(refused["error"]["code"], "IdReused", "{said}: {refused}");
        assert_eq!(
            (&refused["error"]["retryable"], &refused["error"]["outcome"]),
            (&false.into(), &Value::Null)
        );
    }
}

#[tokio::test]
async fn another_event_with_a_known_id_is_refused_while_the_first_is_on_its_way_and_later() {
    let (ferro, _server, daemon) = setting(|start| start.set("batch.linger", "300ms")).await;
    let (mut caller, mut first) = (daemon.connect().await, daemon.connect().await);
    first.send(&line(1)).await;
    eventually("it came in", async || {
        (daemon.metric("dispatchd_events_accepted_total").await == 1.0).then_some(())
    })
    .await;
    for _ in ["while it lingers", "once it is acked"] {
        caller.send_bytes(others().as_bytes()).await;
        assert_all_reused(&mut caller).await;
        assert_eq!(first.answer().await["ok"], true);
        // What a line says to its own connection is no part of the event.
        first.send_bytes(b"{\"op\":\"hello\",\"context\":{\"producerId\":\"another\"}}\n").await;
        assert_eq!(first.answer().await["op"], "hello");
        first.send(&line(2).replace(",\"echo\":true", "")).await;
    }
    assert_eq!(first.answer().await["deduplicated"], true);
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
    let refused = daemon.metric("dispatchd_events_refused_total{code=\"IdReused\"}").await;
    assert_eq!(refused, 2.0 * OTHERS.len() as f64);
}

#[tokio::test]
async fn an_id_of_an_event_that_may_be_stored_is_that_events_and_one_that_is_surely_not_is_free() {
    // Where nothing hangs no attempt may come to its limit: it would make the event one that may be
    // stored. The next event must not wait for its shard as long as it may wait at all.
    for (fault, attempt_timeout, is_free) in
        [(Fault::HangAfter, "300ms", false), (Fault::FailAll(RecordError::Internal), "1m", true)]
    {
        let (ferro, server, daemon) = setting(|start| {
            let start = start.set("delivery.timeout", "1s").set("delivery.backoff_max", "200ms");
            start.set("kinesis.attempt_timeout", attempt_timeout)
        })
        .await;
        server.next(fault);
        server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
        let mut caller = daemon.connect().await;
        assert_eq!(caller.ask(&line(1)).await["error"]["code"], "DeliveryTimeout");
        server.set(Plan::default());
        let other = caller.ask(others().lines().next().expect("there are some")).await;
        if is_free {
            assert_eq!(other["ok"], true, "{other}");
        } else {
            assert_eq!(other["error"]["code"], "IdReused", "{other}");
            assert_eq!(caller.ask(&line(2)).await["ok"], true, "the same event may be sent again");
        }
        let copies = read_all(&client(&ferro.endpoint()), "s").await.len();
        assert_eq!(copies, if is_free { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_event_that_names_no_key_has_that_of_its_id_and_so_the_same_one_when_it_is_sent_again() {
    let (ferro, _server, daemon) = setting(|start| start.set("delivery.dedupe_ids", 0)).await;
    let mut caller = daemon.connect().await;
    let lines = [ID.to_owned(), ID.to_uppercase()]
        .map(|id| format!(r#"{{"type":"t","data":{{}},"options":{{"id":"{id}"}}}}"#));
    for line in lines {
        assert_eq!(caller.ask(&line).await["partitionKey"], ID);
    }
    let other = caller.ask(r#"{"type":"t","data":{}}"#).await;
    assert_ne!(
        other["partitionKey"], other["id"],
        "a key of the daemon's own has nothing to do with its id"
    );
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    assert_eq!(stored.iter().filter(|record| record.partition_key == ID).count(), 2);
}
