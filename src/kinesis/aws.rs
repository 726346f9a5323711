//! The client: our words ↔ aws-sdk-kinesis. It names the SDK, and so do its neighbours: `identity`
//! and `credentials` (whose requests they are), `list` (ListShards), `stream` (the stream itself:
//! made, described, deleted), `probe` (asked without writing) and `transport::sdk` (its HTTP
//! client).
//!
//! The SDK finds credentials and the endpoint, and signs every call but PutRecords. Its retries are
//! off: only the lanes know which records failed, and two retry loops multiply. Decides nothing
//! about what to do next.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Credentials, Region};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record as SdkRecord, ShardIteratorType};
use aws_types::os_shim_internal::Env;

use super::bounded_clock::BoundedClock;
use super::clock::ServiceClock;
use super::identity::Identity;
use super::put::{Endpoint, Way};
use super::transport::{BadVariable, NoReply, Transport};
use super::{cause, fault, probe};
use crate::config::{Config, SdkEnv, StreamId, Wire, is_plain_off_host, is_region};
use dispatchd_core::model::{Cause, Class, Reason};
use dispatchd_core::wire::packed;

/// Records asked for in one GetRecords: five times what a shard takes in a second, and a bound on
/// the page that an emulator without AWS's own bound (10 MiB) makes of a large backlog.
pub const PAGE_RECORDS_MAX: usize = 1000;

/// A reply that is no reply to what was asked.
pub(super) const BAD_REPLY: &str = "BadReply";

/// One stream of Kinesis Data Streams, or of a server that speaks its API.
#[derive(Debug, Clone)]
pub struct Kinesis {
    pub(super) client: Client,
    pub(super) stream: StreamId,
    pub(super) wire: Wire,
    /// What the client was made from, without an endpoint of its own: for the calls to STS.
    pub(super) sdk: SdkConfig,
    pub(super) identity: Identity,
    /// Of PutRecords.
    pub(super) way: Arc<Way>,
}

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Connection {
    pub stream: StreamId,
    /// Overrides the SDK's chain (`AWS_REGION`, profile, instance).
    pub region: Option<String>,
    /// Overrides the SDK's chain (`AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL`, profile).
    pub endpoint_url: Option<String>,
    /// Whether plain http may leave the host.
    pub allow_http: bool,
    /// All that the SDK sees of the environment.
    pub sdk_env: SdkEnv,
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
    /// In words for whoever has to act.
    pub cause: Cause,
    pub code: String,
    pub message: String,
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
    /// Nothing where it was written without one: a stream that distributes records itself takes
    /// such.
    pub partition_key: Option<String>,
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
    pub partition_key: Option<&'a str>,
    pub data: &'a [u8],
}

/// A place in a shard, as the service names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub iterator: String,
    /// When it was given out, by the service's clock, if that was ever told. Not later than that;
    /// earlier by less than a second, the unit of that clock, and what the call took.
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

/// Why there can be no client. What is wrong is outside of what the configuration's own keys say.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no region: set AWS_REGION, stream.region or stream.arn")]
    NoRegion,
    #[error(transparent)]
    Variable(#[from] BadVariable),
    #[error(
        "{0:?} is no region; it comes from a profile file or the instance's metadata: correct it there, or set AWS_REGION"
    )]
    Region(String),
    #[error(
        "no endpoint for region {region:?}: {reason}. Correct the region, stream.arn or what sets the endpoint ({source_of_endpoint})"
    )]
    NoEndpoint { region: String, reason: String, source_of_endpoint: &'static str },
    #[error(
        "the endpoint is {url} (from {source_of_endpoint}): expected https, or http to loopback, unless stream.allow_http is true"
    )]
    PlainHttp { url: String, source_of_endpoint: &'static str },
}

