//! HTTP/1.1 on connections of our own: to AWS, for the SDK's calls too, and to the targets of
//! `forward`.
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
//! which way they go, `trust` which certificates are believed, and `origin` whom a request is for.
//!
//! A request is never sent twice, unless it is certain that nothing of it was written. A redirect
//! is a reply like any other: nothing here follows it. The transport knows nothing of Kinesis.

mod connect;
mod origin;
mod pool;
mod proxy;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::PROXY_AUTHORIZATION;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::connect::Connector;
use self::pool::{Exchange, Pool};

pub use self::connect::NotConnected;
pub use self::origin::Origin;
pub use self::proxy::{ALL_PROXY, BadVariable, HTTP_PROXY, HTTPS_PROXY, NO_PROXY, Proxies};
pub use self::trust::{BadBundle, Roots};

/// Sends requests on connections that are kept. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    pool: Arc<Pool>,
    reply_bytes_max: usize,
    _sweeper: AbortOnDropHandle<()>,
}

/// What is held at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a reply's body.
    pub reply_bytes_max: usize,
    /// How long a connection may be idle: less than the peers allow, so that no request meets a
    /// connection that is being closed.
    pub idle_max: Duration,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The time for a new connection: looking up the name, TCP, a proxy's tunnel and TLS together.
    pub connect: Duration,
    /// The time from the start to the last byte of the reply; `None` where the caller itself bounds
    /// it.
    pub whole: Option<Duration>,
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
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
    /// The request has arrived, and its reply is longer than anybody wants to hold.
    #[error("the reply is larger than {bytes_max} bytes")]
    TooLarge { status: StatusCode, bytes_max: usize },
}

impl NoReply {
    /// The code of this failure, for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConnected(_) | Self::Closed(_) => "NotConnected",
            Self::Lost(_) => "ConnectionLost",
            Self::Late(_) => "Timeout",
            Self::TooLarge { .. } => "BadReply",
        }
    }

    /// Whether the request may have arrived all the same.
    pub fn may_have_arrived(&self) -> bool {
        !matches!(self, Self::NotConnected(_) | Self::Closed(_))
    }
}

impl Transport {
    /// A transport without connections. Must be called within a runtime: a task sweeps idle
    /// connections, and ends with the last clone.
    pub fn new(proxies: Proxies, roots: Roots, limits: Limits) -> Self {
        let Limits { reply_bytes_max, idle_max } = limits;
        let connector = Connector::new(proxies, roots);
        let pool = Arc::new(Pool::new(idle_max));
        let sweeper = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&pool).sweep()));
        Self(Arc::new(Inner { connector, pool, reply_bytes_max, _sweeper: sweeper }))
    }

    /// Connects as for a request, by a proxy and with TLS where that is the way, and sends none.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn reach(&self, origin: &Origin, within: Duration) -> Result<(), NotConnected> {
        let connector = &self.0.connector;
        let proxy = connector.proxy_of(origin);
        connector.connect(origin, proxy.as_ref(), within).await.map(drop)
    }

    /// Sends one request and reads all of its reply. The request's URL must be whole and its `Host`
    /// set. If the future is dropped before, the request has failed.
    ///
    /// # Errors
    /// There is no reply.
    pub async fn send(
        &self,
        origin: &Origin,
        mut request: Request<Full<Bytes>>,
        timeouts: Timeouts,
    ) -> Result<Response<Bytes>, NoReply> {
        let Inner { connector, pool, reply_bytes_max, .. } = &*self.0;
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
            let exchange = exchange(pool.begin(origin, connection), request, *reply_bytes_max);
            match deadline.of_reply(exchange).await? {
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
    bytes_max: usize,
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
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        let too_large = NoReply::TooLarge { status: head.status, bytes_max };
        let reason =
            error.downcast::<hyper::Error>().map_or(too_large, |error| NoReply::Lost(*error));
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
