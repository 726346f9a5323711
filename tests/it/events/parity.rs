//! The envelope is byte-equal to what `lk-dispatch` 1.1.0 writes, held against the real package on
//! kinesalite; and the module that takes its place resolves and rejects as `docs/operations.md`
//! says.

use serde_json::Value;
use testkit::client;
use testkit::kinesis::Kinesalite;
use testkit::packages::node;
use testkit::stream::{StoredRecord, create_stream, read_all};
use tokio::process::Command;

use crate::DISPATCHD;

/// The record with what is chosen by chance or the clock blanked out: id, timestamp and, where none
/// was asked for, the key.
fn blanked(record: &StoredRecord, line: &Value) -> String {
    let text = std::str::from_utf8(&record.data).expect("envelopes are UTF-8");
    let envelope: Value = serde_json::from_str(text).expect("envelopes are JSON");
    assert_eq!(envelope["source"]["kinesisPartitionKey"], record.partition_key.as_str());
    let field = |name: &str| envelope[name].as_str().expect("a string").to_owned();
    let mut blanked = text.replace(&field("id"), "ID").replace(&field("timestamp"), "TIME");
    assert_eq!(field("timestamp").len(), "2026-01-01T00:00:00.000Z".len());
    for uuid in
        [field("id")].into_iter().chain(random_key(line).then(|| record.partition_key.clone()))
    {
        let parsed = uuid::Uuid::parse_str(&uuid).expect("a uuid");
        assert_eq!(parsed.get_version_num(), 4);
        blanked = blanked.replace(&uuid, "UUID");
    }
    blanked
}

fn random_key(line: &Value) -> bool {
    line["options"]["partitionKey"].as_str().is_none_or(str::is_empty)
}

#[tokio::test]
async fn the_envelope_is_byte_equal_to_lk_dispatch() {
    let Some(kinesalite) = Kinesalite::start().await else { return };
    let folder = tokio::task::spawn_blocking(node)
        .await
        .expect("npm ci ends")
        .expect("kinesalite runs on it");
    let (endpoint, producer_id) = (kinesalite.endpoint(), "server@hostname");
    let client = client(&endpoint);
    create_stream(&client, "theirs", 1).await;
    create_stream(&client, "ours", 1).await;
    let published = Command::new("node")
        .args(["lk-dispatch.cjs", &endpoint, "theirs", producer_id])
        .env("AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE", "1")
        .current_dir(folder)
        .output()
        .await
        .expect("node runs");
    let lines = String::from_utf8(published.stdout).expect("node prints UTF-8");
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));

    let daemon = DISPATCHD
        .daemon(&endpoint, "ours")
        .set("producer_id", producer_id)
        .set("batch.linger", "0ms")
        .start()
        .await;
    let mut caller = daemon.connect().await;
    for line in lines.lines() {
        let ack = caller.ask(line).await;
        assert_eq!(ack["ok"], true, "{line}: {ack}");
    }
    let (theirs, ours) = (read_all(&client, "theirs").await, read_all(&client, "ours").await);
    assert_eq!((theirs.len(), ours.len()), (11, 11));
    for ((theirs, ours), line) in theirs.iter().zip(&ours).zip(lines.lines()) {
        let line: Value = serde_json::from_str(line).expect("node prints JSON");
        assert_eq!(blanked(ours, &line), blanked(theirs, &line));
        if !random_key(&line) {
            assert_eq!(ours.partition_key, theirs.partition_key);
        }
    }
}

/// Calls as an application of lk-dispatch makes them, and what came of each, a line of JSON.
const APPLICATION: &str = r#"
const dispatch = require("./dispatch.js");
const calls = [
    ["order.placed", { total: 12.5 }, { partitionKey: "customer-9", sourceUserId: "u-3" }],
    ["order.placed", { emoji: "\u{1f600}" }],
    ["order.placed", 3],
    ["order.placed", {}, { partitionKey: "k".repeat(257) }],
];
Promise.allSettled(calls.map((call) => dispatch(...call))).then((all) => {
    all.forEach(({ value, reason }) => console.log(JSON.stringify(value || { code: reason.code, retryable: reason.retryable })));
    process.exit(0);
});
"#;

#[tokio::test]
async fn the_module_of_the_operations_page_stands_in_for_lk_dispatch() {
    if tokio::task::spawn_blocking(node).await.expect("npm ci ends").is_none() {
        return;
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"))
        .expect("it is there");
    let (_, module) = page.split_once("```js\n").expect("the page has one module");
    let (module, _) = module.split_once("```").expect("it ends");
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("dispatch.js", module), ("application.js", APPLICATION)] {
        std::fs::write(dir.path().join(name), text).expect("the directory is ours");
    }
    let daemon = DISPATCHD.local().start().await;
    let mut application = Command::new("node");
    let application = application
        .arg("application.js")
        .current_dir(&dir)
        .env("DISPATCHD_SOCKET", daemon.socket());
    let output = application.output().await.expect("node runs");
    let printed = String::from_utf8(output.stdout).expect("node prints UTF-8");
    let said: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("and JSON")).collect();
    assert_eq!(said.len(), 4, "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said[0]["data"]["total"], 12.5);
    assert_eq!(said[0]["source"]["kinesisPartitionKey"], "customer-9");
    assert_eq!(said[1]["data"]["emoji"], "\u{1f600}");
    assert!(said[1]["source"]["userId"].is_null() && said[1]["id"].is_string());
    let refused = serde_json::json!({ "code": "InvalidRequest", "retryable": false });
    assert_eq!(said[2..], [refused.clone(), refused]);
}
