//! The envelope is byte-equal to what `lk-dispatch` 1.1.0 writes, held against the real package on kinesalite.

mod support;

use serde_json::Value;
use support::client;
use support::daemon::Start;
use support::kinesis::Kinesalite;
use support::packages::node;
use support::stream::{StoredRecord, create_stream, read_all};
use tokio::process::Command;

/// The record with what is chosen by chance or the clock blanked out: id, timestamp and, where none was asked for, the key.
fn blanked(record: &StoredRecord, line: &Value) -> String {
    let text = std::str::from_utf8(&record.data).expect("envelopes are UTF-8");
    let envelope: Value = serde_json::from_str(text).expect("envelopes are JSON");
    assert_eq!(envelope["source"]["kinesisPartitionKey"], record.partition_key.as_str());
    let field = |name: &str| envelope[name].as_str().expect("a string").to_owned();
    let mut blanked = text.replace(&field("id"), "ID").replace(&field("timestamp"), "TIME");
    assert_eq!(field("timestamp").len(), "2026-01-01T00:00:00.000Z".len());
    for uuid in [field("id")].into_iter().chain(random_key(line).then(|| record.partition_key.clone())) {
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
    let folder = tokio::task::spawn_blocking(node).await.expect("npm ci ends").expect("kinesalite runs on it");
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

    let daemon = Start::new(&endpoint, "ours").set("producer_id", producer_id).set("batch.linger", "0ms").start().await;
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
