//! Everything at once on the way out: a real `dispatchd forward` with two targets, killed and
//! stopped and started again, while the stream is split and merged, reads are throttled, iterators
//! expire, and the targets fail in every way they know, dealt at random from a deck.
//!
//! ```text
//! writer → ferrokinesis → FaultServer → dispatchd forward → app `blocks`, app `gives-up`
//! ```
//!
//! `DISPATCHD_CHAOS_SEED=7 cargo test --test consumers chaos` deals the cards of seed 7 again. A
//! seed fixes what is done and when, not how processes and sockets fall: a failing seed is where to
//! look, not a replay.
//!
//! # What is proven
//! - **Nothing is skipped**: every event gets to the target that blocks; to the one that gives up,
//!   or into its dead letters, where every poisoned event is in the end.
//! - **Order**: the first time that a target handles an event of a key, it has handled all before
//!   it, or they were given up; across splits and merges and lives of the process, with the shard
//!   in two strands.
//! - **One target that fails stops no other.** The deck has long ones.
//! - **Nothing comes twice after a clean stop**: what was checkpointed is not sent again.

mod app;
mod judge;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, merge, shards, split};
use testkit::{client, eventually};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::DISPATCHD;
use app::{App, Mood};

/// How long a card lies on the table.
const CARD: Duration = Duration::from_millis(700);
/// Between two rounds of events, one of each key.
const ROUND: Duration = Duration::from_millis(40);
/// Keys, so that every shard has some, and both of its strands.
pub(crate) const KEYS: usize = 12;
/// What a request may take: the targets that hang outlast it.
const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Kill,
    Stop,
    Split,
    Merge,
    IteratorsExpire,
    ReadsAreThrottled,
    IteratorsFail,
    /// Of the target that blocks.
    Blocks(Mood),
    /// Of the target that gives up.
    GivesUp(Mood),
}

