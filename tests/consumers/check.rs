//! `check --forward`: what it finds before anything is delivered, and that nothing is.

use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;
use testkit::eventually;
use tokio::net::TcpListener;

use crate::DISPATCHD;
use crate::scene::{Port, STREAM, Scene};

/// Level, finding and fix of every check, by their names.
struct Found {
    code: Option<i32>,
    checks: Vec<Value>,
    text: String,
}

async fn found(scene: &Scene, config: &Path, args: &[&str]) -> Found {
    found_of(scene, STREAM, config, args).await
}

async fn found_of(scene: &Scene, stream: &str, config: &Path, args: &[&str]) -> Found {
    let mut check = DISPATCHD.command();
    check.args(["check", "--forward", "--json", "--stream", stream]).arg("--config").arg(config);
    check.args(["--endpoint-url", &scene.ferro.endpoint()]).args(args);
    check.env("DISPATCHD__ADMIN__LISTEN", "off").env("DISPATCHD__ADMIN__SOCKET", "off");
    let Output { status, stdout, stderr } = check.output().await.expect("it runs");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    let report: Value = serde_json::from_slice(&stdout).unwrap_or_default();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    Found { code: status.code(), checks, text }
}

impl Found {
    #[track_caller]
    fn assert(&self, name: &str, level: &str, says: &str) {
        let is_it = |check: &&Value| {
            let what = check["what"].as_str().unwrap_or_default();
            check["name"] == name && check["level"] == level && what.contains(says)
        };
        assert!(
            self.checks.iter().any(|check| is_it(&check)),
            "{name} {level} {says}: {}",
            self.text
        );
    }
}

fn config(scene: &Scene, targets: &str) -> PathBuf {
    let path = scene.path("forward.toml");
    let keep = scene.path(""); // as a forwarder of the scene's has it
    let text = format!("[forward]\ncheckpoint = \"file:{}\"\n\n{targets}", keep.display());
    std::fs::write(&path, text).expect("it is written");
    path
}

fn target(name: &str, key: &str, value: &str) -> String {
    format!("[[forward.target]]\nname = \"{name}\"\n{key} = \"{value}\"\n\n")
}

#[tokio::test]
async fn what_a_forwarder_needs_is_tried_and_nothing_is_delivered() {
    // What could go wrong: a target that is not there is found by the first event; the check itself
    // posts something, or leaves a file behind.
    let scene = Scene::new(2).await;
    scene.put([("k".to_owned(), "{\"type\":\"t\"}".to_owned())]).await;
    let app = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let there = app.local_addr().expect("it is bound").to_string();
    let nobody = Port::reserve();
    let good = target("app", "url", &format!("http://{there}/")) + &target("sh", "exec", "sh -c x");
    let whole = found(&scene, &config(&scene, &good), &["--online"]).await;
    whole.assert("stream", "ok", STREAM);
    whole.assert("read", "ok", "2 shards, 2 of them open");
    whole.assert("target", "ok", &format!("app: connected to {there}"));
    whole.assert("target", "ok", "sh: runs /");
    whole.assert("checkpoints", "ok", "app.json, none kept yet");
    let memory = whole.checks.iter().find(|check| check["name"] == "memory");
    let memory = memory.expect("it is there")["what"].to_string();
    assert!(memory.contains("for 2 targets and 2 shards"), "{memory}");
    assert_eq!(whole.code, Some(0), "{}", whole.text);
    assert!(!scene.path(STREAM).exists(), "a check leaves nothing behind");
    let (mut connection, _) = app.accept().await.expect("it was connected to");
    let sent = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
    assert_eq!(sent.expect("it was closed in order"), 0, "nothing was sent");

    let bad = format!("http://127.0.0.1:{}/", nobody.number());
    let bad = target("gone", "url", &bad) + &target("none", "exec", "/nowhere/program");
    let config = config(&scene, &bad);
    let gone = found(&scene, &config, &["--online"]).await;
    gone.assert("target", "fail", "gone: connecting to 127.0.0.1:");
    gone.assert("target", "fail", "none: ");
    assert_eq!(gone.code, Some(69), "{}", gone.text);
    // What asks nobody finds the program all the same: `forward` would not start.
    let offline = found(&scene, &config, &[]).await;
    offline.assert("target", "fail", "none: ");
    assert_eq!((offline.code, offline.checks.len()), (Some(69), 1), "{}", offline.text);
}

#[tokio::test]
async fn checkpoints_that_another_forwarder_holds_or_that_are_torn_are_told_by_their_file() {
    let scene = Scene::new(1).await;
    let nobody = Port::reserve();
    let url = format!("http://127.0.0.1:{}/", nobody.number());
    let config = config(&scene, &target("app", "url", &url));
    let args = ["--to", &url, "--name", "app"];
    let mut forwarder = scene.forward(&args).await;
    let held = found(&scene, &config, &["--online"]).await;
    held.assert("checkpoints", "warn", &format!("process {}", forwarder.pid()));
    forwarder.signal(Signal::TERM);
    assert_eq!(forwarder.exit_code().await, Some(0));
    let book = scene.path(STREAM).join("app.json");
    eventually("the book is there", async || book.exists().then_some(())).await;
    std::fs::write(&book, "{").expect("it is ours");
    let torn = found(&scene, &config, &[]).await;
    torn.assert("checkpoints", "fail", "app.json");
    assert_eq!(torn.code, Some(69), "{}", torn.text);
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_told_as_that() {
    let scene = Scene::new(1).await;
    let config = config(&scene, &target("sh", "exec", "sh -c x"));
    let other = found_of(&scene, "other", &config, &["--online"]).await;
    other.assert("stream", "fail", "ResourceNotFoundException");
    other.assert("read", "fail", "ResourceNotFoundException");
    assert_eq!(other.code, Some(69), "{}", other.text);
}
