//! `replay`, whole: files into a stream, through a server that fails as Kinesis does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dispatchd::targets::dead_letters::{DeadLetters, FileSettings, Settings};
use dispatchd_core::wire::dead_letter::{Batch, DeadLetter, End, LastResponse, Letter};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{StoredRecord, create_stream, read_settled};
use testkit::terminal::Terminal;
use testkit::{client, eventually};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::DISPATCHD;

const STREAM: &str = "s";

/// A stream behind a server that fails as it is told, and a folder.
struct Scene {
    ferro: Ferro,
    fault: FaultServer,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let ferro = Ferro::start(false).await;
        create_stream(&client(&ferro.endpoint()), STREAM, 3).await;
        let fault = FaultServer::start(&ferro.endpoint(), 7).await;
        Self { ferro, fault, folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("it is made");
        fs::write(&path, text).expect("it is written");
        path
    }

    fn command(&self, input: &Path, args: &[&str]) -> Command {
        let mut command = DISPATCHD.command();
        command.arg("replay").arg(input).args(["--stream", STREAM]).args(args);
        command.args(["--endpoint-url", &self.fault.endpoint()]);
        command.args(["--set", "kinesis.attempt_timeout=60s"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    async fn replay(&self, input: &Path, args: &[&str]) -> Output {
        self.command(input, args).output().await.expect("it runs")
    }

    /// Replays to a good end, and returns its last words.
    async fn replayed(&self, input: &Path, args: &[&str]) -> String {
        let output = self.replay(input, args).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output)
    }

    async fn stored(&self) -> Vec<StoredRecord> {
        read_settled(&client(&self.ferro.endpoint()), STREAM, &self.fault.ledger()).await
    }

    fn stored_count(&self) -> usize {
        self.fault.ledger().records().len()
    }
}

/// What it printed, on both of its streams.
fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    text.concat()
}

/// An event as lk-dispatch publishes it: one each second, from an odd number of keys.
fn event(number: usize) -> String {
    let id = Uuid::from_u128(number as u128);
    let (second, minute) = (number % 60, number / 60);
    format!(
        r#"{{"id":"{id}","type":"counted","data":{{"n":{number},"price":1.50}},"timestamp":"2026-11-20T21:{minute:02}:{second:02}.335Z","source":{{"userId":null,"producerId":"a@b","kinesisPartitionKey":"key-{}"}}}}"#,
        number % 7
    )
}

fn events(count: usize) -> Vec<String> {
    (0..count).map(event).collect()
}

/// Writes events into three files, so that none of them is in the order of time, and compresses the
/// last.
fn write_shuffled(scene: &Scene, count: usize) -> PathBuf {
    for file in 0..3 {
        let lines = events(count).into_iter().rev().enumerate();
        let lines: Vec<_> = lines.filter(|(n, _)| n % 3 == file).map(|(_, line)| line).collect();
        let text = lines.join("\n") + "\n";
        match file {
            2 => scene.write("in/2.ndjson.gz", compressed(&text)),
            _ => scene.write(&format!("in/{file}.ndjson"), text),
        };
    }
    scene.path("in")
}

/// What gzip makes of a text.
fn compressed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn number(data: &[u8]) -> usize {
    let event: Value = serde_json::from_slice(data).expect("an event is JSON");
    event["data"]["n"].as_u64().expect("it is numbered") as usize
}

/// The numbers of each key's events, in the order of the stream.
fn by_key(stored: &[StoredRecord]) -> BTreeMap<String, Vec<usize>> {
    let mut keys = BTreeMap::<String, Vec<usize>>::new();
    for record in stored {
        keys.entry(record.partition_key.clone()).or_default().push(number(&record.data));
    }
    keys
}

fn data(stored: &[StoredRecord]) -> BTreeSet<String> {
    stored.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}

#[tokio::test]
async fn where_a_third_of_the_records_fails_every_event_arrives_once_and_in_the_order_of_its_key() {
    // lk-replay looks at no record's own answer: it loses what is throttled, and what it sent with
    // it overtakes what is sent again.
    const COUNT: usize = 700;
    let scene = Scene::new().await;
    scene.fault.set(Plan { throttled_ratio: 0.2, internal_ratio: 0.1, ..Plan::default() });
    let input = write_shuffled(&scene, COUNT);
    let words = scene.replayed(&input, &[]).await;
    assert!(words.contains("confirmed: 700 of 700 events"), "{words}");
    let stored = scene.stored().await;
    assert_eq!(stored.len(), COUNT, "none twice: nothing that failed was stored");
    assert_eq!(data(&stored), events(COUNT).into_iter().collect(), "byte for byte");
    let keys = by_key(&stored);
    assert_eq!(keys.len(), 7);
    for (key, numbers) in keys {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        assert!(numbers.iter().all(|number| format!("key-{}", number % 7) == key));
    }
}

#[tokio::test]
async fn an_archive_of_rabble_rouser_s_comes_back_with_its_bytes_and_keys() {
    // The archiver counts months from zero and writes the hour at which it was started.
    let scene = Scene::new().await;
    let record = |n: u64, arrived: Value| {
        let data =
            STANDARD.encode(format!("{{\"type\":\"member-registered\",\"data\":{{\"n\":{n}}}}}"));
        let record = json!({
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "member-registered",
            "sequenceNumber": n.to_string(),
            "data": data,
            "approximateArrivalTimestamp": arrived,
        });
        record.to_string() + "\n"
    };
    // 31 March by its name, and 1 December; 1 January is named 00.
    scene.write(
        "in/2017-11-01_00",
        record(5, 1_512_086_400.5.into()) + &record(6, 1_512_086_401.into()),
    );
    scene.write("in/2017-02-31_23", record(3, Value::Null) + &record(4, Value::Null));
    scene.write(
        "in/2017-00-01_00",
        record(2, "2017-01-01T00:00:02.000Z".into()) + &record(1, 1_483_228_801.25.into()),
    );
    let words = scene.replayed(&scene.path("in"), &[]).await;
    assert!(words.contains("from 2017-01-01T00:00:01.250Z to 2017-12-01T00:00:01.000Z"), "{words}");
    let keys = by_key(&scene.stored().await);
    assert_eq!(keys, BTreeMap::from([("member-registered".to_owned(), vec![1, 2, 3, 4, 5, 6])]));
}

#[tokio::test]
async fn a_tree_of_lk_replay_s_is_sorted_by_time_and_events_without_a_source_get_its_key() {
    let scene = Scene::new().await;
    let sourceless = |n: usize| {
        format!(
            "{{\n \"type\": \"t\",\n \"data\": {{\"n\": {n}}},\n \"timestamp\": \"2026-11-2{n}T00:00:00Z\"\n}}\n"
        )
    };
    for n in 1..5 {
        scene.write(&format!("in/2026/11/2{n}/{}", Uuid::new_v4()), sourceless(n));
    }
    scene.write("in/2026/11/20/one", event(0));
    scene.replayed(&scene.path("in"), &["--to", "2026-11-24"]).await;
    let expected = [("__partition_key__", vec![1, 2, 3]), ("key-0", vec![0])];
    let stored = scene.stored().await;
    assert_eq!(by_key(&stored), expected.map(|(key, numbers)| (key.to_owned(), numbers)).into());
    assert!(data(&stored).contains(sourceless(1).trim_end()), "byte for byte");
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_is_the_record_that_was_given_up_on() {
    let scene = Scene::new().await;
    let path = scene.path("letters.ndjson");
    let end = End { sequence_number: "49", arrived: Some(UNIX_EPOCH) };
    let line = |n: usize| {
        let data = event(n).into_bytes();
        let letter = DeadLetter {
            target: "orders",
            stream_arn: "arn:aws:kinesis:us-east-1:000000000000:stream/s",
            request_id: Uuid::new_v4(),
            condition: "RetryAttemptsExhausted",
            attempts: 3,
            response: Some(LastResponse {
                status: Some(500),
                function_error: None,
                reason: "the target answered 500",
                body: Some("boom"),
            }),
            at: UNIX_EPOCH,
            batch: Batch { first: end, last: end, records_count: 2 },
            record: Letter {
                shard: "shardId-000000000000",
                sequence_number: "49",
                sub_sequence_number: None,
                partition_key: Some("of the record"),
                arrived: Some(UNIX_EPOCH),
                data: &data,
            },
        };
        letter.to_line()
    };
    fs::write(&path, [line(1), line(0)].concat()).expect("it is written");
    // As a forwarder has it open: replay reads beside it.
    let (letters, _handle) =
        DeadLetters::open(Settings::File(FileSettings::new(path.clone()))).expect("it is whole");
    scene.replayed(&path, &[]).await;
    drop(letters);
    let stored = scene.stored().await;
    assert_eq!(data(&stored), events(2).into_iter().collect());
    assert_eq!(by_key(&stored), BTreeMap::from([("of the record".to_owned(), vec![0, 1])]));
}

#[tokio::test]
async fn after_kill_9_the_next_run_goes_on_and_nothing_is_lost() {
    const COUNT: usize = 3000; // half a minute at that rate
    let scene = Scene::new().await;
    let input = write_shuffled(&scene, COUNT);
    let state = scene.path("state");
    let with_state = ["--state", state.to_str().expect("it is text")];
    let mut child = scene
        .command(&input, &[&with_state[..], &["--rate", "100"]].concat())
        .spawn()
        .expect("it runs");
    eventually("some events are confirmed, and the file says so", async || {
        let text = fs::read_to_string(&state).unwrap_or_default();
        let saved = text.lines().filter(|line| line.contains("\"confirmed\":[[")).count();
        (saved >= 2).then_some(())
    })
    .await;
    child.kill().await.expect("it runs still");
    let before = scene.stored().await.len();
    assert!(before < COUNT, "it was killed too late");
    let words = scene.replayed(&input, &with_state).await;
    assert!(words.contains("of them by earlier runs"), "{words}");
    let stored = scene.stored().await;
    assert_eq!(data(&stored), events(COUNT).into_iter().collect());
    // What was sent in the second before the kill comes again.
    assert!(stored.len() < COUNT + before, "{} records of {COUNT} events", stored.len());
    let words = scene.replayed(&input, &with_state).await;
    assert!(words.contains("nothing is left to send"), "{words}");
    assert_eq!(scene.stored_count(), stored.len());
    scene.write("in/1.ndjson", event(0));
    let output = scene.replay(&input, &with_state).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("in/1.ndjson was changed since"), "{}", said(&output));
}

#[tokio::test]
async fn a_signal_ends_it_in_order_and_the_next_run_sends_the_rest_alone() {
    const COUNT: usize = 600;
    let scene = Scene::new().await;
    let input = write_shuffled(&scene, COUNT);
    let state = scene.path("state");
    let args = ["--state", state.to_str().expect("it is text")];
    let child =
        scene.command(&input, &[&args[..], &["--rate", "20"]].concat()).spawn().expect("it runs");
    eventually("some events are stored", async || (scene.stored_count() > 20).then_some(())).await;
    signal(&child, Signal::INT);
    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert!(said(&output).contains("The same command goes on there"), "{}", said(&output));
    scene.replayed(&input, &args).await;
    assert_eq!(scene.stored().await.len(), COUNT, "every event once");
}

#[tokio::test]
async fn where_nothing_is_confirmed_it_ends_with_75_and_goes_on_later() {
    const COUNT: usize = 100;
    let scene = Scene::new().await;
    let input = write_shuffled(&scene, COUNT);
    let state = scene.path("state");
    let args = ["--state", state.to_str().expect("it is text"), "--set", "delivery.timeout=2s"];
    let denied = [("PutRecords".to_owned(), Refusal::unavailable())];
    scene.fault.set(Plan { denied: denied.into(), ..Plan::default() });
    let output = scene.replay(&input, &args).await;
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert!(said(&output).contains("nothing was confirmed for 2 s"), "{}", said(&output));
    scene.fault.set(Plan::default());
    scene.replayed(&input, &args[..2]).await;
    assert_eq!(data(&scene.stored().await).len(), COUNT);
}

#[tokio::test]
async fn an_event_that_kinesis_refuses_is_named_by_its_file_and_line_and_the_others_arrive() {
    let scene = Scene::new().await;
    let large = format!(r#"{{"type":"large","data":{{"n":1,"x":"{}"}}}}"#, "x".repeat(2 << 20));
    scene.fault.set(Plan { record_limit_kib: Some(1024), ..Plan::default() });
    let input = scene.write("in", [event(0), large, event(2)].join("\n"));
    let output = scene.replay(&input, &[]).await;
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    let words = said(&output);
    // By the stream's limit, or by Kinesis' own word where that is not known yet.
    assert!(words.contains("in, line 2") && words.contains("refused for good"), "{words}");
    assert!(words.contains("refused for good, as the log says: 1"), "{words}");
    assert_eq!(data(&scene.stored().await), [event(0), event(2)].into());
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_send_and_sends_nothing() {
    let scene = Scene::new().await;
    let input = write_shuffled(&scene, 70);
    let words = scene.replayed(&input, &["--dry-run", "--from", "2026-11-20T21:01:00Z"]).await;
    assert!(
        words.contains("70 events in 3 files, 10 to send, from 2026-11-20T21:01:00.335Z"),
        "{words}"
    );
    assert_eq!(scene.stored_count(), 0);
    assert!(scene.fault.ledger().requests().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn what_a_pattern_does_not_match_and_what_is_of_another_type_is_left_out() {
    let scene = Scene::new().await;
    let other = event(9).replace("counted", "other");
    let input = scene.write("in", [event(3), event(4), other].join("\n"));
    let pattern = scene.write("pattern", r#"{"data": {"n": [{"numeric": [">", 3]}]}}"#);
    let pattern = format!("@{}", pattern.display());
    scene.replayed(&input, &["--type", "counted,more", "--filter", &pattern]).await;
    assert_eq!(data(&scene.stored().await), [event(4)].into());
    let record =
        json!({"sequenceNumber": "7", "partitionKey": "vip", "data": STANDARD.encode(event(5))});
    let records = scene.write("records", [record.to_string(), event(6)].join("\n"));
    let pattern = r#"{"partitionKey": ["vip"], "data": {"type": ["counted"]}}"#;
    scene.replayed(&records, &["--filter-record", pattern]).await;
    assert_eq!(data(&scene.stored().await), [event(4), event(5)].into());
    let output = scene.replay(&input, &["--filter", "{"]).await;
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    assert!(said(&output).contains("--filter: line 1, column 2"), "{}", said(&output));
}

#[tokio::test]
async fn onto_a_stream_that_is_not_of_this_host_it_asks_and_without_a_terminal_it_refuses() {
    let scene = Scene::new().await;
    let input = scene.write("in", event(0));
    let away = ["--region", "eu-west-1", "--endpoint-url", "https://kinesis.invalid"];
    let command = |stdin: Stdio| {
        let mut command = DISPATCHD.command();
        command.arg("replay").arg(&input).args(["--stream", STREAM]).args(away).stdin(stdin);
        command
    };
    let output = command(Stdio::null()).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("say --yes"), "{}", said(&output));
    let mut terminal = Terminal::open();
    let asked = command(terminal.stream());
    terminal.type_in("another\n");
    let output = { asked }.output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    assert!(
        words.contains("This sends 1 event to stream \"s\" at https://kinesis.invalid"),
        "{words}"
    );
    assert!(words.contains("nothing was sent"), "{words}");
}

#[tokio::test]
async fn what_is_no_event_sends_nothing_at_all() {
    let scene = Scene::new().await;
    let input = scene.write("in", format!("{}\nhello\n", event(0)));
    let output = scene.replay(&input, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("in, line 2: is not JSON"), "{}", said(&output));
    assert_eq!(scene.stored_count(), 0);
}

fn signal(child: &Child, signal: Signal) {
    let id = child.id().expect("it was not waited for");
    let pid = Pid::from_raw(id.cast_signed()).expect("a process has an id");
    kill_process(pid, signal).expect("it is ours");
}
