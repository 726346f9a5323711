//! The bytes of PutRecords: entries → the body of a request, the body of a reply → verdicts.
//!
//! By hand, because the SDK makes an object and four strings of every record on the way, which was
//! a third of what it costs. Pure: it never signs, sends, or decides what an error leads to.

mod cbor;
mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use super::fault;
use crate::config::{StreamId, Wire};
use dispatchd_core::model::Record;
use dispatchd_core::model::{Entries, Verdict};
use dispatchd_core::wire::packed::{self, FRAME_BYTES};

/// Digits of 2^128 - 1.
const HASH_KEY_DIGITS_MAX: usize = 39;

/// A reply that cannot be read, and why not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadReply(String);

/// What `Content-Type` says of a body in this form.
pub fn content_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Json => "application/x-amz-json-1.1",
        Wire::Cbor => "application/x-amz-cbor-1.1",
    }
}

/// The form of a reply; whatever does not say that it is CBOR is taken for JSON.
pub fn wire(content_type: Option<&str>) -> Wire {
    let is_cbor = content_type.is_some_and(|text| text.starts_with(self::content_type(Wire::Cbor)));
    if is_cbor { Wire::Cbor } else { Wire::Json }
}

/// The body of a request.
pub fn request(wire: Wire, stream: &StreamId, entries: &Entries<'_>) -> Vec<u8> {
    match wire {
        Wire::Json => json::request(stream, entries),
        Wire::Cbor => cbor::request(stream, entries),
    }
}

/// The verdicts of a reply that is a success as a whole, as many as it has.
///
/// # Errors
/// If it is not what Kinesis documents.
pub fn reply(wire: Wire, body: &[u8]) -> Result<Vec<Verdict>, BadReply> {
    match wire {
        Wire::Json => json::reply(body),
        Wire::Cbor => cbor::reply(body),
    }
}

/// What a reply says that is an error.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub code: Option<String>,
    pub message: Option<String>,
}

/// What a reply says that is an error: `__type` and `message`, which some spell `Message`.
///
/// # Errors
/// If it is no object, or no map, of that kind.
pub fn error(wire: Wire, body: &[u8]) -> Result<Told, BadReply> {
    match wire {
        Wire::Json => json::error(body),
        Wire::Cbor => cbor::error(body),
    }
}

/// What a reply says of one entry.
#[derive(Debug, Default)]
pub struct Said<'a> {
    pub shard_id: Option<Cow<'a, str>>,
    pub sequence_number: Option<Cow<'a, str>>,
    pub error_code: Option<Cow<'a, str>>,
    pub error_message: Option<Cow<'a, str>>,
}

impl Said<'_> {
    /// FailedRecordCount is not looked at: each entry speaks for itself. A text that is empty says
    /// nothing: an ack must name a place.
    pub fn verdict(self, shards: &mut ShardIds) -> Verdict {
        let says = |text: &Cow<'_, str>| !text.is_empty();
        let place = (self.sequence_number.filter(says), self.shard_id.filter(says));
        match (self.error_code.filter(says), place) {
            (Some(code), _) => {
                let message = self.error_message.map_or_else(String::new, Cow::into_owned);
                Verdict::Failed { class: fault::record(&code), code: code.into_owned(), message }
            }
            (None, (Some(sequence_number), Some(shard_id))) => Verdict::Stored {
                shard_id: shards.share(&shard_id),
                sequence_number: sequence_number.as_ref().into(),
            },
            (None, _) => Verdict::Unclear,
        }
    }
}

/// The shards that a reply has named: one text for all records of a shard. A table without chains:
/// two shards that meet in a slot only cost an allocation, and below a hundred shards none meet.
#[derive(Debug)]
pub struct ShardIds([Option<Arc<str>>; ShardIds::SLOTS]);

impl ShardIds {
    const SLOTS: usize = 128;

    fn share(&mut self, id: &str) -> Arc<str> {
        // Shards are numbered in decimal, so the last digits tell them apart.
        let slot = id
            .bytes()
            .rev()
            .zip([1, 10, 100])
            .map(|(digit, weight)| usize::from(digit) * weight)
            .sum::<usize>();
        let known = &mut self.0[slot % Self::SLOTS];
        match known {
            Some(known) if **known == *id => Arc::clone(known),
            _ => Arc::clone(known.insert(id.into())),
        }
    }
}

impl Default for ShardIds {
    fn default() -> Self {
        Self([const { None }; Self::SLOTS])
    }
}

/// The data of an entry: an event's own, or an aggregate of several.
fn data<'a>(events: &[&'a Record]) -> Cow<'a, [u8]> {
    match events {
        [event] => Cow::Borrowed(&event.data),
        _ => Cow::Owned(packed::encode(events)),
    }
}

/// The length of that, at most.
fn data_bytes_max(events: &[&Record]) -> usize {
    match events {
        [event] => event.data.len(),
        _ => {
            FRAME_BYTES + events.iter().map(|event| packed::member_bytes_max(event)).sum::<usize>()
        }
    }
}

/// The field that names the stream, and its name.
fn named(stream: &StreamId) -> (&'static str, &str) {
    match stream {
        StreamId::Name(name) => ("StreamName", name),
        StreamId::Arn(arn) => ("StreamARN", arn),
    }
}
