//! The client: our words ↔ aws-sdk-kinesis. It names the SDK, and so do its four neighbours, `credentials` (whose
//! requests they are), `put` (PutRecords), `stream` (the stream itself: made, described, deleted) and `probe` (asked
//! without writing).
//!
//! The SDK signs, resolves credentials and endpoints, and keeps connections. Its retries are off: only the
//! lanes know which records failed, and two retry loops multiply. Decides nothing about what to do next.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Credentials, Region};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record as SdkRecord, Shard as SdkShard, ShardFilter, ShardFilterType, ShardIteratorType};

use super::aggregate;
use super::clock::ServiceClock;
use super::credentials::Timely;
use super::fault;
use super::shards::Shard;
use crate::config::{Config, StreamId, Wire};
use crate::event::{Class, Reason};
use crate::telemetry::metrics::Expiry;

/// Records asked for in one GetRecords: five times what a shard takes in a second, and a bound on the page that an
/// emulator without AWS's own bound (10 MiB) makes of a large backlog.
pub const PAGE_RECORDS_MAX: usize = 1000;

/// One stream of Kinesis Data Streams, or of a server that speaks its API.
#[derive(Debug, Clone)]
pub struct Kinesis {
    pub(super) client: Client,
    pub(super) stream: StreamId,
    pub(super) wire: Wire,
    /// What the client was made from, without an endpoint of its own: for the calls to STS.
    pub(super) sdk: SdkConfig,
    expiry: Arc<Expiry>,
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Connection {
    pub stream: StreamId,
    /// Overrides the SDK's chain (`AWS_REGION`, profile, instance).
    pub region: Option<String>,
    /// Overrides the SDK's chain (`AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL`, profile).
    pub endpoint_url: Option<String>,
    /// Fixed credentials that open nothing but an emulator, for the embedded stream.
    pub emulator: bool,
    pub connect_timeout: Duration,
    /// From the start of a request to the last byte of its reply.
    pub attempt_timeout: Duration,
    /// How PutRecords are written.
    pub wire: Wire,
}

/// A call besides PutRecords that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub struct CallError {
    pub operation: &'static str,
    pub class: Class,
    pub code: String,
    pub message: String,
}

/// A shard as a consumer sees it, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    pub id: String,
    /// None, the shard it was split from, or the two it was merged from. They may be gone already.
    pub parents: Vec<String>,
    pub open: bool,
}

/// Where to begin in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    Latest,
    TrimHorizon,
    /// After the record with this sequence number.
    After(String),
    /// At the first record that arrived then or later, by the service's clock.
    At(SystemTime),
}

/// A record as read from the stream: one event, or an aggregate of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub sequence_number: String,
    pub partition_key: String,
    pub data: Vec<u8>,
    /// By the service's clock.
    pub arrived: Option<SystemTime>,
}

/// One event of a record that was read, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    pub sequence_number: &'a str,
    /// The member's index in the aggregate, as the KCL numbers it.
    pub sub_sequence_number: Option<usize>,
    pub partition_key: &'a str,
    pub data: &'a [u8],
}

/// A place in a shard, as the service names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub iterator: String,
    /// When it was given out, by the service's clock where its reply tells the time. Not later than that; up to a second
    /// earlier, the unit of that clock.
    pub given: Option<SystemTime>,
}

/// The answer to one GetRecords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Read>,
    /// Nothing when the shard is closed and read to its end.
    pub next_iterator: Option<String>,
    pub millis_behind_latest: i64,
}

/// No region was named anywhere.
#[derive(Debug, thiserror::Error)]
#[error("no region: set AWS_REGION, stream.region or stream.arn")]
pub struct NoRegion;

impl Connection {
    /// As configured; to the embedded stream where `local_url` says it is.
    pub fn new(config: &Config, local_url: Option<String>) -> Self {
        let emulator = local_url.is_some();
        Self {
            stream: config.stream.id.clone(),
            // The embedded stream does not look at it, but one must be named.
            region: if emulator { Some("us-east-1".into()) } else { config.stream.region.clone() },
            endpoint_url: local_url.or_else(|| config.stream.endpoint_url.clone()),
            emulator,
            connect_timeout: config.kinesis.connect_timeout,
            attempt_timeout: config.kinesis.attempt_timeout,
            wire: config.kinesis.wire,
        }
    }
}

impl CallError {
    /// The answer to a call for a stream that is not there.
    pub fn is_not_found(&self) -> bool {
        self.code == "ResourceNotFoundException"
    }

    /// The answer to a call that makes a stream which is there already, or changes one that is being changed.
    pub fn is_in_use(&self) -> bool {
        self.code == "ResourceInUseException"
    }

