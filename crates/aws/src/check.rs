//! What can be found out without writing: whether a write would be permitted (PutRecords, run dry),
//! whether the service reads what we write, and whose requests these are (GetCallerIdentity of STS,
//! the only call of another service than Kinesis). Only the checks before a start ask this.
//!
//! PutRecords knows `DryRun`. A server that does not know it would store the record, and every
//! emulator of 2026-11 is such a server. So a dry run is sent to AWS's own endpoints alone, and
//! intercepted on its way to any other.

use std::borrow::Cow;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use dispatchd_core::model::{CallError, Class, Entries, Record, Verdict};

use super::client::Kinesis;
use super::connection::named;
use super::endpoint::{Intercepted, intercept, intercept_unless_aws, nobody};
use super::error::{chain, no_credentials, odd_reply};
use super::put_records::{EntryResult, ShardIds};

const PUT_RECORDS: &str = "PutRecords";

/// What a dry run of PutRecords says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    Permitted,
    /// The endpoint is not AWS's own: nothing was sent.
    NotSent,
    /// The service did not know `DryRun` and stored the record, or said nothing of it.
    Stored,
}

/// Whether the service reads PutRecords in the wire format that is configured.
#[derive(Debug, Clone)]
pub enum WireCheck {
    Read,
    /// The service answered in another format that it could not read the request.
    NotRead(CallError),
    /// The request failed for another reason, which says nothing of the format.
    NotKnown(CallError),
}

impl Kinesis {
    /// Whether PutRecords would take this record: by a dry run, and only where nothing can be
    /// written by it.
    ///
    /// # Errors
    /// What PutRecords would answer, or any failure on the way.
    pub async fn dry_run(&self, record: &Record) -> Result<DryRun, CallError> {
        let (name, arn) = named(&self.stream);
        let entry = PutRecordsRequestEntry::builder()
            .data(Blob::from_maybe_shared(record.data.clone()))
            .partition_key(record.key.as_str())
            .set_explicit_hash_key(record.explicit_hash().map(|hash| hash.0.to_string()))
            .build()
            .expect("data, the one required field, is set");
        let call = self.sdk.put_records().set_stream_name(name).set_stream_arn(arn).records(entry);
        let call = call.dry_run(true).customize().map_request(intercept_unless_aws);
        let credentials =
            self.credentials.get().await.map_err(|error| no_credentials(PUT_RECORDS, &error))?;
        match call.send().await {
            Ok(reply) => match reply.records.into_iter().next().map(verdict) {
                Some(Verdict::Failed { class, code, message }) => {
                    let (operation, cause) = (PUT_RECORDS, class.into());
                    Err(CallError { operation, class, cause, code, message })
                }
                _ => Ok(DryRun::Stored),
            },
            Err(error) if Intercepted::endpoint(&error).is_some() => Ok(DryRun::NotSent),
            Err(error) => match self.call_error(PUT_RECORDS, &error, &credentials) {
                error if error.code == "DryRunOperationException" => Ok(DryRun::Permitted),
                error => Err(error),
            },
        }
    }

    /// Whether the service reads PutRecords in the wire format that is configured: by a request
    /// without records. No server stores anything for it, and Kinesis refuses it once it was read.
    pub async fn check_wire(&self) -> WireCheck {
        let Err(failure) = self.send(&Entries::new(Vec::new(), &[])).await else {
            return WireCheck::Read;
        };
        let reply = failure.reply();
        if reply.is_some_and(|(_, wire)| wire == self.route.settings.wire) {
            return WireCheck::Read;
        }
        // Servers have many codes for a request that they cannot read, so the statuses that mean
        // something else are left out instead.
        let is_refusal =
            reply.is_some_and(|(status, _)| matches!(status.as_u16(), 400..=407 | 409..=499 | 501));
        let (class, code, _) = failure.classify();
        let (cause, message) = (failure.cause(), chain(&failure));
        let error = CallError { operation: PUT_RECORDS, class, cause, code, message };
        let is_told = is_refusal && matches!(class, Class::Poison | Class::Transient);
        if is_told { WireCheck::NotRead(error) } else { WireCheck::NotKnown(error) }
    }

    /// The ARN that STS knows the caller by (GetCallerIdentity, which needs no permission). The SDK
    /// says where STS is: at `AWS_ENDPOINT_URL_STS`, or else at the region's endpoint.
    ///
    /// # Errors
    /// Any failed call. It takes an attempt timeout at most.
    pub async fn caller_arn(&self) -> Result<String, CallError> {
        const OP: &str = "GetCallerIdentity";
        let reply = self.call(OP, self.sts().get_caller_identity().send()).await?;
        reply.arn.ok_or_else(|| odd_reply(OP, "it has no ARN"))
    }

    /// Where [`Self::caller_arn`] would ask; `None` if the SDK knows no such place. Sends nothing.
    pub async fn sts_endpoint(&self) -> Option<String> {
        let unsigned = aws_sdk_sts::Config::builder().credentials_provider(nobody());
        let call = self.sts().get_caller_identity().customize();
        let sent = call.config_override(unsigned).map_request(intercept).send().await;
        let url = Intercepted::endpoint(&sent.err()?)?;
        Some(url.trim_end_matches('/').to_owned())
    }

    fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.sdk_config)
    }
}

fn verdict(entry: PutRecordsResultEntry) -> Verdict {
    let result = EntryResult {
        shard_id: entry.shard_id.map(Cow::Owned),
        sequence_number: entry.sequence_number.map(Cow::Owned),
        error_code: entry.error_code.map(Cow::Owned),
        error_message: entry.error_message.map(Cow::Owned),
    };
    result.verdict(&mut ShardIds::default())
}
