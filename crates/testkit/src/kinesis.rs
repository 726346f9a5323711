//! The emulators that play Kinesis. Two, because they disagree: what holds on both is more likely
//! to hold on AWS; and a third, slow one for what both lack. And one that plays DynamoDB, where the
//! KCL keeps its leases.
//!
//! None is AWS. Known to differ there in the first two: 10 MiB requests and records, `StreamARN` in
//! ListShards, on-demand streams, and the partition key's bytes, which AWS counts toward a record's
//! limit and these do not.

use std::net::SocketAddr;
use std::process::Stdio;

use axum::extract::DefaultBodyLimit;
use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

use super::packages::node;
use super::stream::ShardRange;
use super::{eventually, http};

/// Over the largest PutRecords of 2026: 10 MiB of data and keys, a third more as base64. axum's own
/// limit is 2 MiB.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// ferrokinesis inside this process: starts in milliseconds, and throttles shards as AWS does when
/// `enforce_limits` is set (1,000 records and 1 MiB a second for a shard, counted in fixed windows
/// of a second). Dropped, it stops listening; a connection that is open then lives until its client
/// closes it.
pub struct Ferro {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Ferro {
    pub async fn start(enforce_limits: bool) -> Ferro {
        let options = StoreOptions {
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: 100,
            shard_limit: 100,
            enforce_limits,
            ..StoreOptions::default()
        };
        let (app, _store) = create_app(options);
        let app = app.layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("axum::serve never returns")
        });
        Ferro { address, _server: AbortOnDropHandle::new(server) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// kinesalite in a process of its own, killed on drop. Has no throughput limits.
pub struct Kinesalite(NodeServer);

impl Kinesalite {
    /// `None` where node is missing; see [`packages`](super::packages).
    pub async fn start() -> Option<Kinesalite> {
        NodeServer::start("kinesalite.cjs", &[]).await.map(Kinesalite)
    }

    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}

/// The emulators that read every wire; kinesalite only where node is.
pub struct Emulators {
    pub ferro: Ferro,
    kinesalite: Option<Kinesalite>,
}

impl Emulators {
    pub async fn start() -> Emulators {
        Emulators { ferro: Ferro::start(false).await, kinesalite: Kinesalite::start().await }
    }

    pub fn endpoints(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.ferro.endpoint())
            .chain(self.kinesalite.as_ref().map(Kinesalite::endpoint))
    }
}

/// kinesis-local in a process of its own, killed on drop. It knows what the two others lack:
/// records over 1 MiB, and a stream by its ARN in every call. Slow: a start takes 2 s, a PutRecords
/// of 2 MiB one more.
pub struct KinesisLocal(NodeServer);

impl KinesisLocal {
    /// `None` where node is missing; see [`packages`](super::packages).
    pub async fn start() -> Option<KinesisLocal> {
        NodeServer::start("kinesis-local.cjs", &[]).await.map(KinesisLocal)
    }

    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}

/// dynalite in a process of its own, killed on drop, with a table of leases that nobody holds.
pub struct Dynalite(NodeServer);

impl Dynalite {
    /// `None` where node is missing; see [`packages`](super::packages).
    pub async fn start(table: &str, shards: &[ShardRange]) -> Option<Dynalite> {
        let shards = shards
            .iter()
            .flat_map(|shard| [shard.id.clone(), shard.first.to_string(), shard.last.to_string()]);
        let arguments: Vec<String> = std::iter::once(table.to_owned()).chain(shards).collect();
        NodeServer::start("dynalite.cjs", &arguments).await.map(Dynalite)
    }

    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}

/// A script of the folder `node` that prints its port, and ends when we do.
struct NodeServer {
    port: u16,
    _process: Child,
}

impl NodeServer {
    async fn start(script: &str, arguments: &[String]) -> Option<NodeServer> {
        let folder = tokio::task::spawn_blocking(node).await.expect("npm ci ends")?;
        let mut process = Command::new("node")
            .arg(script)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts, it just told its version");
        let stdout = process.stdout.take().expect("stdout is piped");
        let line = BufReader::new(stdout).lines().next_line().await.expect("stdout is readable");
        let port = line
            .expect("the server prints a port before it ends")
            .parse()
            .expect("what it prints is a port");
        let server = NodeServer { port, _process: process };
        let endpoint = server.endpoint();
        eventually("the emulator answers", async || {
            http::call(&endpoint, "ListStreams", "{}").await.ok()
        })
        .await;
        Some(server)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
