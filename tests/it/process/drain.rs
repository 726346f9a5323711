//! The stop at its worst: by the deadline every event is answered, and the exit code tells the
//! truth.

use std::time::Duration;

use rustix::process::Signal;
use testkit::daemon::{Caller, Daemon, Start, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stopwatch::{Stopwatch, Took};
use testkit::stream::{create_stream, read_all};
use testkit::truth::{assert_acks_are_true, numbered_lines, refs};
use testkit::{client, eventually};
use tokio::io::AsyncWriteExt;

use crate::DISPATCHD;

const TIMEOUT: Duration = Duration::from_secs(3);
/// A process takes a moment to end. With it a stop still ends long before a request that hangs,
/// which takes `kinesis.attempt_timeout`.
const GRACE: Duration = Duration::from_secs(4);
/// For a stop that ends by itself: never reached.
const LONG: &str = "1h";
const EVENTS: usize = 1_000;
/// Under strict order one event of each is out, at most.
const KEYS: usize = 100;

async fn servers() -> (Ferro, FaultServer) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    (ferro, server)
}

fn daemon(server: &FaultServer) -> Start {
    DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("shutdown.timeout", format_args!("{}s", TIMEOUT.as_secs()))
}

async fn accepted(daemon: &Daemon, count: usize) {
    eventually("they are accepted", async || {
        (daemon.metric("dispatchd_events_in_flight").await == count as f64).then_some(())
    })
    .await;
}

/// Exit code, and how long the stop took.
async fn stop(daemon: &mut Daemon) -> (Option<i32>, Took) {
    let mut watch = Stopwatch::start(&[daemon]);
    daemon.signal(Signal::TERM);
    (watch.during(daemon.exit_code()).await, watch.took())
}

/// The same of a stop that may need all of its time, and no more.
async fn stop_in_time(daemon: &mut Daemon, timeout: Duration) -> Option<i32> {
    let (code, took) = stop(daemon).await;
    assert!(took.undelayed <= timeout + GRACE, "it took {took:?}\n{}", daemon.log());
    code
}

/// How many events a stop gave up that may be stored, and how many that are not.
struct GivenUp {
    unknown: usize,
    not_stored: usize,
}

/// Accepts events that `plan` lets nobody have, stops, and gives what became of them.
async fn stop_under(plan: Plan) -> GivenUp {
    let (ferro, server) = servers().await;
    server.set(plan);
    let mut daemon = daemon(&server).start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(EVENTS, KEYS)));
    accepted(&daemon, EVENTS).await;
    let code = stop_in_time(&mut daemon, TIMEOUT).await;
    let answers = caller.await.expect("the caller does not panic");
    assert_eq!(
        refs(&answers),
        (0..EVENTS as u64).collect::<Vec<_>>(),
        "every event is answered, once"
    );
    let (acked, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer["ok"] == true);
    assert!(acked.is_empty(), "{}", acked[0]);
    assert_eq!(code, Some(75), "{}", daemon.log());
    assert!(refused.iter().all(|answer| answer["error"]["code"] == "ShuttingDown"));
    let said = daemon.logged("stopped with events unconfirmed");
    assert_eq!(said[0]["unconfirmed"], EVENTS, "the last line has their count");
    let outcomes = |outcome: &str| {
        refused.iter().filter(|answer| answer["error"]["outcome"] == outcome).count()
    };
    let given_up = GivenUp { unknown: outcomes("unknown"), not_stored: outcomes("not_stored") };
    assert_eq!(
        given_up.unknown + given_up.not_stored,
        EVENTS,
        "each says whether it may be stored"
    );
    assert!(
        given_up.unknown <= KEYS,
        "{} were out at once, of {KEYS} keys in strict order",
        given_up.unknown
    );
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    assert!(
        stored.len() <= given_up.unknown,
        "{} are stored, {} may be",
        stored.len(),
        given_up.unknown
    );
    given_up
}

#[tokio::test]
async fn a_stop_while_everything_is_throttled_answers_all_in_time_and_exits_75() {
    let given_up = stop_under(Plan { throttled_ratio: 1.0, ..Plan::default() }).await;
    // Of what is out at the deadline nobody knows yet what becomes of it; what was refused before
    // is not stored.
    assert!(given_up.not_stored >= EVENTS - KEYS);
}

#[tokio::test]
async fn a_stop_while_blocked_answers_all_in_time_and_exits_75() {
    let denied = [("PutRecords".to_owned(), Refusal::access_denied())];
    let given_up = stop_under(Plan { denied: denied.into(), ..Plan::default() }).await;
    assert!(given_up.unknown <= 1, "a blocked stream is tried with one event at a time");
}

#[tokio::test]
async fn a_stop_with_requests_that_hang_answers_all_in_time_and_exits_75() {
    let given_up = stop_under(Plan { hang_after_ratio: 1.0, ..Plan::default() }).await;
    assert_eq!(given_up.unknown, KEYS, "one event of each key was out");
}

