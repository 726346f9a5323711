//! The protocol on a real socket: exact bytes where the protocol fixes them, and what reaches the
//! stream.

use serde_json::{Value, json};
use testkit::daemon::{Caller, Daemon, event};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::{client, eventually};

use crate::DISPATCHD;

async fn daemon(ferro: &Ferro) -> Daemon {
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    DISPATCHD.daemon(&ferro.endpoint(), "s").set("producer_id", "app@host").start().await
}

/// What the caller sends, and exactly what comes back.
async fn transcript(caller: &mut Caller, sent: &str, answers: &[&str]) {
    caller.send_bytes(sent.as_bytes()).await;
    for answer in answers {
        assert_eq!(
            caller.line().await.as_deref(),
            Some(format!("{answer}\n").as_str()),
            "after {sent}"
        );
    }
}

#[tokio::test]
async fn an_ack_says_where_the_event_is_and_the_stream_holds_its_bytes() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    let data = r#"{"total": 12.50,"big":9007199254740993,"text":"\u00e9\/é"}"#;
    let line = format!(
        r#"{{"ref":7,"type":"order.placed","data":{data},"options":{{"partitionKey":"customer-9","sourceUserId":"u-3"}}}}"#
    );
    let ack = caller.ask(&line).await;
    assert_eq!(ack["ref"], 7);
    assert_eq!(ack["ok"], true);
    assert_eq!(ack["partitionKey"], "customer-9");
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].sequence, ack["sequenceNumber"]);
    assert_eq!(stored[0].shard, ack["shardId"]);
    assert_eq!(stored[0].partition_key, "customer-9");
    let (id, timestamp) =
        (ack["id"].as_str().expect("an id"), ack["timestamp"].as_str().expect("a time"));
    let envelope = format!(
        r#"{{"id":"{id}","type":"order.placed","data":{data},"timestamp":"{timestamp}","source":{{"userId":"u-3","producerId":"app@host","kinesisPartitionKey":"customer-9"}}}}"#
    );
    assert_eq!(stored[0].data, envelope.as_bytes());
}

#[tokio::test]
async fn every_option_does_what_it_says() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    let id = "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11";
    let last = u128::MAX.to_string();
    let line = format!(
        r#"{{"type":"t","data":{{}},"options":{{"explicitHashKey":"{last}","id":"{id}","echo":true}}}}"#
    );
    let ack = caller.ask(&line).await;
    assert_eq!(ack["ref"], 1, "without a ref the line's number stands for it");
    assert_eq!(ack["id"], id);
    assert_eq!(ack["shardId"], "shardId-000000000001", "the last hash lies in the last shard");
    assert_eq!(ack["event"]["id"], id);
    assert_eq!(ack["event"]["source"]["userId"], Value::Null);
    assert_eq!(ack["event"]["source"]["kinesisPartitionKey"], ack["partitionKey"]);
    let key = ack["partitionKey"].as_str().expect("a key");
    assert_eq!(key, id, "an event that names no key has its id for one");
    let stored = read_all(&client(&ferro.endpoint()), "s").await;
    assert_eq!(serde_json::from_slice::<Value>(&stored[0].data).expect("JSON"), ack["event"]);
}

#[tokio::test]
async fn a_bad_line_is_answered_and_costs_the_others_nothing() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    transcript(
        &mut caller,
        "nonsense\n\r\n{\"ref\":\"a\",\"type\":\"\",\"data\":{}}\n{\"ref\":3,\"type\":\"t\",\"data\":[]}\n",
        &[
            r#"{"ref":1,"ok":false,"error":{"code":"InvalidRequest","message":"the line is not a JSON object","retryable":false}}"#,
            r#"{"ref":"a","ok":false,"error":{"code":"InvalidRequest","message":"type is empty, it takes a string of at least one character","retryable":false}}"#,
            r#"{"ref":3,"ok":false,"error":{"code":"InvalidRequest","message":"data is not an object","retryable":false}}"#,
        ],
    )
    .await;
    let ack = caller.ask(&event(9, "k", "{}")).await;
    assert_eq!((&ack["ref"], &ack["ok"]), (&json!(9), &json!(true)));
}

