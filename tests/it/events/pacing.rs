//! A shard with too much to do, under Kinesis' real limits (1,000 records a second): it is kept
//! full, few of its records are refused, its neighbours do not notice, and daemons that share it
//! get equal parts.
//!
//! `crates/producer/tests/sim` holds the same bars in virtual time. Here a machine that is busy
//! with other things is made allowance for, by the time that the kernel says it kept from the
//! threads that are measured: the daemons' and those of the test's own runtime, in which the
//! emulator runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::client;
use testkit::daemon::{Caller, Daemon};
use testkit::kinesis::Ferro;
use testkit::stopwatch::Stopwatch;
use testkit::stream::create_stream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::runtime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::DISPATCHD;

const SHARD_RECORDS_PER_SECOND: f64 = 1000.0;
/// Until the pace has found the limit.
const SETTLES: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(10);

/// Each test floods a shard as fast as this machine can: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The start of a quarter of the hash ring: one of four shards.
fn quarter(shard: u32) -> u128 {
    u128::from(shard) << 126
}

fn line(n: u64, shard: u32, keys: u64) -> String {
    let (key, hash) = (n % keys, quarter(shard));
    format!(
        "{{\"ref\":{n},\"type\":\"t\",\"data\":{{}},\"options\":{{\"partitionKey\":\"{shard}-{key}\",\"explicitHashKey\":\"{hash}\"}}}}\n"
    )
}

/// Sends to one shard as much as the daemon takes, and counts the acks.
async fn flood(daemon: &Daemon, shard: u32, tasks: &mut JoinSet<()>) -> Arc<AtomicU64> {
    let acked = Arc::new(AtomicU64::new(0));
    let Caller { mut read, mut write } = daemon.connect().await;
    tasks.spawn(async move {
        for n in 0.. {
            write.write_all(line(n, shard, 2_000).as_bytes()).await.expect("the daemon lives");
        }
    });
    let count = Arc::clone(&acked);
    tasks.spawn(async move {
        let mut answer = String::new();
        while read.read_line(&mut answer).await.expect("the daemon lives") > 0 {
            assert!(answer.contains("\"ok\":true"), "{answer}");
            count.fetch_add(1, Ordering::Relaxed);
            answer.clear();
        }
    });
    acked
}

/// Sends 100 events a second to each of three shards, and gives the latencies from write to ack in
/// the order of the writes.
async fn paced_latencies(daemon: &Daemon, time: Duration) -> Vec<Duration> {
    let Caller { mut read, mut write } = daemon.connect().await;
    let began = Instant::now();
    let reading = tokio::spawn(async move {
        let (mut answer, mut answered) = (String::new(), Vec::new());
        while read.read_line(&mut answer).await.expect("the daemon lives") > 0 {
            let reference = serde_json::from_str::<Value>(&answer).expect("JSON")["ref"]
                .as_u64()
                .expect("ours");
            answered.push((reference, Instant::now()));
            answer.clear();
        }
        answered
    });
    let mut sent = Vec::new();
    let mut every = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < time {
        every.tick().await;
        for shard in 1..4 {
            let n = sent.len() as u64;
            sent.push(Instant::now());
            write.write_all(line(n, shard, 1_000).as_bytes()).await.expect("the daemon lives");
        }
    }
    write.shutdown().await.expect("the daemon lives");
    let mut answered = reading.await.expect("reading does not panic");
    assert_eq!(answered.len(), sent.len());
    answered.sort_unstable();
    answered.into_iter().map(|(n, at)| at - sent[n as usize]).collect()
}

/// The 99th percentile of a usual second: the median over the seconds, so that one in which the
/// machine had something else to do does not decide.
fn p99(latencies: &[Duration]) -> Duration {
    let mut seconds: Vec<_> = latencies
        .chunks_exact(300)
        .map(|second| {
            let mut second = second.to_vec();
            second.sort_unstable();
            second[second.len() * 99 / 100]
        })
        .collect();
    seconds.sort_unstable();
    seconds[seconds.len() / 2]
}

