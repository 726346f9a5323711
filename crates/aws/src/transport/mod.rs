//! HTTP/1.1 to AWS on connections of our own: for PutRecords, and, as the SDK's HTTP client, for
//! every other call.
//!
//! The SDK's own client is not used because over TLS it negotiates HTTP/2, and then all requests
//! share one connection. When that connection dies without notice, nothing replaces it (0 answers
//! in 197 s). Large requests share one flow-control window (62 answers of 1 MiB in 100 s at a round
//! trip of 20 ms, where HTTP/1.1 took 0.8 s; 2026-11). And its pool hands out one dead connection
//! after the other.
//!
//! Here, one request is on a connection at a time. A request that fails or is given up closes its
//! connection, and with it every idle connection to the same origin: what broke one of them has
//! probably broken them all. `pool` keeps idle connections, `connect` makes new ones, `proxy` says
//! which way they go, `trust` which certificates are believed, `origin` whom a request is for, and
//! `sdk` lets the SDK send through this transport.
//!
//! A request is never sent twice, unless it is certain that nothing of it was written. The
//! transport knows nothing of Kinesis.

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
use self::pool::{Exchange, Pool};

pub(crate) use self::connect::NotConnected;
pub(crate) use self::origin::Origin;
pub use self::proxy::BadVariable;

/// The most bytes of a reply's body. The largest reply is a page of GetRecords: 10 MiB of data in
/// base64, and what JSON adds to each record (AWS API reference, 2026-09).
const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Sends requests on connections that are kept. Clones share the connections.
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
    /// For a new connection: looking up the name, TCP, a proxy's tunnel and TLS together.
    pub(crate) connect: Duration,
    /// From the start to the last byte of the reply; `None`: as long as the caller waits.
    pub(crate) whole: Option<Duration>,
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReply {
    /// No connection could be made: nothing of the request was written.
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    /// The peer had closed the connection before the request: nothing of it was written.
    #[error("the connection was closed before the request")]
    Closed(#[source] hyper::Error),
    /// The connection broke after the request was begun: it may have arrived.
    #[error("the connection was lost")]
    Lost(#[source] hyper::Error),
    /// The timeout passed: the request may have arrived.
    #[error("no reply within {0:?}")]
    Late(Duration),
    /// The request has arrived, and the reply cannot be the service's.
    #[error("the reply is larger than {REPLY_BYTES_MAX} bytes")]
    TooLarge,
}

impl NoReply {
    /// The code of this failure, for logs and metrics.
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
    /// A transport without connections. Must be called within a runtime: a task sweeps idle
    /// connections, and ends with the last clone.
    ///
    /// # Errors
    /// A variable of the environment, as `variable` tells it, cannot be used: one that names a
    /// proxy, or `AWS_CA_BUNDLE`.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        let connector = Connector::new(&variable)?;
        let pool = Arc::<Pool>::default();
        let sweeper = tokio::spawn(Arc::clone(&pool).sweep());
        Ok(Self(Arc::new(Inner { connector, pool, _sweeper: AbortOnDropHandle::new(sweeper) })))
    }

    /// Sends one request and reads all of its reply. The request's URL must be whole and its `Host`
    /// set. If the future is dropped before, the request has failed.
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
            // A proxy needs the whole URL, unchanged: if it differs from `Host`, the signature is
            // not valid.
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
                // The peer closed it while it was idle. Another connection takes the request.
                Err((_, Some(unsent))) if was_idle => request = unsent,
                Err((reason, _)) => return Err(reason),
            }
        }
    }
}

/// Why a request failed on its connection, and the request itself if nothing of it was written.
type Failed = (NoReply, Option<Request<Full<Bytes>>>);

/// One request and its reply. If an error or the caller ends it early, the connection is closed
/// too.
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

/// The timeouts of a request, counted from its start.
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
