//! Prints answers as NDJSON, appended to the connection's write buffer: many answers, one write.
//!
//! They are printed by hand: 10 ns a line, against 80 ns through serde (measured 2026-11). Nothing
//! is decided here.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

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
    out.extend_from_slice(b",\"ok\":true");
    if durable.shows.id {
        push_id(out, durable.id);
    }
    if durable.shows.timestamp {
        out.extend_from_slice(b",\"timestamp\":\"");
        out.extend_from_slice(durable.timestamp.as_bytes());
        out.push(b'"');
    }
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

/// Prints the answer to `hello`, with the producer that the connection's events will name.
pub fn hello(out: &mut Vec<u8>, reference: &Reference, event_bytes_max: usize, producer_id: &str) {
    push_op(out, "hello", reference);
    let bounds = format!(",\"version\":{VERSION},\"maxEventBytes\":{event_bytes_max}");
    out.extend_from_slice(bounds.as_bytes());
    out.extend_from_slice(b",\"producerId\":");
    push_json_str(out, producer_id);
    out.extend_from_slice(b"}\n");
}

/// Prints the answer to `ping` or `flush`. Control lines echo a `ref` where one was given and add
/// none.
pub fn done(out: &mut Vec<u8>, op: &'static str, reference: &Reference) {
    push_op(out, op, reference);
    out.extend_from_slice(b"}\n");
}

/// Prints the answer to an event of a transaction that is held until the commit.
pub fn staged(out: &mut Vec<u8>, reference: &Reference, id: Option<Uuid>) {
    out.extend_from_slice(b"{\"ref\":");
    push_ref(out, reference);
    out.extend_from_slice(b",\"ok\":true,\"staged\":true");
    if let Some(id) = id {
        push_id(out, id);
    }
    out.extend_from_slice(b"}\n");
}

/// Prints the answer to `begin` or `rollback`.
pub fn transaction(out: &mut Vec<u8>, op: &'static str, tx: &str, reference: &Reference) {
    push_head(out, op, Some(tx), reference);
    out.extend_from_slice(b",\"ok\":true}\n");
}

/// How the answer begins that the events of a batch or a transaction share.
pub fn head(op: &'static str, tx: Option<&str>, reference: &Reference) -> Vec<u8> {
    let mut out = Vec::new();
    push_head(&mut out, op, tx, reference);
    out
}

/// Prints what follows that beginning. Then come the results, each by [`result`], and [`END`].
pub fn results(out: &mut Vec<u8>, is_ok: bool) {
    out.extend_from_slice(b",\"ok\":");
    out.extend_from_slice(if is_ok { b"true" } else { b"false" });
    out.extend_from_slice(b",\"results\":[");
}

/// Prints one of many results, in the words of the answer to an event of its own.
pub fn result(out: &mut Vec<u8>, is_first: bool, reference: &Reference, answer: &EventAnswer) {
    if !is_first {
        out.push(b',');
    }
    event(out, reference, answer);
    out.pop(); // its line end
}

/// The end of many results.
pub const END: &[u8] = b"]}\n";

fn push_head(out: &mut Vec<u8>, op: &'static str, tx: Option<&str>, reference: &Reference) {
    out.extend_from_slice(b"{\"op\":\"");
    out.extend_from_slice(op.as_bytes());
    out.push(b'"');
    if let Some(tx) = tx {
        out.extend_from_slice(b",\"tx\":");
        push_json_str(out, tx);
    }
    if let Reference::Text(_) = reference {
        out.extend_from_slice(b",\"ref\":");
        push_ref(out, reference);
    }
}

fn push_op(out: &mut Vec<u8>, op: &'static str, reference: &Reference) {
    push_head(out, op, None, reference);
    out.extend_from_slice(b",\"ok\":true");
}

fn push_id(out: &mut Vec<u8>, id: Uuid) {
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(id.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).as_bytes());
    out.push(b'"');
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
    use crate::model::{PartitionKey, Position, Shows};
    use bytes::Bytes;

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
            shows: Shows::ALL,
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
    fn an_ack_of_a_raw_record_has_no_timestamp_and_an_id_only_if_it_was_given() {
        let durable = |id| Durable {
            id: Uuid::nil(),
            timestamp: Timestamp::from_unix_ms(0),
            key: PartitionKey::new("k").expect("one character"),
            position: Position {
                shard_id: "s".into(),
                sequence_number: "4".into(),
                sub_sequence_number: None,
            },
            deduplicated: false,
            shows: Shows { id, timestamp: false },
            echo: None,
        };
        let print = |id| printed(|out| super::durable(out, &Reference::Number(1), &durable(id)));
        let rest = r#""partitionKey":"k","shardId":"s","sequenceNumber":"4"}"#;
        assert_eq!(print(false), format!("{{\"ref\":1,\"ok\":true,{rest}\n"));
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(print(true), format!("{{\"ref\":1,\"ok\":true,\"id\":\"{id}\",{rest}\n"));
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
    fn many_results_are_one_line() {
        let refused = || EventAnswer::Refused(Refusal::new(Code::InvalidRequest, "no"));
        let line = printed(|out| {
            *out = head("commit", Some("t\"1"), &Reference::Text("4".into()));
            results(out, false);
            result(out, true, &Reference::Number(1), &refused());
            result(out, false, &Reference::Text("\"b\"".into()), &refused());
            out.extend_from_slice(END);
        });
        let error =
            r#""ok":false,"error":{"code":"InvalidRequest","message":"no","retryable":false}"#;
        assert_eq!(
            line,
            format!(
                "{{\"op\":\"commit\",\"tx\":\"t\\\"1\",\"ref\":4,\"ok\":false,\"results\":[{{\"ref\":1,{error}}},\
                 {{\"ref\":\"b\",{error}}}]}}\n"
            )
        );
        assert_eq!(head("batch", None, &Reference::Number(3)), b"{\"op\":\"batch\"");
    }

    #[test]
    fn what_is_said_of_a_transaction_is_one_short_line() {
        assert_eq!(
            printed(|out| transaction(out, "begin", "t1", &Reference::Text("7".into()))),
            "{\"op\":\"begin\",\"tx\":\"t1\",\"ref\":7,\"ok\":true}\n"
        );
        assert_eq!(
            printed(|out| staged(out, &Reference::Number(2), Some(Uuid::nil()))),
            "{\"ref\":2,\"ok\":true,\"staged\":true,\"id\":\"00000000-0000-0000-0000-000000000000\"}\n"
        );
        assert_eq!(
            printed(|out| staged(out, &Reference::Number(2), None)),
            "{\"ref\":2,\"ok\":true,\"staged\":true}\n"
        );
    }

    #[test]
    fn control_answers_are_one_short_line() {
        assert_eq!(
            printed(|out| hello(out, &Reference::Number(1), 1_048_576, "app\"@host")),
            concat!(
                r#"{"op":"hello","ok":true,"version":1,"maxEventBytes":1048576,"#,
                r#""producerId":"app\"@host"}"#,
                "\n"
            )
        );
        assert_eq!(
            printed(|out| done(out, "ping", &Reference::Text("1".into()))),
            "{\"op\":\"ping\",\"ref\":1,\"ok\":true}\n"
        );
    }
}
