//! PutRecords on the wire, in JSON and in CBOR: what is sent is what the SDK would have sent,
//! signed as it is, and both emulators read it. What is answered in CBOR is taken as the same in
//! JSON.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::NaiveDateTime;
use dispatchd_aws::CODES;
use dispatchd_aws::Kinesis;
use dispatchd_aws::put_records::body;
use dispatchd_aws::{Connection, Settings, Wire};
use dispatchd_core::model::StreamId;
use dispatchd_core::model::{Class, HashKey, PartitionKey, Record};
use dispatchd_core::model::{Entries, PutError, PutRecords, Verdict};
use dispatchd_core::wire::packed;
use serde_json::{Value, json};
use testkit::kinesis::{Emulators, Ferro};
use testkit::stream::{create_stream, entry, put, read_all};
use testkit::truth::{assert_acks_are_true, assert_key_order, numbered_lines};
use testkit::{client, http};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::DISPATCHD;

const BOTH: [Wire; 2] = [Wire::Json, Wire::Cbor];

/// A server that keeps what it is sent and always gives the same answer.
struct Server {
    endpoint: String,
    answer: Arc<Mutex<(StatusCode, HeaderMap, Bytes)>>,
    sent: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    _server: AbortOnDropHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let (answer, sent) = (Arc::default(), Arc::<Mutex<Vec<_>>>::default());
        let (says, keeps) = (Arc::clone(&answer), Arc::clone(&sent));
        let app = Router::new().route(
            "/",
            post(async move |headers: HeaderMap, body: Bytes| {
                keeps.lock().expect("nobody panics with it in hand").push((headers, body));
                let answer: &Mutex<(StatusCode, HeaderMap, Bytes)> = &says;
                answer.lock().expect("nobody panics with it in hand").clone()
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("axum::serve never returns")
        });
        Self { endpoint, answer, sent, _server: AbortOnDropHandle::new(server) }
    }

    fn says(&self, status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) {
        let headers = headers.iter().map(|(name, value)| {
            (
                (*name).try_into().expect("it is a name"),
                value.parse().expect("it is a header's value"),
            )
        });
        let status = StatusCode::from_u16(status).expect("it is a status");
        *self.answer.lock().expect("nobody panics with it in hand") =
            (status, headers.collect(), body.into());
    }

    /// What came last.
    fn sent(&self) -> (HeaderMap, Bytes) {
        self.sent
            .lock()
            .expect("nobody panics with it in hand")
            .last()
            .expect("something came")
            .clone()
    }
}

async fn kinesis(endpoint: &str, stream: StreamId, wire: Wire) -> Kinesis {
    let settings = Settings {
        connect_timeout: Duration::from_secs(3),
        attempt_timeout: Duration::from_secs(20),
        wire,
    };
    let connection = Connection::to_emulator(stream, endpoint, settings);
    Kinesis::connect(connection).await.expect("a region is named")
}

fn record(key: &str, hash: Option<u128>, data: &[u8]) -> Record {
    let key = PartitionKey::new(key).expect("it is short");
    Record::new(key, hash.map(HashKey), Bytes::copy_from_slice(data))
}

/// What a lane may send: bytes that are no text, odd keys, a place of its own, two events in one
/// record. And where each entry ends.
fn records() -> (Vec<Record>, Vec<usize>) {
    let all: Vec<u8> = (0..=255).collect();
    let records = vec![
        record("key", None, b"{}"),
        record("a \"quoted\"\\\n\u{1}\u{7f} key, é\u{2028}😀", None, &all),
        record("placed", Some(u128::MAX), &all[..7]),
        record("zero", Some(0), b"x"),
        record("shared", None, b"first"),
        record("shared", None, b"second"),
    ];
    (records, vec![1, 2, 3, 4, 6])
}

fn data(events: &[&Record]) -> Vec<u8> {
    if events.len() == 1 { events[0].data.to_vec() } else { packed::encode(events) }
}

