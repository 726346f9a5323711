//! Acks against the truth: what callers were told, held against what the stream holds.

use std::collections::HashMap;

use serde_json::Value;

use super::stream::StoredRecord;

/// Lines for `count` events whose data says their key and their place among the key's events.
pub fn numbered_lines(count: usize, keys: usize) -> String {
    let line = |n: usize| {
        let (key, place) = (n % keys, n / keys);
        format!(
            "{{\"ref\":{n},\"type\":\"t\",\"data\":{{\"place\":{place}}},\"options\":{{\"partitionKey\":\"key-{key}\"}}}}\n"
        )
    };
    (0..count).map(line).collect()
}

/// The same, where the data of those lines that `is_long` says is `bytes` longer.
pub fn numbered_lines_some_long(
    count: usize,
    keys: usize,
    bytes: usize,
    is_long: impl Fn(usize) -> bool,
) -> String {
    let filler = "x".repeat(bytes);
    let long = |(n, line): (usize, &str)| match is_long(n) {
        true => line.replacen("}", &format!(",\"x\":\"{filler}\"}}"), 1) + "\n",
        false => format!("{line}\n"),
    };
    numbered_lines(count, keys).lines().enumerate().map(long).collect()
}

/// The refs of these answers, in order.
pub fn refs<'a>(answers: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    let mut refs: Vec<u64> = answers
        .into_iter()
        .map(|answer| answer["ref"].as_u64().expect("numbered_lines made it"))
        .collect();
    refs.sort_unstable();
    refs
}

/// Every ack names a record that is in the stream, with its id; gives how many copies more than
/// acks there are.
pub fn assert_acks_are_true(acks: &[Value], stored: &[StoredRecord]) -> usize {
    let by_sequence: HashMap<&str, &StoredRecord> =
        stored.iter().map(|record| (record.sequence.as_str(), record)).collect();
    assert_eq!(by_sequence.len(), stored.len(), "a sequence number is one record's");
    for ack in acks {
        let sequence = ack["sequenceNumber"].as_str().unwrap_or_else(|| panic!("{ack} is no ack"));
        let record = by_sequence
            .get(sequence)
            .unwrap_or_else(|| panic!("{ack} is acked and not in the stream"));
        assert_eq!(record.shard, ack["shardId"], "{ack}");
        let envelope: Value = serde_json::from_slice(&record.data).expect("envelopes are JSON");
        assert_eq!(envelope["id"], ack["id"]);
    }
    let ids: std::collections::HashSet<_> = acks.iter().map(|ack| ack["id"].to_string()).collect();
    assert_eq!(ids.len(), acks.len(), "an event is acked once");
    stored.len() - acks.len()
}

/// No key's event is stored before one that was sent earlier. For streams without second copies;
/// events may be missing.
pub fn assert_key_order_with_gaps(stored: &[StoredRecord]) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for record in stored {
        let envelope: Value = serde_json::from_slice(&record.data).expect("envelopes are JSON");
        let place = envelope["data"]["place"].as_u64().expect("numbered_lines made it");
        if let Some(last) = last.insert(&record.partition_key, place) {
            assert!(last < place, "{}: place {place} came after {last}", record.partition_key);
        }
    }
}

/// The first copies of a key's events are stored in the order they were sent in.
pub fn assert_key_order(stored: &[StoredRecord]) {
    let mut next: HashMap<&str, u64> = HashMap::new();
    for record in stored {
        let envelope: Value = serde_json::from_slice(&record.data).expect("envelopes are JSON");
        let place = envelope["data"]["place"].as_u64().expect("numbered_lines made it");
        let next = next.entry(&record.partition_key).or_default();
        assert!(place <= *next, "{}: place {place} came before {next}", record.partition_key);
        *next = (*next).max(place + 1);
    }
}

/// These are the data of `count` events by [`numbered_lines`], each once and in the order of its
/// key.
pub fn assert_read_once_in_order(data: &[String], count: usize) {
    let mut next: HashMap<String, u64> = HashMap::new();
    for data in data {
        let envelope: Value = serde_json::from_str(data).expect("envelopes are JSON");
        let key =
            envelope["source"]["kinesisPartitionKey"].as_str().expect("it had a key").to_owned();
        let place = envelope["data"]["place"].as_u64().expect("numbered_lines made it");
        let next = next.entry(key.clone()).or_default();
        assert_eq!(place, *next, "{key}: what comes next");
        *next += 1;
    }
    assert_eq!(data.len(), count, "events that were read");
}
