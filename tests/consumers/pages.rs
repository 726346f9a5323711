//! A stream of the test's own that never ends: every page is as large as was asked for, up to the
//! 10 MiB that GetRecords gives. No emulator holds so much. It can be deleted and made again when
//! a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use testkit::aws::serve;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// The type of what is answered.
const JSON: [(&str, &str); 1] = [("content-type", "application/x-amz-json-1.1")];

/// Bytes that GetRecords gives at once.
pub(crate) const PAGE_BYTES_MAX: usize = 10 << 20;

pub(crate) struct Pages {
    pub(crate) endpoint: String,
    stream: Arc<Stream>,
    _server: AbortOnDropHandle<()>,
}

struct Stream {
    shards: Vec<Shard>,
    record_bytes: usize,
    /// When it was made, in seconds. No iterator outlives its stream.
    made: AtomicUsize,
}

struct Shard {
    /// Closed while nothing of the shard is given out.
    gate: Semaphore,
    records: AtomicUsize,
    largest_page: AtomicUsize,
}

impl Pages {
    /// A stream of so many shards that give nothing out yet, with records of so many bytes.
    pub(crate) async fn start(shards: usize, record_bytes: usize) -> Self {
        let shard = || Shard {
            gate: Semaphore::new(0),
            records: AtomicUsize::new(0),
            largest_page: AtomicUsize::new(0),
        };
        let shards = (0..shards).map(|_| shard()).collect();
        let stream = Arc::new(Stream { shards, record_bytes, made: AtomicUsize::new(1) });
        let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&stream));
        let (endpoint, server) = serve(app).await;
        Self { endpoint, stream, _server: server }
    }

    /// From now on this shard gives out what it is asked for.
    pub(crate) fn open(&self, shard: usize) {
        self.stream.shards[shard].gate.add_permits(1);
    }

    /// Deletes it, and makes one of the same name and as many shards.
    pub(crate) fn make_again(&self) {
        self.stream.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of records that all shards have given out.
    pub(crate) fn bytes(&self) -> usize {
        let records = self.stream.shards.iter().map(|shard| shard.records.load(Ordering::Relaxed));
        records.sum::<usize>() * self.stream.record_bytes
    }

    /// Bytes of the largest page that this shard has given out.
    pub(crate) fn largest_page(&self, shard: usize) -> usize {
        self.stream.shards[shard].largest_page.load(Ordering::Relaxed) * self.stream.record_bytes
    }
}

async fn answer(State(stream): State<Arc<Stream>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let asked: Value = serde_json::from_slice(&body).expect("a call is JSON");
    let text = |name: &str| asked[name].as_str().expect("it is named").to_owned();
    let body = match target.and_then(|target| target.rsplit('.').next()) {
        Some("ListShards") => {
            let shard = |number: usize| {
                json!({
                    "ShardId": format!("shardId-{number:012}"),
                    "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" },
                    "SequenceNumberRange": { "StartingSequenceNumber": "1" },
                })
            };
            let shards: Vec<Value> = (0..stream.shards.len()).map(shard).collect();
            json!({ "Shards": shards }).to_string()
        }
        Some("DescribeStreamSummary") => json!({ "StreamDescriptionSummary": {
            "StreamName": "s",
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": stream.made.load(Ordering::Relaxed),
            "EnhancedMonitoring": [],
            "OpenShardCount": stream.shards.len(),
        } })
        .to_string(),
        Some("GetShardIterator") => {
            let number = text("ShardId").trim_start_matches("shardId-").to_owned();
            let number: usize = number.parse().expect("it was listed");
            let made = stream.made.load(Ordering::Relaxed);
            json!({ "ShardIterator": format!("{number}:0:{made}") }).to_string()
        }
        Some("GetRecords") => {
            let iterator = text("ShardIterator");
            let parts = iterator.split(':').map(|text| text.parse().expect("it is our own"));
            let &[shard, first, made] = &parts.collect::<Vec<usize>>()[..] else {
                panic!("{iterator} is our own")
            };
            if made != stream.made.load(Ordering::Relaxed) {
                let error = json!({ "__type": "ResourceNotFoundException", "message": "no shard" });
                return (StatusCode::BAD_REQUEST, JSON, error.to_string()).into_response();
            }
            let limit = asked["Limit"].as_u64().expect("a reader says how many");
            stream.page(shard, first, usize::try_from(limit).expect("they are few")).await
        }
        other => panic!("{other:?} is not what a reader asks for"),
    };
    (JSON, body).into_response()
}

impl Stream {
    async fn page(&self, shard: usize, first: usize, limit: usize) -> String {
        let Shard { gate, records, largest_page } = &self.shards[shard];
        drop(gate.acquire().await.expect("it is never closed"));
        let count = limit.min(PAGE_BYTES_MAX / self.record_bytes);
        records.fetch_add(count, Ordering::Relaxed);
        largest_page.fetch_max(count, Ordering::Relaxed);
        let entries = (first..first + count).map(|number| {
            let mut event =
                json!({ "type": "t", "data": { "shard": shard, "n": number, "pad": "" } })
                    .to_string()
                    .into_bytes();
            let pad = vec![b'x'; self.record_bytes - event.len()];
            let at = event.len() - "\"}}".len();
            event.splice(at..at, pad);
            let data = BASE64_STANDARD.encode(event);
            let number = number + 1;
            format!(r#"{{"SequenceNumber":"{number}","PartitionKey":"k","Data":"{data}"}}"#)
        });
        let (entries, next) = (entries.collect::<Vec<_>>().join(","), first + count);
        let made = self.made.load(Ordering::Relaxed);
        format!(
            r#"{{"Records":[{entries}],"NextShardIterator":"{shard}:{next}:{made}","MillisBehindLatest":60000}}"#
        )
    }
}
