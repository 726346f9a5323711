use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ciborium::Value as Cbor;
use dispatchd_core::model::{Class, Entries, HashKey, PartitionKey, Record, StreamId, Verdict};
use dispatchd_core::wire::packed;
use dispatchd_transport::{NoReply, NotConnected};
use hyper::{Response, StatusCode};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::body::*;
use super::{Failure, body, cbor, json, read_reply};
use crate::settings::Wire;

const BOTH: [Wire; 2] = [Wire::Json, Wire::Cbor];
const NUMBER: &str = "49681234567890123456789012345678901234567890123456789012";

/// An entry as Kinesis reads it.
#[derive(Debug, PartialEq)]
struct Written {
    data: Vec<u8>,
    key: String,
    hash: Option<String>,
}

/// What a body holds, read by other code than wrote it: the field and name of the stream, and the
/// entries.
fn written(wire: Wire, body: &[u8]) -> (String, String, Vec<Written>) {
    let mut fields: BTreeMap<String, Field> = match wire {
        Wire::Json => from_json(serde_json::from_slice(body).expect("it is JSON")),
        Wire::Cbor => from_cbor(ciborium::from_reader(body).expect("it is CBOR")),
    };
    let Some(Field::List(entries)) = fields.remove("Records") else { panic!("no Records") };
    let entries = entries.into_iter().map(|mut entry| {
        let (data, key) = (entry.remove("Data"), entry.remove("PartitionKey"));
        let hash = entry.remove("ExplicitHashKey");
        assert!(entry.is_empty(), "{entry:?}");
        Written {
            data: match (wire, data) {
                (Wire::Json, Some(Field::Text(text))) => {
                    STANDARD.decode(text).expect("it is base64")
                }
                (Wire::Cbor, Some(Field::Bytes(bytes))) => bytes,
                (_, other) => panic!("{other:?} is no data"),
            },
            key: text(key).expect("every entry has a key"),
            hash: hash.and_then(|hash| text(Some(hash))),
        }
    });
    let entries = entries.collect();
    let (field, name) = fields.pop_first().expect("the stream is named");
    assert!(fields.is_empty(), "{fields:?}");
    (field, text(Some(name)).expect("a stream's name is a text"), entries)
}

#[derive(Debug)]
enum Field {
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<BTreeMap<String, Field>>),
}

fn text(field: Option<Field>) -> Option<String> {
    match field {
        Some(Field::Text(text)) => Some(text),
        _ => None,
    }
}

fn from_json(value: Json) -> BTreeMap<String, Field> {
    let Json::Object(object) = value else { panic!("{value} is no object") };
    let field = |value| match value {
        Json::String(text) => Field::Text(text),
        Json::Array(list) => Field::List(list.into_iter().map(from_json).collect()),
        other => panic!("{other} has no place here"),
    };
    object.into_iter().map(|(name, value)| (name, field(value))).collect()
}

fn from_cbor(value: Cbor) -> BTreeMap<String, Field> {
    let Cbor::Map(map) = value else { panic!("{value:?} is no map") };
    let field = |value| match value {
        Cbor::Text(text) => Field::Text(text),
        Cbor::Bytes(bytes) => Field::Bytes(bytes),
        Cbor::Array(list) => Field::List(list.into_iter().map(from_cbor).collect()),
        other => panic!("{other:?} has no place here"),
    };
    map.into_iter()
        .map(|(name, value)| (name.into_text().expect("names are texts"), field(value)))
        .collect()
}

fn record(key: &str, hash: Option<u128>, data: &[u8]) -> Record {
    let key = PartitionKey::new(key).expect("a test's key is short");
    Record::new(key, hash.map(HashKey), Bytes::copy_from_slice(data))
}

/// What Kinesis should read of these entries.
fn expected(entries: &Entries<'_>) -> Vec<Written> {
    let of = |events: &[&Record]| Written {
        data: if events.len() == 1 { events[0].data.to_vec() } else { packed::encode(events) },
        key: events[0].key.as_str().to_owned(),
        hash: events[0].explicit_hash().map(|hash| hash.0.to_string()),
    };
    entries.iter().map(of).collect()
}

/// A reply in both formats, from the same fields.
fn replies(records: &Json) -> [(Wire, Vec<u8>); 2] {
    let reply = serde_json::json!({
        "EncryptionType": "KMS", "FailedRecordCount": 1, "Records": records, "New": [{}, 1.5],
    });
    let mut cbor = Vec::new();
    ciborium::into_writer(&reply, &mut cbor).expect("a Vec takes every write");
    [(Wire::Json, reply.to_string().into_bytes()), (Wire::Cbor, cbor)]
}

fn stored(shard_id: &str, number: &str) -> Verdict {
    Verdict::Stored { shard_id: shard_id.into(), sequence_number: number.into() }
}

