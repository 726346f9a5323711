//! The parts of AWS around Kinesis, as far as a test needs them: an agent that gives credentials,
//! an STS, a stream that says of itself what no emulator says, and AWS's own endpoints by name,
//! behind a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::tls::{Certificate, HTTP1};

/// An endpoint for credentials as ECS and EKS Pod Identity have one. Those it gives expire when it
/// is told.
pub struct Agent {
    pub uri: String,
    expires: Arc<Mutex<DateTime<Utc>>>,
    _server: AbortOnDropHandle<()>,
}

impl Agent {
    pub async fn start(expires: DateTime<Utc>) -> Self {
        let expires = Arc::new(Mutex::new(expires));
        let told = Arc::clone(&expires);
        let credentials = async move || {
            let expires = told
                .lock()
                .expect("nobody panics with it in hand")
                .to_rfc3339_opts(SecondsFormat::Secs, true);
            Json(
                json!({"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": expires}),
            )
        };
        let (url, server) = serve(Router::new().route("/credentials", get(credentials))).await;
        Self { uri: format!("{url}/credentials"), expires, _server: server }
    }

    /// From the next request on.
    pub fn set_expiry(&self, expires: DateTime<Utc>) {
        *self.expires.lock().expect("nobody panics with it in hand") = expires;
    }
}

/// An STS that knows its caller, or refuses it.
pub struct Sts {
    pub url: String,
    _server: AbortOnDropHandle<()>,
}

impl Sts {
    const ROLE: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/orders/pod</Arn>\
        <UserId>AROA:pod</UserId><Account>123456789012</Account></GetCallerIdentityResult>\
        <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>";

    async fn start(status: StatusCode, body: &'static str) -> Self {
        let answer = async move || (status, [("content-type", "text/xml")], body);
        let (url, _server) = serve(Router::new().route("/", post(answer))).await;
        Self { url, _server }
    }

    /// Knows everybody as this role.
    pub async fn of_a_role() -> Self {
        Self::start(StatusCode::OK, Self::ROLE).await
    }

    pub async fn that_refuses() -> Self {
        const BODY: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
            <Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.</Message>\
            </Error><RequestId>1</RequestId></ErrorResponse>";
        Self::start(StatusCode::FORBIDDEN, BODY).await
    }
}

/// Answers DescribeStreamSummary and ListShards with what it is given, and nothing else.
pub struct StreamThatSays {
    pub url: String,
    _server: AbortOnDropHandle<()>,
}

impl StreamThatSays {
    /// `says` goes over what a plain ACTIVE stream of one shard says.
    pub async fn start(says: Value) -> Self {
        let answer = async move |headers: HeaderMap| {
            let target = headers
                .get("x-amz-target")
                .and_then(|target| target.to_str().ok())
                .unwrap_or_default();
            kinesis_says(target, &says)
                .unwrap_or_else(|| StatusCode::NOT_IMPLEMENTED.into_response())
        };
        let (url, _server) = serve(Router::new().route("/", post(answer))).await;
        Self { url, _server }
    }
}

/// What DescribeStreamSummary answers: `says` over what a plain ACTIVE stream of one shard says.
pub fn description(says: &Value) -> Value {
    let mut summary = json!({
        "StreamName": "s", "StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s", "StreamStatus": "ACTIVE",
        "RetentionPeriodHours": 24, "StreamCreationTimestamp": 0, "EnhancedMonitoring": [], "OpenShardCount": 1,
    });
    for (name, value) in says.as_object().expect("an object") {
        summary[name] = value.clone();
    }
    json!({"StreamDescriptionSummary": summary})
}

fn kinesis_says(target: &str, says: &Value) -> Option<Response> {
    let shard = json!({
        "ShardId": "shardId-000000000000",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    });
    let body = match target.rsplit('.').next()? {
        "DescribeStreamSummary" => description(says),
        "ListShards" => json!({"Shards": [shard]}),
        _ => return None,
    };
    Some(Json(body).into_response())
}

/// AWS's endpoints in us-east-1, by their names and with a certificate for them: a proxy that goes
/// no further. Answers every PutRecords as it is told and keeps them, and knows the caller.
pub struct Aws {
    /// For `HTTPS_PROXY`.
    pub proxy: String,
    /// For `SSL_CERT_FILE`.
    pub certificate: Certificate,
    puts: Arc<Mutex<Vec<Value>>>,
    _server: AbortOnDropHandle<()>,
}

impl Aws {
    /// `put_records`: status and body of each PutRecords.
    pub async fn start(put_records: (StatusCode, Value)) -> Self {
        let certificate =
            Certificate::of(["kinesis.us-east-1.amazonaws.com", "sts.us-east-1.amazonaws.com"]);
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let proxy = format!("http://{}", tcp.local_addr().expect("it is bound"));
        let puts = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&puts);
        let answer = async move |headers: HeaderMap, body: Bytes| {
            let target = headers
                .get("x-amz-target")
                .and_then(|target| target.to_str().ok())
                .unwrap_or_default();
            match target.rsplit('.').next() {
                Some("PutRecords") => {
                    let put = serde_json::from_slice(&body).expect("JSON");
                    kept.lock().expect("nobody panics with it in hand").push(put);
                    (put_records.0, Json(put_records.1)).into_response()
                }
                _ => kinesis_says(target, &json!({})).unwrap_or_else(|| Sts::ROLE.into_response()),
            }
        };
        let listener = Tunnels { tcp, tls: certificate.acceptor(HTTP1) };
        let app = Router::new().route("/", post(answer));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("axum::serve never returns")
        });
        Self { proxy, certificate, puts, _server: AbortOnDropHandle::new(server) }
    }

    /// Every PutRecords that came.
    pub fn puts(&self) -> Vec<Value> {
        self.puts.lock().expect("nobody panics with it in hand").clone()
    }
}

/// Takes what a client tells a proxy (CONNECT) and is the far end itself.
struct Tunnels {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Tunnels {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (mut stream, address) =
                self.tcp.accept().await.expect("a loopback listener accepts");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.expect("the client asks for a tunnel"));
            }
            assert!(asked.starts_with(b"CONNECT "), "{}", String::from_utf8_lossy(&asked));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("the client listens");
            // A client that takes offence at the certificate goes away; its test will tell.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// An application of the test's own, at this address until the handle is dropped.
pub async fn serve(app: Router) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move {
        axum::serve(listener, app).await.expect("axum::serve never returns")
    });
    (url, AbortOnDropHandle::new(server))
}
