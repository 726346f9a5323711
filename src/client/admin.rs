//! One question to a running daemon, over its admin socket. Prints nothing and knows no command.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use dispatchd_core::wire::admin::Refused;

/// From connecting to the last byte: the daemon's own limits are shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer: a status has some 150 bytes for each shard, and a stream at most some ten thousand
/// shards.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(
        "no daemon answers at {}: is it running, with admin.socket on? If its socket is elsewhere, say where with --socket, or --admin-socket for this one", .0.display()
    )]
    Nobody(PathBuf),
    #[error("not permitted to ask at {}: run this as the daemon's own user", .0.display())]
    NotPermitted(PathBuf),
    #[error("cannot connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the daemon at {} did not answer within {} s", .0.display(), ANSWER_TIMEOUT.as_secs())]
    Silent(PathBuf),
    #[error("the daemon's answer was cut short: {0}")]
    Broken(String),
    #[error("{0}")]
    Refused(String),
}

/// Asks, and gives the body of an answer that is no refusal.
///
/// # Errors
/// If nobody answers in time, or the daemon refuses; the refusal of a reload (422) is an answer.
pub(crate) async fn ask(
    socket: &Path,
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
    let stream =
        UnixStream::connect(socket).await.map_err(|source| connect_error(socket, source))?;
    let (status, body) = timeout(ANSWER_TIMEOUT, exchange(stream, request))
        .await
        .map_err(|_| AskError::Silent(socket.into()))??;
    if status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY {
        return Ok(body);
    }
    let refused = serde_json::from_slice(&body).map(|Refused { error }| error);
    Err(AskError::Refused(refused.unwrap_or_else(|_| format!("the daemon answered {status}"))))
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
