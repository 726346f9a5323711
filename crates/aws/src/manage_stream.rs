//! Creates, describes and deletes a stream. Nothing here reads or writes a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesis::types::{
    EncryptionType, StreamDescriptionSummary, StreamMode, StreamModeDetails,
};
use dispatchd_core::limits::{KIB, RECORD_BYTES_DEFAULT, RECORD_BYTES_MAX, RECORD_BYTES_MIN};
use dispatchd_core::model::{CallError, Distribution};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::client::Kinesis;
use super::connection::named;
use super::error::odd_reply;

/// The name of the call.
pub const DESCRIBE_STREAM_SUMMARY: &str = "DescribeStreamSummary";

/// What DescribeStreamSummary says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub name: String,
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `UPDATING` or `DELETING`.
    pub status: String,
    /// `PROVISIONED` or `ON_DEMAND`; the former if the server does not say.
    pub mode: String,
    pub open_shards: usize,
    /// The record limit, data and partition key together; `None` if the server does not say, or
    /// says what no stream can have.
    pub record_bytes_max: Option<usize>,
    /// The record limit as the server said it, if no stream can have that limit.
    #[serde(rename = "impossibleRecordKib", skip_serializing_if = "Option::is_none")]
    pub impossible_record_kib: Option<i32>,
    /// The KMS key, as the stream names it: an ARN, an id or an alias. `None` if it is not
    /// encrypted.
    pub kms_key: Option<String>,
    pub retention_hours: u32,
    /// When the stream was made: one that was deleted and made again has another time. `None` if
    /// the server does not say.
    #[serde(skip)]
    pub created: Option<SystemTime>,
    /// Whether the service distributes the records itself and ignores their keys. Then no shard can
    /// be predicted.
    pub ignores_keys: bool,
}

/// The capacity of a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    Shards(u16),
    OnDemand,
}

/// The state that a stream is waited for.
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

impl Summary {
    fn of(summary: &StreamDescriptionSummary) -> Self {
        let is_encrypted = summary.encryption_type() == Some(&EncryptionType::Kms);
        let told_kib = summary.max_record_size_in_kib();
        let record_bytes_max = told_kib.and_then(record_bytes);
        let mode = summary
            .stream_mode_details()
            .map_or(&StreamMode::Provisioned, StreamModeDetails::stream_mode);
        Self {
            name: summary.stream_name().to_owned(),
            arn: summary.stream_arn().to_owned(),
            status: summary.stream_status().as_str().to_owned(),
            mode: mode.as_str().to_owned(),
            open_shards: summary.open_shard_count().try_into().unwrap_or_default(),
            record_bytes_max,
            impossible_record_kib: told_kib.filter(|_| record_bytes_max.is_none()),
            kms_key: is_encrypted
                .then(|| summary.key_id().unwrap_or("a key without a name").to_owned()),
            created: SystemTime::try_from(*summary.stream_creation_timestamp())
                .ok()
                .filter(|time| *time > UNIX_EPOCH),
            retention_hours: summary.retention_period_hours().try_into().unwrap_or_default(),
            ignores_keys: summary
                .record_distribution_strategy()
                .is_some_and(|strategy| strategy.as_str() == "AUTO"),
        }
    }

    /// The record limit; `None` if it is not known. A server that names none has the limit that
    /// every stream has until somebody raises it. A server that names an impossible limit has told
    /// nothing.
    pub fn record_limit(&self) -> Option<usize> {
        match (self.record_bytes_max, self.impossible_record_kib) {
            (None, None) => Some(RECORD_BYTES_DEFAULT),
            (told, _) => told,
        }
    }

    pub fn distribution(&self) -> Distribution {
        if self.ignores_keys { Distribution::Auto } else { Distribution::ByKey }
    }
}

impl Kinesis {
    /// Describes the stream.
    ///
    /// # Errors
    /// Any failed call.
    pub async fn summary(&self) -> Result<Summary, CallError> {
        let (name, arn) = named(&self.stream);
        let call = self.sdk.describe_stream_summary().set_stream_name(name).set_stream_arn(arn);
        let reply = self.call(DESCRIBE_STREAM_SUMMARY, call.send()).await?;
        let summary = reply
            .stream_description_summary()
            .ok_or_else(|| odd_reply(DESCRIBE_STREAM_SUMMARY, "it has no summary"))?;
        Ok(Summary::of(summary))
    }

