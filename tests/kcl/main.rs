//! The Kinesis Client Library for Java, unmodified, reads the embedded stream as it reads Kinesis.
//!
//! A binary of its own: its workers take minutes, most of them spent waiting.

#![cfg(feature = "local")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dispatchd::embedded_stream::{Limits, Local};
use testkit::client;
use testkit::daemon::{Binary, sheltered};
use testkit::kinesis::Dynalite;
use testkit::packages::{self, kcl};
use testkit::stream::{merge, shards, split};
use testkit::truth::{assert_read_once_in_order, numbered_lines};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const DISPATCHD: Binary = Binary::at(env!("CARGO_BIN_EXE_dispatchd"));

/// For a line of the worker: its first comes after 15 s, the first of a child after 30 s more, on
/// an idle machine.
const LINE_WITHIN: Duration = Duration::from_secs(300);

/// A worker of the KCL, `java/kcl/Reader.java` of the testkit. Killed when dropped.
struct Worker {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The data of each record, as they came.
    read: Vec<String>,
    ended: BTreeSet<String>,
}

impl Worker {
    fn start(jars: &Path, arguments: [&str; 5]) -> Worker {
        let mut process = sheltered(Command::new("java"))
            .args(["-Xmx400m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"])
            .arg(jars.join("*"))
            .arg(packages::file("java/kcl/Reader.java"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a JDK has java");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Worker { _process: process, lines, read: Vec::new(), ended: BTreeSet::new() }
    }

    /// Reads on until it has so many records, and these shards to their end.
    async fn read_until(&mut self, records_count: usize, ended: &[&str]) {
        while self.read.len() < records_count
            || !ended.iter().all(|shard| self.ended.contains(*shard))
        {
            let line = tokio::time::timeout(LINE_WITHIN, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| {
                panic!("{} records, and stands; {:?} ended", self.read.len(), self.ended)
            });
            let line = line.expect("it can be read").expect("the worker runs on");
            match line.split_once(' ') {
                Some(("record", data)) => self.read.push(data.to_owned()),
                Some(("end", shard)) => {
                    assert!(self.ended.insert(shard.to_owned()), "{shard} ended before")
                }
                _ => panic!("the worker says {line}"),
            }
        }
    }
}

/// A worker that reads this way gets every event once, each key's in order, aggregates too, while
/// shards split and merge.
async fn assert_reads_through_a_split_and_a_merge(retrieval: &str) {
    let Some(jars) = tokio::task::spawn_blocking(kcl).await.expect("Maven ends") else { return };
    let local = Local::start(0, 2, "s", Limits::default()).await.expect("a free port is free");
    let client = client(local.endpoint());
    let Some(leases) = Dynalite::start("app", &shards(&client, "s").await).await else { return };
    let daemon =
        DISPATCHD.daemon(local.endpoint(), "s").set("delivery.aggregation", "key").start().await;
    let lines: Vec<String> =
        numbered_lines(3_000, 50).lines().map(|line| format!("{line}\n")).collect();
    let send = async |part: usize| {
        let acks = daemon.connect().await.pipeline(lines[part * 1_000..][..1_000].concat()).await;
        assert!(acks.iter().all(|ack| ack["ok"] == true), "{acks:?}");
    };
    let mut worker =
        Worker::start(&jars, ["app", "s", local.endpoint(), &leases.endpoint(), retrieval]);

    send(0).await;
    worker.read_until(1_000, &[]).await;
    split(&client, "s", &shards(&client, "s").await[0]).await;
    send(1).await;
    worker.read_until(2_000, &["shardId-000000000000"]).await;
    let open = shards(&client, "s").await;
    merge(&client, "s", &open[3], &open[1]).await;
    send(2).await;
    worker.read_until(3_000, &["shardId-000000000001", "shardId-000000000003"]).await;
    assert_read_once_in_order(&worker.read, 3_000);
}

#[tokio::test]
async fn the_kcl_polls_every_event_once_and_in_order_through_a_split_and_a_merge() {
    assert_reads_through_a_split_and_a_merge("polling").await;
}

#[tokio::test]
async fn the_kcl_subscribes_to_every_event_once_and_in_order_through_a_split_and_a_merge() {
    assert_reads_through_a_split_and_a_merge("fan-out").await;
}
