//! Where a record will land, and whether its shard has room. Pure: time comes in as an argument.

use std::collections::HashMap;

use serde_json::Value;
use tokio::time::Instant;

use super::plan::ShardLimits;

/// The open shards of a stream, from a ListShards reply.
#[derive(Clone, Debug)]
pub(super) struct ShardMap(Vec<OpenShard>);

#[derive(Clone, Debug)]
struct OpenShard {
    id: String,
    first: u128,
    last: u128,
}

impl ShardMap {
    pub(super) fn parse(reply: &Value) -> Option<ShardMap> {
        let open = |shard: &&Value| shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null();
        let shards = reply["Shards"].as_array()?.iter().filter(open).map(OpenShard::parse);
        shards.collect::<Option<_>>().map(ShardMap)
    }

    pub(super) fn shard_of(&self, hash: u128) -> Option<&str> {
        let taker = self.0.iter().find(|shard| (shard.first..=shard.last).contains(&hash))?;
        Some(&taker.id)
    }
}

impl OpenShard {
    fn parse(shard: &Value) -> Option<OpenShard> {
        let hash = |end: &str| shard["HashKeyRange"][end].as_str()?.parse().ok();
        Some(OpenShard {
            id: shard["ShardId"].as_str()?.to_owned(),
            first: hash("StartingHashKey")?,
            last: hash("EndingHashKey")?,
        })
    }
}

/// Two token buckets for each shard that was ever asked for.
#[derive(Default)]
pub(super) struct Buckets(HashMap<(String, String), Bucket>);

struct Bucket {
    records: f64,
    bytes: f64,
    at: Instant,
}

impl Buckets {
    /// Takes one record's room; false where the shard has none left, and then takes nothing.
    pub(super) fn take(
        &mut self,
        limits: ShardLimits,
        stream: &str,
        shard: &str,
        bytes: usize,
        now: Instant,
    ) -> bool {
        let (records_max, bytes_max) =
            (f64::from(limits.records_per_s), f64::from(limits.bytes_per_s));
        let name = (stream.to_owned(), shard.to_owned());
        let bucket = self.0.entry(name).or_insert(Bucket {
            records: records_max,
            bytes: bytes_max,
            at: now,
        });
        let elapsed_s = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.at = now;
        bucket.records = (bucket.records + elapsed_s * records_max).min(records_max);
        bucket.bytes = (bucket.bytes + elapsed_s * bytes_max).min(bytes_max);
        let bytes = bytes as f64;
        let room = bucket.records >= 1.0 && bucket.bytes >= bytes;
        if room {
            bucket.records -= 1.0;
            bucket.bytes -= bytes;
        }
        room
    }
}
