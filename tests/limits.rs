//! What the system refuses, files to open or room for a log, stops neither the events nor the daemon.

mod support;

use std::fs::OpenOptions;
use std::time::Duration;

use rustix::process::Signal;
use support::daemon::{Caller, Daemon, IDLE_CPU_MAX, Start, event};
use support::fault::FaultServer;
use support::fault::plan::{Plan, Refusal};
use support::kinesis::Ferro;
use support::stream::{create_stream, read_all};
use support::truth::{assert_acks_are_true, numbered_lines};
use support::{client, eventually};
use tokio::time::sleep;

const OPEN_FILES: u32 = 40;
const PING: &str = r#"{"op":"ping","ref":1}"#;

async fn servers() -> (Ferro, FaultServer) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    (ferro, server)
}

const NO_FILES: &str = "cannot accept connections";

/// Connects until the daemon says that it lets nobody in any more: the kernel takes connections, and no ping is answered.
async fn fill_up(daemon: &Daemon) -> (Vec<Caller>, Vec<Caller>) {
    let (mut served, mut waiting) = (Vec::new(), Vec::new());
    while waiting.is_empty() {
        let mut caller = daemon.connect().await;
        caller.send(PING).await;
        let told = eventually(NO_FILES, async || daemon.logged(NO_FILES).pop());
        let answer = tokio::select! {
            answer = caller.line() => Some(answer),
            _ = told => None,
        };
        match answer {
            Some(answer) => {
                assert!(answer.is_some(), "a caller was turned away");
                served.push(caller);
            }
            None => waiting.push(caller),
        }
        assert!(served.len() < OPEN_FILES as usize, "the limit is not reached");
    }
    while waiting.len() < 5 {
        let mut caller = daemon.connect().await;
        caller.send(PING).await;
        waiting.push(caller);
    }
    (served, waiting)
}

#[tokio::test]
async fn without_files_to_open_it_waits_quietly_and_serves_again_when_there_are_some() {
    let (_ferro, server) = servers().await;
    let daemon = Start::new(&server.endpoint(), "s").open_files(OPEN_FILES).start().await;
    let (mut served, mut waiting) = fill_up(&daemon).await;
    let cpu = daemon.cpu_time();
    sleep(Duration::from_secs(2)).await; // a paced negative check
    let cpu = daemon.cpu_time() - cpu;
    assert!(cpu <= IDLE_CPU_MAX, "two seconds of waiting took {cpu:?} of a core");
    assert_eq!(served[0].ask(&event(1, "k", "{}")).await["ok"], true, "those that are in are served");
    for _ in 0..waiting.len() {
        drop(served.pop());
    }
    for caller in &mut waiting {
        assert_eq!(caller.answer().await["ok"], true, "those that waited are served");
        assert_eq!(caller.ask(&event(1, "k", "{}")).await["ok"], true);
    }
    let said = daemon.logged(NO_FILES);
    assert_eq!(said.len(), 1, "{said:?}");
}

/// Events, a stream that is blocked for a moment (an ERROR line), more events, a stop: all of it without a log.
async fn lives_unheard(stderr: impl Into<std::process::Stdio>) {
    let (ferro, server) = servers().await;
    let start = Start::new(&server.endpoint(), "s").set("log.level", "debug");
    let mut daemon = start.start_unheard(stderr).await;
    let mut answers = daemon.connect().await.pipeline(numbered_lines(500, 50)).await;
    server.next(support::fault::plan::Fault::Refuse(Refusal::access_denied()));
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
    let mut daemon = Start::new(&server.endpoint(), "s").set("shutdown.timeout", "1s").start_unheard(full).await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("it is tried", async || (!server.ledger().requests().is_empty()).then_some(())).await;
    daemon.signal(Signal::TERM);
    assert_eq!(caller.answer().await["error"]["code"], "ShuttingDown");
    assert_eq!(daemon.exit_code().await, Some(75));
}

#[tokio::test]
async fn without_a_log_a_start_that_fails_still_has_its_exit_code() {
    for (arguments, code) in [(["--set", "no.such=1"], 64), (["--socket", "/proc/no/such/place.sock"], 1)] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut run = support::daemon::command();
        run.args(["run", "--stream", "s", "--admin-listen", "off"]).args(arguments).stderr(full);
        assert_eq!(run.status().await.expect("it runs").code(), Some(code), "{arguments:?}");
    }
}
