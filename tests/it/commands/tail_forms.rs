//! What `tail` prints and what it leaves out: its filters, its forms, and where it begins and ends.

use std::process::Output;

use aws_sdk_kinesis::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dispatchd_core::model::{PartitionKey, Record};
use dispatchd_core::wire::packed::encode;
use serde_json::{Value, json};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, put, shards, split};
use testkit::terminal::Terminal;
use testkit::{DEADLINE, client};
use tokio::process::Command;
use tokio::time::timeout;

use crate::DISPATCHD;

/// `{"type":"zipped"}` in gzip.
const ZIPPED: &str = "H4sIAAAAAAACA6tWKqksSFWyUqrKLChITVGqBQBSKRpcEQAAAA==";

async fn stream(shards: i32) -> (Ferro, Client) {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", shards).await;
    (ferro, client)
}

fn tail(ferro: &Ferro, arguments: &[&str]) -> Command {
    let mut tail = DISPATCHD.command();
    tail.args(["tail", "--stream", "s", "--endpoint-url", &ferro.endpoint()]).args(arguments);
    tail
}

async fn output(ferro: &Ferro, arguments: &[&str]) -> Output {
    let output = tail(ferro, arguments).output();
    timeout(DEADLINE, output).await.expect("it ends").expect("it runs")
}

/// What it prints of all that is there, which is so many events. A machine that stands still for a
/// while ends nothing.
async fn printed(ferro: &Ferro, count: usize, arguments: &[&str]) -> Vec<String> {
    lines(ferro, &[&["--count", &count.to_string()], arguments].concat()).await
}

