//! The admin socket, spoken as a client: one request a connection.
//!
//! Nothing here prints, and nothing here knows a command's arguments.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use dispatchd_core::wire::admin::{LogLevel, Refused, Reload};

/// From connecting to the last byte: the daemon's own limits are shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: a status has some 150 for each shard, and a stream at most some ten thousand
/// shards.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How often [`AdminClient::quit`] looks whether the daemon is gone.
const QUIT_EVERY: Duration = Duration::from_millis(100);
/// How long it waits: the longest `shutdown.timeout`, and what ends after it.
const QUIT_WITHIN: Duration = Duration::from_secs(3600 + 60);

/// Why there is no answer, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(
        "no daemon answers at {}: is it running, with admin.socket on? If its socket is \
         elsewhere, say where with --socket, or --admin-socket for this one", .0.display()
    )]
    Nobody(PathBuf),
    #[error("not permitted to ask at {}: run this as the daemon's own user", .0.display())]
    NotPermitted(PathBuf),
    #[error("cannot connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the daemon at {} did not answer within {} s", .0.display(), ANSWER_TIMEOUT.as_secs())]
    Unresponsive(PathBuf),
    #[error("the daemon's answer was cut short: {0}")]
    Broken(String),
    #[error("the daemon is of another version: its answer is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error("the daemon was told to stop and is still there: kill it")]
    StillThere,
    #[error("{0}")]
    Refused(String),
}

/// A running daemon's admin socket.
#[derive(Debug)]
pub(crate) struct AdminClient {
    socket: PathBuf,
}

/// Of a status, what a daemon and a forwarder say alike.
#[derive(Deserialize)]
struct Process {
    pid: u32,
}

const NOTHING: Option<&()> = None;

impl AdminClient {
    /// The daemon whose admin socket is there. Nothing is asked of it yet.
    pub(crate) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// How the daemon stands, as it says it.
    ///
    /// # Errors
    /// As all calls here: if nobody answers in time, or the daemon refuses.
    pub(crate) async fn status_json(&self) -> Result<Bytes, AskError> {
        self.ask(Method::GET, "/status", NOTHING).await
    }

    /// Has the daemon log at this level, for a time or until a restart.
    pub(crate) async fn set_log_level(
        &self,
        level: String,
        lasts: Option<Duration>,
    ) -> Result<(), AskError> {
        let for_ms = lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        self.ask(Method::PUT, "/log-level", Some(&LogLevel { level, for_ms })).await.map(drop)
    }

    /// Has the daemon read its configuration again. A configuration that is refused is an answer.
    pub(crate) async fn reload(&self) -> Result<Reload, AskError> {
        let answer = self.ask(Method::POST, "/reload", NOTHING).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Has the daemon make ready to stop.
    pub(crate) async fn drain(&self) -> Result<(), AskError> {
        self.ask(Method::POST, "/drain", NOTHING).await.map(drop)
    }

    /// Has the daemon stop, and waits until it is gone or another one is there. The daemon has a
    /// deadline of its own, shutdown.timeout.
    pub(crate) async fn quit(&self) -> Result<(), AskError> {
        let told = self.pid().await?;
        let asked = self.ask(Method::POST, "/quit", NOTHING).await;
        let (within, otherwise) = patience_after_quit(asked)?;
        let gone = async {
            loop {
                sleep(QUIT_EVERY).await;
                match self.pid().await {
                    Err(AskError::Nobody(_)) => return,
                    Ok(now) if now != told => return,
                    _ => {} // it may be cut short by the end
                }
            }
        };
        timeout(within, gone).await.map_err(|_| otherwise)
    }

    /// Which process the daemon is; `None` if it does not say.
    async fn pid(&self) -> Result<Option<u32>, AskError> {
        let answer = self.status_json().await?;
        Ok(serde_json::from_slice(&answer).map(|Process { pid }| pid).ok())
    }

    /// Asks, and gives the body of an answer that is no refusal; the refusal of a reload (422) is
    /// an answer.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, AskError> {
        let body = body
            .map(|body| serde_json::to_vec(body).expect("texts and numbers are JSON"))
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "dispatchd")
            .body(Full::new(Bytes::from(body)))
            .expect("the parts are constants");
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| connect_error(&self.socket, source))?;
        let (status, body) = timeout(ANSWER_TIMEOUT, exchange(stream, request))
            .await
            .map_err(|_| AskError::Unresponsive(self.socket.clone()))??;
        if status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY {
            return Ok(body);
        }
        let refused = serde_json::from_slice(&body).map(|Refused { error }| error);
        Err(AskError::Refused(refused.unwrap_or_else(|_| format!("the daemon answered {status}"))))
    }
}

/// How long a daemon that was asked to quit is waited for, and what is said if it is there still.
fn patience_after_quit(asked: Result<Bytes, AskError>) -> Result<(Duration, AskError), AskError> {
    match asked {
        Ok(_) => Ok((QUIT_WITHIN, AskError::StillThere)),
        // A daemon that has nothing to wait for may be gone before its answer is written.
        Err(error @ AskError::Broken(_)) => Ok((ANSWER_TIMEOUT, error)),
        Err(error) => Err(error),
    }
}

async fn exchange(
    stream: UnixStream,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), AskError> {
    let broken = |error: &dyn std::fmt::Display| AskError::Broken(error.to_string());
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| broken(&error))?.to_bytes()))
    };
    // The connection moves the bytes; how it ends shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn connect_error(socket: &Path, source: io::Error) -> AskError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::Nobody(socket.into())
        }
        io::ErrorKind::PermissionDenied => AskError::NotPermitted(socket.into()),
        _ => AskError::Connect { path: socket.into(), source },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_is_gone_before_its_answer_has_stopped_as_it_was_told() {
        const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"pid\":1}";
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("admin.sock");
        let listener = UnixListener::bind(&path).expect("it is free");
        let daemon = AdminClient::at(path.clone());
        let serve = async {
            for answer in [STATUS, b""] {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                assert!(stream.read(&mut [0; 1024]).await.expect("it asks") > 0);
                stream.write_all(answer).await.expect("it reads");
            }
            std::fs::remove_file(&path).expect("it is there");
        };
        let (quit, ()) = tokio::join!(daemon.quit(), serve);
        assert!(quit.is_ok(), "{quit:?}");
    }

    #[test]
    fn a_daemon_that_gave_no_answer_is_not_waited_for_as_one_that_drains() {
        let cut = || AskError::Broken("cut".to_owned());
        let (within, otherwise) = patience_after_quit(Ok(Bytes::new())).expect("it was told");
        assert!(within == QUIT_WITHIN && matches!(otherwise, AskError::StillThere));
        let (within, otherwise) = patience_after_quit(Err(cut())).expect("it may be gone");
        assert!(within == ANSWER_TIMEOUT && matches!(otherwise, AskError::Broken(_)));
        let refused = patience_after_quit(Err(AskError::Refused("no".to_owned())));
        assert!(matches!(refused, Err(AskError::Refused(_))));
    }
}
