//! What Lambda's event source mapping invokes a function with: `{"Records":[…]}`, every field in
//! its order.

use std::fmt::Write;

use super::{Outgoing, kinesis};
use crate::json::{json_str_len, push_json_str};

/// What the fields of every record say of the stream and of who reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    pub stream_arn: String,
    pub region: String,
    /// `invokeIdentityArn`: the role that invokes.
    pub role_arn: String,
}

/// What stands around the records.
const OPEN: &str = r#"{"Records":["#;
const CLOSE: &str = "]}";

/// The fixed texts of a record.
const FRAME: &str = r#"{"kinesis":,"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"","eventName":"aws:kinesis:record","invokeIdentityArn":,"awsRegion":,"eventSourceARN":},"#;

impl Mapping {
    /// The body of one invocation.
    pub fn body<'a>(&self, records: impl Iterator<Item = Outgoing<'a>> + Clone) -> Vec<u8> {
        let records_len: usize = records.clone().map(|record| self.record_len(&record)).sum();
        let mut out = Vec::with_capacity(OPEN.len() + records_len + CLOSE.len());
        out.extend_from_slice(OPEN.as_bytes());
        for (index, record) in records.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.push_record(&record, &mut out);
        }
        out.extend_from_slice(CLOSE.as_bytes());
        out
    }

    /// Appends one record.
    pub fn push_record(&self, record: &Outgoing<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kinesis":"#);
        kinesis::push(record, out);
        out.extend_from_slice(br#","eventSource":"aws:kinesis","eventVersion":"1.0","eventID":""#);
        out.extend_from_slice(record.id().to_string().as_bytes());
        out.extend_from_slice(br#"","eventName":"aws:kinesis:record","invokeIdentityArn":"#);
        push_json_str(out, &self.role_arn);
        out.extend_from_slice(br#","awsRegion":"#);
        push_json_str(out, &self.region);
        out.extend_from_slice(br#","eventSourceARN":"#);
        push_json_str(out, &self.stream_arn);
        out.push(b'}');
    }

    /// Bytes that a record takes, with the comma before the next.
    pub fn record_len(&self, record: &Outgoing<'_>) -> usize {
        let texts = [&self.role_arn, &self.region, &self.stream_arn];
        Self::record_len_of(record, texts.into_iter().map(|text| json_str_len(text)).sum())
    }

    /// Bytes that a record takes, with the comma before the next, where what all records of a
    /// mapping have in common takes `common_bytes`.
    pub fn record_len_of(record: &Outgoing<'_>, common_bytes: usize) -> usize {
        let mut id = Length(0);
        write!(id, "{}", record.id()).expect("a length takes every text");
        FRAME.len() + kinesis::len(record) + id.0 + common_bytes
    }
}

/// The length of what is written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
