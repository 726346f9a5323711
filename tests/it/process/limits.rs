//! What the system refuses, files to open or room for a log, stops neither the events nor the
//! daemon.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use testkit::daemon::{Daemon, IDLE_CPU_MAX, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::truth::{assert_acks_are_true, numbered_lines};
use testkit::{client, eventually};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::DISPATCHD;

const PING: &str = r#"{"op":"ping","ref":1}"#;

async fn servers() -> (Ferro, FaultServer) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    (ferro, server)
}

/// Lets the daemon have descriptors up to the lowest that is free now, and this many more: as if
/// others had the rest.
fn leave_files(daemon: &Daemon, more: u64) {
    let is_open = |descriptor: &u64| {
        PathBuf::from(format!("/proc/{}/fd/{descriptor}", daemon.pid())).is_symlink()
    };
    let lowest = (0..).find(|descriptor| !is_open(descriptor)).expect("it has not all of them");
    let limit = Rlimit { current: Some(lowest + more), maximum: Some(4096) };
    prlimit(Pid::from_raw(daemon.pid().cast_signed()), Resource::Nofile, limit)
        .expect("it is ours");
}

#[tokio::test]
async fn without_files_to_open_it_waits_quietly_and_serves_again_when_there_are_some() {
    let (_ferro, server) = servers().await;
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let mut served = daemon.connect().await;
    assert_eq!(served.ask(&event(1, "k", "{}")).await["ok"], true);
    leave_files(&daemon, 0);
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut caller = daemon.connect().await;
        caller.send(PING).await;
        waiting.push(caller);
    }
    eventually("it says so", async || daemon.logged("cannot accept connections").pop()).await;
    let cpu = daemon.cpu_time();
    sleep(Duration::from_secs(2)).await; // a paced negative check
    let cpu = daemon.cpu_time() - cpu;
    assert!(cpu <= IDLE_CPU_MAX, "two seconds of waiting took {cpu:?} of a core");
    assert_eq!(served.ask(&event(1, "k", "{}")).await["ok"], true, "those that are in are served");
    leave_files(&daemon, 200);
    for caller in &mut waiting {
        assert_eq!(caller.answer().await["ok"], true, "those that waited are served");
        assert_eq!(caller.ask(&event(1, "k", "{}")).await["ok"], true);
    }
    let said = daemon.logged("cannot accept connections");
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn as_many_files_as_the_configuration_needs_are_asked_for() {
    let (_ferro, server) = servers().await;
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").open_files(100).start().await;
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("it runs");
    let open_files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("Linux tells");
    assert_eq!(
        open_files.split_whitespace().next(),
        Some("648"),
        "512 callers and 136 kept back: {open_files}"
    );
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
}

#[tokio::test]
async fn the_last_files_are_kept_for_kinesis_and_probes() {
    let (_ferro, server) = servers().await;
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let mut served = daemon.connect().await;
    assert_eq!(served.ask(PING).await["ok"], true);
    // What it keeps back with the default of 16 requests at once, and a few for callers.
    leave_files(&daemon, 48 + 16 + 64 + 8 + 4);
    let mut callers = Vec::new();
    let turned_away = loop {
        let mut caller = daemon.connect().await;
        // Who is turned away may be gone before he asks.
        let _ = caller.write.write_all(format!("{PING}\n").as_bytes()).await;
        let answer = caller.answer().await;
        if answer["ok"] != true {
            break answer;
        }
        callers.push(caller);
        assert!(callers.len() < 50, "it keeps nothing back");
    };
    assert_eq!(
        (&turned_away["error"]["code"], &turned_away["error"]["retryable"]),
        (&"Overloaded".into(), &true.into())
    );
    assert!(
        turned_away["error"]["message"]
            .as_str()
            .is_some_and(|told| told.contains("too many files open"))
    );
    for (reason, count) in [("open_files", 1.0), ("max_connections", 0.0)] {
        let metric = format!("dispatchd_connections_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(daemon.metric(&metric).await, count, "{reason}");
    }
    assert_eq!(
        served.ask(&event(1, "k", "{}")).await["ok"],
        true,
        "a connection to Kinesis can be made"
    );
    for probe in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(daemon.get(probe).await.0, 200, "{probe}");
    }
    drop(callers);
    eventually("others are let in again", async || {
        (daemon.connect().await.ask(PING).await["ok"] == true).then_some(())
    })
    .await;
}

/// Events, a stream that is blocked for a moment (an ERROR line), more events, a stop: all of it
/// without a log.
async fn lives_unheard(stderr: impl Into<std::process::Stdio>) {
    let (ferro, server) = servers().await;
    let start = DISPATCHD.daemon(&server.endpoint(), "s").set("log.level", "debug");
    let mut daemon = start.start_unheard(stderr).await;
    let mut answers = daemon.connect().await.pipeline(numbered_lines(500, 50)).await;
    server.next(testkit::fault::plan::Fault::Refuse(Refusal::access_denied()));
    answers.extend(daemon.connect().await.pipeline(numbered_lines(100, 50)).await);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(answers.len(), 600);
    assert_eq!(assert_acks_are_true(&answers, &read_all(&client(&ferro.endpoint()), "s").await), 0);
}

#[tokio::test]
async fn a_full_disk_under_the_log_stops_nothing() {
    lives_unheard(OpenOptions::new().write(true).open("/dev/full").expect("Linux has it")).await;
}

#[tokio::test]
async fn a_log_that_nobody_takes_any_more_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    lives_unheard(writer).await;
}

#[tokio::test]
async fn without_a_log_the_exit_code_still_tells_of_what_is_unconfirmed() {
    let (_ferro, server) = servers().await;
    server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut daemon = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("shutdown.timeout", "1s")
        .start_unheard(full)
        .await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("it is tried", async || (!server.ledger().requests().is_empty()).then_some(()))
        .await;
    daemon.signal(Signal::TERM);
    assert_eq!(caller.answer().await["error"]["code"], "ShuttingDown");
    assert_eq!(daemon.exit_code().await, Some(75));
}

#[tokio::test]
async fn without_a_log_a_start_that_fails_still_has_its_exit_code() {
    for (arguments, code) in
        [(["--set", "no.such=1"], 64), (["--socket", "/proc/no/such/place.sock"], 1)]
    {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut run = DISPATCHD.command();
        run.args(["run", "--stream", "s", "--admin-listen", "off"]).args(arguments).stderr(full);
        assert_eq!(run.status().await.expect("it runs").code(), Some(code), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_past_the_year_9999_ends_nothing() {
    let Some(library) = testkit::packages::faketime() else { return };
    let (ferro, server) = servers().await;
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .env("LD_PRELOAD", library.to_str().expect("UTF-8"));
    let mut daemon =
        start.env("FAKETIME", "+8100y").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").start().await;
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(
        (&answer["ok"], &answer["timestamp"]),
        (&true.into(), &"9999-12-31T23:59:59.999Z".into())
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code().await, Some(0), "{}", daemon.log());
    assert_acks_are_true(&[answer], &read_all(&client(&ferro.endpoint()), "s").await);
}
