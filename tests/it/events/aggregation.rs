//! Events that share a record: whoever reads the KPL's format finds every one of them where its ack
//! says.
//!
//! Read back with two public readers, one from PyPI and one from npm, and by `tail`.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::fault::FaultServer;
use testkit::fault::plan::Plan;
use testkit::kinesis::Ferro;
use testkit::packages::{self, node, python};
use testkit::stream::{StoredRecord, create_stream, entry, hash_of, put, read_all, shards, split};
use testkit::truth::{numbered_lines, refs};
use testkit::{client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::DISPATCHD;

const SHARDS: &str = "dispatchd_shards";

/// An event as a reader finds it: the record's sequence number, its index there if it is not alone,
/// key and data.
type Found = HashMap<(String, Option<u64>), Value>;

/// Runs a reader over what is stored.
async fn run(mut reader: Command, stored: &[StoredRecord]) -> Vec<Value> {
    let line = |record: &StoredRecord| {
        let data = STANDARD.encode(&record.data);
        let line = json!({"sequence": record.sequence, "partition_key": record.partition_key, "data": data});
        line.to_string() + "\n"
    };
    let lines: String = stored.iter().map(line).collect();
    let mut reader = reader
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the reader is installed");
    let mut stdin = reader.stdin.take().expect("it is piped");
    let writing = tokio::spawn(async move { stdin.write_all(lines.as_bytes()).await });
    let output = reader.wait_with_output().await.expect("the reader ends");
    writing.await.expect("writing does not panic").expect("the reader reads");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("it prints JSON")).collect()
}

/// What each reader that is installed finds; they have to find the same.
async fn found(stored: &[StoredRecord]) -> Option<Vec<Value>> {
    let folders = tokio::task::spawn_blocking(|| Some((python()?, node()?)));
    let (python, node) = folders.await.expect("installing ends")?;
    let mut of_pypi = Command::new(python.join("python"));
    of_pypi.arg(packages::file("python/deaggregate.py"));
    let mut of_npm = Command::new("node");
    of_npm.arg("deaggregate.cjs").current_dir(node);
    let (first, second) = (run(of_pypi, stored).await, run(of_npm, stored).await);
    assert_eq!(first, second, "the two readers agree");
    Some(first)
}

fn by_place(found: &[Value]) -> Found {
    let place = |event: &Value| {
        (event["sequence"].as_str().expect("a text").to_owned(), event["index"].as_u64())
    };
    found.iter().map(|event| (place(event), event.clone())).collect()
}

fn envelope(event: &Value) -> Value {
    let data =
        STANDARD.decode(event["data"].as_str().expect("a text")).expect("the readers print base64");
    serde_json::from_slice(&data).expect("envelopes are JSON")
}

/// Every ack names the event's very place.
fn assert_acks_name_the_place(acks: &[Value], found: &Found) {
    for ack in acks {
        assert_eq!(ack["ok"], true, "{ack}");
        let sequence = ack["sequenceNumber"].as_str().expect("a text").to_owned();
        let place = (sequence, ack["subSequenceNumber"].as_u64());
        let event = found.get(&place).unwrap_or_else(|| panic!("nothing is at the place of {ack}"));
        assert_eq!(envelope(event)["id"], ack["id"]);
        assert_eq!(event["partition_key"], ack["partitionKey"]);
    }
}

/// The events of a key stand in the order in which they were sent; a second copy of one may come
/// later.
fn assert_keys_in_order(found: &[Value]) {
    let mut next: HashMap<String, u64> = HashMap::new();
    for event in found {
        let next = next.entry(event["partition_key"].to_string()).or_default();
        let place = envelope(event)["data"]["place"].as_u64().expect("numbered_lines made it");
        assert!(place <= *next, "{place} comes before {next}");
        *next = (*next).max(place + 1);
    }
}

#[tokio::test]
async fn a_hot_key_travels_in_few_records_and_in_order() {
    const EVENTS: usize = 5_000;
    let ferro = Ferro::start(false).await;
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 2).await;
    let daemon =
        DISPATCHD.daemon(&ferro.endpoint(), "s").set("delivery.aggregation", "key").start().await;
    let acks = daemon.connect().await.pipeline(numbered_lines(EVENTS, 3)).await;
    assert_eq!(refs(&acks).len(), EVENTS);
    let stored = read_all(&direct, "s").await;
    assert!(stored.len() < EVENTS / 10, "{} records", stored.len());
    let Some(found) = found(&stored).await else { return };
    assert_eq!(found.len(), EVENTS);
    assert_acks_name_the_place(&acks, &by_place(&found));
    assert_keys_in_order(&found);
}

