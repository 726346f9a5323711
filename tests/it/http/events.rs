//! Events over HTTP: every body and its answer, and what the stream holds afterwards.

use serde_json::{Value, json};
use testkit::daemon::Daemon;
use testkit::kinesis::Ferro;
use testkit::stream::read_all;
use tokio::net::{TcpStream, UnixStream};

use crate::DISPATCHD;

use super::client::{Answer, Client, daemon, http_address, told};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const CLOUD: &str = "application/cloudevents+json";
const CLOUDS: &str = "application/cloudevents-batch+json";

fn event(key: &str, n: usize) -> String {
    format!(r#"{{"type":"t","data":{{"n":{n}}},"options":{{"partitionKey":"{key}"}}}}"#)
}

fn cloud(id: &str, more: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/orders","type":"placed"{more}}}"#)
}

async fn stored(ferro: &Ferro) -> Vec<(String, String)> {
    let records = read_all(&testkit::client(&ferro.endpoint()), "s").await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
    records.iter().map(|record| (record.partition_key.clone(), text(&record.data))).collect()
}

fn code_of(answer: &Answer) -> Option<String> {
    answer.json()["code"].as_str().map(str::to_owned)
}

async fn both() -> (Ferro, Daemon, Client) {
    let (ferro, daemon) = daemon(|start| start).await;
    let client = Client::connect(daemon.socket()).await;
    (ferro, daemon, client)
}

#[tokio::test]
async fn one_event_is_answered_with_its_ack_once_it_is_in_the_stream() {
    let (ferro, _daemon, mut client) = both().await;
    let event = r#"{"ref":"mine","type":"t","data":{"n": 1.50},"options":{"partitionKey":"k"}}"#;
    let answer = client.post_as(JSON, event).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some(JSON)));
    let ack = answer.json();
    assert_eq!((&ack["ref"], &ack["ok"]), (&json!("mine"), &json!(true)));
    assert!(ack["sequenceNumber"].is_string() && ack["id"].is_string(), "{ack}");
    let stored = stored(&ferro).await;
    assert!(stored[0].1.contains("\"data\":{\"n\": 1.50}"), "{stored:?}");
    assert_eq!(stored[0].0, "k");
}

#[tokio::test]
async fn several_events_are_answered_in_their_order_each_with_its_own_outcome() {
    let (ferro, _daemon, mut client) = both().await;
    let array = format!("[{}, {{\"type\":\"t\"}}, {}]", event("k", 1), event("k", 2));
    let answer = client.post_as(JSON, array).await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["ok"]), (200, &json!(false)));
    let ok = |body: &Value| -> Vec<bool> {
        let results = body["results"].as_array().expect("results").iter();
        results.map(|result| result["ok"] == true).collect()
    };
    assert_eq!(ok(&body), [true, false, true]);
    assert_eq!(body["results"][1]["error"]["message"], "data is missing, it takes an object");
    let lines = format!("{}\r\n\n{}", event("k", 3), event("k", 4));
    assert_eq!(ok(&client.post_as(LINES, lines).await.json()), [true, true]);
    let data: Vec<_> = stored(&ferro).await.into_iter().map(|(_, data)| data).collect();
    let numbers = data.iter().map(|data| {
        let event: Value = serde_json::from_str(data).expect("JSON");
        event["data"]["n"].as_u64().expect("a number")
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3, 4], "a key keeps its order");
    for (kind, none) in [(JSON, "[]"), (LINES, ""), (CLOUDS, "[]")] {
        assert_eq!(client.post_as(kind, none).await.json(), json!({"ok": true, "results": []}));
    }
}

