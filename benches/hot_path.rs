//! Single steps of an event's trip, each by itself: time and allocations.
//!
//! `cargo bench --bench hot_path [FILTER]`; see docs/performance.md. An argument is the bytes of
//! `data`; a step that works on a whole request of 500 events says so by its counter, in items a
//! second.

mod path;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::{Bytes, BytesMut};
use dispatchd_aws::Kinesis;
use dispatchd_aws::put_records::body;
use dispatchd_aws::{Connection, Settings, Wire};
use dispatchd_core::model::PutRecords;
use dispatchd_core::model::StreamId;
use dispatchd_core::model::envelope::{Draft, Timestamp};
use dispatchd_core::model::{Event, Fingerprints, Outcome, PartitionKey, Position, Record};
use dispatchd_core::wire::ndjson::lines::Splitter;
use dispatchd_core::wire::ndjson::request::{self, Request};
use dispatchd_producer::lane::Batch;
use dispatchd_producer::lane::Group;
use dispatchd_producer::lane::dedupe::{Admission, Dedupe, Window};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use minicbor::Encoder;
use testkit::orders;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::path::{GROUP, Path, SEQUENCE_NUMBER, verdicts};

const SIZES: [usize; 3] = [200, 1024, 10 * 1024];

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn split_line(bencher: Bencher, data_bytes: usize) {
    let line = orders::line(&orders::data(data_bytes), 7);
    bencher
        .with_inputs(|| Splitter::new(1 << 20))
        .bench_local_refs(|splitter| splitter.next(line.as_bytes()).is_some());
}

#[divan::bench(args = SIZES)]
fn parse_line(bencher: Bencher, data_bytes: usize) {
    let line = orders::line(&orders::data(data_bytes), 7);
    bencher.bench_local(|| request::parse(line.as_bytes(), 1).request.expect("it is an event"));
}

/// The envelope, one copy and one MD5; the id is part of it.
#[divan::bench(args = SIZES)]
fn seal_envelope(bencher: Bencher, data_bytes: usize) {
    let line = orders::line(&orders::data(data_bytes), 7);
    bencher.with_inputs(|| event(&line)).bench_local_values(|event| {
        let key = event.key.expect("its caller chose one");
        let draft = Draft {
            id: Uuid::new_v4(),
            event_type: &event.event_type,
            data: event.data,
            timestamp: Timestamp::from_unix_ms(1_795_210_449_335),
            user_id: None,
            producer_id: "orders@pod-7f9c",
            key: &key,
            more: None,
        };
        let data = draft.seal(draft.sealed_len());
        Record::new(key, event.explicit_hash, data)
    });
}

/// What an event costs more whose caller chose its id, where it enters.
#[divan::bench(args = SIZES)]
fn fingerprint(bencher: Bencher, data_bytes: usize) {
    let (line, fingerprints) =
        (orders::line(&orders::data(data_bytes), 7), Fingerprints::default());
    let event = event(&line);
    bencher.bench_local(|| fingerprints.of(divan::black_box(&event).said()));
}

/// What the window costs in the lane: 500 ids are met, acked and remembered. The allocations are
/// what it grows by, over all samples.
#[divan::bench]
fn remember_500(bencher: Bencher) {
    let (data, now) = (orders::data(SIZES[0]), Instant::now());
    let lines: String = (0..GROUP).map(|key| orders::line(&data, key)).collect();
    let mut path = Path::with_chosen_ids();
    let mut dedupe = Dedupe::new(Window { ids_max: 300_000, keep_for: Duration::from_secs(300) });
    let position = Position {
        shard_id: "shardId-000000000001".into(),
        sequence_number: SEQUENCE_NUMBER.into(),
        sub_sequence_number: None,
    };
    let outcome = Outcome::Durable(position);
    let inputs = || path.accept(&mut BytesMut::from(&*lines));
    bencher.counter(ItemsCount::new(GROUP)).with_inputs(inputs).bench_local_values(|items| {
        let admitted = items.into_iter().map(|item| match dedupe.admit(item, now) {
            Admission::New(item) => {
                dedupe.close(&item, &outcome, now);
                item // dropped outside of what is timed
            }
            other => panic!("{other:?}"),
        });
        admitted.collect::<Vec<_>>()
    });
}

#[divan::bench]
fn hash_key(bencher: Bencher) {
    let key = PartitionKey::new("customer-000007").expect("it is short");
    bencher.bench_local(|| divan::black_box(&key).hash());
}

#[divan::bench(args = SIZES)]
fn take_in_500(bencher: Bencher, data_bytes: usize) {
    bencher
        .counter(ItemsCount::new(GROUP))
        .with_inputs(|| accepted(data_bytes))
        .bench_local_values(|(mut path, items)| {
            path.take_in(items);
            path // dropped outside of what is timed
        });
}

#[divan::bench(args = SIZES)]
fn send_500(bencher: Bencher, data_bytes: usize) {
    bencher
        .counter(ItemsCount::new(GROUP))
        .with_inputs(|| {
            let (mut path, items) = accepted(data_bytes);
            path.take_in(items);
            path
        })
        .bench_local_refs(Path::send);
}

