//! `tail` reads a stream as it is and as it changes: every record once, the records of a key in
//! order.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesis::Client;
use dispatchd::programs::tail::{self, Options, TailError, Tally};
use dispatchd_aws::{Connection, Kinesis, Settings, Wire};
use dispatchd_consumer::plan::StartFrom;
use dispatchd_core::model::StreamId;
use dispatchd_core::model::{Class, Reason};
use serde_json::json;
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::{Ferro, Kinesalite};
use testkit::scripted::{Scripted, shard_list};
use testkit::stopwatch::Stopwatch;
use testkit::stream::{create_stream, entries, entry, put, shards, split, wait_active};
use testkit::{DEADLINE, client, eventually};
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, Lines};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Emulators are not limited to five calls a second.
const POLL: Duration = Duration::from_millis(20);

/// A running `tail`, and the screen it prints on.
struct Tail {
    lines: Lines<BufReader<DuplexStream>>,
    stop: CancellationToken,
    task: JoinHandle<Result<Tally, TailError>>,
    ready: Option<oneshot::Receiver<()>>,
}

impl Tail {
    async fn start(endpoint: &str, from: StartFrom) -> Tail {
        Tail::with(endpoint, Options { from, poll: POLL, ..Options::default() }).await
    }

    async fn with(endpoint: &str, options: Options) -> Tail {
        let kinesis = kinesis(endpoint).await;
        let (screen, out) = tokio::io::duplex(16 * 1024);
        let (stop, (is_ready, ready)) = (CancellationToken::new(), oneshot::channel());
        let task = tokio::spawn(tail::run(kinesis, options, out, stop.clone(), move || {
            let _ = is_ready.send(());
        }));
        Tail { lines: BufReader::new(screen).lines(), stop, task, ready: Some(ready) }
    }

    /// From now on what is stored is printed.
    async fn ready(mut self) -> Tail {
        let ready = self.ready.take().expect("asked once");
        timeout(DEADLINE, ready)
            .await
            .expect("it is ready in time")
            .expect("it did not end before it was ready");
        self
    }

    /// The next line; nothing when it has ended.
    async fn line(&mut self) -> Option<String> {
        timeout(DEADLINE, self.lines.next_line())
            .await
            .expect("a line in time")
            .expect("the screen can be read")
    }

    async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.line().await.expect("it did not end"));
        }
        lines
    }

    /// Stops it. Returns what was still on its way.
    async fn end(mut self) -> Vec<String> {
        self.stop.cancel();
        let mut rest = Vec::new();
        while let Some(line) = self.line().await {
            rest.push(line);
        }
        timeout(DEADLINE, self.task)
            .await
            .expect("it ends")
            .expect("it does not panic")
            .expect("a stop is no error");
        rest
    }
}

async fn kinesis(endpoint: &str) -> Kinesis {
    let settings = Settings {
        connect_timeout: Duration::from_secs(3),
        attempt_timeout: Duration::from_secs(10),
        wire: Wire::Json,
    };
    let connection = Connection::to_emulator(StreamId::Name("s".to_owned()), endpoint, settings);
    Kinesis::connect(connection).await.expect("the region is named")
}

/// `data-{from}` to `data-{to - 1}`, sorted as text.
fn data(from: usize, to: usize) -> Vec<String> {
    sorted((from..to).map(|n| format!("data-{n}")).collect())
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

async fn put_range(client: &Client, from: usize, to: usize) {
    let numbered = entries(to).split_off(from);
    assert_eq!(put(client, "s", numbered).await.failed_record_count(), Some(0));
}

/// One test for each promise and server.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod ferrokinesis {
            use super::*;
            $(#[tokio::test] async fn $promise() {
                let server = Ferro::start(false).await;
                super::$promise(&server.endpoint()).await;
            })*
        }
        mod kinesalite {
            use super::*;
            $(#[tokio::test] async fn $promise() {
                if let Some(server) = Kinesalite::start().await {
                    super::$promise(&server.endpoint()).await;
                }
            })*
        }
    };
}

promises! {
    from_the_trim_horizon_every_record_comes_once
    from_latest_comes_what_is_stored_after_it_is_ready_and_nothing_before
    through_splits_and_merges_every_record_comes_once_and_each_key_in_order
    from_the_trim_horizon_closed_shards_are_read_before_their_children
    from_latest_a_resharded_stream_is_read_from_its_open_shards
}

