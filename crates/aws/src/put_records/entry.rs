//! What both formats write of an entry and of the stream.

use std::borrow::Cow;

use dispatchd_core::model::{Record, StreamId};
use dispatchd_core::wire::packed::{self, FRAME_BYTES};

/// The data of an entry: those of its one event, or several events as a packed record.
pub(super) fn data<'a>(events: &[&'a Record]) -> Cow<'a, [u8]> {
    match events {
        [event] => Cow::Borrowed(&event.data),
        _ => Cow::Owned(packed::encode(events)),
    }
}

/// The most bytes that [`data`] gives for these events.
pub(super) fn data_bytes_max(events: &[&Record]) -> usize {
    match events {
        [event] => event.data.len(),
        _ => {
            FRAME_BYTES + events.iter().map(|event| packed::member_bytes_max(event)).sum::<usize>()
        }
    }
}

/// The field of a request that names the stream, and its value.
pub(super) fn stream_field(stream: &StreamId) -> (&'static str, &str) {
    match stream {
        StreamId::Name(name) => ("StreamName", name),
        StreamId::Arn(arn) => ("StreamARN", arn),
    }
}
