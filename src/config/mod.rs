//! The configuration, twice: as typed (text with an origin) and as used ([`Config`]). Nothing here
//! reads the host but [`Machine::read`] and [`env_vars`]; [`resolve`] opens the one file it is
//! given and is pure otherwise.
//!
//! - One table, `keys.rs`, says for each key: name, default, what it takes, meaning. Nothing else
//!   knows a range.
//! - Layers, each over the one before: defaults < what the command presets < file < environment <
//!   flags (`file.rs`).
//! - What is then still `auto` or empty and the machine knows is filled in from [`Machine`].
//! - The SDK reads its own variables (`AWS_…`). They are checked here first, and it sees only those
//!   that are not blank (`environment.rs`).
//! - Only the step from text to [`Config`] can fail, and it reports every problem at once
//!   (`check.rs`). What it lets through needs no second look.
//! - `check` prints the very [`Resolved`] that `run` is built from.

mod check;
mod connection;
mod environment;
mod file;
mod host;
mod keys;
mod level;
mod machine;
mod memory;
mod reload;
mod rule;
#[cfg(test)]
mod tests;
mod used;

use dispatchd_aws::SdkEnv;
use dispatchd_core::model::Backoff;
use dispatchd_core::model::StreamId;
use dispatchd_producer::lane::Rules;
use dispatchd_producer::settings::{Aggregation, KeyOrder};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use check::{Problem, Problems};
pub use file::{env_vars, readable_again};
pub use host::{files_kept_back, files_needed, resolve_to_serve};
pub use keys::{KEYS, Key};
pub use level::log_filter;
pub use machine::{ForeignFallback, Machine, could_make_files, foreign_owner};
pub use memory::{Carried, MemorySum, memory_sum, memory_sum_for};
pub use reload::{Changes, after as after_reload, changes};
pub use rule::{duration, show_size};

/// The configuration as used: every value is in its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Ends in `source.producerId` of every envelope; 1 to 256 bytes.
    pub producer_id: String,
    pub stream: Stream,
    pub socket: Socket,
    pub batch: Batch,
    pub delivery: Delivery,
    pub memory: Memory,
    pub runtime: Runtime,
    pub kinesis: dispatchd_aws::Settings,
    pub admin: Admin,
    pub log: Log,
    pub shutdown: Shutdown,
    /// The embedded stream, with `--local` only.
    pub local: Option<Local>,
    /// What the SDK sees of the environment; nothing with `local`.
    pub sdk_env: SdkEnv,
}

/// The stream and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// With `local` always a name.
    pub id: StreamId,
    /// `None`: the SDK's chain decides.
    pub region: Option<String>,
    /// `None`: the SDK's chain decides. With `local` the embedded stream's address takes its place.
    pub endpoint_url: Option<String>,
    /// Whether plain http may leave the host, whoever named the endpoint.
    pub allow_http: bool,
    /// Bytes of data and partition key, 1 KiB to 10 MiB; `None`: ask the stream.
    pub max_record_bytes: Option<usize>,
}

/// The socket that applications write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// At most 107 bytes.
    pub path: PathBuf,
    /// Permission bits; the owner reads and writes, nothing outside 0o777.
    pub mode: u32,
    /// 1 to 65,536.
    pub max_connections: usize,
    /// Unanswered events a connection may have, 1 to 65,536.
    pub window: usize,
}

/// How events are put together into requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// How long the oldest ready event waits for company, 0 to 60 s.
    pub linger: Duration,
    /// Records a request, 1 to 500.
    pub max_records: usize,
    /// Bytes a request aims at, 1 KiB to 10 MiB; one larger record may still go alone.
    pub max_bytes: usize,
    /// Requests at once, 1 to 256.
    pub max_in_flight: usize,
}

