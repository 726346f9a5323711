//! `dispatchd forward`, whole: over real sockets, from an emulator to targets of the test's own.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_sdk_kinesis::Client;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use dispatchd_core::model::{PartitionKey, Record};
use dispatchd_core::wire::packed;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::aws::serve;
use testkit::daemon::{Daemon, Start};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, put, shards, split};
use testkit::{client, eventually};
use tokio_util::task::AbortOnDropHandle;

use crate::DISPATCHD;
use crate::pages::Pages;
use crate::scene::Port;

/// A target that answers with what it is told to, and keeps what it was sent.
struct App {
    url: String,
    seen: Arc<Seen>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    bodies: Mutex<Vec<Value>>,
    tokens: Mutex<Vec<String>>,
    /// What it answers; 200 where nothing is said.
    status: Mutex<Option<StatusCode>>,
    /// The only token that it takes; any, where nothing is said.
    token: Mutex<Option<String>>,
    /// The number from which on it takes no event now; it takes all, where nothing is said.
    busy_from: Mutex<Option<u64>>,
}

impl App {
    async fn start() -> Self {
        let seen = Arc::<Seen>::default();
        let app = Router::new().route("/", post(handle)).with_state(Arc::clone(&seen));
        let (url, server) = serve(app).await;
        Self { url, seen, _server: server }
    }

    fn answers(&self, status: impl Into<Option<StatusCode>>) {
        *self.seen.status.lock().expect("nobody panics with it") = status.into();
    }

    fn is_busy_from(&self, number: impl Into<Option<u64>>) {
        *self.seen.busy_from.lock().expect("nobody panics with it") = number.into();
    }

    /// The numbers of the events that it handled, in order.
    fn handled(&self) -> Vec<u64> {
        let bodies = self.seen.bodies.lock().expect("nobody panics with it");
        bodies.iter().map(|body| body["data"]["n"].as_u64().expect("a number")).collect()
    }

    async fn has(&self, numbers: &[u64]) {
        eventually("the events are handled", async || {
            let mut handled = self.handled();
            handled.sort_unstable();
            handled.dedup();
            numbers.iter().all(|number| handled.contains(number)).then_some(())
        })
        .await;
    }
}

async fn handle(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let token = headers.get("authorization").and_then(|token| token.to_str().ok());
    let token = token.unwrap_or_default().to_owned();
    seen.tokens.lock().expect("nobody panics with it").push(token.clone());
    let is_known = seen.token.lock().expect("nobody panics with it");
    if is_known.as_ref().is_some_and(|known| *known != token) {
        return StatusCode::UNAUTHORIZED;
    }
    if let Some(status) = *seen.status.lock().expect("nobody panics with it") {
        return status;
    }
    let body: Value = serde_json::from_slice(&body).expect("an event is JSON");
    let busy_from = *seen.busy_from.lock().expect("nobody panics with it");
    if busy_from.is_some_and(|from| body["data"]["n"].as_u64() >= Some(from)) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    seen.bodies.lock().expect("nobody panics with it").push(body);
    StatusCode::OK
}

async fn stream(count: i32) -> (Ferro, Client) {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", count).await;
    (ferro, client)
}

fn numbered(n: u64) -> String {
    let kind = if n.is_multiple_of(2) { "even" } else { "odd" };
    json!({ "type": kind, "data": { "n": n } }).to_string()
}

async fn put_numbers(client: &Client, key: &str, numbers: impl IntoIterator<Item = u64>) {
    let entries = numbers.into_iter().map(|n| entry(key, numbered(n)));
    put(client, "s", entries.collect()).await;
}

/// Puts one record with all these events in it, in the KPL's format.
async fn put_packed(client: &Client, numbers: impl IntoIterator<Item = u64>) {
    let key = || PartitionKey::new("k").expect("it is short");
    let event = |n| Record::new(key(), None, numbered(n).into());
    let events: Vec<Record> = numbers.into_iter().map(event).collect();
    let packed = packed::encode(&events.iter().collect::<Vec<_>>());
    put(client, "s", vec![entry("k", packed)]).await;
}

fn forward(ferro: &Ferro, app: &App) -> Start {
    let start = DISPATCHD.forward(&ferro.endpoint(), "s").args(["--to", &app.url]);
    start.args(["--from", "trim-horizon"]).set("forward.poll", "200ms")
}