impl Connection {
    /// As configured; to the embedded stream where `local_url` says it is.
    pub fn new(config: &Config, local_url: Option<String>) -> Self {
        let emulator = local_url.is_some();
        Self {
            stream: config.stream.id.clone(),
            // The embedded stream does not look at it, but one must be named.
            region: if emulator { Some("us-east-1".into()) } else { config.stream.region.clone() },
            endpoint_url: local_url.or_else(|| config.stream.endpoint_url.clone()),
            allow_http: config.stream.allow_http,
            sdk_env: config.sdk_env.clone(),
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

    /// The answer to a call that makes a stream which is there already, or changes one that is
    /// being changed.
    pub fn is_in_use(&self) -> bool {
        self.code == "ResourceInUseException"
    }

    /// What to do about a call that needs this permission.
    pub fn advice(&self, action: &str) -> String {
        match self.class {
            Class::Blocked(Reason::AccessDenied) if self.cause.is_blocked() => {
                format!(
                    "allow {action} on the stream to this identity; `dispatchd iam producer` prints the policy"
                )
            }
            Class::Throttled => {
                "ask again in a minute; if it stays, somebody else uses up the account's calls"
                    .to_owned()
            }
            Class::Blocked(_) | Class::Transient => self.cause.advice().to_owned(),
            Class::Poison => "correct stream.name or stream.arn".to_owned(),
        }
    }

    /// The iterator was not used for five minutes: the place in the shard is right, the token for
    /// it is not.
    pub fn is_expired_iterator(&self) -> bool {
        self.code == "ExpiredIteratorException"
    }
}

impl Kinesis {
    /// Makes the client. Nothing is sent: a stream that is not there shows on the first call.
    ///
    /// # Errors
    /// There is no region, or no endpoint that may be used.
    pub async fn connect(connection: Connection) -> Result<Self, ConnectError> {
        let transport = Transport::new(|name| connection.sdk_env.get(name).map(str::to_owned))?;
        let mut sdk = loader(&connection, &transport).load().await;
        let region = sdk.region().ok_or(ConnectError::NoRegion)?.to_string();
        if !is_region(&region) {
            return Err(ConnectError::Region(region));
        }
        let Connection {
            stream,
            endpoint_url,
            allow_http,
            wire,
            connect_timeout,
            attempt_timeout,
            ..
        } = connection.clone();
        let source_of_endpoint = source_of_endpoint(&connection);
        let first = sdk.credentials_provider().expect("the loader was not told to go without");
        let identity = if connection.emulator {
            Identity::fixed(first)
        } else {
            let connection = Connection { region: Some(region.clone()), ..connection };
            Identity::of_chain(first, connection, transport.clone())
        };
        let provider = SharedCredentialsProvider::new(identity.clone());
        sdk = sdk
            .to_builder()
            .credentials_provider(provider)
            .identity_cache(IdentityCache::no_cache())
            .build();
        let mut config = aws_sdk_kinesis::config::Builder::from(&sdk);
        if let Some(url) = endpoint_url {
            config = config.endpoint_url(url); // for Kinesis alone: STS does not answer there
        }
        let clock = ServiceClock::default();
        let client = Client::from_conf(config.interceptor(clock.clone()).build());
        let url = probe::endpoint(&client, &stream).await;
        let endpoint = url
            .and_then(|url| Endpoint::at(&url).ok_or_else(|| format!("{url} is no URL of HTTP's")));
        let no_endpoint = |reason| ConnectError::NoEndpoint {
            region: region.clone(),
            reason,
            source_of_endpoint,
        };
        let endpoint = endpoint.map_err(no_endpoint)?;
        if is_plain_off_host(endpoint.as_str()) && !allow_http {
            return Err(ConnectError::PlainHttp {
                url: endpoint.as_str().to_owned(),
                source_of_endpoint,
            });
        }
        let way =
            Arc::new(Way { transport, endpoint, region, clock, connect_timeout, attempt_timeout });
        Ok(Self { client, stream, wire, sdk, identity, way })
    }

    /// Where PutRecords go: scheme and host.
    pub fn endpoint(&self) -> &str {
        self.way.endpoint.as_str()
    }

    /// Whose requests they are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes one call, and lets the identity know where the service refuses it.
    pub(super) async fn call<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let credentials =
            self.identity.credentials().await.map_err(|error| no_credentials(operation, &error))?;
        call.await.map_err(|error| self.call_error(operation, &error, &credentials))
    }

    /// Why a call failed that was signed with these credentials. The identity hears of it if it was
    /// for them.
    pub(super) fn call_error<E>(
        &self,
        operation: &'static str,
        error: &SdkError<E>,
        credentials: &Credentials,
    ) -> CallError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let (class, cause, code, message) = describe(error);
        if class == Class::Blocked(Reason::Credentials) {
            self.identity.refused(credentials);
        }
        CallError { operation, class, cause, code, message }
    }

    pub async fn iterator(&self, shard_id: &str, position: &Position) -> Result<Place, CallError> {
        const OP: &str = "GetShardIterator";
        let (name, arn) = named(&self.stream);
        let call = self
            .client
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
        Ok(Place { iterator, given: self.way.clock.told_at(asked) })
    }

