//! Rabble Rouser's stream client, the package from npm, in an application on Express: events that
//! are published with it are handled by it, once `forward` posts them.

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::eventually;

use crate::scene::{Port, STREAM, Scene};
use crate::script::Script;

/// The versions of Express whose answers to a handler that fails differ.
const EXPRESSES: [&str; 2] = ["express", "express4"];

/// An application at this port; `None` where node is missing.
async fn app(express: &str, port: &str, scene: &Scene) -> Option<Script> {
    let endpoint = scene.ferro.endpoint();
    Script::node("stream-client-app.cjs", &[express, port, &endpoint, STREAM], false).await
}

fn url(app: &Script) -> String {
    format!("http://127.0.0.1:{}/events", app.port)
}

fn token(scene: &Scene, text: &str) -> String {
    let path = scene.path("token");
    std::fs::write(&path, text).expect("it is written");
    path.to_str().expect("the temporary directory is UTF-8").to_owned()
}

fn member(n: usize) -> (String, String) {
    ("member-registered".to_owned(), event(json!({ "n": n })))
}

fn event(data: Value) -> String {
    json!({ "type": "member-registered", "data": data }).to_string()
}

async fn handles(app: &Script, count: usize) -> Vec<Value> {
    eventually(&format!("{count} events are handled"), async || {
        let handled = app.handled("n");
        (handled.len() >= count).then_some(handled)
    })
    .await
}

fn numbers(count: usize) -> Vec<Value> {
    (0..count).map(Value::from).collect()
}

#[tokio::test]
async fn what_a_stream_client_publishes_is_handled_once_and_in_order() {
    // What could go wrong: an event comes twice, late, or in a form that the client refuses.
    for express in EXPRESSES {
        let scene = Scene::new(1).await;
        let Some(mut app) = app(express, "0", &scene).await else { return };
        let events = (0..40).map(|n| json!({"type": "member-registered", "data": {"n": n}}));
        app.tell(&Value::Array(events.collect())).await;
        let token = token(&scene, "secret\n");
        let _forwarder = scene
            .forward(&["--to", &url(&app), "--format", "record", "--token-file", &token])
            .await;
        assert_eq!(handles(&app, 40).await, numbers(40), "{express}");
        let statuses = app.said("status");
        assert!(statuses.iter().all(|status| *status == 200), "{express}: {statuses:?}");
    }
}

#[tokio::test]
async fn four_variables_are_enough() {
    // What could go wrong: who comes from Rabble Rouser's local mode needs a file, or loses events.
    let scene = Scene::new(1).await;
    let Some(mut app) = app("express", "0", &scene).await else { return };
    let _forwarder = scene.forward_by_env(&url(&app));
    // It begins at the end of the stream: what is published before is not for it.
    let mut n = 0;
    eventually("an event is handled", async || {
        app.tell(&json!([{"type": "member-registered", "data": {"n": n}}])).await;
        n += 1;
        app.handled("n").pop()
    })
    .await;
}

