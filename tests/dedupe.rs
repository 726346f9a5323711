//! Sending again with the same `options.id` is safe: one outcome, and one record unless a reply of Kinesis was lost.

mod support;

use serde_json::{Value, json};
use support::client;
use support::daemon::{Daemon, Start};
use support::fault::FaultServer;
use support::fault::plan::Fault;
use support::kinesis::Ferro;
use support::stream::{create_stream, read_all};

const ID: &str = "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11";

fn line(reference: u32) -> String {
    format!(r#"{{"ref":{reference},"type":"t","data":{{}},"options":{{"id":"{ID}","partitionKey":"k","echo":true}}}}"#)
}

async fn setting(start: impl FnOnce(Start) -> Start) -> (Ferro, FaultServer, Daemon) {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let daemon = start(Start::new(&server.endpoint(), "s")).start().await;
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
    server.next(Fault::FailAll(support::fault::plan::RecordError::Internal));
    let mut caller = daemon.connect().await;
    caller.send_bytes(format!("{}\n{}\n", line(1), line(2)).as_bytes()).await;
    let answers = [caller.answer().await, caller.answer().await];
    assert_eq!(place(&answers[0]), place(&answers[1]));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again() {
    let (ferro, server, daemon) =
        setting(|start| start.set("delivery.timeout", "1s").set("kinesis.attempt_timeout", "500ms")).await;
    server.set(support::fault::plan::Plan { hang_before_ratio: 1.0, ..Default::default() });
    let mut caller = daemon.connect().await;
    assert_eq!(caller.ask(&line(1)).await["error"]["code"], "DeliveryTimeout");
    server.set(support::fault::plan::Plan::default());
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
