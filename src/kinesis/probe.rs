//! What can be asked of the service without writing: where requests go, and whether a write would
//! be let in.
//!
//! PutRecords knows `DryRun`. A server that does not know it would store the record, and every
//! emulator of 2026-11 is such a server: so it is sent to AWS's own endpoints alone. The request
//! itself is looked at, after the endpoint was resolved and before anything is signed or sent: no
//! setting can slip between the look and the request.

use std::borrow::Cow;
use std::error::Error;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::config::http::HttpRequest;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use hyper::Uri;

use super::aws::{CallError, Kinesis, causes, chain, named, no_credentials};
use super::wire::{Said, ShardIds};
use crate::config::StreamId;
use dispatchd_core::model::{Class, Record};
use dispatchd_core::model::{Entries, Verdict};

/// What hosts of AWS end in, in every partition (the SDK's partitions, 2026-09).
const AWS_SUFFIXES: [&str; 10] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".csp.hci.ic.gov",
    ".cloud.adc-e.uk",
];

/// The call whose permission is asked for.
const OP: &str = "PutRecords";

/// Whether a write would be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Permitted,
    /// The endpoint is not AWS's own: nothing was sent.
    NotProbed,
    /// The service did not know `DryRun` and stored the record.
    Stored,
}

/// Whether the wire that is configured is one that the service reads.
#[derive(Debug, Clone)]
pub enum Reads {
    Yes,
    /// It answered in another one, that it could not read the request.
    No(CallError),
    /// It was not told: the request failed for something else.
    NotTold(CallError),
}

/// A request that was stopped before it was signed, by the URL that it would have gone to.
#[derive(Debug, thiserror::Error)]
#[error("stopped before it was sent to {endpoint}")]
pub(super) struct Stopped {
    endpoint: String,
}

impl Kinesis {
    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        self.sdk.region().map_or("", |region| region.as_ref())
    }

    /// Whether PutRecords would take this record: by a dry run, and only where nothing can be
    /// written by it.
    ///
    /// # Errors
    /// What PutRecords would answer, or any failure on the way.
    pub async fn probe_write(&self, record: &Record) -> Result<Write, CallError> {
        let (name, arn) = named(&self.stream);
        let entry = PutRecordsRequestEntry::builder()
            .data(Blob::from_maybe_shared(record.data.clone()))
            .partition_key(record.key.as_str())
            .set_explicit_hash_key(record.explicit_hash.map(|hash| hash.0.to_string()))
            .build()
            .expect("data, the one required field, is set");
        let call =
            self.client.put_records().set_stream_name(name).set_stream_arn(arn).records(entry);
        let credentials =
            self.identity.credentials().await.map_err(|error| no_credentials(OP, &error))?;
        match call.dry_run(true).customize().map_request(only_to_aws).send().await {
            Ok(reply) => {
                match reply
                    .records
                    .into_iter()
                    .next()
                    .map(|entry| said(entry).verdict(&mut ShardIds::default()))
                {
                    Some(Verdict::Failed { class, code, message }) => {
                        Err(CallError { operation: OP, class, cause: class.into(), code, message })
                    }
                    _ => Ok(Write::Stored), // or so it seems: what a reply without a verdict did is not known
                }
            }
            Err(error) if Stopped::find(&error).is_some() => Ok(Write::NotProbed),
            Err(error) => match self.call_error(OP, &error, &credentials) {
                error if error.code == "DryRunOperationException" => Ok(Write::Permitted),
                error => Err(error),
            },
        }
    }

    /// Whether the service reads PutRecords in the wire that is configured: by one without records.
    /// It stores nothing, whoever reads it, and Kinesis refuses it once it was read.
    pub async fn probe_wire(&self) -> Reads {
        let Err(failure) = self.send(&Entries::new(Vec::new(), &[])).await else {
            return Reads::Yes;
        };
        let reply = failure.reply();
        if reply.is_some_and(|(_, wire)| wire == self.wire) {
            return Reads::Yes;
        }
        // Servers have many codes for what they cannot read, so those that mean nothing else are
        // told by their status.
        let is_refusal =
            reply.is_some_and(|(status, _)| matches!(status.as_u16(), 400..=407 | 409..=499 | 501));
        let (class, code, _) = failure.read();
        let (cause, message) = (failure.cause(), chain(&failure));
        let error = CallError { operation: "PutRecords", class, cause, code, message };
        let is_told = is_refusal && matches!(class, Class::Poison | Class::Transient);
        if is_told { Reads::No(error) } else { Reads::NotTold(error) }
    }
}

