//! The stream that is measured against: as much of Kinesis' API as a producer needs, answered without looking into a
//! record. It stores nothing; its own ceiling is measured by [`ceiling`].
//!
//! A thread a connection and blocking sockets: nothing is faster for a few connections, and a delay is a sleep.

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dispatchd::event::{HashKey, PartitionKey};
use dispatchd::kinesis::ShardMap;
use dispatchd::kinesis::shards::Shard;
use serde_json::json;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The longest head of a request that is understood.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const SEQUENCE_NUMBER: &str = "49681234567890123456789012345678901234567890123456789012";

/// What the server is asked for besides Kinesis' own operations.
const COUNTS: &str = "Bench.Counts";

/// One stream.
struct Stream {
    shards: ShardMap,
    /// What a record's entry in a reply is, by shard.
    entries: Vec<String>,
    delay: Duration,
    requests: AtomicU64,
    records: AtomicU64,
}

/// PutRecords and PutRecord since the start, and the records in them.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub requests: u64,
    pub records: u64,
}

/// Writes the certificate of its TLS port, prints its plain and its TLS port, and serves until it is killed.
pub fn serve(shards_count: usize, delay: Duration, certificate: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(Error::other)?;
    let der = BASE64_STANDARD.encode(made.cert.der());
    std::fs::write(certificate, format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n"))?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|tls| tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
        .map_err(Error::other)?;
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
            std::thread::spawn(move || stream.answer_all(socket, tls)); // an error is a peer that left
        }
    });
    Ok(port)
}

impl Stream {
    fn new(shards_count: usize, delay: Duration) -> Self {
        let width = u128::MAX / shards_count as u128;
        let shards = (0..shards_count).map(|n| Shard { id: format!("shardId-{n:012}"), first: n as u128 * width });
        let shards = ShardMap::new(shards.collect()).expect("there is a shard");
        let entry = |n| format!(r#"{{"SequenceNumber":"{SEQUENCE_NUMBER}","ShardId":"{}"}},"#, shards.id(n));
        let entries = (0..shards_count).map(entry).collect();
        Self { shards, entries, delay, requests: AtomicU64::new(0), records: AtomicU64::new(0) }
    }

    fn answer_all(&self, socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<()> {
        socket.set_nodelay(true)?;
        match tls {
            None => self.answer_each(socket),
            Some(tls) => {
                let connection = ServerConnection::new(tls).map_err(Error::other)?;
                self.answer_each(StreamOwned::new(connection, socket))
            }
        }
    }

    fn answer_each(&self, mut socket: impl Read + Write) -> Result<()> {
        let (mut buf, mut reply) = (Vec::new(), Vec::new());
        while let Some(head_bytes) = read_request(&mut socket, &mut buf)? {
            let (head, body) = buf.split_at(head_bytes);
            let target = header(head, b"x-amz-target: ");
            reply.clear();
            self.answer(target.rsplit('.').next().unwrap_or_default(), body, &mut reply);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
                reply.len()
            );
            reply.splice(..0, head.into_bytes());
            socket.write_all(&reply)?;
        }
        Ok(())
    }

    fn answer(&self, operation: &str, body: &[u8], reply: &mut Vec<u8>) {
        match operation {
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
                self.stored(records);
            }
            "PutRecord" => {
                let shard = self.shards_of(body).next().expect("a record has a key");
                reply.extend_from_slice(self.entries[shard].trim_end_matches(',').as_bytes());
                self.stored(1);
            }
            "ListShards" => reply.extend_from_slice(self.list_shards().to_string().as_bytes()),
            "DescribeStreamSummary" => reply.extend_from_slice(self.summary().to_string().as_bytes()),
            "Counts" => {
                let counts = (self.requests.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed));
                reply.extend_from_slice(format!("{} {}", counts.0, counts.1).as_bytes());
            }
            other => panic!("{other:?} is not what a producer asks for"),
        }
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

    fn stored(&self, records: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
    }

    fn list_shards(&self) -> serde_json::Value {
        let width = u128::MAX / self.shards.len() as u128;
        let shard = |n: usize| {
            let last = if n + 1 == self.shards.len() { u128::MAX } else { (n as u128 + 1) * width - 1 };
            json!({
                "ShardId": self.shards.id(n),
                "HashKeyRange": { "StartingHashKey": (n as u128 * width).to_string(), "EndingHashKey": last.to_string() },
                "SequenceNumberRange": { "StartingSequenceNumber": SEQUENCE_NUMBER },
            })
        };
        json!({ "Shards": (0..self.shards.len()).map(shard).collect::<Vec<_>>() })
    }

    fn summary(&self) -> serde_json::Value {
        json!({ "StreamDescriptionSummary": {
            "StreamName": "bench",
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 0,
            "EnhancedMonitoring": [],
            "OpenShardCount": self.shards.len(),
            "MaxRecordSizeInKiB": 1024,
        } })
    }
}

/// Reads one request into `buf` and says how long its head is; nothing when the peer is done.
fn read_request(socket: &mut impl Read, buf: &mut Vec<u8>) -> Result<Option<usize>> {
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
    let body_bytes: usize = header(&buf[..head_bytes], b"content-length: ").parse().expect("requests have a length");
    buf.resize(head_bytes + body_bytes, 0);
    socket.read_exact(&mut buf[filled..])?;
    Ok(Some(head_bytes))
}

/// A header's value; the clients here write names in lower case.
fn header<'a>(head: &'a [u8], name: &[u8]) -> &'a str {
    let begin = memchr::memmem::find(head, name).map_or(head.len(), |at| at + name.len());
    let length = memchr::memchr(b'\r', &head[begin..]).unwrap_or(0);
    std::str::from_utf8(&head[begin..begin + length]).expect("heads are ASCII")
}

/// What the server at this port has stored so far.
pub fn counts(port: u16) -> Result<Counts> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.write_all(&request(COUNTS, b""))?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut reply = String::new();
    socket.read_to_string(&mut reply)?;
    let counts = reply.lines().last().and_then(|line| line.split_once(' ')).expect("two numbers");
    let number = |text: &str| text.parse().expect("a number");
    Ok(Counts { requests: number(counts.0), records: number(counts.1) })
}

/// Records a second that the server takes from clients that do nothing but send a ready request of 500 records.
pub fn ceiling(port: u16, record_bytes: usize) -> Result<f64> {
    const CLIENTS: usize = 2;
    const FOR: Duration = Duration::from_secs(1);
    let data = "A".repeat(record_bytes.div_ceil(3) * 4); // as base64
    let entry = |n| format!(r#"{{"Data":"{data}","PartitionKey":"customer-{n:06}"}}"#);
    let body = format!(r#"{{"Records":[{}],"StreamName":"bench"}}"#, (0..500).map(entry).collect::<Vec<_>>().join(","));
    let (request, before, began) =
        (request("Kinesis_20131202.PutRecords", body.as_bytes()), counts(port)?, Instant::now());
    std::thread::scope(|scope| {
        let send = || -> Result<()> {
            let (mut socket, mut reply) = (TcpStream::connect(("127.0.0.1", port))?, vec![0; 1 << 20]);
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

fn request(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nx-amz-target: {target}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
