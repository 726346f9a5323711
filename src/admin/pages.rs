//! Metrics and probes over TCP: for everybody, and read-only. One request a connection.
//!
//! It decides nothing and waits for nobody: a scrape is rendered from what was counted, a probe is
//! answered from the state that the daemon last wrote.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http_server::limits::{Connections, one_request};
use crate::http_server::probes::{self, SharedState};
use crate::inputs::socket::Reach;
use crate::telemetry::exporter::Exposition;
use dispatchd_core::limits::PAGES_CONNECTIONS_MAX;

/// Of the connections, how many may be sent `/metrics` at once: some 60 KB each, for as long as
/// they take to read it.
const SCRAPES_MAX: usize = 8;
/// From a connection's first byte to its last. Prometheus waits no longer for a scrape.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after an accept that failed for want of descriptors, with no connection to end.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What is served.
#[derive(Debug)]
pub(super) struct Pages {
    pub exposition: Exposition,
    pub state: SharedState,
    /// Whether callers reach the socket for events.
    pub reach: Reach,
    /// A lock, since connections are tasks of their own and end each other's scrapes; it is held
    /// for a look at eight tokens.
    scrapes: Mutex<Connections>,
}

impl Pages {
    pub(super) fn new(exposition: Exposition, state: SharedState, reach: Reach) -> Self {
        let scrapes = Mutex::new(Connections::at_most(SCRAPES_MAX));
        Self { exposition, state, reach, scrapes }
    }

    /// Serves until the process ends.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut open = Connections::at_most(PAGES_CONNECTIONS_MAX);
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = tasks.join_next() => {} // one that erred had only itself to tell
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let end = CancellationToken::new();
                        open.admit(end.clone());
                        tasks.spawn(Arc::clone(&self).connection(stream, end));
                        // Those that are there get a turn before the next one comes, so a flood
                        // ends none that has asked.
                        tokio::task::yield_now().await;
                    }
                    Err(_) if open.end_oldest() => tokio::task::yield_now().await,
                    Err(_) => sleep(ACCEPT_AGAIN).await,
                },
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        end: CancellationToken,
    ) {
        let _ended = end.clone().drop_guard();
        let service = service_fn(|request| {
            let answer = self.answer(&request, &end);
            async move { Ok::<_, Infallible>(answer) }
        });
        let served =
            one_request(CONNECTION_TIMEOUT).serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            () = end.cancelled() => {}
            _ = timeout(CONNECTION_TIMEOUT, served) => {}
        }
    }

    fn answer(
        &self,
        request: &Request<Incoming>,
        end: &CancellationToken,
    ) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served\n");
            return with(refused, ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        let path = request.uri().path();
        if path == "/metrics" {
            self.scrapes.lock().unwrap_or_else(PoisonError::into_inner).admit(end.clone());
            let page = text(StatusCode::OK, self.exposition.render());
            return with(page, CONTENT_TYPE, METRICS_TYPE);
        }
        match probes::answer(path, self.state.get(), self.reach.is_here()) {
            Some((status, body)) => text(status, body),
            None => text(StatusCode::NOT_FOUND, "served are /metrics /livez /readyz /startupz\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn with(
    mut response: Response<Full<Bytes>>,
    name: HeaderName,
    value: HeaderValue,
) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, value);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::exporter::{Exporter, Sources};

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_or_reads_nothing_is_cut_off_in_time() {
        let exposition = Exporter::default().expose(Sources::idle());
        let pages = Arc::new(Pages::new(exposition, SharedState::default(), Reach::new()));
        for request in ["", "GET /metr", "GET /metrics HTTP/1.1\r\nhost: d\r\n\r\n"] {
            // No room for an answer that is not read.
            let (mut peer, stream) = tokio::io::duplex(64);
            peer.write_all(request.as_bytes()).await.expect("there is room");
            let began = Instant::now();
            Arc::clone(&pages).connection(stream, CancellationToken::new()).await;
            assert_eq!(began.elapsed(), CONNECTION_TIMEOUT, "{request}");
        }
    }
}
