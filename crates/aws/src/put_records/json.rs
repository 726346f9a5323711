//! Bodies in JSON, `application/x-amz-json-1.1`: what Kinesis documents.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use base64_simd::STANDARD;
use dispatchd_core::json::{json_str_len, push_json_str};
use dispatchd_core::model::{Entries, HashKey, Record, StreamId, Verdict};
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::entry::{data, data_bytes_max, stream_field};
use super::reply::{BadReply, EntryResult, ErrorReply, ShardIds};

/// Bytes of an entry besides its data and its keys.
const ENTRY_FRAME_BYTES: usize = r#"{"Data":"","PartitionKey":},"#.len();
const HASH_KEY_BYTES_MAX: usize = r#","ExplicitHashKey":"""#.len() + HashKey::DIGITS_MAX;

pub(super) fn request(stream: &StreamId, entries: &Entries<'_>) -> Vec<u8> {
    let (field, name) = stream_field(stream);
    let mut body = Vec::with_capacity(body_bytes_max(stream, entries));
    body.extend_from_slice(br#"{"Records":["#);
    for (index, events) in entries.iter().enumerate() {
        body.extend_from_slice(if index == 0 { br#"{"Data":""# } else { br#",{"Data":""# });
        STANDARD.encode_append(data(events), &mut body);
        body.extend_from_slice(br#"","PartitionKey":"#);
        // Events of one entry belong to one shard: the keys of the first one place them all.
        push_json_str(&mut body, events[0].key.as_str());
        if let Some(HashKey(hash)) = events[0].explicit_hash() {
            write!(body, r#","ExplicitHashKey":"{hash}""#).expect("a Vec takes every write");
        }
        body.push(b'}');
    }
    write!(body, r#"],"{field}":"#).expect("a Vec takes every write");
    push_json_str(&mut body, name);
    body.push(b'}');
    body
}

/// The most bytes of the body, so that it is allocated once. Exact but for a comma, packed records
/// and explicit hash keys.
pub(super) fn body_bytes_max(stream: &StreamId, entries: &Entries<'_>) -> usize {
    let (field, name) = stream_field(stream);
    let frame_bytes = r#"{"Records":[],"":}"#.len() + field.len() + json_str_len(name);
    frame_bytes + entries.iter().map(entry_bytes_max).sum::<usize>()
}

fn entry_bytes_max(events: &[&Record]) -> usize {
    ENTRY_FRAME_BYTES
        + STANDARD.encoded_length(data_bytes_max(events))
        + json_str_len(events[0].key.as_str())
        + events[0].explicit_hash().map_or(0, |_| HASH_KEY_BYTES_MAX)
}

pub(super) fn reply(body: &[u8]) -> Result<Vec<Verdict>, BadReply> {
    // Checked once for the whole body: serde_json would check every string by itself.
    let text = str::from_utf8(body).map_err(|error| BadReply(error.to_string()))?;
    let reply: Reply = serde_json::from_str(text)?;
    Ok(reply.records)
}

pub(super) fn error(body: &[u8]) -> Result<ErrorReply, BadReply> {
    let error: Error = serde_json::from_slice(body)?;
    Ok(ErrorReply { code: error.code, message: error.message })
}

#[derive(serde::Deserialize)]
struct Error {
    #[serde(rename = "__type", alias = "code")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

#[derive(serde::Deserialize)]
struct Reply {
    #[serde(rename = "Records", deserialize_with = "verdicts")]
    records: Vec<Verdict>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    #[serde(borrow)]
    sequence_number: Option<Text<'a>>,
    #[serde(borrow)]
    error_code: Option<Text<'a>>,
    #[serde(borrow)]
    error_message: Option<Text<'a>>,
}

impl<'a> Entry<'a> {
    fn result(self) -> EntryResult<'a> {
        let text = |text: Option<Text<'a>>| text.map(|Text(text)| text);
        EntryResult {
            shard_id: text(self.shard_id),
            sequence_number: text(self.sequence_number),
            error_code: text(self.error_code),
            error_message: text(self.error_message),
        }
    }
}

/// A text of its own type, since serde borrows a `Cow` only where it stands by itself.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Makes a verdict of each entry as soon as it is read.
fn verdicts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Verdict>, D::Error> {
    struct Verdicts;

    impl<'de> Visitor<'de> for Verdicts {
        type Value = Vec<Verdict>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let (mut verdicts, mut shards) = (Vec::new(), ShardIds::default());
            while let Some(entry) = entries.next_element::<Entry>()? {
                verdicts.push(entry.result().verdict(&mut shards));
            }
            Ok(verdicts)
        }
    }

    deserializer.deserialize_seq(Verdicts)
}
