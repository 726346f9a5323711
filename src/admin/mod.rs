//! Two surfaces on a thread and a runtime of their own, so that both answer while the data path is busy.
//!
//! Over TCP, for everybody and read-only: `/livez`, `/readyz`, `/startupz`, `/metrics`. No answer depends on Kinesis (a
//! probe that does takes every pod down with a brown-out). Over a Unix socket, for the daemon's own user: `desk`, what an
//! operator asks and tells. `status` is what it says, `client` asks it.

pub mod client;
pub mod desk;
pub mod status;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use desk::Desk;

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

/// The HTTP servers, bound and not yet running.
#[derive(Debug)]
pub struct Admin {
    listener: Option<TcpListener>,
    exposition: Exposition,
    probe: Probe,
    desk: Option<(UnixListener, Desk)>,
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
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(State::Starting as u8)))
    }

    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    pub fn state(&self) -> State {
        let now = self.0.load(Ordering::Acquire);
        State::ALL.into_iter().find(|state| *state as u8 == now).expect("only states are stored")
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
        Ok(Self { listener, exposition, probe: Probe::new(), desk: None })
    }

    /// Serves the admin socket too.
    pub fn with_desk(self, listener: UnixListener, desk: Desk) -> Self {
        Self { desk: Some((listener, desk)), ..self }
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
        let Self { listener, exposition, probe, desk } = self;
        let state = Arc::new((exposition, probe));
        let pages = async {
            if let Some(listener) = listener {
                pages(listener, &state).await;
            }
        };
        let desk = async {
            if let Some((listener, desk)) = desk {
                desk::serve(listener, desk).await;
            }
        };
        tokio::join!(upkeep(&state.0), pages, desk);
    }
}

async fn upkeep(exposition: &Exposition) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    loop {
        every.tick().await;
        exposition.run_upkeep();
    }
}

async fn pages(listener: TcpListener, state: &Arc<(Exposition, Probe)>) {
    match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => accept(listener, state).await,
        Err(error) => tracing::error!(%error, "metrics and probes are not served"),
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
        "/startupz" if probe.state() != State::Starting => text(StatusCode::OK, "ok\n"),
        "/readyz" if probe.state() == State::Running => text(StatusCode::OK, "ok\n"),
        "/readyz" if probe.state() == State::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/startupz" | "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        _ => text(StatusCode::NOT_FOUND, "served are /metrics /livez /readyz /startupz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
