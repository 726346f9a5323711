//! The answer to `GET /status`: what the parts of the daemon publish, put together in the words of
//! `wire::admin`.
//!
//! It asks nobody but the lanes, and waits for none of them for longer than [`LANE_TIMEOUT`]. Never
//! an environment, a payload, a key or an event's id.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::http_server::probes::State;
use crate::inputs::presence::Presence;
use crate::producer::lane::Question;
use crate::producer::refresher::{Calls, Fares};
use crate::schema::Gate;
use crate::telemetry::exporter::Sources;
use dispatchd_aws::{CredentialsCache, CredentialsInfo};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{Code, Distribution, Input, StreamFacts};
use dispatchd_core::wire::admin as wire;
use dispatchd_core::wire::admin::Reload;
use dispatchd_producer::counters::TransactionEnd;
use dispatchd_producer::lane::outage::{Outage, Standing};
use dispatchd_producer::lane::report::{Report, ShardReport};
use dispatchd_producer::recent_errors::{RecentError, RecentErrors};

/// A lane answers in microseconds; one that does not in this time is stuck, and that is the answer.
const LANE_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything that is shown of the daemon, but for its state and its settings.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The stream's name or ARN, as configured.
    pub stream: String,
    /// Where requests go.
    pub endpoint: String,
    /// What requests are signed for.
    pub region: String,
    pub credentials: CredentialsCache,
    /// The socket for events.
    pub socket: PathBuf,
    /// Where the inputs on loopback listen.
    pub loopback: Vec<(Input, SocketAddr)>,
    pub sources: Sources,
    pub presence: watch::Receiver<Presence>,
    pub facts: watch::Receiver<StreamFacts>,
    /// How the calls fare that the facts come from.
    pub calls: watch::Receiver<Calls>,
    /// The largest record that this daemon's memory carries.
    pub record_bytes_carried: usize,
    pub lanes: Vec<mpsc::Sender<Question>>,
    pub recent_errors: Arc<RecentErrors>,
    pub outage: Arc<Outage>,
    pub gate: Arc<Gate>,
}

/// What the daemon publishes of the settings that change while it runs.
#[derive(Debug, Clone)]
pub(crate) struct LiveSettings {
    pub log_level: String,
    /// When the configured level holds again; `None`: this one holds until it is changed.
    pub reverts_at: Option<Instant>,
    /// `None` until the first reload.
    pub last_reload: Option<Reload>,
}

/// When the daemon started, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub wall: SystemTime,
    pub monotonic: Instant,
}

impl LiveSettings {
    /// The settings of a program that starts at this level.
    pub(crate) fn new(log_level: String) -> Self {
        Self { log_level, reverts_at: None, last_reload: None }
    }
}

impl Shown {
    /// A running daemon at this moment.
    pub(super) async fn status(
        &self,
        start: Start,
        state: State,
        live: &watch::Receiver<LiveSettings>,
    ) -> wire::Status {
        let mut lanes = Vec::new();
        for lane in &self.lanes {
            lanes.push(lane_status(lane).await);
        }
        let live = live.borrow();
        wire::Status {
            state: state.as_str().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: rfc3339(start.wall),
            uptime_seconds: start.monotonic.elapsed().as_secs(),
            socket: self.socket.clone(),
            loopback: self.loopback(),
            connections: self.presence.borrow().connected,
            stream: self.stream(),
            buffer: self.buffer(),
            events: self.events(),
            inputs: self.inputs(),
            transactions: self.transactions(),
            lanes,
            outage: self.outage.standing(tokio::time::Instant::now().into_std()).map(outage),
            errors: self.recent_errors.errors().into_iter().map(error).collect(),
            identity: self.credentials.info().map(identity),
            credentials: self.sources.credentials.get().map(credentials),
            log: live.log(),
            schemas: self.gate.standing(),
            last_reload: live.last_reload.clone(),
        }
    }

