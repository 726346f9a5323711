//! Applications that write with AWS's own SDKs and know nothing of dispatchd: what they are told is
//! in the stream, once and in the order of each key, while Kinesis throttles and connections break.

use std::collections::HashMap;
use std::path::Path;

use testkit::daemon::{Daemon, Start, sheltered};
use testkit::fault::FaultServer;
use testkit::fault::plan::Plan;
use testkit::kinesis::Ferro;
use testkit::packages::{self, go_app, go_writer, kcl, node, python};
use testkit::stream::{StoredRecord, create_stream, read_settled};
use testkit::{DEADLINE, client};
use tokio::process::Command;

use crate::DISPATCHD;

const SHARDS: usize = 4;
const SINGLES: usize = 20;
const CALLS: usize = 5;

/// A daemon whose service throttles and breaks connections, and its endpoint for SDKs.
struct Scene {
    ferro: Ferro,
    faults: FaultServer,
    daemon: Daemon,
    endpoint: String,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(|start| start).await
    }

    async fn start_with(set: impl FnOnce(Start) -> Start) -> Self {
        let ferro = Ferro::start(false).await;
        create_stream(&client(&ferro.endpoint()), "s", SHARDS as i32).await;
        let faults = FaultServer::start(&ferro.endpoint(), 11).await;
        faults.set(Plan { throttled_ratio: 0.05, close_before_ratio: 0.02, ..Plan::default() });
        let daemon = DISPATCHD.daemon(&faults.endpoint(), "s");
        let daemon = set(daemon.set("kinesis_api.listen", "127.0.0.1:0")).start().await;
        let ready = daemon.logged("ready").pop().expect("it has started");
        let address = ready["kinesis_api"].as_str().expect("it says where it listens");
        let endpoint = format!("http://{address}");
        Self { ferro, faults, daemon, endpoint }
    }

    /// Runs a program that is led here by the one variable, and gives what it prints.
    async fn run(&self, mut program: Command) -> String {
        program
            .env("AWS_ENDPOINT_URL_KINESIS", &self.endpoint)
            .env("AWS_DEFAULT_REGION", "us-east-1");
        let output = tokio::time::timeout(DEADLINE, program.output()).await;
        let output = output.expect("it ends in time").expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?}: {errors}\n{}", self.daemon.log());
        String::from_utf8(output.stdout).expect("it prints UTF-8")
    }

    async fn stored(&self) -> Vec<StoredRecord> {
        let client = client(&self.ferro.endpoint());
        read_settled(&client, "s", &self.faults.ledger()).await
    }

    /// Runs one of the writers, and holds what it was told against what the stream has.
    async fn assert_what_it_is_told_is_true(&self, mut writer: Command) {
        writer.args(["s", &SINGLES.to_string(), &CALLS.to_string()]);
        let told = self.run(writer).await;
        let mut told: Vec<Vec<&str>> = told.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(told.pop(), Some(vec!["shards", &SHARDS.to_string()]), "it sees the stream");
        let stored = self.stored().await;
        let by_sequence: HashMap<&str, &StoredRecord> =
            stored.iter().map(|record| (record.sequence.as_str(), record)).collect();
        for said in &told {
            let [data, sequence, shard] = said[..] else { panic!("{said:?}") };
            let record = by_sequence.get(sequence).unwrap_or_else(|| panic!("{said:?}"));
            assert_eq!((&*record.data, &*record.shard), (data.as_bytes(), shard), "{said:?}");
        }
        let count = SINGLES + 100 * CALLS;
        assert_eq!((told.len(), stored.len()), (count, count), "each once: no fault stored any");
        assert_order(&stored);
        let calls = "dispatchd_kinesis_api_calls_total";
        let of = |operation| format!("{calls}{{operation=\"{operation}\",outcome=\"ok\"}}");
        assert_eq!(self.daemon.metric(&of("PutRecord")).await, SINGLES as f64);
        assert_eq!(self.daemon.metric(&of("PutRecords")).await, CALLS as f64);
        assert!(self.faults.ledger().requests().len() > CALLS, "faults made more of them");
    }
}

/// The records of a key stand in the order in which they were written.
fn assert_order(stored: &[StoredRecord]) {
    let mut next: HashMap<&str, usize> = HashMap::new();
    for record in stored {
        let data = std::str::from_utf8(&record.data).expect("writers write text");
        let (key, place) = data.split_once(':').expect("a key and a place");
        let next = next.entry(key).or_default();
        assert_eq!(place.parse(), Ok(*next), "{key}");
        *next += 1;
    }
}

