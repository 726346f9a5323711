//! The stream that the ways out are measured with: as much of Kinesis' API as a reader needs, from
//! memory. It keeps nothing: a record is made of its index in the shard, so that any place can be
//! read at any time, as often as somebody likes.
//!
//! Either there is always more to read, or events come at a rate and say when they were stored.

use std::io::{Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dispatchd_core::model::{PartitionKey, Record};
use dispatchd_core::wire::packed;
use serde_json::{Value, json};
use testkit::orders;

use crate::server::{COUNTS, header, read_request, request, summary};

/// Bytes that GetRecords gives at once.
const PAGE_BYTES_MAX: usize = 10 << 20;
/// Partition keys, used in turn; an entry is made for each once.
const KEYS: usize = 1_000;
/// What a sequence number begins with. Its last digits are the record's index.
const NUMBER_HEAD: &str = "496812345678901234567890123456789012";
const INDEX_DIGITS: usize = 20;

/// What a stream holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents {
    pub shards: usize,
    pub data_bytes: usize,
    /// Events of a record: packed in the KPL's format, where there are more than one.
    pub members: usize,
    /// Events a second of all shards together; `None`: there is always more to read.
    pub rate: Option<u32>,
}

struct Source {
    contents: Contents,
    began: SystemTime,
    /// What stands in a page for a record, by its key.
    entries: Vec<Entry>,
    calls: AtomicU64,
}

/// A record's text, and where its index stands in it.
struct Entry {
    text: Vec<u8>,
    index_at: usize,
}

/// Prints its port and serves until it is killed.
pub(crate) fn serve(contents: Contents) -> Result<()> {
    let source = Arc::new(Source::new(contents));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for socket in listener.incoming() {
        let (source, socket) = (Arc::clone(&source), socket?);
        std::thread::spawn(move || source.answer_all(socket)); // an error is a peer that left
    }
    Ok(())
}

/// How many GetRecords the source at this port has answered.
pub(crate) fn calls(port: u16) -> Result<u64> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.write_all(&request(COUNTS, b""))?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let reply = std::io::read_to_string(socket)?;
    Ok(serde_json::from_str(reply.lines().last().unwrap_or_default())?)
}

impl Source {
    fn new(contents: Contents) -> Self {
        let entries = (0..KEYS).map(|key| Entry::new(contents, key)).collect();
        Self { contents, began: SystemTime::now(), entries, calls: AtomicU64::new(0) }
    }

    fn answer_all(&self, mut socket: TcpStream) -> Result<()> {
        socket.set_nodelay(true)?;
        let (mut asked, mut body) = (Vec::new(), Vec::new());
        while let Some(head_bytes) = read_request(&mut socket, &mut asked)? {
            let (head, question) = asked.split_at(head_bytes);
            body.clear();
            self.answer(header(head, b"x-amz-target: "), question, &mut body)?;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all(head.as_bytes())?;
            socket.write_all(&body)?;
        }
        Ok(())
    }

    fn answer(&self, target: &str, question: &[u8], body: &mut Vec<u8>) -> Result<()> {
        let asked = || serde_json::from_slice::<Value>(question);
        let reply = match target.rsplit('.').next().unwrap_or_default() {
            "GetRecords" => return self.page(&asked()?, body),
            "GetShardIterator" => self.iterator(&asked()?),
            "ListShards" => self.list(),
            "DescribeStreamSummary" => summary(self.contents.shards),
            "Counts" => json!(self.calls.load(Ordering::Relaxed)),
            other => panic!("{other:?} is not what a reader asks for"),
        };
        serde_json::to_writer(body, &reply)?;
        Ok(())
    }

