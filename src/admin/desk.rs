//! The admin socket: what an operator asks of a running daemon, and tells it. HTTP/1.1 with small
//! JSON bodies.
//!
//! `GET /status`, `PUT /log-level`, `POST /reload`, `POST /drain`, `POST /quit`; one request a
//! connection. It decides nothing: it reads what others publish, asks the lanes, and hands commands
//! to the daemon. It serves its own user and root alone, and tells no environment and no payload.

use std::convert::Infallible;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::{HEAD_BYTES_MAX, Probe, status};
use crate::config::Changes;
use crate::producer::lane::Question;
use crate::producer::refresher::{Calls, Fares};
use crate::socket::listener::Presence;
use crate::telemetry::metrics::Sources;
use crate::telemetry::outage::{Outage, Standing};
use crate::telemetry::recent::{Recent, RecentError};
use dispatchd_aws::{CredentialsCache, CredentialsInfo};
use dispatchd_core::limits::DESK_CONNECTIONS_MAX;
use dispatchd_core::model::Code;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{Distribution, StreamFacts};
use dispatchd_producer::lane::report::{Report, ShardReport};

/// How long a client may take to send a request's head: it is on this host, and connections are
/// few.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// From a connection's first byte to its last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a request: a level and a time.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// A lane answers in microseconds; one that does not in this time is stuck, and that is the answer.
const LANE_TIMEOUT: Duration = Duration::from_secs(1);
/// A daemon carries a command out in milliseconds, but for a file that it reads again.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that wait for the daemon.
pub const COMMANDS_MAX: usize = DESK_CONNECTIONS_MAX;

/// What the daemon is told. Each has its own way back.
#[derive(Debug)]
pub enum Command {
    /// Log at this level, for a time or until told otherwise.
    LogLevel { level: String, lasts: Option<Duration>, reply: oneshot::Sender<Result<(), String>> },
    /// Read the configuration again.
    Reload { reply: oneshot::Sender<LastReload> },
    /// Make ready to stop, and go on.
    Drain { reply: oneshot::Sender<()> },
    /// Stop as SIGTERM does.
    Quit { reply: oneshot::Sender<()> },
}

/// What the daemon publishes of its settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub log_level: String,
    /// When the configured level holds again.
    pub reverts_at: Option<Instant>,
    pub last_reload: Option<LastReload>,
}

/// How the configuration was read again.
#[derive(Debug, Clone)]
pub struct LastReload {
    pub at: SystemTime,
    /// What changed, or every problem.
    pub outcome: Result<Changes, String>,
}

/// Everything that is shown, and the way to the daemon.
#[derive(Debug)]
pub struct Desk {
    pub started: SystemTime,
    pub began: Instant,
    /// Name or ARN.
    pub stream: String,
    /// Where requests go, and the region they are signed for.
    pub endpoint: String,
    pub region: String,
    pub credentials: CredentialsCache,
    pub socket: PathBuf,
    pub sources: Sources,
    pub probe: Probe,
    pub presence: watch::Receiver<Presence>,
    pub facts: watch::Receiver<StreamFacts>,
    /// How these are come by.
    pub calls: watch::Receiver<Calls>,
    /// By our memory.
    pub record_bytes_carried: usize,
    pub lanes: Vec<mpsc::Sender<Question>>,
    pub recent: Arc<Recent>,
    pub outage: Arc<Outage>,
    pub settings: watch::Receiver<Settings>,
    pub commands: mpsc::Sender<Command>,
}

/// Serves until the process ends: on the first listener that comes, and on each later one in its
/// stead.
pub async fn serve(mut listeners: mpsc::Receiver<StdUnixListener>, desk: Desk) {
    let (desk, places) = (Arc::new(desk), Arc::new(Semaphore::new(DESK_CONNECTIONS_MAX)));
    let mut listener = None;
    loop {
        let stream = tokio::select! {
            Some(next) = listeners.recv() => {
                match UnixListener::from_std(next) {
                    Ok(next) => listener = Some(next),
                    Err(error) => tracing::error!(%error, "the admin socket is not served"),
                }
                continue;
            }
            stream = accept(listener.as_ref()) => stream,
        };
        let Ok(stream) = stream else {
            tokio::time::sleep(Duration::from_millis(100)).await; // out of file descriptors
            continue;
        };
        let place =
            Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            // A client that errs or dawdles has only itself to tell.
            let _ = timeout(CONNECTION_TIMEOUT, connection(stream, &desk)).await;
            drop(place);
        });
    }
}

