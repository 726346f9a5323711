//! Reads records: a place in a shard (GetShardIterator), and the records from there on
//! (GetRecords).

use std::time::SystemTime;

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record as SdkRecord, ShardIteratorType};
use dispatchd_core::limits::GET_RECORDS_MAX;
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::{Page, ShardIterator, StartingPosition, StoredRecord};

use super::client::Kinesis;
use super::connection::named;
use super::error::odd_reply;

impl Kinesis {
    /// An iterator at this position of a shard.
    ///
    /// # Errors
    /// Any failed call.
    pub async fn iterator(
        &self,
        shard_id: &str,
        position: &StartingPosition,
    ) -> Result<ShardIterator, CallError> {
        const OP: &str = "GetShardIterator";
        let (name, arn) = named(&self.stream);
        let call = self
            .sdk
            .get_shard_iterator()
            .set_stream_name(name)
            .set_stream_arn(arn)
            .shard_id(shard_id);
        let call = match position {
            StartingPosition::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            StartingPosition::TrimHorizon => {
                call.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
            StartingPosition::After(sequence_number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence_number),
            StartingPosition::At(time) => call
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from(*time)),
        };
        let asked = SystemTime::now();
        let reply = self.call(OP, call.send()).await?;
        let token = reply.shard_iterator.ok_or_else(|| odd_reply(OP, "it has no iterator"))?;
        Ok(ShardIterator { token, issued: self.route.clock.told_at(asked) })
    }

    /// The next records, at most so many.
    ///
    /// # Errors
    /// Any failed call; [`CallError::is_expired_iterator`] if the iterator was not used for too
    /// long.
    pub async fn records(&self, iterator: &str, records_max: usize) -> Result<Page, CallError> {
        let (_, arn) = named(&self.stream);
        let call = self.sdk.get_records().shard_iterator(iterator).set_stream_arn(arn);
        let call = call.limit(records_max.min(GET_RECORDS_MAX) as i32);
        let reply = self.call("GetRecords", call.send()).await?;
        Ok(Page {
            records: reply.records.into_iter().map(read).collect(),
            next_iterator: reply.next_shard_iterator.filter(|iterator| !iterator.is_empty()),
            millis_behind_latest: reply.millis_behind_latest.unwrap_or_default(),
        })
    }
}

fn read(record: SdkRecord) -> StoredRecord {
    StoredRecord {
        sequence_number: record.sequence_number,
        partition_key: record.partition_key,
        data: record.data.into_inner(),
        arrived: record
            .approximate_arrival_timestamp
            .and_then(|time| SystemTime::try_from(time).ok()),
    }
}