async fn put_one(kinesis: &Kinesis) -> Result<Vec<Verdict>, PutError> {
    kinesis.put(Entries::new(vec![&record("k", None, b"x")], &[1])).await
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a Vec takes every write");
    bytes
}

#[tokio::test]
async fn a_request_in_json_is_the_one_that_the_sdk_would_have_sent() {
    let server = Server::start().await;
    let (records, ends) = records();
    let entries = Entries::new(records.iter().collect(), &ends);
    let sdk_entries = entries.iter().map(|events| {
        let mut entry = entry(events[0].key.as_str(), data(events));
        entry.explicit_hash_key = events[0].explicit_hash().map(|hash| hash.0.to_string());
        entry
    });
    let sdk_entries: Vec<_> = sdk_entries.collect();
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
    for stream in [StreamId::Name("s".into()), StreamId::Arn(arn.into())] {
        let call = client(&server.endpoint).put_records().set_records(Some(sdk_entries.clone()));
        let call = match &stream {
            StreamId::Name(name) => call.stream_name(name),
            StreamId::Arn(arn) => call.stream_arn(arn),
        };
        let _ = call.send().await; // what the server answers is no matter
        let (sdk_headers, sdk_body) = server.sent();
        let _ = kinesis(&server.endpoint, stream, Wire::Json).await.put(entries.clone()).await;
        let (headers, body) = server.sent();

        let json = |body: &Bytes| serde_json::from_slice::<Value>(body).expect("it is JSON");
        assert_eq!(json(&body), json(&sdk_body));
        // Whose program it is, and its own count of retries, say nothing to Kinesis.
        let of_the_sdk =
            ["user-agent", "x-amz-user-agent", "amz-sdk-request", "amz-sdk-invocation-id"];
        let names = |headers: &HeaderMap| -> BTreeSet<String> {
            headers
                .keys()
                .map(ToString::to_string)
                .filter(|name| !of_the_sdk.contains(&&**name))
                .collect()
        };
        assert_eq!(names(&headers), names(&sdk_headers));
        assert!(headers["user-agent"].to_str().is_ok_and(|agent| agent.starts_with("dispatchd/")));
        for name in ["content-type", "x-amz-target", "host"] {
            assert_eq!(headers[name], sdk_headers[name], "{name}");
        }
        assert_eq!(headers["content-length"], body.len().to_string());
    }
}

#[tokio::test]
async fn the_signature_is_that_of_the_body_that_is_sent() {
    // AWS would refuse every request that was signed before its body was swapped; no emulator
    // looks.
    let server = Server::start().await;
    let (records, ends) = records();
    for wire in BOTH {
        let kinesis = kinesis(&server.endpoint, StreamId::Name("s".into()), wire).await;
        let _ = kinesis.put(Entries::new(records.iter().collect(), &ends)).await;
        let (headers, body) = server.sent();
        assert_eq!(headers["content-type"], body::content_type(wire));
        assert_eq!(headers["x-amz-target"], "Kinesis_20131202.PutRecords");
        assert_eq!(headers["content-length"], body.len().to_string());
        let text = |name: &str| headers[name].to_str().expect("it is ASCII");
        let (signed, signature) = signed_and_signature(text("authorization"));
        for name in ["content-type", "host", "x-amz-date", "x-amz-target"] {
            assert!(signed.contains(&name), "{name} is not in {signed:?}");
        }
        let signed = signed.into_iter().map(|name| (name, text(name)));
        let url = format!("{}/", server.endpoint);
        assert_eq!(sign_again(&url, signed, text("x-amz-date"), &body), signature, "{wire:?}");
    }
}

/// The names of the signed headers, and the signature.
fn signed_and_signature(authorization: &str) -> (Vec<&str>, &str) {
    let part = |name: &str| {
        let (_, rest) = authorization
            .split_once(name)
            .unwrap_or_else(|| panic!("no {name} in {authorization}"));
        rest.split(',').next().unwrap_or_default()
    };
    (part("SignedHeaders=").split(';').collect(), part("Signature="))
}

