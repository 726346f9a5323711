//! HTTP/1.1 by hand: one request, one connection. No pool: a pooled connection that the server
//! closes meanwhile fails in a way that looks like a fault, and here every failure must be one that
//! somebody planned.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::tasks::Tasks;

/// The operations' prefix in `X-Amz-Target`.
pub const TARGET: &str = "Kinesis_20131202.";
pub const JSON: &str = "application/x-amz-json-1.1";

pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub error_type: Option<String>,
    pub content_type: Option<String>,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// One Kinesis operation in JSON.
pub async fn call(endpoint: &str, operation: &str, body: &str) -> Result<Answer, AnyError> {
    post(endpoint, operation, JSON, Bytes::copy_from_slice(body.as_bytes())).await
}

/// One Kinesis operation, signed in form only: the emulators want a header that looks so.
pub async fn post(
    endpoint: &str,
    operation: &str,
    content_type: &str,
    body: Bytes,
) -> Result<Answer, AnyError> {
    let authority = endpoint.trim_start_matches("http://");
    let request = Request::post("/")
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, content_type)
        .header("x-amz-target", format!("{TARGET}{operation}"))
        .header("x-amz-date", "20260101T000000Z")
        .header(
            header::AUTHORIZATION,
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(Full::new(body))?;
    // Dropped at the end, and the connection with it.
    let tasks = Tasks::default();
    let response = send(authority, request, &tasks).await?;
    let text =
        |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    Ok(Answer {
        status: response.status(),
        error_type: text("x-amzn-errortype"),
        content_type: text("content-type"),
        body: response.into_body().collect().await?.to_bytes(),
    })
}

/// Sends `request` on a connection of its own, driven by one of `tasks` until the answer's body is
/// read.
pub async fn send(
    authority: &str,
    request: Request<Full<Bytes>>,
    tasks: &Tasks,
) -> Result<Response<Incoming>, AnyError> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tasks.spawn(async move {
        // A failure of the connection is the answer's failure: whoever awaits that sees it.
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await?)
}
