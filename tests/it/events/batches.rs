//! Many events in one line and one answer: each is acked or refused for itself, in its place.

use serde_json::Value;
use testkit::daemon::{Caller, Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Poison, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::truth::{assert_acks_are_true, assert_key_order_with_gaps, numbered_lines_some_long};
use testkit::{client, eventually};

use crate::DISPATCHD;

/// A line that holds these events.
pub(super) fn batch(events: &str) -> String {
    let events: Vec<_> = events.lines().collect();
    format!("{{\"op\":\"batch\",\"ref\":\"b\",\"events\":[{}]}}", events.join(","))
}

pub(super) fn results(answer: &Value) -> &Vec<Value> {
    answer["results"].as_array().unwrap_or_else(|| panic!("no results: {answer}"))
}

async fn scene(faults: Plan) -> (Ferro, FaultServer, Daemon) {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    server.set(faults);
    let start = DISPATCHD.daemon(&server.endpoint(), "s").set("delivery.backoff_max", "200ms");
    let daemon = start.set("memory.budget", "8MiB").start().await;
    (ferro, server, daemon)
}

/// C2: a thousand events, records that fail and are sent again, and one that Kinesis never takes.
#[tokio::test]
async fn a_batch_of_a_thousand_answers_each_event_retries_what_failed_and_rejects_the_poison_alone()
{
    const EVENTS: usize = 1_000;
    const POISON: usize = 617;
    let (ferro, _server, daemon) = scene(Plan {
        throttled_ratio: 0.10,
        internal_ratio: 0.05,
        poison: Some(Poison { max_record_bytes: 2_000, named: false }),
        ..Plan::default()
    })
    .await;
    let lines = numbered_lines_some_long(EVENTS, 50, 3_000, |n| n == POISON);
    let mut caller = daemon.connect_with_limit(1 << 20).await;
    let answer = caller.ask(&batch(&lines)).await;
    assert_eq!((&answer["op"], &answer["ref"]), (&"batch".into(), &"b".into()));
    assert_eq!(answer["ok"], false, "one of them is refused");
    let results = results(&answer);
    assert_eq!(results.len(), EVENTS);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result["ref"], n, "in the order of the events");
        let code = if n == POISON { "Rejected".into() } else { Value::Null };
        assert_eq!(result["error"]["code"], code, "{result}");
    }
    let acks: Vec<_> = results.iter().filter(|result| result["ok"] == true).cloned().collect();
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    assert_eq!(assert_acks_are_true(&acks, &stored), 0, "each is there once");
    assert_key_order_with_gaps(&stored);
    assert!(daemon.metric("dispatchd_retries_total{class=\"throttled\"}").await > 0.0);
    assert_eq!(daemon.metric("dispatchd_events_accepted_total").await, EVENTS as f64);
    assert_eq!(daemon.metric("dispatchd_events_acked_total").await, acks.len() as f64);
    eventually("all bytes are given back", async || {
        (daemon.metric("dispatchd_buffer_bytes").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_malformed_event_is_refused_in_its_place_and_a_raw_one_may_stand_beside_it() {
    let (ferro, _server, daemon) = scene(Plan::default()).await;
    let mut caller = daemon.connect().await;
    let events = format!(
        "{}\n7\n{{\"type\":\"t\",\"data\":[]}}\n{{\"data_base64\":\"AAE=\"}}",
        event(9, "k", "{}")
    );
    let answer = caller.ask(&batch(&events)).await;
    let told: Vec<_> = results(&answer)
        .iter()
        .map(|result| (result["ref"].clone(), result["ok"].clone(), result["id"].is_string()))
        .collect();
    assert_eq!(
        told,
        [
            (9.into(), true.into(), true),
            (2.into(), false.into(), false),
            (3.into(), false.into(), false),
            (4.into(), true.into(), false)
        ]
    );
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 2);
    assert_eq!(daemon.metric("dispatchd_events_accepted_total").await, 4.0);
    assert_eq!(daemon.metric("dispatchd_events_refused_total{code=\"InvalidRequest\"}").await, 2.0);
}

#[tokio::test]
async fn a_batch_of_none_is_answered_at_once_and_one_of_too_many_or_too_much_is_refused_whole() {
    let (ferro, _server, daemon) = scene(Plan::default()).await;
    let mut caller = daemon.connect_with_limit(1 << 20).await;
    assert_eq!(
        caller.ask(&batch("")).await,
        serde_json::json!({ "op": "batch", "ref": "b", "ok": true, "results": [] })
    );
    let tiny = r#"{"type":"t","data":{}}"#;
    let many = |count: usize| batch(&vec![tiny; count].join("\n"));
    let refused = caller.ask(&many(4_097)).await;
    assert_eq!(refused["op"], "batch");
    assert_eq!(refused["error"]["code"], "EventTooLarge", "{refused}");
    assert_eq!(results(&caller.ask(&many(3_000)).await).len(), 3_000);
    // With an echo each, they take more than a connection may hold.
    let echoed = r#"{"type":"t","data":{},"options":{"echo":true,"sourceUserId":"0123456789"}}"#;
    let long = format!("\"data\":{{\"x\":\"{}\"}}", "x".repeat(100));
    let echoed = echoed.replace("\"data\":{}", &long);
    let refused = caller.ask(&batch(&vec![&*echoed; 4_000].join("\n"))).await;
    assert_eq!(refused["error"]["code"], "EventTooLarge", "{refused}");
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 3_000, "nothing of it");
    assert_eq!(caller.ask(tiny).await["ok"], true, "the connection lives on");
}

/// The budget is full: batches wait for all that they need at once, so two of them never wait for
/// each other with a part of it in their hands.
#[tokio::test]
async fn batches_that_find_no_room_wait_and_are_all_answered_once_there_is() {
    let (ferro, server, daemon) =
        scene(Plan { refusals: vec![(1.0, Refusal::access_denied())], ..Plan::default() }).await;
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(9_000));
    let mut asked = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let lines: Vec<_> = (0..115).map(|n| event(n, &format!("{caller}-{n}"), &long)).collect();
        let mut caller: Caller = daemon.connect_with_limit(1 << 20).await;
        asked.spawn(async move { caller.ask(&batch(&lines.join("\n"))).await });
    }
    eventually("batches wait", async || {
        (daemon.status().await["buffer"]["backpressure_seconds"].as_f64()? > 0.0).then_some(())
    })
    .await;
    server.set(Plan::default());
    assert!(daemon.run_admin(&["reload"]).await.status.success(), "it tries the stream at once");
    for answer in asked.join_all().await {
        assert_eq!((answer["ok"].clone(), results(&answer).len()), (true.into(), 115));
    }
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 920);
}
