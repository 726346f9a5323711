//! GetShardIterator and GetRecords: a place in a shard, and the records from there on.

use std::time::SystemTime;

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record as SdkRecord, ShardIteratorType};

use super::client::Kinesis;
use super::connection::named;
use super::error::{CallError, odd_reply};
use super::read::{Page, Place, Position, Read};

/// Records asked for in one GetRecords: five times what a shard takes in a second, and a bound on
/// the page that an emulator without AWS's own bound (10 MiB) makes of a large backlog.
pub const PAGE_RECORDS_MAX: usize = 1000;

impl Kinesis {
    pub async fn iterator(&self, shard_id: &str, position: &Position) -> Result<Place, CallError> {
        const OP: &str = "GetShardIterator";
        let (name, arn) = named(&self.stream);
        let call = self
            .sdk
            .get_shard_iterator()
            .set_stream_name(name)
            .set_stream_arn(arn)
            .shard_id(shard_id);
        let call = match position {
            Position::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            Position::TrimHorizon => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::After(sequence_number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence_number),
            Position::At(time) => call
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from(*time)),
        };
        let asked = SystemTime::now();
        let reply = self.call(OP, call.send()).await?;
        let iterator = reply.shard_iterator.ok_or_else(|| odd_reply(OP, "it has no iterator"))?;
        Ok(Place { iterator, given: self.route.clock.told_at(asked) })
    }

    /// The next records, at most so many.
    pub async fn records(&self, iterator: &str, records_max: usize) -> Result<Page, CallError> {
        let (_, arn) = named(&self.stream);
        let call = self.sdk.get_records().shard_iterator(iterator).set_stream_arn(arn);
        let call = call.limit(records_max.min(PAGE_RECORDS_MAX) as i32);
        let reply = self.call("GetRecords", call.send()).await?;
        Ok(Page {
            records: reply.records.into_iter().map(read).collect(),
            next_iterator: reply.next_shard_iterator.filter(|iterator| !iterator.is_empty()),
            millis_behind_latest: reply.millis_behind_latest.unwrap_or_default(),
        })
    }
}

fn read(record: SdkRecord) -> Read {
    Read {
        sequence_number: record.sequence_number,
        partition_key: record.partition_key,
        data: record.data.into_inner(),
        arrived: record
            .approximate_arrival_timestamp
            .and_then(|time| SystemTime::try_from(time).ok()),
    }
}
