//! A configuration that is read again while events are on their way: what is safe holds at once,
//! what is wrong changes nothing, and a blocked stream is tried.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;
use testkit::daemon::{Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stopwatch::Stopwatch;
use testkit::stream::create_stream;
use testkit::{client, eventually};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::DISPATCHD;

const SUCCESSFUL: &str = "dispatchd_config_last_reload_successful";

/// A daemon that read `config.toml` in the directory.
struct Scene {
    _ferro: Ferro,
    server: FaultServer,
    daemon: Daemon,
    file: PathBuf,
    /// Told how the daemon stands.
    manager: UnixDatagram,
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
    let notify = dir.path().join("notify");
    let manager = UnixDatagram::bind(&notify).expect("it is free");
    manager.set_nonblocking(true).expect("it can be");
    let start = DISPATCHD.daemon(&server.endpoint(), "s").args(["--config", &path]);
    let daemon = start.env("NOTIFY_SOCKET", notify.to_str().expect("UTF-8")).start().await;
    Scene { _ferro: ferro, server, daemon, file, manager, _dir: dir }
}

/// What the service manager was told since it was last looked at.
fn states(manager: &UnixDatagram) -> Vec<String> {
    let mut state = [0; 64];
    let told = || {
        manager
            .recv(&mut state)
            .ok()
            .map(|bytes| String::from_utf8_lossy(&state[..bytes]).into_owned())
    };
    std::iter::from_fn(told).collect()
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
    let said = reload(
        &scene,
        "[batch]\nlinger = \"0ms\"\n[log]\nlevel = \"debug\"\n",
        "configuration reloaded",
    )
    .await;
    assert_eq!(said["changed"], "batch.linger = 0ms, log.level = debug");
    assert_eq!(caller.answer().await["ok"], true, "linger was a minute");
    assert_eq!(scene.daemon.status().await["log"]["level"], "debug");
    assert_eq!(scene.daemon.metric(SUCCESSFUL).await, 1.0);
}

#[tokio::test]
async fn keys_that_need_a_restart_are_named_and_keep_their_values() {
    let scene = scene("").await;
    let config =
        "[socket]\nwindow = 7\n[batch]\nmax_records = 9\n[delivery]\nordering = \"relaxed\"\n";
    let said = reload(&scene, config, "these keys changed and need a restart").await;
    assert_eq!(
        (&said["level"], &said["keys"]),
        (&"WARN".into(), &"socket.window, delivery.ordering".into())
    );
    assert_eq!(
        scene.daemon.logged("configuration reloaded")[0]["changed"],
        "batch.max_records = 9"
    );
    let last = &scene.daemon.status().await["last_reload"];
    assert_eq!(last["needs_restart"], serde_json::json!(["socket.window", "delivery.ordering"]));
}

#[tokio::test]
async fn a_configuration_with_a_problem_changes_nothing_and_every_problem_is_told() {
    let scene = scene("[batch]\nlinger = \"60s\"\n").await;
    let bad = "[batch]\nlinger = \"0ms\"\nmax_record = 7\n[delivery]\ntimeout = \"2 minutes\"\n";
    const REFUSED: &str = "the configuration was read again and is refused";
    let said = reload(&scene, bad, REFUSED).await;
    assert_eq!(said["level"], "ERROR");
    for key in ["batch.max_record (from ", "delivery.timeout = \"2 minutes\" (from "] {
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
    assert!(
        told.contains("the old configuration holds") && told.contains("batch.max_record"),
        "{told}"
    );
    // Its line in the log comes on another way, and must not be taken for the next one's.
    eventually("both are logged", async || (scene.daemon.logged(REFUSED).len() == 2).then_some(()))
        .await;
    reload(&scene, "[log]\nlevel = \"verbose\"\n", REFUSED).await;

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
        let next = scene.daemon.status().await["lanes"][0]["ok"]["blocked"]["next_probe_seconds"]
            .as_f64()?;
        (next > 4.0).then_some(next)
    })
    .await;
    scene.server.set(Plan::default());
    let mut watch = Stopwatch::start(&[&scene.daemon]);
    scene.daemon.signal(Signal::HUP);
    assert_eq!(caller.answer().await["ok"], true);
    let took = watch.took();
    assert!(
        took.undelayed.as_secs_f64() < next - 1.0,
        "it waited for its turn: {took:?} of {next} s"
    );
}

