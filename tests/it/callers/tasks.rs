//! The tasks themselves: a listener, its connections and a lane, with a service that does as it is
//! told. Where seconds go by, the clock is paused; where many bytes do, it is not, since a paused
//! clock runs ahead whenever a socket is waited for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dispatchd::inputs::callers::Callers;
use dispatchd::inputs::http::{self, CloudEventsAs, HttpShared};
use dispatchd::inputs::long_lines::LongLines;
use dispatchd::inputs::metrics::ConnectionMetrics;
use dispatchd::inputs::presence::Presence;
use dispatchd::inputs::shared::InputsShared;
use dispatchd::inputs::socket;
use dispatchd::inputs::socket::listener::Listener;
use dispatchd::producer;
use dispatchd::producer::refresher::{Calls, StreamHandle};
use dispatchd_core::limits::{
    LINE_BUFFER_BYTES, RECORD_BYTES_DEFAULT, long_lines_bytes, record_bytes_carried,
};
use dispatchd_core::model::{Entries, Fingerprints, PutError, PutRecords, StreamFacts, Verdict};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::InputCounters;
use dispatchd_producer::lane::Settings;
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::metrics::LaneMetrics;
use serde_json::Value;
use testkit::DEADLINE;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Carries records of 4 MiB less 64 KiB, and three long lines of 1 MiB at once.
const BUDGET_BYTES: usize = 8 << 20;
const LINGER: Duration = Duration::from_millis(10);

/// What the service does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Store,
    Hang,
    Panic,
}

