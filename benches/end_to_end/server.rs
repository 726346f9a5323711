//! The stream that is measured against: as much of Kinesis' API as a producer needs, answered
//! without looking into a record. It stores nothing; its own ceiling is measured by [`ceiling`].
//!
//! A thread a connection and blocking sockets: nothing is faster for a few connections, and a delay
//! is a sleep. Over TLS it offers HTTP/2 first, as AWS's endpoints do, serves those that take it,
//! and counts them.

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use dispatchd_core::model::ShardMap;
use dispatchd_core::model::shard_map::Shard;
use dispatchd_core::model::{HashKey, PartitionKey};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, StreamOwned};
use tokio_rustls::server::TlsStream;

/// The longest head of a request that is understood.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const SEQUENCE_NUMBER: &str = "49681234567890123456789012345678901234567890123456789012";

/// As ALPN names it.
const HTTP2: &[u8] = b"h2";
/// The flow-control window that HTTP/2 begins with.
const HTTP2_WINDOW_BYTES: u32 = 65_535;

/// What the server is asked for besides Kinesis' own operations.
pub(crate) const COUNTS: &str = "Bench.Counts";

/// One stream.
struct Stream {
    shards: ShardMap,
    /// What a record's entry in a reply is, by shard.
    entries: Vec<String>,
    delay: Duration,
    requests: AtomicU64,
    records: AtomicU64,
    http2: AtomicU64,
}

/// Since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// PutRecords and PutRecord.
    pub requests: u64,
    /// The records in them.
    pub records: u64,
    /// Connections that took HTTP/2.
    pub http2: u64,
}

/// Writes the certificate of its TLS port, prints its plain and its TLS port, and serves until it
/// is killed.
pub(crate) fn serve(shards_count: usize, delay: Duration, certificate: &Path) -> Result<()> {
    let made =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(Error::other)?;
    let der = BASE64_STANDARD.encode(made.cert.der());
    std::fs::write(
        certificate,
        format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"),
    )?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|tls| {
            tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .map_err(Error::other)?;
    tls.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    let stream = Arc::new(Stream::new(shards_count, delay));
    println!("{} {}", listen(&stream, None)?, listen(&stream, Some(Arc::new(tls)))?);
    loop {
        std::thread::park();
    }
}

/// Serves on a port of its own, which it says.
fn listen(stream: &Arc<Stream>, tls: Option<Arc<ServerConfig>>) -> Result<u16> {
    let (stream, listener) = (Arc::clone(stream), TcpListener::bind("127.0.0.1:0")?);
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (stream, tls) = (Arc::clone(&stream), tls.clone());
            // An error is a peer that left.
            std::thread::spawn(move || stream.answer_all(socket, tls));
        }
    });
    Ok(port)
}