#[tokio::test]
async fn control_lines_are_answered_exactly() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect_with_limit(1 << 20).await;
    transcript(
        &mut caller,
        "{\"op\":\"hello\",\"context\":{\"sourceUserId\":\"u-1\",\"producerId\":\"other@pod\"}}\n{\"op\":\"ping\",\"ref\":1}\n",
        &[
            r#"{"op":"hello","ok":true,"version":1,"maxEventBytes":1048576,"producerId":"other@pod"}"#,
            r#"{"op":"ping","ref":1,"ok":true}"#,
        ],
    )
    .await;
    let ack = caller.ask(r#"{"type":"t","data":{},"options":{"echo":true}}"#).await;
    assert_eq!(ack["event"]["source"]["userId"], "u-1", "hello's context is the default");
    assert_eq!(ack["event"]["source"]["producerId"], "other@pod");
}

#[tokio::test]
async fn batches_and_transactions_are_answered_exactly() {
    const ID: &str = "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11";
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    let refused = |reference: &str, says: &str| {
        format!(
            r#"{{"ref":{reference},"ok":false,"error":{{"code":"InvalidRequest","message":"{says}","retryable":false}}}}"#
        )
    };
    let empty = "type is empty, it takes a string of at least one character";
    transcript(
        &mut caller,
        "{\"op\":\"batch\",\"events\":[]}\n\
         {\"op\":\"batch\",\"ref\":3,\"events\":[{\"ref\":\"a\",\"type\":\"\",\"data\":{}},{\"type\":\"\"}]}\n\
         {\"op\":\"batch\",\"ref\":4}\n",
        &[
            r#"{"op":"batch","ok":true,"results":[]}"#,
            &format!(
                r#"{{"op":"batch","ref":3,"ok":false,"results":[{},{}]}}"#,
                refused("\"a\"", empty),
                refused("2", empty)
            ),
            r#"{"op":"batch","ref":4,"ok":false,"error":{"code":"InvalidRequest","message":"events is missing, it takes an array of events","retryable":false}}"#,
        ],
    )
    .await;
    transcript(
        &mut caller,
        &format!(
            "{{\"op\":\"begin\",\"tx\":\"t\"}}\n\
             {{\"tx\":\"t\",\"type\":\"t\",\"data\":{{}},\"options\":{{\"id\":\"{ID}\"}}}}\n\
             {{\"tx\":\"t\",\"record\":{{}}}}\n\
             {{\"op\":\"rollback\",\"tx\":\"t\",\"ref\":\"r\"}}\n\
             {{\"op\":\"begin\",\"tx\":\"n\"}}\n\
             {{\"op\":\"commit\",\"tx\":\"n\",\"ref\":9}}\n\
             {{\"op\":\"commit\"}}\n"
        ),
        &[
            r#"{"op":"begin","tx":"t","ok":true}"#,
            &format!(r#"{{"ref":5,"ok":true,"staged":true,"id":"{ID}"}}"#),
            r#"{"ref":6,"ok":true,"staged":true}"#,
            r#"{"op":"rollback","tx":"t","ref":"r","ok":true}"#,
            r#"{"op":"begin","tx":"n","ok":true}"#,
            r#"{"op":"commit","tx":"n","ref":9,"ok":true,"results":[]}"#,
            r#"{"op":"commit","ref":10,"ok":false,"error":{"code":"InvalidRequest","message":"tx is missing, it takes a string","retryable":false}}"#,
        ],
    )
    .await;
}

#[tokio::test]
async fn a_flush_is_answered_after_all_that_was_sent_before_it() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    let mut lines: String =
        (0..300).map(|n| event(n, &format!("k{}", n % 7), "{}") + "\n").collect();
    lines += "{\"op\":\"flush\",\"ref\":\"f\"}\n{\"op\":\"flush\",\"ref\":\"g\"}\n";
    caller.send_bytes(lines.as_bytes()).await;
    for _ in 0..300 {
        assert_eq!(caller.answer().await["ok"], true, "an ack comes before the flush");
    }
    assert_eq!(
        caller.line().await.as_deref(),
        Some("{\"op\":\"flush\",\"ref\":\"f\",\"ok\":true}\n")
    );
    assert_eq!(
        caller.line().await.as_deref(),
        Some("{\"op\":\"flush\",\"ref\":\"g\",\"ok\":true}\n")
    );
}