#[tokio::test]
async fn events_of_four_shards_are_all_handled_each_key_in_order() {
    // What could go wrong: the client drops what has a lower number than the last one it handled,
    // and the numbers of one shard are all larger than another's.
    let scene = Scene::new(4).await;
    let Some(app) = app("express", "0", &scene).await else { return };
    let records = (0..80).map(|n| (format!("key-{}", n % 8), event(json!({"n": n, "key": n % 8}))));
    scene.put(records).await;
    let token = token(&scene, "secret");
    let _forwarder =
        scene.forward(&["--to", &url(&app), "--format", "record", "--token-file", &token]).await;
    handles(&app, 80).await;
    for key in 0..8 {
        let handled = app.said("handled");
        let of_key = handled.iter().filter(|event| event["key"] == key).map(|event| &event["n"]);
        let expected = (0..80).filter(|n| n % 8 == key).map(Value::from).collect::<Vec<_>>();
        assert_eq!(of_key.cloned().collect::<Vec<_>>(), expected, "key {key}");
    }
    let statuses = app.said("status");
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn an_event_that_fails_is_sent_again_and_the_later_ones_wait() {
    // What could go wrong: the events behind it overtake it, or it is handled twice.
    let scene = Scene::new(1).await;
    let Some(app) = app("express", "0", &scene).await else { return };
    let of =
        |n: usize| ("k".to_owned(), event(json!({"n": n, "fails": if n == 3 { 3 } else { 0 }})));
    scene.put((0..10).map(of)).await;
    let token = token(&scene, "secret");
    let _forwarder =
        scene.forward(&["--to", &url(&app), "--format", "record", "--token-file", &token]).await;
    assert_eq!(handles(&app, 10).await, numbers(10));
    let failed = app.said("status").iter().filter(|status| **status == 500).count();
    assert_eq!(failed, 3);
}

#[tokio::test]
async fn neither_the_application_s_absence_nor_a_killed_forwarder_loses_an_event() {
    // What could go wrong: a checkpoint is ahead of what was handled.
    let scene = Scene::new(1).await;
    let port = Port::reserve();
    let Some(first) = app("express", &port.number().to_string(), &scene).await else { return };
    let token = token(&scene, "secret");
    let url = url(&first);
    let args = ["--to", &url, "--format", "record", "--token-file", &token];
    let mut forwarder = scene.forward(&args).await;
    scene.put((0..20).map(member)).await;
    handles(&first, 5).await;
    forwarder.signal(Signal::KILL);
    assert_eq!(forwarder.exit_code().await, None);
    let _forwarder = scene.forward(&args).await;
    handles(&first, 20).await;
    // The client answers 204 to an event that it has handled, and comes with the same number.
    assert_eq!(first.handled("n"), numbers(20));
    first.kill().await;
    scene.put((20..30).map(member)).await;
    let second = app("express", &port.number().to_string(), &scene).await.expect("node is there");
    // The answer to the last one may have died with the first application: then that comes again.
    let is_last = async || (second.handled("n").last() == Some(&29.into())).then_some(());
    eventually("the last event is handled", is_last).await;
    let handled = second.handled("n");
    let expected: Vec<_> = (20..30).map(Value::from).collect();
    assert!(handled.ends_with(&expected), "{handled:?}");
}

#[tokio::test]
async fn a_wrong_token_never_spins_and_a_right_one_is_taken_without_a_restart() {
    // What could go wrong: thousands of requests a second that all are refused.
    let scene = Scene::new(1).await;
    let Some(app) = app("express", "0", &scene).await else { return };
    let token_file = token(&scene, "wrong");
    scene.put((0..3).map(member)).await;
    let _forwarder = scene
        .forward(&["--to", &url(&app), "--format", "record", "--token-file", &token_file])
        .await;
    let refused = || app.said("status").iter().filter(|status| **status == 401).count();
    eventually("it is refused twice", async || (refused() >= 2).then_some(())).await;
    token(&scene, "secret");
    assert_eq!(handles(&app, 3).await, numbers(3));
    assert!(refused() < 20, "{} requests were refused", refused());
}

#[tokio::test]
async fn what_wedges_a_client_never_reaches_it() {
    // What could go wrong: one odd record, and the client answers 503 until its process is
    // restarted.
    for express in EXPRESSES {
        let scene = Scene::new(1).await;
        let Some(app) = app(express, "0", &scene).await else { return };
        let odd = ["null", "5", "hello world", r#"{"type":"toString"}"#, r#"{"type":"__proto__"}"#];
        scene.put(odd.map(|data| ("k".to_owned(), data.to_owned()))).await;
        scene.put((0..3).map(member)).await;
        let token = token(&scene, "secret");
        let dead = format!("file:{}", scene.path("dead").display());
        let _forwarder = scene
            .forward(&[
                "--to",
                &url(&app),
                "--format",
                "record",
                "--token-file",
                &token,
                "--on-failure",
                "dead-letter",
                "--dead-letter",
                &dead,
            ])
            .await;
        assert_eq!(handles(&app, 3).await, numbers(3), "{express}");
        // An answer is told a moment after its event.
        let answers = async || Some(app.said("status")).filter(|told| told.len() >= 3);
        let statuses = eventually("three answers are told", answers).await;
        assert_eq!(statuses, [200, 200, 200], "{express}");
        assert_eq!(scene.dead_letters().len(), odd.len(), "{express}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_is_given_up_in_time_and_its_successor_gets_every_event() {
    // What could go wrong: the forwarder hangs with it. On Express 4 a request that wedges the
    // client is never answered, and every later one is answered 503.
    let scene = Scene::new(1).await;
    let port = Port::reserve();
    let endpoint = scene.ferro.endpoint();
    let args = ["express4", &port.number().to_string(), &endpoint, STREAM];
    let Some(wedged) = Script::node("stream-client-app.cjs", &args, true).await else { return };
    let removed = json!({"type": "member-removed", "data": {"n": 1}}).to_string();
    scene.put([member(0), ("member-registered".to_owned(), removed), member(2)]).await;
    let token = token(&scene, "secret");
    let forwarder = scene
        .forward(&[
            "--to",
            &url(&wedged),
            "--format",
            "record",
            "--token-file",
            &token,
            "--timeout",
            "1s",
        ])
        .await;
    let is_wedged = async || wedged.said("status").contains(&json!(503)).then_some(());
    eventually("the client answers 503", is_wedged).await;
    assert_eq!(forwarder.get("/livez").await.0, 200);
    wedged.kill().await;
    let next = app("express4", &port.number().to_string(), &scene).await.expect("node is there");
    handles(&next, 2).await;
    assert_eq!(next.handled("n"), [1, 2]);
}

#[tokio::test]
async fn an_application_at_a_unix_socket_is_delivered_to_like_any_other() {
    // What could go wrong: a socket that is not there yet is an error that ends the forwarder;
    // Express takes no request without a host; the path behind the socket is not the one that is
    // posted to.
    for express in EXPRESSES {
        let scene = Scene::new(1).await;
        let socket = scene.path("app.sock");
        let socket = socket.to_str().expect("the temporary directory is UTF-8");
        let (to, token) = (format!("unix:{socket}:/events"), token(&scene, "secret\n"));
        let args = ["--to", &to, "--format", "record", "--token-file", &token];
        let forwarder = scene.forward(&args).await;
        scene.put((0..5).map(member)).await;
        let waits = async || forwarder.log().contains("app.sock").then_some(());
        eventually("it is told that nobody listens", waits).await;
        let Some(app) = app(express, socket, &scene).await else { return };
        assert_eq!(handles(&app, 5).await, numbers(5));
    }
}
