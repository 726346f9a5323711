//! PutRecords, the one call of an event's path. It does not go through the SDK's machinery, which
//! costs more than all else that a small request does: the body is `wire`'s, the signature
//! `sign`'s, the connection `transport`'s. What the SDK knows better is taken from it: credentials,
//! and where the endpoint is.
//!
//! Decides nothing about what to do next.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use tokio::time::Instant;

use super::aws::{BAD_REPLY, Kinesis, chain};
use super::bounded_clock::writable;
use super::clock::ServiceClock;
use super::sign::{NotSigned, sign_request};
use super::transport::{NoReply, Origin, Timeouts, Transport};
use super::{cause, fault, wire};
use crate::config::Wire;
use dispatchd_core::model::{Cause, Class, Reason};
use dispatchd_core::model::{Entries, PutError, PutRecords, Verdict};

const USER_AGENT_VALUE: &str = concat!("dispatchd/", env!("CARGO_PKG_VERSION"));
const TARGET: (&str, &str) = ("x-amz-target", "Kinesis_20131202.PutRecords");

/// Characters of a reply that is not the service's which are shown.
const SHOWN_CHARS_MAX: usize = 120;
/// Bytes at its beginning that they are taken from: a page may be long, and comes again with each
/// attempt.
const SHOWN_FROM_BYTES: usize = 1024;

/// By what way PutRecords go.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) transport: Transport,
    pub(super) endpoint: Endpoint,
    pub(super) region: String,
    pub(super) clock: ServiceClock,
    pub(super) connect_timeout: Duration,
    /// From the start to the last byte of the reply.
    pub(super) attempt_timeout: Duration,
}

/// Where PutRecords are posted to.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    origin: Origin,
    uri: Uri,
    host: HeaderValue,
    /// As it was given: without a path that says nothing.
    shown: String,
}

/// A PutRecords without verdicts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    NoCredentials(#[from] CredentialsError),
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error(transparent)]
    NoReply(#[from] NoReply),
    /// The reply is an error of the service's, or of what stands between us. The code is what it is
    /// called there.
    #[error("{message}")]
    Refused { status: StatusCode, wire: Wire, code: Option<String>, message: String },
    /// It says that it is a success.
    #[error("the reply cannot be read: {0}")]
    Unreadable(#[from] wire::BadReply),
}

impl PutRecords for Kinesis {
    async fn put(&self, entries: Entries<'_>) -> Result<Vec<Verdict>, PutError> {
        let verdicts = self.send(&entries).await.map_err(|failure| failure.into_error())?;
        if verdicts.len() != entries.len() {
            return Err(PutError {
                class: Class::Transient,
                cause: Cause::NotKinesis,
                code: BAD_REPLY.into(),
                message: format!(
                    "{} records were sent, the reply speaks of {}",
                    entries.len(),
                    verdicts.len()
                ),
                maybe_stored: true,
            });
        }
        Ok(verdicts)
    }
}

impl Kinesis {
    /// The verdicts of the reply, as many as it has.
    pub(super) async fn send(&self, entries: &Entries<'_>) -> Result<Vec<Verdict>, Failure> {
        let way = &*self.way;
        let deadline = Instant::now() + way.attempt_timeout;
        let credentials = self.identity.credentials().await?;
        let body = Bytes::from(wire::request(self.wire, &self.stream, entries));
        let mut request = way.endpoint.request(self.wire, body.clone());
        let time = writable(way.clock.to_sign_at(SystemTime::now()));
        sign_request(&mut request, &body, credentials.clone(), &way.region, time)?;
        let timeouts = Timeouts {
            connect: way.connect_timeout,
            whole: Some(deadline.saturating_duration_since(Instant::now())),
        };
        let reply = way.transport.send(&way.endpoint.origin, request, timeouts).await?;
        let date = reply.headers().get(DATE).and_then(|date| date.to_str().ok());
        way.clock.learn(date, SystemTime::now());
        read(&reply).inspect_err(|failure| {
            // A session that was revoked is denied, and a new one is not.
            if let (Class::Blocked(Reason::Credentials | Reason::AccessDenied), ..) = failure.read()
            {
                self.identity.refused(&credentials);
            }
        })
    }
}

impl Endpoint {
    /// None where the URL is none of HTTP's.
    pub(super) fn at(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let origin = Origin::of(&uri)?;
        let host = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
        let shown = url.trim_end_matches('/').to_owned();
        Some(Self { origin, uri, host, shown })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.shown
    }

    fn request(&self, wire: Wire, body: Bytes) -> Request<Full<Bytes>> {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(wire::content_type(wire)));
        headers.insert(TARGET.0, HeaderValue::from_static(TARGET.1));
        headers.insert(CONTENT_LENGTH, body.len().into());
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        let mut request =
            Request::post(self.uri.clone()).body(Full::new(body)).expect("its URL was parsed");
        *request.headers_mut() = headers;
        request
    }
}

