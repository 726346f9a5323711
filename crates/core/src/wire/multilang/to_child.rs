//! Writes the lines that a child reads. A line ends with one line feed and has no other.

use base64_simd::STANDARD;

use super::from_child::Asked;
use super::{Action, Refusal};
use crate::json::push_json_str;

/// One record of a `processRecords`. It borrows from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub data: &'a [u8],
    pub partition_key: Option<&'a str>,
    pub sequence_number: &'a str,
    /// 0 for a record that is not packed.
    pub sub_sequence_number: u64,
    /// Milliseconds since 1970. A number always: `amazon_kclpy` divides it.
    pub arrived_ms: u64,
}

/// `initialize`, with the checkpoint that the child begins after: a sequence number, or one of the
/// KCL's words (`TRIM_HORIZON`, `LATEST`, `AT_TIMESTAMP`).
pub fn initialize(out: &mut Vec<u8>, shard: &str, sequence_number: &str, sub: u64) {
    out.extend_from_slice(b"{\"action\":\"initialize\",\"shardId\":");
    push_json_str(out, shard);
    out.extend_from_slice(b",\"sequenceNumber\":");
    push_json_str(out, sequence_number);
    out.extend_from_slice(b",\"subSequenceNumber\":");
    push_number(out, sub);
    out.extend_from_slice(b"}\n");
}

/// An action that has nothing but its name.
pub fn plain(out: &mut Vec<u8>, action: Action) {
    out.extend_from_slice(b"{\"action\":");
    push_json_str(out, action.name());
    out.extend_from_slice(b"}\n");
}

/// The answer to a checkpoint that the child asked for: what was asked, as it was asked, and what
/// came of it.
pub fn checkpoint_answer(out: &mut Vec<u8>, asked: &Asked, refusal: Option<Refusal>) {
    out.extend_from_slice(b"{\"action\":\"checkpoint\",\"sequenceNumber\":");
    push_text_or_null(out, asked.sequence_number.as_deref());
    out.extend_from_slice(b",\"subSequenceNumber\":");
    match asked.sub_sequence_number {
        Some(number) => push_number(out, number),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"error\":");
    push_text_or_null(out, refusal.map(Refusal::name));
    out.extend_from_slice(b"}\n");
}

/// `processRecords`, as it grows: whoever fills it sees how long it is.
#[derive(Debug)]
pub struct RecordsMessage {
    line: Vec<u8>,
    records_count: usize,
}

impl Default for RecordsMessage {
    fn default() -> Self {
        let line = b"{\"action\":\"processRecords\",\"records\":[".to_vec();
        Self { line, records_count: 0 }
    }
}

impl RecordsMessage {
    pub fn push(&mut self, record: &Record<'_>) {
        let out = &mut self.line;
        if self.records_count > 0 {
            out.push(b',');
        }
        self.records_count += 1;
        out.extend_from_slice(b"{\"data\":\"");
        STANDARD.encode_append(record.data, out);
        out.extend_from_slice(b"\",\"partitionKey\":");
        push_text_or_null(out, record.partition_key);
        out.extend_from_slice(b",\"sequenceNumber\":");
        push_json_str(out, record.sequence_number);
        out.extend_from_slice(b",\"approximateArrivalTimestamp\":");
        push_number(out, record.arrived_ms);
        out.extend_from_slice(b",\"subSequenceNumber\":");
        push_number(out, record.sub_sequence_number);
        out.extend_from_slice(b",\"action\":\"record\"}");
    }

    pub fn records_count(&self) -> usize {
        self.records_count
    }

    /// Bytes of the line so far.
    pub fn bytes(&self) -> usize {
        self.line.len()
    }

    /// The line. `behind_ms` is how far its records are behind the end of the shard.
    pub fn finish(mut self, behind_ms: u64) -> Vec<u8> {
        self.line.extend_from_slice(b"],\"millisBehindLatest\":");
        push_number(&mut self.line, behind_ms);
        self.line.extend_from_slice(b"}\n");
        self.line
    }
}

fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_text_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_json_str(out, text),
        None => out.extend_from_slice(b"null"),
    }
}
