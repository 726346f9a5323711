//! What the test servers do as Kinesis does. Every other test rests on this: the same promises for
//! ferrokinesis, for kinesalite, and for the fault server with nothing planned, which must not
//! change them.

use std::collections::HashMap;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::types::StreamStatus;
use testkit::fault::FaultServer;
use testkit::kinesis::{Ferro, Kinesalite};
use testkit::stream::{
    StoredRecord, create_stream, entries, entry, hash_of, put, read_all, shard_of, shards, split,
};
use testkit::{client, eventually, http};

/// One test for each promise and server.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod ferrokinesis {
            use super::*;
            $(#[tokio::test] async fn $promise() {
                let server = Ferro::start(true).await;
                super::$promise(&server.endpoint()).await;
            })*
        }
        mod kinesalite {
            use super::*;
            $(#[tokio::test] async fn $promise() {
                if let Some(server) = Kinesalite::start().await {
                    super::$promise(&server.endpoint()).await;
                }
            })*
        }
        mod fault_server {
            use super::*;
            $(#[tokio::test] async fn $promise() {
                let upstream = Ferro::start(true).await;
                let server = FaultServer::start(&upstream.endpoint(), 1).await;
                super::$promise(&server.endpoint()).await;
            })*
        }
    };
}

promises! {
    a_new_stream_tells_its_shards
    a_key_lands_where_its_md5_says
    an_explicit_hash_key_beats_the_partition_key_up_to_both_edges_of_a_range
    five_hundred_records_go_in_one_request
    five_hundred_and_one_records_are_refused_whole
    five_mebibytes_go_in_one_request
    sequence_numbers_grow_within_a_shard
    a_missing_stream_is_refused_in_the_aws_json_form
    records_come_back_byte_for_byte
    a_split_closes_the_parent_and_reading_goes_on_in_the_children
}

async fn stream(endpoint: &str, shards_count: i32) -> Client {
    let client = client(endpoint);
    create_stream(&client, "s", shards_count).await;
    client
}

async fn a_new_stream_tells_its_shards(endpoint: &str) {
    let client = stream(endpoint, 3).await;
    let answer = client.describe_stream_summary().stream_name("s").send().await.expect("it exists");
    let summary = answer.stream_description_summary().expect("an answer has a summary");
    assert_eq!(summary.stream_status(), &StreamStatus::Active);
    assert_eq!(summary.open_shard_count(), 3);

    // The ranges must cover every hash key once, or placement cannot be predicted.
    let shards = shards(&client, "s").await;
    assert_eq!(shards.len(), 3);
    assert_eq!((shards[0].first, shards[2].last), (0, u128::MAX));
    assert!(shards.windows(2).all(|pair| pair[0].last + 1 == pair[1].first), "{shards:?}");
    assert!(shards.iter().all(|shard| shard.open && shard.parent.is_none()), "{shards:?}");
}

async fn a_key_lands_where_its_md5_says(endpoint: &str) {
    let client = stream(endpoint, 4).await;
    let shards = shards(&client, "s").await;
    let scripts = ["plain", "größe", "ключ", "鍵", "مفتاح", "🔑", "a b\t\"\\", "Zalgo\u{301}"];
    let keys: Vec<String> =
        (0..200).map(|n| format!("{}-{n}", scripts[n % scripts.len()])).collect();
    let answer = put(&client, "s", keys.iter().map(|key| entry(key, "x")).collect()).await;
    for (key, record) in keys.iter().zip(answer.records()) {
        assert_eq!(record.shard_id(), Some(shard_of(&shards, hash_of(key))), "{key:?}");
    }
}

async fn an_explicit_hash_key_beats_the_partition_key_up_to_both_edges_of_a_range(endpoint: &str) {
    let client = stream(endpoint, 4).await;
    let shards = shards(&client, "s").await;
    for shard in &shards {
        for edge in [shard.first, shard.last] {
            let mut record = entry("the same key", "x");
            record.explicit_hash_key = Some(edge.to_string());
            let answer = put(&client, "s", vec![record]).await;
            assert_eq!(answer.records()[0].shard_id(), Some(shard.id.as_str()), "{edge}");
        }
    }
}

async fn five_hundred_records_go_in_one_request(endpoint: &str) {
    let client = stream(endpoint, 2).await;
    let answer = put(&client, "s", entries(500)).await;
    assert_eq!(answer.failed_record_count(), Some(0));
    assert_eq!(answer.records().len(), 500);
    assert_eq!(read_all(&client, "s").await.len(), 500);
}

async fn five_hundred_and_one_records_are_refused_whole(endpoint: &str) {
    let client = stream(endpoint, 2).await;
    let request = client.put_records().stream_name("s").set_records(Some(entries(501)));
    let error = request.send().await.expect_err("501 is over the limit");
    assert_eq!(error.code(), Some("ValidationException"));
    assert_eq!(read_all(&client, "s").await, []);
}

async fn five_mebibytes_go_in_one_request(endpoint: &str) {
    // Over what HTTP servers take by default: the surroundings must not be the limit that a test
    // runs into.
    let client = stream(endpoint, 8).await;
    let shards = shards(&client, "s").await;
    let mut large = Vec::new();
    for shard in &shards[..5] {
        let mut record = entry("k", vec![b'x'; (1 << 20) - 1]);
        record.explicit_hash_key = Some(shard.first.to_string());
        large.push(record);
    }
    let answer = put(&client, "s", large).await;
    assert_eq!(answer.failed_record_count(), Some(0));
    let lengths: Vec<usize> =
        read_all(&client, "s").await.iter().map(|record| record.data.len()).collect();
    assert_eq!(lengths, [(1 << 20) - 1; 5]);
}