#[tokio::test]
async fn events_of_many_keys_share_records_and_explicit_hash_keys_stay_their_own() {
    const EVENTS: usize = 4_000;
    let ferro = Ferro::start(false).await;
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 4).await;
    let daemon =
        DISPATCHD.daemon(&ferro.endpoint(), "s").set("delivery.aggregation", "shard").start().await;
    eventually("the map is known", async || (daemon.metric(SHARDS).await == 4.0).then_some(()))
        .await;
    // The last thousand have explicit hash keys, somewhere on the ring.
    let hash_of_event =
        |n: usize| (n >= EVENTS - 1_000).then(|| hash_of(&format!("elsewhere {n}")).to_string());
    let lines: String = numbered_lines(EVENTS, EVENTS)
        .lines()
        .enumerate()
        .map(|(n, line)| match hash_of_event(n) {
            Some(hash) => {
                line.replace("}}", &format!(",\"explicitHashKey\":\"{hash}\"}}}}")) + "\n"
            }
            None => format!("{line}\n"),
        })
        .collect();
    let acks = daemon.connect().await.pipeline(lines).await;
    let stored = read_all(&direct, "s").await;
    assert!(stored.len() < EVENTS / 10, "{} records", stored.len());
    assert!(stored.iter().all(|record| record.data.len() + record.partition_key.len() <= 50 << 10));
    let Some(found) = found(&stored).await else { return };
    let found = by_place(&found);
    assert_eq!(found.len(), EVENTS);
    assert_acks_name_the_place(&acks, &found);
    for event in found.values() {
        let key = event["partition_key"].as_str().expect("a text");
        let n: usize =
            key.strip_prefix("key-").and_then(|n| n.parse().ok()).expect("numbered_lines made it");
        assert_eq!(event["explicit_hash_key"], json!(hash_of_event(n)), "{key}");
    }
}

#[tokio::test]
async fn through_a_reshard_no_acked_event_is_in_a_record_that_a_careful_consumer_drops() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    server.set(Plan { latency_ms: 20, ..Plan::default() });
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 2).await;
    let daemon = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("delivery.aggregation", "shard")
        .start()
        .await;
    eventually("the map is known", async || (daemon.metric(SHARDS).await == 2.0).then_some(()))
        .await;
    let (seen_enough, caller) =
        daemon.connect().await.send_until_told(numbered_lines(400_000, 300));
    let acked = async || daemon.metric("dispatchd_events_acked_total").await;
    eventually("events flow", async || (acked().await > 2_000.0).then_some(())).await;
    split(&direct, "s", &shards(&direct, "s").await[0]).await;
    eventually("the map follows", async || (daemon.metric(SHARDS).await == 3.0).then_some(()))
        .await;
    let then = acked().await;
    eventually("events flow on", async || (acked().await > then + 5_000.0).then_some(())).await;
    seen_enough.cancel();
    let (sent, acks) = caller.await.expect("the caller does not panic");
    assert_eq!(acks.len(), sent);

    let (stored, ranges) = (read_all(&direct, "s").await, shards(&direct, "s").await);
    let regrouped = daemon.metric("dispatchd_retries_total{class=\"regrouped\"}").await;
    assert!(regrouped > 0.0, "the split met no record on its way");
    let Some(found) = found(&stored).await else { return };
    let shard_of_record: HashMap<_, _> =
        stored.iter().map(|record| (&record.sequence, &record.shard)).collect();
    let belongs = |event: &Value| {
        let shard = shard_of_record[&event["sequence"].as_str().expect("a text").to_owned()];
        let range = ranges.iter().find(|range| range.id == *shard).expect("the shard is listed");
        (range.first..=range.last)
            .contains(&hash_of(event["partition_key"].as_str().expect("a text")))
    };
    let dropped: HashSet<_> = found
        .iter()
        .filter(|event| !belongs(event))
        .map(|event| event["sequence"].to_string())
        .collect();
    assert!(!dropped.is_empty(), "no record went to a shard where not all of its events belong");
    let kept: Vec<_> = found
        .into_iter()
        .filter(|event| !dropped.contains(&event["sequence"].to_string()))
        .collect();
    assert_acks_name_the_place(&acks, &by_place(&kept));
    assert_keys_in_order(&kept);
}

#[tokio::test]
async fn tail_prints_the_events_of_a_record_that_another_producer_aggregated() {
    const AGGREGATE: &str = r#"
import sys
from aws_kinesis_agg import aggregator
of_pypi = aggregator.RecordAggregator()
of_pypi.add_user_record("a", b'{"n":1}')
of_pypi.add_user_record("b", b'{"n":2}')
sys.stdout.buffer.write(of_pypi.clear_and_get().get_contents()[2])
"#;
    let Some(folder) = tokio::task::spawn_blocking(python).await.expect("pip ends") else { return };
    let made = Command::new(folder.join("python"))
        .args(["-c", AGGREGATE])
        .output()
        .await
        .expect("pip installed it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let ferro = Ferro::start(false).await;
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 1).await;
    put(&direct, "s", vec![entry("a", &made.stdout), entry("c", r#"{"n":3}"#)]).await;
    let mut tail = DISPATCHD
        .command()
        .args(["tail", "--stream", "s", "--from", "trim-horizon"])
        .env("AWS_ENDPOINT_URL_KINESIS", ferro.endpoint())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("it is piped")).lines();
    for expected in [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#] {
        assert_eq!(lines.next_line().await.expect("it prints").as_deref(), Some(expected));
    }
}