impl Stream {
    fn new(shards_count: usize, delay: Duration) -> Self {
        let width = u128::MAX / shards_count as u128;
        let shards = (0..shards_count)
            .map(|n| Shard { id: format!("shardId-{n:012}"), first: n as u128 * width });
        let shards = ShardMap::new(shards.collect()).expect("there is a shard");
        let entry = |n| {
            format!(r#"{{"SequenceNumber":"{SEQUENCE_NUMBER}","ShardId":"{}"}},"#, shards.id(n))
        };
        let entries = (0..shards_count).map(entry).collect();
        Self {
            shards,
            entries,
            delay,
            requests: AtomicU64::new(0),
            records: AtomicU64::new(0),
            http2: AtomicU64::new(0),
        }
    }

    fn answer_all(
        self: Arc<Self>,
        socket: TcpStream,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<()> {
        socket.set_nodelay(true)?;
        let Some(tls) = tls else { return self.answer_each(socket) };
        // HTTP/2 is hyper's, which needs a runtime; the protocol is known after the handshake.
        socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = runtime.block_on(async {
            let stream =
                TlsAcceptor::from(tls).accept(tokio::net::TcpStream::from_std(socket)?).await?;
            if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
                return Arc::clone(&self).answer_http2(stream).await.map(|()| None);
            }
            let (socket, connection) = stream.into_inner();
            Ok::<_, Error>(Some((connection, socket.into_std()?)))
        })?;
        let Some((connection, socket)) = socket else { return Ok(()) };
        socket.set_nonblocking(false)?;
        self.answer_each(StreamOwned::new(connection, socket))
    }

    async fn answer_http2(self: Arc<Self>, stream: TlsStream<tokio::net::TcpStream>) -> Result<()> {
        self.http2.fetch_add(1, Ordering::Relaxed);
        let service = service_fn(move |request: Request<Incoming>| {
            let stream = Arc::clone(&self);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let target =
                    head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
                let mut reply = Vec::new();
                tokio::time::sleep(stream.answer(target.unwrap_or_default(), &body, &mut reply))
                    .await;
                let reply = Response::builder()
                    .header("content-type", "application/x-amz-json-1.1")
                    .body(reply.into());
                Ok::<_, hyper::Error>(reply.expect("the header is one") as Response<Full<Bytes>>)
            }
        });
        let mut server = http2::Builder::new(TokioExecutor::new());
        server
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES);
        server.serve_connection(TokioIo::new(stream), service).await.map_err(Error::other)
    }

    fn answer_each(&self, mut socket: impl Read + Write) -> Result<()> {
        let (mut buf, mut reply) = (Vec::new(), Vec::new());
        while let Some(head_bytes) = read_request(&mut socket, &mut buf)? {
            let (head, body) = buf.split_at(head_bytes);
            let target = header(head, b"x-amz-target: ");
            reply.clear();
            let delay = self.answer(target, body, &mut reply);
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
                reply.len()
            );
            reply.splice(..0, head.into_bytes());
            socket.write_all(&reply)?;
        }
        Ok(())
    }

    /// Appends the answer and says how much later it is due.
    fn answer(&self, target: &str, body: &[u8], reply: &mut Vec<u8>) -> Duration {
        match target.rsplit('.').next().unwrap_or_default() {
            "PutRecords" => {
                reply.extend_from_slice(br#"{"FailedRecordCount":0,"Records":["#);
                let mut records = 0;
                for shard in self.shards_of(body) {
                    reply.extend_from_slice(self.entries[shard].as_bytes());
                    records += 1;
                }
                assert!(records > 0, "a request has records");
                reply.pop(); // the last comma
                reply.extend_from_slice(b"]}");
                return self.stored(records);
            }
            "PutRecord" => {
                let shard = self.shards_of(body).next().expect("a record has a key");
                reply.extend_from_slice(self.entries[shard].trim_end_matches(',').as_bytes());
                return self.stored(1);
            }
            "ListShards" => reply.extend_from_slice(self.list_shards().to_string().as_bytes()),
            "DescribeStreamSummary" => {
                reply.extend_from_slice(summary(self.shards.len()).to_string().as_bytes())
            }
            "Counts" => {
                let counts = [&self.requests, &self.records, &self.http2]
                    .map(|count| count.load(Ordering::Relaxed));
                reply.extend_from_slice(serde_json::json!(counts).to_string().as_bytes());
            }
            other => panic!("{other:?} is not what a producer asks for"),
        }
        Duration::ZERO
    }

    /// Where each record goes: by the one field that every entry has, which base64 cannot contain.
    fn shards_of<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let mut explicit = None;
        memchr::memmem::find_iter(body, br#"Key":""#).filter_map(move |at| {
            let value = &body[at + br#"Key":""#.len()..];
            let value = &value[..memchr::memchr(b'"', value)?];
            let text = std::str::from_utf8(value).expect("keys are UTF-8");
            if body[..at].ends_with(b"Hash") {
                explicit = Some(HashKey::parse(text).expect("a producer checks its keys").0);
                return None;
            }
            let hash = || PartitionKey::new(text).expect("a producer checks its keys").hash();
            Some(self.shards.index_of(explicit.take().unwrap_or_else(hash)))
        })
    }

    fn stored(&self, records: u64) -> Duration {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.delay
    }

    fn list_shards(&self) -> serde_json::Value {
        let width = u128::MAX / self.shards.len() as u128;
        let shard = |n: usize| {
            let last =
                if n + 1 == self.shards.len() { u128::MAX } else { (n as u128 + 1) * width - 1 };
            json!({
                "ShardId": self.shards.id(n),
                "HashKeyRange": { "StartingHashKey": (n as u128 * width).to_string(), "EndingHashKey": last.to_string() },
                "SequenceNumberRange": { "StartingSequenceNumber": SEQUENCE_NUMBER },
            })
        };
        json!({ "Shards": (0..self.shards.len()).map(shard).collect::<Vec<_>>() })
    }
}

