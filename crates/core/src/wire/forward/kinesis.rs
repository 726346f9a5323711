//! The object `kinesis` of Lambda's events: its keys in their order, its times in seconds. Alone it
//! is the body that Rabble Rouser's forwarder posts, and a line of its archive.

use std::time::{SystemTime, UNIX_EPOCH};

use super::members::{Members, text};
use super::{Misfit, Outgoing};
use crate::json::{json_str_len, push_json_str};

/// What every JavaScript object inherits (ECMAScript 2026, 20.1.3 and annex B.2.2). A consumer that
/// keeps its handlers in an object finds these names in it.
const INHERITED: [&str; 12] = [
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// The fixed texts, with the number of a record in the middle.
const FRAME: &str = r#"{"kinesisSchemaVersion":"1.0","partitionKey":,"sequenceNumber":"","data":"","approximateArrivalTimestamp":}"#;

/// Appends the object. A record whose arrival the service does not tell arrived at 0: consumers
/// refuse one without.
pub fn push(record: &Outgoing<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"kinesisSchemaVersion":"1.0","partitionKey":"#);
    push_key(record.partition_key, out);
    out.extend_from_slice(br#","sequenceNumber":""#);
    out.extend_from_slice(record.sequence_number.as_bytes());
    out.extend_from_slice(br#"","data":""#);
    base64_simd::STANDARD.encode_append(record.data, out);
    out.extend_from_slice(br#"","approximateArrivalTimestamp":"#);
    push_seconds(record.arrived, out);
    out.push(b'}');
}

/// The length of what [`push`] appends.
pub fn len(record: &Outgoing<'_>) -> usize {
    FRAME.len()
        + key_len(record.partition_key)
        + record.sequence_number.len()
        + base64_simd::STANDARD.encoded_length(record.data.len())
        + seconds_len(record.arrived)
}

/// Whether the consumers of this body, of which Rabble Rouser's stream client is the one that is
/// known, can take the record in it: an object whose `type` is a text, and not a name that every
/// object inherits.
///
/// # Errors
/// They cannot.
pub fn fits(record: &Outgoing<'_>) -> Result<(), Misfit> {
    let members = Members::of(record.data)?.ok_or(Misfit::NoType)?;
    let event_type = text(members.event_type).ok_or(Misfit::NoType)?;
    if INHERITED.contains(&&*event_type) { Err(Misfit::ReservedType) } else { Ok(()) }
}

pub(super) fn push_key(key: Option<&str>, out: &mut Vec<u8>) {
    match key {
        Some(key) => push_json_str(out, key),
        None => out.extend_from_slice(b"null"),
    }
}

pub(super) fn key_len(key: Option<&str>) -> usize {
    key.map_or("null".len(), json_str_len)
}

/// Seconds since 1970 with three decimals.
pub(super) fn push_seconds(time: Option<SystemTime>, out: &mut Vec<u8>) {
    let (seconds, milliseconds) = since_epoch(time);
    out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
    let digit = |number: u32| b'0' + (number % 10) as u8;
    let [tens, hundreds] = [milliseconds / 10, milliseconds / 100];
    out.extend_from_slice(&[b'.', digit(hundreds), digit(tens), digit(milliseconds)]);
}

pub(super) fn seconds_len(time: Option<SystemTime>) -> usize {
    let (seconds, _) = since_epoch(time);
    seconds.checked_ilog10().unwrap_or_default() as usize + "1.000".len()
}

fn since_epoch(time: Option<SystemTime>) -> (u64, u32) {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    (since.as_secs(), since.subsec_millis())
}