    /// The next records, at most so many.
    pub async fn records(&self, iterator: &str, records_max: usize) -> Result<Page, CallError> {
        let (_, arn) = named(&self.stream);
        let call = self.client.get_records().shard_iterator(iterator).set_stream_arn(arn);
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

impl Read {
    /// Bytes that it takes, and that its aggregate's events take: they are taken apart where they
    /// lie.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.sequence_number.len()
            + self.partition_key.as_ref().map_or(0, String::len)
            + self.data.len()
    }

    /// Its events: an aggregate is taken apart, whatever wrote it.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let whole = Event {
            sequence_number: &self.sequence_number,
            sub_sequence_number: None,
            partition_key: self.partition_key.as_deref(),
            data: &self.data,
        };
        let members = packed::decode(&self.data);
        let alone = members.is_none().then_some(whole);
        let members = members.into_iter().flatten().enumerate().map(move |(index, member)| Event {
            sub_sequence_number: Some(index),
            partition_key: Some(member.partition_key),
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

/// The settings that the SDK's configuration is made from, its chain of credentials included.
pub(super) fn loader(connection: &Connection, transport: &Transport) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(connection.connect_timeout)
        .operation_attempt_timeout(connection.attempt_timeout)
        .build();
    let variables: Vec<_> = connection.sdk_env.vars().collect();
    // Pinned by name: a newer behaviour must be chosen, not met.
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .env(Env::from_slice(&variables))
        .time_source(BoundedClock)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .http_client(transport.clone())
        // The attempt timeout bounds a stall; this would add a second, shorter bound on slow links.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = &connection.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if connection.emulator {
        loader = loader.credentials_provider(Credentials::new(
            "local",
            "local",
            None,
            None,
            "embedded stream",
        ));
    }
    loader
}

/// What names the endpoint, for a person who looks for it; in the SDK's order.
fn source_of_endpoint(connection: &Connection) -> &'static str {
    let is_set = |name| connection.sdk_env.get(name).is_some();
    match connection {
        Connection { endpoint_url: Some(_), .. } => "stream.endpoint_url",
        _ if is_set("AWS_ENDPOINT_URL_KINESIS") => "AWS_ENDPOINT_URL_KINESIS",
        _ if is_set("AWS_ENDPOINT_URL") => "AWS_ENDPOINT_URL",
        _ => "endpoint_url in a profile file",
    }
}

pub(super) fn no_credentials(operation: &'static str, error: &CredentialsError) -> CallError {
    CallError {
        operation,
        class: Class::Blocked(Reason::Credentials),
        cause: Cause::Blocked(Reason::Credentials),
        code: "NoCredentials".into(),
        // The chain of providers tells what each of them said on a line of its own.
        message: chain(error).lines().map(str::trim).collect::<Vec<_>>().join("; "),
    }
}

pub(super) fn odd_reply(operation: &'static str, what: impl std::fmt::Display) -> CallError {
    let (class, cause) = (Class::Transient, Cause::NotKinesis);
    CallError { operation, class, cause, code: BAD_REPLY.into(), message: what.to_string() }
}

pub(super) fn describe<E>(error: &SdkError<E>) -> (Class, Cause, String, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(reply) = error {
        let status = reply.raw().status().as_u16();
        let (code, message) = (reply.err().code(), reply.err().message());
        let class = fault::request(code, status);
        let cause = cause::of_refusal(class, code, status);
        let code = code.map_or_else(|| format!("HTTP {status}"), str::to_owned);
        return (class, cause, code, message.unwrap_or("the reply gave no reason").to_owned());
    }
    // No error in the AWS form, but a web page or less: what stands between us and Kinesis answers
    // with those.
    if let (SdkError::ResponseError(_), Some(status @ 300..)) = (error, status(error)) {
        let class = fault::request(None, status);
        return (
            class,
            cause::of_refusal(class, None, status),
            format!("HTTP {status}"),
            chain(error),
        );
    }
    if has_cause::<CredentialsError>(error) {
        let reason = Reason::Credentials;
        return (
            Class::Blocked(reason),
            Cause::Blocked(reason),
            "NoCredentials".into(),
            chain(error),
        );
    }
    let no_reply = causes(error).find_map(|cause| cause.downcast_ref::<NoReply>());
    let (code, cause) = match (error, no_reply) {
        (_, Some(no_reply)) => (no_reply.code(), cause::of_no_reply(no_reply)),
        (SdkError::ConstructionFailure(_), _) => ("NotSent", Cause::Service),
        (SdkError::TimeoutError(_), _) => ("Timeout", Cause::ReplyTimeout),
        _ => (BAD_REPLY, Cause::NotKinesis),
    };
    (Class::Transient, cause, code.into(), chain(error))
}

/// The HTTP status of the reply, if there was one.
pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|reply| reply.status().as_u16())
}

fn has_cause<C: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<C>())
}

pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The SDK's own texts ("dispatch failure") hide the cause, so the whole chain is told.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
