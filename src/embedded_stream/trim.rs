//! Keeps what the embedded stream holds within an age and a number of bytes: the oldest records are
//! removed first.
//!
//! It only ever takes records off the front of a shard, so that a reader loses at most what it had
//! not reached, and its place stays good. It never refuses a write: the bound may be passed between
//! two sweeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrokinesis::store::Store;
use ferrokinesis::types::StoredRecord;
use tokio::time::sleep;

use super::turns::Turns;

/// The time between two sweeps. What is stored meanwhile comes on top of the bound.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The most records that are looked at and taken off a shard at once. They are copied out: 64 of
/// the largest are 90 MiB.
const STEP_RECORDS_MAX: usize = 64;

/// Records this close in time count as of one age: shards are trimmed in turn by steps, not by
/// records.
const SAME_AGE_S: f64 = 1.0;

/// A shard that holds records.
struct Shard {
    stream: String,
    index: usize,
    /// When its oldest record arrived, in seconds of the epoch.
    oldest_s: f64,
}

/// What a sweep takes away.
struct Excess {
    bytes: u64,
    /// Records that arrived before this time are expired, in seconds of the epoch.
    expired_s: f64,
}

/// Sweeps again and again until it is dropped.
///
/// A sweep is a turn of its own: the emulator holds locks across waits when it looks at records,
/// and a put beside it can stop both for good (seen under a flood). One turn for all its steps, or
/// a flood would outrun it.
pub(super) async fn run(store: Store, turns: Turns, keep_for: Duration, keep_bytes: u64) {
    loop {
        sleep(SWEEP_EVERY).await;
        let _turn = turns.write().await;
        sweep(&store, keep_for, keep_bytes).await;
    }
}

/// Takes the oldest records of all shards away until both bounds hold.
async fn sweep(store: &Store, keep_for: Duration, keep_bytes: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expired_s = now.saturating_sub(keep_for).as_secs_f64();
    let mut shards = shards(store).await;
    loop {
        shards.sort_by(|a, b| b.oldest_s.total_cmp(&a.oldest_s));
        let Some(mut shard) = shards.pop() else { return };
        let next_s = shards.last().map_or(f64::INFINITY, |next| next.oldest_s + SAME_AGE_S);
        let excess = Excess {
            bytes: store.metrics().retained_bytes().saturating_sub(keep_bytes),
            expired_s,
        };
        if excess.bytes == 0 && shard.oldest_s >= expired_s {
            return;
        }
        if let Some(oldest_s) = step(store, &shard, &excess, next_s).await {
            shard.oldest_s = oldest_s;
            shards.push(shard);
        }
    }
}

/// Takes records off the front of a shard: all that are expired, and others up to `until_s` while
/// there are too many bytes; at least the first. Returns when the oldest that is left arrived.
async fn step(store: &Store, shard: &Shard, excess: &Excess, until_s: f64) -> Option<f64> {
    let records = front(store, &shard.stream, shard.index, STEP_RECORDS_MAX + 1).await;
    let mut freed_bytes = 0;
    let mut keys = Vec::new();
    for (key, record) in records.iter().take(STEP_RECORDS_MAX) {
        let arrived_s = record.approximate_arrival_timestamp;
        let is_wanted =
            arrived_s >= excess.expired_s && (freed_bytes >= excess.bytes || arrived_s > until_s);
        if is_wanted && !keys.is_empty() {
            break;
        }
        freed_bytes += (record.data.len() + record.partition_key.len()) as u64;
        keys.push(key.clone());
    }
    store.delete_record_keys(&shard.stream, &keys).await;
    records.get(keys.len()).map(|(_, record)| record.approximate_arrival_timestamp)
}

async fn shards(store: &Store) -> Vec<Shard> {
    let mut shards = Vec::new();
    for stream in store.list_stream_names().await {
        // A stream that was deleted since it was listed has no shards.
        let shards_count = store.get_stream(&stream).await.map_or(0, |stream| stream.shards.len());
        for index in 0..shards_count {
            if let Some((_, record)) = front(store, &stream, index, 1).await.first() {
                shards.push(Shard {
                    stream: stream.clone(),
                    index,
                    oldest_s: record.approximate_arrival_timestamp,
                });
            }
        }
    }
    shards
}

/// The oldest records of a shard. The store's keys are `{shard in hex}/{sequence number}`.
async fn front(
    store: &Store,
    stream: &str,
    index: usize,
    count: usize,
) -> Vec<(String, StoredRecord)> {
    let (from, to) = (format!("{index:08x}/"), format!("{:08x}/", index + 1));
    store.get_records_range_limited(stream, &from, &to, count).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrokinesis::actions::{Operation, dispatch};
    use ferrokinesis::store::StoreOptions;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// A store with a stream of two shards.
    async fn store() -> Store {
        let store = Store::new(StoreOptions { create_stream_ms: 0, ..StoreOptions::default() });
        let stream = serde_json::json!({ "StreamName": "s", "ShardCount": 2 });
        dispatch(&store, Operation::CreateStream, stream).await.expect("two shards are allowed");
        let is_there = async {
            while store.get_stream("s").await.is_ok_and(|stream| stream.shards.is_empty()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), is_there)
            .await
            .expect("a stream gets its shards");
        store
    }

    /// 100 bytes of data each, at these ages in seconds, oldest first.
    async fn put(store: &Store, shard: usize, ages_s: &[u64]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        for (number, &age_s) in ages_s.iter().enumerate() {
            let record = StoredRecord {
                partition_key: age_s.to_string(),
                data: "x".repeat(100),
                approximate_arrival_timestamp: (now - Duration::from_secs(age_s)).as_secs_f64(),
            };
            store
                .put_record("s", &format!("{shard:08x}/{number:08}"), &record)
                .await
                .expect("nothing is refused");
        }
    }

    async fn ages(store: &Store, shard: usize) -> Vec<String> {
        front(store, "s", shard, 1000)
            .await
            .into_iter()
            .map(|(_, record)| record.partition_key)
            .collect()
    }

    #[tokio::test]
    async fn over_the_bytes_the_oldest_of_all_shards_go_and_a_quiet_shard_keeps_its_newest() {
        let store = store().await;
        let busy: Vec<u64> = (0..300).rev().map(|n| n * 10).collect();
        put(&store, 0, &busy).await;
        put(&store, 1, &[2_995, 5]).await;
        let keep_bytes = store.metrics().retained_bytes() / 3;
        sweep(&store, HOUR, keep_bytes).await;
        let kept = ages(&store, 0).await;
        assert_eq!(ages(&store, 1).await, ["5"]);
        assert!((95..=101).contains(&kept.len()), "{} of 300 stayed", kept.len());
        assert_eq!(kept.last().map(String::as_str), Some("0"));
        assert!(store.metrics().retained_bytes() <= keep_bytes);
    }

    #[tokio::test]
    async fn what_is_past_its_age_goes_though_there_is_room() {
        let store = store().await;
        put(&store, 0, &[9_000, 4_000, 3_000, 0]).await;
        put(&store, 1, &[9_000, 8_000]).await;
        sweep(&store, HOUR, u64::MAX).await;
        assert_eq!(ages(&store, 0).await, ["3000", "0"]);
        assert_eq!(ages(&store, 1).await, [""; 0]);
    }

    #[tokio::test]
    async fn within_both_bounds_nothing_goes() {
        let store = store().await;
        put(&store, 0, &[3_000, 2, 1]).await;
        sweep(&store, HOUR, store.metrics().retained_bytes()).await;
        assert_eq!(ages(&store, 0).await, ["3000", "2", "1"]);
    }
}
