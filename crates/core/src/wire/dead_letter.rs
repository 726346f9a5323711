//! A dead letter: a record that was given up on, with the reason, as one line of JSON.
//!
//! A line is two things in one. It has the members of the failure record that Lambda hands to a
//! destination (`requestContext`, `responseContext`, `version`, `timestamp`, `KinesisBatchInfo`),
//! so that what reads those reads these; beside them stand ours, and under `record` the record
//! itself, which Lambda leaves out. There is one line for a record: those of a batch that was given
//! up as a whole have one `requestId` and one `KinesisBatchInfo`, that of the batch.
//!
//! Nothing here decides what is given up on, or writes a file. What reads a line back is
//! [`archive`](super::archive).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use crate::limits::KIB;
use crate::model::envelope::Timestamp;

/// Bytes that are kept of the last response's body: enough to tell a stack trace's first line.
pub const BODY_BYTES_MAX: usize = KIB;

/// The version of the failure record, in Lambda's words.
const VERSION: &str = "1.0";

/// What Lambda calls the version of a function that was not published under a number. A target has
/// no versions.
const EXECUTED_VERSION: &str = "$LATEST";

/// A record that was given up on.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// The target's name; never a URL, which may hold a secret.
    pub target: &'a str,
    /// The ARN of the stream that the record was read from; its name where the ARN is not known.
    pub stream_arn: &'a str,
    /// The id of the batch that was given up: the same in each of its lines.
    pub request_id: Uuid,
    /// Why the record was given up on, in one word: whoever decides it has the words.
    pub condition: &'a str,
    /// How often the record was delivered in vain.
    pub attempts: u32,
    /// `None` where the target never answered, or its answer has nothing to do with it.
    pub response: Option<LastResponse<'a>>,
    /// When it was given up on.
    pub at: SystemTime,
    pub batch: Batch<'a>,
    pub record: Letter<'a>,
}

/// The target's last word on the batch.
#[derive(Debug, Clone, Copy)]
pub struct LastResponse<'a> {
    /// `None` where the target gave none: a child's word, a connection that was cut.
    pub status: Option<u16>,
    /// The kind of a function's error, in Lambda's words: `Unhandled`.
    pub function_error: Option<&'a str>,
    /// What happened, in words.
    pub reason: &'a str,
    /// The answer's body, as much as there is of it; [`BODY_BYTES_MAX`] bytes are written.
    pub body: Option<&'a str>,
}

/// The batch that was given up, of which the record is one.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    pub first: End<'a>,
    pub last: End<'a>,
    pub records_count: usize,
}

/// The first or the last record of a batch.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub sequence_number: &'a str,
    pub arrived: Option<SystemTime>,
}

/// The record as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    pub shard: &'a str,
    pub sequence_number: &'a str,
    /// The event's index in its packed record; `None` where the record is not packed.
    pub sub_sequence_number: Option<u64>,
    pub partition_key: Option<&'a str>,
    pub arrived: Option<SystemTime>,
    pub data: &'a [u8],
}

impl DeadLetter<'_> {
    /// One line of JSON, with its line end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.record.data.len() / 3 * 4 + KIB);
        serde_json::to_writer(&mut line, &self.as_written())
            .expect("texts and numbers always print, and a Vec takes every write");
        line.push(b'\n');
        line
    }

    fn as_written(&self) -> Line<'_> {
        let Self { record, batch, response, .. } = self;
        Line {
            request_context: RequestContext {
                request_id: self.request_id.to_string(),
                function_arn: self.target,
                condition: self.condition,
                // Lambda writes 1 for a record that was too old before it was delivered.
                approximate_invoke_count: self.attempts.max(1),
            },
            response_context: response.as_ref().map(|response| ResponseContext {
                status_code: response.status,
                executed_version: EXECUTED_VERSION,
                function_error: response.function_error,
            }),
            version: VERSION,
            timestamp: printed(self.at),
            batch_info: BatchInfo {
                shard_id: record.shard,
                start_sequence_number: batch.first.sequence_number,
                end_sequence_number: batch.last.sequence_number,
                approximate_arrival_of_first_record: batch.first.arrived.map(printed),
                approximate_arrival_of_last_record: batch.last.arrived.map(printed),
                batch_size: batch.records_count,
                stream_arn: self.stream_arn,
            },
            target: self.target,
            stream: self.stream_arn,
            attempts: self.attempts,
            status: response.as_ref().and_then(|response| response.status),
            reason: response.as_ref().map(|response| response.reason),
            body: response.as_ref().and_then(|response| response.body).map(beginning),
            record: Written {
                shard_id: record.shard,
                sequence_number: record.sequence_number,
                sub_sequence_number: record.sub_sequence_number,
                partition_key: record.partition_key,
                approximate_arrival_timestamp: record.arrived.map(epoch_seconds),
                data: base64_simd::STANDARD.encode_to_string(record.data),
            },
        }
    }
}

