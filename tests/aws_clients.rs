//! boto3 and the AWS CLI, from PyPI, work against the embedded stream as they do against AWS.

mod support;

use std::path::Path;
use std::process::Stdio;

use support::daemon::command;
use support::packages::python;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

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
    let mut local = command().args(["local", "--local-shards", "2"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(local.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("it prints").expect("where it is");
    let endpoint = line.rsplit(' ').next().expect("the address comes last").to_owned();
    assert_eq!(run(&folder, "python", &["-c", READ_BACK, &endpoint]).await, "k from boto3\n");
    let listed =
        run(&folder, "aws", &["--endpoint-url", &endpoint, "--output", "text", "kinesis", "list-streams"]).await;
    assert!(listed.contains("STREAMNAMES\tlocal"), "{listed}");
    let put = ["kinesis", "put-record", "--stream-name", "local", "--partition-key", "1", "--data", "hello world"];
    let answer = run(&folder, "aws", &[&["--endpoint-url", &endpoint, "--output", "text"], &put[..]].concat()).await;
    assert!(answer.contains("shardId-00000000000"), "{answer}");
}