async fn accept(listener: Option<&UnixListener>) -> std::io::Result<UnixStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn connection(stream: UnixStream, desk: &Desk) -> hyper::Result<()> {
    let may_ask = is_own_user(&stream);
    let service =
        service_fn(async |request| Ok::<_, Infallible>(desk.answer(request, may_ask).await));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// The file's permissions say so too, unless somebody changed them.
fn is_own_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>, may_ask: bool) -> Response<Full<Bytes>> {
        if !may_ask {
            return refused(StatusCode::FORBIDDEN, "only the daemon's own user and root may ask");
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => json(StatusCode::OK, &self.status().await),
            (&Method::PUT, "/log-level") => self.log_level(request.into_body()).await,
            (&Method::POST, "/reload") => self.reload().await,
            (&Method::POST, "/drain") => self.tell(|reply| Command::Drain { reply }).await,
            (&Method::POST, "/quit") => self.tell(|reply| Command::Quit { reply }).await,
            (_, "/status") => wrong_method("GET"),
            (_, "/log-level") => wrong_method("PUT"),
            (_, "/reload" | "/drain" | "/quit") => wrong_method("POST"),
            _ => refused(
                StatusCode::NOT_FOUND,
                "served are GET /status, PUT /log-level, POST /reload, POST /drain, POST /quit",
            ),
        }
    }

    async fn log_level(&self, body: Incoming) -> Response<Full<Bytes>> {
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return refused(StatusCode::BAD_REQUEST, &format!("cannot read the body: {error}"));
            }
        };
        let status::LogLevel { level, for_ms } = match serde_json::from_slice(&body) {
            Ok(wanted) => wanted,
            Err(error) => {
                return refused(
                    StatusCode::BAD_REQUEST,
                    &format!("the body is not {{\"level\":…}}: {error}"),
                );
            }
        };
        let lasts = for_ms.map(Duration::from_millis);
        match self.command(|reply| Command::LogLevel { level, lasts, reply }).await {
            Ok(Ok(())) => json(StatusCode::OK, &self.log()),
            Ok(Err(error)) => refused(StatusCode::BAD_REQUEST, &error),
            Err(silence) => refused(StatusCode::SERVICE_UNAVAILABLE, silence),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        match self.command(|reply| Command::Reload { reply }).await {
            Ok(done) => {
                let status = if done.outcome.is_ok() {
                    StatusCode::OK
                } else {
                    StatusCode::UNPROCESSABLE_ENTITY
                };
                json(status, &reload(&done))
            }
            Err(silence) => refused(StatusCode::SERVICE_UNAVAILABLE, silence),
        }
    }

    async fn tell(
        &self,
        command: impl FnOnce(oneshot::Sender<()>) -> Command,
    ) -> Response<Full<Bytes>> {
        match self.command(command).await {
            Ok(()) => json(StatusCode::ACCEPTED, &serde_json::json!({})),
            Err(silence) => refused(StatusCode::SERVICE_UNAVAILABLE, silence),
        }
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, &'static str> {
        let (reply, answer) = oneshot::channel();
        let told = async {
            self.commands.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(COMMAND_TIMEOUT, told).await {
            Ok(answer) => answer.ok_or("the daemon is stopping"),
            Err(_) => Err("the daemon did not take the command within 5 s"),
        }
    }

    async fn status(&self) -> status::Status {
        let mut lanes = Vec::new();
        for lane in &self.lanes {
            lanes.push(match timeout(LANE_TIMEOUT, ask(lane)).await {
                Ok(Some(report)) => status::Lane::Ok(lane_status(report)),
                Ok(None) => status::Lane::Unresponsive("the lane has ended".into()),
                Err(_) => status::Lane::Unresponsive("the lane did not answer within 1 s".into()),
            });
        }
        let Sources { books, budget, oldest, .. } = &self.sources;
        let balance = books.balance();
        let facts = self.facts.borrow().clone();
        status::Status {
            state: self.probe.state().as_str().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: rfc3339(self.started),
            uptime_seconds: self.began.elapsed().as_secs(),
            socket: self.socket.clone(),
            connections: self.presence.borrow().connected,
            stream: status::Stream {
                name: self.stream.clone(),
                endpoint: self.endpoint.clone(),
                region: self.region.clone(),
                shards: facts.shards.map(|shards| shards.len()),
                record_bytes_max: facts.record_limit,
                ignores_keys: facts.distribution == Distribution::Auto,
                list_shards: call(self.calls.borrow().list_shards),
                describe_stream: call(self.calls.borrow().describe_stream),
                record_bytes_carried: self.record_bytes_carried,
            },
            buffer: status::Buffer {
                used_bytes: budget.used_bytes(),
                limit_bytes: budget.limit_bytes(),
                backpressure_seconds: thousandths(budget.waited().as_secs_f64()),
            },
            events: status::Events {
                accepted: balance.accepted,
                acked: balance.acked,
                refused: Code::ALL
                    .iter()
                    .map(|code| (code.as_str().to_owned(), balance.refused(*code)))
                    .collect(),
                in_flight: balance.in_flight(),
                oldest_age_seconds: thousandths(
                    oldest.iter().map(|oldest| oldest.age_seconds()).fold(0.0, f64::max),
                ),
            },
            lanes,
            outage: self.outage.standing(tokio::time::Instant::now().into_std()).map(outage),
            errors: self.recent.errors().into_iter().map(error).collect(),
            identity: self.credentials.info().map(identity),
            credentials: self.credentials.expiry().map(credentials_told),
            log: self.log(),
            last_reload: self.settings.borrow().last_reload.as_ref().map(reload),
        }
    }

    fn log(&self) -> status::Log {
        let settings = self.settings.borrow();
        let left = settings.reverts_at.map(|at| at.saturating_duration_since(Instant::now()));
        status::Log {
            level: settings.log_level.clone(),
            reverts_seconds: left.map(|left| left.as_secs()),
        }
    }
}