#[tokio::test]
async fn a_stop_while_most_is_throttled_delivers_what_it_can_and_exits_0_if_that_is_all() {
    let (ferro, server) = servers().await;
    server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    let brief =
        daemon(&server).set("delivery.backoff_min", "10ms").set("delivery.backoff_max", "20ms");
    let mut daemon = brief.set("shutdown.timeout", LONG).start().await;
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
    server.set(Plan {
        denied: [("PutRecords".to_owned(), Refusal::expired_token())].into(),
        ..Plan::default()
    });
    let mut daemon = daemon(&server).set("shutdown.timeout", LONG).start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    accepted(&daemon, 100).await;
    let next = eventually("the next probe is seconds away", async || {
        let next =
            daemon.status().await["lanes"][0]["ok"]["blocked"]["next_probe_seconds"].as_f64()?;
        (next > 4.0).then_some(next)
    })
    .await;
    server.set(Plan::default());
    let (code, took) = stop(&mut daemon).await;
    assert_eq!(code, Some(0), "{}", daemon.log());
    assert!(
        took.undelayed.as_secs_f64() < next - 1.0,
        "it waited for the next probe: {took:?} of {next} s"
    );
    let answers = caller.await.expect("the caller does not panic");
    assert_eq!(assert_acks_are_true(&answers, &read_all(&client(&ferro.endpoint()), "s").await), 0);
}

#[tokio::test]
async fn a_caller_that_never_reads_its_answers_holds_a_stop_no_longer_than_its_time() {
    // Long enough for what the other caller sends, on a machine that is full too.
    const TIMEOUT: Duration = Duration::from_secs(10);
    let (ferro, server) = servers().await;
    let start = daemon(&server).set("shutdown.timeout", format_args!("{}s", TIMEOUT.as_secs()));
    let mut daemon = start.start().await;
    let Caller { read, mut write } = daemon.connect().await;
    let flood = tokio::spawn(async move {
        while write.write_all(numbered_lines(500, 50).as_bytes()).await.is_ok() {}
    });
    let mut before = -1.0;
    eventually("nothing more of it is read", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = daemon.metric("dispatchd_events_acked_total").await;
        (std::mem::replace(&mut before, now) == now && now > 0.0).then_some(())
    })
    .await;
    let other = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    let code = stop_in_time(&mut daemon, TIMEOUT).await;
    flood.abort();
    drop(read);
    let answers = other.await.expect("the caller does not panic");
    assert!(answers.len() == 100 && answers.iter().all(|answer| answer["ok"] == true));
    assert_eq!(code, Some(0), "what it sent is in the stream, read or not\n{}", daemon.log());
    let acked =
        daemon.logged("stopped: every event was answered")[0]["acked"].as_u64().expect("a number");
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len() as u64, acked);
}

#[tokio::test]
async fn a_plain_stop_takes_one_round_trip() {
    let (_ferro, server) = servers().await;
    let round_trip = Duration::from_secs(2);
    server.set(Plan { latency_ms: 2_000, ..Plan::default() });
    let mut daemon =
        daemon(&server).set("batch.linger", "60s").set("shutdown.timeout", LONG).start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    accepted(&daemon, 100).await;
    let (code, took) = stop(&mut daemon).await;
    assert_eq!(code, Some(0));
    assert!(took.elapsed >= round_trip && took.undelayed < 2 * round_trip, "it took {took:?}");
    assert_eq!(server.ledger().requests().len(), 1);
    assert_eq!(caller.await.expect("the caller does not panic").len(), 100);
}

#[tokio::test]
async fn a_stop_says_for_how_many_callers_it_waits_until_when_and_not_for_idle_ones() {
    let (_ferro, server) = servers().await;
    let mut daemon = daemon(&server).set("shutdown.timeout", "1h").start().await;
    let (mut caller, mut other) = (daemon.connect().await, daemon.connect().await);
    assert_eq!(caller.ask(&event(1, "k", "{}")).await["ok"], true);
    assert_eq!(other.ask("{\"op\":\"ping\"}").await["ok"], true);
    let (code, took) = stop(&mut daemon).await;
    assert_eq!(code, Some(0));
    assert!(took.elapsed >= Duration::from_secs(2), "its last lines may be on their way: {took:?}");
    assert_eq!(caller.line().await, None, "its connection is closed in order");
    let said = &daemon.logged("callers are connected and may send their last lines")[0];
    assert_eq!((&said["level"], &said["connected"]), (&"INFO".into(), &2.into()));
    let time = |field: &str| {
        let time = said[field].as_str().unwrap_or_else(|| panic!("no {field} in {said}"));
        chrono::DateTime::parse_from_rfc3339(time).expect("RFC 3339")
    };
    let waits = time("until") - time("timestamp");
    assert!((3_590..=3_600).contains(&waits.num_seconds()), "an hour less the reserve: {waits:?}");
    assert_eq!(daemon.logged("nothing is in flight and no line has come for 2 s").len(), 1);
}
