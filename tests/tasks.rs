//! The tasks themselves, under a paused clock: a listener, its connections and a lane, with a service that does as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dispatchd::ack::Books;
use dispatchd::budget::Budget;
use dispatchd::config::{Inputs, resolve};
use dispatchd::kinesis::{Entries, PutError, PutRecords, StreamFacts, Verdict};
use dispatchd::lane::dedupe::Window;
use dispatchd::lane::task::{INBOX_GROUPS, Lane};
use dispatchd::lane::{Lanes, Rules};
use dispatchd::limits::{LINE_BUFFER_BYTES, LONG_LINES_MAX, RECORD_BYTES_DEFAULT};
use dispatchd::socket::Door;
use dispatchd::socket::bind::Bound;
use dispatchd::socket::listener::{Caps, Listener};
use dispatchd::telemetry::metrics::{self, Oldest, Sources};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LINGER: Duration = Duration::from_millis(10);

/// What the service does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Store,
    Hang,
    Panic,
}

/// A stream that stores, hangs or panics, and remembers when it was asked for how many records.
struct Scripted {
    does: Does,
    calls: Mutex<Vec<(Instant, usize)>>,
}

impl PutRecords for Scripted {
    async fn put(&self, entries: Entries<'_>) -> Result<Vec<Verdict>, PutError> {
        self.calls.lock().expect("no holder panics").push((Instant::now(), entries.len()));
        match self.does {
            Does::Store => Ok(vec![stored(); entries.len()]),
            Does::Hang => std::future::pending().await,
            Does::Panic => panic!("a defect in a flight"),
        }
    }
}

fn stored() -> Verdict {
    Verdict::Stored { shard_id: "shardId-000000000000".into(), sequence_number: "1".into() }
}

/// The parts of a daemon between socket and service.
struct House {
    service: Arc<Scripted>,
    books: Arc<Books>,
    tasks: JoinSet<()>,
    dir: tempfile::TempDir,
}

async fn house(does: Does, window: usize) -> House {
    let service = Arc::new(Scripted { does, calls: Mutex::default() });
    let (books, budget) = (Arc::<Books>::default(), Budget::new(8 << 20));
    let oldest = Oldest::new(std::time::Instant::now());
    let sources = Sources {
        books: Arc::clone(&books),
        budget: Arc::clone(&budget),
        oldest: vec![Arc::clone(&oldest)],
        credentials: Arc::default(),
        log: Arc::default(),
    };
    let (metrics, _exposition) = metrics::build(sources);
    let (_, facts) = watch::channel(StreamFacts { shards: None, record_bytes_max: RECORD_BYTES_DEFAULT });
    let (inbox_in, inbox) = mpsc::channel(INBOX_GROUPS);
    let (drain, abandon) = (CancellationToken::new(), CancellationToken::new());
    let defaults = resolve(&Inputs { local: true, ..Inputs::default() }).expect("the defaults hold").config;
    assert_eq!(defaults.batch.linger, LINGER);
    let lane = Lane {
        rules: watch::channel(Rules::of(&defaults)).1,
        window: Window { ids_max: 100, keep_for: Duration::from_secs(300) },
        service: Arc::clone(&service),
        inbox,
        facts: facts.clone(),
        questions: mpsc::channel(1).1,
        bell: Arc::<Notify>::default(),
        metrics: Arc::clone(&metrics),
        budget: Arc::clone(&budget),
        oldest,
        recent: Arc::default(),
        drain: drain.clone(),
        abandon,
    };
    let door = Door {
        producer_id: "app@host".into(),
        window,
        lanes: Lanes::new(vec![inbox_in]),
        budget,
        books: Arc::clone(&books),
        metrics,
        facts,
        long_lines: Semaphore::new(LONG_LINES_MAX),
        stop_reading: CancellationToken::new(),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bound = Bound::new(&dir.path().join("d.sock"), 0o600).await.expect("it is free");
    let mut tasks = JoinSet::new();
    let presence = watch::Sender::default();
    tasks.spawn(
        Listener {
            bound,
            door: Arc::new(door),
            caps: Caps { max_connections: 8, files_kept_back: 0 },
            presence,
            drain,
        }
        .run(),
    );
    tasks.spawn(lane.run());
    House { service, books, tasks, dir }
}

impl House {
    async fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.dir.path().join("d.sock")).await.expect("it listens");
        BufReader::new(stream)
    }

    /// The first task that ends.
    async fn ended(&mut self) -> Result<(), JoinError> {
        self.tasks.join_next().await.expect("there are two")
    }
}

async fn answer(caller: &mut BufReader<UnixStream>) -> Option<Value> {
    let mut line = String::new();
    let read = caller.read_line(&mut line).await.expect("the connection holds");
    (read > 0).then(|| serde_json::from_str(&line).expect("answers are JSON"))
}

const EVENT: &[u8] = b"{\"type\":\"t\",\"data\":{}}\n";

