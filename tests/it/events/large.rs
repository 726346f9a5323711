//! Records over 1 MiB, and a stream that is named by its ARN: on kinesis-local, the one emulator
//! that knows both.
//!
//! Few tests, since its server takes two seconds to start and a put of 2 MiB another. And what
//! holds while the limit is not known, or is told wrongly.

use aws_sdk_kinesis::Client;
use serde_json::{Value, json};
use testkit::aws::description;
use testkit::daemon::{Caller, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::{Ferro, KinesisLocal};
use testkit::stream::{create_stream, read_all, wait_active};
use testkit::{client, eventually};

use crate::DISPATCHD;

const MIB: usize = 1 << 20;

async fn create(client: &Client, stream: &str, record_kib: i32) -> String {
    let create = client
        .create_stream()
        .stream_name(stream)
        .shard_count(2)
        .max_record_size_in_kib(record_kib);
    create.send().await.expect("kinesis-local creates a stream");
    wait_active(client, stream).await;
    let summary =
        client.describe_stream_summary().stream_name(stream).send().await.expect("it is there");
    summary.stream_description_summary.expect("a summary").stream_arn
}

/// Data of at least so many bytes, with no two places alike.
fn data(bytes: usize) -> String {
    let numbers: String = (0..bytes / 8 + 1).map(|n| format!("{n:08}")).collect();
    format!(r#"{{"a": "{numbers}"}}"#)
}

fn large(reference: u64, bytes: usize) -> String {
    event(reference, "large", &data(bytes))
}

async fn assert_too_large(caller: &mut Caller, bytes: usize) {
    let refused = caller.ask(&large(7, bytes)).await;
    assert_eq!((&refused["ref"], &refused["error"]["code"]), (&7.into(), &"EventTooLarge".into()));
    assert_eq!(refused["error"]["retryable"], false);
}

#[tokio::test]
async fn large_records_and_streams_by_arn_work_and_a_streams_limit_is_held_at_the_door() {
    let Some(emulator) = KinesisLocal::start().await else { return };
    let direct = client(&emulator.endpoint());
    let server = FaultServer::start(&emulator.endpoint(), 7).await;
    let large_arn = create(&direct, "large", 10 * 1024).await;
    create(&direct, "small", 2 * 1024).await;

    // The limit of the stream is the limit of what the daemon takes.
    let daemon = DISPATCHD.daemon(&server.endpoint(), "small").start().await;
    let mut caller = daemon.connect_with_limit(2 * MIB).await;
    assert_too_large(&mut caller, 2 * MIB).await;

    let start = DISPATCHD.by_arn(&server.endpoint(), &large_arn).set("stream.region", "us-east-1");
    let daemon =
        start.set("batch.linger", "300ms").set("kinesis.attempt_timeout", "60s").start().await;
    let mut caller = daemon.connect_with_limit(10 * MIB).await;
    let shards = async || daemon.metric("dispatchd_shards").await;
    eventually("they are listed by ARN", async || (shards().await == 2.0).then_some(())).await;
    assert_too_large(&mut caller, 10 * MIB).await;
    for n in 0..10 {
        caller.send(&event(n, &format!("k{n}"), "{}")).await;
    }
    caller.send(&large(10, 2 * MIB)).await;
    let mut acks = Vec::new();
    while acks.len() < 11 {
        let ack = caller.answer().await;
        assert_eq!(ack["ok"], true, "{ack}");
        acks.push(ack);
    }
    let requests = server.ledger().requests();
    let alone = requests.iter().find(|request| request.bytes > 2 * MIB).expect("it was sent");
    assert_eq!(alone.keys, ["large"], "a record over batch.max_bytes goes alone");
    let stored = read_all(&direct, "large").await;
    assert_eq!(testkit::truth::assert_acks_are_true(&acks, &stored), 0);
    let record =
        stored.iter().find(|record| record.partition_key == "large").expect("it is in the stream");
    let text = std::str::from_utf8(&record.data).expect("envelopes are UTF-8");
    assert!(text.contains(&format!(",\"data\":{},", data(2 * MIB))), "byte for byte");
}

fn denied(call: &str, answer: Refusal) -> Plan {
    Plan { denied: [(call.to_owned(), answer)].into(), ..Plan::default() }
}

#[tokio::test]
async fn while_the_limit_is_not_known_larger_events_are_taken_and_the_streams_own_word_counts() {
    // What could go wrong: 1 MiB is assumed, and events are refused for good that the stream takes.
    let Some(emulator) = KinesisLocal::start().await else { return };
    let direct = client(&emulator.endpoint());
    let server = FaultServer::start(&emulator.endpoint(), 7).await;
    create(&direct, "s", 2 * 1024).await;
    server.set(denied("DescribeStreamSummary", Refusal::access_denied()));
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("batch.max_bytes", "10MiB")
        .set("batch.linger", "300ms");
    let start = start.set("kinesis.attempt_timeout", "60s").set("memory.budget", "64MiB");
    let daemon = start.start().await;
    let mut caller = daemon.connect_with_limit(10 * MIB).await; // what the budget carries
    for n in 0..10 {
        caller.send(&event(n, &format!("k{n}"), "{}")).await;
    }
    caller.send(&event(10, "large", &data(3 * MIB / 2))).await;
    caller.send(&event(11, "too large", &data(3 * MIB))).await;
    let mut answers = Vec::new();
    while answers.len() < 12 {
        answers.push(caller.answer().await);
    }
    let (acks, refusals): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer["ok"] == true);
    assert_eq!(testkit::truth::assert_acks_are_true(&acks, &read_all(&direct, "s").await), 0);
    let [refused] = &refusals[..] else { panic!("one is too large: {refusals:?}") };
    assert_eq!(
        (&refused["ref"], &refused["error"]["code"]),
        (&11.into(), &"Rejected".into()),
        "{refused}"
    );
    for request in server.ledger().requests() {
        assert!(
            request.bytes <= MIB || request.keys.len() == 1,
            "each larger one goes alone: {:?}",
            request.keys
        );
    }
    let told = daemon.told("the stream's record limit is not known").await;
    assert_eq!(told.len(), 1, "told once, and by itself");
    assert!(
        told[0]["to_do"]
            .as_str()
            .is_some_and(|what| what.starts_with("allow kinesis:DescribeStreamSummary"))
    );
    let stream = daemon.status().await["stream"].clone();
    assert_eq!(
        (&stream["record_bytes_max"], &stream["list_shards"]["failures"]),
        (&Value::Null, &0.into())
    );
    // Once, or once a minute on a slow machine.
    assert!(stream["describe_stream"]["failures"].as_u64() >= Some(1), "{stream}");
    assert_eq!(stream["shards"], 2, "{stream}");

    server.set(Plan::default());
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    let mut caller = daemon.connect_with_limit(2 * MIB).await;
    assert_too_large(&mut caller, 2 * MIB).await;
}

#[tokio::test]
async fn a_limit_that_no_stream_can_have_is_told_once_and_refuses_nothing() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let says = |kib: i32| Refusal::answer(description(&json!({"MaxRecordSizeInKiB": kib})));
    server.set(denied("DescribeStreamSummary", says(0)));
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let asked = async || server.ledger().calls("DescribeStreamSummary");
    let told = async |count: usize| {
        let told = daemon
            .logged("the stream tells a record limit that cannot be: streams have 1 KiB to 10 MiB");
        assert!(told.len() <= count, "told once a limit: {told:?}");
        (told.len() == count).then_some(())
    };
    eventually("it is told", async || told(1).await).await;
    let mut caller = daemon.connect().await;
    assert_eq!(caller.ask(&event(1, "k", &data(10_000))).await["ok"], true);
    assert_eq!(daemon.status().await["stream"]["record_bytes_max"], Value::Null);
    let before = asked().await;
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    eventually("it is asked again", async || (asked().await > before).then_some(())).await;
    server.set(denied("DescribeStreamSummary", says(1_000_000_000)));
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    eventually("another one is told", async || told(2).await).await;
    server.set(denied("DescribeStreamSummary", says(2048)));
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    daemon.connect_with_limit(2 * MIB).await;
}
