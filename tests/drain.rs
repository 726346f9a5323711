//! The stop at its worst: by the deadline every event is answered, and the exit code tells the truth.

mod support;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Caller, Daemon, Start, event};
use support::fault::FaultServer;
use support::fault::plan::{Plan, Refusal};
use support::kinesis::Ferro;
use support::stream::{create_stream, read_all};
use support::truth::{assert_acks_are_true, numbered_lines, refs};
use support::{client, eventually};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(2);
/// A process takes a moment to end, and the machine is shared.
const GRACE: Duration = Duration::from_secs(1);
const EVENTS: usize = 1_000;

async fn servers() -> (Ferro, FaultServer) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    (ferro, server)
}

fn daemon(server: &FaultServer) -> Start {
    Start::new(&server.endpoint(), "s").set("shutdown.timeout", format_args!("{}s", TIMEOUT.as_secs()))
}

async fn accepted(daemon: &Daemon, count: usize) {
    eventually("they are accepted", async || {
        (daemon.metric("dispatchd_events_in_flight").await == count as f64).then_some(())
    })
    .await;
}

/// Exit code, and how long the stop took. Asserts that it kept to its time.
async fn stop(daemon: &mut Daemon) -> (Option<i32>, Duration) {
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    let code = daemon.exit_code().await;
    let took = began.elapsed();
    assert!(took <= TIMEOUT + GRACE, "it took {took:?}\n{}", daemon.log());
    (code, took)
}

/// Accepts events that `plan` lets nobody have, stops, and gives the answers.
async fn stop_under(plan: Plan) -> Vec<Value> {
    let (ferro, server) = servers().await;
    server.set(plan);
    let mut daemon = daemon(&server).start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(EVENTS, 100)));
    accepted(&daemon, EVENTS).await;
    let (code, _) = stop(&mut daemon).await;
    let answers = caller.await.expect("the caller does not panic");
    assert_eq!(refs(&answers), (0..EVENTS as u64).collect::<Vec<_>>(), "every event is answered, once");
    let (acked, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer["ok"] == true);
    assert_acks_are_true(&acked, &read_all(&client(&ferro.endpoint()), "s").await);
    assert_eq!(code, Some(75), "{}", daemon.log());
    assert!(refused.iter().all(|answer| answer["error"]["code"] == "ShuttingDown"));
    let said = daemon.logged("stopped with events unconfirmed");
    assert_eq!(said[0]["unconfirmed"], refused.len(), "the last line has their count");
    refused
}

fn outcomes(refused: &[Value], outcome: &str) -> usize {
    refused.iter().filter(|answer| answer["error"]["outcome"] == outcome).count()
}

#[tokio::test]
async fn a_stop_while_everything_is_throttled_answers_all_in_time_and_exits_75() {
    let refused = stop_under(Plan { throttled_ratio: 1.0, ..Plan::default() }).await;
    assert_eq!(outcomes(&refused, "not_stored"), EVENTS);
}

#[tokio::test]
async fn a_stop_while_blocked_answers_all_in_time_and_exits_75() {
    let denied = [("PutRecords".to_owned(), Refusal::access_denied())];
    let refused = stop_under(Plan { denied: denied.into(), ..Plan::default() }).await;
    assert_eq!(outcomes(&refused, "not_stored"), EVENTS);
}

#[tokio::test]
async fn a_stop_with_requests_that_hang_answers_all_in_time_and_exits_75() {
    let refused = stop_under(Plan { hang_after_ratio: 1.0, ..Plan::default() }).await;
    // Under strict order one event of each of the 100 keys was out.
    assert_eq!((outcomes(&refused, "unknown"), outcomes(&refused, "not_stored")), (100, EVENTS - 100));
}

#[tokio::test]
async fn a_stop_while_most_is_throttled_delivers_what_it_can_and_exits_0_if_that_is_all() {
    let (ferro, server) = servers().await;
    server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    let brief = daemon(&server).set("delivery.backoff_min", "10ms").set("delivery.backoff_max", "20ms");
    let mut daemon = brief.start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(EVENTS, EVENTS)));
    accepted(&daemon, EVENTS).await;
    server.set(Plan { throttled_ratio: 0.5, ..Plan::default() });
    let (code, _) = stop(&mut daemon).await;
    let answers = caller.await.expect("the caller does not panic");
    assert_eq!(code, Some(0), "{}", daemon.log());
    assert_eq!(answers.len(), EVENTS);
    assert_eq!(assert_acks_are_true(&answers, &read_all(&client(&ferro.endpoint()), "s").await), 0);
}

#[tokio::test]
async fn a_stream_that_opens_during_the_stop_gets_everything_and_it_exits_0() {
    let (ferro, server) = servers().await;
    server.set(Plan { denied: [("PutRecords".to_owned(), Refusal::expired_token())].into(), ..Plan::default() });
    let mut daemon = daemon(&server).start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    accepted(&daemon, 100).await;
    let blocked = async || daemon.metric("dispatchd_stream_blocked{reason=\"credentials\"}").await == 1.0;
    eventually("it is blocked", async || blocked().await.then_some(())).await;
    // The next probe would come a second after the first; the stop asks at once.
    server.set(Plan::default());
    let (code, took) = stop(&mut daemon).await;
    assert_eq!(code, Some(0), "{}", daemon.log());
    assert!(took < Duration::from_millis(500), "it took {took:?}");
    let answers = caller.await.expect("the caller does not panic");
    assert_eq!(assert_acks_are_true(&answers, &read_all(&client(&ferro.endpoint()), "s").await), 0);
}

#[tokio::test]
async fn a_caller_that_never_reads_its_answers_holds_a_stop_no_longer_than_its_time() {
    let (ferro, server) = servers().await;
    let mut daemon = daemon(&server).start().await;
    let Caller { read, mut write } = daemon.connect().await;
    let flood = tokio::spawn(async move { while write.write_all(numbered_lines(500, 50).as_bytes()).await.is_ok() {} });
    let mut before = -1.0;
    eventually("nothing more of it is read", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = daemon.metric("dispatchd_events_acked_total").await;
        (std::mem::replace(&mut before, now) == now && now > 0.0).then_some(())
    })
    .await;
    let other = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    let (code, _) = stop(&mut daemon).await;
    flood.abort();
    drop(read);
    let answers = other.await.expect("the caller does not panic");
    assert!(answers.len() == 100 && answers.iter().all(|answer| answer["ok"] == true));
    assert_eq!(code, Some(0), "what it sent is in the stream, read or not\n{}", daemon.log());
    let acked = daemon.logged("stopped: every event was answered")[0]["acked"].as_u64().expect("a number");
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len() as u64, acked);
}

#[tokio::test]
async fn a_plain_stop_takes_one_round_trip() {
    let (_ferro, server) = servers().await;
    server.set(Plan { latency_ms: 200, ..Plan::default() });
    let mut daemon = daemon(&server).set("batch.linger", "60s").start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    accepted(&daemon, 100).await;
    let (code, took) = stop(&mut daemon).await;
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(600), "it took {took:?}");
    assert_eq!(caller.await.expect("the caller does not panic").len(), 100);
}

#[tokio::test]
async fn an_idle_caller_holds_a_stop_until_the_reserve_and_no_longer() {
    let (_ferro, server) = servers().await;
    let mut daemon = daemon(&server).start().await;
    let mut caller = daemon.connect().await;
    assert_eq!(caller.ask(&event(1, "k", "{}")).await["ok"], true);
    let (code, _) = stop(&mut daemon).await;
    assert_eq!(code, Some(0));
    assert_eq!(caller.line().await, None, "its connection is closed in order");
}
