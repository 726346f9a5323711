//! The Kinesis API as a wire: what each call is answered, what a held reply comes to, and that no
//! caller costs another anything. What SDKs make of it stands in `aws_sdks`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::daemon::{Daemon, Start, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Fault, Plan, Poison, RecordError, Refusal};
use testkit::http::{JSON, TARGET, send};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all, read_settled};
use testkit::tasks::Tasks;
use testkit::{client, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::DISPATCHD;

const CBOR: &str = "application/x-amz-cbor-1.1";

struct Scene {
    ferro: Ferro,
    faults: FaultServer,
    daemon: Daemon,
    address: String,
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: hyper::HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("it is text"))
    }

    /// The name of the error, which stands in two places.
    fn error(&self) -> &str {
        let name = self.header("x-amzn-errortype");
        assert_eq!(self.body["__type"], name, "{self:?}");
        assert!(!name.is_empty() && self.body["message"].is_string(), "{self:?}");
        name
    }

    fn sequence(&self) -> &str {
        assert_eq!(self.status, 200, "{self:?}");
        self.body["SequenceNumber"].as_str().expect("a success names it")
    }
}

impl Scene {
    async fn start(set: impl FnOnce(Start) -> Start) -> Self {
        let ferro = Ferro::start(false).await;
        create_stream(&client(&ferro.endpoint()), "s", 1).await;
        let faults = FaultServer::start(&ferro.endpoint(), 3).await;
        let start = DISPATCHD.daemon(&faults.endpoint(), "s");
        let start = start.set("kinesis_api.listen", "127.0.0.1:0");
        let daemon = set(start.set("delivery.backoff_max", "100ms")).start().await;
        let ready = daemon.logged("ready").pop().expect("it has started");
        let address = ready["kinesis_api"].as_str().expect("it says where it listens").to_owned();
        Self { ferro, faults, daemon, address }
    }

