//! What is published where something else is asked for than the envelope of `lk-dispatch`.

use serde_json::Value;
use testkit::client;
use testkit::kinesis::Ferro;
use testkit::stream::{StoredRecord, create_stream, read_all};

use crate::DISPATCHD;

/// The only record that a daemon with this setting publishes for this line, after `hello`.
async fn published(set: (&str, &str), hello: &str, line: &str) -> (Value, StoredRecord) {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", 1).await;
    let start = DISPATCHD.daemon(&ferro.endpoint(), "s").set("producer_id", "app@host");
    let daemon = start.set(set.0, set.1).start().await;
    let mut caller = daemon.connect().await;
    assert_eq!(caller.ask(hello).await["ok"], true);
    let ack = caller.ask(line).await;
    assert_eq!(ack["ok"], true, "{ack}");
    let mut stored = read_all(&client, "s").await;
    assert_eq!(stored.len(), 1);
    (ack, stored.remove(0))
}

const PING: &str = r#"{"op":"ping"}"#;

/// B8 of Rabble Rouser: what its own client would have written.
#[tokio::test]
async fn type_and_data_alone_are_published_with_the_type_as_the_key() {
    let line = r#"{"type":"member-registered","data":{"name":"Jane Doe"}}"#;
    let (ack, record) = published(("envelope.profile", "type-data"), PING, line).await;
    assert_eq!(&*record.data, line.as_bytes());
    assert_eq!(record.partition_key, "member-registered");
    assert_eq!(ack["partitionKey"], "member-registered");
}

#[tokio::test]
async fn a_raw_record_is_published_byte_for_byte_and_its_ack_has_no_more_than_its_caller_said() {
    let lk = ("envelope.profile", "lk");
    let line = r#"{"data_base64":"\/wABgA==","options":{"partitionKey":"k"}}"#;
    let (ack, record) = published(lk, PING, line).await;
    assert_eq!(&*record.data, b"\xff\x00\x01\x80");
    assert_eq!(record.partition_key, "k");
    let names: Vec<_> = ack.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names, ["ok", "partitionKey", "ref", "sequenceNumber", "shardId"]);
    let id = "6f9d1b3e-0000-4000-8000-000000000001";
    let line = format!(r#"{{"record":{{"n": 1.50}},"options":{{"id":"{id}"}}}}"#);
    let (ack, record) = published(lk, PING, &line).await;
    assert_eq!((&*record.data, &*record.partition_key), (&br#"{"n": 1.50}"#[..], id));
    assert_eq!(ack["id"], id);
}

#[tokio::test]
async fn the_forms_and_the_context_reach_the_stream_by_configuration_hello_and_event() {
    let hello = r#"{"op":"hello","context":{"sourceUserId":"u","correlationId":"c","organisationId":"o","envelope":"eventbridge"}}"#;
    let line = r#"{"type":"Created","data":{"userId":"own"},"options":{"traceparent":"00-1"}}"#;
    let (ack, record) = published(("envelope.source", "trading"), hello, line).await;
    let event: Value = serde_json::from_slice(&record.data).expect("it is JSON");
    assert_eq!(event["source"], "trading");
    assert_eq!(event["detail-type"], "Created");
    assert_eq!((&event["id"], &event["time"]), (&ack["id"], &ack["timestamp"]));
    assert_eq!(event["traceparent"], "00-1");
    assert!(event["region"].as_str().is_some_and(|region| !region.is_empty()));
    let detail =
        serde_json::json!({ "userId": "own", "correlationId": "c", "organisationId": "o" });
    assert_eq!(event["detail"], detail);

    let line = r#"{"type":"Created","data":{"n":1},"options":{"envelope":"cloudevents"}}"#;
    let (ack, record) = published(("envelope.source", "auto"), hello, line).await;
    let event: Value = serde_json::from_slice(&record.data).expect("it is JSON");
    assert_eq!((&event["specversion"], &event["source"]), (&"1.0".into(), &"app@host".into()));
    assert_eq!(event["partitionkey"], ack["partitionKey"]);
    assert_eq!((&event["userid"], &event["correlationid"]), (&"u".into(), &"c".into()));

    let line = r#"{"type":"Created","data":{},"options":{"envelope":"lk"}}"#;
    let (_, record) = published(("envelope.source", "auto"), hello, line).await;
    let text = String::from_utf8(record.data.to_vec()).expect("UTF-8");
    assert!(text.ends_with(r#","correlationId":"c","organisationId":"o"}}"#), "{text}");
}
