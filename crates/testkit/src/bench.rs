//! A stream behind a fault server behind a client: where the fault server itself is tested, and
//! what a test of one part of dispatchd can start from.
//!
//! Asserts one thing: that ledger and stream agree.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use tokio::task::JoinHandle;

use super::client;
use super::fault::FaultServer;
use super::fault::ledger::Done;
use super::kinesis::Ferro;
use super::stream::{create_stream, entries, put, read_all};

/// The code of a throttled record.
pub const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// A proxy, the emulator behind it, and a client of each. The stream is called `s`.
pub struct Bench {
    pub upstream: Ferro,
    pub server: FaultServer,
    pub client: Client,
    pub direct: Client,
}

impl Bench {
    pub async fn start(shards_count: i32) -> Bench {
        Bench::seeded(shards_count, 1).await
    }

    pub async fn seeded(shards_count: i32, seed: u64) -> Bench {
        let upstream = Ferro::start(false).await;
        let server = FaultServer::start(&upstream.endpoint(), seed).await;
        let (client, direct) = (client(&server.endpoint()), client(&upstream.endpoint()));
        create_stream(&direct, "s", shards_count).await;
        Bench { upstream, server, client, direct }
    }

    pub async fn put(&self, count: usize) -> PutRecordsOutput {
        put(&self.client, "s", entries(count)).await
    }

    /// The error of a PutRecords that must fail: the service's code, if it had one.
    pub async fn put_fails(&self, count: usize) -> Option<String> {
        let request = self.client.put_records().stream_name("s").set_records(Some(entries(count)));
        request.send().await.expect_err("a planned fault").code().map(str::to_owned)
    }

    /// Starts a PutRecords that nobody waits for.
    pub fn put_aside(&self, count: usize) -> JoinHandle<Option<PutRecordsOutput>> {
        let request = self.client.put_records().stream_name("s").set_records(Some(entries(count)));
        tokio::spawn(async move { request.send().await.ok() })
    }

    pub fn done(&self) -> Vec<Done> {
        self.server.ledger().requests().into_iter().map(|request| request.done).collect()
    }

    /// Asserts that the ledger and the stream hold the same `count` records.
    pub async fn stored(&self, count: usize) {
        let ledger = self.server.ledger().records();
        let mut booked: Vec<_> =
            ledger.into_iter().map(|r| (r.shard, r.sequence, r.partition_key, r.data)).collect();
        let stream = read_all(&self.direct, "s").await;
        let mut stored: Vec<_> =
            stream.into_iter().map(|r| (r.shard, r.sequence, r.partition_key, r.data)).collect();
        booked.sort();
        stored.sort();
        assert_eq!(booked, stored, "ledger and stream differ");
        assert_eq!(stored.len(), count);
    }
}

/// Which records of a reply failed, and with what.
pub fn codes(answer: &PutRecordsOutput) -> Vec<Option<&str>> {
    answer.records().iter().map(|record| record.error_code()).collect()
}