fn sign_again<'a>(
    url: &'a str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    date: &str,
    body: &'a [u8],
) -> String {
    let at = NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ").expect("it is a date").and_utc();
    let identity = Credentials::new("local", "local", None, None, "embedded stream").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("kinesis")
        .time(SystemTime::from(at))
        .settings(SigningSettings::default())
        .build()
        .expect("all is set")
        .into();
    let request = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body))
        .expect("it is a request");
    sign(request, &params).expect("it can be signed").signature().to_owned()
}

#[tokio::test]
async fn both_emulators_store_what_was_meant_in_either_wire() {
    let emulators = Emulators::start().await;
    let (records, ends) = records();
    let entries = Entries::new(records.iter().collect(), &ends);
    for endpoint in emulators.endpoints() {
        for (name, wire) in [("json", Wire::Json), ("cbor", Wire::Cbor)] {
            create_stream(&client(&endpoint), name, 3).await;
            let kinesis = kinesis(&endpoint, StreamId::Name(name.into()), wire).await;
            let verdicts = kinesis.put(entries.clone()).await.expect("it is answered");
            for (events, verdict) in entries.iter().zip(verdicts) {
                let Verdict::Stored { shard_id, sequence_number } = verdict else {
                    panic!("{verdict:?}")
                };
                let stored = stored_at(&endpoint, name, &shard_id, &sequence_number).await;
                assert_eq!(stored["PartitionKey"], events[0].key.as_str());
                assert_eq!(data_of(&stored), data(events), "{endpoint} {wire:?}");
            }
        }
    }
}

/// A record of a stream as the emulator gives it.
async fn stored_at(endpoint: &str, stream: &str, shard_id: &str, sequence_number: &str) -> Value {
    let ask = async |operation: &str, body: Value| {
        http::call(endpoint, operation, &body.to_string()).await.expect("it is answered").json()
    };
    let start = json!({"StreamName": stream, "ShardId": shard_id, "ShardIteratorType": "AT_SEQUENCE_NUMBER",
        "StartingSequenceNumber": sequence_number});
    let iterator = ask("GetShardIterator", start).await;
    let page =
        ask("GetRecords", json!({"ShardIterator": iterator["ShardIterator"], "Limit": 1})).await;
    assert_eq!(page["Records"][0]["SequenceNumber"], sequence_number, "{page}");
    page["Records"][0].clone()
}

/// kinesalite gives in JSON what it got as bytes as node prints a buffer.
fn data_of(record: &Value) -> Vec<u8> {
    match &record["Data"] {
        Value::String(text) => STANDARD.decode(text).expect("it is base64"),
        buffer => serde_json::from_value(buffer["data"].clone()).expect("it is a list of bytes"),
    }
}

#[tokio::test]
async fn both_emulators_refuse_in_either_wire_alike() {
    let emulators = Emulators::start().await;
    for endpoint in emulators.endpoints() {
        create_stream(&client(&endpoint), "s", 1).await;
        let large = record("k", None, &vec![b'x'; 2 << 20]);
        for (stream, record, expected) in [
            ("missing", record("k", None, b"x"), "ResourceNotFoundException"),
            ("s", large, "ValidationException"),
        ] {
            let mut errors = Vec::new();
            for wire in BOTH {
                let kinesis = kinesis(&endpoint, StreamId::Name(stream.into()), wire).await;
                let error = kinesis.put(Entries::new(vec![&record], &[1])).await;
                errors.push(error.expect_err("nothing can be stored"));
            }
            assert_eq!(errors[0].code, expected, "{endpoint}: {}", errors[0].message);
            assert_eq!(
                (errors[1].class, &errors[1].code),
                (errors[0].class, &errors[0].code),
                "{endpoint}"
            );
            assert_eq!(errors[1].maybe_stored, errors[0].maybe_stored);
        }
    }
}