/// What `dispatchd admin` says of a reload that is refused.
async fn refused_reload(daemon: &Daemon) -> String {
    let refused = daemon.run_admin(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1));
    String::from_utf8_lossy(&refused.stderr).into_owned()
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_read_again_and_that_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fifo = dir.path().join("config.toml");
    let made =
        std::process::Command::new("mkfifo").arg(&fifo).status().expect("coreutils has mkfifo");
    assert!(made.success());
    let writing = tokio::task::spawn_blocking({
        let fifo = fifo.clone();
        move || write(&fifo, "[batch]\nlinger = \"60s\"\n")
    });
    let path = fifo.to_str().expect("UTF-8");
    let mut daemon = DISPATCHD.local().args(["--config", path]).start().await;
    writing.await.expect("it was read");
    assert!(refused_reload(&daemon).await.contains("it is no regular file"));
    daemon.signal(Signal::HUP);
    eventually("it is logged", async || {
        daemon
            .logged("the configuration was read again and is refused")
            .get(1)
            .map(|line| line["level"] == "ERROR")
    })
    .await;
    assert_eq!(daemon.metric(SUCCESSFUL).await, 0.0);
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    caller.ask("{\"op\":\"ping\"}").await;
    assert_eq!(
        daemon.metric("dispatchd_events_in_flight").await,
        1.0,
        "no default took the place of a minute"
    );
    for command in [&["status"][..], &["log-level", "debug"], &["drain"]] {
        assert!(daemon.run_admin(command).await.status.success(), "{command:?}");
    }
    drop(caller);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code().await, Some(0));
}

/// Whoever opens the file hangs while this runs, as on a disk that does not answer: it has a lease
/// on it, and does not let go.
const LEASE: &str = "import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
sys.stdin.read()";

#[tokio::test]
async fn a_file_that_cannot_be_read_in_time_holds_up_nothing_but_its_reload() {
    let scene = scene("").await;
    let mut lease = tokio::process::Command::new("python3");
    lease
        .args(["-c", LEASE])
        .arg(&scene.file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut lease = lease.spawn().expect("python3 is there");
    let held = lease.stdout.take().expect("it is piped").read_u8().await;
    assert_eq!(held.expect("it has the lease"), b'\n');
    let daemon = &scene.daemon;
    let told = async {
        let told = refused_reload(daemon).await;
        (told, Instant::now())
    };
    // All at once: to start programs one after the other takes a machine that is full seconds.
    let other = async |command: &[&str]| {
        assert!(daemon.run_admin(command).await.status.success(), "{command:?}");
        Instant::now()
    };
    let ((late, late_at), one_at, two_at) =
        tokio::join!(told, other(&["log-level", "debug"]), other(&["drain"]));
    assert!(late.contains("it could not be read within 3 s"), "{late}");
    assert!(one_at.max(two_at) < late_at, "they waited for it");
    assert!(refused_reload(daemon).await.contains("an earlier reload still hangs"));
    let both = ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"];
    assert_eq!(
        states(&scene.manager),
        both,
        "who manages the service waits for no reload that hangs"
    );
    lease.kill().await.expect("it runs");
    eventually("what hung has ended", async || {
        daemon.run_admin(&["reload"]).await.status.success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_has_become_empty_is_worth_a_warning() {
    let scene = scene("[batch]\nlinger = \"60s\"\n").await;
    for _ in 0..2 {
        reload(&scene, "", "configuration reloaded").await;
        let said = scene.daemon.logged("the configuration file sets nothing any more");
        assert_eq!(said.len(), 1, "the second time it was empty already");
        assert_eq!(said[0]["level"], "WARN");
    }
}
