//! The embedded stream for laptops: a Kinesis emulator (`ferrokinesis`) inside this process, on
//! loopback, over HTTP.
//!
//! It is reached as Kinesis is: by the SDK, with signatures and back-off, so that nothing on an
//! event's path knows of it, and boto3 and the AWS CLI reach it too. Other hosts' web pages do not
//! (`guard`). It never leaves loopback and never writes to a disk; what it holds is bounded in age
//! and bytes (`trim`) and gone when it ends.

mod guard;
mod pages;
mod trim;
mod turns;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use dispatchd_aws::{Capacity, Until, WaitError};
use dispatchd_aws::{Connection, Kinesis, Settings, Wire};
use dispatchd_core::limits::{MIB, REQUEST_BYTES_MAX};
use dispatchd_core::model::CallError;
use dispatchd_core::model::StreamId;
use ferrokinesis::create_app;
use ferrokinesis::server::kinesis_413_middleware;
use ferrokinesis::store::{Store, StoreOptions};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::pages::Format;
use self::turns::Turns;

/// The most shards that the stream may start with.
const SHARDS_MAX: usize = 64;
/// The most open shards of all streams together: there is room for splits of a whole stream, and
/// for a few streams of somebody's own.
const OPEN_SHARDS_MAX: u32 = 4 * SHARDS_MAX as u32;

/// The most bytes of an HTTP request: the largest PutRecords in base64, and the rest of its JSON.
const HTTP_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;

/// The region, which only has to be named: signatures are not checked.
const REGION: &str = "us-east-1";

/// How long the new stream may take to become ACTIVE: it takes milliseconds.
const ACTIVE_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a reshard takes: long enough that the stream is seen UPDATING, as it is on AWS.
const RESHARD_MS: u64 = 200;

/// What the embedded stream takes and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether a shard takes no more than 1,000 records and 1 MiB a second, as on AWS; otherwise it
    /// takes what a laptop can.
    pub throttle: bool,
    pub keep_for: Duration,
    /// The most bytes that all streams together hold, as they are stored: in base64.
    pub keep_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { throttle: false, keep_for: Duration::from_secs(60 * 60), keep_bytes: 64 * MIB }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("the embedded stream takes 1 to {SHARDS_MAX} shards, not {0}")]
    Shards(usize),
    #[error(
        "port {0} is in use: end the program that listens on it, or give the embedded stream \
         another port (local.port; 0 takes any free one)"
    )]
    PortInUse(u16),
    #[error("the embedded stream cannot listen on {address}: {error}")]
    Bind { address: SocketAddr, error: io::Error },
    #[error("the embedded stream does not answer: {0}")]
    Call(#[from] CallError),
    #[error("the embedded stream does not come up: {0}")]
    NotActive(#[from] WaitError),
}

/// The running server. Dropped, it stops listening, answers what it is just answering and forgets
/// everything.
#[derive(Debug)]
pub struct Local {
    endpoint: String,
    _tasks: JoinSet<()>,
    /// Ends the connections, which belong to axum, after their answer.
    _stop: DropGuard,
}

impl Local {
    /// Listens on 127.0.0.1 (`port` 0: any free one) and creates the stream, which takes records
    /// when this returns.
    ///
    /// # Errors
    /// If the port is taken, or for another reason: see [`LocalError`].
    pub async fn start(
        port: u16,
        shards: usize,
        stream: &str,
        limits: Limits,
    ) -> Result<Self, LocalError> {
        let shards_count =
            u16::try_from(shards).ok().filter(|_| (1..=SHARDS_MAX).contains(&shards));
        let shards_count = shards_count.ok_or(LocalError::Shards(shards))?;
        let (listener, address) = bind(port).await?;
        let (emulator, store) = create_app(StoreOptions {
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: RESHARD_MS,
            shard_limit: OPEN_SHARDS_MAX,
            enforce_limits: limits.throttle,
            aws_region: REGION.to_owned(),
            ..StoreOptions::default()
        });
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let turns = Turns::default();
        let backend = Backend { store: store.clone(), turns: Arc::clone(&turns) };
        tasks.spawn(serve(listener, emulator, backend, stop.clone()));
        tasks.spawn(trim::run(store, turns, limits.keep_for, limits.keep_bytes as u64));
        let local =
            Self { endpoint: format!("http://{address}"), _tasks: tasks, _stop: stop.drop_guard() };
        create_stream(local.endpoint(), stream, shards_count).await?;
        Ok(local)
    }

    /// Its URL, `http://127.0.0.1:PORT`, for `stream.endpoint_url` and `--endpoint-url`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

async fn bind(port: u16) -> Result<(TcpListener, SocketAddr), LocalError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener.local_addr().map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => LocalError::PortInUse(port),
        _ => LocalError::Bind { address, error },
    })
}

async fn serve(listener: TcpListener, emulator: Router, backend: Backend, stop: CancellationToken) {
    let app = emulator
        .layer(from_fn_with_state(backend, in_turn))
        .layer(from_fn(kinesis_413_middleware))
        .layer(DefaultBodyLimit::max(HTTP_BYTES_MAX))
        .layer(from_fn(guard::refuse_foreign)); // the last one is the first that a request meets
    let listener = listener.tap_io(|connection| {
        // Without it, an answer may wait for the client's acknowledgement of the one before.
        let _ = connection.set_nodelay(true);
    });
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    served.expect("axum::serve waits out every error of accept");
}

/// What a request is answered with: the emulator's store, and the turns of those who read and write
/// it.
#[derive(Clone)]
struct Backend {
    store: Store,
    turns: Turns,
}

async fn in_turn(
    State(Backend { store, turns }): State<Backend>,
    request: Request,
    next: Next,
) -> Response {
    let (operation, format) = (operation(&request), Format::of(request.headers()));
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, HTTP_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let request = Request::from_parts(parts, Body::from(body.clone()));
    match operation {
        Operation::Put => {
            let _turn = turns.write().await;
            next.run(request).await
        }
        Operation::Get => {
            let _turn = turns.read().await;
            pages::tell_in_page(&store, format, &body, next.run(request).await).await
        }
        Operation::Subscribe => {
            let answer = next.run(request).await;
            pages::tell_in_events(store, turns, format, &body, answer)
        }
        Operation::Other => next.run(request).await,
    }
}

enum Operation {
    Put,
    Get,
    Subscribe,
    Other,
}

fn operation(request: &Request) -> Operation {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    match target.and_then(|target| target.rsplit('.').next()) {
        Some("PutRecord" | "PutRecords") => Operation::Put,
        Some("GetRecords") => Operation::Get,
        Some("SubscribeToShard") => Operation::Subscribe,
        _ => Operation::Other,
    }
}

async fn create_stream(endpoint: &str, stream: &str, shards_count: u16) -> Result<(), LocalError> {
    let settings =
        Settings { connect_timeout: CALL_TIMEOUT, attempt_timeout: CALL_TIMEOUT, wire: Wire::Json };
    let stream = StreamId::Name(stream.to_owned());
    let connection = Connection::to_emulator(stream, endpoint, settings);
    let kinesis = Kinesis::connect(connection).await.expect("the region is named");
    kinesis.create(Capacity::Shards(shards_count)).await?;
    Ok(kinesis.wait(Until::Active, ACTIVE_WITHIN, ASK_AGAIN).await?)
}
