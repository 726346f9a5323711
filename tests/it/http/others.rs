//! What others made for HTTP and CloudEvents: the official SDKs send to the daemon and read what
//! `tail` prints, and schemathesis finds no answer that the daemon's own description does not have.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::DEADLINE;
use testkit::daemon::{Daemon, sheltered};
use testkit::kinesis::Ferro;
use testkit::packages::{self, node, python_http};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::client::{daemon, http_address};
use crate::DISPATCHD;

/// What `tail` prints of a stream from its beginning, so many lines.
async fn tailed(ferro: &Ferro, lines_count: usize) -> String {
    let mut tail = DISPATCHD.command();
    tail.args(["tail", "--stream", "s", "--from", "trim-horizon"])
        .env("AWS_ENDPOINT_URL_KINESIS", ferro.endpoint())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut tail = tail.spawn().expect("it was built with the test");
    let mut lines = BufReader::new(tail.stdout.take().expect("it is piped")).lines();
    let mut text = String::new();
    for _ in 0..lines_count {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("in time");
        text += &line.expect("it can be read").expect("it did not end");
        text.push('\n');
    }
    text
}

async fn output(mut command: Command, input: &str) -> String {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it was installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// Has a script send, and read back what was published. `expected`: the data by the end of the id.
async fn sends_and_reads(program: &Path, script: &str, ids: &str, expected: &[(&str, Value)]) {
    let (ferro, daemon): (Ferro, Daemon) = daemon(|start| start).await;
    let command = || {
        let mut command = sheltered(Command::new(program));
        command.arg(packages::file(script));
        command
    };
    let mut send = command();
    send.args(["send".as_ref(), daemon.socket().as_os_str()]);
    let sent = output(send, "").await;
    let wanted: Vec<_> = ["binary", "structured"]
        .iter()
        .flat_map(|mode| {
            expected.iter().map(move |(kind, data)| (format!("{ids}-{mode}-{kind}"), data))
        })
        .collect();
    let answers: String = wanted.iter().map(|(id, _)| format!("200 {id}\n")).collect();
    assert_eq!(sent, answers);
    let published = tailed(&ferro, wanted.len()).await;
    let mut read = command();
    read.arg("read");
    let mut read: Vec<Value> = output(read, &published)
        .await
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let mut wanted: Vec<_> = wanted.into_iter().map(|(id, data)| json!([id, data])).collect();
    read.sort_by_key(Value::to_string);
    wanted.sort_by_key(Value::to_string);
    assert_eq!(read, wanted);
}

#[tokio::test]
async fn the_sdk_for_javascript_sends_cloudevents_and_reads_them_back() {
    if tokio::task::spawn_blocking(node).await.expect("npm ci ends").is_none() {
        return;
    }
    let expected = [
        ("json", json!({"n": 1.5, "text": "\u{e9}"})),
        ("typed", json!([1, 2])),
        ("text", json!("plain text")),
    ];
    sends_and_reads(Path::new("node"), "node/events-http.cjs", "js", &expected).await;
}

async fn python_program(name: &str) -> Option<PathBuf> {
    let folder = tokio::task::spawn_blocking(python_http).await.expect("pip ends")?;
    Some(folder.join(name))
}

#[tokio::test]
async fn the_sdk_for_python_sends_cloudevents_and_reads_them_back() {
    let Some(python) = python_program("python").await else { return };
    let expected = [
        ("json", json!({"n": 1.5, "text": "\u{e9}"})),
        ("typed", json!([1, 2])),
        ("bytes", json!("base64 AP8=")),
    ];
    sends_and_reads(&python, "python/events_http.py", "py", &expected).await;
}

#[tokio::test]
async fn no_answer_is_another_than_the_description_says() {
    let Some(schemathesis) = python_program("schemathesis").await else { return };
    let (_ferro, daemon) = daemon(|start| start.set("http.listen", "127.0.0.1:0")).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = sheltered(Command::new(schemathesis));
    command
        .current_dir(dir.path()) // it keeps what it finds where it runs
        .args(["run", &format!("http://{}/v1/openapi.json", http_address(&daemon))])
        .args(["--max-examples", "50", "--seed", "1", "--generation-database", "none"])
        .args(["--no-color", "--workers", "1"]);
    let ran = command.output().await.expect("it was installed");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}", &told[told.find("FAILURES").unwrap_or(0)..]);
}
