//! Records over 1 MiB, and a stream that is named by its ARN: on kinesis-local, the one emulator that knows both.
//!
//! One test, since its server takes two seconds to start and a put of 2 MiB another.

mod support;

use aws_sdk_kinesis::Client;
use support::daemon::{Caller, Start, event};
use support::fault::FaultServer;
use support::kinesis::KinesisLocal;
use support::stream::{read_all, wait_active};
use support::{client, eventually};

const MIB: usize = 1 << 20;

async fn create(client: &Client, stream: &str, record_kib: i32) -> String {
    let create = client.create_stream().stream_name(stream).shard_count(2).max_record_size_in_kib(record_kib);
    create.send().await.expect("kinesis-local creates a stream");
    wait_active(client, stream).await;
    let summary = client.describe_stream_summary().stream_name(stream).send().await.expect("it is there");
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

    // The limit of the stream is the limit at the door.
    let daemon = Start::new(&server.endpoint(), "small").start().await;
    let mut caller = daemon.connect_with_limit(2 * MIB).await;
    assert_too_large(&mut caller, 2 * MIB).await;

    let start = Start::by_arn(&server.endpoint(), &large_arn).set("stream.region", "us-east-1");
    let daemon = start.set("batch.linger", "300ms").set("kinesis.attempt_timeout", "60s").start().await;
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
    assert_eq!(support::truth::assert_acks_are_true(&acks, &stored), 0);
    let record = stored.iter().find(|record| record.partition_key == "large").expect("it is in the stream");
    let text = std::str::from_utf8(&record.data).expect("envelopes are UTF-8");
    assert!(text.contains(&format!(",\"data\":{},", data(2 * MIB))), "byte for byte");
}