#[tokio::test]
async fn an_error_in_cbor_is_what_it_is_in_json() {
    let server = Server::start().await;
    let stream = StreamId::Name("s".into());
    let kinesis = kinesis(&server.endpoint, stream, Wire::Cbor).await;
    let names = CODES.iter().map(|(code, _)| *code).chain([
        "InternalFailure",
        "SomethingNewException",
        "com.amazonaws.kinesis.v20131202#ResourceNotFoundException",
        "com.amazon.coral.service#AccessDeniedException:http://internal.amazon.com/coral/com.amazon.coral.service/",
    ]);
    for code in names {
        for status in [400, 403, 408, 413, 500, 503] {
            let body = json!({"__type": code, "message": "words"});
            server.says(
                status,
                &[("content-type", "application/x-amz-json-1.1")],
                body.to_string(),
            );
            let in_json = put_one(&kinesis).await.expect_err("it is an error");
            assert_eq!(in_json.message, "words");
            let cbor_type = ("content-type", "application/x-amz-cbor-1.1");
            server.says(status, &[cbor_type], cbor(&body));
            assert_eq!(
                put_one(&kinesis).await.expect_err("it is an error"),
                in_json,
                "{code} {status}"
            );
            // The code in the header, which both have it from first.
            server.says(
                status,
                &[cbor_type, ("x-amzn-errortype", code)],
                cbor(&json!({"message": "words"})),
            );
            assert_eq!(
                put_one(&kinesis).await.expect_err("it is an error"),
                in_json,
                "{code} {status}"
            );
        }
    }
}

#[tokio::test]
async fn an_error_without_a_code_or_that_cannot_be_read_has_the_class_of_its_status() {
    let server = Server::start().await;
    let kinesis = kinesis(&server.endpoint, StreamId::Name("s".into()), Wire::Cbor).await;
    for body in [
        vec![],
        b"<html>".to_vec(),
        cbor(&json!({"message": "words"})),
        cbor(&json!({"__type": 7})),
        vec![0xbf],
    ] {
        for (status, class, maybe_stored) in [
            (429, Class::Throttled, false),
            (413, Class::Poison, false),
            (502, Class::Transient, true),
        ] {
            server.says(status, &[("content-type", "application/x-amz-cbor-1.1")], body.clone());
            let error = put_one(&kinesis).await.expect_err("it is an error");
            assert_eq!(
                (error.class, error.maybe_stored),
                (class, maybe_stored),
                "{status} {body:?}"
            );
            assert_eq!(error.code, format!("HTTP {status}"), "{body:?}");
        }
    }
}

#[tokio::test]
async fn a_reply_in_cbor_that_cannot_be_read_or_has_another_length_may_have_stored_all() {
    let server = Server::start().await;
    let kinesis = kinesis(&server.endpoint, StreamId::Name("s".into()), Wire::Cbor).await;
    let one = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
    let whole = cbor(&json!({"Records": [one]}));
    let mut bodies: Vec<_> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
    bodies.push(cbor(&json!({"Records": [one, one]})));
    bodies.push(cbor(&json!({"Records": []})));
    for body in bodies {
        server.says(200, &[("content-type", "application/x-amz-cbor-1.1")], body.clone());
        let PutError { class, code, maybe_stored, .. } =
            put_one(&kinesis).await.expect_err("nothing is confirmed");
        assert_eq!(
            (class, code.as_str(), maybe_stored),
            (Class::Transient, "BadReply", true),
            "{body:?}"
        );
    }
    server.says(200, &[("content-type", "application/x-amz-cbor-1.1")], whole);
    assert!(matches!(
        put_one(&kinesis).await.expect("it is one record")[..],
        [Verdict::Stored { .. }]
    ));
}

#[tokio::test]
async fn a_daemon_that_speaks_cbor_acks_what_is_in_the_stream() {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", 2).await;
    put(&client, "s", vec![entry("before", "{}")]).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").set("kinesis.wire", "cbor").start().await;
    let acks = daemon.connect().await.pipeline(numbered_lines(2_000, 50)).await;
    let mut stored = read_all(&client, "s").await;
    stored.retain(|record| record.partition_key != "before");
    assert_eq!((acks.len(), assert_acks_are_true(&acks, &stored)), (2_000, 0));
    assert_key_order(&stored);
}
