//! The admin socket's API: what an operator asks of a running daemon, and tells it. HTTP/1.1 with
//! small JSON bodies, one request a connection.
//!
//! `GET /status`, `PUT /log-level`, `POST /reload`, `POST /drain`, `POST /quit`. It decides
//! nothing: it reads what others publish and hands commands to the daemon. It serves its own user
//! and root alone.

use std::convert::Infallible;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::forward_status::ForwardShown;
use super::status::{LiveSettings, Shown, Start};
use crate::http_server::limits::one_request;
use crate::http_server::probes::SharedState;
use dispatchd_core::limits::ADMIN_CONNECTIONS_MAX;
use dispatchd_core::wire::admin::{LogLevel, Refused, Reload};

/// How long a client may take to send a request's head: it is on this host, and connections are
/// few.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// From a connection's first byte to its last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's body: a level and a time.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// A daemon carries a command out in milliseconds, but for a file that it reads again.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after an accept that failed for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Commands that wait for the daemon: one a connection, at most.
pub(super) const COMMANDS_MAX: usize = ADMIN_CONNECTIONS_MAX;

/// What the daemon is told. Each command has its own way back.
#[derive(Debug)]
pub(crate) enum Command {
    /// Log at this level, for a time or until told otherwise. The error says why it is no level.
    LogLevel { level: String, lasts: Option<Duration>, reply: oneshot::Sender<Result<(), String>> },
    /// Read the configuration again.
    Reload { reply: oneshot::Sender<Reload> },
    /// Make ready to stop, and go on.
    Drain { reply: oneshot::Sender<()> },
    /// Stop as SIGTERM does.
    Quit { reply: oneshot::Sender<()> },
}

/// Whose status an operator is shown.
#[derive(Debug)]
pub(crate) enum StatusOf {
    Daemon(Box<Shown>),
    Forward(ForwardShown),
}

/// What is served on the admin socket.
#[derive(Debug)]
pub(super) struct AdminApi {
    start: Start,
    shown: StatusOf,
    state: SharedState,
    live: watch::Receiver<LiveSettings>,
    commands: mpsc::Sender<Command>,
}

/// Serves until the process ends: on the first listener that comes, and on each later one in its
/// stead.
pub(super) async fn serve(mut listeners: mpsc::Receiver<StdUnixListener>, api: AdminApi) {
    let (api, places) = (Arc::new(api), Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)));
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
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let place =
            Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            // A client that errs or dawdles has only itself to tell.
            let _ = timeout(CONNECTION_TIMEOUT, connection(stream, &api)).await;
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

async fn connection(stream: UnixStream, api: &AdminApi) -> hyper::Result<()> {
    let may_ask = is_own_user(&stream);
    let service =
        service_fn(async |request| Ok::<_, Infallible>(api.answer(request, may_ask).await));
    one_request(HEAD_TIMEOUT).serve_connection(TokioIo::new(stream), service).await
}

/// Whether the daemon's own user or root asks. The file's permissions say so too, unless somebody
/// changed them.
fn is_own_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

impl AdminApi {
    /// For a daemon that starts now.
    pub(super) fn new(
        shown: StatusOf,
        state: SharedState,
        live: watch::Receiver<LiveSettings>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let start = Start { wall: SystemTime::now(), monotonic: Instant::now() };
        Self { start, shown, state, live, commands }
    }

    async fn answer(&self, request: Request<Incoming>, may_ask: bool) -> Response<Full<Bytes>> {
        if !may_ask {
            return refused(StatusCode::FORBIDDEN, "only the daemon's own user and root may ask");
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => self.status().await,
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

    async fn status(&self) -> Response<Full<Bytes>> {
        let (start, state) = (self.start, self.state.get());
        match &self.shown {
            StatusOf::Daemon(shown) => {
                json(StatusCode::OK, &shown.status(start, state, &self.live).await)
            }
            StatusOf::Forward(shown) => {
                json(StatusCode::OK, &shown.status(start, state, &self.live))
            }
        }
    }

    async fn log_level(&self, body: Incoming) -> Response<Full<Bytes>> {
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return refused(StatusCode::BAD_REQUEST, &format!("cannot read the body: {error}"));
            }
        };
        let LogLevel { level, for_ms } = match serde_json::from_slice(&body) {
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
            Ok(Ok(())) => json(StatusCode::OK, &self.live.borrow().log()),
            Ok(Err(error)) => refused(StatusCode::BAD_REQUEST, &error),
            Err(silence) => refused(StatusCode::SERVICE_UNAVAILABLE, silence),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        match self.command(|reply| Command::Reload { reply }).await {
            Ok(done) if done.error.is_none() => json(StatusCode::OK, &done),
            Ok(done) => json(StatusCode::UNPROCESSABLE_ENTITY, &done),
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
    json(status, &Refused { error: error.to_owned() })
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
    use crate::admin::status::tests::shown;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_takes_no_command_is_told_apart_from_one_that_stops() {
        let (commands, taken) = mpsc::channel(1);
        let live = watch::channel(LiveSettings::new("info".into())).1;
        let shown = StatusOf::Daemon(Box::new(shown(Vec::new())));
        let api = AdminApi::new(shown, SharedState::default(), live, commands);
        let quit = async || api.command(|reply| Command::Quit { reply }).await;
        assert_eq!(quit().await, Err("the daemon did not take the command within 5 s"));
        drop(taken);
        assert_eq!(quit().await, Err("the daemon is stopping"));
    }
}
