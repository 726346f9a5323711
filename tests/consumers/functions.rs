//! Functions for Lambda's Kinesis events, invoked by `forward --format lambda`: real routers and
//! batch processors behind a server that answers as the runtime interface emulator does, and behind
//! the emulators themselves.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::daemon::Daemon;
use testkit::eventually;

use crate::emulators;
use crate::scene::Scene;
use crate::script::Script;

fn url(function: &Script) -> String {
    format!("http://127.0.0.1:{}/2015-03-31/functions/function/invocations", function.port)
}

async fn invoke(scene: &Scene, function: &Script, args: &[&str]) -> Daemon {
    let url = url(function);
    let dead = format!("file:{}", scene.path("dead").display());
    let own = [
        "--to",
        &url,
        "--format",
        "lambda",
        "--bisect",
        "--on-failure",
        "dead-letter",
        "--dead-letter",
        &dead,
    ];
    scene.forward(&[&own[..], args].concat()).await
}

fn set(handled: &[Value]) -> BTreeSet<u64> {
    handled.iter().filter_map(Value::as_u64).collect()
}

/// Waits until these are handled and so many records given up, and returns the data of those.
async fn settles(
    scene: &Scene,
    function: &Script,
    member: &str,
    expected: &BTreeSet<u64>,
    given_up: usize,
) -> Vec<String> {
    let dead = eventually("all are handled but those that are kept", async || {
        let handled = set(&function.handled(member));
        let dead = scene.dead_letters();
        (handled == *expected && dead.len() >= given_up).then_some(dead)
    })
    .await;
    assert_eq!(dead.len(), given_up, "{dead:?}");
    let data = |letter: &Value| {
        let data = letter["record"]["data"].as_str().expect("it is in base64");
        String::from_utf8(STANDARD.decode(data).expect("it is base64")).expect("it is text")
    };
    dead.iter().map(data).collect()
}