    /// The iterator was not used for five minutes: the place in the shard is right, the token for it is not.
    pub fn is_expired_iterator(&self) -> bool {
        self.code == "ExpiredIteratorException"
    }
}

impl Kinesis {
    /// Makes the client. Nothing is sent: a stream that is not there shows on the first call.
    pub async fn connect(connection: Connection) -> Result<Self, NoRegion> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(connection.connect_timeout)
            .operation_attempt_timeout(connection.attempt_timeout)
            .build();
        // Pinned by name: a newer behaviour must be chosen, not met.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // The attempt timeout bounds a stall; this would add a second, shorter bound on slow links.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = connection.region {
            loader = loader.region(Region::new(region));
        }
        if connection.emulator {
            loader = loader.credentials_provider(Credentials::new("local", "local", None, None, "embedded stream"));
        }
        let mut sdk = loader.load().await;
        if sdk.region().is_none() {
            return Err(NoRegion);
        }
        let expiry = Arc::<Expiry>::default();
        if let Some(chain) = sdk.credentials_provider() {
            // Half of the attempt, so that what is late shows as what it is, and not as a request that was lost.
            let timely = Timely { chain, within: connection.attempt_timeout / 2, expiry: Arc::clone(&expiry) };
            sdk = sdk.to_builder().credentials_provider(SharedCredentialsProvider::new(timely)).build();
        }
        Ok(Self { expiry, ..Self::with(sdk, connection.endpoint_url, connection.stream, connection.wire) })
    }

    /// The client that a configuration of the SDK's makes.
    pub fn with(sdk: SdkConfig, endpoint_url: Option<String>, stream: StreamId, wire: Wire) -> Self {
        let mut config = aws_sdk_kinesis::config::Builder::from(&sdk);
        if let Some(url) = endpoint_url {
            config = config.endpoint_url(url); // for Kinesis alone: STS does not answer there
        }
        Self { client: Client::from_conf(config.build()), stream, wire, sdk, expiry: Arc::default() }
    }

    /// When the credentials that were provided last expire. The SDK asks for new ones in the last ten seconds, on the
    /// next request; where it gets none the time passes.
    pub fn credentials_expiry(&self) -> &Arc<Expiry> {
        &self.expiry
    }

    /// The open shards with their hash ranges.
    ///
    /// # Errors
    /// Any failed call; a range that is no number is reported as transient.
    pub async fn open_shards(&self) -> Result<Vec<Shard>, CallError> {
        const OP: &str = "ListShards";
        let open =
            ShardFilter::builder().r#type(ShardFilterType::AtLatest).build().map_err(|error| odd_reply(OP, error))?;
        let mut shards = Vec::new();
        for shard in self.list_shards(Some(open)).await? {
            // Emulators that ignore the filter list closed shards too.
            let is_open = is_open(&shard);
            let range = shard.hash_key_range().ok_or_else(|| odd_reply(OP, "a shard has no hash key range"))?;
            let first = range.starting_hash_key().parse().map_err(|error| odd_reply(OP, error))?;
            if is_open {
                shards.push(Shard { id: shard.shard_id, first });
            }
        }
        Ok(shards)
    }

    /// Every shard that may still hold records, open and closed, in no order.
    pub async fn all_shards(&self) -> Result<Vec<ShardInfo>, CallError> {
        let shards = self.list_shards(None).await?;
        Ok(shards
            .into_iter()
            .map(|shard| ShardInfo {
                open: is_open(&shard),
                id: shard.shard_id,
                parents: shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id).collect(),
            })
            .collect())
    }

    pub async fn iterator(&self, shard_id: &str, position: &Position) -> Result<Place, CallError> {
        const OP: &str = "GetShardIterator";
        let (name, arn) = named(&self.stream);
        let call = self.client.get_shard_iterator().set_stream_name(name).set_stream_arn(arn).shard_id(shard_id);
        let call = match position {
            Position::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            Position::TrimHorizon => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::After(sequence_number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence_number),
            Position::At(time) => {
                call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from(*time))
            }
        };
        let (clock, asked) = (ServiceClock::default(), Instant::now());
        let reply = call.customize().interceptor(clock.clone()).send().await.map_err(|error| call_error(OP, &error))?;
        let given = clock.time().and_then(|time| time.checked_sub(asked.elapsed()));
        let iterator = reply.shard_iterator.ok_or_else(|| odd_reply(OP, "it has no iterator"))?;
        Ok(Place { iterator, given })
    }

    /// The next records, at most so many.
    pub async fn records(&self, iterator: &str, records_max: usize) -> Result<Page, CallError> {
        let (_, arn) = named(&self.stream);
        let call = self.client.get_records().shard_iterator(iterator).set_stream_arn(arn);
        let reply = call.limit(records_max.min(PAGE_RECORDS_MAX) as i32).send().await;
        let reply = reply.map_err(|error| call_error("GetRecords", &error))?;
        Ok(Page {
            records: reply.records.into_iter().map(read).collect(),
            next_iterator: reply.next_shard_iterator,
            millis_behind_latest: reply.millis_behind_latest.unwrap_or_default(),
        })
    }

    async fn list_shards(&self, filter: Option<ShardFilter>) -> Result<Vec<SdkShard>, CallError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            // Only the first page names the stream and the filter: the token stands for both.
            let call = self.client.list_shards();
            let call = match token.take() {
                Some(token) => call.next_token(token),
                None => {
                    let (name, arn) = named(&self.stream);
                    call.set_stream_name(name).set_stream_arn(arn).set_shard_filter(filter.clone())
                }
            };
            let reply = call.send().await.map_err(|error| call_error("ListShards", &error))?;
            shards.extend(reply.shards.unwrap_or_default());
            match reply.next_token {
                Some(next) => token = Some(next),
                None => return Ok(shards),
            }
        }
    }
}

