//! boto3 and the AWS CLI, from PyPI, work against the embedded stream as they do against AWS;
//! readers made with AWS's SDKs go from a closed shard to its children. The KCL has `tests/kcl`.

#![cfg(feature = "local")]

use std::path::Path;
use std::process::Stdio;

use dispatchd::embedded_stream::{Limits, Local};
use testkit::daemon::sheltered;
use testkit::packages::{self, go_reader, node, python};
use testkit::stream::{merge, shards, split};
use testkit::truth::{assert_read_once_in_order, numbered_lines};
use testkit::{DEADLINE, client};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::DISPATCHD;

const READ_BACK: &str = r#"
import sys, boto3
kinesis = boto3.client("kinesis", endpoint_url=sys.argv[1])
put = kinesis.put_records(StreamName="local", Records=[{"Data": b"from boto3", "PartitionKey": "k"}])
assert put["FailedRecordCount"] == 0, put
for shard in kinesis.list_shards(StreamName="local")["Shards"]:
    start = kinesis.get_shard_iterator(StreamName="local", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
    for record in kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]:
        print(record["PartitionKey"], record["Data"].decode())
"#;

async fn run(folder: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(folder.join(program))
        .args(args)
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .await
        .expect("pip installed it");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn boto3_and_the_aws_cli_work_against_the_embedded_stream() {
    let Some(folder) = tokio::task::spawn_blocking(python).await.expect("pip ends") else { return };
    let mut local = DISPATCHD
        .command()
        .args(["local", "--local-shards", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(local.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("it prints").expect("where it is");
    let endpoint = line.rsplit(' ').next().expect("the address comes last").to_owned();
    assert_eq!(run(&folder, "python", &["-c", READ_BACK, &endpoint]).await, "k from boto3\n");
    let listed = run(
        &folder,
        "aws",
        &["--endpoint-url", &endpoint, "--output", "text", "kinesis", "list-streams"],
    )
    .await;
    assert!(listed.contains("STREAMNAMES\tlocal"), "{listed}");
    let put = [
        "kinesis",
        "put-record",
        "--stream-name",
        "local",
        "--partition-key",
        "1",
        "--data",
        "hello world",
    ];
    let answer = run(
        &folder,
        "aws",
        &[&["--endpoint-url", &endpoint, "--output", "text"], &put[..]].concat(),
    )
    .await;
    assert!(answer.contains("shardId-00000000000"), "{answer}");
    for (form, expected) in [("data", "hello world\n"), ("lambda", r#""data":"aGVsbG8gd29ybGQ=""#)]
    {
        let mut tail = DISPATCHD.command();
        tail.args(["tail", "--stream", "local", "--endpoint-url", &endpoint]);
        tail.args(["--from", "trim-horizon", "--key", "1", "--count", "1", "--format", form]);
        let output = tokio::time::timeout(DEADLINE, tail.output()).await.expect("it ends");
        let printed = String::from_utf8(output.expect("it runs").stdout).expect("UTF-8");
        assert!(printed.contains(expected), "{form}: {printed}");
    }
}

/// A stream with 900 events, a third of them before a split and a third after a merge.
async fn resharded() -> Local {
    let local = Local::start(0, 2, "s", Limits::default()).await.expect("a free port is free");
    let client = client(local.endpoint());
    let daemon = DISPATCHD.daemon(local.endpoint(), "s").start().await;
    let lines: Vec<String> =
        numbered_lines(900, 30).lines().map(|line| format!("{line}\n")).collect();
    let send = async |part: usize| {
        let acks = daemon.connect().await.pipeline(lines[part * 300..][..300].concat()).await;
        assert!(acks.iter().all(|ack| ack["ok"] == true), "{acks:?}");
    };
    send(0).await;
    split(&client, "s", &shards(&client, "s").await[0]).await;
    send(1).await;
    let open = shards(&client, "s").await;
    merge(&client, "s", &open[3], &open[1]).await;
    send(2).await;
    local
}

/// What a reader prints that is given where the stream is.
async fn assert_reads_all_in_order(mut reader: Command) {
    let local = resharded().await;
    let output = reader.args([local.endpoint(), "s", "900"]).output();
    let output =
        tokio::time::timeout(DEADLINE, output).await.expect("it reads on to the last event");
    let output = output.expect("it starts");
    assert!(output.status.success(), "{reader:?}: {}", String::from_utf8_lossy(&output.stderr));
    let read = String::from_utf8(output.stdout).expect("events are UTF-8");
    assert_read_once_in_order(&read.lines().map(str::to_owned).collect::<Vec<_>>(), 900);
}

fn script(program: impl AsRef<std::ffi::OsStr>, script: &str) -> Command {
    let mut command = sheltered(Command::new(program));
    command.arg(packages::file(script));
    command
}

#[tokio::test]
async fn a_reader_made_with_boto3_goes_from_closed_shards_to_their_children() {
    let Some(folder) = tokio::task::spawn_blocking(python).await.expect("pip ends") else { return };
    assert_reads_all_in_order(script(folder.join("python"), "python/reader.py")).await;
}

#[tokio::test]
async fn a_reader_made_with_the_sdk_for_javascript_goes_from_closed_shards_to_their_children() {
    if tokio::task::spawn_blocking(node).await.expect("npm ci ends").is_some() {
        assert_reads_all_in_order(script("node", "node/reader.cjs")).await;
    }
}

#[tokio::test]
async fn a_reader_made_with_the_sdk_for_go_goes_from_closed_shards_to_their_children() {
    let Some(reader) = tokio::task::spawn_blocking(go_reader).await.expect("go build ends") else {
        return;
    };
    assert_reads_all_in_order(sheltered(Command::new(reader))).await;
}
