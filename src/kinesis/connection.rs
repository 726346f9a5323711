//! Where and how to connect, and the SDK's configuration that is made of it.
//!
//! Sends nothing by itself. The SDK finds credentials and the endpoint; its retries are off, since
//! only the lanes know which records failed, and two retry loops multiply.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_kinesis::config::{Credentials, Region};
use aws_types::os_shim_internal::Env;

use super::bounded_clock::BoundedClock;
use super::transport::Transport;
use crate::config::{Config, SdkEnv, StreamId, Wire};

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
pub(super) fn source_of_endpoint(connection: &Connection) -> &'static str {
    let is_set = |name| connection.sdk_env.get(name).is_some();
    match connection {
        Connection { endpoint_url: Some(_), .. } => "stream.endpoint_url",
        _ if is_set("AWS_ENDPOINT_URL_KINESIS") => "AWS_ENDPOINT_URL_KINESIS",
        _ if is_set("AWS_ENDPOINT_URL") => "AWS_ENDPOINT_URL",
        _ => "endpoint_url in a profile file",
    }
}

/// The stream as the two setters of every call take it: by its name, or by its ARN.
pub(super) fn named(stream: &StreamId) -> (Option<String>, Option<String>) {
    match stream {
        StreamId::Name(name) => (Some(name.clone()), None),
        StreamId::Arn(arn) => (None, Some(arn.clone())),
    }
}
