//! HTTP/1.1 to AWS, on connections of our own: for PutRecords, and, as the SDK's HTTP client, for
//! every other call.
//!
//! Why not the SDK's: over TLS it negotiates HTTP/2, and then all requests share one connection.
//! When that dies without a word nothing replaces it (0 answers in 197 s), and large requests share
//! one flow-control window (62 answers of 1 MiB in 100 s at a round trip of 20 ms, where HTTP/1.1
//! took 0.8 s; 2026-11). And its pool hands out one dead connection after the other.
//!
//! Here one request is on a connection at a time. A request that fails, or is given up, takes its
//! connection along, and with it every idle one to the same origin: what broke one of them has
//! likely broken them all. `pool` keeps what is idle, `connect` makes what is new, `proxy` and
//! `trust` say by which way and whom to believe, `sdk` lets the SDK send through it.
//!
//! It never sends a request twice, unless it is sure that nothing of it was written; it knows
//! nothing of Kinesis.

mod connect;
mod origin;
mod pool;
mod proxy;
mod sdk;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::PROXY_AUTHORIZATION;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::connect::Connector;
pub(crate) use self::connect::NotConnected;
pub(crate) use self::origin::Origin;
use self::pool::{Exchange, Pool};
pub use self::proxy::BadVariable;

/// Bytes of a reply's body: the largest is a page of GetRecords, 10 MiB of data in base64 and what
/// JSON adds to each record (AWS API reference, 2026-09).
const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Requests and their replies, on connections that are kept. Cheap to clone; all clones share the
/// connections.
#[derive(Debug, Clone)]
pub(crate) struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    pool: Arc<Pool>,
    _sweeper: AbortOnDropHandle<()>,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For a new connection: looking up, TCP, a proxy's tunnel and TLS together.
    pub(crate) connect: Duration,
    /// From the start to the last byte of the reply. None: as long as the caller waits.
    pub(crate) whole: Option<Duration>,
}

/// A request that got no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReply {
    /// Nothing of it was written.
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    /// Nothing of it was written.
    #[error("the connection was closed before the request")]
    Closed(#[source] hyper::Error),
    /// It may have arrived.
    #[error("the connection was lost")]
    Lost(#[source] hyper::Error),
    /// It may have arrived.
    #[error("no reply within {0:?}")]
    Late(Duration),
    /// It has arrived, and its reply is none of the service's.
    #[error("the reply is larger than {REPLY_BYTES_MAX} bytes")]
    TooLarge,
}

impl NoReply {
    /// What it is called where errors have names.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotConnected(_) | Self::Closed(_) => "NotConnected",
            Self::Lost(_) => "ConnectionLost",
            Self::Late(_) => "Timeout",
            Self::TooLarge => "BadReply",
        }
    }

    /// Whether the request may have arrived all the same.
    pub(crate) fn may_have_arrived(&self) -> bool {
        !matches!(self, Self::NotConnected(_) | Self::Closed(_))
    }
}

impl Transport {
    /// Must be called within a runtime: idle connections are swept by a task, which ends with the
    /// last clone.
    ///
    /// # Errors
    /// A variable of the environment (as `variable` tells it) that cannot be used: a proxy's or
    /// `AWS_CA_BUNDLE`.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        let connector = Connector::new(&variable)?;
        let pool = Arc::<Pool>::default();
        let sweeper = tokio::spawn(Arc::clone(&pool).sweep());
        Ok(Self(Arc::new(Inner { connector, pool, _sweeper: AbortOnDropHandle::new(sweeper) })))
    }

    /// Sends one request, whose URL is whole and whose `Host` is set, and reads all of its reply.
    /// Dropped before, the request has failed.
    ///
    /// # Errors
    /// There is no reply.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        mut request: Request<Full<Bytes>>,
        timeouts: Timeouts,
    ) -> Result<Response<Bytes>, NoReply> {
        let Inner { connector, pool, .. } = &*self.0;
        let deadline = Deadline::of(timeouts);
        let proxy = connector.proxy_of(origin);
        match &proxy {
            // It needs the whole URL, as it stands: where that and `Host` differ, the signature
            // does not hold.
            Some(proxy) if !origin.is_secure => {
                if let Some(authorization) = &proxy.authorization {
                    request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
                }
            }
            _ => *request.uri_mut() = only_path(request.uri()),
        }
        loop {
            let connection = match pool.take(origin) {
                Some(idle) => idle,
                None => connector.connect(origin, proxy.as_ref(), deadline.to_connect()).await?,
            };
            let was_idle = connection.is_used();
            match deadline.of_reply(exchange(pool.begin(origin, connection), request)).await? {
                Ok(reply) => return Ok(reply),
                // It was closed while it was idle. The next one, or a new one, takes the request.
                Err((_, Some(unsent))) if was_idle => request = unsent,
                Err((reason, _)) => return Err(reason),
            }
        }
    }
}

/// A request that failed on its connection, and the request itself if nothing of it was written.
type Failed = (NoReply, Option<Request<Full<Bytes>>>);

/// One request and its reply. Whatever ends it before its time, an error or the caller, ends the
/// connection too.
async fn exchange(
    mut on: Exchange<'_>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Failed> {
    let reply = match on.connection().send(request).await {
        Ok(reply) => reply,
        Err(mut error) => match error.take_message() {
            Some(unsent) => {
                on.closed();
                return Err((NoReply::Closed(error.into_error()), Some(unsent)));
            }
            None => return Err((NoReply::Lost(error.into_error()), None)),
        },
    };
    let (head, body) = reply.into_parts();
    let body = Limited::new(body, REPLY_BYTES_MAX).collect().await.map_err(|error| {
        let reason = error
            .downcast::<hyper::Error>()
            .map_or(NoReply::TooLarge, |error| NoReply::Lost(*error));
        (reason, None)
    })?;
    on.done();
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The timeouts of a request that has begun.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    timeouts: Timeouts,
    began: Instant,
}

impl Deadline {
    fn of(timeouts: Timeouts) -> Self {
        Self { timeouts, began: Instant::now() }
    }

    fn to_connect(self) -> Duration {
        let Timeouts { connect, whole } = self.timeouts;
        whole.map_or(connect, |whole| connect.min(whole.saturating_sub(self.began.elapsed())))
    }

    async fn of_reply<T>(self, reply: impl Future<Output = T>) -> Result<T, NoReply> {
        match self.timeouts.whole {
            Some(whole) => {
                timeout_at(self.began + whole, reply).await.map_err(|_| NoReply::Late(whole))
            }
            None => Ok(reply.await),
        }
    }
}

fn only_path(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}
