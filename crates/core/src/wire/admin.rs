//! What `dispatchd admin status` knows, as JSON: written by the daemon, read by the command. Only
//! types.
//!
//! Never an environment, a payload, a key or an event's id.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A running daemon at one moment. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `starting`, `running` or `draining`.
    pub state: String,
    pub version: String,
    pub pid: u32,
    pub started: String,
    pub uptime_seconds: u64,
    pub socket: PathBuf,
    /// Callers connected now.
    pub connections: usize,
    pub stream: Stream,
    pub buffer: Buffer,
    pub events: Events,
    pub lanes: Vec<Lane>,
    /// While PutRecords store nothing, whatever is sent.
    pub outage: Option<Outage>,
    /// The last errors of calls to Kinesis, the one that was seen last at the end; errors of one
    /// kind are one entry.
    pub errors: Vec<Error>,
    /// Whose requests they are; nothing while there are no credentials.
    pub identity: Option<Identity>,
    /// Of those in use; nothing if they do not expire, or none were needed yet.
    pub credentials: Option<Credentials>,
    pub log: Log,
    /// Nothing until the first reload.
    pub last_reload: Option<Reload>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Name or ARN, as configured.
    pub name: String,
    /// Scheme and host that requests go to, and the region they are signed for.
    pub endpoint: String,
    pub region: String,
    /// Open shards; nothing while they are not known.
    pub shards: Option<usize>,
    /// The largest record that the stream takes; nothing while that is not known.
    pub record_bytes_max: Option<usize>,
    /// What this daemon's memory carries: larger ones are refused, and what the stream takes
    /// decides below that.
    pub record_bytes_carried: usize,
    /// It distributes records itself, whatever their keys: their order is not kept, and nothing is
    /// aggregated.
    pub ignores_keys: bool,
    pub list_shards: Call,
    pub describe_stream: Call,
}

/// A call that is made again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Nothing until the first one.
    pub last_ok: Option<String>,
    pub last_failed: Option<String>,
    /// In a row, up to now.
    pub failures: u32,
}

/// The byte budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    pub used_bytes: usize,
    pub limit_bytes: usize,
    /// How long connections waited for room since the start, added up.
    pub backpressure_seconds: f64,
}

/// The books: accepted = acked + refused + in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub accepted: u64,
    pub acked: u64,
    /// By code.
    pub refused: BTreeMap<String, u64>,
    pub in_flight: u64,
    /// 0 without an event in flight.
    pub oldest_age_seconds: f64,
}

/// An owner of keys. One that did not answer in time is itself news.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Ok(LaneStatus),
    /// Why nothing is known of it.
    Unresponsive(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// PutRecords requests that are out, and the records' bytes in them.
    pub requests: usize,
    pub request_bytes: usize,
    /// Partition keys with an event that is not settled; of these, those that wait before another
    /// attempt, and those with events that wait behind one in flight.
    pub keys: usize,
    pub keys_cooling: usize,
    pub keys_held_by_order: usize,
    /// While the stream takes nothing until an operator acts.
    pub blocked: Option<Blocked>,
    /// In the order of their hash ranges.
    pub shards: Vec<Shard>,
}

/// Why nothing is stored now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// Of the last request: its name, what it means, and what to do.
    pub cause: String,
    pub meaning: String,
    pub advice: String,
    pub lasts_seconds: f64,
    pub requests_failed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocked {
    pub reason: String,
    pub advice: String,
    pub since_seconds: f64,
    pub probes_failed: u32,
    pub next_probe_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Nothing while the shards are not known: then all keys stand in one line.
    pub id: Option<String>,
    /// Records that wait for a request.
    pub ready: usize,
    /// How long it still rests after being throttled; nothing if it does not.
    pub rests_seconds: Option<f64>,
    /// What is sent to it at most, once it was throttled: 1.0 is what a whole shard takes. Nothing:
    /// no limit.
    pub pace: Option<f64>,
    /// The part that was throttled of the records it was sent in the last minute; nothing if there
    /// were none.
    pub throttled_share: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    pub call: String,
    pub code: String,
    /// Of the last one.
    pub message: String,
    pub first: String,
    pub last: String,
    pub count: u64,
}

/// Which credentials are in use, without anything of them that is secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// In words, e.g. `environment variables`.
    pub provider: String,
    /// The last characters of the access key's id.
    pub key_id_end: String,
    /// Where the provider tells it.
    pub account: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    pub expire: String,
    /// 0 once they have.
    pub in_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    pub level: String,
    /// When the configured level holds again, if this one is for a time.
    pub reverts_seconds: Option<u64>,
}

/// A configuration that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    pub at: String,
    /// Nothing if it was taken over, or every problem, a line each.
    pub error: Option<String>,
    /// As `key = value`.
    pub applied: Vec<String>,
    /// Keys that differ and keep their old values until a restart.
    pub needs_restart: Vec<String>,
}

/// What `PUT /log-level` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    pub level: String,
    /// Milliseconds until the configured level holds again; without it, until a restart.
    pub for_ms: Option<u64>,
}

/// The body of every answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub error: String,
}
