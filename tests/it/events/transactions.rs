//! Publish after commit: nothing of a transaction is in the stream before its commit, all of it
//! after, in order; and nothing ever of one that ended in another way.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::daemon::{Caller, Daemon, Start};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{StoredRecord, create_stream, read_all};
use testkit::truth::{assert_key_order, numbered_lines};
use testkit::{client, eventually};

use super::batches::results;
use crate::DISPATCHD;

struct Scene {
    ferro: Ferro,
    server: FaultServer,
    daemon: Daemon,
}

async fn scene(start: impl FnOnce(Start) -> Start) -> Scene {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    let daemon = start(DISPATCHD.daemon(&server.endpoint(), "s")).start().await;
    Scene { ferro, server, daemon }
}

impl Scene {
    async fn stored(&self) -> Vec<StoredRecord> {
        read_all(&client(&self.ferro.endpoint()), "s").await
    }

    async fn metric(&self, name: &str) -> f64 {
        self.daemon.metric(&format!("dispatchd_{name}")).await
    }

    /// What is staged and how much the budget holds, once the latter is so much.
    async fn bytes_are_given_back(&self) {
        eventually("nothing is held", async || {
            (self.metric("buffer_bytes").await == 0.0).then_some(())
        })
        .await;
        assert_eq!(self.metric("events_staged").await, 0.0);
        assert_eq!(self.metric("transactions_open").await, 0.0);
    }
}