proptest! {
    #[test]
    fn every_entry_is_read_as_it_was_meant_and_the_body_is_allocated_once_and_not_much_too_large(
        events in prop::collection::vec(
            (
                any::<String>(),
                prop::collection::vec(any::<u8>(), 0..400),
                prop::option::of(any::<u128>()),
                any::<bool>(),
            ),
            1..30,
        ),
        name in "[a-zA-Z0-9_.-]{1,20}",
        by_arn in any::<bool>(),
    ) {
        let mut records: Vec<Record> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        for (key, data, hash, joins) in &events {
            // Any text of one to three characters, quotes and control characters included.
            let key: String = key.chars().take(3).chain(['k']).collect();
            let is_like = |last: &Record| last.explicit_hash().is_some() == hash.is_some();
            let joins = *joins && records.last().is_some_and(is_like);
            records.push(record(&key, *hash, data));
            if joins {
                ends.pop();
            }
            ends.push(records.len());
        }
        let entries = &Entries::new(records.iter().collect(), &ends);
        let (field, stream) = match by_arn {
            true => ("StreamARN", StreamId::Arn(name.clone())),
            false => ("StreamName", StreamId::Name(name.clone())),
        };
        for wire in BOTH {
            let body = request(wire, &stream, entries);
            let bytes_max = match wire {
                Wire::Json => json::body_bytes_max(&stream, entries),
                Wire::Cbor => cbor::body_bytes_max(&stream, entries),
            };
            let length = body.len();
            // Of a packed member up to 80 bytes are not there, and in base64 a third more.
            let may_be = length..=length + 160 * (1 + records.len());
            let is_so = may_be.contains(&bytes_max);
            prop_assert!(is_so, "{wire:?}: {length} bytes, {bytes_max} were reckoned");
            let expected = (field.to_owned(), name.clone(), expected(entries));
            prop_assert_eq!(written(wire, &body), expected);
        }
    }

    #[test]
    fn nothing_that_comes_back_makes_a_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for wire in BOTH {
            let _ = reply(wire, &bytes);
            let _ = error(wire, &bytes);
        }
    }
}

#[test]
fn what_is_reckoned_for_single_events_is_what_their_body_takes_and_little_more() {
    let records = [
        record("k", None, b"12345"),
        record("a \"key\"\n", None, b""),
        record("é", Some(u128::MAX), b"x"),
    ];
    let (stream, entries) =
        (StreamId::Name("s".into()), Entries::new(records.iter().collect(), &[1, 2, 3]));
    // In JSON it is exact: there is one comma fewer than there are entries.
    assert_eq!(
        request(Wire::Json, &stream, &entries).len() + 1,
        json::body_bytes_max(&stream, &entries)
    );
    // In CBOR five heads of the body, five of each entry and two of the hash key are reckoned at
    // nine bytes. All of them take one, but for that of the digits, which takes two.
    assert_eq!(
        request(Wire::Cbor, &stream, &entries).len() + 8 * (5 + 3 * 5 + 2) - 1,
        cbor::body_bytes_max(&stream, &entries)
    );
}

#[test]
fn a_reply_says_of_each_entry_where_it_is_or_why_not() {
    let records = serde_json::json!([
        {"SequenceNumber": NUMBER, "ShardId": "shardId-000000000003"},
        {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "a \"quoted\" line\né"},
        {"SequenceNumber": "1", "ShardId": "shardId-000000000003", "ErrorCode": null, "ErrorMessage": null, "New": {"a": []}},
        {"SequenceNumber": "9".repeat(129), "ShardId": "one of another kind"},
        {"SequenceNumber": "1", "ShardId": "shardId-000000000003", "ErrorCode": "InternalFailure"},
        {"SequenceNumber": "1", "ShardId": "shardId-000000000003", "ErrorCode": ""},
        {"SequenceNumber": "1"},
        {"ShardId": "shardId-000000000003"},
        {"SequenceNumber": "", "ShardId": "shardId-000000000003"},
        {"SequenceNumber": "1", "ShardId": ""},
        {"ErrorMessage": "words"},
        {},
    ]);
    let failed = |class, code: &str, message: &str| Verdict::Failed {
        class,
        code: code.into(),
        message: message.into(),
    };
    let verdicts = [
        stored("shardId-000000000003", NUMBER),
        failed(Class::Throttled, "ProvisionedThroughputExceededException", "a \"quoted\" line\né"),
        stored("shardId-000000000003", "1"),
        stored("one of another kind", &"9".repeat(129)),
        failed(Class::Transient, "InternalFailure", ""),
        stored("shardId-000000000003", "1"),
        Verdict::Unclear,
        Verdict::Unclear,
        Verdict::Unclear,
        Verdict::Unclear,
        Verdict::Unclear,
        Verdict::Unclear,
    ];
    for (wire, body) in replies(&records) {
        assert_eq!(reply(wire, &body).expect("it is a reply"), verdicts, "{wire:?}");
    }
}

#[test]
fn a_reply_that_is_cut_or_goes_on_is_none() {
    let records =
        serde_json::json!([{"SequenceNumber": NUMBER, "ShardId": "shardId-000000000000"}]);
    for (wire, body) in replies(&records) {
        for end in 0..body.len() {
            assert!(reply(wire, &body[..end]).is_err(), "{wire:?} cut at {end}");
        }
        assert!(reply(wire, &[&body[..], b"\0"].concat()).is_err(), "{wire:?}");
    }
}

