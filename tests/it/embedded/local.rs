//! The embedded stream: a server that clients of Kinesis can use, with bounds of its own.

#![cfg(feature = "local")]

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};
use aws_smithy_eventstream::frame::read_message_from;
use bytes::{Buf, Bytes};
use dispatchd::embedded_stream::{Limits, Local, LocalError};
use serde_json::{Value, json};
use testkit::http::JSON;
use testkit::stream::{entries, entry, merge, put, read_all, shards, split};
use testkit::{DEADLINE, client, eventually, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn start(shards: usize, limits: Limits) -> (Local, Client) {
    let local = Local::start(0, shards, "s", limits).await.expect("a free port is free");
    let client = client(local.endpoint());
    (local, client)
}

/// Where a reader that began at the trim horizon is, and what it read.
struct Reader<'a> {
    client: &'a Client,
    iterator: Option<String>,
    read: Vec<String>,
}

impl Reader<'_> {
    async fn start<'a>(client: &'a Client, shard: &str) -> Reader<'a> {
        let call = client.get_shard_iterator().stream_name("s").shard_id(shard);
        let reply = call
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await
            .expect("the shard is there");
        Reader { client, iterator: reply.shard_iterator, read: Vec::new() }
    }

    async fn page(&mut self, limit: i32) {
        let call = self.client.get_records().set_shard_iterator(self.iterator.take()).limit(limit);
        let page = call.send().await.expect("reading goes on");
        self.read
            .extend(page.records.into_iter().map(|record| record.partition_key.expect("a key")));
        self.iterator = page.next_shard_iterator;
    }
}

#[tokio::test]
async fn the_stream_takes_records_as_soon_as_it_has_started() {
    let (_local, client) = start(3, Limits::default()).await;
    assert_eq!(shards(&client, "s").await.len(), 3);
    assert_eq!(put(&client, "s", entries(500)).await.failed_record_count(), Some(0));
    assert_eq!(read_all(&client, "s").await.len(), 500);
}

#[tokio::test]
async fn five_mebibytes_go_in_one_request() {
    // axum takes 2 MiB by default.
    let (_local, client) = start(1, Limits::default()).await;
    let large = (0..5).map(|n| entry(&n.to_string(), vec![b'x'; (1 << 20) - 1])).collect();
    assert_eq!(put(&client, "s", large).await.failed_record_count(), Some(0));
    assert_eq!(read_all(&client, "s").await.len(), 5);
}

#[tokio::test]
async fn a_request_over_every_limit_is_refused_in_the_aws_form() {
    let (local, _client) = start(1, Limits::default()).await;
    let body = "x".repeat(21 << 20);
    let answer =
        testkit::http::call(local.endpoint(), "PutRecords", &body).await.expect("it answers");
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["__type"], "SerializationException");
}

