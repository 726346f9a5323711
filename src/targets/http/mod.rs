//! Delivers over HTTP: one POST for a batch, and what its answer says.
//!
//! - A request is sent once. Trying again is the engine's.
//! - No redirect is followed: a token goes to the host that an operator named, and to no other.
//! - A token is never printed, and never part of a URL.
//! - What is held of an answer is bounded, and so is every wait but the one for a turn: at most
//!   `in_flight_max` requests are under way, and the others wait in order.
//!
//! What is posted and what an answer means is `dispatchd_consumer::format`; connections are the
//! crate `dispatchd_transport`'s.

mod settings;
mod token;

use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dispatchd_consumer::delivery::{
    Delivered, Failure, FailureKind, IncreasingNumbers, Response as Word,
};
use dispatchd_consumer::format::{Answer, Encoder, Format, Request as Posted};
use dispatchd_core::limits::MIB;
use dispatchd_transport::{Limits, NoReply, Origin, Proxies, Roots, Timeouts, Transport};
use http_body_util::Full;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, HeaderName,
    HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use tokio::sync::Semaphore;

use self::token::Tokens;

pub(crate) use self::settings::socket_and_path;
pub use self::settings::{BadSetting, Sequence, Settings};
pub use self::token::{BadToken, TokenFrom};

/// The most bytes of an answer's body.
pub(crate) const ANSWER_BYTES_MAX: usize = MIB;

/// How long a connection may be idle. Node's servers close one after 5 s, and a request that meets
/// the end of its connection would count as failed.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// What Lambda says of a function that failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("dispatchd/", env!("CARGO_PKG_VERSION")));

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A target that is posted to.
#[derive(Debug)]
pub struct HttpTarget {
    origin: Origin,
    uri: Uri,
    host: HeaderValue,
    encoder: Encoder,
    tokens: Option<Tokens>,
    transport: Transport,
    timeouts: Timeouts,
    in_flight: Semaphore,
    /// Where records get numbers of our own. Asked by who holds the one permit, and never held over
    /// a wait.
    numbers: OnceLock<Mutex<IncreasingNumbers>>,
    numbered_until: Option<SystemTime>,
}

impl HttpTarget {
    /// A target without connections. Must be called within a runtime: a task sweeps idle
    /// connections. `variable` tells the environment, which names proxies.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(
        settings: Settings,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BadSetting> {
        settings.check()?;
        let (uri, origin, host) = settings.destination()?;
        let roots = match &settings.ca_file {
            Some(path) => Roots::of_file(path)?,
            None => Roots::of_host(),
        };
        let limits = Limits { reply_bytes_max: ANSWER_BYTES_MAX, idle_max: IDLE_MAX };
        let target = Self {
            transport: Transport::new(Proxies::new(&variable)?, roots, limits),
            timeouts: Timeouts { connect: settings.connect_timeout, whole: Some(settings.timeout) },
            in_flight: Semaphore::new(settings.in_flight_max),
            numbers: OnceLock::new(),
            numbered_until: settings.numbered_until,
            tokens: settings.token.map(Tokens::new).transpose()?,
            encoder: Encoder::new(settings.format, settings.mapping),
            origin,
            uri,
            host,
        };
        if settings.sequence == Sequence::Monotonic {
            target.number_increasingly();
        }
        Ok(target)
    }

    /// Sends records with numbers that only grow from now on; says whether that is new. For the
    /// format `record` with one request at a time, which [`Settings::check`] cannot know of.
    pub fn number_increasingly(&self) -> bool {
        let numbers = self.numbered_until.map(IncreasingNumbers::beyond).unwrap_or_default();
        self.numbers.set(Mutex::new(numbers)).is_ok()
    }

