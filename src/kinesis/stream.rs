//! The stream itself: made, described, deleted. Nothing here reads or writes a record.

use std::time::Duration;

use aws_sdk_kinesis::types::{EncryptionType, StreamMode, StreamModeDetails};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::aws::{CallError, Kinesis, named, odd_reply};
use crate::limits::KIB;

/// What DescribeStreamSummary says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub name: String,
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `UPDATING` or `DELETING`.
    pub status: String,
    /// `PROVISIONED` or `ON_DEMAND`; a server that does not say has the first.
    pub mode: String,
    pub open_shards: usize,
    /// Data and partition key; nothing where the server does not say.
    pub record_bytes_max: Option<usize>,
    /// The KMS key, as the stream names it: an ARN, an id or an alias. Nothing: not encrypted.
    pub kms_key: Option<String>,
    pub retention_hours: u32,
    /// The service spreads the records itself and ignores keys: no shard can be predicted.
    pub ignores_keys: bool,
}

/// What a new stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    Shards(u16),
    OnDemand,
}

/// What a stream should come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Active,
    Gone,
}

#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the stream is still {status} after {within:?}")]
    TooLong { status: String, within: Duration },
}

impl Kinesis {
    /// # Errors
    /// Any failed call.
    pub async fn summary(&self) -> Result<Summary, CallError> {
        const OP: &str = "DescribeStreamSummary";
        let (name, arn) = named(&self.stream);
        let call = self.client.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let reply = self.call(OP, call.send()).await?;
        let summary = reply.stream_description_summary().ok_or_else(|| odd_reply(OP, "it has no summary"))?;
        let is_encrypted = summary.encryption_type() == Some(&EncryptionType::Kms);
        let mode = summary.stream_mode_details().map_or(&StreamMode::Provisioned, StreamModeDetails::stream_mode);
        Ok(Summary {
            name: summary.stream_name().to_owned(),
            arn: summary.stream_arn().to_owned(),
            status: summary.stream_status().as_str().to_owned(),
            mode: mode.as_str().to_owned(),
            open_shards: summary.open_shard_count().try_into().unwrap_or_default(),
            record_bytes_max: summary
                .max_record_size_in_kib()
                .and_then(|kib| usize::try_from(kib).ok())
                .map(|kib| kib * KIB),
            kms_key: is_encrypted.then(|| summary.key_id().unwrap_or("a key without a name").to_owned()),
            retention_hours: summary.retention_period_hours().try_into().unwrap_or_default(),
            ignores_keys: summary.record_distribution_strategy().is_some_and(|strategy| strategy.as_str() == "AUTO"),
        })
    }

    /// Returns before the stream is ACTIVE.
    ///
    /// # Errors
    /// Any failed call; [`CallError::is_in_use`] where there is such a stream.
    pub async fn create(&self, capacity: Capacity) -> Result<(), CallError> {
        const OP: &str = "CreateStream";
        let (name, _) = named(&self.stream);
        let call = self.client.create_stream().set_stream_name(name);
        let call = match capacity {
            Capacity::Shards(count) => call.shard_count(count.into()),
            Capacity::OnDemand => {
                let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
                call.stream_mode_details(mode.map_err(|error| odd_reply(OP, error))?)
            }
        };
        self.call(OP, call.send()).await.map(drop)
    }

    /// Returns before the stream is gone.
    ///
    /// # Errors
    /// Any failed call; [`CallError::is_in_use`] where it is being made or has consumers.
    pub async fn delete(&self) -> Result<(), CallError> {
        let (name, arn) = named(&self.stream);
        let call = self.client.delete_stream().set_stream_name(name).set_stream_arn(arn);
        self.call("DeleteStream", call.send()).await.map(drop)
    }

    /// Asks again and again, `pause` apart, until the stream has come to it.
    ///
    /// # Errors
    /// A call that failed; the stream is something else `within` this time.
    pub async fn wait(&self, until: Until, within: Duration, pause: Duration) -> Result<(), WaitError> {
        let deadline = Instant::now() + within;
        loop {
            let status = match (self.summary().await, until) {
                (Err(error), Until::Gone) if error.is_not_found() => return Ok(()),
                (Ok(summary), Until::Active) if summary.status == "ACTIVE" => return Ok(()),
                (summary, _) => summary?.status,
            };
            if Instant::now() >= deadline {
                return Err(WaitError::TooLong { status, within });
            }
            sleep(pause).await;
        }
    }
}