#[tokio::test]
async fn four_thousand_events_are_one_request() {
    let (ferro, _daemon, mut client) = both().await;
    let lines: Vec<_> = (0..4096).map(|n| event(&format!("k{n}"), n)).collect();
    let answer = client.post_as(LINES, lines.join("\n")).await;
    let body = answer.json();
    assert_eq!(body["ok"], true, "{}", &String::from_utf8_lossy(&answer.body)[..500]);
    let places = body["results"].as_array().expect("results").iter().map(|one| &one["ref"]);
    assert!(places.eq((0..4096).map(|n| json!(n)).collect::<Vec<_>>().iter()));
    assert_eq!(stored(&ferro).await.len(), 4096);
    let more = client.post_as(LINES, lines.join("\n") + "\n{}").await;
    assert_eq!((more.status.as_u16(), code_of(&more).as_deref()), (413, Some("EventTooLarge")));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_has_its_status_and_the_code_that_an_event_would_have() {
    let (ferro, daemon, mut client) = both().await;
    for (content_type, body, status, code) in [
        (JSON, "{}", 400, "InvalidRequest"),
        (JSON, "", 400, "InvalidRequest"),
        (JSON, "[{}", 400, "InvalidRequest"),
        (JSON, r#"{"op":"ping"}"#, 400, "InvalidRequest"),
        (CLOUD, "[]", 400, "InvalidRequest"),
        (CLOUDS, "{}", 400, "InvalidRequest"),
        ("text/plain", "x", 415, "InvalidRequest"),
        ("application/x-www-form-urlencoded", "{}", 415, "InvalidRequest"),
    ] {
        let answer = client.post_as(content_type, body).await;
        let told = (answer.status.as_u16(), code_of(&answer));
        assert_eq!(told, (status, Some(code.to_owned())), "{content_type} {body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        if answer.header("connection") == Some("close") {
            client = Client::connect(daemon.socket()).await;
        }
    }
    let gzip = [("content-type", JSON), ("content-encoding", "gzip")];
    assert_eq!(client.post(&gzip, "x").await.status, 415);
    let large = format!(r#"{{"type":"t","data":{{"x":"{}"}}}}"#, "x".repeat(1 << 20));
    let mut client = Client::connect(daemon.socket()).await;
    let answer = client.post_as(JSON, large).await;
    assert_eq!((answer.status.as_u16(), code_of(&answer).as_deref()), (413, Some("EventTooLarge")));
    assert!(stored(&ferro).await.is_empty());
}

#[tokio::test]
async fn what_http_has_a_word_for_is_said_in_it() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let long = "x".repeat(20_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: d\r\n", "404"),
        ("GET /v1/events HTTP/1.1\r\nhost: d\r\n", "405"),
        ("DELETE /v1/health HTTP/1.1\r\nhost: d\r\n", "405"),
        ("POST /v1/events HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n", "411"),
        (&format!("GET / HTTP/1.1\r\nhost: d\r\nx: {long}\r\n"), "431"),
        (
            "POST /v1/events HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n\
             content-length: 99999999\r\nexpect: 100-continue\r\n",
            "413",
        ),
        ("NOT HTTP AT ALL\r\n", "400"),
    ] {
        let stream = UnixStream::connect(daemon.socket()).await.expect("it listens");
        let told = told(stream, format!("{request}connection: close\r\n\r\n").as_bytes()).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80}: {told}");
    }
    let chunks = "POST /v1/events HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n\
                  transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    for (body, status) in [("5\r\n{}   \r\n0\r\n\r\n", "400"), ("zz\r\n", "400")] {
        let stream = UnixStream::connect(daemon.socket()).await.expect("it listens");
        let told = told(stream, format!("{chunks}{body}").as_bytes()).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {told}");
    }
}