fn read(record: SdkRecord) -> Read {
    Read {
        sequence_number: record.sequence_number,
        partition_key: record.partition_key.unwrap_or_default(),
        data: record.data.into_inner(),
        arrived: record.approximate_arrival_timestamp.and_then(|time| SystemTime::try_from(time).ok()),
    }
}

impl Read {
    /// Bytes that it takes, and that its aggregate's events take: they are taken apart where they lie.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.sequence_number.len() + self.partition_key.len() + self.data.len()
    }

    /// Its events: an aggregate is taken apart, whatever wrote it.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let whole = Event {
            sequence_number: &self.sequence_number,
            sub_sequence_number: None,
            partition_key: &self.partition_key,
            data: &self.data,
        };
        let members = aggregate::decode(&self.data);
        let alone = members.is_none().then_some(whole);
        let members = members.into_iter().flatten().enumerate().map(move |(index, member)| Event {
            sub_sequence_number: Some(index),
            partition_key: member.partition_key,
            data: member.data,
            ..whole
        });
        alone.into_iter().chain(members)
    }
}

/// For the two setters that every call has: name and ARN.
pub(super) fn named(stream: &StreamId) -> (Option<String>, Option<String>) {
    match stream {
        StreamId::Name(name) => (Some(name.clone()), None),
        StreamId::Arn(arn) => (None, Some(arn.clone())),
    }
}

/// A closed shard's sequence numbers have an end.
fn is_open(shard: &SdkShard) -> bool {
    shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none())
}

pub(super) fn call_error<E>(operation: &'static str, error: &SdkError<E>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (class, code, message) = describe(error);
    CallError { operation, class, code, message }
}

pub(super) fn odd_reply(operation: &'static str, what: impl std::fmt::Display) -> CallError {
    CallError { operation, class: Class::Transient, code: "BadReply".into(), message: what.to_string() }
}

pub(super) fn describe<E>(error: &SdkError<E>) -> (Class, String, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(reply) = error {
        let status = reply.raw().status().as_u16();
        let (code, message) = (reply.err().code(), reply.err().message());
        let class = fault::request(code, status);
        let code = code.map_or_else(|| format!("HTTP {status}"), str::to_owned);
        return (class, code, message.unwrap_or("the reply gave no reason").to_owned());
    }
    // No error in the AWS form, but a web page or less: what stands between us and Kinesis answers with those.
    if let (SdkError::ResponseError(_), Some(status @ 300..)) = (error, status(error)) {
        return (fault::request(None, status), format!("HTTP {status}"), chain(error));
    }
    if has_cause::<CredentialsError>(error) {
        return (Class::Blocked(Reason::Credentials), "NoCredentials".into(), chain(error));
    }
    let code = match error {
        SdkError::ConstructionFailure(_) => "NotSent",
        SdkError::TimeoutError(_) => "Timeout",
        SdkError::DispatchFailure(_) if never_connected(error) => "NotConnected",
        SdkError::DispatchFailure(_) => "ConnectionLost",
        _ => "BadReply",
    };
    (Class::Transient, code.into(), chain(error))
}

/// The HTTP status of the reply, if there was one.
pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|reply| reply.status().as_u16())
}

/// Whether the connection was never made, so that the request cannot have arrived.
pub(super) fn never_connected<E: Error + 'static>(error: &SdkError<E>) -> bool {
    causes(error)
        .any(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect()))
}

fn has_cause<C: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<C>())
}

pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The SDK's own texts ("dispatch failure") hide the cause, so the whole chain is told.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