#[tokio::test]
async fn after_a_half_close_every_answer_comes_and_then_the_end() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    let lines: String = (0..100).map(|n| event(n, &n.to_string(), "{}") + "\n").collect();
    caller.send_bytes(lines.as_bytes()).await;
    caller.send_bytes(b"{\"ref\":100,\"type\":\"t\",\"data\":{}}").await;
    let answers = caller.finish().await;
    assert_eq!(answers.len(), 101);
    let torn =
        answers.iter().find(|answer| answer["ok"] == false).expect("the last line was cut off");
    assert_eq!(torn["ref"], 101, "a torn line is named by its number");
    assert_eq!(torn["error"]["code"], "InvalidRequest");
    assert_eq!(
        read_all(&client(&ferro.endpoint()), "s").await.len(),
        100,
        "a torn line is not published"
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_size_and_the_limit() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    daemon.connect_with_limit(1 << 20).await;
    let mut caller = daemon.connect().await;
    let text = "x".repeat(1 << 20);
    let large = caller.ask(&event(1, "k", &format!("{{\"a\":\"{text}\"}}"))).await;
    assert_eq!(large["error"]["code"], "EventTooLarge");
    let message = large["error"]["message"].as_str().expect("a message");
    assert!(
        message.starts_with("record is 10487")
            && message.ends_with("bytes, the stream takes 1048576"),
        "{message}"
    );
    let long = format!("{{\"ref\":77,\"x\":\"{text}{text}\"}}");
    let answer = caller.ask(&long).await;
    assert_eq!(answer["ref"], 77, "it stands before what was skipped");
    assert_eq!(
        answer["error"]["message"],
        "the line is over 1114112 bytes, the longest that is read"
    );
    let fits = format!("{{\"a\":\"{}\"}}", &text[..(1 << 20) - 400]);
    assert_eq!(caller.ask(&event(3, "k", &fits)).await["ok"], true, "just under the limit");
    assert_eq!(daemon.metric("dispatchd_events_refused_total{code=\"EventTooLarge\"}").await, 2.0);
}

#[tokio::test]
async fn the_first_byte_says_whether_a_connection_speaks_http() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    caller.send_bytes(b"GET /v1/health HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n").await;
    let mut reply = String::new();
    while let Some(line) = caller.line().await {
        reply += &line;
    }
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole HTTP reply");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
}

#[tokio::test]
async fn the_books_balance_and_every_answer_is_in_them() {
    let ferro = Ferro::start(false).await;
    let daemon = daemon(&ferro).await;
    let mut caller = daemon.connect().await;
    for n in 0..10 {
        caller.ask(&event(n, "k", "{}")).await;
    }
    caller.ask("{}").await;
    assert_eq!(daemon.metric("dispatchd_events_accepted_total").await, 11.0);
    assert_eq!(daemon.metric("dispatchd_events_acked_total").await, 10.0);
    assert_eq!(daemon.metric("dispatchd_events_refused_total{code=\"InvalidRequest\"}").await, 1.0);
    assert_eq!(daemon.metric("dispatchd_events_acked_total{input=\"ndjson\"}").await, 10.0);
    for none in ["in_flight", "staged", "rolled_back_total", "accepted_total{input=\"http\"}"] {
        assert_eq!(daemon.metric(&format!("dispatchd_events_{none}")).await, 0.0, "{none}");
    }
    assert_eq!(daemon.metric("dispatchd_buffer_bytes").await, 0.0);
    assert_eq!(daemon.metric("dispatchd_connections").await, 1.0);
    assert_eq!(daemon.metric("dispatchd_ack_duration_seconds_count").await, 10.0);
    assert_eq!(daemon.metric("dispatchd_oldest_event_age_seconds").await, 0.0);
    drop(caller);
    eventually("the connection is gone", async || {
        (daemon.metric("dispatchd_connections").await == 0.0).then_some(())
    })
    .await;
}