    fn loopback(&self) -> BTreeMap<String, String> {
        let shown = |(input, address): &(Input, SocketAddr)| {
            (input.as_str().to_owned(), address.to_string())
        };
        self.loopback.iter().map(shown).collect()
    }

    fn stream(&self) -> wire::Stream {
        let (facts, calls) = (self.facts.borrow().clone(), *self.calls.borrow());
        wire::Stream {
            name: self.stream.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            shards: facts.shards.map(|shards| shards.len()),
            record_bytes_max: facts.record_limit,
            record_bytes_carried: self.record_bytes_carried,
            ignores_keys: facts.distribution == Distribution::Auto,
            list_shards: call(calls.list_shards),
            describe_stream: call(calls.describe_stream),
        }
    }

    fn buffer(&self) -> wire::Buffer {
        let budget = &self.sources.budget;
        wire::Buffer {
            used_bytes: budget.used_bytes(),
            limit_bytes: budget.limit_bytes(),
            backpressure_seconds: seconds(self.sources.backpressure.waited()),
        }
    }

    fn events(&self) -> wire::Events {
        let events = self.sources.counters.snapshot();
        let refused = |code: &Code| (code.as_str().to_owned(), events.refused(*code));
        wire::Events {
            accepted: events.accepted,
            acked: events.acked,
            refused: Code::ALL.iter().map(refused).collect(),
            rolled_back: events.rolled_back,
            in_flight: events.in_flight(),
            staged: events.staged,
            oldest_age_seconds: thousandths(self.sources.oldest_age_seconds()),
        }
    }
}

impl Shown {
    fn inputs(&self) -> BTreeMap<String, wire::Input> {
        let shown = |input: Input| {
            let events = self.sources.counters.of(input).snapshot();
            let (accepted, in_flight) = (events.accepted, events.in_flight());
            (input.as_str().to_owned(), wire::Input { accepted, in_flight })
        };
        Input::ALL.into_iter().map(shown).collect()
    }

    fn transactions(&self) -> wire::Transactions {
        let events = self.sources.counters.snapshot();
        let ended = TransactionEnd::ALL.iter().zip(events.transactions_ended);
        wire::Transactions {
            open: events.transactions_open,
            ended: ended.map(|(end, count)| (end.as_str().to_owned(), count)).collect(),
        }
    }
}

impl LiveSettings {
    /// The level that is logged at, and for how long.
    pub(super) fn log(&self) -> wire::Log {
        let left = self.reverts_at.map(|at| at.saturating_duration_since(Instant::now()));
        wire::Log {
            level: self.log_level.clone(),
            reverts_seconds: left.map(|left| left.as_secs()),
        }
    }
}

async fn lane_status(lane: &mpsc::Sender<Question>) -> wire::Lane {
    let asked = async {
        let (question, answer) = oneshot::channel();
        lane.send(question).await.ok()?;
        answer.await.ok()
    };
    match timeout(LANE_TIMEOUT, asked).await {
        Ok(Some(report)) => wire::Lane::Ok(reported(report)),
        Ok(None) => wire::Lane::Unresponsive("the lane has ended".into()),
        Err(_) => wire::Lane::Unresponsive("the lane did not answer within 1 s".into()),
    }
}

fn reported(report: Report) -> wire::LaneStatus {
    let Report { flights, flying_bytes, keys, keys_cooling, keys_held, blocked, shards } = report;
    wire::LaneStatus {
        requests: flights,
        request_bytes: flying_bytes,
        keys,
        keys_cooling,
        keys_held_by_order: keys_held,
        blocked: blocked.map(|blocked| wire::Blocked {
            reason: blocked.reason.as_str().into(),
            advice: blocked.reason.advice().into(),
            since_seconds: seconds(blocked.since),
            probes_failed: blocked.probes,
            next_probe_seconds: seconds(blocked.next_probe_in),
        }),
        shards: shards.into_iter().map(shard).collect(),
    }
}