/// What DescribeStreamSummary says of the stream of a bench.
pub(crate) fn summary(open_shards: usize) -> serde_json::Value {
    json!({ "StreamDescriptionSummary": {
        "StreamName": "bench",
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
        "StreamStatus": "ACTIVE",
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 0,
        "EnhancedMonitoring": [],
        "OpenShardCount": open_shards,
        "MaxRecordSizeInKiB": 1024,
    } })
}

/// Reads one request into `buf` and says how long its head is; nothing when the peer is done.
pub(crate) fn read_request(socket: &mut impl Read, buf: &mut Vec<u8>) -> Result<Option<usize>> {
    buf.resize(buf.capacity().max(HEAD_BYTES_MAX), 0);
    let mut filled = 0;
    let head_bytes = loop {
        let read = socket.read(&mut buf[filled..])?;
        filled += read;
        if let Some(at) = memchr::memmem::find(&buf[..filled], b"\r\n\r\n") {
            break at + b"\r\n\r\n".len();
        }
        if read == 0 {
            return Ok(None);
        }
    };
    let body_bytes: usize =
        header(&buf[..head_bytes], b"content-length: ").parse().expect("requests have a length");
    buf.resize(head_bytes + body_bytes, 0);
    socket.read_exact(&mut buf[filled..])?;
    Ok(Some(head_bytes))
}

/// A header's value; the clients here write names in lower case.
pub(crate) fn header<'a>(head: &'a [u8], name: &[u8]) -> &'a str {
    let begin = memchr::memmem::find(head, name).map_or(head.len(), |at| at + name.len());
    let length = memchr::memchr(b'\r', &head[begin..]).unwrap_or(0);
    std::str::from_utf8(&head[begin..begin + length]).expect("heads are ASCII")
}

/// What the server at this port has stored so far.
pub(crate) fn counts(port: u16) -> Result<Counts> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.write_all(&request(COUNTS, b""))?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut reply = String::new();
    socket.read_to_string(&mut reply)?;
    let [requests, records, http2] =
        serde_json::from_str(reply.lines().last().unwrap_or_default())?;
    Ok(Counts { requests, records, http2 })
}

/// Records a second that the server takes from clients that do nothing but send a ready request of
/// 500 records.
pub(crate) fn ceiling(port: u16, record_bytes: usize) -> Result<f64> {
    const CLIENTS: usize = 2;
    const FOR: Duration = Duration::from_secs(1);
    let data = "A".repeat(record_bytes.div_ceil(3) * 4); // as base64
    let entry = |n| format!(r#"{{"Data":"{data}","PartitionKey":"customer-{n:06}"}}"#);
    let body = format!(
        r#"{{"Records":[{}],"StreamName":"bench"}}"#,
        (0..500).map(entry).collect::<Vec<_>>().join(",")
    );
    let (request, before, began) =
        (request("Kinesis_20131202.PutRecords", body.as_bytes()), counts(port)?, Instant::now());
    std::thread::scope(|scope| {
        let send = || -> Result<()> {
            let (mut socket, mut reply) =
                (TcpStream::connect(("127.0.0.1", port))?, vec![0; 1 << 20]);
            while began.elapsed() < FOR {
                socket.write_all(&request)?;
                let mut filled = 0;
                while !reply[..filled].ends_with(b"]}") {
                    filled += socket.read(&mut reply[filled..])?;
                }
            }
            Ok(())
        };
        let senders: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().try_for_each(|sender| sender.join().expect("a sender does not panic"))
    })?;
    Ok((counts(port)?.records - before.records) as f64 / began.elapsed().as_secs_f64())
}

pub(crate) fn request(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nx-amz-target: {target}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