async fn from_the_trim_horizon_every_record_comes_once(endpoint: &str) {
    let client = client(endpoint);
    create_stream(&client, "s", 3).await;
    for from in (0..2_400).step_by(300) {
        put_range(&client, from, from + 300).await;
    }
    let mut tail = Tail::start(endpoint, StartFrom::TrimHorizon).await;
    assert_eq!(sorted(tail.lines(2_400).await), data(0, 2_400));
    put_range(&client, 2_400, 2_500).await;
    assert_eq!(sorted(tail.lines(100).await), data(2_400, 2_500), "none of the earlier ones again");
    assert_eq!(tail.end().await, [""; 0]);
}

async fn from_latest_comes_what_is_stored_after_it_is_ready_and_nothing_before(endpoint: &str) {
    let client = client(endpoint);
    create_stream(&client, "s", 3).await;
    put_range(&client, 0, 100).await;
    let mut tail = Tail::start(endpoint, StartFrom::Latest).await.ready().await;
    put_range(&client, 100, 300).await;
    assert_eq!(sorted(tail.lines(200).await), data(100, 300));
    assert_eq!(tail.end().await, [""; 0]);
}

async fn merge(client: &Client, first: &str, second: &str) {
    let call = client
        .merge_shards()
        .stream_name("s")
        .shard_to_merge(first)
        .adjacent_shard_to_merge(second);
    call.send().await.expect("the emulator merges neighbours");
    wait_active(client, "s").await;
}

/// Splits the first open shard and merges its children, again and again.
async fn reshard(client: &Client, rounds: usize) {
    for _ in 0..rounds {
        let open = shards(client, "s")
            .await
            .into_iter()
            .find(|shard| shard.open)
            .expect("a stream has open shards");
        split(client, "s", &open).await;
        let children: Vec<_> = shards(client, "s")
            .await
            .into_iter()
            .filter(|shard| shard.parent.as_deref() == Some(&open.id))
            .collect();
        merge(client, &children[0].id, &children[1].id).await;
    }
}

const KEYS: usize = 10;

/// Every line is `key:number`, for `KEYS` keys: `rounds` numbers each, from 0, in order, each once.
fn assert_whole_and_in_order(lines: &[String], rounds: usize) {
    for key in 0..KEYS {
        let prefix = format!("{key}:");
        let numbers: Vec<&str> =
            lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
        let expected: Vec<String> = (0..rounds).map(|round| round.to_string()).collect();
        assert_eq!(numbers, expected, "key {key}");
    }
    assert_eq!(lines.len(), KEYS * rounds);
}

async fn put_round(client: &Client, round: usize) {
    let records =
        (0..KEYS).map(|key| entry(&format!("key-{key}"), format!("{key}:{round}"))).collect();
    // In an emulator a shard may close while a record is on its way to it: such a record is put
    // again.
    assert_eq!(put(client, "s", records).await.failed_record_count(), Some(0));
}

/// What could go wrong: a child read before its parent is at its end, a shard found late or twice,
/// a parent left early.
async fn through_splits_and_merges_every_record_comes_once_and_each_key_in_order(endpoint: &str) {
    let client = client(endpoint);
    create_stream(&client, "s", 2).await;
    let mut tail = Tail::start(endpoint, StartFrom::Latest).await.ready().await;

    // The writer goes on while the stream changes below it, and a while after.
    let is_done = Cell::new(false);
    let resharding = async {
        reshard(&client, 3).await;
        is_done.set(true);
    };
    let mut rounds = 0;
    let writing = async {
        while !is_done.get() {
            put_round(&client, rounds).await;
            rounds += 1;
        }
    };
    tokio::join!(resharding, writing);
    for _ in 0..20 {
        put_round(&client, rounds).await;
        rounds += 1;
    }
    let lines = tail.lines(KEYS * rounds).await;
    assert_whole_and_in_order(&lines, rounds);
    assert_eq!(tail.end().await, [""; 0]);
    assert_eq!(shards(&client, "s").await.len(), 2 + 3 * 3, "three shards more each time");
}

