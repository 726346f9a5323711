//! Streams as a test sees them, through the AWS SDK: create, split, put, read everything back;
//! where a key belongs.
//!
//! What is read here is the truth that acks are compared with, so nothing is skipped: a failed read
//! panics.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use bytes::Bytes;
use md5::{Digest, Md5};

use super::eventually;
use super::fault::ledger::Ledger;

/// A record as the stream holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    pub shard: String,
    pub sequence: String,
    pub partition_key: String,
    pub data: Bytes,
}

/// A shard and the hash keys it takes, both ends included.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardRange {
    pub id: String,
    pub first: u128,
    pub last: u128,
    pub parent: Option<String>,
    pub open: bool,
}

/// Creates a stream and waits until it takes records.
pub async fn create_stream(client: &Client, name: &str, shards: i32) {
    client
        .create_stream()
        .stream_name(name)
        .shard_count(shards)
        .send()
        .await
        .expect("the emulator creates a stream");
    wait_active(client, name).await;
}

pub async fn wait_active(client: &Client, name: &str) {
    eventually("the stream is ACTIVE", async || {
        let answer = client.describe_stream_summary().stream_name(name).send().await.ok()?;
        let summary = answer.stream_description_summary()?;
        (*summary.stream_status() == StreamStatus::Active).then_some(())
    })
    .await;
}

/// Every shard, closed ones too, in the order of their ids: parents come before their children.
pub async fn shards(client: &Client, stream: &str) -> Vec<ShardRange> {
    let answer =
        client.list_shards().stream_name(stream).send().await.expect("the emulator lists shards");
    let mut found: Vec<ShardRange> = answer
        .shards()
        .iter()
        .map(|shard| {
            let range = shard.hash_key_range().expect("a shard has a range");
            ShardRange {
                id: shard.shard_id().to_owned(),
                first: range.starting_hash_key().parse().expect("a hash key is a number"),
                last: range.ending_hash_key().parse().expect("a hash key is a number"),
                parent: shard.parent_shard_id().map(str::to_owned),
                open: shard
                    .sequence_number_range()
                    .is_some_and(|range| range.ending_sequence_number().is_none()),
            }
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

/// Splits a shard in the middle and waits until its children are open.
pub async fn split(client: &Client, stream: &str, shard: &ShardRange) {
    let middle = shard.first + (shard.last - shard.first) / 2 + 1;
    client
        .split_shard()
        .stream_name(stream)
        .shard_to_split(&shard.id)
        .new_starting_hash_key(middle.to_string())
        .send()
        .await
        .expect("the emulator splits a shard");
    wait_active(client, stream).await;
}

/// Merges a shard with the next one of the ring and waits until their child is open.
pub async fn merge(client: &Client, stream: &str, shard: &ShardRange, next: &ShardRange) {
    let merge = client
        .merge_shards()
        .stream_name(stream)
        .shard_to_merge(&shard.id)
        .adjacent_shard_to_merge(&next.id);
    merge.send().await.expect("the emulator merges two shards");
    wait_active(client, stream).await;
}

/// Where Kinesis puts a partition key: the MD5 of its UTF-8 bytes, as a number.
pub fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

/// The open shard that takes `hash`.
pub fn shard_of(shards: &[ShardRange], hash: u128) -> &str {
    let taker =
        shards.iter().find(|shard| shard.open && (shard.first..=shard.last).contains(&hash));
    &taker.expect("the open shards cover every hash key").id
}

pub fn entry(partition_key: &str, data: impl AsRef<[u8]>) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder()
        .partition_key(partition_key)
        .data(Blob::new(data.as_ref()))
        .build()
        .expect("an entry with key and data is whole")
}

/// `count` small records with keys and data that tell them apart.
pub fn entries(count: usize) -> Vec<PutRecordsRequestEntry> {
    (0..count).map(|n| entry(&format!("key-{n}"), format!("data-{n}"))).collect()
}

/// One PutRecords that is answered, which does not mean that each record is stored.
pub async fn put(
    client: &Client,
    stream: &str,
    entries: Vec<PutRecordsRequestEntry>,
) -> PutRecordsOutput {
    let request = client.put_records().stream_name(stream).set_records(Some(entries));
    request.send().await.expect("PutRecords is answered")
}

/// The same once nothing is on its way any more: what a fault let loose lands late, so this waits
/// until the stream holds what the ledger booked, twice in a row. For after the traffic only.
pub async fn read_settled(client: &Client, stream: &str, ledger: &Ledger) -> Vec<StoredRecord> {
    let mut seen = None;
    eventually("the stream holds what the ledger booked, and nothing lands any more", async || {
        let booked = ledger.records().len();
        let records = read_all(client, stream).await;
        let settled = records.len() == booked
            && seen.replace(booked) == Some(booked)
            && ledger.in_flight() == 0;
        settled.then_some(records)
    })
    .await
}

/// Every record of the stream: shard by shard, parents before children, each shard in its own
/// order.
pub async fn read_all(client: &Client, stream: &str) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    for shard in shards(client, stream).await {
        read_shard(client, stream, &shard.id, &mut records).await;
    }
    records
}

async fn read_shard(client: &Client, stream: &str, shard: &str, records: &mut Vec<StoredRecord>) {
    let start = client.get_shard_iterator().stream_name(stream).shard_id(shard);
    let start = start
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .expect("a shard can be read");
    let mut next = start.shard_iterator;
    while let Some(iterator) = next {
        let page = client
            .get_records()
            .shard_iterator(iterator)
            .send()
            .await
            .expect("records can be read");
        // An empty page at the tip is the end of an open shard; a closed one ends by having no next
        // iterator.
        next = page.next_shard_iterator;
        if page.records.is_empty() && page.millis_behind_latest.unwrap_or(0) == 0 {
            return;
        }
        records.extend(page.records.into_iter().map(|record| StoredRecord {
            shard: shard.to_owned(),
            sequence: record.sequence_number,
            partition_key: record.partition_key.expect("a stored record has a key"),
            data: record.data.into_inner().into(),
        }));
    }
}