fn deck(rng: &mut StdRng) -> Vec<Card> {
    let mut cards = vec![Card::Kill, Card::Kill, Card::Kill, Card::Stop, Card::Split, Card::Split];
    cards.extend([Card::Merge, Card::IteratorsExpire, Card::ReadsAreThrottled]);
    cards.push(Card::IteratorsFail);
    cards.extend(Mood::ALL.map(Card::Blocks));
    cards.extend(Mood::ALL.map(Card::GivesUp));
    cards.shuffle(rng);
    cards
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_gets_to_its_targets_in_order_whatever_fails_at_the_same_time() {
    let seed = std::env::var("DISPATCHD_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("DISPATCHD_CHAOS_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut scene = Scene::begin(seed).await;
    let writer = Writer::begin(scene.client.clone());
    for card in deck(&mut rng) {
        scene.play(card, &mut rng).await;
    }
    let written = writer.end().await;
    scene.heals_and_delivers(written).await;
    scene.stops(0).await;
    judge::judge(&scene.blocks, None, written);
    judge::judge(&scene.gives_up, Some(&scene.dead_letters()), written);
    scene.sends_nothing_again(written).await;
}

/// Everything that a run is made of.
struct Scene {
    client: Client,
    server: FaultServer,
    blocks: Arc<App>,
    gives_up: Arc<App>,
    dir: tempfile::TempDir,
    forwarder: Child,
    /// Bytes of the log that the lives before this one wrote.
    life_begins: usize,
    _ferro: Ferro,
}

impl Scene {
    async fn begin(seed: u64) -> Self {
        let ferro = Ferro::start(false).await;
        let client = client(&ferro.endpoint());
        create_stream(&client, "s", 2).await;
        let server = FaultServer::start(&ferro.endpoint(), seed).await;
        let (blocks, gives_up) = (App::start(seed, 5).await, App::start(!seed, 10).await);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let configuration = configuration(dir.path(), &blocks.url, &gives_up.url);
        std::fs::write(dir.path().join("forward.toml"), configuration).expect("it is ours");
        let forwarder = forward(dir.path(), &server.endpoint());
        Self { client, server, blocks, gives_up, dir, forwarder, life_begins: 0, _ferro: ferro }
    }

    async fn play(&mut self, card: Card, rng: &mut StdRng) {
        println!("{card:?}");
        let expired = Refusal::new(400, "ExpiredIteratorException", "Iterator expired.");
        match card {
            Card::Kill => {
                self.forwarder.kill().await.expect("it is ours");
                self.begin_again();
                sleep(CARD).await;
            }
            Card::Stop => {
                let code = self.stop().await;
                let is_right = matches!(code, Some(0 | 75));
                assert!(is_right, "it was stopped: {code:?}\n{}", self.log());
                self.begin_again();
                sleep(CARD).await;
            }
            Card::Split => {
                let open = self.open().await;
                split(&self.client, "s", &open[rng.random_range(0..open.len())]).await;
            }
            Card::Merge => {
                let mut open = self.open().await;
                open.sort_by_key(|shard| shard.first);
                if let [one, next, ..] = &open[..] {
                    merge(&self.client, "s", one, next).await;
                }
            }
            Card::IteratorsExpire => self.denies("GetRecords", expired).await,
            Card::ReadsAreThrottled => self.denies("GetRecords", Refusal::throttled()).await,
            Card::IteratorsFail => self.denies("GetShardIterator", Refusal::internal()).await,
            Card::Blocks(mood) => self.blocks.is_for_a_while(mood, CARD).await,
            Card::GivesUp(mood) => self.gives_up.is_for_a_while(mood, CARD).await,
        }
    }

    /// The next life, once the last one has ended.
    fn begin_again(&mut self) {
        self.life_begins = self.log().len();
        self.forwarder = forward(self.dir.path(), &self.server.endpoint());
    }

    async fn open(&self) -> Vec<testkit::stream::ShardRange> {
        let mut all = shards(&self.client, "s").await;
        all.retain(|shard| shard.open);
        all
    }

    async fn denies(&self, operation: &str, refusal: Refusal) {
        let denied = [(operation.to_owned(), refusal)].into();
        self.server.set(Plan { denied, ..Plan::default() });
        sleep(CARD).await;
        self.server.set(Plan::default());
    }

    /// Stops it in order, which it cannot before it has caught the signal: so it is ready first.
    async fn stop(&mut self) -> Option<i32> {
        eventually("it is ready", async || {
            self.log().get(self.life_begins..)?.contains("\"message\":\"ready\"").then_some(())
        })
        .await;
        let pid = self.forwarder.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        kill_process(pid.expect("it runs"), Signal::TERM).expect("it is ours");
        let ended = tokio::time::timeout(testkit::DEADLINE, self.forwarder.wait()).await;
        ended.expect("it ends in time").expect("it is ours").code()
    }

    /// Stops it, and it must say this.
    async fn stops(&mut self, code: i32) {
        assert_eq!(self.stop().await, Some(code), "{}", self.log());
    }

    /// Waits until every one of these rounds is handled, or given up where that is allowed.
    async fn heals_and_delivers(&self, rounds: u64) {
        eventually("everything gets to the targets", async || {
            let dead = self.dead_letters();
            let is_there = self.blocks.lacks(rounds, &[]).is_none()
                && self.gives_up.lacks(rounds, &dead).is_none();
            is_there.then_some(())
        })
        .await;
    }

    /// Starts it again, and writes a round that both must get, and nothing else.
    async fn sends_nothing_again(&mut self, written: u64) {
        let before = [self.blocks.handled().len(), self.gives_up.handled().len()];
        self.begin_again();
        put_round(&self.client, written).await;
        self.heals_and_delivers(written + 1).await;
        for (app, before) in [&self.blocks, &self.gives_up].into_iter().zip(before) {
            let again: Vec<_> = app.handled()[before..].to_vec();
            assert!(again.iter().all(|event| event.round == written), "sent again: {again:?}");
        }
        self.stops(0).await;
    }

    /// The events that are in the dead letters.
    fn dead_letters(&self) -> Vec<app::Event> {
        judge::dead_letters(&self.dir.path().join("dead.ndjson"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let begins = log.len().saturating_sub(20_000);
            println!("{}", log.get(begins..).unwrap_or(&log));
        }
    }
}

fn configuration(dir: &Path, blocks: &str, gives_up: &str) -> String {
    let (dir, timeout) = (dir.display(), TIMEOUT.as_secs());
    let target = |name: &str, url: &str, more: &str| {
        format!(
            "[[forward.target]]\nname = \"{name}\"\nurl = \"{url}\"\nformat = \"lambda\"\n\
             from = \"trim-horizon\"\nbatch_size = 7\nparallelization = 2\nmax_in_flight = 8\n\
             timeout = \"{timeout}s\"\n{more}\n"
        )
    };
    let dead = format!(
        "bisect = true\non_failure = \"dead-letter\"\nmax_retries = 2\n\
         dead_letter = \"file:{dir}/dead.ndjson\""
    );
    format!(
        "[stream]\nname = \"s\"\n[admin]\nlisten = \"off\"\nsocket = \"off\"\n\
         [forward]\ncheckpoint = \"file:{dir}/checkpoints\"\npoll = \"200ms\"\n{}{}",
        target("blocks", blocks, ""),
        target("gives-up", gives_up, &dead)
    )
}

/// A forwarder whose log goes behind that of the one before.
fn forward(dir: &Path, endpoint: &str) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("it is ours");
    DISPATCHD
        .command()
        .args(["forward", "--config"])
        .arg(dir.join("forward.toml"))
        .env("AWS_ENDPOINT_URL_KINESIS", endpoint)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}

/// Writes rounds of events until it is told to end.
struct Writer {
    end: watch::Sender<bool>,
    task: JoinHandle<u64>,
}

impl Writer {
    fn begin(client: Client) -> Self {
        let (end, ended) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut round = 0;
            while !*ended.borrow() {
                put_round(&client, round).await;
                round += 1;
                sleep(ROUND).await;
            }
            round
        });
        Self { end, task }
    }

    /// How many rounds it wrote.
    async fn end(self) -> u64 {
        self.end.send_replace(true);
        self.task.await.expect("it does not panic")
    }
}

/// One event of each key. What is refused, while the stream is changed, is put again.
async fn put_round(client: &Client, round: u64) {
    let mut open: Vec<PutRecordsRequestEntry> = (0..KEYS).map(|key| event(round, key)).collect();
    while !open.is_empty() {
        let put = client.put_records().stream_name("s").set_records(Some(open.clone()));
        let Ok(put) = put.send().await else { continue };
        let mut verdicts = put.records().iter();
        open.retain(|_| verdicts.next().is_some_and(|verdict| verdict.error_code().is_some()));
    }
}

fn event(round: u64, key: usize) -> PutRecordsRequestEntry {
    entry(&format!("key-{key}"), serde_json::json!({"round": round, "key": key}).to_string())
}