#[test]
fn the_page_shows_the_file_that_leads_version_2_of_the_sdk_for_javascript_here() {
    let page = include_str!("../../../docs/kinesis-api.md");
    let shown = page.split_once("```js\n").and_then(|(_, rest)| rest.split_once("```"));
    let file =
        std::fs::read_to_string(packages::file("node/to-dispatchd.cjs")).expect("it is there");
    assert!(file.ends_with(shown.expect("the page has a block of it").0), "{file}");
}

fn script(program: impl AsRef<std::ffi::OsStr>, script: &str) -> Command {
    let mut command = sheltered(Command::new(program));
    command.arg(packages::file(script));
    command
}

async fn installed<T: Send + 'static>(install: fn() -> Option<T>) -> Option<T> {
    tokio::task::spawn_blocking(install).await.expect("the installation ends")
}

#[tokio::test]
async fn boto3_is_told_the_truth() {
    let Some(folder) = installed(python).await else { return };
    let scene = Scene::start().await;
    scene.assert_what_it_is_told_is_true(script(folder.join("python"), "python/writer.py")).await;
}

const PUT_ONE: &str = r#"
import boto3
put = boto3.client("kinesis").put_record(StreamName="s", PartitionKey="k", Data=b"one:0")
print(put["SequenceNumber"], put["ResponseMetadata"]["RetryAttempts"])
"#;

#[tokio::test]
async fn a_call_that_had_no_time_is_sent_again_by_the_sdk_and_makes_one_record() {
    let Some(folder) = installed(python).await else { return };
    let scene = Scene::start_with(|start| start.set("kinesis_api.timeout", "3s")).await;
    scene.faults.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    let mut put = sheltered(Command::new(folder.join("python")));
    put.args(["-c", PUT_ONE]);
    let refused =
        "dispatchd_kinesis_api_calls_total{operation=\"PutRecord\",outcome=\"throttled\"}";
    let (told, ()) = tokio::join!(scene.run(put), async {
        testkit::eventually("the first attempt was refused", async || {
            (scene.daemon.metric(refused).await > 0.0).then_some(())
        })
        .await;
        scene.faults.set(Plan::default());
    });
    let stored = scene.stored().await;
    let sequence = told.split_whitespace().next();
    assert_eq!((stored.len(), sequence), (1, Some(&*stored[0].sequence)), "{told}");
}

#[tokio::test]
async fn the_aws_cli_puts_a_record() {
    let Some(folder) = installed(python).await else { return };
    let scene = Scene::start().await;
    let mut put = sheltered(Command::new(folder.join("aws")));
    put.args(["--output", "text", "kinesis", "put-record", "--stream-name", "s"]);
    put.args(["--partition-key", "k", "--data", "hello"]);
    let told = scene.run(put).await;
    let stored = scene.stored().await;
    assert!(told.split_whitespace().any(|word| word == stored[0].sequence), "{told}");
}

#[tokio::test]
async fn the_sdk_for_javascript_3_which_opens_with_http_2_is_told_the_truth() {
    if installed(node).await.is_none() {
        return;
    }
    let scene = Scene::start().await;
    let mut writer = script("node", "node/writer.cjs");
    writer.arg("3");
    scene.assert_what_it_is_told_is_true(writer).await;
}

/// What leads version 2 of the SDK for JavaScript here, in the place of the variable.
fn led_here(mut command: Command, folder: &Path) -> Command {
    let lead = packages::file("node/to-dispatchd.cjs");
    command.current_dir(folder).env("NODE_OPTIONS", format!("--require={}", lead.display()));
    command
}

#[tokio::test]
async fn the_sdk_for_javascript_2_is_told_the_truth() {
    let Some(folder) = installed(node).await else { return };
    let scene = Scene::start().await;
    let mut writer = led_here(script("node", "node/writer.cjs"), &folder);
    writer.arg("2");
    scene.assert_what_it_is_told_is_true(writer).await;
}

#[tokio::test]
async fn an_application_with_lk_dispatch_is_led_here_without_a_change_to_it() {
    let Some(folder) = installed(node).await else { return };
    let scene = Scene::start().await;
    let mut app = led_here(script("node", "node/lk-app.cjs"), &folder);
    app.args(["s", "30"]);
    scene.run(app).await;
    let stored = scene.stored().await;
    let places = stored.iter().map(|record| {
        let envelope: serde_json::Value = serde_json::from_slice(&record.data).expect("JSON");
        assert_eq!(envelope["source"]["producerId"], "app", "{envelope}");
        envelope["data"]["place"].as_u64().expect("the application says it")
    });
    assert!(places.eq(0..30), "in its order");
}

