//! The director: owns the daemon and everything it stands on, plays the cards, and reads the
//! daemon's books all the while.
//!
//! Judges only what can be judged on the spot: books, memory, exit codes. Stops no caller; they
//! stop by themselves once the curtain has fallen and everything is acked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::DISPATCHD;
use crate::books::Books;
use crate::cards::Card;
use crate::scene::Scene;
use crate::{ATTEMPT_TIMEOUT, SHORT_TIMEOUT};
use testkit::daemon::{Daemon, Start};
use testkit::fault::FaultServer;
use testkit::fault::plan::{CallerRule, Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{ShardRange, create_stream, merge, shards, split};
use testkit::tcp::{TcpProxy, Weather};
use testkit::tls::Certificate;
use testkit::{DEADLINE, client};

const SCRAPE_EVERY: Duration = Duration::from_millis(200);
/// Open shards are kept between these, so that there is always one to split and two to merge.
const OPEN_SHARDS: std::ops::Range<usize> = 3..8;

/// What the stream says of its records' size, in turn and by chance: as much as the emulator takes,
/// less, and more.
const LIMITS_KIB: [usize; 3] = [1024, 256, 10 * 1024];

/// One daemon, from start to end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Whether its delivery.timeout is one that events may meet.
    pub is_short: bool,
    pub killed: bool,
    /// By its books, at the last scrape.
    pub accepted: f64,
    pub timed_out: f64,
    pub waited_s: f64,
    pub idle_bytes: usize,
    pub most_bytes: usize,
}

pub(crate) struct Director {
    _ferro: Ferro,
    _certificate: Certificate,
    pub client: Client,
    pub server: FaultServer,
    pub network: TcpProxy,
    pub scene: Arc<Scene>,
    pub lives: Vec<Life>,
    /// When the network may have lost or delayed something, in the ledger's time.
    pub trouble: Vec<(Duration, Duration)>,
    pub played: BTreeMap<Card, usize>,
    pub scrapes: usize,
    /// The smallest that the stream ever took, in bytes.
    pub least_limit_bytes: usize,
    /// What every plan has: who is let in, and the limit.
    standing: Plan,
    /// Credentials that were valid one after the other.
    keys: usize,
    start: Start,
    daemon: Daemon,
    books: Books,
    dir: tempfile::TempDir,
    rng: StdRng,
    deck: Vec<Card>,
}

