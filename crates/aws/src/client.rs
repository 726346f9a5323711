//! The client: made from a connection's settings, it holds what every call needs.
//!
//! The calls themselves stand in files of their own: `put_records`, `get_records`, `list_shards`,
//! `list_streams`, `manage_stream`, `check`, `describe`. The client never retries and never decides
//! what to do next.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use dispatchd_core::model::stream_id::is_region;
use dispatchd_core::model::{CallError, Class, Reason, StreamId};
use dispatchd_transport::{BadVariable, Transport};

use super::clock::ServiceClock;
use super::connection::{Connection, loader, source_of_endpoint};
use super::credentials::{CredentialsCache, CredentialsInfo};
use super::endpoint::{self, Endpoint, is_plain_off_host};
use super::error::{call_error, no_credentials};
use super::transport;
use crate::settings::Settings;

/// One stream of Kinesis Data Streams, or of a server that speaks its API. Clones share the
/// connections and the credentials.
#[derive(Debug, Clone)]
pub struct Kinesis {
    pub(super) sdk: Client,
    pub(super) stream: StreamId,
    pub(super) credentials: CredentialsCache,
    pub(super) route: Arc<Route>,
    /// What `sdk` was made from, without the endpoint of Kinesis: for the calls to STS.
    pub(super) sdk_config: SdkConfig,
}

/// How PutRecords requests go, which do not go through the SDK's client.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) transport: Transport,
    pub(super) endpoint: Endpoint,
    pub(super) region: String,
    pub(super) clock: ServiceClock,
    pub(super) settings: Settings,
}

/// Why there is no client. What is wrong is not in the values of the configuration's own keys,
/// which were checked before.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no region: set AWS_REGION, stream.region or stream.arn")]
    NoRegion,
    #[error(transparent)]
    Variable(#[from] BadVariable),
    #[error(
        "{0:?} is no region; it comes from a profile file or the instance's metadata: correct it \
         there, or set AWS_REGION"
    )]
    Region(String),
    #[error(
        "no endpoint for region {region:?}: {reason}. Correct the region, stream.arn or what sets \
         the endpoint ({source_of_endpoint})"
    )]
    NoEndpoint { region: String, reason: String, source_of_endpoint: &'static str },
    #[error(
        "the endpoint is {url} (from {source_of_endpoint}): expected https, or http to loopback, \
         unless stream.allow_http is true"
    )]
    PlainHttp { url: String, source_of_endpoint: &'static str },
}

impl Kinesis {
    /// Makes the client. Nothing is sent to the stream: one that does not exist shows on the first
    /// call.
    ///
    /// # Errors
    /// There is no region, or no endpoint that may be used.
    pub async fn connect(connection: Connection) -> Result<Self, ConnectError> {
        let transport =
            transport::from_env(|name| connection.sdk_env.get(name).map(str::to_owned))?;
        let sdk_config = loader(&connection, &transport).load().await;
        let region = sdk_config.region().ok_or(ConnectError::NoRegion)?.to_string();
        if !is_region(&region) {
            return Err(ConnectError::Region(region));
        }
        let connection = Connection { region: Some(region.clone()), ..connection };
        let chain = sdk_config.credentials_provider().expect("the loader was given or made one");
        let credentials = if connection.emulator {
            CredentialsCache::fixed(chain)
        } else {
            CredentialsCache::of_chain(chain, connection.clone(), transport.clone())
        };
        let sdk_config = sdk_config
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .identity_cache(IdentityCache::no_cache())
            .build();
        let clock = ServiceClock::default();
        let mut config = aws_sdk_kinesis::config::Builder::from(&sdk_config);
        if let Some(url) = &connection.endpoint_url {
            config = config.endpoint_url(url); // for Kinesis alone: STS does not answer there
        }
        let sdk = Client::from_conf(config.interceptor(clock.clone()).build());
        let endpoint = endpoint_of(&sdk, &connection, &region).await?;
        let Connection { stream, settings, .. } = connection;
        let route = Route { transport, endpoint, region, clock, settings };
        Ok(Self { sdk, stream, credentials, route: Arc::new(route), sdk_config })
    }

    /// A client for another stream of the region, by the same credentials and connections.
    #[must_use]
    pub fn of_stream(&self, stream: StreamId) -> Self {
        Self { stream, ..self.clone() }
    }

    /// Where PutRecords requests go: scheme and host.
    pub fn endpoint(&self) -> &str {
        self.route.endpoint.as_str()
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.route.region
    }

    /// The credentials that requests are signed with.
    pub fn credentials(&self) -> &CredentialsCache {
        &self.credentials
    }

    /// What may be shown of the credentials in use. Their source is asked if it has to be, for half
    /// of the attempt timeout at most.
    ///
    /// # Errors
    /// No provider has any, or the one that should have did not answer: blocked for credentials.
    pub async fn credentials_info(&self) -> Result<CredentialsInfo, CallError> {
        let provided = self.credentials.get().await;
        provided
            .map(|credentials| CredentialsInfo::of(&credentials))
            .map_err(|error| no_credentials("credentials", &error))
    }

