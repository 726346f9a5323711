//! A configuration that is read again while events are on their way: what is safe holds at once, what is wrong changes
//! nothing, and a blocked stream is tried.

mod support;

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::daemon::{Daemon, Start, event};
use support::fault::FaultServer;
use support::fault::plan::{Plan, Refusal};
use support::kinesis::Ferro;
use support::stream::create_stream;
use support::{client, eventually};
use tempfile::TempDir;
use tokio::time::Instant;

const SUCCESSFUL: &str = "dispatchd_config_last_reload_successful";

/// A daemon that read `config.toml` in the directory.
struct Scene {
    _ferro: Ferro,
    server: FaultServer,
    daemon: Daemon,
    file: PathBuf,
    _dir: TempDir,
}

async fn scene(config: &str) -> Scene {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    write(&file, config);
    let path = file.to_str().expect("UTF-8").to_owned();
    let daemon = Start::new(&server.endpoint(), "s").args(["--config", &path]).start().await;
    Scene { _ferro: ferro, server, daemon, file, _dir: dir }
}

fn write(file: &Path, config: &str) {
    std::fs::write(file, config).expect("the directory is writable");
}

/// Writes the file, sends SIGHUP, and waits for the line that tells.
async fn reload(scene: &Scene, config: &str, tells: &str) -> serde_json::Value {
    let before = scene.daemon.logged(tells).len();
    write(&scene.file, config);
    scene.daemon.signal(Signal::HUP);
    eventually(tells, async || scene.daemon.logged(tells).into_iter().nth(before)).await
}

#[tokio::test]
async fn sighup_takes_over_what_is_safe_for_events_that_wait_already() {
    let scene = scene("[batch]\nlinger = \"60s\"\n").await;
    let mut caller = scene.daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("it is accepted", async || {
        (scene.daemon.metric("dispatchd_events_in_flight").await == 1.0).then_some(())
    })
    .await;
    let said = reload(&scene, "[batch]\nlinger = \"0ms\"\n[log]\nlevel = \"debug\"\n", "configuration reloaded").await;
    assert_eq!(said["changed"], "batch.linger = 0ms, log.level = debug");
    assert_eq!(caller.answer().await["ok"], true, "linger was a minute");
    assert_eq!(scene.daemon.status().await["log"]["level"], "debug");
    assert_eq!(scene.daemon.metric(SUCCESSFUL).await, 1.0);
}

#[tokio::test]
async fn keys_that_need_a_restart_are_named_and_keep_their_values() {
    let scene = scene("").await;
    let config = "[socket]\nwindow = 7\n[batch]\nmax_records = 9\n[delivery]\nordering = \"relaxed\"\n";
    let said = reload(&scene, config, "these keys changed and need a restart").await;
    assert_eq!((&said["level"], &said["keys"]), (&"WARN".into(), &"socket.window, delivery.ordering".into()));
    assert_eq!(scene.daemon.logged("configuration reloaded")[0]["changed"], "batch.max_records = 9");
    let last = &scene.daemon.status().await["last_reload"];
    assert_eq!(last["needs_restart"], serde_json::json!(["socket.window", "delivery.ordering"]));
}

#[tokio::test]
async fn a_configuration_with_a_problem_changes_nothing_and_every_problem_is_told() {
    let scene = scene("[batch]\nlinger = \"60s\"\n").await;
    let bad = "[batch]\nlinger = \"0ms\"\nmax_record = 7\n[delivery]\ntimeout = \"2 minutes\"\n";
    let said = reload(&scene, bad, "the configuration was read again and is refused").await;
    assert_eq!(said["level"], "ERROR");
    for key in ["batch.max_record = ", "delivery.timeout = \"2 minutes\" (from "] {
        assert!(said["problems"].as_str().expect("a text").contains(key), "{key} is not in {said}");
    }
    assert_eq!(scene.daemon.metric(SUCCESSFUL).await, 0.0);
    let mut caller = scene.daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    // What lingered would be in flight; what did not is acked.
    eventually("it is accepted", async || {
        (scene.daemon.metric("dispatchd_events_in_flight").await == 1.0).then_some(())
    })
    .await;
    let refused = scene.daemon.run_admin(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("the old configuration holds") && told.contains("batch.max_record"), "{told}");
    reload(&scene, "[log]\nlevel = \"verbose\"\n", "the configuration was read again and is refused").await;

    write(&scene.file, "[batch]\nlinger = \"0ms\"\n");
    let done = scene.daemon.run_admin(&["reload"]).await;
    assert_eq!(String::from_utf8_lossy(&done.stdout), "changed: batch.linger = 0ms\n");
    assert_eq!(caller.answer().await["ok"], true);
    assert_eq!(scene.daemon.metric(SUCCESSFUL).await, 1.0);
}

#[tokio::test]
async fn a_reload_tries_a_blocked_stream_at_once() {
    let scene = scene("").await;
    let denied = [("PutRecords".to_owned(), Refusal::access_denied())].into();
    scene.server.set(Plan { denied, ..Plan::default() });
    let mut caller = scene.daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    let next = eventually("the next probe is seconds away", async || {
        let next = scene.daemon.status().await["lanes"][0]["ok"]["blocked"]["next_probe_seconds"].as_f64()?;
        (next > 4.0).then_some(next)
    })
    .await;
    scene.server.set(Plan::default());
    let began = Instant::now();
    scene.daemon.signal(Signal::HUP);
    assert_eq!(caller.answer().await["ok"], true);
    assert!(began.elapsed().as_secs_f64() < next - 1.0, "it waited for its turn: {:?} of {next} s", began.elapsed());
}
