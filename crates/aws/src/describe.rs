//! Asks the service what a caller of ours asks it, with the daemon's own credentials: a call's body
//! goes out as it was checked and printed by `core::wire::kinesis_api`, and the reply's comes back.
//!
//! It goes the way of PutRecords, since the SDK would make objects of a reply that nobody here
//! looks into. Never retries.

use bytes::Bytes;
use dispatchd_core::model::CallError;
use dispatchd_core::wire::kinesis_api::operation::Describe;

use super::client::Kinesis;
use crate::settings::Wire;

impl Kinesis {
    /// Makes one call that only asks what the stream is like. Both bodies are JSON.
    ///
    /// # Errors
    /// Any failed call.
    pub async fn describe(&self, describe: Describe, body: Vec<u8>) -> Result<Bytes, CallError> {
        let target = match describe {
            Describe::ListShards => "Kinesis_20131202.ListShards",
            Describe::StreamSummary => "Kinesis_20131202.DescribeStreamSummary",
            Describe::Stream => "Kinesis_20131202.DescribeStream",
        };
        let reply = self.exchange(target, Wire::Json, || body.into(), |_, body| Ok(body.clone()));
        reply.await.map_err(|failure| failure.into_call_error(describe.name()))
    }
}