    /// Makes one call of the SDK's, and tells the credentials' cache if the service refused it for
    /// them.
    pub(super) async fn call<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let credentials =
            self.credentials.get().await.map_err(|error| no_credentials(operation, &error))?;
        call.await.map_err(|error| self.call_error(operation, &error, &credentials))
    }

    /// Why a call failed that was signed with these credentials. Their cache is told if the service
    /// refused it for them.
    pub(super) fn call_error<E>(
        &self,
        operation: &'static str,
        error: &SdkError<E>,
        credentials: &Credentials,
    ) -> CallError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let error = call_error(operation, error);
        if error.class == Class::Blocked(Reason::Credentials) {
            self.credentials.refused(credentials);
        }
        error
    }
}

/// Where PutRecords requests go, unless they may not go there.
async fn endpoint_of(
    sdk: &Client,
    connection: &Connection,
    region: &str,
) -> Result<Endpoint, ConnectError> {
    let source_of_endpoint = source_of_endpoint(connection);
    let url = endpoint::resolve(sdk, &connection.stream).await;
    let endpoint =
        url.and_then(|url| Endpoint::at(&url).ok_or_else(|| format!("{url} is no URL of HTTP's")));
    let endpoint = endpoint.map_err(|reason| ConnectError::NoEndpoint {
        region: region.to_owned(),
        reason,
        source_of_endpoint,
    })?;
    if is_plain_off_host(endpoint.as_str()) && !connection.allow_http {
        let url = endpoint.as_str().to_owned();
        return Err(ConnectError::PlainHttp { url, source_of_endpoint });
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use aws_credential_types::credential_fn::provide_credentials_fn;
    use aws_sdk_kinesis::config::http::HttpResponse;
    use aws_sdk_kinesis::error::ErrorMetadata;
    use aws_sdk_kinesis::operation::put_records::PutRecordsError;

    use super::*;
    use crate::connection::emulator_credentials;
    use crate::sdk_env::SdkEnv;
    use crate::settings::Wire;

    /// A connection for which nobody is asked for anything.
    fn connection(url: &str) -> Connection {
        let second = Duration::from_secs(1);
        let settings =
            Settings { connect_timeout: second, attempt_timeout: second, wire: Wire::Json };
        let sdk_env = SdkEnv::default().offline();
        let stream = StreamId::Name("orders".to_owned());
        Connection { sdk_env, ..Connection::to_emulator(stream, url, settings) }
    }

    #[tokio::test]
    async fn a_client_and_one_for_another_stream_say_where_requests_go_and_whose_they_are() {
        let connection = connection("http://127.0.0.1:4567/");
        let kinesis = Kinesis::connect(connection).await.expect("a region and a URL");
        let other = kinesis.of_stream(StreamId::Name("other".to_owned()));
        assert_eq!((kinesis.stream.name(), other.stream.name()), (Some("orders"), Some("other")));
        for kinesis in [kinesis, other] {
            let (endpoint, region) = (kinesis.endpoint(), kinesis.region());
            assert_eq!((endpoint, region), ("http://127.0.0.1:4567", "us-east-1"));
            let credentials = kinesis.credentials().get().await.expect("they are fixed");
            assert_eq!(credentials, emulator_credentials());
        }
    }

    #[tokio::test]
    async fn without_a_region_or_in_the_clear_off_the_host_there_is_no_client() {
        let in_clear = || connection("http://kinesis.example:4567");
        let in_region = |region: Option<&str>| {
            let region = region.map(str::to_owned);
            Connection { region, ..connection("http://127.0.0.1:4567") }
        };
        for (connection, said) in [
            (in_region(None), "no region: set AWS_REGION"),
            (in_region(Some("the north")), "\"the north\" is no region"),
            (in_clear(), "the endpoint is http://kinesis.example:4567 (from stream.endpoint_url)"),
        ] {
            let error = Kinesis::connect(connection).await.expect_err(said).to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let may = Connection { allow_http: true, ..in_clear() };
        let kinesis = Kinesis::connect(may).await.expect("it is allowed");
        assert_eq!(kinesis.endpoint(), "http://kinesis.example:4567");
    }
    #[tokio::test(start_paused = true)]
    async fn credentials_that_the_service_refused_are_asked_for_anew_and_others_are_not() {
        let connection = connection("http://127.0.0.1:4567");
        let client = Kinesis::connect(connection).await.expect("a region and a URL");
        for (code, is_asked_anew) in [
            ("ExpiredTokenException", true),
            ("UnrecognizedClientException", true),
            ("AccessDeniedException", false),
            ("ProvisionedThroughputExceededException", false),
        ] {
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&asked);
            let provider = provide_credentials_fn(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                async { Ok(emulator_credentials()) }
            });
            let credentials = CredentialsCache::fixed(SharedCredentialsProvider::new(provider));
            let client = Kinesis { credentials, ..client.clone() };
            let signed_by = client.credentials().get().await.expect("they are provided");
            tokio::time::sleep(Duration::from_secs(2)).await;
            let meta = ErrorMetadata::builder().code(code).build();
            let reply = HttpResponse::new(400.try_into().expect("a status"), "".into());
            let error = SdkError::service_error(PutRecordsError::generic(meta), reply);
            client.call_error("PutRecords", &error, &signed_by);
            client.credentials().get().await.expect("they are provided");
            assert_eq!(asked.load(Ordering::Relaxed) == 2, is_asked_anew, "{code}");
        }
    }
}
