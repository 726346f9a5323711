//! The daemon's parts, one after the other: each constructor gives the part, and the daemon's
//! handle on it.
//!
//! It binds, connects and checks, and starts nothing. Who connects from here on waits until the
//! daemon runs.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::drain::Stop;
use super::taker::LanesAndStream;
use super::{Daemon, Plan, StartError};
use crate::admin::api::StatusOf;
use crate::admin::status::{LiveSettings, Shown};
use crate::admin::{Admin, AdminHandle, Answers, PagesListener};
use crate::config::{Carried, Config, files_kept_back};
#[cfg(feature = "local")]
use crate::embedded_stream::{Limits, Local};
use crate::inputs::backpressure::Backpressure;
use crate::inputs::callers::Callers;
use crate::inputs::http::{HttpServer, HttpShared, KEY as HTTP_KEY};
use crate::inputs::kinesis_api::{
    CallMetrics, KEY as KINESIS_API_KEY, KinesisApiServer, KinesisApiShared,
};
use crate::inputs::long_lines::LongLines;
use crate::inputs::loopback::{Loopback, LoopbackError, OwnEndpoint};
use crate::inputs::metrics::ConnectionMetrics;
use crate::inputs::presence::Presence;
use crate::inputs::shared::InputsShared;
use crate::inputs::socket::barred::{Barred, barred_from};
use crate::inputs::socket::listener::Listener;
use crate::producer;
use crate::producer::refresher::Refresher;
use crate::producer::stream_metrics::StreamMetrics;
use crate::programs::control::{Control, Started};
use crate::programs::metrics::ProgramMetrics;
use crate::schema::{Gate, Loaded, SchemaMetrics};
use crate::telemetry::exporter::{Exporter, Sources};
use dispatchd_aws::Kinesis;
use dispatchd_core::limits::long_lines_bytes;
#[cfg(feature = "local")]
use dispatchd_core::model::StreamId;
use dispatchd_core::model::{Fingerprints, Input};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::InputCounters;
use dispatchd_producer::intake::Envelopes;
use dispatchd_producer::lane::Settings as LaneSettings;
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::metrics::LaneMetrics;
use dispatchd_producer::recent_errors::RecentErrors;

/// How many lanes a daemon has. One keeps up with two cores; more would split batches.
const LANES: usize = 1;