impl Director {
    pub(crate) async fn start(seed: u64) -> Director {
        let ferro = Ferro::start(false).await;
        let client = client(&ferro.endpoint());
        create_stream(&client, "s", 4).await;
        let certificate = Certificate::of(["127.0.0.1"]);
        let server = FaultServer::start_tls(&ferro.endpoint(), seed, &certificate).await;
        let network = TcpProxy::start(&server.endpoint(), seed);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("credentials");
        // Bounds small enough to be met: memory is to be a sum, not a matter of a short run.
        let start = DISPATCHD
            .daemon(&network.endpoint(), "s")
            .trust(&certificate)
            .without_env("AWS_ACCESS_KEY_ID")
            .without_env("AWS_SECRET_ACCESS_KEY")
            .env("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().expect("it is UTF-8"))
            .set("kinesis.attempt_timeout", format!("{}ms", ATTEMPT_TIMEOUT.as_millis()))
            .set("delivery.backoff_max", "500ms")
            .set("batch.max_records", 100)
            .set("batch.max_in_flight", 8)
            .set("socket.max_connections", 32)
            .set("memory.budget", "4MiB")
            .set("shutdown.timeout", "6s");
        let (rule, limit_kib) = (issue_key(dir.path(), 0, Refusal::unknown_key()), LIMITS_KIB[0]);
        let standing =
            Plan { caller: Some(rule), record_limit_kib: Some(limit_kib), ..Plan::default() };
        server.set(standing.clone());
        let scene = Arc::new(Scene::new(dir.path().join("d.sock"), server.ledger()));
        let (daemon, life) = begin(&start, dir.path(), false).await;
        Director {
            _ferro: ferro,
            _certificate: certificate,
            client,
            server,
            network,
            scene,
            lives: vec![life],
            trouble: Vec::new(),
            played: BTreeMap::new(),
            scrapes: 0,
            least_limit_bytes: limit_kib * 1024,
            standing,
            keys: 1,
            start,
            daemon,
            books: Books::default(),
            dir,
            rng: StdRng::seed_from_u64(seed),
            deck: Vec::new(),
        }
    }

    /// The most that the configuration says the daemon takes, in bytes.
    pub(crate) async fn memory_sum(&self) -> usize {
        self.start.clone().memory_sum().await
    }

    /// Plays for so long, and at least one whole deck.
    pub(crate) async fn play(&mut self, length: Duration) {
        let began = Instant::now();
        while began.elapsed() < length || self.played.len() < Card::ALL.len() {
            let count = if self.rng.random_bool(0.4) { 2 } else { 1 };
            let cards: Vec<Card> = (0..count).map(|_| self.deal()).collect();
            self.turn(&cards).await;
            assert!(
                began.elapsed() < length + Duration::from_secs(180),
                "the deck is not played to its end"
            );
        }
    }

    fn deal(&mut self) -> Card {
        if self.deck.is_empty() {
            self.deck = Card::deck(&mut self.rng);
        }
        let card = self.deck.pop().expect("a deck is not empty");
        *self.played.entry(card).or_default() += 1;
        card
    }

    async fn turn(&mut self, cards: &[Card]) {
        println!("{:>6.2} s  {cards:?}", self.scene.now().as_secs_f64());
        if cards.contains(&Card::Rotated) {
            self.rotate();
        }
        if cards.contains(&Card::LimitMoved) {
            self.move_limit();
        }
        // Between the great faults there are small ones, or none.
        let mut plan = Plan { latency_ms: 2, jitter_ms: 8, ..self.standing.clone() };
        if self.rng.random_bool(0.5) {
            plan = Plan { throttled_ratio: 0.02, internal_ratio: 0.01, ..plan };
        }
        let calm = plan.clone();
        let (mut weather, mut length) = (Weather::default(), Duration::ZERO);
        for card in cards {
            card.darken(cards.len() == 1, &mut plan, &mut self.rng);
            card.cloud(&mut weather, &mut self.rng);
            length = length.max(card.length(&mut self.rng));
        }
        let began = self.scene.now();
        self.server.set(plan);
        self.network.set(weather);
        if cards.contains(&Card::LimitMoved) && self.rng.random_bool(0.5) {
            self.daemon.signal(Signal::HUP); // it asks at once, and not in some minutes
        }
        self.pass(length / 2).await;
        for card in cards {
            match card {
                Card::ResetNow => self.network.reset(),
                Card::Silent => self.network.silence(),
                Card::Split => self.split().await,
                Card::Merge => self.merge().await,
                Card::Terminated => self.terminate().await,
                Card::Killed => self.kill().await,
                _ => {}
            }
        }
        self.pass(length / 2).await;
        self.server.set(calm);
        self.network.set(Weather::default());
        if cards.iter().any(|card| card.is_network()) {
            self.trouble.push((began, self.scene.now()));
        }
        if cards.contains(&Card::Rotated) {
            self.is_let_in_again().await;
        }
    }

    /// No more faults; what hangs is let go.
    pub(crate) fn heal(&self) {
        self.server.set(self.standing.clone());
        self.network.set(Weather::default());
        self.server.release();
    }

    /// Lets time pass, and reads the books meanwhile.
    pub(crate) async fn pass(&mut self, length: Duration) {
        let until = Instant::now() + length;
        loop {
            self.scrape().await;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(SCRAPE_EVERY)).await;
        }
    }

    /// The credentials that the daemon has are refused from now on; the file has new ones.
    fn rotate(&mut self) {
        let refusal = if self.rng.random_bool(0.5) {
            Refusal::unknown_key()
        } else {
            Refusal::expired_token()
        };
        self.standing.caller = Some(issue_key(self.dir.path(), self.keys, refusal));
        self.keys += 1;
    }

    /// Waits for a record: a daemon that keeps its old credentials stores none until it is
    /// restarted.
    async fn is_let_in_again(&mut self) {
        let (stored, asked) = (self.server.ledger().records_count(), Instant::now());
        while self.server.ledger().records_count() == stored {
            assert!(
                asked.elapsed() < DEADLINE,
                "the new credentials are not used:\n{}",
                self.daemon.log()
            );
            self.pass(SCRAPE_EVERY).await;
        }
    }

    fn move_limit(&mut self) {
        let others: Vec<_> = LIMITS_KIB
            .into_iter()
            .filter(|kib| self.standing.record_limit_kib != Some(*kib))
            .collect();
        let kib = others[self.rng.random_range(0..others.len())];
        self.standing.record_limit_kib = Some(kib);
        self.least_limit_bytes = self.least_limit_bytes.min(kib * 1024);
    }

    /// False where the daemon is gone.
    async fn scrape(&mut self) -> bool {
        let life = self.lives.len() - 1;
        let heard = self.scene.acks_heard(life);
        let page = self.daemon.try_get("/metrics").await;
        let Ok((200, text)) = page else {
            assert!(
                self.scene.is_ending(life),
                "nobody stops the daemon, and it gives no metrics: {page:?}"
            );
            return false;
        };
        self.books.read(&text, heard);
        let life = self.lives.last_mut().expect("there is a life");
        life.most_bytes = life.most_bytes.max(self.daemon.try_resident_bytes().unwrap_or(0));
        life.accepted = self.books.value("dispatchd_events_accepted_total");
        life.timed_out =
            self.books.value("dispatchd_events_refused_total{code=\"DeliveryTimeout\"}");
        life.waited_s = self.books.value("dispatchd_backpressure_seconds_total");
        true
    }