fn outage(standing: Standing) -> status::Outage {
    let Standing { cause, lasts, requests } = standing;
    status::Outage {
        cause: cause.as_str().into(),
        meaning: cause.says().into(),
        advice: cause.advice().into(),
        lasts_seconds: seconds(lasts),
        requests_failed: requests,
    }
}

fn identity(info: CredentialsInfo) -> status::Identity {
    let CredentialsInfo { provider, key_id_end, account, expiry: _ } = info;
    status::Identity { provider, key_id_end, account }
}

async fn ask(lane: &mpsc::Sender<Question>) -> Option<Report> {
    let (question, answer) = oneshot::channel();
    lane.send(question).await.ok()?;
    answer.await.ok()
}

fn lane_status(report: Report) -> status::LaneStatus {
    let Report { flights, flying_bytes, keys, keys_cooling, keys_held, blocked, shards } = report;
    status::LaneStatus {
        requests: flights,
        request_bytes: flying_bytes,
        keys,
        keys_cooling,
        keys_held_by_order: keys_held,
        blocked: blocked.map(|blocked| status::Blocked {
            reason: blocked.reason.as_str().into(),
            advice: blocked.reason.advice().into(),
            since_seconds: seconds(blocked.since),
            probes_failed: blocked.probes,
            next_probe_seconds: seconds(blocked.next_probe_in),
        }),
        shards: shards.into_iter().map(shard).collect(),
    }
}

fn shard(report: ShardReport) -> status::Shard {
    let ShardReport { id, ready, rests_for, pace, of_late } = report;
    let sent = of_late.stored + of_late.throttled;
    status::Shard {
        id,
        ready,
        rests_seconds: rests_for.map(seconds),
        pace: pace.map(thousandths),
        throttled_share: (sent > 0).then(|| thousandths(of_late.throttled as f64 / sent as f64)),
    }
}

