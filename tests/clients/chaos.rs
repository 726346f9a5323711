//! A real daemon that is killed and stopped under load, on a stream that outlives it. The client is
//! driven by its driver, with `strictOrder`.
//!
//! # What is proven
//! - Every event is acked, once, and its ack is true: the stream holds it at that place.
//! - A daemon stores no event twice. Each daemon calls itself by another name, which its records
//!   carry. (Two daemons may both store it: the first may die before its ack is heard.)
//! - The first copies of a key's events stand in the order of the calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::client;
use testkit::daemon::{Daemon, sheltered};
use testkit::stream::{StoredRecord, read_all};
use testkit::truth::{assert_acks_are_true, assert_key_order};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::DISPATCHD;

/// Daemons that die.
const DEATHS: usize = 50;
/// Acks that are heard between two deaths: so many that events are in every state.
const ACKS_BETWEEN: usize = 30;
/// Events that are open at a time, and that a daemon lives to see at most: what comes after them is
/// the next one's, so that it can end.
const OPEN: usize = 200;
const EVENTS_A_LIFE: usize = 300;
/// What a daemon that is told to stop may take over it, and how it ends where that was too short. A
/// part of it is left to callers who go on: with less a run is shorter by as much.
const STOPPED_WITHIN: &str = "1s";
const UNCONFIRMED: i32 = 75;
/// Few, so that events of a key wait for each other; enough that not all do.
const KEYS: usize = 40;
/// How long anything may take. A call's own timeout is 150 s.
const PATIENCE: Duration = Duration::from_secs(180);
const STREAM: &str = "chaos";

/// `dispatchd local`, a process of its own. Killed when dropped.
struct Stream {
    _process: Child,
    endpoint: String,
}

impl Stream {
    async fn start() -> Self {
        let mut local = DISPATCHD.command();
        let mut process = local
            .args(["local", "--local-port", "0", "--local-shards", "2", "--stream", STREAM])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let line = lines.next_line().await.expect("it can be read").expect("it says where it is");
        let endpoint = line.split(' ').next_back().expect("a line has a last word").to_owned();
        Self { _process: process, endpoint }
    }
}

/// The driver, which publishes as long as it is told to, and all that it said.
struct Load {
    process: Child,
    commands: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    sent: usize,
    outcomes: Vec<Value>,
}

impl Load {
    async fn start(driver: &Path, socket: &Path) -> Self {
        let mut process = sheltered(Command::new(driver))
            .env("DISPATCHD_SOCKET", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the driver starts");
        let commands = process.stdin.take().expect("it is piped");
        let said = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut load = Self { process, commands, said, sent: 0, outcomes: Vec::new() };
        let introduction = load.hear().await;
        assert!(introduction["driver"].is_string(), "{introduction}");
        load.tell(json!({ "do": "open", "strictOrder": true })).await;
        load
    }

    async fn tell(&mut self, command: Value) {
        let line = format!("{command}\n");
        self.commands.write_all(line.as_bytes()).await.expect("the driver reads");
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.said.next_line()).await;
        let line = line.unwrap_or_else(|_| {
            panic!(
                "{} of {} events ended, and no more for {PATIENCE:?}",
                self.outcomes.len(),
                self.sent
            )
        });
        let line = line.expect("it can be read").expect("the driver runs on");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the driver says {line}"))
    }

    /// The next event of the next key.
    async fn publish(&mut self) {
        let (key, place) = (self.sent % KEYS, self.sent / KEYS);
        let event = json!({
            "type": "chaos", "data": { "place": place }, "partitionKey": format!("key-{key}"),
        });
        self.tell(json!({ "do": "publish", "as": self.sent.to_string(), "event": event })).await;
        self.sent += 1;
    }

    /// Publishes as many events as are allowed, until nobody is left to allow more. Ends with every
    /// outcome, and the counters.
    async fn run(
        mut self,
        heard: watch::Sender<usize>,
        mut allowed: watch::Receiver<usize>,
    ) -> (Vec<Value>, Value) {
        loop {
            let until = *allowed.borrow();
            while self.sent < until && self.sent - self.outcomes.len() < OPEN {
                self.publish().await;
            }
            if self.outcomes.len() < self.sent {
                self.hear_outcome(&heard).await;
            } else if allowed.changed().await.is_err() {
                break;
            }
        }
        self.tell(json!({ "do": "counters", "as": "counters" })).await;
        let counters = self.hear().await;
        drop(self.commands);
        let ended = timeout(PATIENCE, self.process.wait()).await.expect("the driver ends in time");
        assert_eq!(ended.expect("it can be waited for").code(), Some(0));
        (self.outcomes, counters["counters"].clone())
    }

    async fn hear_outcome(&mut self, heard: &watch::Sender<usize>) {
        let outcome = self.hear().await;
        self.outcomes.push(outcome);
        heard.send_replace(self.outcomes.len());
    }
}

pub(crate) async fn assert_nothing_is_lost(driver: &Path) {
    let stream = Stream::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (heard, mut hears) = watch::channel(0);
    let (allow, allowed) = watch::channel(0);
    let load = Load::start(driver, &dir.path().join("d.sock")).await;
    let load = tokio::spawn(load.run(heard, allowed));

    for life in 0..DEATHS {
        let mut daemon = begin(&stream, dir.path(), life).await;
        let so_far = *hears.borrow();
        allow.send_replace(so_far + EVENTS_A_LIFE);
        let wanted = so_far + ACKS_BETWEEN;
        if hears.wait_for(|heard| *heard >= wanted).await.is_err() {
            break; // the load has failed, and says why
        }
        let is_killed = life % 2 == 0;
        daemon.signal(if is_killed { Signal::KILL } else { Signal::TERM });
        let code = daemon.exit_code().await;
        let expected: &[_] = if is_killed { &[None] } else { &[Some(0), Some(UNCONFIRMED)] };
        assert!(expected.contains(&code), "{code:?}: {}", daemon.log());
    }
    let last = begin(&stream, dir.path(), DEATHS).await;
    drop(allow);
    let (outcomes, counters) = load.await.expect("the load ends well");
    drop(last);
    judge(&outcomes, &read_all(&client(&stream.endpoint), STREAM).await);
    println!("{} events, each acked once; {counters}", outcomes.len());
    assert_eq!(counters["buffered"], 0, "{counters}");
    assert_eq!(counters["acked"], outcomes.len(), "{counters}");
}

/// A daemon whose records name it.
async fn begin(stream: &Stream, dir: &Path, life: usize) -> Daemon {
    let daemon = DISPATCHD.daemon(&stream.endpoint, STREAM);
    let daemon = daemon.set("shutdown.timeout", STOPPED_WITHIN);
    daemon.set("producer_id", format!("life-{life}")).start_in(dir).await
}

fn judge(outcomes: &[Value], stored: &[StoredRecord]) {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes {
        assert_eq!(outcome["ok"], true, "{outcome}");
        *told.entry(outcome["as"].as_str().expect("a name")).or_default() += 1;
    }
    let twice: Vec<_> = told.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?} ended more than once");
    assert_acks_are_true(outcomes, stored);

    let mut copies: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in stored {
        let event: Value = serde_json::from_slice(&record.data).expect("envelopes are JSON");
        let word = |value: &Value| value.as_str().expect("an envelope has it").to_owned();
        *copies.entry((word(&event["source"]["producerId"]), word(&event["id"]))).or_default() += 1;
    }
    let twice: Vec<_> = copies.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "stored twice by one daemon: {twice:?}");
    assert_key_order(stored);
}