async fn counts(daemon: &Daemon, metric: &str, value: f64) {
    let says = async || (daemon.metric(metric).await == value).then_some(());
    eventually(&format!("{metric} is {value}"), says).await;
}

async fn stop(mut daemon: Daemon) -> Option<i32> {
    daemon.signal(Signal::TERM);
    daemon.exit_code().await
}

#[tokio::test]
async fn events_come_in_order_and_a_restart_goes_on_behind_the_last_one() {
    // What could go wrong: a restart that delivers again what was done, or leaves something out.
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    put_numbers(&client, "k", 0..20).await;
    let daemon = forward(&ferro, &app).start_in(dir.path()).await;
    app.has(&(0..20).collect::<Vec<_>>()).await;
    assert_eq!(app.handled(), (0..20).collect::<Vec<_>>());
    assert_eq!(stop(daemon).await, Some(0));
    put_numbers(&client, "k", 20..40).await;
    let daemon = forward(&ferro, &app).start_in(dir.path()).await;
    app.has(&(20..40).collect::<Vec<_>>()).await;
    assert_eq!(app.handled(), (0..40).collect::<Vec<_>>(), "each once, in order");
    // The last one is counted once its answer has come.
    counts(&daemon, "dispatchd_forward_records_total{outcome=\"delivered\"}", 20.0).await;
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn a_packed_record_of_many_events_is_delivered_event_by_event_and_gone_on_with_in_its_midst()
{
    // What could go wrong: it is taken apart in pieces of a thousand events. Between two of them
    // one is left out or comes twice; a checkpoint in the second is taken for one in the first.
    const EVENTS: u64 = 1500;
    const DONE: u64 = 1200;
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    put_packed(&client, 0..EVENTS).await;
    put_numbers(&client, "k", [EVENTS]).await;
    app.is_busy_from(DONE);
    let mut daemon = forward(&ferro, &app).start_in(dir.path()).await;
    let last = format!(" event {}", DONE - 1);
    eventually("what is done is kept", async || {
        let status = daemon.status().await;
        let kept = status["targets"][0]["shards"][0]["checkpoint"].as_str()?.ends_with(&last);
        kept.then_some(())
    })
    .await;
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.exit_code().await, None);
    assert_eq!(app.handled(), (0..DONE).collect::<Vec<_>>());
    // Not before: what the first one may have sent when it was killed is refused too.
    let daemon = forward(&ferro, &app).start_in(dir.path()).await;
    app.is_busy_from(None);
    app.has(&[EVENTS]).await;
    assert_eq!(app.handled(), (0..=EVENTS).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn a_stream_that_is_deleted_and_made_again_while_it_is_read_is_told_as_that() {
    // What could go wrong: all that is told is that a shard is not found, which is there.
    let pages = Pages::start(1, 100 * 1024).await;
    let app = App::start().await;
    pages.open(0);
    let start = DISPATCHD.forward(&pages.endpoint, "s").args(["--to", &app.url]);
    let start = start.args(["--from", "trim-horizon"]).set("forward.poll", "200ms");
    let mut daemon = start.start().await;
    app.has(&[0]).await;
    pages.make_again();
    let told = eventually("it is told as an error", async || {
        let told = daemon.logged("the stream cannot be read");
        told.into_iter().find(|line| line["level"] == "ERROR")
    })
    .await;
    let error = told["error"].as_str().expect("it says why");
    for part in ["the stream s was made at", "deleted and made again", "default.json is moved away"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(daemon.exit_code().await, Some(1));
}

#[tokio::test]
async fn a_stream_that_was_deleted_and_made_again_is_told_and_not_read_from_old_places() {
    // What could go wrong: its shards have the names of the old ones, whose checkpoints mean
    // nothing in it; one of them says that its shard was read to the end, and the new one is never
    // read.
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let books = dir.path().join("s");
    put_numbers(&client, "k", 0..3).await;
    let start = || forward(&ferro, &app).start_in(dir.path());
    let daemon = start().await;
    app.has(&[0, 1, 2]).await;
    assert_eq!(stop(daemon).await, Some(0));
    make_again(&client).await;
    put_numbers(&client, "k", 3..6).await;
    let mut daemon = start().await;
    let told = daemon.told("the stream cannot be read").await;
    let error = told[0]["error"].as_str().expect("it says why").to_owned();
    for part in ["default.json", "deleted and made again", "moved away"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(daemon.exit_code().await, Some(1));
    assert_eq!(app.handled(), [0, 1, 2]);
    std::fs::remove_dir_all(&books).expect("it is ours");
    let daemon = start().await;
    app.has(&[3, 4, 5]).await;
    assert_eq!(stop(daemon).await, Some(0));
}

/// Deletes the stream and makes one of the same name, in another second: a server may tell no less.
async fn make_again(client: &Client) {
    let made = async || {
        let summary = client.describe_stream_summary().stream_name("s").send().await;
        let summary = summary.ok()?.stream_description_summary?;
        Some(summary.stream_creation_timestamp.secs())
    };
    let first = made().await.expect("it is there");
    eventually("the stream is another", async || {
        client.delete_stream().stream_name("s").send().await.expect("it is there");
        eventually("the stream is gone", async || made().await.is_none().then_some(())).await;
        create_stream(client, "s", 1).await;
        (made().await? != first).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_not_there_at_the_start_is_told() {
    // What could go wrong: the forwarder says that it is ready, and then nothing more, while
    // nothing is delivered.
    let nobody = Port::reserve();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let start = DISPATCHD.forward(&format!("http://127.0.0.1:{}", nobody.number()), "s");
    let daemon = start.args(["--to", "http://127.0.0.1:1/"]).start_in(dir.path()).await;
    daemon.told("the stream cannot be read everywhere now: trying on, nothing is lost").await;
}

#[tokio::test]
async fn from_latest_nothing_that_comes_while_it_is_down_is_left_out() {
    // What could go wrong: with nothing delivered yet, the second start begins at the tip again.
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let start = || {
        DISPATCHD
            .forward(&ferro.endpoint(), "s")
            .args(["--to", &app.url])
            .set("forward.poll", "200ms")
    };
    put_numbers(&client, "k", [0]).await;
    let daemon = start().start_in(dir.path()).await;
    daemon.told("every shard has its place").await;
    let kept = async || {
        let status = daemon.status().await;
        status["targets"][0]["shards"][0]["checkpoint"].as_str().map(str::to_owned)
    };
    eventually("where it began is kept", kept).await;
    assert_eq!(stop(daemon).await, Some(0));
    put_numbers(&client, "k", [1, 2]).await;
    let daemon = start().start_in(dir.path()).await;
    app.has(&[1, 2]).await;
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn children_are_delivered_after_their_parents_and_across_a_restart() {
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    put_numbers(&client, "k", 0..10).await;
    app.answers(StatusCode::SERVICE_UNAVAILABLE);
    let daemon = forward(&ferro, &app).start_in(dir.path()).await;
    let parent = shards(&client, "s").await.remove(0);
    split(&client, "s", &parent).await;
    put_numbers(&client, "k", 10..20).await;
    app.answers(None);
    app.has(&(0..20).collect::<Vec<_>>()).await;
    assert_eq!(app.handled(), (0..20).collect::<Vec<_>>(), "a key's order outlives its shard");
    assert_eq!(stop(daemon).await, Some(0));
    put_numbers(&client, "k", 20..30).await;
    let daemon = forward(&ferro, &app).start_in(dir.path()).await;
    app.has(&(20..30).collect::<Vec<_>>()).await;
    assert_eq!(app.handled(), (0..30).collect::<Vec<_>>());
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn a_target_that_fails_holds_up_no_other_and_is_shown_as_what_it_is() {
    let (ferro, client) = stream(2).await;
    let (good, bad) = (App::start().await, App::start().await);
    bad.answers(StatusCode::INTERNAL_SERVER_ERROR);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let targets = target("good", &good, "type = \"even\"\n") + &target("bad", &bad, "");
    std::fs::write(&file, targets).expect("it is ours");
    put_numbers(&client, "k", 0..10).await;
    let path = file.to_str().expect("it is UTF-8");
    let start = DISPATCHD.forward(&ferro.endpoint(), "s").args(["--config", path]);
    let daemon = start.set("forward.poll", "200ms").start_in(dir.path()).await;
    good.has(&[0, 2, 4, 6, 8]).await;
    assert_eq!(good.handled(), [0, 2, 4, 6, 8], "only those that it wants");
    let failing = async || {
        let status = daemon.status().await;
        (status["targets"][1]["state"] == "retrying").then_some(status)
    };
    let status = eventually("the other one is shown to fail", failing).await;
    assert_eq!(status["targets"][0]["state"], "delivering", "{status}");
    let shards = status["targets"][1]["shards"].as_array().expect("it has shards");
    assert!(
        shards.iter().any(|shard| shard["last_result"] == "500: the target answers 500"),
        "{status}"
    );
    assert!(daemon.metric("dispatchd_forward_behind_seconds{target=\"bad\"}").await > 0.0);
    let filtered = "dispatchd_forward_records_total{target=\"good\",outcome=\"filtered\"}";
    counts(&daemon, filtered, 5.0).await;
    let text = daemon.run_admin(&["status"]).await;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("\ntarget    bad  retrying"), "{text}");
    assert_eq!(stop(daemon).await, Some(0));
}

/// A target of a configuration's file, with what more is said of it.
fn target(name: &str, app: &App, more: &str) -> String {
    let url = &app.url;
    format!("[[forward.target]]\nname = {name:?}\nurl = {url:?}\nfrom = \"trim-horizon\"\n{more}")
}

#[tokio::test]
async fn a_reload_adds_and_takes_away_targets_and_a_wrong_file_changes_nothing() {
    let (ferro, client) = stream(1).await;
    let (one, two) = (App::start().await, App::start().await);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let write = |text: String| std::fs::write(&file, text).expect("it is ours");
    write(target("one", &one, ""));
    put_numbers(&client, "k", [1, 2]).await;
    let path = file.to_str().expect("it is UTF-8");
    let start = DISPATCHD.forward(&ferro.endpoint(), "s").args(["--config", path]);
    let daemon = start.set("forward.poll", "200ms").start_in(dir.path()).await;
    one.has(&[1, 2]).await;

    write(target("one", &one, "") + &target("two", &two, "batch_size = 7\n"));
    let refused = daemon.run_admin(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("forward.target[2].batch_size = \"7\""), "{told}");
    assert_eq!(daemon.metric("dispatchd_config_last_reload_successful").await, 0.0);

    write(target("one", &one, "type = \"odd\"\n") + &target("two", &two, ""));
    let taken = daemon.run_admin(&["reload"]).await;
    let told = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert_eq!(told, "changed: target one is another, target two is new\n");
    two.has(&[1, 2]).await;
    put_numbers(&client, "k", [3, 4, 5]).await;
    one.has(&[3, 5]).await;
    assert_eq!(one.handled(), [1, 2, 3, 5], "its new filter holds, and nothing comes again");

    write(target("two", &two, ""));
    daemon.signal(Signal::HUP);
    daemon.told("the target is gone from the configuration").await;
    put_numbers(&client, "k", [6, 7]).await;
    two.has(&[1, 2, 3, 4, 5, 6, 7]).await;
    assert_eq!(one.handled(), [1, 2, 3, 5]);
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn a_refused_reload_restarts_no_target_that_does_not_change_nor_does_the_next_good_one() {
    let (ferro, client) = stream(1).await;
    let (one, two) = (App::start().await, App::start().await);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let write = |text: String| std::fs::write(&file, text).expect("it is ours");
    write(target("one", &one, ""));
    put_numbers(&client, "k", [1]).await;
    let path = file.to_str().expect("it is UTF-8");
    let start = DISPATCHD.forward(&ferro.endpoint(), "s").args(["--config", path]);
    let daemon = start.set("forward.poll", "200ms").start_in(dir.path()).await;
    one.has(&[1]).await;
    // It holds, and cannot be built.
    let missing = dir.path().join("no-such-file");
    let missing = format!("ca_file = {missing:?}\n");
    write(target("one", &one, "type = \"even\"\n") + &target("two", &two, &missing));
    assert_eq!(daemon.run_admin(&["reload"]).await.status.code(), Some(1));
    write(target("one", &one, "") + &target("two", &two, ""));
    assert_eq!(daemon.run_admin(&["reload"]).await.status.code(), Some(0));
    two.has(&[1]).await;
    put_numbers(&client, "k", [2, 3]).await;
    one.has(&[1, 2, 3]).await;
    let begun = daemon.told("every shard has its place").await;
    let begun: Vec<_> = begun.iter().map(|line| &line["target_name"]).collect();
    assert_eq!(begun, ["one", "two"], "each once");
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn what_was_shown_of_a_target_is_shown_no_more_once_it_is_gone() {
    // What could go wrong: its gauges stay as they were, and an alert about it never ends.
    let (ferro, client) = stream(1).await;
    let (good, bad) = (App::start().await, App::start().await);
    bad.answers(StatusCode::UNAUTHORIZED);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    let write = |text: String| std::fs::write(&file, text).expect("it is ours");
    write(target("good", &good, "") + &target("bad", &bad, ""));
    put_numbers(&client, "k", [1]).await;
    let path = file.to_str().expect("it is UTF-8");
    let start = DISPATCHD.forward(&ferro.endpoint(), "s").args(["--config", path]);
    let daemon = start.set("forward.poll", "200ms").start_in(dir.path()).await;
    counts(&daemon, "dispatchd_forward_shards_blocked{target=\"bad\"}", 1.0).await;
    write(target("good", &good, ""));
    daemon.signal(Signal::HUP);
    daemon.told("the target is gone from the configuration").await;
    for gauge in ["shards_blocked", "shards", "behind_seconds", "wedged"] {
        let gauge = format!("dispatchd_forward_{gauge}{{target=\"bad\"}}");
        assert_eq!(daemon.metric(&gauge).await, 0.0, "{gauge}");
    }
    counts(&daemon, "dispatchd_forward_shards{target=\"good\"}", 1.0).await;
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn a_wrong_token_never_spins_and_is_mended_by_its_file() {
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    *app.seen.token.lock().expect("nobody panics with it") = Some("right".to_owned());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let token = dir.path().join("token");
    std::fs::write(&token, "wrong\n").expect("it is ours");
    put_numbers(&client, "k", [1]).await;
    let path = token.to_str().expect("it is UTF-8");
    let daemon = forward(&ferro, &app).args(["--token-file", path]).start_in(dir.path()).await;
    let blocked = daemon.told("the target refuses").await;
    assert_eq!(blocked[0]["status"], 401);
    counts(&daemon, "dispatchd_forward_shards_blocked", 1.0).await;
    assert!(!daemon.log().contains("wrong"), "a token is never told");
    std::fs::write(&token, "right\n").expect("it is ours");
    app.has(&[1]).await;
    let attempts = app.seen.tokens.lock().expect("nobody panics with it").len();
    assert!(attempts < 20, "{attempts} requests");
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn a_target_that_refuses_after_it_was_not_there_is_told_as_an_error() {
    // What could go wrong: a target comes back with another token, and all that was ever told is
    // that it takes no records, which passes by itself.
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    app.answers(StatusCode::SERVICE_UNAVAILABLE);
    put_numbers(&client, "k", [1]).await;
    let daemon = forward(&ferro, &app).start().await;
    daemon.told("the target does not take records").await;
    app.answers(StatusCode::UNAUTHORIZED);
    let refused = daemon.told("the target refuses").await;
    assert_eq!((&refused[0]["level"], &refused[0]["status"]), (&"ERROR".into(), &401.into()));
    app.answers(None);
    daemon.told("the target takes records again").await;
    assert_eq!(daemon.logged("the target does not take records").len(), 1, "{}", daemon.log());
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn what_is_given_up_is_kept_aside_and_the_shard_goes_on() {
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let letters = dir.path().join("letters.ndjson");
    put(&client, "s", vec![entry("k", "hello world")]).await;
    put_numbers(&client, "k", [1]).await;
    let place = format!("file:{}", letters.display());
    let start =
        forward(&ferro, &app).args(["--on-failure", "dead-letter", "--dead-letter", &place]);
    let daemon = start.start_in(dir.path()).await;
    app.has(&[1]).await;
    let kept = std::fs::read_to_string(&letters).expect("it is there");
    assert_eq!(kept.lines().count(), 1, "{kept}");
    let letter: Value = serde_json::from_str(&kept).expect("a line of JSON");
    assert_eq!(letter["target"], "default", "{letter}");
    let given_up = "dispatchd_forward_records_total{outcome=\"dead_lettered\"}";
    counts(&daemon, given_up, 1.0).await;
    assert_eq!(stop(daemon).await, Some(0));
}

#[tokio::test]
async fn two_forwarders_never_share_checkpoints_and_a_torn_book_is_no_fresh_start() {
    let (ferro, _client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = forward(&ferro, &app).start_in(dir.path()).await;
    let (code, told) = fails(&ferro, &app, dir.path()).await;
    assert_eq!(code, Some(1));
    let holder = format!("another forwarder holds it: process {} on", first.pid());
    assert!(told.contains(&holder), "{told}");
    assert_eq!(stop(first).await, Some(0));
    std::fs::write(dir.path().join("s/default.json"), "{").expect("it is ours");
    let (code, told) = fails(&ferro, &app, dir.path()).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("default.json: it is no book of checkpoints"), "{told}");
}

/// The exit code of a forwarder that does not start, and what it says.
async fn fails(ferro: &Ferro, app: &App, dir: &Path) -> (Option<i32>, String) {
    let mut command = DISPATCHD.command();
    command.args(["forward", "--stream", "s", "--endpoint-url", &ferro.endpoint()]);
    command.args(["--to", &app.url, "--admin-listen", "off", "--admin-socket", "off"]);
    command.arg("--checkpoint").arg(format!("file:{}", dir.display()));
    let output = command.output().await.expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_stop_waits_for_what_is_out_and_a_second_signal_does_not() {
    let (ferro, client) = stream(1).await;
    // It takes the connection and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("it is bound"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    put_numbers(&client, "k", [1]).await;
    let start = DISPATCHD.forward(&ferro.endpoint(), "s").args(["--to", &url]);
    // However slow the machine is, it is not the request's own timeout that ends the wait.
    let start = start.args(["--from", "trim-horizon", "--timeout", "15m"]);
    let start = start.set("forward.poll", "200ms").set("shutdown.timeout", "10m");
    let mut daemon = start.start_in(dir.path()).await;
    let (_held, _) = silent.accept().await.expect("it connects");
    let out =
        async || (daemon.status().await["targets"][0]["shards"][0]["in_flight"] == 1).then_some(());
    eventually("a request is out", out).await;
    daemon.signal(Signal::TERM);
    daemon.told("draining").await;
    assert_eq!(daemon.get("/readyz").await.0, 503);
    // A second wish comes more than a second after the first; until then signals are one.
    eventually("it gives up", async || {
        daemon.signal(Signal::TERM);
        (!daemon.logged("stopped with requests").is_empty()).then_some(())
    })
    .await;
    assert_eq!(daemon.exit_code().await, Some(75));
}

#[tokio::test]
async fn checkpoints_that_cannot_be_written_are_told_seldom_and_delivery_goes_on() {
    // What could go wrong: a full disk stops delivery, or fills the log with a line a second;
    // nobody says when it is over.
    let (ferro, client) = stream(1).await;
    let app = App::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (books, away) = (dir.path().join("s"), dir.path().join("away"));
    let daemon = forward(&ferro, &app).start_in(dir.path()).await;
    daemon.told("every shard has its place").await;
    let began = Instant::now();
    std::fs::rename(&books, &away).expect("it is ours");
    put_numbers(&client, "k", 0..3).await;
    app.has(&[0, 1, 2]).await;
    daemon.told("a checkpoint cannot be written").await;
    put_numbers(&client, "k", 3..6).await;
    app.has(&[3, 4, 5]).await;
    std::fs::rename(&away, &books).expect("it is ours");
    daemon.told("checkpoints are written again").await;
    let lines = daemon.logged("a checkpoint cannot be written").len() as u64;
    assert!(
        lines <= 1 + began.elapsed().as_secs() / 60,
        "{lines} lines, and one a minute is enough"
    );
    // It was started by flags alone, and can be asked all the same.
    let status = daemon.run_admin(&["--forward", "status"]).await;
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert_eq!(stop(daemon).await, Some(0));
}
