//! Metrics and probes over TCP, for everybody and read-only: `/livez`, `/readyz`, `/startupz`,
//! `/metrics`.
//!
//! A probe that is not answered ends the daemon, so whoever comes last is served: where there is no
//! place left, the connection that has been there longest ends. One request a connection, and a
//! time in which all of it is done.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{HEAD_BYTES_MAX, Probe};
use crate::socket::bind::Reach;
use crate::telemetry::metrics::{Exposition, State};
use dispatchd_core::limits::PAGES_CONNECTIONS_MAX;

/// Of the connections, how many may be sent `/metrics` at once: some 60 KB each, for as long as
/// they take to read it.
const SCRAPES_MAX: usize = 8;
/// From a connection's first byte to its last. Prometheus waits no longer for a scrape.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed, for want of descriptors, with no connection to end.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Debug)]
pub(super) struct Pages {
    pub exposition: Exposition,
    pub probe: Probe,
    /// Of the socket for events; nothing in tests.
    pub reach: Option<Reach>,
    scrapes: Mutex<Places>,
}

/// Who is there, the longest first. Who comes when all places are taken takes the first one's.
#[derive(Debug)]
struct Places {
    max: usize,
    /// Each is cancelled to end a connection, or because it has ended.
    taken: VecDeque<CancellationToken>,
}

impl Places {
    fn new(max: usize) -> Self {
        Self { max, taken: VecDeque::new() }
    }

    fn take(&mut self, end: CancellationToken) {
        self.taken.retain(|end| !end.is_cancelled());
        if self.taken.len() >= self.max {
            self.end_first();
        }
        self.taken.push_back(end);
    }

    /// Whether there was one to end.
    fn end_first(&mut self) -> bool {
        self.taken.retain(|end| !end.is_cancelled());
        self.taken.pop_front().inspect(CancellationToken::cancel).is_some()
    }
}

impl Pages {
    pub(super) fn new(exposition: Exposition, probe: Probe, reach: Option<Reach>) -> Self {
        Self { exposition, probe, reach, scrapes: Mutex::new(Places::new(SCRAPES_MAX)) }
    }

    /// Serves until the process ends.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (mut connections, mut places) = (JoinSet::new(), Places::new(PAGES_CONNECTIONS_MAX));
        loop {
            tokio::select! {
                biased;
                Some(_) = connections.join_next() => {} // one that erred had only itself to tell
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let end = CancellationToken::new();
                        places.take(end.clone());
                        connections.spawn(Arc::clone(&self).connection(stream, end));
                        // Those that are there get a turn before the next one comes, so a flood
                        // ends none that has asked.
                        tokio::task::yield_now().await;
                    }
                    Err(_) if places.end_first() => tokio::task::yield_now().await,
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
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
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
        let state = self.probe.state();
        let is_here = self.reach.as_ref().is_none_or(Reach::is_here);
        match request.uri().path() {
            "/metrics" => {
                self.scrapes.lock().unwrap_or_else(PoisonError::into_inner).take(end.clone());
                let exposition_type =
                    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                with(text(StatusCode::OK, self.exposition.render()), CONTENT_TYPE, exposition_type)
            }
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/startupz" if state != State::Starting => text(StatusCode::OK, "ok\n"),
            "/readyz" if state == State::Running && is_here => text(StatusCode::OK, "ok\n"),
            "/readyz" if state == State::Running => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "nobody can connect: the socket's path leads to this daemon no more, the log says why\n",
            ),
            "/readyz" if state == State::Draining => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/startupz" | "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            _ => text(StatusCode::NOT_FOUND, "served are /metrics /livez /readyz /startupz\n"),
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
    name: hyper::header::HeaderName,
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
    use crate::telemetry::metrics::{self, Sources};
    use dispatchd_producer::ack::Books;
    use dispatchd_producer::budget::Budget;

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_or_reads_nothing_is_cut_off_in_time() {
        let sources = Sources {
            books: Arc::<Books>::default(),
            budget: Budget::new(1000),
            oldest: Vec::new(),
            log: Arc::default(),
        };
        let pages = Arc::new(Pages::new(metrics::build(sources).1, Probe::new(), None));
        for request in ["", "GET /metr", "GET /metrics HTTP/1.1\r\nhost: d\r\n\r\n"] {
            // No room for an answer that is not read.
            let (mut peer, stream) = tokio::io::duplex(64);
            peer.write_all(request.as_bytes()).await.expect("there is room");
            let began = Instant::now();
            Arc::clone(&pages).connection(stream, CancellationToken::new()).await;
            assert_eq!(began.elapsed(), CONNECTION_TIMEOUT, "{request}");
        }
    }

    #[test]
    fn who_comes_to_a_full_house_takes_the_place_of_the_one_who_was_there_longest() {
        let mut places = Places::new(2);
        let [first, second, third, fourth] = std::array::from_fn(|_| CancellationToken::new());
        for one in [&first, &second, &third] {
            places.take(one.clone());
        }
        assert_eq!([&first, &second, &third].map(|one| one.is_cancelled()), [true, false, false]);
        second.cancel(); // it has ended by itself
        places.take(fourth.clone());
        assert_eq!([&third, &fourth].map(|one| one.is_cancelled()), [false, false]);
    }
}