#[tokio::test]
async fn a_shard_throttles_only_when_asked_to() {
    // 1,500 records within a second, against 1,000. On a machine too slow for that: again.
    let failures = async |client: &Client| {
        let mut failed_count = 0;
        for _ in 0..3 {
            failed_count +=
                put(client, "s", entries(500)).await.failed_record_count().expect("a count");
        }
        failed_count
    };
    let (_local, client) = start(1, Limits::default()).await;
    assert_eq!(failures(&client).await, 0);
    let (_local, client) = start(1, Limits { throttle: true, ..Limits::default() }).await;
    eventually("a full shard throttles", async || (failures(&client).await > 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_port_and_the_way_out() {
    let (local, _client) = start(1, Limits::default()).await;
    let port: u16 = local
        .endpoint()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("it ends in a port");
    let error = Local::start(port, 1, "s", Limits::default()).await.expect_err("the port is taken");
    assert!(matches!(error, LocalError::PortInUse(taken) if taken == port), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("local.port"), "{text}");
}

#[tokio::test]
async fn the_port_is_free_again_once_it_is_dropped() {
    let (local, client) = start(1, Limits::default()).await;
    put(&client, "s", entries(1)).await;
    let port: u16 = local
        .endpoint()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("it ends in a port");
    drop(local);
    let again = eventually("the port is free", async || {
        Local::start(port, 1, "s", Limits::default()).await.ok()
    })
    .await;
    // The client's connection was to the server that is gone; it must not be answered by it.
    let client = testkit::client(again.endpoint());
    assert_eq!(read_all(&client, "s").await, []);
}

#[tokio::test]
async fn more_shards_than_it_takes_are_refused() {
    for shards in [0, 65, 1 << 20] {
        let error = Local::start(0, shards, "s", Limits::default()).await.expect_err("1 to 64");
        assert!(matches!(error, LocalError::Shards(asked) if asked == shards), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_stream_can_be_split() {
    let (_local, client) = start(64, Limits::default()).await;
    let first = shards(&client, "s").await.remove(0);
    split(&client, "s", &first).await;
    assert_eq!(shards(&client, "s").await.len(), 66);
}

#[tokio::test]
async fn over_the_bytes_the_oldest_records_go_the_newest_stay_and_readers_read_on() {
    let (_local, client) = start(1, Limits { keep_bytes: 20_000, ..Limits::default() }).await;
    let shard = &shards(&client, "s").await[0].id;
    let batch =
        |from: usize| (from..from + 100).map(|n| entry(&format!("{n:04}"), [b'x'; 300])).collect();
    put(&client, "s", batch(0)).await;
    let mut reader = Reader::start(&client, shard).await;
    reader.page(10).await;

    // 100 records are 40,000 bytes in base64: half of them must go, from the front.
    let kept = eventually("the oldest records went", async || {
        let kept = read_all(&client, "s").await;
        (kept.len() < 100).then_some(kept)
    })
    .await;
    let keys: Vec<&str> = kept.iter().map(|record| record.partition_key.as_str()).collect();
    let expected: Vec<String> = (100 - keys.len()..100).map(|n| format!("{n:04}")).collect();
    assert_eq!(keys, expected, "what stays is the newest, in order");
    assert!((30..60).contains(&keys.len()), "{} of 100 records stayed", keys.len());

    // A reader in the middle of what went skips it, sees nothing twice, and reads what comes.
    put(&client, "s", batch(100)).await;
    eventually("the reader reads on to the end", async || {
        reader.page(7).await;
        (reader.read.last().map(String::as_str) == Some("0199")).then_some(())
    })
    .await;
    assert_eq!(reader.read[..10], (0..10).map(|n| format!("{n:04}")).collect::<Vec<_>>());
    assert!(reader.read.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", reader.read);
}

#[tokio::test]
async fn records_past_their_age_go() {
    let (_local, client) =
        start(2, Limits { keep_for: Duration::from_millis(500), ..Limits::default() }).await;
    put(&client, "s", entries(300)).await;
    eventually("all are gone", async || read_all(&client, "s").await.is_empty().then_some(()))
        .await;
    assert_eq!(put(&client, "s", entries(3)).await.failed_record_count(), Some(0));
}

/// The emulator gives out a record's number before it stores it. A reader that comes in between
/// would pass it by.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_at_the_end_of_a_shard_sees_every_record_of_many_writers_at_once() {
    let (_local, client) = start(1, Limits::default()).await;
    let shard = shards(&client, "s").await.remove(0).id;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let client = client.clone();
        writers.spawn(async move {
            for round in 0..15 {
                put(
                    &client,
                    "s",
                    (0..200).map(|n| entry(&format!("{writer}-{round}-{n}"), "x")).collect(),
                )
                .await;
            }
        });
    }
    let mut reader = Reader::start(&client, &shard).await;
    let total = 8 * 15 * 200;
    eventually("every record is read", async || {
        reader.page(10_000).await;
        (writers.try_join_next().is_none() && writers.is_empty()).then_some(())
    })
    .await;
    // Two more: what was stored during the last page, and the end.
    for _ in 0..4 {
        reader.page(10_000).await;
    }
    assert_eq!(reader.read.len(), total);
    reader.read.sort();
    reader.read.dedup();
    assert_eq!(reader.read.len(), total, "none twice");
}

/// A sweep beside a put stopped both for good, on two threads under a flood: the emulator holds
/// locks across waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_is_swept_while_it_lasts_never_stops() {
    let (_local, client) = start(4, Limits { keep_bytes: 1 << 20, ..Limits::default() }).await;
    let began = std::time::Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        writers.spawn(async move {
            while began.elapsed() < Duration::from_secs(5) {
                let batch = (0..500).map(|n| entry(&n.to_string(), vec![b'x'; 1000])).collect();
                let stored = tokio::time::timeout(DEADLINE, put(&client, "s", batch)).await;
                assert_eq!(stored.expect("it answers").failed_record_count(), Some(0));
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.expect("no writer is left waiting");
    }
}

const CBOR: &str = "application/x-amz-cbor-1.1";

/// One operation in this format, answered in it.
async fn call(local: &Local, content_type: &str, operation: &str, request: &Value) -> Bytes {
    let mut body = Vec::new();
    match content_type {
        JSON => serde_json::to_writer(&mut body, request).expect("it is JSON"),
        _ => ciborium::into_writer(request, &mut body).expect("a Vec takes every byte"),
    }
    let answer = http::post(local.endpoint(), operation, content_type, body.into())
        .await
        .expect("it answers");
    assert_eq!(answer.status, 200, "{operation}: {:?}", answer.body);
    answer.body
}

/// What both formats say in the same words. Bytes are left out: JSON has none.
fn parsed(content_type: &str, body: &[u8]) -> Value {
    if content_type == JSON {
        return serde_json::from_slice(body).expect("it is JSON");
    }
    let mut page: ciborium::Value = ciborium::from_reader(body).expect("it is CBOR");
    let fields = page.as_map_mut().expect("a map");
    for record in fields.iter_mut().filter_map(|(_, value)| value.as_array_mut()).flatten() {
        record
            .as_map_mut()
            .expect("records and shards are maps")
            .retain(|(_, value)| !value.is_bytes());
    }
    page.deserialized().expect("the rest is JSON too")
}

/// The ARN of a consumer that may subscribe.
async fn consumer(local: &Local) -> String {
    let consumer = json!({ "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s", "ConsumerName": "c" });
    let consumer = parsed(JSON, &call(local, JSON, "RegisterStreamConsumer", &consumer).await);
    let arn = consumer["Consumer"]["ConsumerARN"].as_str().expect("an ARN").to_owned();
    eventually("the consumer is ACTIVE", async || {
        let described =
            call(local, JSON, "DescribeStreamConsumer", &json!({ "ConsumerARN": arn })).await;
        (parsed(JSON, &described)["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE")
            .then_some(())
    })
    .await;
    arn
}

/// A stream whose shard 0 was split into 2 and 3, and whose 3 and 1 were merged into 4, with
/// records before, between and after; and what is told of the children at the end of each closed
/// shard.
async fn resharded() -> (Local, [(&'static str, Value); 3]) {
    let (local, client) = start(2, Limits::default()).await;
    put(&client, "s", entries(100)).await;
    split(&client, "s", &shards(&client, "s").await[0]).await;
    put(&client, "s", entries(100)).await;
    let before = shards(&client, "s").await;
    merge(&client, "s", &before[3], &before[1]).await;
    put(&client, "s", entries(100)).await;
    let after = shards(&client, "s").await;
    let child = |shard: usize, parents: Value| {
        let range = json!({
            "StartingHashKey": after[shard].first.to_string(),
            "EndingHashKey": after[shard].last.to_string(),
        });
        json!({ "ShardId": after[shard].id, "ParentShards": parents, "HashKeyRange": range })
    };
    let halves = json!(["shardId-000000000000"]);
    let merged = child(4, json!(["shardId-000000000003", "shardId-000000000001"]));
    let told = [
        ("shardId-000000000000", json!([child(2, halves.clone()), child(3, halves)])),
        ("shardId-000000000001", json!([merged.clone()])),
        ("shardId-000000000003", json!([merged])),
    ];
    (local, told)
}

/// Without its children no reader of today goes on: it stands at the closed shard for ever.
#[tokio::test]
async fn pages_are_behind_until_the_last_record_and_the_last_of_a_closed_shard_names_its_children()
{
    let (local, told) = resharded().await;
    for content_type in [JSON, CBOR] {
        for (shard, children) in &told {
            let start =
                json!({ "StreamName": "s", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
            let start =
                parsed(content_type, &call(&local, content_type, "GetShardIterator", &start).await);
            let (mut iterator, mut records_count) = (start["ShardIterator"].clone(), 0);
            let mut behind = Vec::new();
            let last = loop {
                let request = json!({ "ShardIterator": iterator, "Limit": 10 });
                let page =
                    parsed(content_type, &call(&local, content_type, "GetRecords", &request).await);
                records_count +=
                    page["Records"].as_array().expect("there are always records").len();
                behind
                    .push((records_count, page["MillisBehindLatest"].as_u64().expect("a number")));
                match page.get("NextShardIterator") {
                    Some(next) => iterator = next.clone(),
                    None => break page,
                }
                assert_eq!(page.get("ChildShards"), None, "{shard} goes on");
            };
            assert!(records_count > 10, "{shard}: {records_count} records");
            for (read_count, behind) in behind {
                assert_eq!(
                    behind > 0,
                    read_count < records_count,
                    "{behind} after {read_count} of {records_count}"
                );
            }
            let expected =
                json!({ "Records": [], "MillisBehindLatest": 0, "ChildShards": children });
            assert_eq!(last, expected, "{content_type}, {shard}");
        }
    }
}

/// As the KCL wants it: children and no sequence number to go on from at the end, and the other way
/// round before it.
#[tokio::test]
async fn the_last_event_of_a_subscription_names_the_children_and_no_other_does() {
    let (local, told) = resharded().await;
    let consumer = consumer(&local).await;
    for content_type in [JSON, CBOR] {
        for (shard, children) in &told {
            let start = json!({ "Type": "TRIM_HORIZON" });
            let request =
                json!({ "ConsumerARN": consumer, "ShardId": shard, "StartingPosition": start });
            let mut answer = call(&local, content_type, "SubscribeToShard", &request).await;
            let mut events = Vec::new();
            while answer.has_remaining() {
                let message = read_message_from(&mut answer).expect("an event stream");
                if !message.payload().is_empty() {
                    events.push(parsed(content_type, message.payload()));
                }
            }
            let last = events.pop().expect("an event");
            let expected =
                json!({ "Records": [], "MillisBehindLatest": 0, "ChildShards": children });
            assert_eq!(last, expected, "{content_type}, {shard}");
            let records_count: usize =
                events.iter().map(|event| event["Records"].as_array().map_or(0, Vec::len)).sum();
            assert!(records_count > 10, "{shard}: {records_count} records");
            for event in &events {
                for record in event["Records"].as_array().expect("there are always records") {
                    assert_eq!(
                        record.get("Data").is_some(),
                        content_type == JSON,
                        "bytes stay bytes in CBOR"
                    );
                }
                assert_eq!(event["ChildShards"], json!([]), "{content_type}, {shard}");
                assert!(
                    event["ContinuationSequenceNumber"].is_string(),
                    "{content_type}, {shard}: {event}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_event_of_a_subscription_is_behind_until_the_last_record() {
    let (local, client) = start(1, Limits::default()).await;
    // An event has 10,000 records at most.
    for _ in 0..21 {
        put(&client, "s", entries(500)).await;
    }
    let call = client
        .subscribe_to_shard()
        .consumer_arn(consumer(&local).await)
        .shard_id("shardId-000000000000");
    let start =
        StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build().expect("a type");
    let mut events =
        call.starting_position(start).send().await.expect("the consumer is ACTIVE").event_stream;
    for (records_count, is_behind) in [(10_000, true), (500, false)] {
        let event = events.recv().await.expect("it can be read").expect("the shard is open");
        let event = event.as_subscribe_to_shard_event().expect("the only kind");
        assert_eq!(
            (event.records.len(), event.millis_behind_latest > 0),
            (records_count, is_behind)
        );
    }
}

/// Status line and headers of what the embedded stream answers to this head and body.
async fn raw(endpoint: &str, head: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(endpoint.trim_start_matches("http://"))
        .await
        .expect("it listens");
    let length = body.len();
    let request = format!("{head}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test]
async fn a_web_page_of_somebody_elses_reads_writes_and_deletes_nothing() {
    let local = Local::start(0, 1, "s", Limits::default()).await.expect("it starts");
    let call = "x-amz-target: Kinesis_20131202.DeleteStream\r\ncontent-type: application/x-amz-json-1.1\r\n\
        x-amz-date: 20260101T000000Z\r\nauthorization: AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0\r\n";
    let body = "{\"StreamName\":\"s\"}";
    for foreign in [
        "host: 127.0.0.1\r\norigin: https://evil.example\r\n",
        "host: 127.0.0.1\r\norigin: null\r\n",
        "host: evil.example\r\n", // a name that leads to loopback: its pages are of one origin with it
    ] {
        let answer =
            raw(local.endpoint(), &format!("POST / HTTP/1.1\r\n{foreign}{call}"), body).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains("names another host"),
            "{foreign}{answer}"
        );
    }
    let preflight = "OPTIONS / HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: https://evil.example\r\naccess-control-request-method: POST\r\n";
    let answer = raw(local.endpoint(), preflight, "").await.to_ascii_lowercase();
    assert!(
        answer.starts_with("http/1.1 403 ") && !answer.contains("access-control-allow"),
        "{answer}"
    );
    client(local.endpoint())
        .describe_stream_summary()
        .stream_name("s")
        .send()
        .await
        .expect("it is still there");
    let answer =
        raw(local.endpoint(), &format!("POST / HTTP/1.1\r\nhost: localhost\r\n{call}"), body).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "a program of this machine may: {answer}");
}
