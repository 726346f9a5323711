//! Where and how to connect, and the SDK's configuration that is made of it.
//!
//! Sends nothing by itself. The SDK finds credentials and the endpoint; its retries are off, since
//! only the lanes know which records failed, and two retry loops multiply.

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_kinesis::config::{Credentials, Region};
use aws_types::os_shim_internal::Env;
use dispatchd_core::model::StreamId;
use dispatchd_transport::Transport;

use super::bounded_clock::BoundedClock;
use super::transport::SdkHttp;
use crate::sdk_env::SdkEnv;
use crate::settings::Settings;

/// Where and how to connect.
#[derive(Debug, Clone)]
pub struct Connection {
    pub stream: StreamId,
    /// The region; where it is `None`, the SDK's chain decides (`AWS_REGION`, profile, instance).
    pub region: Option<String>,
    /// The endpoint; where it is `None`, the SDK's chain decides (`AWS_ENDPOINT_URL_KINESIS`,
    /// `AWS_ENDPOINT_URL`, profile).
    pub endpoint_url: Option<String>,
    /// Whether plain http may leave the host.
    pub allow_http: bool,
    /// All that the SDK sees of the environment.
    pub sdk_env: SdkEnv,
    /// Whether the server is an emulator: then the credentials are fixed ones that open nothing
    /// else.
    pub emulator: bool,
    pub settings: Settings,
}

impl Connection {
    /// The connection to an emulator on this host.
    pub fn to_emulator(stream: StreamId, url: impl Into<String>, settings: Settings) -> Self {
        Self {
            stream,
            // An emulator does not look at it, but a client needs one.
            region: Some("us-east-1".to_owned()),
            endpoint_url: Some(url.into()),
            allow_http: false,
            sdk_env: SdkEnv::default(),
            emulator: true,
            settings,
        }
    }
}

/// What the SDK's configuration is made by, its chain of credential providers included.
pub(super) fn loader(connection: &Connection, transport: &Transport) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(connection.settings.connect_timeout)
        .operation_attempt_timeout(connection.settings.attempt_timeout)
        .build();
    let variables: Vec<_> = connection.sdk_env.vars().collect();
    // Pinned by name, so that a newer behaviour does not come with an update.
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .env(Env::from_slice(&variables))
        .time_source(BoundedClock)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .http_client(SdkHttp(transport.clone()))
        // The attempt timeout bounds a stall. This would be a second, shorter bound on slow links.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(region) = &connection.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if connection.emulator {
        loader = loader.credentials_provider(emulator_credentials());
    }
    loader
}

/// The setting that names the endpoint, for a person who looks for it. In the SDK's order.
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
    (stream.name().map(str::to_owned), stream.arn().map(str::to_owned))
}

/// Credentials that open nothing but an emulator.
pub(super) fn emulator_credentials() -> Credentials {
    Credentials::new("local", "local", None, None, "embedded stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_the_stream_by_its_name_or_by_its_arn_and_never_by_both() {
        let arn = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";
        for (stream, setters) in [
            (StreamId::Name("orders".to_owned()), (Some("orders".to_owned()), None)),
            (StreamId::Arn(arn.to_owned()), (None, Some(arn.to_owned()))),
        ] {
            assert_eq!(named(&stream), setters);
        }
    }
}