/// A stream that stores, hangs or panics, and remembers when it was asked for how many records.
/// Clones remember together.
#[derive(Clone)]
struct Scripted {
    does: Does,
    calls: Arc<Mutex<Vec<(Instant, usize)>>>,
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

/// The parts of a daemon between socket and service, made by the daemon's own constructors.
struct Parts {
    service: Scripted,
    counters: InputCounters,
    facts: watch::Sender<StreamFacts>,
    tasks: JoinSet<()>,
    dir: tempfile::TempDir,
}

async fn parts(does: Does, window: usize) -> Parts {
    parts_that(1, does, window, Uuid::new_v4).await
}

async fn parts_that(
    lanes_count: usize,
    does: Does,
    window: usize,
    fresh_id: fn() -> Uuid,
) -> Parts {
    let service = Scripted { does, calls: Arc::default() };
    let (counters, budget) = (InputCounters::default(), Budget::new(BUDGET_BYTES));
    let (facts_in, facts) = watch::channel(StreamFacts::unknown(Some(RECORD_BYTES_DEFAULT)));
    let stream = StreamHandle {
        facts: facts.clone(),
        calls: watch::channel(Calls::default()).1,
        refresh_requested: Arc::default(),
        reloads: watch::channel(()).0,
    };
    let (drain, abandon) = (CancellationToken::new(), CancellationToken::new());
    let lane = Settings::default();
    assert_eq!(lane.linger, LINGER);
    let settings = producer::Settings {
        lanes_count,
        lane,
        dedupe: Window { ids_max: 100, keep_for: Duration::from_secs(300) },
    };
    let shared = producer::Shared {
        metrics: LaneMetrics::register(),
        budget: Arc::clone(&budget),
        recent_errors: Arc::default(),
        drain: drain.clone(),
        abandon,
    };
    let (lanes, handle) = producer::lanes(settings, service.clone(), &stream, shared);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("d.sock");
    let settings = socket::Settings { path, mode: 0o600, max_connections: 8, window };
    let shared = InputsShared {
        producer_id: "app@host".into(),
        envelopes: Default::default(),
        transaction: Default::default(),
        lanes: handle.inboxes,
        budget,
        counters: counters.clone(),
        fingerprints: Fingerprints::default(),
        checks: Default::default(),
        backpressure: Arc::default(),
        long_lines: Arc::new(LongLines::new(long_lines_bytes(BUDGET_BYTES))),
        callers: Arc::new(Callers::new(Instant::now().into_std())),
        presence: watch::channel(Presence::default()).0,
        facts,
        record_bytes_carried: record_bytes_carried(BUDGET_BYTES),
        files_kept_back: 0,
        fresh_id,
        drain,
        stop_reading: CancellationToken::new(),
    };
    let metrics = Arc::new(ConnectionMetrics::register());
    let cloudevents = CloudEventsAs::TheyAre;
    let of_http = http::Settings { listen: None, max_connections: 1, cloudevents };
    let http = HttpShared::new(&of_http, &shared, &metrics);
    let (listener, _) = Listener::bind(&settings, shared, http, metrics).await.expect("it is free");
    let mut tasks = JoinSet::new();
    tasks.spawn(listener.run());
    lanes.into_iter().for_each(|lane| _ = tasks.spawn(lane.run()));
    Parts { service, counters, facts: facts_in, tasks, dir }
}

impl Parts {
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
    let parts = parts(Does::Store, 100).await;
    let mut caller = parts.connect().await;
    let began = Instant::now();
    caller.write_all(EVENT).await.expect("it reads");
    tokio::time::sleep(LINGER / 2).await;
    caller.write_all(EVENT).await.expect("it reads");
    for _ in 0..2 {
        assert_eq!(answer(&mut caller).await.expect("an ack")["ok"], true);
    }
    let calls = parts.service.calls.lock().expect("no holder panics").clone();
    assert_eq!(calls.len(), 1, "one request for both");
    assert_eq!(calls[0].1, 2);
    let waited = calls[0].0 - began;
    assert!(waited >= LINGER && waited < LINGER + Duration::from_millis(3), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_lets_others_have_their_turn_after_every_buffer() {
    let parts = parts(Does::Hang, 1000).await;
    let caller = parts.connect().await.into_inner();
    let line =
        format!("{{\"type\":\"t\",\"data\":{{\"text\":\"{}\"}}}}\n", "x".repeat(1000)).into_bytes();
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
        let now = parts.counters.snapshot().accepted;
        assert!(
            now - accepted <= turn_max as u64,
            "{} lines without a turn for us",
            now - accepted
        );
        accepted = now;
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_not_ended_within_30_s_closes_the_connection() {
    let parts = parts(Does::Store, 100).await;
    let mut caller = parts.connect().await;
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

/// C's stdio and Go's bufio write whole buffers: no write of theirs ends with a line.
#[tokio::test(start_paused = true)]
async fn lines_that_straddle_their_writes_are_taken_for_as_long_as_each_is_ended_in_time() {
    let parts = parts(Does::Store, 100).await;
    let mut caller = parts.connect().await;
    let (head, tail) = EVENT.split_at(9);
    caller.write_all(head).await.expect("it reads");
    for line in 1..=10 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        caller.write_all(&[tail, head].concat()).await.expect("it reads");
        let ack = answer(&mut caller).await.expect("the connection lives");
        assert_eq!((&ack["ref"], &ack["ok"]), (&line.into(), &true.into()), "{ack}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_trickle_in_do_not_make_a_line_last_longer() {
    let parts = parts(Does::Store, 100).await;
    let mut caller = parts.connect().await;
    let began = Instant::now();
    let (mut read, mut write) = tokio::io::split(caller.get_mut());
    let trickle = async {
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    let mut answers = String::new();
    let (_, refused) = tokio::join!(trickle, read.read_to_string(&mut answers));
    refused.expect("the connection is closed in order");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(33), "{waited:?}");
}

/// A daemon that was stopped, frozen or without a processor: its clock went on, the caller could
/// not.
#[tokio::test(start_paused = true)]
async fn a_pause_of_the_daemons_own_is_not_the_callers() {
    let parts = parts(Does::Store, 100).await;
    let mut caller = parts.connect().await;
    let (head, tail) = EVENT.split_at(9);
    for pause in [60, 3600] {
        caller.write_all(head).await.expect("it reads");
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokio::time::advance(Duration::from_secs(pause)).await;
        tokio::time::sleep(Duration::from_secs(20)).await; // the caller's own
        caller.write_all(tail).await.expect("it reads");
        assert_eq!(answer(&mut caller).await.expect("the connection lives")["ok"], true);
    }
}

/// An event on a line of about so many bytes, in two halves.
fn long_event(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let line =
        format!("{{\"type\":\"t\",\"data\":{{\"x\":\"{}\"}}}}\n", "x".repeat(bytes)).into_bytes();
    (line[..bytes / 2].to_vec(), line[bytes / 2..].to_vec())
}

/// By the real clock.
async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait).await.expect("none waits for another")
}

/// What could go wrong: each holds some of the room and waits for more, or the limit under which it
/// has its room moves.
#[tokio::test]
async fn long_lines_that_are_half_read_never_wait_for_each_other() {
    let parts = parts(Does::Store, 100).await;
    let (head, tail) = long_event(1_000_000);
    let (half_read_in, mut half_read) = mpsc::unbounded_channel();
    for _ in 0..8 {
        let mut caller = parts.connect().await;
        let (head, half_read_in) = (head.clone(), half_read_in.clone());
        tokio::spawn(async move {
            caller.write_all(&head).await.expect("it reads");
            half_read_in.send(caller).expect("the test waits for all");
        });
    }
    drop(half_read_in);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(in_time(half_read.recv()).await.expect("there is room for three"));
    }
    // From now on a line that is begun needs all of the room.
    parts.facts.send_replace(StreamFacts::unknown(Some(10 << 20)));
    let mut ended = Vec::new();
    while let Some(mut last) = waiting.pop() {
        last.write_all(&tail).await.expect("it reads");
        assert_eq!(in_time(answer(&mut last)).await.expect("an answer")["ok"], true);
        ended.push(last);
        if waiting.is_empty() {
            waiting.extend(in_time(half_read.recv()).await);
        }
    }
    assert_eq!(ended.len(), 8);
    // Now a line takes nearly all of the room.
    let (head, tail) = long_event(3_900_000);
    let mut caller = ended.pop().expect("there were eight");
    caller.write_all(&[head, tail].concat()).await.expect("it reads");
    assert_eq!(answer(&mut caller).await.expect("an answer")["ok"], true);
}

#[tokio::test]
async fn long_lines_that_are_not_ended_hold_up_others_for_30_s_and_short_ones_not_at_all() {
    let parts = parts(Does::Store, 100).await;
    let (head, tail) = long_event(1_000_000);
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let mut caller = parts.connect().await;
        caller.write_all(&head).await.expect("it reads");
        stuck.push(caller);
    }
    let mut long = parts.connect().await;
    let long = tokio::spawn(async move {
        long.write_all(&[head, tail].concat()).await.expect("it reads");
        answer(&mut long).await.expect("an ack")["ok"].clone()
    });
    let mut short = parts.connect().await;
    short.write_all(EVENT).await.expect("it reads");
    assert_eq!(in_time(answer(&mut short)).await.expect("an ack")["ok"], true);
    let acked = || parts.counters.snapshot().acked;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(25)).await; // some of the 30 s went by before
    assert_eq!(acked(), 1, "the long line waits, the short one did not");
    tokio::time::sleep(Duration::from_secs(20)).await; // with what the bytes of the long line take
    assert_eq!(acked(), 2);
    assert_eq!(long.await.expect("the caller does not panic"), true);
}

#[tokio::test]
async fn what_our_memory_does_not_carry_is_refused_with_what_to_raise_and_told_by_hello() {
    let parts = parts(Does::Store, 100).await;
    parts.facts.send_replace(StreamFacts::unknown(Some(10 << 20)));
    let mut caller = parts.connect().await;
    caller.write_all(b"{\"op\":\"hello\"}\n").await.expect("it reads");
    let carried = record_bytes_carried(BUDGET_BYTES);
    assert_eq!(answer(&mut caller).await.expect("an answer")["maxEventBytes"], carried);
    for (bytes, says) in [
        (carried, "this daemon's memory carries 4128768"),
        (10 << 20, "the line is over 4194304 bytes"),
    ] {
        let (head, tail) = long_event(bytes);
        caller.write_all(&[head, tail].concat()).await.expect("it reads");
        let refused = answer(&mut caller).await.expect("an answer");
        assert_eq!(refused["error"]["code"], "EventTooLarge");
        let message = refused["error"]["message"].as_str().expect("a text");
        assert!(message.contains(says) && message.contains("raise memory.budget"), "{message}");
    }
    let echo = format!(
        "{{\"type\":\"t\",\"data\":{{\"x\":\"{}\"}},\"options\":{{\"echo\":true}}}}\n",
        "x".repeat(1 << 20)
    );
    caller.write_all(echo.as_bytes()).await.expect("it reads");
    let refused = answer(&mut caller).await.expect("an answer");
    assert_eq!(
        refused["error"]["code"], "InvalidRequest",
        "an echo would be held beside the budget: {refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_for_30_s_loses_its_connection() {
    let parts = parts(Does::Store, 100).await;
    let mut caller = parts.connect().await;
    let mut written = 0;
    let began = Instant::now();
    // Its answers fill the socket's buffer; then nothing is read, until the daemon gives it up.
    while let Ok(count) = caller.write(EVENT).await {
        written += count;
    }
    assert!(written > 1_000);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(32), "{waited:?}");
    assert_eq!(
        parts.counters.snapshot().in_flight(),
        0,
        "what was accepted is settled all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_events_are_accepted_than_the_window_has_credits() {
    let parts = parts(Does::Hang, 3).await;
    let mut caller = parts.connect().await;
    caller.write_all(&EVENT.repeat(10)).await.expect("the socket's buffer takes them");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(parts.counters.snapshot().in_flight(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_has_to_wait_is_read_once_and_keeps_the_id_that_it_began_with() {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    let fresh_id = || Uuid::from_u128(DRAWN.fetch_add(1, Ordering::Relaxed).into());
    let parts = parts_that(1, Does::Store, 1, fresh_id).await;
    let mut caller = parts.connect().await;
    // With a window of one event all but the first wait for a credit.
    caller.write_all(&EVENT.repeat(10)).await.expect("the socket's buffer takes them");
    for n in 0..10 {
        let acked = answer(&mut caller).await.expect("it is stored");
        let (id, key) = (Uuid::from_u128(2 * n), Uuid::from_u128(2 * n + 1));
        assert_eq!(acked["id"], id.to_string());
        assert_eq!(acked["partitionKey"], key.to_string());
    }
    assert_eq!(DRAWN.load(Ordering::Relaxed), 20, "an id and a key for each, drawn once");
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_panics_takes_the_lane_along_and_its_events_answer_for_themselves() {
    let mut parts = parts(Does::Panic, 100).await;
    let mut caller = parts.connect().await;
    caller.write_all(EVENT).await.expect("it reads");
    let refused = answer(&mut caller).await.expect("no event is left without an answer");
    assert_eq!(refused["error"]["code"], "ShuttingDown");
    assert_eq!(refused["error"]["outcome"], "unknown");
    assert!(parts.ended().await.expect_err("the lane died").is_panic());
    caller.write_all(EVENT).await.expect("the connection lives");
    assert_eq!(
        answer(&mut caller).await.expect("nor a later one")["error"]["code"],
        "ShuttingDown"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_hangs_is_answered_by_its_own_timeout_at_the_latest_when_its_flight_ends() {
    let parts = parts(Does::Hang, 100).await;
    let mut caller = parts.connect().await;
    let began = Instant::now();
    caller
        .write_all(b"{\"type\":\"t\",\"data\":{},\"options\":{\"partitionKey\":\"k\"}}\n")
        .await
        .expect("it reads");
    tokio::time::sleep(LINGER * 2).await; // the first is out now, the second waits behind it
    caller
        .write_all(b"{\"type\":\"t\",\"data\":{},\"options\":{\"partitionKey\":\"k\"}}\n")
        .await
        .expect("it reads");
    let late = answer(&mut caller).await.expect("the one that waits");
    assert_eq!((&late["ref"], &late["error"]["code"]), (&2.into(), &"DeliveryTimeout".into()));
    assert_eq!(late["error"]["outcome"], "not_stored");
    assert!(
        began.elapsed() >= Duration::from_secs(120) && began.elapsed() < Duration::from_secs(123)
    );
    caller.get_mut().shutdown().await.expect("it is there");
    let mut rest = [0; 1];
    let end = tokio::time::timeout(Duration::from_secs(60), caller.read(&mut rest)).await;
    assert!(end.is_err(), "the connection stays until the event that is out is answered");
}

#[tokio::test(start_paused = true)]
async fn an_id_is_found_in_whatever_lane_it_comes_and_means_one_event() {
    let parts = parts_that(4, Does::Store, 1000, Uuid::new_v4).await;
    let mut caller = parts.connect().await;
    let line = |n: u32, key: &str| {
        let id = format!("9c0c1d52-5c2b-4d9c-9f5c-{n:012}");
        format!("{{\"type\":\"t\",\"data\":{{}},\"options\":{{\"id\":\"{id}\"{key}}}}}\n")
    };
    // Keys of an id's own, and keys that are named: they are of all four lanes.
    let first: String =
        (0..40).map(|n| line(n, "")).chain((40..80).map(|n| line(n, &key(n)))).collect();
    let again = first.clone();
    let others: String = (0..80).map(|n| line(n, &key(n + 100))).collect();
    caller.write_all(first.as_bytes()).await.expect("it reads");
    tokio::time::sleep(LINGER / 2).await; // each lane has its own by now, and none has sent any
    caller.write_all(others.as_bytes()).await.expect("it reads");
    let mut answers: Vec<Value> = Vec::new();
    for _ in 0..160 {
        answers.push(answer(&mut caller).await.expect("every line is answered"));
    }
    caller.write_all([again, others].concat().as_bytes()).await.expect("it reads");
    for _ in 0..160 {
        answers.push(answer(&mut caller).await.expect("every line is answered"));
    }
    let count = |is: &dyn Fn(&Value) -> bool| answers.iter().filter(|answer| is(answer)).count();
    assert_eq!(
        count(&|answer| answer["error"]["code"] == "IdReused"),
        160,
        "while the first is on its way, and later"
    );
    assert_eq!(count(&|answer| answer["deduplicated"] == true), 80);
    let own = |answer: &Value| answer["ok"] == true && answer["partitionKey"] == answer["id"];
    assert_eq!(count(&|answer| own(answer)), 80, "a key of an id's own is the id");
    let calls = parts.service.calls.lock().expect("no holder panics");
    assert_eq!(calls.iter().map(|(_, records)| records).sum::<usize>(), 80);
    assert!(calls.len() > 1, "more than one lane had some of them");
}

fn key(n: u32) -> String {
    format!(",\"partitionKey\":\"key {n}\"")
}