    fn list(&self) -> Value {
        let shards = (0..self.contents.shards).map(|n| {
            json!({
                "ShardId": format!("shardId-{n:012}"),
                "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" },
                "SequenceNumberRange": { "StartingSequenceNumber": NUMBER_HEAD },
            })
        });
        json!({ "Shards": shards.collect::<Vec<_>>() })
    }

    /// At the first record: nothing was read before.
    fn iterator(&self, asked: &Value) -> Value {
        let shard = asked["ShardId"].as_str().expect("a shard is named");
        let number: usize = shard.trim_start_matches("shardId-").parse().expect("it is listed");
        json!({ "ShardIterator": format!("{number}:0") })
    }

    fn page(&self, asked: &Value, body: &mut Vec<u8>) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let iterator = asked["ShardIterator"].as_str().expect("it is our own");
        let (shard, from) = iterator.split_once(':').expect("it is our own");
        let [shard, from] = [shard, from].map(|text| text.parse::<u64>().expect("it is our own"));
        let limit = asked["Limit"].as_u64().unwrap_or(10_000);
        let stored = self.stored(shard);
        body.extend_from_slice(br#"{"Records":["#);
        let mut at = from;
        while at < stored.min(from + limit) && body.len() < PAGE_BYTES_MAX {
            if at > from {
                body.push(b',');
            }
            self.push(shard, at, body);
            at += 1;
        }
        let behind_ms = if self.contents.rate.is_none() { 60_000 } else { 0 };
        write!(body, r#"],"NextShardIterator":"{shard}:{at}","MillisBehindLatest":{behind_ms}}}"#)
    }

    /// Records that a shard has by now.
    fn stored(&self, shard: u64) -> u64 {
        let Some(rate) = self.contents.rate else { return u64::MAX };
        let since = self.began.elapsed().unwrap_or_default();
        let turns = since.as_secs_f64() * f64::from(rate) / self.contents.shards as f64;
        let whole = (turns - 1.0).max(0.0) as u64; // each of these turns is over
        (whole..).find(|index| self.due(*index, shard, rate) > since).unwrap_or(whole)
    }

    /// When a record is stored: in each turn each shard has one, sooner or later in the turn, so
    /// that the phase of the polls makes no difference.
    fn due(&self, index: u64, shard: u64, rate: u32) -> Duration {
        const GOLDEN: f64 = 0.618_033_988_749_895; // its multiples fill a turn evenly
        let late = (index * self.contents.shards as u64 + shard) as f64 * GOLDEN;
        let turn = index as f64 + late.fract();
        Duration::from_secs_f64(turn * self.contents.shards as f64 / f64::from(rate))
    }

    fn push(&self, shard: u64, index: u64, body: &mut Vec<u8>) {
        let Some(rate) = self.contents.rate else {
            let entry = &self.entries[index as usize % KEYS];
            let at = body.len() + entry.index_at;
            body.extend_from_slice(&entry.text);
            let digits = &mut body[at..at + INDEX_DIGITS];
            write!(&mut digits[..], "{index:0INDEX_DIGITS$}").expect("there is room for them");
            return;
        };
        let due = self.began + self.due(index, shard, rate);
        let due_us = due.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let data = format!(r#"{{"type":"order.placed","data":{{"{STORED}":{due_us}}}}}"#);
        body.extend_from_slice(&Entry::of(data.as_bytes(), "customer", index).text);
    }
}

/// The member that says when an event was stored, in microseconds.
pub(crate) const STORED: &str = "stored";

impl Entry {
    fn new(contents: Contents, key: usize) -> Self {
        let line = orders::data(contents.data_bytes);
        let event = format!(
            r#"{{"id":"0b8ff0a5-6d2f-4f6b-9d5b-3a2f4c5d6e7f","type":"order.placed","data":{line},"timestamp":"2026-11-28T06:00:00.000Z"}}"#
        );
        let name = format!("customer-{key:06}");
        if contents.members == 1 {
            return Self::of(event.as_bytes(), &name, 0);
        }
        let key = PartitionKey::new(&name).expect("it is short");
        let record = Record::new(key, None, event.into());
        Self::of(&packed::encode(&vec![&record; contents.members]), &name, 0)
    }

    fn of(data: &[u8], key: &str, index: u64) -> Self {
        let mut text = format!(r#"{{"SequenceNumber":"{NUMBER_HEAD}"#);
        let index_at = text.len();
        let data = BASE64_STANDARD.encode(data);
        text += &format!(
            r#"{index:0INDEX_DIGITS$}","ApproximateArrivalTimestamp":1795848000.123,"Data":"{data}","PartitionKey":"{key}"}}"#
        );
        Self { text: text.into_bytes(), index_at }
    }
}
