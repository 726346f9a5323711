//! Probes and metrics over HTTP: `/livez`, `/readyz`, `/startupz`, `/metrics`.
//!
//! On a thread and a runtime of its own, so that a probe is answered while the data path is busy. Read-only: it
//! changes nothing, and no answer depends on Kinesis (a probe that does takes every pod down with a brown-out).

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::telemetry::metrics::{Exposition, State};

/// Connections at once. Prometheus and the kubelet need a handful.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often samples are folded into the histograms when nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The state, written by the daemon, read by the probes.
#[derive(Debug, Clone)]
pub struct Probe(Arc<AtomicU8>);

/// The HTTP server, bound and not yet running.
#[derive(Debug)]
pub struct Admin {
    listener: Option<TcpListener>,
    exposition: Exposition,
    probe: Probe,
}

/// The port is taken or not ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for metrics and probes: {source}. Choose another address with --admin-listen, or \"off\""
)]
pub struct AdminError {
    address: SocketAddr,
    source: io::Error,
}

impl Probe {
    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    fn is(&self, state: State) -> bool {
        self.0.load(Ordering::Acquire) == state as u8
    }
}

impl Admin {
    /// Binds. Without an address nothing listens, and the metrics are only kept in shape.
    pub fn bind(address: Option<SocketAddr>, exposition: Exposition) -> Result<Self, AdminError> {
        let bind = |address| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener =
            address.map(|address| bind(address).map_err(|source| AdminError { address, source })).transpose()?;
        Ok(Self { listener, exposition, probe: Probe(Arc::new(AtomicU8::new(State::Starting as u8))) })
    }

    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Starts the thread. It ends with the process: probes are answered to the last moment.
    ///
    /// # Errors
    /// If the system gives no thread or no event queue.
    pub fn spawn(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("admin".into()).spawn(move || runtime.block_on(self.run()))?;
        Ok(())
    }

    async fn run(self) {
        let Self { listener, exposition, probe } = self;
        let state = Arc::new((exposition, probe));
        let upkeep = async {
            let mut every = tokio::time::interval(UPKEEP_EVERY);
            loop {
                every.tick().await;
                state.0.run_upkeep();
            }
        };
        let Some(listener) = listener.map(|listener| tokio::net::TcpListener::from_std(listener)) else {
            return upkeep.await;
        };
        match listener {
            Ok(listener) => tokio::join!(upkeep, accept(listener, &state)).0,
            Err(error) => {
                tracing::error!(%error, "metrics and probes are not served");
                upkeep.await;
            }
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, state: &Arc<(Exposition, Probe)>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors
            continue;
        };
        let state = Arc::clone(state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &state.0, &state.1);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A client that errs has only itself to tell.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, exposition: &Exposition, probe: &Probe) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served\n");
    }
    match request.uri().path() {
        "/metrics" => {
            let mut response = text(StatusCode::OK, exposition.render());
            let exposition_type = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, exposition_type);
            response
        }
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/startupz" if !probe.is(State::Starting) => text(StatusCode::OK, "ok\n"),
        "/readyz" if probe.is(State::Running) => text(StatusCode::OK, "ok\n"),
        "/readyz" if probe.is(State::Draining) => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/startupz" | "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        _ => text(StatusCode::NOT_FOUND, "served are /metrics /livez /readyz /startupz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