impl Daemon {
    /// Builds every part. Kinesis need not be reachable: what it says shows once the daemon runs.
    ///
    /// # Errors
    /// If a path, a port or a region cannot be had, in words for the operator.
    pub(crate) async fn build(plan: Plan) -> Result<Self, StartError> {
        let Plan { inputs, resolved, log, manager } = plan;
        let config = &resolved.config;
        #[cfg(feature = "local")]
        let embedded = embedded_stream(config).await?;
        #[cfg(feature = "local")]
        let local_url = embedded.as_ref().map(|embedded| embedded.endpoint().to_owned());
        #[cfg(not(feature = "local"))]
        let local_url = without_embedded_stream(config)?;

        let kinesis = Kinesis::connect(config.connection(local_url)).await?;
        OwnEndpoint::refuse(kinesis.endpoint(), config.loopback())?;
        let stop = Stop::default();
        let counters = InputCounters::default();
        let budget = Budget::new(config.memory.budget_bytes);
        let backpressure = Arc::<Backpressure>::default();
        let recent_errors = Arc::<RecentErrors>::default();
        let carried = Carried::of(config);
        let exporter = Exporter::default();

        let gate = Arc::new(Gate::new(exporter.register(SchemaMetrics::register)));
        gate.set(config.schema.clone(), schemas(config).await?);

        let (refresher, stream) = Refresher::new(
            kinesis.clone(),
            config.stream.max_record_bytes,
            carried,
            exporter.register(StreamMetrics::register),
            Arc::clone(&recent_errors),
        );
        let (lanes, producer) = producer::lanes(
            lane_settings(config),
            kinesis.clone(),
            &stream,
            producer::Shared {
                metrics: exporter.register(LaneMetrics::register),
                budget: Arc::clone(&budget),
                recent_errors: Arc::clone(&recent_errors),
                drain: stop.drain.clone(),
                abandon: stop.abandon.clone(),
            },
        );
        let pages = PagesListener::bind(config.admin.listen)?;
        let (presence_in, presence) = watch::channel(Presence::default());
        let callers = Arc::new(Callers::new(tokio::time::Instant::now().into_std()));
        let shared = InputsShared {
            producer_id: config.producer_id.clone(),
            envelopes: Envelopes {
                profile: config.envelope.profile,
                source: config.envelope.source.clone(),
                region: kinesis.region().to_owned(),
            },
            transaction: config.transaction.clone(),
            lanes: producer.inboxes,
            budget: Arc::clone(&budget),
            counters: counters.clone(),
            fingerprints: Fingerprints::default(),
            checks: gate.checks(),
            backpressure: Arc::clone(&backpressure),
            long_lines: Arc::new(LongLines::new(long_lines_bytes(config.memory.budget_bytes))),
            callers: Arc::clone(&callers),
            presence: presence_in,
            facts: stream.facts.clone(),
            record_bytes_carried: carried.record_bytes,
            files_kept_back: files_kept_back(config),
            fresh_id: Uuid::new_v4,
            drain: stop.drain.clone(),
            stop_reading: stop.stop_reading.clone(),
        };
        let connections = Arc::new(exporter.register(ConnectionMetrics::register));
        let calls = exporter.register(CallMetrics::register);
        let http = HttpShared::new(&config.http, &shared, &connections);
        let http_listener = bind_http(config, &shared, &http, &connections)?;
        let kinesis_api = bind_kinesis_api(config, &kinesis, &shared, &connections, calls)?;
        let (listener, reach) = Listener::bind(&config.socket, shared, http, connections).await?;
        tell_barred(config);

        let listening = [
            (Input::Http, address(http_listener.as_ref())),
            (Input::KinesisApi, address(kinesis_api.as_ref())),
        ];
        let listening =
            listening.into_iter().filter_map(|(input, address)| Some((input, address?))).collect();
        let metrics = exporter.register(ProgramMetrics::register);
        let sources = Sources {
            counters: counters.clone(),
            budget,
            backpressure,
            oldest: producer.oldest,
            credentials: Arc::clone(kinesis.credentials().expiry()),
            log: Arc::clone(log.stderr()),
        };
        let answers = Answers {
            exposition: exporter.expose(sources.clone()),
            reach,
            shown: StatusOf::Daemon(Box::new(Shown {
                stream: config.stream.id.as_str().to_owned(),
                endpoint: kinesis.endpoint().to_owned(),
                region: kinesis.region().to_owned(),
                credentials: kinesis.credentials().clone(),
                socket: config.socket.path.clone(),
                loopback: listening,
                sources,
                presence: presence.clone(),
                facts: stream.facts,
                calls: stream.calls,
                record_bytes_carried: carried.record_bytes,
                lanes: producer.questions,
                recent_errors,
                outage: producer.outage,
                gate: Arc::clone(&gate),
            })),
            live: LiveSettings::new(config.log.level.clone()),
        };
        let (admin, AdminHandle { operators, socket, address }) =
            Admin::bind(pages, config.admin.socket.as_deref(), answers).await?;
        let taker = LanesAndStream {
            lane_settings: producer.settings,
            reloads: stream.reloads,
            lingers: true,
            gate,
        };
        let started = Started { inputs, resolved, log, manager };
        let credentials = kinesis.credentials().clone();
        Ok(Self {
            counters,
            listener,
            http_listener,
            kinesis_api,
            callers,
            presence,
            lanes,
            refresher,
            admin,
            admin_socket: socket,
            admin_address: address.map(|address| address.to_string()),
            control: Control::new(started, credentials, operators, metrics, taker),
            stop,
            kinesis,
            #[cfg(feature = "local")]
            embedded,
        })
    }

