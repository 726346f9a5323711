//! The documents of the admin socket, as JSON: the daemon writes them, `dispatchd admin` reads
//! them. Only types stand here.
//!
//! They never hold an environment, a payload, a key or an event's id.

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
    /// Where the inputs on loopback listen, by their names; none of those that are off.
    #[serde(default)]
    pub loopback: BTreeMap<String, String>,
    /// How many callers are connected now.
    pub connections: usize,
    pub stream: Stream,
    pub buffer: Buffer,
    pub events: Events,
    /// What came by each input.
    pub inputs: BTreeMap<String, Input>,
    pub transactions: Transactions,
    pub lanes: Vec<Lane>,
    /// The outage that goes on, while PutRecords store nothing whatever is sent; otherwise `None`.
    pub outage: Option<Outage>,
    /// The last errors of calls to Kinesis, the one that was seen last at the end. Errors of one
    /// kind are one entry.
    pub errors: Vec<Error>,
    /// Whose requests they are; `None` while there are no credentials.
    pub identity: Option<Identity>,
    /// When the credentials in use expire; `None` if they do not, or none were needed yet.
    pub credentials: Option<Credentials>,
    pub log: Log,
    /// `None` where events are checked by none.
    #[serde(default)]
    pub schemas: Option<Schemas>,
    /// `None` until the first reload.
    pub last_reload: Option<Reload>,
}

/// A running forwarder at one moment. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// `starting`, `running` or `draining`.
    pub state: String,
    pub version: String,
    pub pid: u32,
    pub started: String,
    pub uptime_seconds: u64,
    /// The stream's name or ARN, as configured; and where requests for it go.
    pub stream: String,
    pub endpoint: String,
    pub region: String,
    pub targets: Vec<Target>,
    /// Whose requests they are; `None` while there are no credentials.
    pub identity: Option<Identity>,
    pub credentials: Option<Credentials>,
    pub log: Log,
    /// `None` until the first reload.
    pub last_reload: Option<Reload>,
}

/// Who is delivered to. What `list-event-source-mappings` tells of one has the same meaning here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    /// The URL, or the command.
    pub to: String,
    /// `exec` for a command.
    pub format: String,
    /// The state of the shard that stands worst.
    pub state: String,
    pub batch_size: usize,
    pub behind_seconds: f64,
    pub shards: Vec<TargetShard>,
}

/// A shard that is read for a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetShard {
    pub id: String,
    /// `delivering`, `retrying` or `blocked`.
    pub state: String,
    /// What the target said last that was no success; `OK` since the last success.
    pub last_result: String,
    /// How long no request has been a success; `None` since the last one.
    pub failing_seconds: Option<f64>,
    /// The last record that is done and kept as such: its sequence number, `end` or `from` a time;
    /// `None` while nothing is kept.
    pub checkpoint: Option<String>,
    pub checkpoint_age_seconds: Option<f64>,
    pub behind_seconds: f64,
    pub in_flight: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Name or ARN, as configured.
    pub name: String,
    /// The scheme and host that requests go to, and below it the region that they are signed for.
    pub endpoint: String,
    pub region: String,
    /// How many shards are open; `None` while they are not known.
    pub shards: Option<usize>,
    /// The largest record that the stream takes; `None` while that is not known.
    pub record_bytes_max: Option<usize>,
    /// The largest record that this daemon's memory has room for: larger ones are refused. Below
    /// that, what the stream takes decides.
    pub record_bytes_carried: usize,
    /// Whether the stream distributes records itself, whatever their keys: then their order is not
    /// kept, and nothing is aggregated.
    pub ignores_keys: bool,
    pub list_shards: Call,
    pub describe_stream: Call,
}

/// A call that is made again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// `None` until the first one.
    pub last_ok: Option<String>,
    pub last_failed: Option<String>,
    /// Failures in a row, up to now.
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

/// Counts of events: accepted = acked + refused + rolled back + in flight + staged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub accepted: u64,
    pub acked: u64,
    /// How many were refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Events of transactions that ended without a commit.
    pub rolled_back: u64,
    pub in_flight: u64,
    /// Events of transactions that are open.
    pub staged: u64,
    /// The age of the oldest event in flight; 0 without one.
    pub oldest_age_seconds: f64,
}

/// Events of one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub accepted: u64,
    pub in_flight: u64,
}

/// Counts of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transactions {
    pub open: u64,
    /// How many ended, by how.
    pub ended: BTreeMap<String, u64>,
}

/// A lane, an owner of keys. One that does not answer in time is itself news.
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
    /// Why the stream takes nothing until an operator acts; `None` while it takes records.
    pub blocked: Option<Blocked>,
    /// The shards, in the order of their hash ranges.
    pub shards: Vec<Shard>,
}

/// Why nothing is stored now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// The cause of the last failure: its name, what it means, and what to do.
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
    /// `None` while the shards are not known: then all keys wait in one queue.
    pub id: Option<String>,
    /// Records that wait for a request.
    pub ready: usize,
    /// How long the shard still cools after being throttled; `None` if it does not.
    pub rests_seconds: Option<f64>,
    /// The most that is sent to it once it was throttled, where 1.0 is what a whole shard takes;
    /// `None`: no limit.
    pub pace: Option<f64>,
    /// The part of the records of the last minute that was throttled; `None` if there were none.
    pub throttled_share: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    pub call: String,
    pub code: String,
    /// The message of the last one.
    pub message: String,
    pub first: String,
    pub last: String,
    pub count: u64,
}

/// Which credentials are in use, without anything of them that is secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Where the credentials come from, e.g. `environment variables`.
    pub provider: String,
    /// The last characters of the access key's id.
    pub key_id_end: String,
    /// The account; `None` where the provider does not tell it.
    pub account: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    pub expire: String,
    /// 0 once they have expired.
    pub in_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    pub level: String,
    /// How long until the configured level holds again; `None` if this level is not for a time.
    pub reverts_seconds: Option<u64>,
}

/// The schemas that events are checked by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schemas {
    pub folder: PathBuf,
    /// `off`, `warn` or `enforce`; types may have another one.
    pub mode: String,
    /// How many types have a schema.
    pub types: usize,
    /// Why the folder as it is now was refused, and the schemas are those from before; `None` if
    /// they are the folder's.
    pub refused: Option<String>,
}

/// A configuration that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    pub at: String,
    /// Every problem, one on each line; `None` if the configuration was taken over.
    pub error: Option<String>,
    /// The keys that changed, as `key = value`.
    pub applied: Vec<String>,
    /// Keys that differ and keep their old values until a restart.
    pub needs_restart: Vec<String>,
}

/// What `PUT /log-level` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    pub level: String,
    /// Milliseconds until the configured level holds again; `None`: this level holds until a
    /// restart.
    pub for_ms: Option<u64>,
}

/// The body of every answer that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub error: String,
}