#[tokio::test(start_paused = true)]
async fn a_lone_event_is_sent_when_linger_is_over_and_company_goes_with_it() {
    let house = house(Does::Store, 100).await;
    let mut caller = house.connect().await;
    let began = Instant::now();
    caller.write_all(EVENT).await.expect("it reads");
    tokio::time::sleep(LINGER / 2).await;
    caller.write_all(EVENT).await.expect("it reads");
    for _ in 0..2 {
        assert_eq!(answer(&mut caller).await.expect("an ack")["ok"], true);
    }
    let calls = house.service.calls.lock().expect("no holder panics").clone();
    assert_eq!(calls.len(), 1, "one request for both");
    assert_eq!(calls[0].1, 2);
    let waited = calls[0].0 - began;
    assert!(waited >= LINGER && waited < LINGER + Duration::from_millis(3), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_lets_others_have_their_turn_after_every_buffer() {
    let house = house(Does::Hang, 1000).await;
    let caller = house.connect().await.into_inner();
    let line = format!("{{\"type\":\"t\",\"data\":{{\"text\":\"{}\"}}}}\n", "x".repeat(1000)).into_bytes();
    let mut bytes = 0;
    while let Ok(written) = caller.try_write(&line.repeat(16)) {
        bytes += written; // as many as the kernel holds
    }
    let lines = bytes / line.len();
    // A buffer may be twice as large: it grows to keep what is left of a line.
    let turn_max = 2 * LINE_BUFFER_BYTES / line.len();
    assert!(lines > turn_max, "the kernel holds {lines} lines, no more than the largest buffer");
    let mut accepted = 0;
    while accepted < lines as u64 {
        tokio::task::yield_now().await; // one of the others
        let now = house.books.balance().accepted;
        assert!(now - accepted <= turn_max as u64, "{} lines without a turn for us", now - accepted);
        accepted = now;
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_ended_within_30_s_closes_the_connection() {
    let house = house(Does::Store, 100).await;
    let mut caller = house.connect().await;
    let began = Instant::now();
    caller.write_all(EVENT).await.expect("it reads");
    assert_eq!(answer(&mut caller).await.expect("an ack")["ok"], true);
    tokio::time::sleep(Duration::from_secs(3600)).await; // an idle connection may stay
    caller.write_all(b"{\"type\":").await.expect("it reads");
    let refused = answer(&mut caller).await.expect("a refusal");
    assert_eq!((&refused["ref"], &refused["error"]["code"]), (&2.into(), &"InvalidRequest".into()));
    assert_eq!(answer(&mut caller).await, None, "and then the end");
    let waited = began.elapsed() - Duration::from_secs(3600);
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(32), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_for_30_s_loses_its_connection() {
    let house = house(Does::Store, 100).await;
    let mut caller = house.connect().await;
    let mut written = 0;
    let began = Instant::now();
    // Its answers fill the socket's buffer; then nothing is read, until the daemon gives it up.
    while let Ok(count) = caller.write(EVENT).await {
        written += count;
    }
    assert!(written > 1_000);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(32), "{waited:?}");
    assert_eq!(house.books.balance().in_flight(), 0, "what was accepted is settled all the same");
}

#[tokio::test(start_paused = true)]
async fn no_more_events_are_accepted_than_the_window_has_slots() {
    let house = house(Does::Hang, 3).await;
    let mut caller = house.connect().await;
    caller.write_all(&EVENT.repeat(10)).await.expect("the socket's buffer takes them");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.books.balance().in_flight(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_panics_takes_the_lane_along_and_its_events_answer_for_themselves() {
    let mut house = house(Does::Panic, 100).await;
    let mut caller = house.connect().await;
    caller.write_all(EVENT).await.expect("it reads");
    let refused = answer(&mut caller).await.expect("no event is left without an answer");
    assert_eq!(refused["error"]["code"], "ShuttingDown");
    assert_eq!(refused["error"]["outcome"], "unknown");
    assert!(house.ended().await.expect_err("the lane died").is_panic());
    caller.write_all(EVENT).await.expect("the connection lives");
    assert_eq!(answer(&mut caller).await.expect("nor a later one")["error"]["code"], "ShuttingDown");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_hangs_is_answered_by_its_own_timeout_at_the_latest_when_its_flight_ends() {
    let house = house(Does::Hang, 100).await;
    let mut caller = house.connect().await;
    let began = Instant::now();
    caller.write_all(b"{\"type\":\"t\",\"data\":{},\"options\":{\"partitionKey\":\"k\"}}\n").await.expect("it reads");
    tokio::time::sleep(LINGER * 2).await; // the first is out now, the second waits behind it
    caller.write_all(b"{\"type\":\"t\",\"data\":{},\"options\":{\"partitionKey\":\"k\"}}\n").await.expect("it reads");
    let late = answer(&mut caller).await.expect("the one that waits");
    assert_eq!((&late["ref"], &late["error"]["code"]), (&2.into(), &"DeliveryTimeout".into()));
    assert_eq!(late["error"]["outcome"], "not_stored");
    assert!(began.elapsed() >= Duration::from_secs(120) && began.elapsed() < Duration::from_secs(123));
    caller.get_mut().shutdown().await.expect("it is there");
    let mut rest = [0; 1];
    let end = tokio::time::timeout(Duration::from_secs(60), caller.read(&mut rest)).await;
    assert!(end.is_err(), "the connection stays until the event that is out is answered");
}