#[tokio::test]
async fn a_half_closed_caller_gets_its_answer_and_one_that_has_gone_has_its_event_delivered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (ferro, daemon) = daemon(|start| start).await;
    let request = |key: &str| {
        let event = event(key, 1);
        format!(
            "POST /v1/events HTTP/1.1\r\nhost: d\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{event}",
            event.len()
        )
    };
    let mut half = UnixStream::connect(daemon.socket()).await.expect("it listens");
    half.write_all(request("half").as_bytes()).await.expect("it is read");
    half.shutdown().await.expect("it is open");
    let mut told = String::new();
    half.read_to_string(&mut told).await.expect("it is answered");
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    let mut gone = UnixStream::connect(daemon.socket()).await.expect("it listens");
    gone.write_all(request("gone").as_bytes()).await.expect("it is read");
    drop(gone);
    testkit::eventually("both events are there", async || {
        let keys: Vec<_> = stored(&ferro).await.into_iter().map(|(key, _)| key).collect();
        (keys.len() == 2 && keys.contains(&"gone".to_owned())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cloudevents_in_every_mode_are_stored_as_they_came() {
    let (ferro, _daemon, mut client) = both().await;
    let structured = cloud("1", r#","subject":"s","ext":7,"data":{ "n": 1.50 }"#);
    let answer = client.post_as(CLOUD, structured.clone()).await;
    let ack = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &ack["id"], &ack["partitionKey"]),
        (200, &json!("1"), &json!("s"))
    );
    assert_eq!(ack.get("timestamp"), None, "the event's time is its own");

    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "2"),
        ("ce-source", "/orders"),
        ("ce-type", "placed"),
        ("CE-PartitionKey", "k%20%E2%82%AC"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let answer = client.post(&headers, "{ \"n\": 2.50 }").await;
    assert_eq!(answer.json()["partitionKey"], "k \u{20ac}", "{answer:?}");

    let batch = format!("[{},{},7]", cloud("3", ""), cloud("", ""));
    let body = client.post_as(CLOUDS, batch).await.json();
    let ok: Vec<_> =
        body["results"].as_array().expect("results").iter().map(|one| &one["ok"]).collect();
    assert_eq!(ok, [true, false, false]);
    assert_eq!(body["results"][0]["id"], "3");
    assert_eq!(body["results"][1]["error"]["message"], "id is empty");

    let stored = stored(&ferro).await;
    let binary = cloud(
        "2",
        concat!(
            r#","partitionkey":"k €","datacontenttype":"application/json; charset=utf-8","#,
            r#""data":{ "n": 2.50 }"#
        ),
    );
    for event in [structured, binary, cloud("3", "")] {
        assert!(stored.iter().any(|(_, data)| *data == event), "{event} in {stored:?}");
    }
    assert_eq!(stored.len(), 3);
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_stored_once_and_another_one_with_its_id_is_refused() {
    let (ferro, _daemon, mut client) = both().await;
    let (first, other) = (cloud("1", r#","data":1"#), cloud("1", r#","data":2"#));
    let once = client.post_as(CLOUD, first.clone()).await.json();
    let again = client.post_as(CLOUD, first).await.json();
    assert_eq!(again["sequenceNumber"], once["sequenceNumber"]);
    assert_eq!((&again["deduplicated"], &again["id"]), (&json!(true), &json!("1")));
    let refused = client.post_as(CLOUD, other).await;
    assert_eq!((refused.status.as_u16(), code_of(&refused).as_deref()), (409, Some("IdReused")));
    assert_eq!(stored(&ferro).await.len(), 1);
}

#[tokio::test]
async fn a_cloudevent_becomes_an_envelope_where_the_configuration_says_so() {
    let (ferro, daemon) = daemon(|start| start.set("http.cloudevents", "lk")).await;
    let mut client = Client::connect(daemon.socket()).await;
    let traced = r#","subject":"s","traceparent":"00-1","tracestate":"a=1","data":{"n": 1}"#;
    let ack = client.post_as(CLOUD, cloud("1", traced)).await.json();
    assert_eq!(ack["id"], "1");
    let refused = client.post_as(CLOUD, cloud("2", r#","data":[1]"#)).await;
    assert_eq!(refused.status, 400);
    let (key, data) = stored(&ferro).await.pop().expect("it is stored");
    let envelope: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(
        (key.as_str(), &envelope["type"], &envelope["data"]),
        ("s", &json!("placed"), &json!({"n": 1}))
    );
    assert_eq!([&envelope["traceparent"], &envelope["tracestate"]], ["00-1", "a=1"]);
}

#[tokio::test]
async fn loopback_serves_programs_and_neither_browsers_nor_other_hosts_names() {
    let (_ferro, daemon) = daemon(|start| start.set("http.listen", "127.0.0.1:0")).await;
    let address = http_address(&daemon);
    let mut client = Client::connect_tcp(&address).await;
    assert_eq!(client.post_as(JSON, event("k", 1)).await.status, 200);
    for (headers, status) in [
        ("host: 127.0.0.1:80\r\n", "200"),
        ("host: LocalHost\r\n", "200"),
        ("host: [::1]:1\r\n", "200"),
        ("host: evil.example\r\n", "403"),
        ("host: localhost\r\norigin: http://localhost\r\n", "403"),
        ("host: localhost\r\norigin: null\r\n", "403"),
    ] {
        let stream = TcpStream::connect(&address).await.expect("it listens");
        let request = format!("GET /v1/health HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let told = told(stream, request.as_bytes()).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {told}");
    }
}

#[tokio::test]
async fn who_prefers_to_wait_no_longer_is_told_what_may_have_become_of_the_event() {
    // Nobody listens there: nothing is ever in flight for long.
    let daemon = DISPATCHD.daemon("http://127.0.0.1:1", "s").set("memory.budget", "4MiB");
    let daemon = daemon.start().await;
    let mut client = Client::connect(daemon.socket()).await;
    let prefer = |wait| [("content-type", JSON), ("prefer", wait)];
    let answer = client.post(&prefer("respond-async, wait=1"), event("k", 1)).await;
    let problem = answer.json();
    assert_eq!((answer.status.as_u16(), &problem["code"]), (503, &json!("DeliveryTimeout")));
    assert!(problem["outcome"].is_string() && problem["retryable"] == true, "{problem}");
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.header("retry-after"), Some("1"));

    let large = |n| format!(r#"{{"type":"t","data":{{"n":{n},"x":"{}"}}}}"#, "x".repeat(480_000));
    let mut full = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut client = Client::connect(daemon.socket()).await;
        let array = format!("[{},{},{},{}]", large(1), large(2), large(3), large(4));
        full.spawn(async move { client.post_as(JSON, array).await });
    }
    testkit::eventually("the budget is full", async || {
        (daemon.metric("dispatchd_buffer_bytes").await > 3_700_000.0).then_some(())
    })
    .await;
    let answer = client.post(&prefer("wait=0"), large(5)).await;
    assert_eq!((answer.status.as_u16(), code_of(&answer).as_deref()), (503, Some("Overloaded")));
    let answer = client.post(&prefer("wait=1"), format!("[{}]", large(6))).await;
    let error = answer.json()["results"][0]["error"].clone();
    assert_eq!(
        (&error["code"], &error["outcome"]),
        (&json!("DeliveryTimeout"), &json!("not_stored"))
    );
    assert!(full.try_join_next().is_none(), "who waits is not disturbed");
}

#[tokio::test]
async fn send_publishes_a_cloudevent_from_the_command_line() {
    let (ferro, daemon) = daemon(|start| start).await;
    let send = async |event: &str| {
        let mut send = DISPATCHD.command();
        send.args(["send", "--cloudevent", "--data", event, "--socket"]).arg(daemon.socket());
        let sent = send.output().await.expect("it runs");
        (sent.status.code(), String::from_utf8(sent.stdout).expect("it prints UTF-8"))
    };
    let event = cloud("1", r#","data":{ "n": 1.50 }"#);
    let (code, told) = send(&event).await;
    assert!(code == Some(0) && told.contains(r#""ok":true,"id":"1""#), "{code:?} {told}");
    let (code, told) = send("{}").await;
    assert!(code == Some(1) && told.contains("specversion is missing"), "{code:?} {told}");
    assert_eq!(stored(&ferro).await.pop().expect("it is stored").1, event);
}

#[tokio::test]
async fn the_trace_of_a_request_is_its_events_unless_they_name_one_and_no_part_of_what_they_say() {
    let (ferro, _daemon, mut client) = both().await;
    let sent = [("content-type", CLOUD), ("traceparent", "00-1"), ("tracestate", "a=1")];
    let first = client.post(&sent, cloud("1", "")).await.json();
    let later = [("content-type", CLOUD), ("traceparent", "00-2")];
    let again = client.post(&later, cloud("1", "")).await.json();
    assert_eq!(again["sequenceNumber"], first["sequenceNumber"], "a retry has a trace of its own");
    let traced = [("content-type", JSON), ("traceparent", "00-3")];
    assert_eq!(client.post(&traced, event("k", 1)).await.status, 200);
    let stored = stored(&ferro).await;
    let expected = cloud("1", r#","traceparent":"00-1","tracestate":"a=1""#);
    assert!(stored.iter().any(|(_, data)| *data == expected), "{stored:?}");
    assert!(stored.iter().any(|(_, data)| data.contains(r#""traceparent":"00-3""#)), "{stored:?}");
    assert_eq!(stored.len(), 2);
}
