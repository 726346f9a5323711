//! The transport to AWS: made from the environment, and lent to the SDK for its own calls. The SDK
//! asks for a connector and gives it requests.
//!
//! One transport for all calls, so that what is promised of connections, proxies and certificates
//! holds for each of them.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use aws_sdk_kinesis::config::RuntimeComponents;
use aws_sdk_kinesis::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use dispatchd_transport::{
    BadVariable, Limits, NoReply, Origin, Proxies, Roots, Timeouts, Transport,
};
use http_body_util::{BodyExt, Full};
use hyper::header::HOST;
use hyper::{HeaderMap, Request, Uri, header};

/// The variable that names the authorities of AWS's own tools: believed instead of the host's.
const BUNDLE: &str = "AWS_CA_BUNDLE";

/// The most bytes of a reply's body. The largest reply is a page of GetRecords: 10 MiB of data in
/// base64, and what JSON adds to each record (AWS API reference, 2026-09).
const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a connection may be idle. Load balancers close one after 60 s (ALB's default), gateways
/// and NATs forget it after 350 s (AWS's NAT gateway and NLB, documentation of 2026-09).
const IDLE_MAX: Duration = Duration::from_secs(50);

/// The timeout for a caller inside the SDK that names none. It is the SDK's own default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);

/// A transport without connections, as the environment says. Must be called within a runtime.
///
/// # Errors
/// A variable, as `variable` tells it, cannot be used: one that names a proxy, or `AWS_CA_BUNDLE`.
pub(super) fn from_env(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Transport, BadVariable> {
    let bundle = variable(BUNDLE).filter(|path| !path.trim().is_empty());
    let bad = |error| BadVariable { name: BUNDLE.to_owned(), what: format!("{error}") };
    let roots = match bundle {
        Some(path) => Roots::of_file(Path::new(path.trim())).map_err(bad)?,
        None => Roots::of_host(),
    };
    let limits = Limits { reply_bytes_max: REPLY_BYTES_MAX, idle_max: IDLE_MAX };
    Ok(Transport::new(Proxies::new(&variable)?, roots, limits))
}

/// Our transport, as an HTTP client of the SDK's.
#[derive(Debug, Clone)]
pub(super) struct SdkHttp(pub(super) Transport);

#[derive(Debug)]
struct Connector {
    transport: Transport,
    timeouts: Timeouts,
}

impl HttpClient for SdkHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        // The SDK itself gives up a call that takes longer than an attempt may.
        let whole = settings.read_timeout().map(|read| connect + read);
        SharedHttpConnector::new(Connector {
            transport: self.0.clone(),
            timeouts: Timeouts { connect, whole },
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { transport, timeouts } = self;
        let (transport, timeouts) = (transport.clone(), *timeouts);
        HttpConnectorFuture::new(async move { send(&transport, request, timeouts).await })
    }
}

async fn send(
    transport: &Transport,
    request: HttpRequest,
    timeouts: Timeouts,
) -> Result<HttpResponse, ConnectorError> {
    let user = |error: Box<dyn Error + Send + Sync>| ConnectorError::user(error);
    let (mut head, body) =
        request.try_into_http1x().map_err(|error| user(error.into()))?.into_parts();
    let origin = Origin::of(&head.uri)
        .ok_or_else(|| user(format!("{} is no URL of HTTP's", head.uri).into()))?;
    name_host(&head.uri, &mut head.headers);
    let body = body.collect().await.map_err(user)?.to_bytes();
    let reply = transport.send(&origin, Request::from_parts(head, Full::new(body)), timeouts).await;
    let reply = reply.map_err(|error| match error {
        NoReply::Late(_) => ConnectorError::timeout(error.into()),
        NoReply::TooLarge { .. } => ConnectorError::other(error.into(), None),
        NoReply::NotConnected(_) | NoReply::Closed(_) | NoReply::Lost(_) => {
            ConnectorError::io(error.into())
        }
    })?;
    HttpResponse::try_from(reply.map(|body: Bytes| SdkBody::from(body)))
        .map_err(|error| user(error.into()))
}

/// Sets `Host`, which the SDK leaves to its HTTP client.
fn name_host(uri: &Uri, headers: &mut HeaderMap) {
    if !headers.contains_key(HOST)
        && let Some(host) = uri
            .authority()
            .and_then(|authority| header::HeaderValue::from_str(authority.as_str()).ok())
    {
        headers.insert(HOST, host);
    }
}
