//! Dead letters, whole: what a target does not take is kept aside, the rest goes on, and `replay`
//! brings it back once the target works.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, put, read_all};
use testkit::{client, eventually};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::DISPATCHD;

const STREAM: &str = "s";
const LETTERS: &str = "letters";
/// What the target does not take before it is mended.
const POISON: &str = r#"{"type":"poison","data":{"price":1.50}}"#;

/// An application that fails at some events.
#[derive(Clone, Default)]
struct Target {
    is_mended: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Target {
    /// Serves, and says where.
    async fn serve(&self) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let app = Router::new().fallback(take).with_state(self.clone());
        let serving = async { axum::serve(listener, app).await.expect("it serves for ever") };
        (format!("http://{address}/events"), tokio::spawn(serving))
    }

    async fn has_taken(&self, event: &str) {
        let taken = async || {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.iter().any(|body| body == event).then_some(())
        };
        eventually(event, taken).await;
    }
}

async fn take(State(target): State<Target>, body: String) -> (StatusCode, &'static str) {
    if body.contains("poison") && !target.is_mended.load(Ordering::Relaxed) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no such price");
    }
    target.taken.lock().unwrap_or_else(PoisonError::into_inner).push(body);
    (StatusCode::OK, "")
}

/// A forwarder that gives an event up after its second failure.
fn forward(endpoint: &str, folder: &Path, url: &str, dead_letter: &str) -> Child {
    let mut command = DISPATCHD.command();
    command.args(["forward", "--stream", STREAM, "--endpoint-url", endpoint, "--to", url]);
    command.args(["--name", "app", "--format", "event", "--from", "trim-horizon"]);
    command.args(["--on-failure", "dead-letter", "--max-retries", "1"]);
    command.args(["--dead-letter", dead_letter, "--checkpoint", "none", "--admin-listen", "off"]);
    command.args(["--admin-socket", "off", "--set", "kinesis.attempt_timeout=60s"]);
    command.args(["--set", "forward.poll=200ms"]);
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("it runs")
}

/// Has an event given up and brings it back. `letter`: reads the dead letter from where it was
/// kept.
async fn assert_comes_back(
    dead_letter: &str,
    letter: impl AsyncFn(&str, &Path) -> Option<Vec<u8>>,
) {
    let (ferro, folder) = (Ferro::start(false).await, tempfile::tempdir().expect("a folder"));
    let (endpoint, client) = (ferro.endpoint(), client(&ferro.endpoint()));
    create_stream(&client, STREAM, 1).await;
    create_stream(&client, LETTERS, 1).await;
    let target = Target::default();
    let (url, serving) = target.serve().await;
    let _forwarder = forward(&endpoint, folder.path(), &url, dead_letter);
    let entries =
        [entry("k", r#"{"type":"a"}"#), entry("k", POISON), entry("k", r#"{"type":"b"}"#)];
    put(&client, STREAM, entries.into()).await;
    target.has_taken(r#"{"type":"b"}"#).await;
    let kept = async || letter(&endpoint, folder.path()).await;
    let letter = eventually("the letter is kept", kept).await;
    let told: Value = serde_json::from_slice(&letter).expect("a letter is JSON");
    assert_eq!(told["requestContext"]["condition"], "RetryAttemptsExhausted", "{told}");
    assert_eq!((&told["target"], &told["attempts"]), (&"app".into(), &2.into()), "{told}");
    assert_eq!((&told["status"], &told["body"]), (&500.into(), &"no such price".into()), "{told}");
    target.is_mended.store(true, Ordering::Relaxed);
    let again = folder.path().join("again.ndjson");
    fs::write(&again, letter).expect("it is written");
    let mut replay = DISPATCHD.command();
    replay.arg("replay").arg(&again).args(["--stream", STREAM, "--endpoint-url", &endpoint]);
    let output = replay.output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    target.has_taken(POISON).await; // byte for byte
    serving.abort();
}

#[tokio::test]
async fn an_event_that_was_given_up_is_in_the_file_and_reaches_the_target_by_replay() {
    assert_comes_back("file:kept/letters.ndjson", async |_, folder| {
        let letters = fs::read(folder.join("kept/letters.ndjson")).ok()?;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
}

#[tokio::test]
async fn an_event_that_was_given_up_is_in_the_other_stream_and_reaches_the_target_by_replay() {
    assert_comes_back("stream:letters", async |endpoint, _| {
        let letter = read_all(&client(endpoint), LETTERS).await.pop()?;
        assert_eq!(letter.partition_key, "k");
        Some(letter.data.into())
    })
    .await;
}
