//! A stream in an emulator, and `dispatchd forward`, which delivers what is in it to scripts.

use std::path::PathBuf;
use std::process::Stdio;

use aws_sdk_kinesis::Client;
use serde_json::Value;
use testkit::client;
use testkit::daemon::Daemon;
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, put};
use tokio::net::TcpSocket;
use tokio::process::Child;

use crate::DISPATCHD;

pub(crate) const STREAM: &str = "members";

/// A stream, and a folder for what a forwarder keeps.
pub(crate) struct Scene {
    pub(crate) ferro: Ferro,
    client: Client,
    folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn new(shards: i32) -> Self {
        let ferro = Ferro::start(false).await;
        let client = client(&ferro.endpoint());
        create_stream(&client, STREAM, shards).await;
        Self { ferro, client, folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts records, each with its key.
    pub(crate) async fn put(&self, records: impl IntoIterator<Item = (String, String)>) {
        let entries = records.into_iter().map(|(key, data)| entry(&key, data)).collect();
        put(&self.client, STREAM, entries).await;
    }

    /// A forwarder from the beginning of the stream, or from where the last one was.
    pub(crate) async fn forward(&self, args: &[&str]) -> Daemon {
        let start = DISPATCHD.forward(&self.ferro.endpoint(), STREAM);
        let start = start.args(["--from", "trim-horizon"]).set("forward.poll", "200ms");
        let start = args.iter().fold(start, |start, arg| start.args([*arg]));
        start.start_in(self.folder.path()).await
    }

    /// One that is told by the variables of Rabble Rouser's forwarder and nothing else.
    pub(crate) fn forward_by_env(&self, url: &str) -> Child {
        let mut command = DISPATCHD.command();
        command.arg("forward");
        command.env("KINESIS_ENDPOINT", self.ferro.endpoint()).env("STREAM_NAME", STREAM);
        command.env("LISTENER_ENDPOINT", url).env("LISTENER_AUTH_TOKEN", "secret");
        // Those of this machine's own: where it may write, and a port that others hold.
        command.env("DISPATCHD__FORWARD__CHECKPOINT", "none");
        command.env("DISPATCHD__ADMIN__LISTEN", "off").env("DISPATCHD__ADMIN__SOCKET", "off");
        command.stdout(Stdio::null()).spawn().expect("the binary was built with the test")
    }

    /// The lines of the file that dead letters are kept in.
    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("dead")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// A port that is kept for servers which come and go: it is bound, and nobody listens at it.
pub(crate) struct Port(TcpSocket);

impl Port {
    pub(crate) fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("the system gives a socket");
        socket.set_reuseaddr(true).expect("a fresh socket takes options");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        Self(socket)
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }
}