async fn from_the_trim_horizon_closed_shards_are_read_before_their_children(endpoint: &str) {
    let client = client(endpoint);
    create_stream(&client, "s", 1).await;
    let mut rounds = 0;
    for _ in 0..3 {
        for _ in 0..10 {
            put_round(&client, rounds).await;
            rounds += 1;
        }
        reshard(&client, 1).await;
    }
    put_round(&client, rounds).await;
    let mut tail = Tail::start(endpoint, StartFrom::TrimHorizon).await;
    assert_whole_and_in_order(&tail.lines(KEYS * (rounds + 1)).await, rounds + 1);
    assert_eq!(tail.end().await, [""; 0]);
}

async fn from_latest_a_resharded_stream_is_read_from_its_open_shards(endpoint: &str) {
    let client = client(endpoint);
    create_stream(&client, "s", 1).await;
    put_range(&client, 0, 50).await;
    reshard(&client, 1).await;
    put_range(&client, 50, 100).await;
    let mut tail = Tail::start(endpoint, StartFrom::Latest).await.ready().await;
    put_range(&client, 100, 150).await;
    assert_eq!(sorted(tail.lines(50).await), data(100, 150));
    assert_eq!(tail.end().await, [""; 0]);
}

/// What could go wrong: the children are found by the next regular list only, ten seconds later
/// each time.
#[tokio::test]
async fn the_end_of_a_shard_makes_it_look_for_the_children() {
    let (server, client) = stream(0).await;
    let mut tail = Tail::start(&server.endpoint(), StartFrom::Latest).await.ready().await;
    let mut watch = Stopwatch::start(&[]);
    reshard(&client, 2).await;
    put_range(&client, 0, 10).await;
    assert_eq!(sorted(tail.lines(10).await), data(0, 10));
    let took = watch.took();
    assert!(took.undelayed < Duration::from_secs(20), "four reshards took {took:?}");
}

/// A stream on an emulator, with some records.
async fn stream(records_count: usize) -> (Ferro, Client) {
    let server = Ferro::start(false).await;
    let client = client(&server.endpoint());
    create_stream(&client, "s", 1).await;
    if records_count > 0 {
        put_range(&client, 0, records_count).await;
    }
    (server, client)
}

async fn failed(tail: Tail) -> TailError {
    let ended = timeout(DEADLINE, tail.task).await.expect("it ends").expect("it does not panic");
    ended.expect_err("it fails")
}