    async fn split(&mut self) {
        let open: Vec<ShardRange> =
            shards(&self.client, "s").await.into_iter().filter(|shard| shard.open).collect();
        let wide = open
            .iter()
            .max_by_key(|shard| shard.last - shard.first)
            .expect("a stream has an open shard");
        split(&self.client, "s", wide).await;
        if open.len() + 1 >= OPEN_SHARDS.end {
            self.merge().await;
        }
    }

    async fn merge(&mut self) {
        let mut open: Vec<ShardRange> =
            shards(&self.client, "s").await.into_iter().filter(|s| s.open).collect();
        open.sort_by_key(|shard| shard.first);
        let lower = self.rng.random_range(0..open.len() - 1);
        merge(&self.client, "s", &open[lower], &open[lower + 1]).await;
        if open.len() - 1 <= OPEN_SHARDS.start {
            Box::pin(self.split()).await;
        }
    }

    async fn terminate(&mut self) {
        self.scene.end_life();
        self.daemon.signal(Signal::TERM);
        let code = self.ended().await;
        assert!(
            matches!(code, Some(0 | 75)),
            "a drain ends in order, not in {code:?}:\n{}",
            self.daemon.log()
        );
        let life = self.lives.len() - 1;
        let acked = self.daemon.logged("stopped")[0]["acked"]
            .as_u64()
            .expect("the last line says how many");
        let heard = self.scene.acks_heard(life);
        assert!(acked >= heard, "callers have read {heard} acks, the daemon says {acked}");
        self.restart().await;
    }

    async fn kill(&mut self) {
        self.scene.end_life();
        self.daemon.signal(Signal::KILL);
        let code = self.ended().await;
        assert_eq!(code, None, "{}", self.daemon.log());
        self.lives.last_mut().expect("there is a life").killed = true;
        self.restart().await;
    }

    async fn ended(&mut self) -> Option<i32> {
        let asked = Instant::now();
        while !self.daemon.has_ended() {
            assert!(asked.elapsed() < DEADLINE, "it does not end:\n{}", self.daemon.log());
            self.scrape().await;
            sleep(SCRAPE_EVERY / 4).await;
        }
        let code = self.daemon.exit_code().await;
        let died =
            [self.daemon.logged("a task died"), self.daemon.logged("a connection's task died")]
                .concat();
        assert!(died.is_empty(), "{died:?}");
        code
    }

    async fn restart(&mut self) {
        self.scrapes += std::mem::take(&mut self.books).scrapes;
        self.scene.next_life();
        let is_short = self.lives.len() % 2 == 1;
        let life;
        (self.daemon, life) = begin(&self.start, self.dir.path(), is_short).await;
        self.lives.push(life);
    }

    /// The end: nobody calls any more and everything is answered.
    pub(crate) async fn end(&mut self) {
        let asked = Instant::now();
        loop {
            self.scrape().await;
            if self.books.value("dispatchd_events_in_flight") == 0.0 {
                break;
            }
            assert!(
                asked.elapsed() < DEADLINE,
                "every caller has every answer, and {:?} are in flight",
                { self.books.value("dispatchd_events_in_flight") }
            );
            sleep(SCRAPE_EVERY / 4).await;
        }
        self.scene.end_life();
        self.daemon.signal(Signal::TERM);
        assert_eq!(self.ended().await, Some(0), "{}", self.daemon.log());
        self.scrapes += std::mem::take(&mut self.books).scrapes;
    }
}

/// Writes new credentials where the daemon looks for them. Others are refused.
fn issue_key(dir: &Path, number: usize, refusal: Refusal) -> CallerRule {
    let key_id = format!("key{number}");
    let text = format!("[default]\naws_access_key_id = {key_id}\naws_secret_access_key = secret\n");
    // Whole at every moment, as tools do it.
    let new = dir.join("credentials.new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, dir.join("credentials")))
        .expect("it is writable");
    CallerRule { key_id, refusal }
}

async fn begin(start: &Start, dir: &Path, is_short: bool) -> (Daemon, Life) {
    let timeout = if is_short { SHORT_TIMEOUT } else { Duration::from_secs(3600) };
    let timeout = format!("{}ms", timeout.as_millis());
    let daemon = start.clone().set("delivery.timeout", timeout).start_in(dir).await;
    let idle_bytes = daemon.resident_bytes();
    let life = Life {
        is_short,
        killed: false,
        accepted: 0.0,
        timed_out: 0.0,
        waited_s: 0.0,
        idle_bytes,
        most_bytes: idle_bytes,
    };
    (daemon, life)
}