fn read(reply: &Response<Bytes>) -> Result<Vec<Verdict>, Failure> {
    let header = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    let wire = wire::wire(header("content-type"));
    if reply.status().is_success() {
        return Ok(wire::reply(wire, reply.body())?);
    }
    let status = reply.status();
    let (code, message) = match wire::error(wire, reply.body()) {
        Ok(told) => {
            let code = header("x-amzn-errortype")
                .or(told.code.as_deref())
                .map(|code| bare_code(code).to_owned());
            (code, told.message.unwrap_or_else(|| "the reply gave no reason".to_owned()))
        }
        // A web page or less: what stands between us and Kinesis answers with those.
        Err(_) => (None, format!("the reply is not Kinesis': {}", shown(reply.body()))),
    };
    Err(Failure::Refused { status, wire, code, message })
}

/// A code may have a namespace before it and the address of its page behind it.
fn bare_code(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default()
}

/// The beginning of a text that anybody may have written.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_FROM_BYTES)]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        "it is empty".to_owned()
    } else {
        words.chars().take(SHOWN_CHARS_MAX).collect()
    }
}

impl Failure {
    fn into_error(self) -> PutError {
        let (class, code, maybe_stored) = self.read();
        PutError { class, cause: self.cause(), code, maybe_stored, message: chain(&self) }
    }

    /// What it means, what it is called, and whether records may have been stored all the same.
    pub(super) fn read(&self) -> (Class, String, bool) {
        let transient =
            |code: &str, maybe_stored| (Class::Transient, code.to_owned(), maybe_stored);
        match self {
            Self::NotSigned(_) => transient("NotSent", false),
            Self::NoCredentials(_) => {
                (Class::Blocked(Reason::Credentials), "NoCredentials".to_owned(), false)
            }
            Self::NoReply(no_reply) => transient(no_reply.code(), no_reply.may_have_arrived()),
            Self::Unreadable(_) => transient(BAD_REPLY, true),
            Self::Refused { status, code, .. } => {
                let class = fault::request(code.as_deref(), status.as_u16());
                let code = code.clone().unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
                // After a 408 a gateway gave up waiting, for us or for what is behind it: nobody
                // knows.
                let is_refusal = status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT;
                (class, code, !is_refusal)
            }
        }
    }

    /// Why, for whoever has to act.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::NotSigned(_) | Self::NoCredentials(_) => Cause::Blocked(Reason::Credentials),
            Self::NoReply(no_reply) => cause::of_no_reply(no_reply),
            Self::Unreadable(_) => Cause::NotKinesis,
            Self::Refused { status, code, .. } => {
                cause::of_refusal(self.read().0, code.as_deref(), status.as_u16())
            }
        }
    }

    /// The status and the form of the reply, if there was one that is an error.
    pub(super) fn reply(&self) -> Option<(StatusCode, Wire)> {
        match self {
            Self::Refused { status, wire, .. } => Some((*status, *wire)),
            _ => None,
        }
    }
}