/// The lines that it prints from the beginning of the stream on.
async fn lines(ferro: &Ferro, arguments: &[&str]) -> Vec<String> {
    let all = ["--from", "trim-horizon", "--set", "log.level=warn"];
    let output = output(ferro, &[&all, arguments].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn order(n: usize) -> String {
    let kind = if n.is_multiple_of(4) { "TradeInventoryAllocated" } else { "TradeClosed" };
    json!({"source": "trading", "detail-type": kind, "detail": {"n": n}}).to_string()
}

/// What could go wrong: an event is printed twice, or not at all; a filter takes too much or too
/// little of them.
#[tokio::test]
async fn of_a_hundred_events_a_hundred_are_printed_and_filters_pass_the_matching_ones() {
    let (ferro, client) = stream(2).await;
    let orders: Vec<String> = (0..100).map(order).collect();
    let keyed = |(n, order): (usize, &String)| entry(&format!("k{}", n % 10), order);
    put(&client, "s", orders.iter().enumerate().map(keyed).collect()).await;
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let expected = |is_wanted: &dyn Fn(usize) -> bool| {
        sorted((0..100).filter(|n| is_wanted(*n)).map(order).collect())
    };
    // It ends once nothing more comes.
    assert_eq!(sorted(lines(&ferro, &["--until-idle", "15s"]).await), expected(&|_| true));
    let rule = r#"{"source":["trading"],"detail-type":["TradeInventoryAllocated"]}"#;
    for (arguments, is_wanted) in [
        (&["--filter", rule][..], &(|n: usize| n.is_multiple_of(4)) as &dyn Fn(usize) -> bool),
        (&["--type", "TradeInventoryAllocated,Other"], &|n: usize| n.is_multiple_of(4)),
        (&["--key", "k3"], &|n: usize| n % 10 == 3),
        (
            &["--filter-record", r#"{"data":{"detail":{"n":[{"numeric":["<",3]}]}}}"#],
            &|n: usize| n < 3,
        ),
        (
            &[
                "--filter",
                r#"{"detail":{"n":[1]}}"#,
                "--filter-record",
                r#"{"partitionKey":["k2"]}"#,
            ],
            &|n: usize| n == 1 || n % 10 == 2,
        ),
        (&["--type", "TradeClosed", "--filter", r#"{"detail":{"n":[4,5]}}"#], &|n: usize| n == 5),
    ] {
        let expected: Vec<String> = expected(is_wanted);
        let printed = printed(&ferro, expected.len(), arguments).await;
        assert_eq!(sorted(printed), expected, "{arguments:?}");
    }
}

/// Records that no application of ours writes: text, bytes, gzip, and events packed by a KPL.
async fn put_odd(client: &Client) {
    let member = |key: &str, data: &'static str| {
        let key = PartitionKey::new(key).expect("a short key");
        Record::new(key, None, Bytes::from_static(data.as_bytes()))
    };
    let packed = encode(&[&member("a", r#"{"type":"one"}"#), &member("b", r#"{"type":"two"}"#)]);
    let zipped = STANDARD.decode(ZIPPED).expect("base64");
    let data: [&[u8]; 4] = [b"hello world", b"\xff\x00", &zipped, &packed];
    for data in data {
        put(client, "s", vec![entry("k", data)]).await;
    }
}

#[tokio::test]
async fn what_is_no_json_packed_or_in_gzip_is_shown_and_not_choked_on() {
    let (ferro, client) = stream(1).await;
    put_odd(&client).await;
    let lines = printed(&ferro, 5, &[]).await;
    assert_eq!(lines[0], "hello world");
    let bytes: Value = serde_json::from_str(&lines[1]).expect("bytes are wrapped");
    assert_eq!(bytes["data"], "/wA=");
    assert_eq!(lines[2..], [r#"{"type":"zipped"}"#, r#"{"type":"one"}"#, r#"{"type":"two"}"#]);
    let wanted = output(
        &ferro,
        &["--from", "trim-horizon", "--count", "2", "--type", "zipped,two", "--format", "data"],
    )
    .await;
    assert_eq!(
        String::from_utf8_lossy(&wanted.stdout),
        "{\"type\":\"zipped\"}\n{\"type\":\"two\"}\n"
    );
    let said = String::from_utf8_lossy(&wanted.stderr).into_owned();
    assert!(said.contains("left out 2 of the records: they are no JSON"), "{said}");
    // These forms hold the bytes of the record.
    let lines = printed(&ferro, 5, &["--format", "record"]).await;
    let zipped: Value = serde_json::from_str(&lines[2]).expect("each line is JSON");
    assert_eq!(zipped["data"], ZIPPED);
    assert_eq!(zipped["kinesisSchemaVersion"], "1.0");
}

#[tokio::test]
async fn a_form_of_lambda_is_an_invocation_and_lumigo_s_is_what_lumigo_prints() {
    let (ferro, client) = stream(1).await;
    let event = r#"{"version":"0","id":"1","detail-type":"T","source":"trading","account":"","time":"2026-11-20T21:34:09.335Z","region":"eu-central-1","resources":[],"detail":{"qty":5.0}}"#;
    put(&client, "s", vec![entry("k", event)]).await;
    assert_eq!(
        printed(&ferro, 1, &["--format", "lumigo"]).await,
        [
            "2026-11-20T21:34:09.335Z",
            "{",
            r#"  "Region": "eu-central-1","#,
            r#"  "Source": "trading","#,
            r#"  "Resources": [],"#,
            r#"  "Detail-Type": "T","#,
            r#"  "Detail": {"#,
            r#"    "qty": 5.0"#,
            "  }",
            "}"
        ]
    );
    let lines = printed(&ferro, 1, &["--format", "lambda"]).await;
    let invocation: Value = serde_json::from_str(&lines[0]).expect("each line is JSON");
    let record = &invocation["Records"][0];
    assert_eq!(record["kinesis"]["data"], STANDARD.encode(event));
    assert_eq!(record["eventSource"], "aws:kinesis");
    let arn = record["eventSourceARN"].as_str().expect("a text");
    assert!(arn.starts_with("arn:aws:kinesis:") && arn.ends_with(":stream/s"), "{arn}");
}

#[tokio::test]
async fn one_shard_is_read_from_a_number_to_its_end() {
    let (ferro, client) = stream(1).await;
    let mut numbers = Vec::new();
    for n in 0..3 {
        let answer = put(&client, "s", vec![entry("k", format!("data-{n}"))]).await;
        numbers.push(answer.records()[0].sequence_number().expect("stored").to_owned());
    }
    let shard = shards(&client, "s").await.remove(0);
    split(&client, "s", &shard).await;
    put(&client, "s", vec![entry("k", "of a child")]).await;
    let after = format!("after={}", numbers[0]);
    // It ends by itself: the shard is closed.
    let read = output(&ferro, &["--shard", &shard.id, "--from", &after]).await;
    assert_eq!(String::from_utf8_lossy(&read.stdout), "data-1\ndata-2\n");
    let at = output(&ferro, &["--shard", &shard.id, "--from", "at=2020-01-01T00:00:00Z"]).await;
    assert_eq!(String::from_utf8_lossy(&at.stdout), "data-0\ndata-1\ndata-2\n");
    let none = output(&ferro, &["--shard", "shardId-000000000099"]).await;
    assert_eq!(none.status.code(), Some(1), "{}", String::from_utf8_lossy(&none.stderr));
}

#[tokio::test]
async fn arguments_that_do_not_hold_are_refused_and_named() {
    let (ferro, _) = stream(1).await;
    for (arguments, says) in [
        (&["--from", "after=17"][..], "needs --shard"),
        (&["--from", "yesterday"], "expected latest, trim-horizon, at=TIME"),
        (&["--format", "xml"], "envelope, data, record, lambda, lumigo"),
        (&["--format", "data", "--pretty"], "--pretty is for --format envelope"),
        (&["--filter", r#"{"a": 5}"#], "line 1, column 7, in `a`"),
        (&["--filter", "@/no/such/file"], "cannot read /no/such/file"),
        (&["--until-idle", "5"], "expected a number and ms, s, m or h"),
        (&["--count", "0"], "--count"),
    ] {
        let refused = output(&ferro, arguments).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(64), 0), "{said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_terminal_gets_colours_unless_it_is_told_otherwise() {
    let (ferro, client) = stream(1).await;
    put(&client, "s", vec![entry("k", r#"{"a":"b"}"#)]).await;
    for (no_color, expected) in
        [("", "{\u{1b}[34m\"a\"\u{1b}[0m:\u{1b}[32m\"b\"\u{1b}[0m}"), ("1", r#"{"a":"b"}"#)]
    {
        let terminal = Terminal::open();
        let mut command = tail(&ferro, &["--from", "trim-horizon", "--count", "1"]);
        command.env("TERM", "xterm").env("NO_COLOR", no_color).stdout(terminal.stream());
        let child = command.spawn().expect("it starts");
        drop(command); // it holds the terminal too
        let shown = timeout(DEADLINE, terminal.shown()).await.expect("it ends");
        drop(child);
        assert!(shown.contains(expected), "{no_color:?}: {shown:?}");
    }
}