/// Runs a test beside two threads of this name, so that they can be told from its neighbours'.
/// Linux keeps 15 letters of it.
fn beside_threads_named(name: &str, test: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("threads can be started");
    runtime.block_on(test);
}

async fn daemon(ferro: &Ferro) -> Daemon {
    DISPATCHD.daemon(&ferro.endpoint(), "s").start().await
}

#[test]
fn a_hot_shard_is_kept_full_and_its_neighbours_do_not_notice() {
    beside_threads_named("hot-shard", hot_shard());
}

async fn hot_shard() {
    let _alone = ALONE.lock().await;
    let ferro = Ferro::start(true).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    let daemon = daemon(&ferro).await;
    let alone = paced_latencies(&daemon, SETTLES).await;
    let mut tasks = JoinSet::new();
    let hot = flood(&daemon, 0, &mut tasks).await;
    tokio::time::sleep(SETTLES).await;
    let throttled = async || daemon.metric("dispatchd_records_total{outcome=\"throttled\"}").await;
    let (hot_before, throttled_before, began) =
        (hot.load(Ordering::Relaxed), throttled().await, Instant::now());
    let mut watch = Stopwatch::with_threads_named(&[&daemon], "hot-shard");
    let beside = paced_latencies(&daemon, MEASURED).await;
    let kept = watch.share_kept();
    let stored = (hot.load(Ordering::Relaxed) - hot_before) as f64;
    let used = stored / (SHARD_RECORDS_PER_SECOND * began.elapsed().as_secs_f64());
    let refused = throttled().await - throttled_before;
    let refused = refused / (refused + stored);
    println!(
        "the hot shard is used to {used:.3}, {refused:.3} of its records are refused; p99 of the others alone {:?}, beside it {:?}; the machine kept us waiting for {kept:.3} of the time",
        p99(&alone),
        p99(&beside)
    );
    assert!(used > 0.95 - kept, "the hot shard is used to {used:.3} of its limit");
    assert!(refused < 0.10 + kept, "{refused:.3} of the records sent to it are refused");
    // Alone they are some fifteen milliseconds. Who waits for the hot shard waits for its window:
    // four seconds; a machine that keeps us waiting for nearly all of the time leaves as much.
    assert!(
        p99(&beside)
            < p99(&alone).mul_f64(1.5)
                + Duration::from_millis(10)
                + Duration::from_secs(4).mul_f64(kept),
        "{:?} beside, {:?} alone",
        p99(&beside),
        p99(&alone)
    );
}

#[test]
fn two_daemons_share_a_shard_fairly() {
    beside_threads_named("shared-shard", shared_shard());
}

async fn shared_shard() {
    let _alone = ALONE.lock().await;
    let ferro = Ferro::start(true).await;
    create_stream(&client(&ferro.endpoint()), "s", 4).await;
    let mut tasks = JoinSet::new();
    let first = daemon(&ferro).await;
    let a = flood(&first, 0, &mut tasks).await;
    tokio::time::sleep(SETTLES).await; // the first one has the shard for itself
    let second = daemon(&ferro).await;
    let b = flood(&second, 0, &mut tasks).await;
    tokio::time::sleep(2 * SETTLES).await;
    let mut watch = Stopwatch::with_threads_named(&[&first, &second], "shared-shard");
    let (a_before, b_before) = (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed));
    tokio::time::sleep(MEASURED).await;
    let (a, b) = (a.load(Ordering::Relaxed) - a_before, b.load(Ordering::Relaxed) - b_before);
    let (part, kept) = (a as f64 / (a + b) as f64, watch.share_kept());
    println!(
        "the first daemon has {part:.3} of the shard, together they use {:.3} of it; the machine kept us waiting for {kept:.3} of the time",
        (a + b) as f64 / (SHARD_RECORDS_PER_SECOND * MEASURED.as_secs_f64())
    );
    assert!(
        part > 0.35 - kept / 2.0 && part < 0.65 + kept / 2.0,
        "the first daemon has {part:.3} of the shard"
    );
}
