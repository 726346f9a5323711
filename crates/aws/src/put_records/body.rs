//! The bodies of PutRecords: entries become the body of a request, the body of a reply becomes
//! verdicts.
//!
//! Written and read by hand: the SDK makes an object and four strings of every record, which was a
//! third of what a record costs on its way. Pure: nothing here signs, sends or decides.

use dispatchd_core::model::{Entries, StreamId, Verdict};

use super::reply::{BadReply, ErrorReply};
use super::{cbor, json};
use crate::settings::Wire;

/// The `Content-Type` of a body in this format.
pub fn content_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Json => "application/x-amz-json-1.1",
        Wire::Cbor => "application/x-amz-cbor-1.1",
    }
}

/// The format of a reply. A reply that does not say it is CBOR is taken for JSON.
pub(super) fn format_of(content_type: Option<&str>) -> Wire {
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

/// The verdicts in the body of a reply whose status is a success, as many as it has.
///
/// # Errors
/// The body is not what Kinesis documents.
pub fn reply(wire: Wire, body: &[u8]) -> Result<Vec<Verdict>, BadReply> {
    match wire {
        Wire::Json => json::reply(body),
        Wire::Cbor => cbor::reply(body),
    }
}

/// What the body of a reply says whose status is an error: `__type` and `message`, which some
/// servers spell `Message`.
///
/// # Errors
/// The body is not an object, or a map, of that kind.
pub(super) fn error(wire: Wire, body: &[u8]) -> Result<ErrorReply, BadReply> {
    match wire {
        Wire::Json => json::error(body),
        Wire::Cbor => cbor::error(body),
    }
}
