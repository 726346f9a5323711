//! A caller that speaks HTTP: one connection, kept alive.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use testkit::daemon::{Daemon, Start};
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::DISPATCHD;

pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection.
    _tasks: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub(super) async fn daemon(start: impl FnOnce(Start) -> Start) -> (Ferro, Daemon) {
    let ferro = Ferro::start(false).await;
    create_stream(&testkit::client(&ferro.endpoint()), "s", 2).await;
    let start_with = DISPATCHD.daemon(&ferro.endpoint(), "s").set("producer_id", "app@host");
    let daemon = start(start_with).start().await;
    (ferro, daemon)
}

/// Where HTTP is served on loopback, as the daemon says.
pub(super) fn http_address(daemon: &Daemon) -> String {
    let ready = daemon.logged("ready").pop().expect("it is ready");
    ready["http"].as_str().expect("it says where HTTP is").to_owned()
}

/// What a raw connection is told until it ends.
pub(super) async fn told(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(request).await.expect("it takes the request");
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await; // what was told before a reset counts
    String::from_utf8(told).expect("it is UTF-8")
}

impl Client {
    pub(super) async fn connect(socket: &Path) -> Self {
        Self::on(UnixStream::connect(socket).await.expect("it listens")).await
    }

    pub(super) async fn connect_tcp(address: &str) -> Self {
        Self::on(TcpStream::connect(address).await.expect("it listens")).await
    }

    async fn on(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("no bytes yet");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { sender, _tasks: tasks }
    }

    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.sender.ready().await.expect("the connection is open");
        let response = self.sender.send_request(request).await.expect("it is answered");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Posts a body with these headers.
    pub(super) async fn post(
        &mut self,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        let request = Request::post("/v1/events").header("host", "localhost");
        let mut request = request.header("content-length", body.len()); // of none, too
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body)).expect("a request")).await
    }

    pub(super) async fn post_as(&mut self, content_type: &str, body: impl Into<Bytes>) -> Answer {
        self.post(&[("content-type", content_type)], body).await
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is ASCII"))
    }
}
