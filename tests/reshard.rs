//! A stream that is split and merged under load: nothing is lost, order holds, and the map follows, once a change.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::daemon::{Daemon, Start};
use support::fault::FaultServer;
use support::fault::plan::{Plan, Refusal};
use support::kinesis::Ferro;
use support::stream::{create_stream, merge, read_all, shards, split};
use support::tasks::Tasks;
use support::truth::{assert_acks_are_true, assert_key_order, numbered_lines, refs};
use support::{client, eventually};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// More than can be sent before the test has seen enough and ends the sending.
const EVENTS_MAX: usize = 200_000;
const KEYS: usize = 300;
const SHARDS: &str = "dispatchd_shards";
const REFRESHES: &str = "dispatchd_shard_map_refreshes_total{outcome=\"ok\"}";

async fn wait_for_shards(daemon: &Daemon, count: f64) {
    eventually("the map follows", async || (daemon.metric(SHARDS).await == count).then_some(())).await;
}

#[tokio::test]
async fn a_split_and_a_merge_in_mid_traffic_lose_nothing_and_keep_every_key_in_order() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    server.set(Plan { latency_ms: 20, ..Plan::default() });
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 2).await;
    let daemon = Arc::new(Start::new(&server.endpoint(), "s").start().await);
    wait_for_shards(&daemon, 2.0).await;
    let (watched, (seen, mut counts), tasks) = (Arc::clone(&daemon), mpsc::unbounded_channel(), Tasks::default());
    tasks.spawn(async move {
        while seen.send(watched.metric(SHARDS).await).is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let (seen_enough, caller) = daemon.connect().await.send_until_told(numbered_lines(EVENTS_MAX, KEYS));
    let acked = async || daemon.metric("dispatchd_events_acked_total").await;
    eventually("events flow", async || (acked().await > 1_000.0).then_some(())).await;
    assert_eq!(daemon.metric(REFRESHES).await, 1.0, "once at the start");

    let before = shards(&direct, "s").await;
    split(&direct, "s", &before[0]).await;
    wait_for_shards(&daemon, 3.0).await;
    let at = acked().await;
    // Longer than the refresher waits between two calls, under traffic.
    sleep(Duration::from_millis(1_500)).await;
    assert!(acked().await > at + 1_000.0, "it went on in mid-traffic");
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
    assert_eq!(refs(&answers), (0..sent as u64).collect::<Vec<_>>(), "every event is answered, once");
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
    let daemon = Start::new(&server.endpoint(), "s").start().await;
    wait_for_shards(&daemon, 1.0).await;
    split(&direct, "s", &shards(&direct, "s").await[0]).await;
    let nothing = Refusal { status: 200, code: None, message: "{\"Shards\":[]}".into() };
    for (n, reply) in [nothing, Refusal::unavailable()].into_iter().enumerate() {
        server.set(Plan { denied: [("ListShards".to_owned(), reply)].into(), ..Plan::default() });
        eventually("it asks again", async || {
            // Every one of these finds the map old.
            daemon.connect().await.pipeline(numbered_lines(10, 10)).await;
            (daemon.metric("dispatchd_shard_map_refreshes_total{outcome=\"error\"}").await > n as f64).then_some(())
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
    let summary = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s",
        "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1.0,"EnhancedMonitoring":[],
        "OpenShardCount":2,"MaxRecordSizeInKiB":2048}}"#;
    let summary = Refusal { status: 200, code: None, message: summary.into() };
    let denied = [("ListShards".to_owned(), Refusal::access_denied()), ("DescribeStreamSummary".to_owned(), summary)];
    server.set(Plan { denied: denied.into(), ..Plan::default() });
    let daemon = Start::new(&server.endpoint(), "s").start().await;
    let answers = daemon.connect().await.pipeline(numbered_lines(1_000, 50)).await;
    assert_eq!(answers.iter().filter(|answer| answer["ok"] == true).count(), 1_000);
    assert_eq!(daemon.logged("the stream's shards are not known").len(), 1);
    assert_eq!(daemon.metric("dispatchd_shard_map_refreshes_total{outcome=\"error\"}").await, 1.0);
    assert_eq!(daemon.metric(SHARDS).await, 0.0);
    daemon.connect_with_limit(2 << 20).await; // it is known all the same
}