#[test]
fn a_reply_of_another_kind_is_none() {
    for (wire, body) in [
        serde_json::json!(7),
        serde_json::json!({"a": 1}),
        serde_json::json!([null]),
        serde_json::json!(null),
    ]
    .iter()
    .flat_map(replies)
    {
        assert!(reply(wire, &body).is_err(), "{wire:?}: {}", String::from_utf8_lossy(&body));
    }
    for body in [&b"{}"[..], b"\xa0", b"", b"[]", b"\x80", b"\xff", b"\x9f"] {
        assert!(BOTH.iter().all(|wire| reply(*wire, body).is_err()), "{body:?}");
    }
}

#[test]
fn cbor_may_leave_lengths_open_and_cut_texts_in_pieces() {
    let body = b"\xbf\x67Records\x9f\xbf\x67ShardId\x7f\x62sh\x62ar\xff\
        \x6eSequenceNumber\x62\x34\x32\xff\xff\xff";
    assert_eq!(reply(Wire::Cbor, body).expect("it is a reply"), [stored("shar", "42")]);
}

#[test]
fn an_error_has_a_code_and_a_message_in_both_forms_whichever_way_they_are_spelled() {
    let told = |body: Json| {
        let mut cbor = Vec::new();
        ciborium::into_writer(&body, &mut cbor).expect("a Vec takes every write");
        let said = |wire, body: &[u8]| error(wire, body).map(|told| (told.code, told.message)).ok();
        let told = said(Wire::Cbor, &cbor);
        assert_eq!(told, said(Wire::Json, body.to_string().as_bytes()), "{body}");
        told
    };
    let both = Some((Some("Odd".to_owned()), Some("words".to_owned())));
    assert_eq!(told(serde_json::json!({"__type": "Odd", "message": "words", "New": [1]})), both);
    assert_eq!(told(serde_json::json!({"__type": "Odd", "Message": "words"})), both);
    assert_eq!(told(serde_json::json!({"__type": null})), Some((None, None)));
    assert_eq!(told(serde_json::json!(["__type"])), None);
    assert!(BOTH.into_iter().all(|wire| error(wire, b"").is_err()));
}

#[test]
fn a_reply_is_of_the_form_that_it_says() {
    assert_eq!(BOTH.map(|wire| format_of(Some(content_type(wire)))), BOTH);
    assert_eq!(format_of(Some("application/x-amz-cbor-1.1; charset=binary")), Wire::Cbor);
    assert_eq!([None, Some("text/html"), Some("")].map(format_of), [Wire::Json; 3]);
}

fn verdicts(reply: &Response<Bytes>) -> Result<Vec<Verdict>, Failure> {
    read_reply(reply, |wire, body| Ok(body::reply(wire, body)?))
}

/// What the status and the error of a reply stand for.
fn refusal(status: u16, error_type: Option<&str>, body: &str) -> Failure {
    let mut reply = Response::builder().status(status);
    if let Some(error_type) = error_type {
        reply = reply.header("x-amzn-errortype", error_type);
    }
    let reply = reply.body(Bytes::from(body.to_owned())).expect("a status and a header");
    verdicts(&reply).expect_err("the status is an error")
}

#[test]
fn the_code_of_a_refusal_is_told_without_what_servers_write_around_it() {
    for spelled in ["Odd", "com.amazonaws#Odd", "Odd:http://example.com/", "a.b#Odd:http://c#d"] {
        let body = serde_json::json!({"__type": spelled}).to_string();
        for failure in [refusal(400, None, &body), refusal(400, Some(spelled), "{}")] {
            assert_eq!(failure.classify().1, "Odd", "{spelled}");
        }
    }
}

#[test]
fn a_reply_says_whether_records_may_have_been_stored_all_the_same() {
    for (status, maybe_stored) in [(400, false), (403, false), (408, true), (500, true)] {
        let error = refusal(status, Some("Odd"), "{}").into_error();
        assert_eq!((&*error.code, error.maybe_stored), ("Odd", maybe_stored), "{status}");
    }
    let page = refusal(502, None, "<html>\n  <b>Bad gateway</b>").into_error();
    assert_eq!((&*page.code, page.maybe_stored), ("HTTP 502", true));
    assert_eq!(page.message, "the reply is not Kinesis': <html> <b>Bad gateway</b>");
    let unreadable = verdicts(&Response::new(Bytes::from("<html>"))).expect_err("it is a page");
    assert!(unreadable.into_error().maybe_stored);
}

#[test]
fn without_a_reply_records_may_have_been_stored_unless_there_was_no_connection() {
    let within = Duration::from_secs(1);
    let not_connected = NotConnected::TimedOut { to: "a host".to_owned(), within };
    for (no_reply, maybe_stored) in [
        (NoReply::NotConnected(not_connected), false),
        (NoReply::Late(within), true),
        (NoReply::TooLarge { status: StatusCode::OK, bytes_max: 1 }, true),
    ] {
        let error = Failure::from(no_reply).into_error();
        assert_eq!(error.maybe_stored, maybe_stored, "{error:?}");
    }
}