    /// Creates the stream. It returns before the stream is ACTIVE.
    ///
    /// # Errors
    /// Any failed call; [`CallError::is_in_use`] if the stream exists already.
    pub async fn create(&self, capacity: Capacity) -> Result<(), CallError> {
        const OP: &str = "CreateStream";
        let (name, _) = named(&self.stream);
        let call = self.sdk.create_stream().set_stream_name(name);
        let call = match capacity {
            Capacity::Shards(count) => call.shard_count(count.into()),
            Capacity::OnDemand => {
                let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
                call.stream_mode_details(mode.map_err(|error| odd_reply(OP, error))?)
            }
        };
        self.call(OP, call.send()).await.map(drop)
    }

    /// Deletes the stream. It returns before the stream is gone.
    ///
    /// # Errors
    /// Any failed call; [`CallError::is_in_use`] if the stream is being created or has consumers.
    pub async fn delete(&self) -> Result<(), CallError> {
        let (name, arn) = named(&self.stream);
        let call = self.sdk.delete_stream().set_stream_name(name).set_stream_arn(arn);
        self.call("DeleteStream", call.send()).await.map(drop)
    }

    /// Describes the stream again and again, `pause` apart, until it is in this state.
    ///
    /// # Errors
    /// A failed call, or the stream is not in this state `within` this time.
    pub async fn wait(
        &self,
        until: Until,
        within: Duration,
        pause: Duration,
    ) -> Result<(), WaitError> {
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

/// A record limit in bytes; `None` if no stream can have it.
fn record_bytes(kib: i32) -> Option<usize> {
    let bytes = usize::try_from(kib).ok()?.checked_mul(KIB)?;
    (RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::DateTime;
    use aws_sdk_kinesis::types::builders::StreamDescriptionSummaryBuilder;
    use aws_sdk_kinesis::types::{EnhancedMetrics, RecordDistributionStrategy, StreamStatus};

    use super::*;

    fn of(more: fn(StreamDescriptionSummaryBuilder) -> StreamDescriptionSummaryBuilder) -> Summary {
        let told = StreamDescriptionSummary::builder()
            .stream_name("orders")
            .stream_arn("arn:aws:kinesis:eu-west-1:123456789012:stream/orders")
            .stream_status(StreamStatus::Active)
            .open_shard_count(3)
            .retention_period_hours(24)
            .enhanced_monitoring(EnhancedMetrics::builder().build())
            .stream_creation_timestamp(DateTime::from_secs(0));
        Summary::of(&more(told).build().expect("all that is required is there"))
    }

    #[test]
    fn what_a_server_does_not_say_is_none_or_what_every_stream_has() {
        let summary = of(|told| told);
        assert_eq!((&*summary.name, &*summary.status), ("orders", "ACTIVE"));
        assert_eq!((summary.open_shards, summary.retention_hours), (3, 24));
        assert_eq!(summary.mode, "PROVISIONED");
        assert_eq!((summary.created, &summary.kms_key), (None, &None));
        assert_eq!(summary.record_limit(), Some(RECORD_BYTES_DEFAULT));
        assert_eq!(summary.distribution(), Distribution::ByKey);
    }

    #[test]
    fn what_a_server_says_is_taken_over_and_an_impossible_limit_kept_apart() {
        let summary = of(|told| {
            let mode = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
            told.stream_mode_details(mode.expect("it has a mode"))
                .encryption_type(EncryptionType::Kms)
                .key_id("alias/orders")
                .max_record_size_in_kib(10_240)
                .stream_creation_timestamp(DateTime::from_secs(1))
                .record_distribution_strategy(RecordDistributionStrategy::from("AUTO"))
        });
        assert_eq!(summary.mode, "ON_DEMAND");
        assert_eq!(summary.kms_key.as_deref(), Some("alias/orders"));
        assert_eq!(summary.record_limit(), Some(10 << 20));
        assert_eq!(summary.created, Some(UNIX_EPOCH + Duration::from_secs(1)));
        assert_eq!(summary.distribution(), Distribution::Auto);
        let odd = of(|told| told.encryption_type(EncryptionType::None).max_record_size_in_kib(0));
        assert_eq!((odd.impossible_record_kib, odd.record_limit()), (Some(0), None));
        assert_eq!(odd.kms_key, None);
    }

    #[test]
    fn a_record_limit_is_believed_where_a_stream_can_have_it() {
        for (kib, bytes) in [(1, Some(KIB)), (1024, Some(1 << 20)), (10_240, Some(10 << 20))] {
            assert_eq!(record_bytes(kib), bytes, "{kib}");
        }
        for kib in [i32::MIN, -1, 0, 10_241, 1_000_000_000, i32::MAX] {
            assert_eq!(record_bytes(kib), None, "{kib}");
        }
    }
}
