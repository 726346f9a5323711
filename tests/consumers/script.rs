//! A consumer in another language: a script of the testkit that prints lines of JSON.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use testkit::eventually;
use testkit::packages::{file, node, python_powertools};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

/// A script that runs, killed on drop.
pub(crate) struct Script {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<Value>>>,
    /// Where it listens.
    pub(crate) port: u64,
    _reader: AbortOnDropHandle<()>,
}

impl Script {
    /// One of the folder `node`; `None` where node is missing.
    pub(crate) async fn node(script: &str, args: &[&str], wedges: bool) -> Option<Self> {
        let folder = spawn_blocking(node).await.expect("npm ci ends")?;
        let mut command = Command::new("node");
        command.arg(script).args(args).current_dir(folder);
        if wedges {
            command.env("WEDGES", "1");
        }
        Some(Self::start(command).await)
    }

    /// One of the folder `python`, with Powertools; `None` where python is missing.
    pub(crate) async fn powertools(script: &str) -> Option<Self> {
        let programs = spawn_blocking(python_powertools).await.expect("pip ends")?;
        let mut command = Command::new(programs.join("python"));
        command.arg(file("python").join(script));
        Some(Self::start(command).await)
    }

    async fn start(command: Command) -> Self {
        let mut script = Self::spawn(command);
        let port = eventually("the script listens", async || script.said("port").pop()).await;
        script.port = port.as_u64().expect("a port is a number");
        script
    }

    /// A program that listens at this port, and does not say so.
    pub(crate) async fn at(command: Command, port: u16) -> Self {
        let script = Self { port: port.into(), ..Self::spawn(command) };
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await.ok();
        eventually("the program listens", connect).await;
        script
    }

    /// A program that listens nowhere.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let heard = Arc::clone(&said);
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                heard.lock().expect("nobody panics with it in hand").push(line);
            }
        });
        let reader = AbortOnDropHandle::new(reader);
        Self { child, stdin, said, port: 0, _reader: reader }
    }

    /// What it said so far under this name.
    pub(crate) fn said(&self, name: &str) -> Vec<Value> {
        let said = self.said.lock().expect("nobody panics with it in hand");
        said.iter().filter_map(|line| line.get(name).cloned()).collect()
    }

    /// The member of every event that it handled.
    pub(crate) fn handled(&self, member: &str) -> Vec<Value> {
        self.said("handled").iter().map(|event| event[member].clone()).collect()
    }

    pub(crate) async fn tell(&mut self, line: &Value) {
        let line = format!("{line}\n");
        self.stdin.write_all(line.as_bytes()).await.expect("it reads");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }
}