async fn begin(caller: &mut Caller, tx: &str) {
    let answer = caller.ask(&format!(r#"{{"op":"begin","tx":"{tx}"}}"#)).await;
    assert_eq!(answer, json!({ "op": "begin", "tx": tx, "ok": true }));
}

/// Stages these lines, and gives the ids that they were told.
async fn stage(caller: &mut Caller, tx: &str, lines: &str) -> Vec<Value> {
    let mut ids = Vec::new();
    for line in lines.lines() {
        let answer = caller.ask(&line.replacen('{', &format!("{{\"tx\":\"{tx}\","), 1)).await;
        assert_eq!((&answer["ok"], &answer["staged"]), (&true.into(), &true.into()), "{answer}");
        assert!(answer["sequenceNumber"].is_null());
        ids.push(answer["id"].clone());
    }
    ids
}

async fn end(caller: &mut Caller, op: &str, tx: &str) -> Value {
    caller.ask(&format!(r#"{{"op":"{op}","tx":"{tx}","ref":"end"}}"#)).await
}

/// C1.
#[tokio::test]
async fn nothing_is_in_the_stream_before_the_commit_and_all_of_it_in_order_after() {
    let scene = scene(|start| start.set("batch.linger", "0ms")).await;
    let mut caller = scene.daemon.connect().await;
    begin(&mut caller, "t1").await;
    let ids = stage(&mut caller, "t1", &numbered_lines(100, 7)).await;
    assert_eq!(scene.metric("events_staged").await, 100.0);
    assert_eq!(scene.metric("events_in_flight").await, 0.0);
    assert_eq!(scene.metric("transactions_open").await, 1.0);
    // An event that came later is stored: what was staged is not on its way at all.
    let other = r#"{"type":"other","data":{}}"#;
    assert_eq!(caller.ask(other).await["ok"], true);
    tokio::time::sleep(Duration::from_secs(2)).await; // the acceptance test's own time
    assert_eq!(scene.stored().await.len(), 1);

    let answer = end(&mut caller, "commit", "t1").await;
    assert_eq!(answer["op"], "commit");
    assert_eq!((&answer["tx"], &answer["ref"]), (&"t1".into(), &"end".into()));
    assert_eq!(answer["ok"], true);
    let told: Vec<_> = results(&answer).iter().map(|result| result["id"].clone()).collect();
    assert_eq!(told, ids, "in the order of the events, with the ids that were told");
    let stored = scene.stored().await;
    assert_eq!(stored.len(), 101);
    let of_transaction: Vec<_> =
        stored.into_iter().filter(|record| record.partition_key.starts_with("key-")).collect();
    assert_key_order(&of_transaction);
    scene.bytes_are_given_back().await;
    assert_eq!(scene.metric("transactions_total{outcome=\"committed\"}").await, 1.0);
}

#[tokio::test]
async fn a_rollback_and_a_cut_leave_nothing_and_say_so_in_the_books() {
    let scene = scene(|start| start).await;
    let mut caller = scene.daemon.connect().await;
    begin(&mut caller, "t1").await;
    stage(&mut caller, "t1", &numbered_lines(10, 3)).await;
    let answer = end(&mut caller, "rollback", "t1").await;
    assert_eq!(answer, json!({ "op": "rollback", "tx": "t1", "ref": "end", "ok": true }));
    let after = end(&mut caller, "commit", "t1").await;
    assert_eq!(after["error"]["code"], "TransactionEnded", "{after}");

    begin(&mut caller, "t1").await; // the name is free again
    stage(&mut caller, "t1", &numbered_lines(10, 3)).await;
    drop(caller);
    eventually("the cut is seen", async || {
        (scene.metric("transactions_total{outcome=\"cut\"}").await == 1.0).then_some(())
    })
    .await;
    scene.bytes_are_given_back().await;
    assert_eq!(scene.metric("events_rolled_back_total").await, 20.0);
    assert_eq!(scene.stored().await.len(), 0);
}

#[tokio::test]
async fn an_application_that_is_killed_leaves_nothing() {
    const APPLICATION: &str = r#"
import os, signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"op":"begin","tx":"t"}\n' + b'{"tx":"t","type":"t","data":{}}\n' * 10)
got = b""
while got.count(b"\n") < 11:
    got += s.recv(65536)
os.kill(os.getpid(), signal.SIGKILL)
"#;
    let scene = scene(|start| start).await;
    let mut application = tokio::process::Command::new("python3");
    let status = application.arg("-c").arg(APPLICATION).arg(scene.daemon.socket()).status().await;
    assert!(!status.expect("python3 runs").success(), "it was killed");
    eventually("the cut is seen", async || {
        (scene.metric("events_rolled_back_total").await == 10.0).then_some(())
    })
    .await;
    scene.bytes_are_given_back().await;
    assert_eq!(scene.stored().await.len(), 0);
}

#[tokio::test]
async fn transactions_of_one_connection_and_of_two_do_not_mix() {
    let scene = scene(|start| start).await;
    let (mut one, mut other) = (scene.daemon.connect().await, scene.daemon.connect().await);
    for (caller, tx) in [(&mut one, "a"), (&mut other, "a")] {
        begin(caller, tx).await;
        stage(caller, tx, &numbered_lines(3, 3)).await;
    }
    begin(&mut one, "b").await;
    let ids_b = stage(&mut one, "b", &numbered_lines(2, 3)).await;
    let again = one.ask(r#"{"op":"begin","tx":"b"}"#).await;
    assert_eq!(again["error"]["code"], "InvalidRequest", "its name is taken: {again}");
    stage(&mut one, "a", &numbered_lines(4, 3)).await;
    let unknown = end(&mut other, "commit", "b").await;
    assert_eq!(unknown["error"]["code"], "TransactionEnded", "it is another connection's");
    assert_eq!(results(&end(&mut one, "commit", "b").await).len(), 2);
    let stored = scene.stored().await;
    let id = |record: &StoredRecord| {
        serde_json::from_slice::<Value>(&record.data).expect("an envelope")["id"].clone()
    };
    assert!(stored.len() == 2 && stored.iter().all(|record| ids_b.contains(&id(record))));
    assert_eq!(end(&mut other, "rollback", "a").await["ok"], true);
    assert_eq!(results(&end(&mut one, "commit", "a").await).len(), 7);
    assert_eq!(scene.stored().await.len(), 9);
    begin(&mut one, "none").await;
    let empty = end(&mut one, "commit", "none").await;
    assert_eq!((&empty["ok"], results(&empty).len()), (&true.into(), 0));
}

#[tokio::test]
async fn a_commit_is_answered_once_the_last_record_is_durable_however_often_it_was_throttled() {
    let scene = scene(|start| start.set("delivery.backoff_max", "100ms")).await;
    scene.server.set(Plan { throttled_ratio: 0.6, ..Plan::default() });
    let mut caller = scene.daemon.connect().await;
    begin(&mut caller, "t").await;
    stage(&mut caller, "t", &numbered_lines(50, 5)).await;
    let answer = end(&mut caller, "commit", "t").await;
    assert_eq!(answer["ok"], true);
    let stored = scene.stored().await;
    assert_eq!(stored.len(), 50, "all of them are there when it says so");
    assert_key_order(&stored);
    assert!(scene.metric("retries_total{class=\"throttled\"}").await > 10.0);
}

#[tokio::test]
async fn a_transaction_that_is_left_open_is_rolled_back_and_its_caller_told_when_it_comes_back() {
    let scene = scene(|start| start.set("transaction.timeout", "3s")).await;
    let mut caller = scene.daemon.connect().await;
    begin(&mut caller, "t").await;
    stage(&mut caller, "t", &numbered_lines(5, 5)).await;
    eventually("its time is over, though nobody says anything", async || {
        (scene.metric("transactions_total{outcome=\"timed_out\"}").await == 1.0).then_some(())
    })
    .await;
    scene.bytes_are_given_back().await;
    let late = caller.ask(r#"{"tx":"t","type":"t","data":{}}"#).await;
    assert_eq!(late["error"]["code"], "TransactionEnded", "{late}");
    assert_eq!(late["error"]["retryable"], true);
    assert_eq!(end(&mut caller, "commit", "t").await["error"]["code"], "TransactionEnded");
    assert_eq!(scene.stored().await.len(), 0);
}

#[tokio::test]
async fn a_daemon_that_stops_rolls_back_what_is_staged_and_confirms_the_rest() {
    let mut scene = scene(|start| start).await;
    let mut caller = scene.daemon.connect().await;
    begin(&mut caller, "t").await;
    stage(&mut caller, "t", &numbered_lines(5, 5)).await;
    assert_eq!(caller.ask(r#"{"type":"t","data":{}}"#).await["ok"], true);
    scene.daemon.signal(Signal::TERM);
    assert_eq!(scene.daemon.exit_code().await, Some(0), "nothing is unconfirmed");
    assert_eq!(caller.line().await, None, "nobody was promised an answer");
    assert_eq!(scene.stored().await.len(), 1);
}

#[tokio::test]
async fn a_transaction_has_bounds_and_stays_open_when_one_is_met() {
    let scene =
        scene(|start| start.set("transaction.max_events", 3).set("memory.budget", "4MiB")).await;
    let mut caller = scene.daemon.connect_with_limit(1 << 20).await;
    begin(&mut caller, "few").await;
    stage(&mut caller, "few", &numbered_lines(3, 3)).await;
    let fourth = caller.ask(r#"{"tx":"few","type":"t","data":{}}"#).await;
    assert_eq!(fourth["error"]["code"], "TransactionTooLarge", "{fourth}");
    let long = format!(r#"{{"type":"t","data":{{"x":"{}"}}}}"#, "x".repeat(400_000));
    begin(&mut caller, "large").await;
    stage(&mut caller, "large", &[&*long; 2].join("\n")).await;
    let third = caller.ask(&long.replacen('{', "{\"tx\":\"large\",", 1)).await;
    assert_eq!(third["error"]["code"], "TransactionTooLarge", "a quarter of the budget: {third}");
    for n in 2..64 {
        begin(&mut caller, &n.to_string()).await;
    }
    let one_more = caller.ask(r#"{"op":"begin","tx":"65"}"#).await;
    assert_eq!(one_more["error"]["code"], "TransactionTooLarge", "{one_more}");
    assert_eq!(results(&end(&mut caller, "commit", "few").await).len(), 3);
    assert_eq!(results(&end(&mut caller, "commit", "large").await).len(), 2);
}

/// Callers that stage what they may and hang: others have the other half of the budget, and the
/// next who would stage is told at once.
#[tokio::test]
async fn callers_that_stage_to_the_bound_and_hang_cost_others_nothing_but_transactions() {
    let scene = scene(|start| start.set("memory.budget", "8MiB")).await;
    let long = format!(r#"{{"type":"t","data":{{"x":"{}"}}}}"#, "x".repeat(900_000));
    let mut hanging = Vec::new();
    for _ in 0..2 {
        let mut caller = scene.daemon.connect_with_limit(1 << 20).await;
        begin(&mut caller, "t").await;
        stage(&mut caller, "t", &[&*long; 2].join("\n")).await;
        hanging.push(caller);
    }
    let mut third = scene.daemon.connect_with_limit(1 << 20).await;
    begin(&mut third, "t").await;
    let mut told = Value::Null;
    for _ in 0..3 {
        told = third.ask(&long.replacen('{', "{\"tx\":\"t\",", 1)).await;
    }
    assert_eq!(told["error"]["code"], "Overloaded", "{told}");
    assert_eq!(told["error"]["retryable"], true);
    let lines = numbered_lines(2_000, 100);
    let answers = scene.daemon.connect().await.pipeline(lines).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true), "others are served");
    assert!(scene.metric("buffer_bytes").await <= 8.0 * 1024.0 * 1024.0);
    drop(hanging);
    eventually("there is room again", async || {
        let answer = third.ask(&long.replacen('{', "{\"tx\":\"t\",", 1)).await;
        (answer["staged"] == true).then_some(())
    })
    .await;
}

/// The stream takes nothing: a commit waits, and what it is told in the end is true of each event.
#[tokio::test]
async fn a_commit_that_cannot_be_delivered_in_time_tells_so_of_each_event() {
    let scene = scene(|start| start.set("delivery.timeout", "1s")).await;
    scene.server.set(Plan { refusals: vec![(1.0, Refusal::access_denied())], ..Plan::default() });
    let mut caller = scene.daemon.connect().await;
    begin(&mut caller, "t").await;
    stage(&mut caller, "t", &numbered_lines(4, 2)).await;
    let answer = end(&mut caller, "commit", "t").await;
    assert_eq!(answer["ok"], false);
    for result in results(&answer) {
        assert_eq!(result["error"]["code"], "DeliveryTimeout");
        assert_eq!(result["error"]["outcome"], "not_stored");
    }
    scene.bytes_are_given_back().await;
}