    /// Posts a batch and waits for the answer, within the timeout once it has its turn. If the
    /// future is dropped, the request's connection is closed.
    pub async fn deliver(&self, records: &[Arc<Delivered>]) -> Word {
        let _turn = self.in_flight.acquire().await.expect("it is never closed");
        let number = self.numbers.get().map(|numbers| {
            let mut numbers = numbers.lock().expect("nobody panics with it in hand");
            numbers.number(&records[0], SystemTime::now())
        });
        let posted = match self.encoder.request(records, number.as_deref()) {
            Ok(posted) => posted,
            Err(misfit) => {
                let reason = format!("the record cannot be sent in this format: {misfit}");
                return failed(FailureKind::Refused, reason);
            }
        };
        let token = match &self.tokens {
            None => None,
            Some(tokens) => match tokens.current().await {
                Ok(token) => Some(token),
                Err(error) => return failed(FailureKind::Unauthorized, error.to_string()),
            },
        };
        let request = self.request(posted, token);
        match self.transport.send(&self.origin, request, self.timeouts).await {
            Ok(reply) => self.word(&reply, records),
            Err(NoReply::TooLarge { status, .. }) => {
                let answer = Answer { status: status.as_u16(), ..Answer::default() };
                answer.response(self.encoder.format(), records)
            }
            Err(error) => failed(kind_of(&error), chain(&error)),
        }
    }

    /// Connects as for a request, and sends nothing. Returns whom to.
    ///
    /// # Errors
    /// Why there is no connection, or no token to send.
    pub(crate) async fn reach(&self) -> Result<&Origin, String> {
        if let Some(tokens) = &self.tokens {
            tokens.current().await.map_err(|error| error.to_string())?;
        }
        let reached = self.transport.reach(&self.origin, self.timeouts.connect).await;
        reached.map(|()| &self.origin).map_err(|error| chain(&error))
    }

    /// Waits until the token's file holds another token than the last one that was sent. For whom
    /// the target has refused: it need not wait out its back-off. Never, where there is no such
    /// file.
    pub async fn token_changed(&self) {
        match &self.tokens {
            Some(tokens) => tokens.changed().await,
            None => std::future::pending().await,
        }
    }

    fn request(&self, posted: Posted, token: Option<HeaderValue>) -> Request<Full<Bytes>> {
        let Posted { content_type, headers, body } = posted;
        let is_record = self.encoder.format() == Format::Record;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let all = request.headers_mut();
        if let Some(token) = token {
            all.insert(AUTHORIZATION, token);
        }
        all.insert(HOST, self.host.clone());
        all.insert(ACCEPT, JSON);
        all.insert(CONTENT_TYPE, value(&content_type));
        all.insert(CONTENT_LENGTH, body.len().into());
        if is_record {
            all.insert(CONNECTION, HeaderValue::from_static("keep-alive")); // as its forwarder does
        } else {
            all.insert(USER_AGENT, AGENT);
        }
        for (name, text) in headers {
            // An attribute of a CloudEvent is told by a name of up to any length.
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                all.append(name, value(&text));
            }
        }
        request
    }

    fn word(&self, reply: &Response<Bytes>, records: &[Arc<Delivered>]) -> Word {
        let headers = reply.headers();
        let answer = Answer {
            status: reply.status().as_u16(),
            function_error: text(headers, FUNCTION_ERROR),
            retry_after: text(headers, RETRY_AFTER.as_str()),
            date: text(headers, DATE.as_str()),
            location: text(headers, LOCATION.as_str()),
            body: Some(reply.body()),
        };
        answer.response(self.encoder.format(), records)
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the format writes printable ASCII")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // One that is no text means nothing to us, but a function's error is one whatever it says.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn failed(kind: FailureKind, reason: String) -> Word {
    Word::Failed(Failure { kind, status: None, reason, body: None, retry_after: None })
}

/// What it means that no answer came. A connection that was lost, or an answer that is late, may be
/// the record's doing.
fn kind_of(error: &NoReply) -> FailureKind {
    if error.may_have_arrived() { FailureKind::Failed } else { FailureKind::Unavailable }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