async fn sequence_numbers_grow_within_a_shard(endpoint: &str) {
    let client = stream(endpoint, 2).await;
    let mut last: HashMap<String, u128> = HashMap::new();
    for _ in 0..5 {
        for record in put(&client, "s", entries(50)).await.records() {
            let shard = record.shard_id().expect("a stored record has a shard").to_owned();
            // 56 digits do not fit: the first ones name the shard's creation and are the same for
            // all.
            let number = record.sequence_number().expect("a stored record has a number");
            let tail: u128 = number[20..].parse().expect("a sequence number is a number");
            let before = last.insert(shard, tail);
            assert!(before.is_none_or(|before| before < tail), "{number} after {before:?}");
        }
    }
}

async fn a_missing_stream_is_refused_in_the_aws_json_form(endpoint: &str) {
    let body = r#"{"StreamName":"nowhere","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#;
    let answer = http::call(endpoint, "PutRecords", body).await.expect("it answers");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.content_type.as_deref(), Some(http::JSON));
    assert_eq!(answer.json()["__type"], "ResourceNotFoundException");
    let message = answer.json()["message"].as_str().map(str::to_owned).expect("a message");
    assert!(message.contains("nowhere"), "{message}");

    // And an SDK finds the code in it.
    let request =
        client(endpoint).put_records().stream_name("nowhere").set_records(Some(entries(1)));
    let error = request.send().await.expect_err("there is no such stream");
    assert_eq!(error.code(), Some("ResourceNotFoundException"));
}

async fn records_come_back_byte_for_byte(endpoint: &str) {
    let client = stream(endpoint, 3).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let sent = [
        entry("bytes", &every_byte),
        entry("größe 鍵 🔑", "text, ünïcödé"),
        entry("k", vec![b'y'; 300_000]),
        entry("k", "{\"a\":1.50}"),
    ];
    let answer = put(&client, "s", sent.to_vec()).await;
    let expected = sent.iter().zip(answer.records()).map(|(sent, record)| StoredRecord {
        shard: record.shard_id().expect("stored").to_owned(),
        sequence: record.sequence_number().expect("stored").to_owned(),
        partition_key: sent.partition_key().expect("sent with a key").to_owned(),
        data: sent.data().as_ref().to_vec().into(),
    });
    let mut expected: Vec<StoredRecord> = expected.collect();
    expected.sort_by(|a, b| (&a.shard, &a.sequence).cmp(&(&b.shard, &b.sequence)));
    assert!(read_all(&client, "s").await == expected, "what was read is not what was sent");
}

async fn a_split_closes_the_parent_and_reading_goes_on_in_the_children(endpoint: &str) {
    let client = stream(endpoint, 1).await;
    let before = put(&client, "s", entries(40)).await;
    let parent = shards(&client, "s").await.remove(0);
    split(&client, "s", &parent).await;

    let all = eventually("both children are open", async || {
        let all = shards(&client, "s").await;
        (all.iter().filter(|shard| shard.open).count() == 2).then_some(all)
    })
    .await;
    assert_eq!(all.len(), 3);
    assert!(
        !all[0].open && all[1..].iter().all(|child| child.parent.as_deref() == Some(&parent.id)),
        "{all:?}"
    );

    let after = put(&client, "s", entries(40)).await;
    for (n, record) in after.records().iter().enumerate() {
        assert_eq!(record.shard_id(), Some(shard_of(&all, hash_of(&format!("key-{n}")))));
    }
    assert!(before.records().iter().all(|record| record.shard_id() == Some(&parent.id)));
    let read = read_all(&client, "s").await;
    assert_eq!(read.len(), 80);
    assert!(
        read[..40].iter().all(|record| record.shard == parent.id),
        "parents are read before children"
    );
}

/// kinesalite has no limits; the fault server has its own, tested in `faults.rs`.
#[tokio::test]
async fn ferrokinesis_throttles_a_full_shard_and_no_other() {
    let server = Ferro::start(true).await;
    let client = stream(&server.endpoint(), 2).await;
    let shards = shards(&client, "s").await;
    // 1.4 MB for the first shard, over its mebibyte a second; four small records for the other.
    let mut records = Vec::new();
    for (shard, count, bytes) in [(&shards[0], 14, 100_000), (&shards[1], 4, 10)] {
        for _ in 0..count {
            let mut record = entry("k", vec![b'x'; bytes]);
            record.explicit_hash_key = Some(shard.first.to_string());
            records.push(record);
        }
    }
    let answer = put(&client, "s", records).await;
    let throttled = "ProvisionedThroughputExceededException";
    let failed: Vec<bool> =
        answer.records().iter().map(|record| record.error_code() == Some(throttled)).collect();
    assert_eq!(failed[..10], [false; 10], "the first mebibyte is taken");
    assert_eq!(failed[10..14], [true; 4], "what is over it is not");
    assert_eq!(failed[14..], [false; 4], "the other shard has room");
    assert_eq!(answer.failed_record_count(), Some(4));
    assert_eq!(read_all(&client, "s").await.len(), 14);
}
