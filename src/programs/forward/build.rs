//! The forwarder's parts, one after the other. It binds, connects and checks, and delivers nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dispatchd_aws::{Connection, CredentialsExpiry, Kinesis};
use dispatchd_core::model::StreamId;
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::watch;

use super::subscription::Reading;
use super::supervisor::Supervisor;
use super::taker::Targets;
use super::target::Target;
use super::target_factory::TargetFactory;
use super::{Forwarder, Plan, StartError};
use crate::admin::api::StatusOf;
use crate::admin::forward_status::ForwardShown;
use crate::admin::status::LiveSettings;
use crate::admin::{Admin, AdminHandle, Answers, PagesListener};
use crate::config::Config;
use crate::inputs::socket::Reach;
use crate::programs::control::{Control, Started};
use crate::programs::metrics::ProgramMetrics;
use crate::telemetry::exporter::{AtScrape, Exporter};
use crate::telemetry::stderr::Stderr;

/// How long the start waits for the stream's ARN, which records name in the format `lambda`.
const ARN_WAIT: Duration = Duration::from_secs(3);

/// The region of an emulator, which does not look at it; where nobody says another.
const EMULATOR_REGION: &str = "us-east-1";

/// What is set when a scrape comes.
#[derive(Debug)]
struct OfForwarder {
    targets: watch::Receiver<Vec<Arc<Target>>>,
    credentials: Arc<CredentialsExpiry>,
    log: Arc<Stderr>,
    credentials_expiry: Gauge,
    log_lines_dropped: Counter,
}

impl Forwarder {
    /// Builds every part. Neither Kinesis nor a target need be reachable: what they say shows once
    /// the forwarder runs.
    ///
    /// # Errors
    /// If a path, a port, a region, a token or a checkpoint cannot be had, in words for the
    /// operator.
    pub(crate) async fn build(plan: Plan) -> Result<Self, StartError> {
        let Plan { inputs, resolved, local_url, emulator, log, manager } = plan;
        let config = &resolved.config;
        let kinesis = Kinesis::connect(connection(config, local_url, emulator)).await?;
        let exporter = Exporter::default();
        let metrics = exporter.register(ProgramMetrics::register);
        let arn = stream_arn(config, &kinesis).await;
        let factory = TargetFactory::new(config, &kinesis, arn, exporter.clone());
        let board = factory.board.clone();
        let taker = Targets::new(factory, config)?;
        let reading = Reading { kinesis: kinesis.clone(), poll: config.forward.poll };
        let supervisor = Supervisor::new(reading, board.clone(), taker.wanted());

        let pages = PagesListener::bind(config.admin.listen)?;
        let expiry = Arc::clone(kinesis.credentials().expiry());
        let stderr = Arc::clone(log.stderr());
        let targets = taker.wanted();
        let answers = Answers {
            exposition: exporter
                .expose_with(|| Box::new(OfForwarder::register(targets, expiry, stderr))),
            reach: Reach::new(), // nobody connects to a forwarder: it is ready when it runs
            shown: StatusOf::Forward(ForwardShown {
                stream: config.stream.id.as_str().to_owned(),
                endpoint: kinesis.endpoint().to_owned(),
                region: kinesis.region().to_owned(),
                credentials: kinesis.credentials().clone(),
                targets: taker.settings(),
                board,
            }),
            live: LiveSettings::new(config.log.level.clone()),
        };
        let (admin, AdminHandle { operators, socket, address }) =
            Admin::bind(pages, config.admin.socket.as_deref(), answers).await?;
        let started = Started { inputs, resolved, log, manager };
        let credentials = kinesis.credentials().clone();
        Ok(Self {
            supervisor,
            admin,
            admin_socket: socket,
            admin_address: address.map(|address| address.to_string()),
            control: Control::new(started, credentials, operators, metrics, taker),
            kinesis,
        })
    }
}

/// How the stream is reached: where the configuration says, or as one of the two says instead.
pub(crate) fn connection(config: &Config, local_url: Option<String>, emulator: bool) -> Connection {
    let mut connection = config.connection(local_url);
    if emulator {
        connection.emulator = true;
        connection.region.get_or_insert_with(|| EMULATOR_REGION.to_owned());
    }
    connection
}

/// The stream's ARN: as configured, as the service says, or made up of what is known, with an
/// account of zeros.
async fn stream_arn(config: &Config, kinesis: &Kinesis) -> String {
    match &config.stream.id {
        StreamId::Arn(arn) => arn.clone(),
        StreamId::Name(name) => {
            let error = match tokio::time::timeout(ARN_WAIT, kinesis.summary()).await {
                Ok(Ok(summary)) => return summary.arn,
                Ok(Err(error)) => error.to_string(),
                Err(late) => late.to_string(),
            };
            let arn = format!("arn:aws:kinesis:{}:000000000000:stream/{name}", kinesis.region());
            tracing::warn!(
                error,
                arn,
                "the stream does not tell its ARN: records in the format lambda, and dead letters, \
                 say this one. Set stream.arn for the right one"
            );
            arn
        }
    }
}

impl OfForwarder {
    fn register(
        targets: watch::Receiver<Vec<Arc<Target>>>,
        credentials: Arc<CredentialsExpiry>,
        log: Arc<Stderr>,
    ) -> Self {
        Self {
            targets,
            credentials,
            log,
            credentials_expiry: gauge!("dispatchd_credentials_expiry_timestamp_seconds"),
            log_lines_dropped: counter!("dispatchd_log_lines_dropped_total"),
        }
    }
}

impl AtScrape for OfForwarder {
    fn set(&self) {
        let (wall, now) = (SystemTime::now(), Instant::now());
        for target in &*self.targets.borrow() {
            target.metrics.at_scrape(&target.board, wall, now);
        }
        self.credentials_expiry.set(self.credentials.unix_seconds() as f64);
        self.log_lines_dropped.absolute(self.log.lines_lost());
    }
}