fn shard(report: ShardReport) -> wire::Shard {
    let ShardReport { id, ready, rests_for, pace, of_late } = report;
    let sent = of_late.stored + of_late.throttled;
    wire::Shard {
        id,
        ready,
        rests_seconds: rests_for.map(seconds),
        pace: pace.map(thousandths),
        throttled_share: (sent > 0).then(|| thousandths(of_late.throttled as f64 / sent as f64)),
    }
}

fn outage(standing: Standing) -> wire::Outage {
    let Standing { cause, lasts, requests } = standing;
    wire::Outage {
        cause: cause.as_str().into(),
        meaning: cause.says().into(),
        advice: cause.advice().into(),
        lasts_seconds: seconds(lasts),
        requests_failed: requests,
    }
}

fn call(fares: Fares) -> wire::Call {
    let Fares { last_ok, last_failed, failures } = fares;
    wire::Call { last_ok: last_ok.map(rfc3339), last_failed: last_failed.map(rfc3339), failures }
}

fn error(error: RecentError) -> wire::Error {
    let RecentError { call, code, message, first, last, count } = error;
    let (call, first, last) = (call.into(), rfc3339(first), rfc3339(last));
    wire::Error { call, code, message, first, last, count }
}

pub(super) fn identity(info: CredentialsInfo) -> wire::Identity {
    let CredentialsInfo { provider, key_id_end, account, expiry: _ } = info;
    wire::Identity { provider, key_id_end, account }
}

pub(super) fn credentials(expire: SystemTime) -> wire::Credentials {
    let left = expire.duration_since(SystemTime::now()).unwrap_or_default();
    wire::Credentials { expire: rfc3339(expire), in_seconds: left.as_secs() }
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    Timestamp::from(time).as_str().to_owned()
}

pub(super) fn seconds(time: Duration) -> f64 {
    thousandths(time.as_secs_f64())
}

/// Nobody reads more digits.
pub(super) fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
pub(super) mod tests {
    use dispatchd_core::limits::RECORD_BYTES_DEFAULT;

    use super::*;
    use crate::schema::SchemaMetrics;

    /// A daemon with these lanes, of which nothing else is known.
    pub(in crate::admin) fn shown(lanes: Vec<mpsc::Sender<Question>>) -> Shown {
        Shown {
            stream: "orders".into(),
            endpoint: "https://kinesis.example".into(),
            region: "us-east-1".into(),
            credentials: CredentialsCache::for_an_emulator(),
            socket: "/run/d.sock".into(),
            loopback: Vec::new(),
            sources: Sources::idle(),
            presence: watch::channel(Presence::default()).1,
            facts: watch::channel(StreamFacts::unknown(None)).1,
            calls: watch::channel(Calls::default()).1,
            record_bytes_carried: RECORD_BYTES_DEFAULT,
            lanes,
            recent_errors: Arc::default(),
            outage: Arc::default(),
            gate: Arc::new(Gate::new(SchemaMetrics::register())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_does_not_answer_within_a_second_is_told_as_it_is() {
        let (stuck, _questions) = mpsc::channel(1);
        let (full, _unread) = mpsc::channel(1);
        full.try_send(oneshot::channel().0).expect("there is room for one");
        let (ended, _) = mpsc::channel(1);
        let began = tokio::time::Instant::now();
        let start = Start { wall: SystemTime::UNIX_EPOCH, monotonic: Instant::now() };
        let live = watch::channel(LiveSettings::new("info".into())).1;
        let shown = shown(vec![stuck, full, ended]);
        let status = shown.status(start, State::Running, &live).await;
        let unresponsive = |why: &str| wire::Lane::Unresponsive(why.into());
        let late = unresponsive("the lane did not answer within 1 s");
        assert_eq!(status.lanes, [late.clone(), late, unresponsive("the lane has ended")]);
        assert_eq!(began.elapsed(), 2 * LANE_TIMEOUT);
        assert_eq!(
            (status.state.as_str(), status.stream.name.as_str()),
            ("running", "orders"),
            "the rest is told"
        );
    }
}
