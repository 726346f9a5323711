//! The log: it costs lines where nobody reads it, never events; and it never holds what an event
//! holds.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use testkit::daemon::{Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Refusal};
use testkit::kinesis::Ferro;
use testkit::stopwatch::Stopwatch;
use testkit::stream::create_stream;
use testkit::{DEADLINE, client, eventually};
use tokio::io::{BufReader, Lines};
use tokio::process::ChildStderr;
use tokio::time::{Instant, timeout};

use crate::DISPATCHD;

const LOST: &str = "dispatchd_log_lines_dropped_total";

/// A daemon whose log is loud and read by nobody, and what it has said after "ready".
async fn unread(ferro: &Ferro) -> (Daemon, Lines<BufReader<ChildStderr>>) {
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let loud = "dispatchd=trace,aws_sigv4=trace";
    DISPATCHD
        .daemon(&ferro.endpoint(), "s")
        .set("log.level", loud)
        .set("shutdown.timeout", "10s")
        .start_unread()
        .await
}

/// Sends events, each of which must be acked, until the log has lost a line.
async fn send_until_lines_are_lost(daemon: &Daemon) {
    let mut caller = daemon.connect().await;
    let began = Instant::now();
    for n in 0.. {
        assert_eq!(caller.ask(&event(n, "k", "{}")).await["ok"], true);
        if daemon.metric(LOST).await > 0.0 {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "no line was lost by {n} events");
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_event_and_says_what_it_lost_when_it_is_read() {
    let ferro = Ferro::start(false).await;
    let (daemon, mut log) = unread(&ferro).await;
    assert_eq!(daemon.metric(LOST).await, 0.0);
    send_until_lines_are_lost(&daemon).await;
    assert_eq!(daemon.get("/livez").await.0, 200);
    let lost = daemon.metric(LOST).await;
    let told = loop {
        let line = timeout(DEADLINE, log.next_line())
            .await
            .expect("it tells in time")
            .expect("it can be read");
        let line: Value = serde_json::from_str(&line.expect("it runs")).expect("no line is torn");
        if line["message"]
            .as_str()
            .is_some_and(|said| said.starts_with("lines of this log were lost"))
        {
            break line;
        }
    };
    assert_eq!(told["level"], "WARN");
    assert!(
        told["lines"].as_f64().expect("a number") >= lost,
        "{told}, {lost} were lost before it was read"
    );
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_stop() {
    let ferro = Ferro::start(false).await;
    let (mut daemon, _log) = unread(&ferro).await;
    send_until_lines_are_lost(&daemon).await;
    let mut watch = Stopwatch::start(&[&daemon]);
    daemon.signal(Signal::TERM);
    assert_eq!(watch.during(daemon.exit_code()).await, Some(0));
    let took = watch.took();
    assert!(took.undelayed < Duration::from_secs(10), "shutdown.timeout is 10 s, it took {took:?}");
}

/// What could go wrong: Kinesis names the value that it does not take.
#[tokio::test]
async fn a_partition_key_that_kinesis_repeats_does_not_reach_the_log() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 1).await;
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").set("log.level", "debug").start().await;
    let said = "1 validation error detected: Value 'customer-9' at 'records.1.member.partitionKey' failed to satisfy constraint";
    server.next(Fault::Refuse(Refusal::new(400, "ValidationException", said)));
    let answer = daemon.connect().await.ask(&event(1, "customer-9", "{}")).await;
    assert!(
        answer["error"]["message"].as_str().is_some_and(|told| told.contains(said)),
        "{answer}"
    );
    eventually("the failure is logged", async || daemon.logged("PutRecords failed").pop()).await;
    assert!(!daemon.log().contains("customer-9"), "{}", daemon.log());
}