/// What is promised about each event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub ordering: KeyOrder,
    pub aggregation: Aggregation,
    /// Bytes of an aggregate of a shard's events, 1 KiB to 10 MiB; never more than the record
    /// limit.
    pub aggregate_max_bytes: usize,
    /// From accept to `DeliveryTimeout`, 1 s to 24 h.
    pub timeout: Duration,
    /// Least back-off, 1 ms to 60 s, at most `backoff_max`.
    pub backoff_min: Duration,
    /// Greatest back-off, 1 ms to 60 s.
    pub backoff_max: Duration,
    /// Acked ids that are remembered, 0 to 10,000,000; 0: none.
    pub dedupe_ids: usize,
    /// For how long, 1 s to 24 h.
    pub dedupe_for: Duration,
}

impl Config {
    /// The part of the configuration that a lane decides by.
    pub fn lane_rules(&self) -> Rules {
        let Self { batch, delivery, .. } = self;
        Rules {
            linger: batch.linger,
            max_records: batch.max_records,
            max_bytes: batch.max_bytes,
            max_in_flight: batch.max_in_flight,
            ordering: delivery.ordering,
            aggregation: delivery.aggregation,
            aggregate_max_bytes: delivery.aggregate_max_bytes,
            timeout: delivery.timeout,
            backoff: Backoff { min: delivery.backoff_min, max: delivery.backoff_max },
        }
    }
}

/// What the process may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of events held at once, 4 MiB to 64 GiB.
    pub budget_bytes: usize,
    /// What the machine's cgroup gives the process, where it can be read.
    pub cgroup_bytes: Option<usize>,
}

/// What the process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// 1 to 64. With one nothing is shared between cores, which costs the least; more carry more
    /// than some 300,000 events a second.
    pub threads: usize,
}

/// Metrics and probes, and what an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
    /// At most 107 bytes; `None`: off.
    pub socket: Option<PathBuf>,
}

/// What the process says, on stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A level or a filter directive; not empty.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Json,
    Text,
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// From the signal to the last answer, 1 s to 1 h.
    pub timeout: Duration,
    /// How long no client may be connected after one was, 1 s to 24 h; `None`: for ever.
    pub after_last_client: Option<Duration>,
}

/// The embedded stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// 0: any free port.
    pub port: u16,
    /// 1 to 64.
    pub shards: usize,
}

/// All that a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Below the file: what a command would rather have than the defaults.
    pub preset: Vec<Flag>,
    pub file: Option<PathBuf>,
    /// All of the environment: `DISPATCHD__…` are keys, `AWS_…` are the SDK's, others are passed
    /// over.
    pub env: Vec<(String, String)>,
    /// In the order in which they were typed: the last one wins.
    pub flags: Vec<Flag>,
    /// Whether the command line names the stream: what the layers below say of it, name or ARN,
    /// does not hold.
    pub is_stream_typed: bool,
    /// Whether an embedded stream stands in for Kinesis.
    pub local: bool,
    pub machine: Machine,
}

/// A key set on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    pub key: String,
    pub value: String,
    /// As typed, e.g. `--socket`.
    pub flag: String,
}

/// The error of a `--set` that is not KEY=VALUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, e.g. batch.linger=5ms")]
pub struct NotKeyValue;

/// A key as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Where a value came from; displayed in the words of the person who set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    /// The variable's name.
    Env(String),
    /// For a variable that is no key of ours, and is named already.
    Environment,
    /// The flag as typed.
    Flag(String),
    /// Why it is this value.
    Detected(String),
}

/// A configuration that holds, and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub config: Config,
    /// Every key, in the table's order.
    pub values: Vec<Setting>,
}

/// Lays the layers over each other and checks the result.
///
/// # Errors
/// Every problem at once; a file that cannot be read is reported alone, since the rest would be
/// guesses.
pub fn resolve(inputs: &Inputs) -> Result<Resolved, Problems> {
    check::check(file::layers(inputs)?, inputs)
}

/// Reads what follows `--set`.
impl FromStr for Flag {
    type Err = NotKeyValue;

    fn from_str(text: &str) -> Result<Self, NotKeyValue> {
        let (key, value) = text.split_once('=').ok_or(NotKeyValue)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned(), flag: "--set".to_owned() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment => f.write_str("the environment"),
            Self::Env(text) | Self::Flag(text) | Self::Detected(text) => f.write_str(text),
        }
    }
}