/// Verdicts → outcomes → tickets → outbox.
#[divan::bench(args = SIZES)]
fn land_500(bencher: Bencher, data_bytes: usize) {
    bencher
        .counter(ItemsCount::new(GROUP))
        .with_inputs(|| {
            let (path, batch) = sent(data_bytes);
            (path, batch, verdicts(GROUP))
        })
        .bench_local_values(|(mut path, batch, verdicts)| {
            path.land(batch, verdicts);
            path
        });
}

/// Records → the body of a request.
#[divan::bench(args = SIZES)]
fn write_500(bencher: Bencher, data_bytes: usize) {
    let (_path, batch) = sent(data_bytes);
    let stream = StreamId::Name("bench".into());
    bencher
        .counter(ItemsCount::new(GROUP))
        .bench_local(|| body::request(Wire::Json, &stream, &batch.entries()));
}

/// The body of a reply → verdicts.
#[divan::bench]
fn read_500(bencher: Bencher) {
    let reply = reply(Wire::Json);
    bencher
        .counter(ItemsCount::new(GROUP))
        .bench_local(|| body::reply(Wire::Json, &reply).expect("it is a reply"));
}

/// One PutRecords, to a server on loopback that does nothing but answer: the request is written,
/// signed and sent, the reply read. Both ends are timed.
#[divan::bench(args = SIZES)]
fn put_500(bencher: Bencher, data_bytes: usize) {
    put(bencher, data_bytes, Wire::Json);
}

#[divan::bench(args = SIZES)]
fn put_500_cbor(bencher: Bencher, data_bytes: usize) {
    put(bencher, data_bytes, Wire::Cbor);
}

fn put(bencher: Bencher, data_bytes: usize, wire: Wire) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let kinesis = runtime.block_on(kinesis(wire));
    let (_path, batch) = sent(data_bytes);
    bencher.counter(ItemsCount::new(GROUP)).bench_local(|| {
        runtime.block_on(kinesis.put(batch.entries())).expect("the connection answers").len()
    });
}

/// Outbox → bytes.
#[divan::bench]
fn print_500(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(GROUP))
        .with_inputs(|| {
            let (mut path, batch) = sent(SIZES[0]);
            path.land(batch, verdicts(GROUP));
            path
        })
        .bench_local_refs(Path::print);
}

fn event(line: &str) -> Event<'_> {
    match request::parse(line.as_bytes(), 1).request {
        Ok(Request::Event(event)) => event,
        other => panic!("{other:?} is no event"),
    }
}

/// A group of events of as many keys that stands before the lane.
fn accepted(data_bytes: usize) -> (Path, Group) {
    let data = orders::data(data_bytes);
    let lines: String = (0..GROUP).map(|key| orders::line(&data, key)).collect();
    let mut path = Path::new();
    let items = path.accept(&mut BytesMut::from(&*lines));
    (path, items)
}

/// A path whose batch is on its way to the stream.
fn sent(data_bytes: usize) -> (Path, Batch) {
    let (mut path, items) = accepted(data_bytes);
    path.take_in(items);
    let batch = path.send();
    (path, batch)
}

/// A client of a server, in a thread of its own, that answers every request as a PutRecords of 500
/// that was stored.
async fn kinesis(wire: Wire) -> Kinesis {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("it can be");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let reply = reply(wire);
            let app = Router::new().fallback(async move |body: Body| {
                to_bytes(body, usize::MAX).await.expect("the client sends all of it");
                ([("content-type", body::content_type(wire))], reply)
            });
            let listener = TcpListener::from_std(listener).expect("it is of the kind");
            axum::serve(listener, app).await.expect("axum::serve never returns");
        });
    });
    let settings = Settings {
        connect_timeout: Duration::from_secs(3),
        attempt_timeout: Duration::from_secs(10),
        wire,
    };
    let connection = Connection::to_emulator(StreamId::Name("bench".into()), endpoint, settings);
    Kinesis::connect(connection).await.expect("its region is named")
}

fn reply(wire: Wire) -> Bytes {
    let shard_id = |n: usize| format!("shardId-{:012}", n % 4);
    match wire {
        Wire::Json => {
            let entry = |n| {
                format!(r#"{{"SequenceNumber":"{SEQUENCE_NUMBER}","ShardId":"{}"}}"#, shard_id(n))
            };
            let entries: Vec<_> = (0..GROUP).map(entry).collect();
            format!(r#"{{"FailedRecordCount":0,"Records":[{}]}}"#, entries.join(",")).into()
        }
        Wire::Cbor => {
            let mut reply = Encoder::new(Vec::new());
            let mut write = || {
                reply
                    .map(2)?
                    .str("FailedRecordCount")?
                    .u8(0)?
                    .str("Records")?
                    .array(GROUP as u64)?;
                for n in 0..GROUP {
                    reply
                        .map(2)?
                        .str("SequenceNumber")?
                        .str(SEQUENCE_NUMBER)?
                        .str("ShardId")?
                        .str(&shard_id(n))?;
                }
                Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
            };
            write().expect("a Vec takes every write");
            reply.into_writer().into()
        }
    }
}
