//! Time limits: what is told of an event at the end of its time, and how long a request that hangs
//! can hold a key.

use std::time::Duration;

use rustix::process::Signal;
use testkit::daemon::{IDLE_CPU_MAX, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Plan};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::truth::{assert_acks_are_true, numbered_lines};
use testkit::{client, eventually};

use crate::DISPATCHD;

async fn server() -> (Ferro, FaultServer) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    (ferro, server)
}

#[tokio::test]
async fn an_event_that_one_attempt_may_have_stored_is_never_called_not_stored() {
    // The reply of the first attempt never comes; every later attempt surely stores nothing. The
    // first one counts.
    let (ferro, server) = server().await;
    let say = |entry: &str| Fault::Say(format!(r#"{{"FailedRecordCount":0,"Records":[{entry}]}}"#));
    for (fault, copies) in [
        (Fault::HangAfter, 1),
        (Fault::Cut, 2),
        (Fault::HangBefore, 2),
        (say("{}"), 3),
        (say(r#"{"SequenceNumber":"","ShardId":"shardId-000000000000"}"#), 4),
    ] {
        server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
        server.next(fault);
        let start = DISPATCHD.daemon(&server.endpoint(), "s").set("delivery.timeout", "1s");
        let daemon = start.set("kinesis.attempt_timeout", "200ms").start().await;
        let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
        assert_eq!(answer["error"]["code"], "DeliveryTimeout");
        assert_eq!(answer["error"]["outcome"], "unknown");
        assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), copies);
    }
}

#[tokio::test]
async fn a_request_that_hangs_holds_its_key_for_the_attempt_timeout_and_no_other_key_at_all() {
    let (ferro, server) = server().await;
    let start = DISPATCHD.daemon(&server.endpoint(), "s").set("kinesis.attempt_timeout", "4s");
    let daemon = start.set("delivery.backoff_max", "100ms").start().await;
    server.next(Fault::HangBefore);
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "held", "{}")).await;
    eventually("it hangs", async || (server.ledger().in_flight() == 1).then_some(())).await;
    for n in 10..15 {
        assert_eq!(daemon.connect().await.ask(&event(n, "other", "{}")).await["ok"], true);
    }
    assert_eq!(server.ledger().in_flight(), 1, "the others came and went meanwhile");
    caller.send(&event(2, "held", "{}")).await;
    for reference in [1, 2] {
        let answer = caller.answer().await;
        assert_eq!((&answer["ok"], &answer["ref"]), (&true.into(), &reference.into()), "in order");
    }
    let attempts: Vec<_> =
        server.ledger().requests().into_iter().filter(|fact| fact.keys == ["held"]).collect();
    let waited = attempts[1].at - attempts[0].at;
    // By default a request has 10 s.
    assert!(
        (4_000..10_000).contains(&waited.as_millis()),
        "the next attempt came after {waited:?}"
    );
    assert_eq!(
        read_all(&client(&ferro.endpoint()), "s").await.len(),
        7,
        "a request that is given up stores nothing here"
    );
}

#[tokio::test]
async fn the_longest_timeout_with_the_longest_linger_sends_what_is_full_and_drains_the_rest() {
    let (ferro, server) = server().await;
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("delivery.timeout", "24h")
        .set("batch.linger", "60s");
    let mut daemon = start.set("kinesis.attempt_timeout", "5m").start().await;
    let caller = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(600, 600)));
    eventually("a full request goes out at once", async || {
        (daemon.metric("dispatchd_events_acked_total").await == 500.0).then_some(())
    })
    .await;
    let cpu = daemon.cpu_time();
    tokio::time::sleep(Duration::from_secs(2)).await; // a paced negative check
    assert!(daemon.cpu_time() - cpu <= IDLE_CPU_MAX, "waiting is no work");
    assert_eq!(server.ledger().requests().len(), 1, "the rest lingers");
    assert_eq!(daemon.metric("dispatchd_events_in_flight").await, 100.0);
    daemon.signal(Signal::TERM);
    let answers = caller.await.expect("the caller does not panic");
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(assert_acks_are_true(&answers, &read_all(&client(&ferro.endpoint()), "s").await), 0);
    assert_eq!(answers.len(), 600);
}
