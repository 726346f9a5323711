//! The policies that `iam` prints: the least that the daemon needs, and nothing that a linter of
//! IAM has to say about.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use testkit::packages::python;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::DISPATCHD;

const STREAM: &str = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";
const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Prints a line for each finding of parliament's.
const LINT: &str = r#"
import sys, warnings
warnings.simplefilter("ignore")
import parliament
for finding in parliament.analyze_policy_string(sys.stdin.read()).findings:
    print(finding)
"#;

async fn iam(role: &str, args: &[&str]) -> Output {
    DISPATCHD.command().args(["iam", role]).args(args).output().await.expect("it runs")
}

async fn policy(role: &str, args: &[&str]) -> String {
    let output = iam(role, args).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

async fn lint(folder: &Path, policy: &str) -> String {
    let mut python = Command::new(folder.join("python"))
        .args(["-c", LINT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pip installed it");
    let mut stdin = python.stdin.take().expect("it is piped");
    stdin.write_all(policy.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = python.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn the_policy_permits_what_run_calls_on_one_stream_and_one_key() {
    let write = json!({
        "Sid": "WriteToTheStream",
        "Effect": "Allow",
        "Action": ["kinesis:PutRecords", "kinesis:DescribeStreamSummary", "kinesis:ListShards"],
        "Resource": STREAM,
    });
    let encrypt = json!({
        "Sid": "EncryptForTheStream",
        "Effect": "Allow",
        "Action": ["kms:GenerateDataKey"],
        "Resource": KEY,
        "Condition": {"StringEquals": {"kms:EncryptionContext:aws:kinesis:arn": STREAM}},
    });
    let plain: Value =
        serde_json::from_str(&policy("producer", &["--stream", STREAM]).await).expect("JSON");
    assert_eq!(plain, json!({"Version": "2012-10-17", "Statement": [write]}));
    let encrypted: Value =
        serde_json::from_str(&policy("producer", &["--stream", STREAM, "--kms-key", KEY]).await)
            .expect("JSON");
    assert_eq!(encrypted, json!({"Version": "2012-10-17", "Statement": [write, encrypt]}));
}

#[tokio::test]
async fn a_consumer_s_policy_permits_what_forward_and_tail_call() {
    let read = json!({
        "Sid": "ReadFromTheStream",
        "Effect": "Allow",
        "Action": [
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
            "kinesis:DescribeStreamSummary",
        ],
        "Resource": STREAM,
    });
    let decrypt = json!({
        "Sid": "DecryptFromTheStream",
        "Effect": "Allow",
        "Action": ["kms:Decrypt"],
        "Resource": KEY,
        "Condition": {"StringEquals": {"kms:EncryptionContext:aws:kinesis:arn": STREAM}},
    });
    let args = ["--stream", STREAM, "--kms-key", KEY];
    for (args, statements) in [(&args[..2], json!([read])), (&args, json!([read, decrypt]))] {
        let policy: Value = serde_json::from_str(&policy("consumer", args).await).expect("JSON");
        assert_eq!(policy, json!({"Version": "2012-10-17", "Statement": statements}));
    }
}

#[tokio::test]
async fn parliament_finds_nothing_in_them() {
    let Some(folder) = tokio::task::spawn_blocking(python).await.expect("pip ends") else { return };
    let china = STREAM.replace("aws:kinesis:eu-central-1", "aws-cn:kinesis:cn-north-1");
    for args in
        [&["--stream", STREAM][..], &["--stream", &china], &["--stream", STREAM, "--kms-key", KEY]]
    {
        for role in ["producer", "consumer"] {
            assert_eq!(lint(&folder, &policy(role, args).await).await, "", "{role} {args:?}");
        }
    }
    // It would find something.
    let wrong = policy("producer", &["--stream", STREAM])
        .await
        .replace("kinesis:ListShards", "kinesis:ListStreams");
    assert!(lint(&folder, &wrong).await.contains("RESOURCE_MISMATCH"));
}

#[tokio::test]
async fn what_is_no_arn_is_refused_and_named() {
    for (args, says) in [
        (&[][..], "--stream <ARN>"),
        (&["--stream", "orders"], "expected arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME"),
        (
            &["--stream", "arn:aws:kinesis:*:123456789012:stream/orders"],
            "expected arn:PARTITION:kinesis",
        ),
        (&["--stream", STREAM, "--kms-key", "alias/orders"], "is not the ARN of a KMS key"),
        (
            &[
                "--stream",
                STREAM,
                "--kms-key",
                "arn:aws:kms:eu-central-1:123456789012:alias/orders",
            ],
            "is an alias",
        ),
        (
            &["--stream", STREAM, "--kms-key", &KEY.replace("eu-central-1", "eu-west-1")],
            "partition or region",
        ),
    ] {
        let refused = iam("producer", args).await;
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(64), 0), "{args:?}");
        assert!(stderr.contains(says), "{stderr}");
    }
}
