//! Each form as its writer writes it, and what is refused by name.

use proptest::prelude::*;

use super::*;
use crate::model::{PartitionKey, Record as Sealed};
use crate::wire::dead_letter::{Batch, DeadLetter, End, Letter};
use crate::wire::forward::lambda::Mapping;
use crate::wire::forward::{Outgoing, kinesis};
use crate::wire::packed;
use std::time::{Duration, UNIX_EPOCH};
use uuid::Uuid;

const DATA: &str = "eyJ0eXBlIjoidCJ9"; // {"type":"t"}
const SECOND: Micros = 1_000_000;

fn read(text: &str) -> Result<Vec<Archived>, NotArchived> {
    super::read(text).map(|line| line.events().collect())
}

fn one(text: &str) -> Archived {
    let mut events = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(events.len(), 1, "{text}");
    events.remove(0)
}

fn event(key: Option<&str>, arrived: Option<Micros>) -> Archived {
    let data = Bytes::from_static(b"{\"type\":\"t\"}");
    Archived { data, partition_key: key.map(str::to_owned), arrived }
}

#[test]
fn an_envelope_keeps_every_byte() {
    for text in [
        r#"{"id":"1", "type":"t","data":{"n":1.50,"big":9007199254740993}}"#,
        r#"{"version":"0","detail-type":"T","detail":{}}"#,
        r#"{"type":"t","data":"eyJ9","sequence":1}"#,
    ] {
        let expected =
            Archived { data: text.to_owned().into(), partition_key: None, arrived: None };
        assert_eq!(one(text), expected);
    }
}

#[test]
fn a_record_is_read_with_seconds_with_a_text_and_with_neither() {
    for (text, key, arrived) in [
        (
            r#"{"kinesisSchemaVersion":"1.0","partitionKey":"k","sequenceNumber":"49","data":"D",
            "approximateArrivalTimestamp":1545084650.987}"#,
            Some("k"),
            Some(1_545_084_650_987_000),
        ),
        (
            r#"{"data":"D","sequenceNumber":"49","partitionKey":"k",
            "approximateArrivalTimestamp":"1970-01-01T00:00:01.500Z"}"#,
            Some("k"),
            Some(SECOND * 3 / 2),
        ),
        (r#"{"sequenceNumber":"49","data":"D"}"#, None, None),
        (r#"{"shardId":"s","sequenceNumber":"49","partitionKey":null,"data":"D"}"#, None, None),
    ] {
        assert_eq!(one(&text.replace("\"D\"", &format!("{DATA:?}"))), event(key, arrived));
    }
}