/// The numbers of events, in order.
fn numbers(data: &[String]) -> Vec<u64> {
    let number = |data: &String| {
        let event: Value = serde_json::from_str(data).expect("it is JSON");
        event["n"].as_u64().expect("it is a number")
    };
    let mut numbers: Vec<_> = data.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn kinesis_router_sees_whole_events_and_what_it_cannot_read_is_put_aside_alone() {
    // What could go wrong: one record that is not JSON, and the router runs no handler of its
    // batch.
    let scene = Scene::new(1).await;
    let Some(function) = Script::node("kinesis-router-app.cjs", &[], false).await else { return };
    let order = |n: usize| {
        let source = json!({"userId": null, "producerId": "shop", "kinesisPartitionKey": "k"});
        let timestamp = "2026-11-20T21:34:09.335Z";
        let event = json!({"id": n, "type": "order.placed", "data": {"n": n},
            "timestamp": timestamp, "source": source});
        ("k".to_owned(), event.to_string())
    };
    let mut records: Vec<_> = (0..8).map(order).collect();
    records.insert(5, ("k".to_owned(), "hello world".to_owned()));
    scene.put(records).await;
    let _forwarder = invoke(&scene, &function, &["--max-retries", "0"]).await;
    let dead = settles(&scene, &function, "id", &(0..8).collect(), 1).await;
    assert_eq!(dead, ["hello world"]);
    let seen = &function.said("handled")[0];
    for member in ["id", "type", "data", "timestamp", "source"] {
        assert!(seen.get(member).is_some(), "{member}: {seen}");
    }
    assert_eq!(seen["source"]["producerId"], "shop");
}

#[tokio::test]
async fn powertools_takes_the_events_for_lambda_s_and_what_it_reports_comes_again() {
    // What could go wrong: its model refuses the event for one field; a report is passed over, and
    // the record that failed is lost; or its batch is given up with it.
    let scene = Scene::new(1).await;
    let Some(function) = Script::powertools("powertools_function.py").await else { return };
    let of = |n: usize| ("k".to_owned(), json!({"n": n, "fails": n == 4}).to_string());
    scene.put((0..10).map(of)).await;
    let _forwarder = invoke(&scene, &function, &["--max-retries", "1"]).await;
    let expected = (0..10).filter(|n| *n != 4).collect();
    let dead = settles(&scene, &function, "n", &expected, 1).await;
    assert_eq!(numbers(&dead), [4]);
    let handled = function.handled("n");
    let before = handled.iter().filter(|n| n.as_u64().is_some_and(|n| n < 4)).count();
    assert_eq!(before, 4, "what is before the report is done: {handled:?}");
}

#[tokio::test]
async fn a_function_that_fails_for_one_record_is_rid_of_it_by_halves() {
    // What could go wrong: the emulator answers 200 to a failure, and the batch counts as done.
    let scene = Scene::new(1).await;
    let Some(function) = Script::powertools("powertools_function.py").await else { return };
    let of = |n: usize| ("k".to_owned(), json!({"n": n, "raises": n == 9}).to_string());
    scene.put((0..16).map(of)).await;
    let _forwarder = invoke(&scene, &function, &["--max-retries", "0"]).await;
    let expected = (0..16).filter(|n| *n != 9).collect();
    let dead = settles(&scene, &function, "n", &expected, 1).await;
    assert_eq!(numbers(&dead), [9]);
    // 16, 8, 8, 4, 4, 2, 2, 1, 1: nine, or a few more where the first batch was cut before the
    // others were read; and none of the good ones twice.
    assert_eq!(function.handled("n").len(), 15);
    assert!(function.said("invoked").len() <= 12, "{:?}", function.said("invoked"));
}

/// Sixteen events over both shards; one is reported each time, and one makes its invocation fail.
async fn put_events(scene: &Scene) -> BTreeSet<u64> {
    let of = |n: usize| {
        (format!("key {n}"), json!({"n": n, "fails": n == 4, "raises": n == 9}).to_string())
    };
    scene.put((0..16).map(of)).await;
    (0..16).filter(|n| ![4, 9].contains(n)).collect()
}

#[tokio::test]
async fn the_runtime_interface_emulator_is_invoked_as_it_is() {
    // What could go wrong: a second shard's invocation, while the first one's runs, ends the
    // emulator's own process; its 200 for a function that raised counts as done; a report is passed
    // over.
    let scene = Scene::new(2).await;
    let Some(function) = emulators::aws(&scene.path("."), 300).await else { return };
    let expected = put_events(&scene).await;
    let _forwarder = invoke(&scene, &function, &["--max-retries", "2"]).await;
    let dead = settles(&scene, &function, "n", &expected, 2).await;
    assert_eq!(numbers(&dead), [4, 9]);
}

#[tokio::test]
async fn a_function_that_hangs_or_dies_in_the_emulator_is_invoked_again_for_the_same_record() {
    // What could go wrong: the emulator says "Task timed out" with 200, or 502 for a process that
    // is gone, and the record counts as done; or the one after it comes first.
    let scene = Scene::new(1).await;
    let Some(function) = emulators::aws(&scene.path("."), 5).await else { return };
    let of =
        |n: usize| ("k".to_owned(), json!({"n": n, "hangs": n == 0, "dies": n == 1}).to_string());
    scene.put((0..3).map(of)).await;
    let args = ["--to", &url(&function), "--format", "lambda", "--batch-size", "1"];
    let forwarder = scene.forward(&args).await;
    eventually("all are handled", async || (function.handled("n").len() >= 3).then_some(())).await;
    let mut handled = function.handled("n");
    handled.dedup(); // at least once
    assert_eq!(handled, [json!(0), json!(1), json!(2)]);
    let log = forwarder.log();
    for reason in ["the function timed out", "the target answers 502"] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[tokio::test]
async fn cargo_lambda_is_invoked_as_it_is_before_its_function_runs() {
    // What could go wrong: what is sent while the function is not there yet is lost; a 500 counts
    // otherwise than the emulator's 200 with the same body.
    let scene = Scene::new(1).await;
    let folder = scene.path("package");
    let Some(emulator) = emulators::cargo_lambda(&folder).await else { return };
    let expected = put_events(&scene).await;
    let _forwarder = invoke(&scene, &emulator, &["--max-retries", "2"]).await;
    let function = emulators::function_of(&emulator, &folder).await;
    let dead = settles(&scene, &function, "n", &expected, 2).await;
    assert_eq!(numbers(&dead), [4, 9]);
}
