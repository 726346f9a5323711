//! The configuration as used: the sections of the table of keys, each with a field for each of its
//! keys, named as the key is.
//!
//! A section stands in the room that it is about:
//!
//! | section | file |
//! |---|---|
//! | `stream`, `memory`, `runtime`, `shutdown`, `local`, and `producer_id` | this one: they are of no single room |
//! | `socket` | `inputs/socket/settings.rs` |
//! | `http` | `inputs/http/settings.rs` |
//! | `kinesis_api` | `inputs/kinesis_api/settings.rs` |
//! | `transaction` | `crates/producer/src/intake/transactions.rs` |
//! | `envelope`, `batch`, `delivery` | `crates/producer/src/settings.rs` |
//! | `kinesis` | `crates/aws/src/settings.rs` |
//! | `admin` | `admin/settings.rs` |
//! | `schema` | `schema/settings.rs` |
//! | `log` | `telemetry/log.rs` |
//! | `forward`, and each of its targets | `targets/settings.rs` |
//!
//! A field that the table has no key for, and a key that has no field, fail every test that
//! resolves a configuration. Ranges stand in the table, not here.

use std::net::SocketAddr;
use std::time::Duration;

use dispatchd_aws::SdkEnv;
use dispatchd_core::model::StreamId;
use dispatchd_producer::intake::TransactionSettings;
use dispatchd_producer::settings::{Batch, Delivery, Envelope};
use serde::Deserialize;

use crate::admin;
use crate::inputs::{http, kinesis_api, socket};
use crate::schema;
use crate::targets::settings::Forward;
use crate::telemetry::log;

/// The configuration as used: every value is in its range.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The `source.producerId` of every envelope.
    pub producer_id: String,
    pub stream: Stream,
    pub socket: socket::Settings,
    pub http: http::Settings,
    pub kinesis_api: kinesis_api::Settings,
    pub envelope: Envelope,
    pub schema: schema::Settings,
    pub transaction: TransactionSettings,
    pub batch: Batch,
    pub delivery: Delivery,
    pub memory: Memory,
    pub runtime: Runtime,
    pub kinesis: dispatchd_aws::Settings,
    pub admin: admin::Settings,
    pub log: log::Settings,
    pub forward: Forward,
    pub shutdown: Shutdown,
    /// The embedded stream; `None` without `--local`.
    pub local: Option<Local>,
    /// What the SDK sees of the environment; nothing with `local`.
    #[serde(skip)]
    pub sdk_env: SdkEnv,
}

impl Config {
    /// The inputs on loopback that are switched on: the key of each, and its address.
    pub(crate) fn loopback(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [(http::KEY, self.http.listen), (kinesis_api::KEY, self.kinesis_api.listen)]
            .into_iter()
            .filter_map(|(key, address)| Some((key, address?)))
    }

    /// How many connections each of them lets in.
    pub(crate) fn loopback_connections(&self) -> impl Iterator<Item = usize> {
        let http = self.http.listen.map(|_| self.http.max_connections);
        let kinesis_api = self.kinesis_api.listen.map(|_| self.kinesis_api.max_connections);
        [http, kinesis_api].into_iter().flatten()
    }
}

/// The stream and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    /// From `stream.name` and `stream.arn`. With `local` it is always a name.
    pub id: StreamId,
    /// `None`: the SDK's chain decides.
    pub region: Option<String>,
    /// `None`: the SDK's chain decides. With `local` the embedded stream's address takes its place.
    pub endpoint_url: Option<String>,
    /// Whether plain http may leave the host, whoever named the endpoint.
    pub allow_http: bool,
    /// Bytes of the largest record, data and partition key. `None`: the stream is asked.
    pub max_record_bytes: Option<usize>,
}

/// What the process may hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// Bytes of events held at once.
    #[serde(rename = "budget")]
    pub budget_bytes: usize,
    /// What the machine's cgroup gives the process. `None` where that cannot be read.
    #[serde(skip)]
    pub cgroup_bytes: Option<usize>,
}

/// What the process may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    /// With one thread nothing is shared between cores, which costs the least; more threads carry
    /// more than some 300,000 events a second.
    pub threads: usize,
}

/// How the process ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// From the signal to the last answer.
    pub timeout: Duration,
    /// How long no client may be connected after one was. `None`: for ever.
    pub after_last_client: Option<Duration>,
}

/// The embedded stream. It stands here, since a daemon that is built without it has the keys too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Local {
    /// 0: any free port.
    pub port: u16,
    pub shards: usize,
}