    async fn send(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::post("/any/path").header("host", &self.address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let tasks = Tasks::default();
        let request = request.body(Full::new(body.into())).expect("a test's headers are headers");
        let answer = send(&self.address, request, &tasks).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let length = head.headers.get("content-length").expect("it comes with its length");
        assert_eq!(length.to_str().expect("a number").parse(), Ok(body.len()));
        assert!(head.headers.contains_key("date") && head.headers.contains_key("x-amzn-requestid"));
        let body = match head.headers["content-type"].to_str().expect("it is text") {
            JSON => serde_json::from_slice(&body).expect("JSON"),
            CBOR => {
                let read: ciborium::Value = ciborium::from_reader(&body[..]).expect("CBOR");
                read.deserialized().expect("it has no bytes")
            }
            other => panic!("{other}"),
        };
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn call(&self, operation: &str, body: &Value) -> Answer {
        let target = format!("{TARGET}{operation}");
        self.send(&[("content-type", JSON), ("x-amz-target", &target)], body.to_string()).await
    }

    /// One attempt of a call that an SDK knows by this id.
    async fn attempt(&self, id: &str, operation: &str, body: &Value) -> Answer {
        let target = format!("{TARGET}{operation}");
        let headers =
            [("content-type", JSON), ("x-amz-target", &target), ("amz-sdk-invocation-id", id)];
        self.send(&headers, body.to_string()).await
    }

    async fn stored(&self) -> Vec<String> {
        let records =
            read_settled(&client(&self.ferro.endpoint()), "s", &self.faults.ledger()).await;
        records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
    }

    async fn calls(&self, operation: &str, outcome: &str) -> f64 {
        let labels = format!("operation=\"{operation}\",outcome=\"{outcome}\"");
        self.daemon.metric(&format!("dispatchd_kinesis_api_calls_total{{{labels}}}")).await
    }
}

/// A PutRecord call; `data` is short text, as base64 the test says it.
fn record(key: &str, base64: &str) -> Value {
    json!({"StreamName": "s", "PartitionKey": key, "Data": base64})
}

fn records(keys: &[&str]) -> Value {
    let records: Vec<_> =
        keys.iter().map(|key| json!({"PartitionKey": key, "Data": "eA=="})).collect();
    json!({"Records": records, "StreamName": "s"})
}

#[tokio::test]
async fn each_fault_of_a_call_has_the_services_name_for_it_in_both_places_and_in_its_own_format() {
    let scene = Scene::start(|start| start).await;
    let good = record("k", "eA==").to_string();
    let put = "Kinesis_20131202.PutRecord";
    for (headers, body, status, name) in [
        (
            vec![("content-type", JSON), ("x-amz-target", put)],
            "{".to_owned(),
            400,
            "SerializationException",
        ),
        (
            vec![("content-type", JSON), ("x-amz-target", put)],
            "{}".to_owned(),
            400,
            "ValidationException",
        ),
        (
            vec![("content-type", CBOR), ("x-amz-target", put)],
            good.clone(),
            400,
            "SerializationException",
        ),
        (
            vec![("content-type", JSON), ("x-amz-target", put)],
            json!({"StreamName": "t", "PartitionKey": "k", "Data": ""}).to_string(),
            400,
            "ResourceNotFoundException",
        ),
        (
            vec![("content-type", JSON), ("x-amz-target", put)],
            json!({"StreamName": "s", "PartitionKey": "k", "Data": "", "DryRun": true}).to_string(),
            400,
            "DryRunOperationException",
        ),
        (
            vec![("content-type", JSON), ("x-amz-target", "Kinesis_20131202.Nothing")],
            good.clone(),
            400,
            "UnknownOperationException",
        ),
        (vec![("content-type", JSON)], good.clone(), 400, "UnknownOperationException"),
        (
            vec![("content-type", JSON), ("x-amz-target", "Kinesis_20131202.DeleteStream")],
            good.clone(),
            400,
            "AccessDeniedException",
        ),
        (
            vec![("content-type", "application/json"), ("x-amz-target", put)],
            good.clone(),
            404,
            "UnknownOperationException",
        ),
        (vec![("x-amz-target", put)], good.clone(), 404, "UnknownOperationException"),
        (
            vec![("content-type", JSON), ("x-amz-target", put), ("origin", "http://evil.example")],
            good.clone(),
            403,
            "AccessDeniedException",
        ),
    ] {
        let told = scene.send(&headers, body.clone()).await;
        assert_eq!((told.status, told.error()), (status, name), "{headers:?} {body}");
        let format = headers.iter().find(|(name, _)| *name == "content-type");
        let format = format.map_or(JSON, |(_, format)| if *format == CBOR { CBOR } else { JSON });
        assert_eq!(told.header("content-type"), format);
    }
    assert!(scene.stored().await.is_empty());
    scene.call("PutRecord", &record("k", "eA==")).await.sequence();
    assert_eq!(scene.stored().await, ["x"]);
    assert_eq!(scene.calls("PutRecord", "ok").await, 1.0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read_and_a_foreign_host_is_not_served() {
    let scene = Scene::start(|start| start).await;
    for (head, status) in [
        (
            format!(
                "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\nx-amz-target: {TARGET}PutRecord\r\ncontent-length: 20000000\r\n\r\n"
            ),
            "413",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nhost: evil.example\r\ncontent-type: {JSON}\r\nx-amz-target: {TARGET}PutRecord\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
            "403",
        ),
        ("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".into(), "405"),
    ] {
        let mut stream = TcpStream::connect(&scene.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.expect("it answers");
        assert_eq!(String::from_utf8_lossy(&begin), format!("HTTP/1.1 {status}"), "{head}");
    }
}

#[tokio::test]
async fn what_was_not_sent_in_time_is_told_to_be_sent_again_and_is_never_stored_afterwards() {
    let scene = Scene::start(|start| start.set("kinesis_api.timeout", "3s")).await;
    scene.faults.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    let began = Instant::now();
    let told = scene.attempt("one", "PutRecord", &record("k", "eA==")).await;
    assert_eq!(told.error(), "ProvisionedThroughputExceededException");
    assert_eq!((told.status, told.header("x-amz-retry-after")), (400, "1000"));
    assert!(began.elapsed() >= Duration::from_secs(3), "it was held");
    // A whole PutRecords call that stored nothing is an error too: no SDK looks into a success.
    let told = scene.call("PutRecords", &records(&["a", "b"])).await;
    assert_eq!(told.error(), "ProvisionedThroughputExceededException");
    scene.faults.set(Plan::default());
    scene.call("PutRecord", &record("k", "eQ==")).await.sequence();
    assert_eq!(scene.stored().await, ["y"], "the others were taken out of the buffer");
    assert_eq!(scene.daemon.metric("dispatchd_events_in_flight").await, 0.0);
    assert_eq!(scene.calls("PutRecord", "throttled").await, 1.0);
    // It was not stored, so the SDK's next attempt is a record like any other.
    scene.attempt("one", "PutRecord", &record("k", "eA==")).await.sequence();
    assert_eq!(scene.stored().await, ["y", "x"]);
}

#[tokio::test]
async fn what_is_in_flight_when_the_time_is_over_may_be_stored_and_a_copy_joins_it() {
    let scene = Scene::start(|start| start.set("kinesis_api.timeout", "3s")).await;
    scene.faults.next(Fault::Delay(Duration::from_secs(4)));
    let told = scene.attempt("one", "PutRecord", &record("k", "eA==")).await;
    assert_eq!((told.status, told.error()), (500, "InternalFailure"));
    let again = scene.attempt("one", "PutRecord", &record("k", "eA==")).await;
    let sequence = again.sequence().to_owned();
    let later = scene.attempt("one", "PutRecord", &record("k", "eA==")).await;
    assert_eq!(later.sequence(), sequence, "and once it is durable it is answered at once");
    assert_eq!(scene.stored().await, ["x"]);
    assert_eq!(scene.daemon.metric("dispatchd_events_deduplicated_total").await, 2.0);
    let other = scene.attempt("one", "PutRecord", &record("k", "eQ==")).await;
    assert_eq!(other.error(), "ValidationException", "an invocation has one record");
    scene.call("PutRecord", &record("k", "eA==")).await.sequence();
    assert_eq!(scene.stored().await, ["x", "x"], "without an id each call is its own");
}

#[tokio::test]
async fn a_call_is_answered_record_by_record_where_some_are_stored() {
    let scene = Scene::start(|start| start.set("kinesis_api.timeout", "5s")).await;
    let throttled = RecordError::Throttled;
    scene.faults.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    scene.faults.next(Fault::FailRecords(vec![1], throttled));
    let told = scene.call("PutRecords", &records(&["a", "b", "c"])).await;
    assert_eq!((told.status, &told.body["FailedRecordCount"]), (200, &json!(1)), "{told:?}");
    // Which one was the second of the request, the shards say.
    let each = told.body["Records"].as_array().expect("one each");
    let (failed, stored): (Vec<_>, Vec<_>) =
        each.iter().partition(|record| record.get("ErrorCode").is_some());
    let code = "ProvisionedThroughputExceededException";
    assert_eq!((failed.len(), &failed[0]["ErrorCode"]), (1, &json!(code)), "{told:?}");
    assert!(failed[0]["ErrorMessage"].is_string() && failed[0].get("SequenceNumber").is_none());
    let is_whole =
        |record: &&Value| record["SequenceNumber"].is_string() && record["ShardId"].is_string();
    assert!(stored.len() == 2 && stored.iter().all(is_whole), "{told:?}");
    assert_eq!(scene.calls("PutRecords", "partial").await, 1.0);

    scene.faults.set(Plan {
        poison: Some(Poison { max_record_bytes: 100, named: false }),
        ..Plan::default()
    });
    let mut call = records(&["a", "b", "c"]);
    call["Records"][1]["Data"] = "eHh4".repeat(100).into();
    let told = scene.call("PutRecords", &call).await;
    assert_eq!(told.body["FailedRecordCount"], 1, "{told:?}");
    assert_eq!(told.body["Records"][1]["ErrorCode"], "InvalidArgumentException", "{told:?}");
    assert_eq!(scene.stored().await.len(), 4);
}

#[tokio::test]
async fn a_full_budget_holds_a_call_as_long_as_its_reply_and_then_asks_to_wait() {
    let scene =
        Scene::start(|start| start.set("kinesis_api.timeout", "1s").set("memory.budget", "4MiB"))
            .await;
    let denied = [("PutRecords".to_owned(), Refusal::access_denied())].into();
    scene.faults.set(Plan { denied, ..Plan::default() });
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(500_000));
    let lines = format!("{}\n", event(1, "k", &large)).repeat(4);
    let mut callers = JoinSet::new();
    for _ in 0..2 {
        let (mut caller, lines) = (scene.daemon.connect().await, lines.clone());
        // As many as have room: the socket takes no more of them then.
        callers
            .spawn(async move { caller.write.write_all(lines.as_bytes()).await.map(|()| caller) });
    }
    eventually("the budget is full", async || {
        (scene.daemon.metric("dispatchd_buffer_bytes").await > 2_500_000.0).then_some(())
    })
    .await;
    let data = "eHh4".repeat(300_000);
    let told = scene.call("PutRecord", &record("k", &data)).await;
    assert_eq!(told.error(), "ProvisionedThroughputExceededException", "{told:?}");
    assert_eq!((told.status, told.header("x-amz-retry-after")), (400, "1000"));
}

#[tokio::test]
async fn what_a_loop_asks_of_the_stream_is_asked_of_the_service_once() {
    let scene = Scene::start(|start| start).await;
    let own = scene.faults.ledger().calls("DescribeStreamSummary");
    let stream = json!({"StreamName": "s"});
    for _ in 0..50 {
        let told = scene.call("DescribeStreamSummary", &stream).await;
        assert_eq!(told.body["StreamDescriptionSummary"]["OpenShardCount"], 1, "{told:?}");
    }
    let asked = scene.faults.ledger().calls("DescribeStreamSummary") - own;
    assert!((1..=2).contains(&asked), "{asked} times for 50 callers, one of them perhaps our own");
    let told = scene.call("ListShards", &stream).await;
    assert_eq!(told.body["Shards"][0]["ShardId"], "shardId-000000000000", "{told:?}");
    let told = scene.call("DescribeStream", &json!({"StreamName": "other"})).await;
    assert_eq!(told.error(), "ResourceNotFoundException");
    let denied = [("DescribeStream".to_owned(), Refusal::access_denied())].into();
    scene.faults.set(Plan { denied, ..Plan::default() });
    let told = scene.call("DescribeStream", &stream).await;
    assert_eq!(told.error(), "AccessDeniedException");
    assert!(told.body["message"].as_str().expect("it says").contains("its own credentials"));
}

#[tokio::test]
async fn a_crowd_of_idle_callers_and_broken_ones_keeps_nobody_out() {
    let scene = Scene::start(|start| start.open_files(2000)).await;
    let mut crowd = Vec::new();
    for number in 0..700 {
        let mut stream = TcpStream::connect(&scene.address).await.expect("it listens");
        let begin: &[u8] = match number % 5 {
            0 => b"",
            1 => b"POST / HTTP/1.1\r\nhost: loc",
            2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            3 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            _ => b"\x16\x03\x01\x02\0\x01\0",
        };
        let _ = stream.write_all(begin).await; // it may have had to make room by then
        crowd.push(stream);
    }
    for number in 0..20 {
        scene.call("PutRecord", &record(&format!("{number}"), "eA==")).await.sequence();
    }
    assert_eq!(scene.stored().await.len(), 20);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nothing_back_and_one_that_stalls_holds_nobody_up() {
    let scene = Scene::start(|start| start).await;
    scene.faults.next(Fault::Delay(Duration::from_secs(1)));
    let body = record("k", "eA==").to_string();
    let head = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\nx-amz-target: \
             {TARGET}PutRecord\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut leaves = TcpStream::connect(&scene.address).await.expect("it listens");
    leaves.write_all((head(body.len()) + &body).as_bytes()).await.expect("it reads");
    eventually("the call is on its way", async || {
        (scene.daemon.metric("dispatchd_events_in_flight").await > 0.0).then_some(())
    })
    .await;
    drop(leaves);
    // Half a body of the largest kind, again and again: each waits for room, none of it is ours.
    let mut stalls = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&scene.address).await.expect("it listens");
        stream.write_all((head(12_000_000) + "{").as_bytes()).await.expect("it reads");
        stalls.push(stream);
    }
    scene.call("PutRecord", &record("other", "eQ==")).await.sequence();
    eventually("both are stored", async || {
        (read_all(&client(&scene.ferro.endpoint()), "s").await.len() == 2).then_some(())
    })
    .await;
    // The service has them before the daemon hears of it.
    eventually("the one whose caller left is counted where it ended", async || {
        (scene.daemon.metric("dispatchd_events_in_flight").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_held_when_the_daemon_stops_is_answered_and_the_daemon_ends_cleanly() {
    let mut scene = Scene::start(|start| start).await;
    scene.faults.next(Fault::Delay(Duration::from_secs(1)));
    let call = async {
        let answer = scene.call("PutRecord", &record("k", "eA==")).await;
        answer.sequence().to_owned()
    };
    let (sequence, ()) = tokio::join!(call, async {
        eventually("the call is on its way", async || {
            (scene.faults.ledger().in_flight() == 1).then_some(())
        })
        .await;
        scene.daemon.signal(Signal::TERM);
    });
    assert!(!sequence.is_empty());
    assert_eq!(scene.daemon.exit_code().await, Some(0));
    assert_eq!(scene.stored().await, ["x"]);
}

#[tokio::test]
async fn where_a_connection_came_in_and_where_it_may_is_told() {
    let scene = Scene::start(|start| start).await;
    let _open = TcpStream::connect(&scene.address).await.expect("it listens");
    eventually("it is let in", async || {
        let open = scene.daemon.metric("dispatchd_connections{input=\"kinesis_api\"}").await;
        (open == 1.0).then_some(())
    })
    .await;
    let status = scene.daemon.status().await;
    assert_eq!(status["loopback"], json!({"kinesis_api": scene.address}), "{status}");
}

#[tokio::test]
async fn a_daemon_that_the_variable_leads_to_itself_does_not_start_and_says_why() {
    // A port that is kept: it is bound, and nobody listens at it yet.
    let kept = TcpSocket::new_v4().expect("the system gives a socket");
    kept.set_reuseaddr(true).expect("a fresh socket takes options");
    kept.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let port = kept.local_addr().expect("it is bound").port();
    let run = |listen: &str| {
        let mut run = DISPATCHD.command();
        run.args(["run", "--stream", "s", "--socket", "/dev/null/d.sock"])
            .args(["--admin-listen", "127.0.0.1:0", "--set"])
            .arg(format!("kinesis_api.listen={listen}"))
            .env("AWS_ENDPOINT_URL_KINESIS", format!("http://localhost:{port}"));
        run
    };
    let output = run(&format!("127.0.0.1:{port}")).output().await.expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("is this daemon's own kinesis_api.listen"), "{told}");
    let output = run("127.0.0.1:0").output().await.expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("/dev/null"), "another port is another server: {told}");
}
