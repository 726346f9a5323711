//! Reads records: a place in a shard (GetShardIterator), and the records from there on
//! (GetRecords), which go the way of PutRecords: `json` writes and reads the bodies.

mod json;

use std::time::SystemTime;

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use bytes::Bytes;
use dispatchd_core::limits::GET_RECORDS_MAX;
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::{Page, ShardIterator, StartingPosition};

use super::client::Kinesis;
use super::connection::named;
use super::error::odd_reply;
use super::put_records::BadReply;
use crate::settings::Wire;

const GET_RECORDS: &str = "Kinesis_20131202.GetRecords";

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
            StartingPosition::AtRecord(sequence_number) => call
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
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
        let records_max = records_max.min(GET_RECORDS_MAX);
        let body = || json::request(iterator, records_max, arn.as_deref()).into();
        let read = |_, body: &Bytes| Ok(json::page(body).map_err(BadReply::from)?);
        let page = self.exchange(GET_RECORDS, Wire::Json, body, read).await;
        page.map_err(|failure| failure.into_call_error("GetRecords"))
    }
}