/// The line, in the order of its members.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    version: &'static str,
    timestamp: String,
    #[serde(rename = "KinesisBatchInfo")]
    batch_info: BatchInfo<'a>,
    target: &'a str,
    stream: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    record: Written<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: String,
    function_arn: &'a str,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: Option<u16>,
    executed_version: &'static str,
    function_error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo<'a> {
    shard_id: &'a str,
    start_sequence_number: &'a str,
    end_sequence_number: &'a str,
    approximate_arrival_of_first_record: Option<String>,
    approximate_arrival_of_last_record: Option<String>,
    batch_size: usize,
    stream_arn: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    shard_id: &'a str,
    sequence_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u64>,
    partition_key: Option<&'a str>,
    approximate_arrival_timestamp: Option<f64>,
    /// The data in base64.
    data: String,
}

fn printed(at: SystemTime) -> String {
    Timestamp::from(at).as_str().to_owned()
}

/// Seconds since 1970 with three decimals, as Lambda writes an arrival.
fn epoch_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0
}

/// The first [`BODY_BYTES_MAX`] bytes of a text, or a few less: no character is cut.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(BODY_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::{Value, json};

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn letter<'a>(condition: &'a str, response: Option<LastResponse<'a>>) -> DeadLetter<'a> {
        let end = |sequence_number, ms| End { sequence_number, arrived: Some(at(ms)) };
        DeadLetter {
            target: "orders",
            stream_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/events",
            request_id: Uuid::from_u128(7),
            condition,
            attempts: 3,
            response,
            at: at(1_700_000_000_999),
            batch: Batch {
                first: end("4950", 1_545_084_650_987),
                last: end("4952", 1_545_084_651_000),
                records_count: 3,
            },
            record: Letter {
                shard: "shardId-000000000006",
                sequence_number: "4951",
                sub_sequence_number: Some(2),
                partition_key: Some("k"),
                arrived: Some(at(1_545_084_650_990)),
                data: b"{\"a\":1.50}",
            },
        }
    }

    fn read(letter: &DeadLetter<'_>) -> Value {
        let line = letter.to_line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(line.strip_suffix(b"\n").expect("it ends")).expect("it is JSON")
    }

    #[test]
    fn a_line_has_the_failure_record_of_lambda_and_the_record_itself() {
        let response = LastResponse {
            status: Some(500),
            function_error: Some("Unhandled"),
            reason: "the target answered 500",
            body: Some("boom"),
        };
        let line = read(&letter("RetryAttemptsExhausted", Some(response)));
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/events";
        let expected = json!({
            "requestContext": {
                "requestId": "00000000-0000-0000-0000-000000000007",
                "functionArn": "orders",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 3
            },
            "responseContext": {
                "statusCode": 500,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled"
            },
            "version": "1.0",
            "timestamp": "2023-11-14T22:13:20.999Z",
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000006",
                "startSequenceNumber": "4950",
                "endSequenceNumber": "4952",
                "approximateArrivalOfFirstRecord": "2018-12-17T22:10:50.987Z",
                "approximateArrivalOfLastRecord": "2018-12-17T22:10:51.000Z",
                "batchSize": 3,
                "streamArn": arn
            },
            "target": "orders",
            "stream": arn,
            "attempts": 3,
            "status": 500,
            "reason": "the target answered 500",
            "body": "boom",
            "record": {
                "shardId": "shardId-000000000006",
                "sequenceNumber": "4951",
                "subSequenceNumber": 2,
                "partitionKey": "k",
                "approximateArrivalTimestamp": 1545084650.99,
                "data": "eyJhIjoxLjUwfQ=="
            }
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_record_that_was_never_sent_has_no_response_and_at_least_one_invocation() {
        let mut old = letter("RecordAgeExceeded", None);
        old.attempts = 0;
        let line = read(&old);
        assert_eq!(line.get("responseContext"), None);
        assert_eq!(line["requestContext"]["approximateInvokeCount"], 1);
        assert_eq!(line["attempts"], 0);
    }

    #[test]
    fn a_long_body_is_cut_between_two_characters() {
        let body = "é".repeat(BODY_BYTES_MAX) + "end";
        let body = format!("x{body}");
        let response =
            LastResponse { status: None, function_error: None, reason: "r", body: Some(&body) };
        let line = read(&letter("RecordRefused", Some(response)));
        assert_eq!(line["body"].as_str().map(str::len), Some(BODY_BYTES_MAX - 1));
    }
}
