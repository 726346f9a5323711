//! Memory after a burst, and with the largest records. That it is bounded otherwise,
//! `hostile` and the others say.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use testkit::daemon::{Daemon, IDLE_CPU_MAX, Start, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use testkit::{client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::DISPATCHD;

const MIB: usize = 1 << 20;

/// A quarter of the default: what is held is still many times what an idle daemon's pages vary by,
/// and a debug build sends it in seconds.
const BUDGET: usize = 16 * MIB;

/// What remains of a burst, as `docs/operations.md` has it: tables as large as the burst had keys,
/// and parts of pages that something still lies in. 4 MB have been seen.
const REMAINS_MAX: usize = 6 * MIB;

/// Callers with more than the budget takes, while the stream takes nothing; then it takes all.
/// Gives what was resident when the budget was full.
async fn burst(daemon: &Daemon, server: &FaultServer) -> usize {
    const EVENTS: u64 = 300;
    server.set(Plan { refusals: vec![(1.0, Refusal::access_denied())], ..Plan::default() });
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let data = format!(r#"{{"x":"{}"}}"#, "x".repeat(4096));
        let line = |n| format!("{}\n", event(n, &format!("k{caller}-{n}"), &data));
        let lines: String = (0..EVENTS).map(line).collect();
        callers.spawn(daemon.connect().await.pipeline(lines));
    }
    eventually("the budget is full", async || {
        (daemon.metric("dispatchd_buffer_bytes").await > 0.97 * BUDGET as f64).then_some(())
    })
    .await;
    let full = daemon.resident_bytes();
    server.set(Plan::default());
    assert!(daemon.run_admin(&["reload"]).await.status.success(), "it tries the stream at once");
    for answers in callers.join_all().await {
        assert_eq!(answers.len(), EVENTS as usize);
        assert!(answers.iter().all(|answer: &Value| answer["ok"] == true));
    }
    full
}

#[tokio::test]
async fn memory_goes_back_after_a_burst_though_nothing_more_comes() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("memory.budget", "16MiB").start().await;
    assert_eq!(daemon.connect().await.ask(&event(0, "k", "{}")).await["ok"], true);
    let idle = daemon.resident_bytes();
    let full = burst(&daemon, &server).await;
    println!("{} KiB idle, {} KiB when it is full", idle >> 10, full >> 10);
    // All but the fixed part of every budget is held in events, and most of that is given back.
    assert!(full > idle + BUDGET * 5 / 8, "{} KiB idle, {} KiB full", idle >> 10, full >> 10);
    eventually("its memory goes back", async || {
        (daemon.resident_bytes() < idle + REMAINS_MAX).then_some(())
    })
    .await;
    let cpu = daemon.cpu_time();
    sleep(Duration::from_secs(2)).await; // a paced negative check
    let cpu = daemon.cpu_time() - cpu;
    assert!(cpu <= IDLE_CPU_MAX, "two seconds of silence took {cpu:?} of a core");
    assert!(!daemon.log().contains("mimalloc"), "{}", daemon.log());
}

/// A stream that takes records of 10 MiB and answers after a quarter of a second. The emulators of
/// this process take 1 MiB.
async fn stream_of_10_mib() -> (String, AbortOnDropHandle<()>) {
    async fn answer(headers: HeaderMap, body: Bytes) -> String {
        let target = headers["x-amz-target"].to_str().expect("it is ASCII");
        let answer = match target.rsplit('.').next().expect("an operation") {
            "ListShards" => json!({"Shards": [{
                "ShardId": "shardId-000000000000", "SequenceNumberRange": {"StartingSequenceNumber": "1"},
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
            }]}),
            "PutRecords" => {
                sleep(Duration::from_millis(250)).await; // the service's time
                let stored = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
                let count = memchr::memmem::find_iter(&body, b"\"PartitionKey\"").count(); // data are base64
                json!({"FailedRecordCount": 0, "Records": vec![stored; count]})
            }
            _ => json!({"StreamDescriptionSummary": {
                "StreamName": "s", "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
                "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1.0,
                "EnhancedMonitoring": [], "OpenShardCount": 1, "MaxRecordSizeInKiB": 10 * 1024,
            }}),
        };
        answer.to_string()
    }
    let app = Router::new().route("/", post(answer)).layer(DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move {
        axum::serve(listener, app).await.expect("axum::serve never returns")
    });
    (endpoint, AbortOnDropHandle::new(server))
}

