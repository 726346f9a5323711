//! PutRecords, the one call on an event's path. It does not go through the SDK's client, which
//! costs more than everything else that a small request needs: `body` writes and reads the bodies
//! (in `json` or `cbor`), `sign` signs, and `dispatchd_transport` has the connections. Credentials
//! and the endpoint come from the SDK. `get_records` goes this way too, and so does `describe`,
//! which sends the calls that a caller made.
//!
//! Decides nothing about what to do next.

pub mod body;
mod cbor;
mod entry;
mod json;
mod reply;
mod sign;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use aws_credential_types::provider::error::CredentialsError;
use bytes::Bytes;
use dispatchd_core::model::{
    CallError, Cause, Class, Entries, PutError, PutRecords, Reason, Verdict,
};
use dispatchd_transport::{NoReply, Timeouts};
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use tokio::time::Instant;

use self::sign::{NotSigned, sign_request};
use super::bounded_clock::writable;
use super::classify;
use super::client::Kinesis;
use super::endpoint::Endpoint;
use super::error::{BAD_REPLY, NO_CREDENTIALS, chain};
use crate::settings::Wire;

pub use self::reply::BadReply;
pub(super) use self::reply::{EntryResult, ShardIds};

const USER_AGENT_VALUE: &str = concat!("dispatchd/", env!("CARGO_PKG_VERSION"));
const TARGET: &str = "x-amz-target";
const PUT_RECORDS: &str = "Kinesis_20131202.PutRecords";

/// Characters that are shown of a reply that does not come from Kinesis.
const SHOWN_CHARS_MAX: usize = 120;
/// Bytes at the beginning of such a reply that are looked at: a page may be long, and comes again
/// with each attempt.
const SHOWN_FROM_BYTES: usize = 1024;

/// Why a request of our own transport's got no good reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    NoCredentials(#[from] CredentialsError),
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error(transparent)]
    NoReply(#[from] NoReply),
    /// The status of the reply is an error: the service's own, or of a proxy in between. `code` is
    /// `None` if the reply is not in Kinesis' form.
    #[error("{message}")]
    Refused { status: StatusCode, wire: Wire, code: Option<String>, message: String },
    /// The status of the reply is a success, and its body is not.
    #[error("the reply cannot be read: {0}")]
    Unreadable(#[from] BadReply),
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
    /// Sends one request. Returns the verdicts of the reply, as many as it has.
    pub(super) async fn send(&self, entries: &Entries<'_>) -> Result<Vec<Verdict>, Failure> {
        let wire = self.route.settings.wire;
        let body = || Bytes::from(body::request(wire, &self.stream, entries));
        self.exchange(PUT_RECORDS, wire, body, |wire, body| Ok(body::reply(wire, body)?)).await
    }

    /// Sends the body of a call, and returns what `read` makes of the body of its reply. The body
    /// is made once there are credentials.
    pub(super) async fn exchange<T>(
        &self,
        target: &'static str,
        wire: Wire,
        body: impl FnOnce() -> Bytes,
        read: impl FnOnce(Wire, &Bytes) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let route = &*self.route;
        let deadline = Instant::now() + route.settings.attempt_timeout;
        let credentials = self.credentials.get().await?;
        let body = body();
        let mut request = post(&route.endpoint, target, wire, body.clone());
        let time = writable(route.clock.to_sign_at(SystemTime::now()));
        sign_request(&mut request, &body, credentials.clone(), &route.region, time)?;
        let timeouts = Timeouts {
            connect: route.settings.connect_timeout,
            whole: Some(deadline.saturating_duration_since(Instant::now())),
        };
        let reply = route.transport.send(&route.endpoint.origin, request, timeouts).await?;
        let date = reply.headers().get(DATE).and_then(|date| date.to_str().ok());
        route.clock.learn(date, SystemTime::now());
        read_reply(&reply, read).inspect_err(|failure| {
            // A session that was revoked is denied access, and a new one is not.
            let (class, ..) = failure.classify();
            if let Class::Blocked(Reason::Credentials | Reason::AccessDenied) = class {
                self.credentials.refused(&credentials);
            }
        })
    }
}

/// The request, not signed yet.
fn post(
    endpoint: &Endpoint,
    target: &'static str,
    wire: Wire,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(HOST, endpoint.host.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(body::content_type(wire)));
    headers.insert(TARGET, HeaderValue::from_static(target));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    let mut request =
        Request::post(endpoint.uri.clone()).body(Full::new(body)).expect("its URL was parsed");
    *request.headers_mut() = headers;
    request
}

fn read_reply<T>(
    reply: &Response<Bytes>,
    read: impl FnOnce(Wire, &Bytes) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let header = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    let wire = body::format_of(header("content-type"));
    if reply.status().is_success() {
        return read(wire, reply.body());
    }
    let status = reply.status();
    let (code, message) = match body::error(wire, reply.body()) {
        Ok(told) => {
            let code = header("x-amzn-errortype")
                .or(told.code.as_deref())
                .map(|code| bare_code(code).to_owned());
            (code, told.message.unwrap_or_else(|| "the reply gave no reason".to_owned()))
        }
        // A page, or less: a proxy or a firewall answers with those.
        Err(_) => (None, format!("the reply is not Kinesis': {}", shown(reply.body()))),
    };
    Err(Failure::Refused { status, wire, code, message })
}

/// The code alone: servers put a namespace before it, or the address of its page behind it.
fn bare_code(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default()
}

/// The beginning of a text that anybody may have written, on one line.
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
        let (class, code, maybe_stored) = self.classify();
        PutError { class, cause: self.cause(), code, maybe_stored, message: chain(&self) }
    }

    /// This failure as the error of a call that stores nothing.
    pub(super) fn into_call_error(self, operation: &'static str) -> CallError {
        let (class, code, _) = self.classify();
        CallError { operation, class, cause: self.cause(), code, message: chain(&self) }
    }

    /// The class, the code, and whether records may have been stored all the same.
    pub(super) fn classify(&self) -> (Class, String, bool) {
        let transient =
            |code: &str, maybe_stored| (Class::Transient, code.to_owned(), maybe_stored);
        match self {
            Self::NotSigned(_) => transient("NotSent", false),
            Self::NoCredentials(_) => {
                (Class::Blocked(Reason::Credentials), NO_CREDENTIALS.to_owned(), false)
            }
            Self::NoReply(no_reply) => transient(no_reply.code(), no_reply.may_have_arrived()),
            Self::Unreadable(_) => transient(BAD_REPLY, true),
            Self::Refused { status, code, .. } => {
                let class = classify::request(code.as_deref(), status.as_u16());
                let code = code.clone().unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
                // With a 408 a gateway gave up waiting, for us or for what is behind it; nobody
                // knows for which.
                let is_refusal = status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT;
                (class, code, !is_refusal)
            }
        }
    }

    /// Why, for whoever has to act.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::NotSigned(_) | Self::NoCredentials(_) => Cause::Blocked(Reason::Credentials),
            Self::NoReply(no_reply) => classify::no_reply(no_reply),
            Self::Unreadable(_) => Cause::NotKinesis,
            Self::Refused { status, code, .. } => {
                classify::refusal(self.classify().0, code.as_deref(), status.as_u16())
            }
        }
    }

    /// The status and the format of the reply; `None` unless there was one whose status is an
    /// error.
    pub(super) fn reply(&self) -> Option<(StatusCode, Wire)> {
        match self {
            Self::Refused { status, wire, .. } => Some((*status, *wire)),
            _ => None,
        }
    }
}
