//! A stream that is split and merged under load: nothing is lost, order holds, and the map follows,
//! once a change.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::aws::description;
use testkit::daemon::Daemon;
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, merge, read_all, shards, split};
use testkit::tasks::Tasks;
use testkit::truth::{assert_acks_are_true, assert_key_order, numbered_lines, refs};
use testkit::{client, eventually};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::DISPATCHD;

/// More than can be sent before the test has seen enough and ends the sending.
const EVENTS_MAX: usize = 200_000;
const KEYS: usize = 300;
const SHARDS: &str = "dispatchd_shards";
const REFRESHES: &str = "dispatchd_shard_map_refreshes_total{outcome=\"ok\"}";

/// A plan that answers these calls itself.
fn answering<const N: usize>(answers: [(&str, Refusal); N]) -> Plan {
    Plan {
        denied: answers.map(|(call, answer)| (call.to_owned(), answer)).into(),
        ..Plan::default()
    }
}

async fn wait_for_shards(daemon: &Daemon, count: f64) {
    eventually("the map follows", async || (daemon.metric(SHARDS).await == count).then_some(()))
        .await;
}

#[tokio::test]
async fn a_split_and_a_merge_in_mid_traffic_lose_nothing_and_keep_every_key_in_order() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    server.set(Plan { latency_ms: 20, ..Plan::default() });
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 2).await;
    let daemon = Arc::new(DISPATCHD.daemon(&server.endpoint(), "s").start().await);
    wait_for_shards(&daemon, 2.0).await;
    let (watched, (seen, mut counts), tasks) =
        (Arc::clone(&daemon), mpsc::unbounded_channel(), Tasks::default());
    tasks.spawn(async move {
        while seen.send(watched.metric(SHARDS).await).is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let (seen_enough, caller) =
        daemon.connect().await.send_until_told(numbered_lines(EVENTS_MAX, KEYS));
    let acked = async || daemon.metric("dispatchd_events_acked_total").await;
    eventually("events flow", async || (acked().await > 1_000.0).then_some(())).await;
    assert_eq!(daemon.metric(REFRESHES).await, 1.0, "once at the start");

    let before = shards(&direct, "s").await;
    split(&direct, "s", &before[0]).await;
    wait_for_shards(&daemon, 3.0).await;
    let at = acked().await;
    // Longer than the refresher waits between two calls, under traffic.
    sleep(Duration::from_millis(1_500)).await;
    eventually("it goes on in mid-traffic", async || (acked().await > at + 1_000.0).then_some(()))
        .await;
    assert_eq!(daemon.metric(REFRESHES).await, 2.0, "once for the split");

    let after: Vec<_> = shards(&direct, "s").await.into_iter().filter(|shard| shard.open).collect();
    let mut ring = after.clone();
    ring.sort_by_key(|shard| shard.first);
    merge(&direct, "s", &ring[0], &ring[1]).await;
    wait_for_shards(&daemon, 2.0).await;
    let at = acked().await;
    eventually("it goes on", async || (acked().await > at + 1_000.0).then_some(())).await;
    seen_enough.cancel();
    let (sent, answers) = caller.await.expect("the caller does not panic");
    tasks.abort();
    assert_eq!(
        refs(&answers),
        (0..sent as u64).collect::<Vec<_>>(),
        "every event is answered, once"
    );
    let stored = read_all(&direct, "s").await;
    assert_eq!(assert_acks_are_true(&answers, &stored), 0, "each event is there once");
    assert_key_order(&stored);
    assert_eq!(daemon.metric(REFRESHES).await, 3.0, "once for the merge");
    while let Ok(shards) = counts.try_recv() {
        assert!(shards >= 2.0, "the map is never cleared");
    }
}

#[tokio::test]
async fn a_list_of_no_shards_or_none_at_all_leaves_the_map_as_it_was() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 1).await;
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    wait_for_shards(&daemon, 1.0).await;
    split(&direct, "s", &shards(&direct, "s").await[0]).await;
    for (n, reply) in
        [Refusal::answer(json!({"Shards": []})), Refusal::unavailable()].into_iter().enumerate()
    {
        server.set(Plan { denied: [("ListShards".to_owned(), reply)].into(), ..Plan::default() });
        eventually("it asks again", async || {
            // Every one of these finds the map old.
            daemon.connect().await.pipeline(numbered_lines(10, 10)).await;
            (daemon.metric("dispatchd_shard_map_refreshes_total{outcome=\"error\"}").await
                > n as f64)
                .then_some(())
        })
        .await;
        assert_eq!(daemon.metric(SHARDS).await, 1.0, "the old map serves");
    }
    server.set(Plan::default());
    eventually("the map follows", async || {
        daemon.connect().await.pipeline(numbered_lines(10, 10)).await;
        (daemon.metric(SHARDS).await == 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_shards_may_not_be_listed_everything_else_works() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    let summary = Refusal::answer(description(&json!({"MaxRecordSizeInKiB": 2048})));
    server.set(answering([
        ("ListShards", Refusal::access_denied()),
        ("DescribeStreamSummary", summary),
    ]));
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let answers = daemon.connect().await.pipeline(numbered_lines(1_000, 50)).await;
    assert_eq!(answers.iter().filter(|answer| answer["ok"] == true).count(), 1_000);
    assert_eq!(daemon.told("the stream's shards are not known").await.len(), 1);
    assert_eq!(daemon.metric("dispatchd_shard_map_refreshes_total{outcome=\"error\"}").await, 1.0);
    assert_eq!(daemon.metric(SHARDS).await, 0.0);
    daemon.connect_with_limit(2 << 20).await; // it is known all the same
}

/// A page with one shard, which is the whole ring, and this token.
fn page(token: &str) -> Refusal {
    let shard = json!({
        "ShardId": "shardId-000000000000",
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    });
    Refusal::answer(json!({"Shards": [shard], "NextToken": token}))
}

#[tokio::test]
async fn a_list_that_does_not_end_is_a_call_that_failed_and_an_empty_token_is_an_end() {
    // What could go wrong: pages are asked for and kept for ever, without a word; an empty token is
    // asked for.
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    server.set(answering([("ListShards", page("again"))]));
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let told = async || daemon.logged("the stream's shards are not known").pop();
    let told = eventually("it is told", told).await;
    assert!(
        told["reason"].as_str().is_some_and(|why| why.ends_with("the list does not end")),
        "{told}"
    );
    assert!(
        told["to_do"]
            .as_str()
            .is_some_and(|what| what.starts_with("see what answers at the endpoint")),
        "{told}"
    );
    let fails = async || daemon.status().await["stream"]["list_shards"]["failures"].as_u64();
    eventually("it is tried again", async || fails().await.filter(|failures| *failures > 1)).await;
    let calls = server.ledger().calls("ListShards") as u64;
    let failures = fails().await.expect("a number");
    assert!(
        calls <= 2 * (failures + 1),
        "{calls} calls in {failures} lists: the second page is the end of each"
    );
    assert_eq!(daemon.told("the stream's shards are not known").await.len(), 1, "told once");
    let answers = daemon.connect().await.pipeline(numbered_lines(100, 10)).await;
    assert!(answers.iter().all(|answer| answer["ok"] == true));

    server.set(answering([("ListShards", page(""))]));
    wait_for_shards(&daemon, 1.0).await;
    let status = daemon.status().await;
    assert_eq!(status["stream"]["list_shards"]["failures"], 0);
    assert!(status["stream"]["list_shards"]["last_failed"].is_string(), "{status}");
    assert_eq!(daemon.told("a call for what is known of the stream succeeds again").await.len(), 1);
}

const IGNORES_KEYS: &str = "dispatchd_stream_ignores_keys";

/// How many of these events share a record with others.
async fn sharing(daemon: &Daemon) -> usize {
    let acks = daemon.connect().await.pipeline(numbered_lines(200, 2)).await;
    assert!(acks.iter().all(|ack| ack["ok"] == true));
    acks.iter().filter(|ack| ack["subSequenceNumber"] != Value::Null).count()
}

#[tokio::test]
async fn a_stream_that_begins_to_distribute_records_itself_is_noticed_told_and_not_aggregated_for()
{
    // What could go wrong: aggregates go on, and readers that check hash ranges drop them without a
    // word.
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 1).await;
    let daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("delivery.aggregation", "key").start().await;
    wait_for_shards(&daemon, 1.0).await;
    daemon.connect_with_limit(1 << 20).await;
    assert!(sharing(&daemon).await > 0);
    assert_eq!(daemon.metric(IGNORES_KEYS).await, 0.0);

    let auto = Refusal::answer(description(&json!({"RecordDistributionStrategy": "AUTO"})));
    server.set(answering([("DescribeStreamSummary", auto)]));
    // Records are elsewhere now, as they are where it is AUTO.
    split(&direct, "s", &shards(&direct, "s").await[0]).await;
    eventually("it is noticed by where a record is", async || {
        sharing(&daemon).await;
        (daemon.metric(IGNORES_KEYS).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(sharing(&daemon).await, 0);
    let told =
        daemon.told("the stream ignores partition keys (record distribution strategy AUTO)").await;
    assert_eq!((told.len(), &told[0]["level"]), (1, &"WARN".into()));
    assert_eq!(daemon.status().await["stream"]["ignores_keys"], true);

    let by_key =
        Refusal::answer(description(&json!({"RecordDistributionStrategy": "USER_PARTITION_KEY"})));
    server.set(answering([("DescribeStreamSummary", by_key)]));
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    eventually("a reload asks", async || (daemon.metric(IGNORES_KEYS).await == 0.0).then_some(()))
        .await;
    assert!(sharing(&daemon).await > 0);
    assert_eq!(daemon.told("the stream goes by partition keys again").await.len(), 1);
}