/// The URL that PutRecords go to, by the SDK's rules. Sends nothing and needs no credentials.
///
/// # Errors
/// Why there is no such place, in the SDK's words.
pub(super) async fn endpoint(client: &Client, stream: &StreamId) -> Result<String, String> {
    let (name, arn) = named(stream);
    let call = client
        .put_records()
        .set_stream_name(name)
        .set_stream_arn(arn)
        .set_records(Some(Vec::new()));
    let unsigned = aws_sdk_kinesis::Config::builder().credentials_provider(nobody());
    let stopped = call.customize().config_override(unsigned).map_request(stop).send().await;
    let error = stopped.expect_err("it is stopped before it is sent");
    Stopped::find(&error).ok_or_else(|| chain(&error))
}

impl Stopped {
    /// Where a request would have gone, if this is why it failed.
    pub(super) fn find(error: &(dyn Error + 'static)) -> Option<String> {
        causes(error)
            .find_map(|cause| cause.downcast_ref::<Self>())
            .map(|stopped| stopped.endpoint.clone())
    }

    fn by(request: &HttpRequest) -> Self {
        Self { endpoint: request.uri().to_owned() }
    }
}

fn said(entry: PutRecordsResultEntry) -> Said<'static> {
    Said {
        shard_id: entry.shard_id.map(Cow::Owned),
        sequence_number: entry.sequence_number.map(Cow::Owned),
        error_code: entry.error_code.map(Cow::Owned),
        error_message: entry.error_message.map(Cow::Owned),
    }
}

/// Lets no request pass.
pub(super) fn stop(request: HttpRequest) -> Result<HttpRequest, Stopped> {
    Err(Stopped::by(&request))
}

fn only_to_aws(request: HttpRequest) -> Result<HttpRequest, Stopped> {
    if is_kinesis_of_aws(request.uri()) { Ok(request) } else { Err(Stopped::by(&request)) }
}

/// For requests that are stopped before they are signed.
pub(super) fn nobody() -> Credentials {
    Credentials::new("nobody", "nobody", None, None, "never sent")
}

/// Whether a URL is on a host of AWS's, whichever service it is.
pub fn is_on_aws(url: &str) -> bool {
    aws_labels(url).is_some()
}

/// Whether a URL is one of AWS's own endpoints of Kinesis: `kinesis`, its variants (`kinesis-fips`,
/// `data-kinesis`) or a VPC endpoint, over https. A load balancer or a host of somebody's own that
/// only lives on AWS is not.
fn is_kinesis_of_aws(url: &str) -> bool {
    let Some(labels) = aws_labels(url) else { return false };
    let mut labels = labels.rsplit('.').peekable();
    labels.next_if_eq(&"vpce");
    let (_region, service) = (labels.next(), labels.next());
    url.starts_with("https://")
        && service.is_some_and(|service| service.split('-').any(|part| part == "kinesis"))
}

/// The labels of a host of AWS's in front of its suffix.
fn aws_labels(url: &str) -> Option<String> {
    let host = url.parse::<Uri>().ok()?.host()?.to_ascii_lowercase();
    AWS_SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endpoints_of_aws_are_sent_a_dry_run() {
        for url in [
            "https://kinesis.us-east-1.amazonaws.com/",
            "https://KINESIS.us-east-1.amazonaws.com:443/",
            "https://kinesis-fips.us-gov-west-1.amazonaws.com/",
            "https://kinesis.cn-north-1.amazonaws.com.cn/",
            "https://kinesis.eu-west-1.api.aws/",
            "https://123456789012.data-kinesis.eu-west-1.amazonaws.com/",
            "https://kinesis-pod1-fips.us-east-1.api.aws/",
            "https://vpce-0a1b-2c3d.kinesis.eu-central-1.vpce.amazonaws.com/",
            "https://kinesis.us-iso-east-1.c2s.ic.gov/",
        ] {
            assert!(is_kinesis_of_aws(url) && is_on_aws(url), "{url}");
        }
        for url in [
            "http://kinesis.us-east-1.amazonaws.com/",
            "http://127.0.0.1:4567/",
            "https://localhost:4566/",
            "https://kinesis.us-east-1.localhost.localstack.cloud:4566/",
            "https://kinesis.us-east-1.amazonaws.com.example/",
            "https://kinesis.us-east-1.notamazonaws.com/",
            "https://amazonaws.com/",
            "https://kinesis-123456.us-east-1.elb.amazonaws.com/",
            "https://kinesis-0a1b2c.elb.us-east-1.amazonaws.com/",
            "https://ec2-1-2-3-4.compute-1.amazonaws.com/",
            "https://firehose.us-east-1.amazonaws.com/",
            "https://kinesisvideo.us-east-1.amazonaws.com/",
        ] {
            assert!(!is_kinesis_of_aws(url), "{url}");
        }
    }
}
