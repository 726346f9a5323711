//! What one would write without dispatchd: the SDK, called by the application itself. No socket, no
//! ack, no order, no retry of the records that failed in a request that did not.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::value::RawValue;
use testkit::orders;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Reading;
use crate::load::{Window, histogram, micros};
use crate::process::{memory_mib, usage};

/// Requests at once, of either kind.
const IN_FLIGHT: usize = 32;

/// What an application would call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plain {
    /// PutRecord, one an event.
    One,
    /// PutRecords, so many events each.
    Batcher,
}

/// The same envelope as dispatchd writes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    id: String,
    r#type: &'a str,
    data: &'a RawValue,
    timestamp: String,
    source: Source<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    user_id: Option<&'a str>,
    producer_id: &'a str,
    kinesis_partition_key: &'a str,
}

/// One of the tasks that put.
#[derive(Clone)]
struct Putter {
    client: Client,
    data: Arc<RawValue>,
    keys: usize,
    many: usize,
    window: Window,
    stored: Arc<AtomicU64>,
    next: Arc<AtomicU64>,
}

/// Puts for as long as the window is open and prints its reading.
pub(crate) fn run(
    plain: Plain,
    data_bytes: usize,
    keys: usize,
    many: usize,
    warm_up: Duration,
    measured: Duration,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reading = runtime.block_on(measure(plain, data_bytes, keys, many, warm_up, measured))?;
    println!("{}", serde_json::to_string(&reading)?);
    Ok(())
}

async fn measure(
    plain: Plain,
    data_bytes: usize,
    keys: usize,
    many: usize,
    warm_up: Duration,
    measured: Duration,
) -> Result<Reading> {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).load().await;
    let window = Window::new(warm_up, measured);
    let putter = Putter {
        client: Client::new(&config),
        data: Arc::from(RawValue::from_string(orders::data(data_bytes))?),
        keys,
        many,
        window,
        stored: Arc::default(),
        next: Arc::default(),
    };
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        tasks.spawn(putter.clone().run(plain));
    }
    let look = async |at: Instant| {
        tokio::time::sleep_until(at.into()).await;
        Ok::<_, std::io::Error>((
            Instant::now(),
            putter.stored.load(Ordering::Relaxed),
            usage(std::process::id())?,
        ))
    };
    let (before, after) = (look(window.from).await?, look(window.to).await?);
    let mut latencies = histogram();
    for one in tasks.join_all().await {
        latencies.add(one).expect("all have the same bounds");
    }
    Ok(Reading::between(before, after, &latencies, memory_mib(std::process::id(), "VmHWM")?))
}

impl Putter {
    async fn run(self, plain: Plain) -> Histogram<u64> {
        let mut latencies = histogram();
        while Instant::now() < self.window.to {
            let began = Instant::now();
            let count = match plain {
                Plain::One => self.put_one().await,
                Plain::Batcher => self.put_many().await,
            };
            self.stored.fetch_add(count, Ordering::Relaxed);
            if began >= self.window.from {
                latencies.saturating_record_n(micros(began.elapsed()), count);
            }
        }
        latencies
    }

    async fn put_one(&self) -> u64 {
        let (key, data) = self.event();
        let call = self.client.put_record().stream_name("bench").partition_key(key).data(data);
        call.send().await.expect("the counting server takes everything");
        1
    }

    async fn put_many(&self) -> u64 {
        let entry = |(key, data)| {
            PutRecordsRequestEntry::builder()
                .partition_key(key)
                .data(data)
                .build()
                .expect("it has data")
        };
        let entries = (0..self.many).map(|_| entry(self.event())).collect();
        let call = self.client.put_records().stream_name("bench").set_records(Some(entries));
        call.send().await.expect("the counting server takes everything").records.len() as u64
    }

    fn event(&self) -> (String, Blob) {
        let key = format!(
            "customer-{:06}",
            self.next.fetch_add(1, Ordering::Relaxed) as usize % self.keys
        );
        let envelope = Envelope {
            id: Uuid::new_v4().to_string(),
            r#type: "order.placed",
            data: &self.data,
            timestamp: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            source: Source { user_id: None, producer_id: "bench", kinesis_partition_key: &key },
        };
        let data = serde_json::to_vec(&envelope).expect("it prints");
        (key, Blob::new(data))
    }
}