#[test]
fn an_invocation_gives_each_of_its_records() {
    let record = format!(
        r#"{{"kinesis":{{"partitionKey":"k","sequenceNumber":"49","data":"{DATA}",
        "approximateArrivalTimestamp":1.5}},"eventSource":"aws:kinesis"}}"#
    );
    let expected = event(Some("k"), Some(SECOND * 3 / 2));
    let events = read(&format!(r#"{{"Records":[{record},{record}]}}"#)).expect("an invocation");
    assert_eq!(events, [expected.clone(), expected.clone()]);
    assert_eq!(one(&record), expected);
    assert!(read(r#"{"Records":[]}"#).expect("an empty one").is_empty());
}

#[test]
fn what_tail_and_forward_write_of_a_record_is_read_back() {
    let record = Outgoing {
        shard: "shardId-000000000000",
        sequence_number: "49",
        sub_sequence_number: None,
        partition_key: Some("k"),
        data: b"{\"type\":\"t\"}",
        arrived: Some(UNIX_EPOCH + Duration::from_millis(1500)),
    };
    let mapping = Mapping {
        stream_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/s".to_owned(),
        region: "eu-west-1".to_owned(),
        role_arn: String::new(),
    };
    let mut line = Vec::new();
    kinesis::push(&record, &mut line);
    let invocation = mapping.body([record, record].into_iter());
    let expected = event(Some("k"), Some(SECOND * 3 / 2));
    for (text, count) in [(line, 1), (invocation, 2)] {
        let text = String::from_utf8(text).expect("JSON is text");
        assert_eq!(read(&text).expect("it is read"), vec![expected.clone(); count]);
    }
}

#[test]
fn a_dead_letter_of_ours_gives_the_record_that_was_given_up() {
    let end = End { sequence_number: "49", arrived: None };
    let letter = DeadLetter {
        target: "orders",
        stream_arn: "s",
        request_id: Uuid::nil(),
        condition: "RecordRefused",
        attempts: 1,
        response: None,
        at: UNIX_EPOCH,
        batch: Batch { first: end, last: end, records_count: 1 },
        record: Letter {
            shard: "shardId-000000000000",
            sequence_number: "49",
            sub_sequence_number: None,
            partition_key: Some("k"),
            arrived: Some(UNIX_EPOCH + Duration::from_millis(1500)),
            data: b"{\"type\":\"t\"}",
        },
    };
    let line = String::from_utf8(letter.to_line()).expect("JSON is text");
    assert_eq!(one(&line), event(Some("k"), Some(SECOND * 3 / 2)));
}

#[test]
fn what_lambda_keeps_in_s3_gives_its_records_as_an_object_and_as_a_text() {
    let records = format!(
        r#"{{"Records":[{{"kinesis":{{"partitionKey":"k","sequenceNumber":"4","data":"{DATA}"}}}}]}}"#
    );
    let text = serde_json::to_string(&records).expect("a text is JSON");
    for payload in [records, text] {
        let line = format!(
            r#"{{"requestContext":{{}},"version":"1.0","KinesisBatchInfo":{{}},"payload":{payload}}}"#
        );
        assert_eq!(one(&line), event(Some("k"), None));
    }
}

#[test]
fn a_failure_record_without_its_records_says_where_they_are() {
    let line = r#"{"requestContext":{},"version":"1.0","KinesisBatchInfo":{"shardId":"shardId-1",
        "startSequenceNumber":"4","endSequenceNumber":"6","batchSize":3}}"#;
    let error = read(line).expect_err("it holds none").to_string();
    assert!(error.contains("from 4 to 6 of shardId-1"), "{error}");
}

#[test]
fn a_packed_record_is_taken_apart_unless_it_says_that_it_was() {
    let records = ["a", "b"].map(|key| {
        Sealed::new(PartitionKey::new(key).expect("short"), None, "{\"type\":\"t\"}".into())
    });
    let packed = packed::encode(&[&records[0], &records[1]]);
    let data = base64_simd::STANDARD.encode_to_string(&packed);
    let line = format!(r#"{{"sequenceNumber":"4","partitionKey":"a","data":"{data}"}}"#);
    assert_eq!(read(&line).expect("it is read"), [event(Some("a"), None), event(Some("b"), None)]);
    let member = line.replace("\"partitionKey\"", "\"subSequenceNumber\":0,\"partitionKey\"");
    assert_eq!(one(&member).data, packed);
}

#[test]
fn an_event_is_found_by_its_number_in_whichever_of_the_records_it_is() {
    let sealed = |data: &str| {
        let key = PartitionKey::new("k").expect("short");
        Sealed::new(key, None, data.to_owned().into())
    };
    let record = |data: &[u8]| {
        let data = base64_simd::STANDARD.encode_to_string(data);
        format!(r#"{{"kinesis":{{"data":"{data}","partitionKey":"k"}}}}"#)
    };
    let pack = |events: [&str; 2]| {
        let [one, other] = events.map(sealed);
        record(&packed::encode(&[&one, &other]))
    };
    let records = [pack(["0", "1"]), record(b"2"), pack(["3", "4"])].join(",");
    let line = super::read(&format!(r#"{{"Records":[{records}]}}"#)).expect("it is read");
    assert_eq!(line.events_count(), 5);
    let found = |number| line.event(number).map(|event| event.data);
    for (number, data) in [(4, "4"), (0, "0"), (2, "2"), (3, "3"), (1, "1")] {
        assert_eq!(found(number).as_deref(), Some(data.as_bytes()), "{number}");
    }
    assert_eq!(found(5), None);
}

#[test]
fn what_is_not_read_says_why() {
    for (line, words) in [
        ("{\"type\":", "is not JSON"),
        ("hello", "is not JSON"),
        ("[1]", "no form"),
        ("5", "no form"),
        (r#"{"id":1}"#, "no form"),
        (r#"{"type":5}"#, "no form"),
        (r#"{"data":{},"sequenceNumber":"4"}"#, "no form"),
        (r#"{"data":"%","sequenceNumber":"4"}"#, "data is not base64"),
        (
            r#"{"data":"","sequenceNumber":"4","approximateArrivalTimestamp":"soon"}"#,
            "not a time: \"soon\"",
        ),
        (r#"{"Records":[{"kinesis":{}}]}"#, "Records missing field `data`"),
    ] {
        let error = read(line).expect_err(line).to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
    assert!(read("{\"type\":").expect_err("cut").is_unfinished());
    assert!(!read("}").expect_err("no JSON").is_unfinished());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"(\{|\}|"type"|"data"|"sequenceNumber"|"Records"|"kinesis"|:|,|"e30="|\[|\]|1e999|null|"payload"|"requestContext"|"approximateArrivalTimestamp"){0,12}"#) {
        let _ = read(&text);
    }

    #[test]
    fn any_bytes_come_back_from_a_record_s_line(
        data in any::<Vec<u8>>(),
        key in any::<Option<String>>(),
    ) {
        let encoded = base64_simd::STANDARD.encode_to_string(&data);
        let line = serde_json::json!({
            "sequenceNumber": "4", "partitionKey": key, "data": encoded,
            "approximateArrivalTimestamp": 1.25,
        });
        let event = one(&line.to_string());
        prop_assert_eq!(&event.data[..], &data[..]);
        prop_assert_eq!((event.partition_key, event.arrived), (key, Some(1_250_000)));
    }
}