#[tokio::test]
async fn a_stop_ends_it_at_once_though_nobody_reads_what_it_prints() {
    // More than the pipe holds, and nobody at its other end: it hangs in a write.
    let (server, client) = stream(0).await;
    let large = (0..4).map(|n| entry(&n.to_string(), vec![b'x'; 500_000])).collect();
    put(&client, "s", large).await;
    let options = Options {
        from: StartFrom::TrimHorizon,
        poll: Duration::from_secs(3600),
        ..Options::default()
    };
    let tail = Tail::with(&server.endpoint(), options).await.ready().await;
    tail.stop.cancel();
    let ended = timeout(DEADLINE, tail.task)
        .await
        .expect("at once, not in an hour")
        .expect("it does not panic");
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn a_reader_that_leaves_ends_it_without_an_error() {
    let (server, client) = stream(10).await;
    let mut tail = Tail::start(&server.endpoint(), StartFrom::TrimHorizon).await;
    tail.lines(1).await;
    drop(tail.lines);
    // `head` is gone; the next write tells.
    put_range(&client, 10, 20).await;
    let ended = timeout(DEADLINE, tail.task).await.expect("it ends").expect("it does not panic");
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn pretty_says_where_a_record_is_and_indents_it() {
    let (server, client) = stream(0).await;
    let answer = put(&client, "s", vec![entry("user 1", r#"{"b":1.50,"a":[]}"#)]).await;
    let number = answer.records()[0].sequence_number().expect("stored");
    let options =
        Options { from: StartFrom::TrimHorizon, pretty: true, poll: POLL, ..Options::default() };
    let mut tail = Tail::with(&server.endpoint(), options).await;
    let first = format!("shardId-000000000000 {number} \"user 1\"");
    assert_eq!(
        tail.lines(6).await,
        [first.as_str(), "{", "  \"b\": 1.50,", "  \"a\": []", "}", ""]
    );
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_a_final_error_that_says_what_to_check() {
    let server = Ferro::start(false).await;
    let error = failed(Tail::start(&server.endpoint(), StartFrom::Latest).await).await;
    let TailError::Read(read) = &error else { panic!("{error:?}") };
    assert_eq!(read.call.class, Class::Blocked(Reason::StreamNotFound));
    assert!(error.to_string().contains("check the stream's name"), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_deleted_ends_it_with_an_error() {
    let (server, client) = stream(5).await;
    let mut tail = Tail::start(&server.endpoint(), StartFrom::TrimHorizon).await;
    tail.lines(5).await;
    client.delete_stream().stream_name("s").send().await.expect("the emulator deletes a stream");
    let error = failed(tail).await;
    assert!(error.to_string().contains("ResourceNotFoundException"), "{error}");
}

/// A fault server between the tail and its stream.
struct Between {
    _upstream: Ferro,
    server: FaultServer,
    client: Client,
}

impl Between {
    async fn start(records_count: usize) -> Between {
        let (upstream, client) = stream(records_count).await;
        let server = FaultServer::start(&upstream.endpoint(), 1).await;
        Between { _upstream: upstream, server, client }
    }

    fn deny(&self, operations: &[&str], refusal: &Refusal) {
        let denied =
            operations.iter().map(|&operation| (operation.to_owned(), refusal.clone())).collect();
        self.server.set(Plan { denied, ..Plan::default() });
    }

    /// Refuses these operations until the first of them was tried twice more, then lets all pass.
    async fn deny_for_a_while(&self, operations: &[&str], refusal: &Refusal) {
        let calls = || self.server.ledger().calls(operations[0]);
        self.deny(operations, refusal);
        let before = calls();
        eventually("it tries again", async || (calls() >= before + 2).then_some(())).await;
        self.server.set(Plan::default());
    }
}

/// What could go wrong: a laptop sleeps, the tail stalls in a pager; AWS forgets iterators after
/// five minutes.
#[tokio::test]
async fn expired_iterators_cost_no_record_and_repeat_none() {
    let expired = Refusal::new(400, "ExpiredIteratorException", "Iterator expired.");
    for from in [StartFrom::TrimHorizon, StartFrom::Latest] {
        let between = Between::start(0).await;
        let mut tail = Tail::start(&between.server.endpoint(), from.clone()).await.ready().await;
        // Once with nothing read yet, once with something: the place is another one.
        for start in [0, 30] {
            between.deny(&["GetRecords"], &expired);
            put_range(&between.client, start, start + 30).await;
            between.deny_for_a_while(&["GetRecords"], &expired).await;
            assert_eq!(sorted(tail.lines(30).await), data(start, start + 30), "{from:?}");
        }
        between.deny_for_a_while(&["GetRecords"], &expired).await;
        put_range(&between.client, 60, 61).await;
        assert_eq!(tail.lines(1).await, ["data-60"], "nothing again");
        assert_eq!(tail.end().await, [""; 0]);
    }
}

#[tokio::test]
async fn an_outage_costs_no_record_and_repeats_none() {
    let refusals = [Refusal::internal(), Refusal::throttled()];
    let between = Between::start(20).await;
    let mut tail = Tail::start(&between.server.endpoint(), StartFrom::TrimHorizon).await;
    tail.lines(20).await;
    for (n, refusal) in refusals.iter().enumerate() {
        let start = 20 + 20 * n;
        between.deny_for_a_while(&["GetRecords", "ListShards", "GetShardIterator"], refusal).await;
        put_range(&between.client, start, start + 20).await;
        assert_eq!(sorted(tail.lines(20).await), data(start, start + 20), "{refusal:?}");
    }
    assert_eq!(tail.end().await, [""; 0]);
}

#[tokio::test]
async fn an_outage_at_the_start_is_waited_out() {
    let between = Between::start(20).await;
    let everything = ["ListShards", "GetShardIterator", "GetRecords"];
    let failure = Refusal::internal();
    between.deny(&everything, &failure);
    let mut tail = Tail::start(&between.server.endpoint(), StartFrom::TrimHorizon).await;
    between.deny_for_a_while(&everything, &failure).await;
    assert_eq!(tail.lines(20).await.len(), 20);
}

#[tokio::test]
async fn what_is_not_permitted_at_the_start_is_a_final_error() {
    let denied = Refusal::access_denied();
    for operation in ["ListShards", "GetShardIterator", "GetRecords"] {
        let between = Between::start(20).await;
        between.deny(&[operation], &denied);
        let tail = Tail::start(&between.server.endpoint(), StartFrom::Latest).await;
        let error = failed(tail).await.to_string();
        let advice = "allow kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords";
        assert!(error.starts_with(operation) && error.contains(advice), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_longer_permitted_is_waited_out() {
    let between = Between::start(20).await;
    let mut tail = Tail::start(&between.server.endpoint(), StartFrom::TrimHorizon).await;
    tail.lines(20).await;
    let expired = Refusal::expired_token();
    between.deny_for_a_while(&["GetRecords", "ListShards"], &expired).await;
    put_range(&between.client, 20, 40).await;
    assert_eq!(sorted(tail.lines(20).await), data(20, 40));
    assert_eq!(tail.end().await, [""; 0]);
}

/// What could go wrong: the place of a tail that has read nothing is a time by this machine's
/// clock, which may be off.
#[tokio::test]
async fn an_iterator_that_expired_before_the_first_record_is_followed_by_the_service_s_time() {
    let two_hours = Duration::from_secs(7200);
    for service in [SystemTime::now() - two_hours, SystemTime::now() + two_hours] {
        let (asked, mut placed) = tokio::sync::mpsc::unbounded_channel();
        let server = Scripted::start(service, move |operation, number, question| {
            match (operation, number) {
                ("ListShards", _) => (200, shard_list(1)),
                ("GetShardIterator", _) => {
                    let _ = asked.send(question.clone());
                    (200, json!({ "ShardIterator": "i" }))
                }
                (_, 2) => (
                    400,
                    json!({ "__type": "ExpiredIteratorException", "message": "Iterator expired." }),
                ),
                _ => (
                    200,
                    json!({ "Records": [], "NextShardIterator": "i", "MillisBehindLatest": 0 }),
                ),
            }
        })
        .await;
        let tail = Tail::start(&server.endpoint(), StartFrom::Latest).await.ready().await;
        let mut question =
            async || timeout(DEADLINE, placed.recv()).await.expect("in time").expect("it asks");
        assert_eq!(question().await["ShardIteratorType"], "LATEST");
        let again = question().await;
        assert_eq!(again["ShardIteratorType"], "AT_TIMESTAMP");
        let time = again["Timestamp"].as_f64().expect("seconds");
        let service = service.duration_since(UNIX_EPOCH).expect("a late date").as_secs_f64();
        // Its clock shows whole seconds; the call took some time too.
        assert!((service - 10.0..=service).contains(&time), "{time} for {service}");
        assert_eq!(tail.end().await, [""; 0]);
    }
}

#[tokio::test]
async fn records_without_a_key_are_read() {
    // A stream that distributes records itself takes them, and a reader must not end over one.
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let direct = client(&ferro.endpoint());
    create_stream(&direct, "s", 1).await;
    let page = r#"{"Records":[{"SequenceNumber":"49","Data":"e30="},{"SequenceNumber":"50","PartitionKey":"k","Data":"AA=="},
        {"SequenceNumber":"51","Data":"AA=="}],"MillisBehindLatest":0,"NextShardIterator":""}"#;
    server.set(Plan {
        denied: [("GetRecords".to_owned(), Refusal::answer(page))].into(),
        ..Plan::default()
    });
    let mut tail = Tail::start(&server.endpoint(), StartFrom::TrimHorizon).await;
    let wrapped = |number: u8, key: &str| {
        let shard = "shardId-000000000000";
        format!(
            r#"{{"shardId":"{shard}","sequenceNumber":"{number}","partitionKey":{key},"data":"AA=="}}"#
        )
    };
    for expected in ["{}".to_owned(), wrapped(50, "\"k\""), wrapped(51, "null")] {
        assert_eq!(tail.line().await, Some(expected));
    }
    tail.end().await;
    assert_eq!(server.ledger().calls("GetRecords"), 1, "an empty iterator is the shard's end");
}