/// The sidecar of `deploy/`, with this budget.
fn sidecar(endpoint: &str, budget: &str) -> Start {
    let start = DISPATCHD
        .daemon(endpoint, "s")
        .set("memory.budget", budget)
        .set("socket.max_connections", 32);
    start.set("batch.max_in_flight", 4).set("delivery.dedupe_ids", 10_000)
}

/// The number of MiB before this text, in what `check` says.
fn mib_before(said: &str, text: &str) -> f64 {
    let (before, _) = said.split_once(text).unwrap_or_else(|| panic!("no {text:?} in {said}"));
    before
        .trim_end()
        .rsplit(' ')
        .next()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or_else(|| panic!("{before}"))
}

/// Sixteen callers send a record of so many bytes each; gives their answers.
async fn sixteen_send(daemon: &Daemon, bytes: usize) -> Vec<Value> {
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let line = format!(
            "{}\n",
            event(caller, &format!("k{caller}"), &format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes)))
        );
        let mut caller = daemon.connect().await;
        callers.spawn(async move {
            let (read, write) = (&mut caller.read, &mut caller.write);
            let mut answer = String::new();
            let answered =
                tokio::join!(write.write_all(line.as_bytes()), read.read_line(&mut answer));
            answered.0.expect("it reads");
            answered.1.expect("it answers"); // sixteen one after the other: the last one waits for long
            serde_json::from_str(&answer).expect("answers are JSON")
        });
    }
    callers.join_all().await
}

/// Waits until the daemon takes so much and no more.
async fn takes(daemon: &Daemon, bytes: usize) {
    eventually("the stream's limit is known", async || {
        let hello = daemon.connect().await.ask(r#"{"op":"hello"}"#).await;
        (hello["maxEventBytes"] == bytes).then_some(())
    })
    .await;
}

/// What could go wrong: the stream's limit is raised, and a sidecar that was small enough is killed
/// with all that it holds.
#[tokio::test]
async fn a_stream_with_a_raised_record_limit_is_served_within_the_sum_and_the_sidecars_limit() {
    const LIMIT: usize = 128 * MIB;
    let (endpoint, _server) = stream_of_10_mib().await;
    let said = sidecar(&endpoint, "16MiB").check().await;
    assert!(
        said.contains("records: up to 8128KiB, if the stream takes them; for 10MiB it takes memory.budget = 20608KiB")
    );
    let raised = mib_before(&said, " MiB in all");
    for (budget, carried, bytes, sum) in
        [("16MiB", 8_128 << 10, 8_000_000, None), ("20608KiB", 10 << 20, 9_000_000, Some(raised))]
    {
        let said = sidecar(&endpoint, budget).check().await;
        let mib = mib_before(&said, " MiB\n");
        assert!(sum.is_none_or(|sum| sum == mib), "{said} and {sum:?} before");
        let daemon = sidecar(&endpoint, budget).start().await;
        takes(&daemon, carried).await;
        let idle = daemon.resident_bytes_max();
        if sum.is_none() {
            for answer in sixteen_send(&daemon, 9_000_000).await {
                assert_eq!(answer["error"]["code"], "EventTooLarge", "{answer}");
                assert!(
                    answer["error"]["message"]
                        .as_str()
                        .is_some_and(|text| text.contains("raise memory.budget"))
                );
            }
            let warned =
                daemon.logged("the stream takes larger records than this daemon's memory carries");
            assert_eq!(warned.len(), 1, "{}", daemon.log());
            assert_eq!(
                (&warned[0]["record_bytes_max"], &warned[0]["record_bytes_carried"]),
                (&(10 * MIB).into(), &carried.into())
            );
            assert!(
                warned[0]["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("set memory.budget to at least 20608KiB"))
            );
            assert_eq!(daemon.status().await["stream"]["record_bytes_carried"], carried);
        }
        let answers = sixteen_send(&daemon, bytes).await;
        assert_eq!(
            answers.iter().filter(|answer| answer["ok"] == true).count(),
            16,
            "nothing is lost: {answers:?}"
        );
        let most = daemon.resident_bytes_max();
        println!(
            "{budget}: {} MiB idle, at most {} MiB, the sum is {mib} MiB",
            idle / MIB,
            most / MIB
        );
        assert!(
            most < LIMIT && most - idle < (mib * MIB as f64) as usize,
            "{} MiB, {} idle",
            most / MIB,
            idle / MIB
        );
    }
}