#[tokio::test]
async fn the_sdk_for_go_is_told_the_truth() {
    let Some(writer) = installed(go_writer).await else { return };
    let scene = Scene::start().await;
    scene.assert_what_it_is_told_is_true(sheltered(Command::new(writer))).await;
}

/// What an application with PutRecords makes of a stream, with its own SDK and nothing else: it
/// sends again what a reply says failed, as most do.
struct Made {
    told: usize,
    stored: Vec<StoredRecord>,
}

impl Made {
    const CALLS: usize = 200;

    async fn by(app: &Path, scene: &Scene, endpoint: &str) -> Self {
        let mut app = sheltered(Command::new(app));
        app.args(["bulk", "s", &Self::CALLS.to_string()]);
        app.env("AWS_ENDPOINT_URL_KINESIS", endpoint).env("AWS_DEFAULT_REGION", "us-east-1");
        let output = tokio::time::timeout(DEADLINE, app.output()).await;
        let output = output.expect("it ends in time").expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        Self { told, stored: scene.stored().await }
    }

    /// Records that are not in the stream, records that are in it more than once, and records that
    /// stand before an earlier one of their key.
    fn faults(&self) -> [usize; 3] {
        let mut seen: HashMap<(&str, usize), usize> = HashMap::new();
        let mut latest: HashMap<&str, usize> = HashMap::new();
        let mut overtaken = 0;
        for record in &self.stored {
            let data = std::str::from_utf8(&record.data).expect("it writes text");
            let (key, place) = data.split_once(':').expect("a key and a place");
            let place = place.parse().expect("a number");
            *seen.entry((key, place)).or_default() += 1;
            let latest = latest.entry(key).or_default();
            overtaken += usize::from(place < *latest);
            *latest = place.max(*latest);
        }
        let copies = self.stored.len() - seen.len();
        [100 * Self::CALLS - seen.len(), copies, overtaken]
    }
}

#[tokio::test]
async fn records_arrive_once_and_in_order_where_the_sdk_alone_loses_and_mixes_some() {
    let Some(app) = installed(go_app).await else { return };
    let scene = Scene::start().await;
    let faults = || Plan { throttled_ratio: 0.05, close_before_ratio: 0.01, ..Plan::default() };
    scene.faults.set(faults());
    let through = Made::by(&app, &scene, &scene.endpoint).await;
    assert_eq!((through.told, through.faults()), (100 * Made::CALLS, [0, 0, 0]));

    let alone = Scene::start().await;
    alone.faults.set(faults());
    let alone = Made::by(&app, &alone, &alone.faults.endpoint()).await;
    let [lost, copies, overtaken] = alone.faults();
    println!("alone: {lost} lost, {copies} twice, {overtaken} out of order");
    assert!(overtaken > 0, "the faults would not have been noticed");
}

async fn java(mode: &str) {
    let Some(jars) = installed(kcl).await else { return };
    let scene = Scene::start().await;
    let mut writer = sheltered(Command::new("java"));
    writer.arg("-cp").arg(format!("{}/*", jars.display()));
    writer.arg(packages::file("java/kcl/Writer.java")).arg(mode);
    scene.assert_what_it_is_told_is_true(writer).await;
}

#[tokio::test]
async fn the_sdk_for_java_which_speaks_cbor_is_told_the_truth() {
    java("sync").await;
}

#[tokio::test]
async fn the_asynchronous_sdk_for_java_which_speaks_cbor_over_http_2_is_told_the_truth() {
    java("async").await;
}

#[tokio::test]
async fn the_sdk_for_rust_is_told_the_truth() {
    let scene = Scene::start().await;
    let sdk = client(&scene.endpoint);
    for place in 0..SINGLES {
        let put = sdk.put_record().stream_name("s").partition_key("one");
        let data = aws_sdk_kinesis::primitives::Blob::new(format!("one:{place}"));
        let put = put.data(data).send().await.expect("it is stored");
        assert!(!put.sequence_number().is_empty());
    }
    let summary = sdk.describe_stream_summary().stream_name("s").send().await.expect("it may ask");
    let summary = summary.stream_description_summary().expect("there is a stream");
    assert_eq!(summary.open_shard_count(), SHARDS as i32);
    let stored = scene.stored().await;
    assert_eq!(stored.len(), SINGLES);
    assert_order(&stored);
}