    /// The embedded stream's address; `None` without `--local`.
    #[cfg(feature = "local")]
    pub(crate) fn local_endpoint(&self) -> Option<&str> {
        self.embedded.as_ref().map(Local::endpoint)
    }
}

fn lane_settings(config: &Config) -> producer::Settings {
    let Config { batch, delivery, .. } = config;
    let (lane, dedupe) = (LaneSettings::of(batch, delivery), Window::of(delivery));
    producer::Settings { lanes_count: LANES, lane, dedupe }
}

/// The schemas that the configuration names, read on a thread of its own.
async fn schemas(config: &Config) -> Result<Loaded, StartError> {
    let settings = config.schema.clone();
    let read = tokio::task::spawn_blocking(move || Loaded::read(&settings));
    Ok(read.await.map_err(std::io::Error::other)??)
}

/// HTTP on loopback, and what serves it there; `None` where it is switched off.
fn bind_http(
    config: &Config,
    inputs: &InputsShared,
    http: &Arc<HttpShared>,
    connections: &Arc<ConnectionMetrics>,
) -> Result<Option<(Loopback, HttpServer)>, LoopbackError> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let (input, max) = (Input::Http, config.http.max_connections);
    let metrics = Arc::clone(connections);
    let listener = Loopback::bind(HTTP_KEY, address, input, max, inputs, metrics)?;
    Ok(Some((listener, HttpServer(Arc::clone(http)))))
}

/// The Kinesis API on loopback, and what serves it there; `None` where it is switched off.
fn bind_kinesis_api(
    config: &Config,
    kinesis: &Kinesis,
    inputs: &InputsShared,
    connections: &Arc<ConnectionMetrics>,
    calls: CallMetrics,
) -> Result<Option<(Loopback, KinesisApiServer)>, LoopbackError> {
    let Some(address) = config.kinesis_api.listen else { return Ok(None) };
    let (input, max) = (Input::KinesisApi, config.kinesis_api.max_connections);
    let metrics = Arc::clone(connections);
    let listener = Loopback::bind(KINESIS_API_KEY, address, input, max, inputs, metrics)?;
    let stream = (config.stream.id.clone(), kinesis.clone());
    let shared = KinesisApiShared::new(&config.kinesis_api, stream, inputs, connections, calls);
    Ok(Some((listener, KinesisApiServer(shared))))
}

/// Where an input listens, if it does.
fn address<S>(input: Option<&(Loopback, S)>) -> Option<SocketAddr> {
    input.and_then(|(listener, _)| listener.address())
}

#[cfg(feature = "local")]
async fn embedded_stream(config: &Config) -> Result<Option<Local>, StartError> {
    let (Some(wanted), StreamId::Name(stream)) = (&config.local, &config.stream.id) else {
        return Ok(None);
    };
    Ok(Some(Local::start(wanted.port, wanted.shards, stream, Limits::default()).await?))
}

#[cfg(not(feature = "local"))]
fn without_embedded_stream(config: &Config) -> Result<Option<String>, StartError> {
    if config.local.is_some() { Err(StartError::WithoutLocal) } else { Ok(None) }
}

/// Warns if the socket's mode lets users connect whom its directory does not let pass. It may be
/// meant: others may have the directory mounted elsewhere.
fn tell_barred(config: &Config) {
    let socket = &config.socket;
    if let Ok(Some(Barred { who, wanted })) = barred_from(&socket.path, socket.mode) {
        tracing::warn!(
            path = %socket.path.display(),
            "socket.mode {:04o} lets {who} connect, the socket's directory does not let them pass: \
             chmod {wanted} it, choose another path, or mount the directory where they are",
            socket.mode
        );
    }
}