fn call(fares: Fares) -> status::Call {
    let Fares { last_ok, last_failed, failures } = fares;
    status::Call { last_ok: last_ok.map(rfc3339), last_failed: last_failed.map(rfc3339), failures }
}

fn error(error: RecentError) -> status::Error {
    let RecentError { call, code, message, first, last, count } = error;
    status::Error {
        call: call.into(),
        code,
        message,
        first: rfc3339(first),
        last: rfc3339(last),
        count,
    }
}

fn credentials_told(expire: SystemTime) -> status::Credentials {
    let left = expire.duration_since(SystemTime::now()).unwrap_or_default();
    status::Credentials { expire: rfc3339(expire), in_seconds: left.as_secs() }
}

fn reload(done: &LastReload) -> status::Reload {
    let (changes, error) = match &done.outcome {
        Ok(changes) => (changes.clone(), None),
        Err(error) => (Changes::default(), Some(error.clone())),
    };
    let Changes { applied, needs_restart } = changes;
    status::Reload { at: rfc3339(done.at), error, applied, needs_restart }
}

fn rfc3339(time: SystemTime) -> String {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_unix_ms(unix_ms).as_str().to_owned()
}

fn seconds(time: Duration) -> f64 {
    thousandths(time.as_secs_f64())
}

/// Nobody reads more digits.
fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("texts and finite numbers are JSON");
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn refused(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    json(status, &status::Refused { error: error.to_owned() })
}

fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response =
        refused(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} is served here"));
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::State;
    use dispatchd_producer::ack::Books;
    use dispatchd_producer::budget::Budget;
    use tokio::time::Instant as TokioInstant;

    fn desk(lanes: Vec<mpsc::Sender<Question>>, commands: mpsc::Sender<Command>) -> Desk {
        let probe = Probe::new();
        probe.set(State::Running);
        Desk {
            started: SystemTime::UNIX_EPOCH,
            began: Instant::now(),
            stream: "orders".into(),
            endpoint: "https://kinesis.example".into(),
            region: "us-east-1".into(),
            credentials: CredentialsCache::for_an_emulator(),
            socket: "/run/d.sock".into(),
            sources: Sources {
                books: Arc::<Books>::default(),
                budget: Budget::new(1000),
                oldest: Vec::new(),
                log: Arc::default(),
            },
            probe,
            presence: watch::channel(Presence::default()).1,
            facts: watch::channel(StreamFacts::unknown(None)).1,
            calls: watch::channel(Calls::default()).1,
            record_bytes_carried: dispatchd_core::limits::RECORD_BYTES_DEFAULT,
            lanes,
            recent: Arc::default(),
            outage: Arc::default(),
            settings: watch::channel(Settings {
                log_level: "info".into(),
                reverts_at: None,
                last_reload: None,
            })
            .1,
            commands,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_does_not_answer_within_a_second_is_told_as_it_is() {
        let (stuck, _questions) = mpsc::channel(1);
        let (full, _unread) = mpsc::channel(1);
        full.try_send(oneshot::channel().0).expect("there is room for one");
        let (ended, _) = mpsc::channel(1);
        let began = TokioInstant::now();
        let status = desk(vec![stuck, full, ended], mpsc::channel(1).0).status().await;
        let unresponsive = |why: &str| status::Lane::Unresponsive(why.into());
        let late = unresponsive("the lane did not answer within 1 s");
        assert_eq!(status.lanes, [late.clone(), late, unresponsive("the lane has ended")]);
        assert_eq!(began.elapsed(), 2 * LANE_TIMEOUT);
        assert_eq!(
            (status.state.as_str(), status.stream.name.as_str()),
            ("running", "orders"),
            "the rest is told"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_takes_no_command_is_told_apart_from_one_that_stops() {
        let (commands, taken) = mpsc::channel(1);
        let desk = desk(Vec::new(), commands);
        let quit = async || desk.command(|reply| Command::Quit { reply }).await;
        assert_eq!(quit().await, Err("the daemon did not take the command within 5 s"));
        drop(taken);
        assert_eq!(quit().await, Err("the daemon is stopping"));
    }
}
