//! Many events in one body: a JSON array of `{"event":…,"meta":…}`. `event` is the record's own
//! JSON, byte for byte; `meta` says where it stood, in the words of Lambda's events.

use super::{Misfit, Outgoing, kinesis, members};
use crate::json::{json_str_len, push_json_str};

/// The fixed texts of an element, with the comma before the next.
const FRAME: &str = r#"{"event":,"meta":{"shardId":,"sequenceNumber":"","partitionKey":,"approximateArrivalTimestamp":}},"#;
const SUB: &str = r#","subSequenceNumber":"#;

/// Whether the record is JSON.
///
/// # Errors
/// It is not.
pub fn fits(record: &Outgoing<'_>) -> Result<(), Misfit> {
    members::check(record.data)
}

/// The body of one request. Every record must have been found to fit.
pub fn body<'a>(records: impl Iterator<Item = Outgoing<'a>> + Clone) -> Vec<u8> {
    let elements_len: usize = records.clone().map(|record| element_len(&record)).sum();
    let mut out = Vec::with_capacity("[]".len() + elements_len);
    out.push(b'[');
    for (index, record) in records.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_element(&record, &mut out);
    }
    out.push(b']');
    out
}

/// Bytes that a record takes, with the comma before the next.
pub fn element_len(record: &Outgoing<'_>) -> usize {
    let index = record.sub_sequence_number;
    FRAME.len()
        + record.data.len()
        + json_str_len(record.shard)
        + record.sequence_number.len()
        + index.map_or(0, |index| SUB.len() + itoa::Buffer::new().format(index).len())
        + kinesis::key_len(record.partition_key)
        + kinesis::seconds_len(record.arrived)
}

fn push_element(record: &Outgoing<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"event":"#);
    out.extend_from_slice(record.data);
    out.extend_from_slice(br#","meta":{"shardId":"#);
    push_json_str(out, record.shard);
    out.extend_from_slice(br#","sequenceNumber":""#);
    out.extend_from_slice(record.sequence_number.as_bytes());
    out.push(b'"');
    if let Some(index) = record.sub_sequence_number {
        out.extend_from_slice(SUB.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
    }
    out.extend_from_slice(br#","partitionKey":"#);
    kinesis::push_key(record.partition_key, out);
    out.extend_from_slice(br#","approximateArrivalTimestamp":"#);
    kinesis::push_seconds(record.arrived, out);
    out.extend_from_slice(b"}}");
}
