//! Prints the answers to a request's events, in the order of the events: piece by piece, so that no
//! more than one piece of it is in memory beside the answers.

use super::names::Names;
use super::problem::Problem;
use crate::model::{EventAnswer, Reference};
use crate::wire::ndjson::answer;

/// Bytes of one piece; a long answer may exceed this by its own length.
const PIECE_BYTES: usize = 32 * 1024;

/// The answers to one request.
#[derive(Debug)]
pub struct Results {
    answers: std::vec::IntoIter<(Reference, EventAnswer)>,
    is_first: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Results,
    Ended,
}

impl Results {
    /// `answers`: each event's, in their order.
    pub fn new(answers: Vec<(Reference, EventAnswer)>) -> Self {
        Self { answers: answers.into_iter(), is_first: true, state: State::Begin }
    }

    /// The answer to one event alone: an ack as a socket has it, or what was wrong.
    ///
    /// # Panics
    /// If there is not one answer.
    pub fn single(mut self) -> Result<Vec<u8>, Problem> {
        match self.answers.next().expect("one event has one answer") {
            (_, EventAnswer::Refused(refusal)) => Err(refusal.into()),
            (reference, EventAnswer::Durable(durable)) => {
                let mut out = Vec::new();
                print(&mut out, &reference, &EventAnswer::Durable(durable));
                Ok(out)
            }
        }
    }

    /// Whether the last piece was printed.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// The next piece; `None` at the end.
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(PIECE_BYTES);
        if self.state == State::Begin {
            let is_ok = |(_, answer): &(_, _)| matches!(answer, EventAnswer::Durable(_));
            let ok: &[u8] =
                if self.answers.as_slice().iter().all(is_ok) { b"true" } else { b"false" };
            out.extend_from_slice(b"{\"ok\":");
            out.extend_from_slice(ok);
            out.extend_from_slice(b",\"results\":[");
            self.state = State::Results;
        }
        while self.state == State::Results && out.len() < PIECE_BYTES {
            match self.answers.next() {
                Some((reference, answer)) => {
                    if !std::mem::take(&mut self.is_first) {
                        out.push(b',');
                    }
                    print(&mut out, &reference, &answer);
                    out.pop(); // the line's end
                }
                None => {
                    out.extend_from_slice(b"]}\n");
                    self.state = State::Ended;
                }
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

fn print(out: &mut Vec<u8>, reference: &Reference, answer: &EventAnswer) {
    let names = Names::of(reference);
    let called = match names.reference {
        Some(json) => Reference::Text(json.into()),
        None => Reference::Number(names.place),
    };
    match (names.id, answer) {
        (Some(id), EventAnswer::Durable(durable)) => answer::own_durable(out, &called, id, durable),
        _ => answer::event(out, &called, answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Timestamp;
    use crate::model::{Code, Durable, PartitionKey, Position, Refusal};
    use uuid::Uuid;

    fn durable() -> EventAnswer {
        EventAnswer::Durable(Durable {
            id: Uuid::nil(),
            timestamp: Timestamp::from_unix_ms(0),
            key: PartitionKey::new("k").expect("one character"),
            position: Position {
                shard_id: "shardId-000000000001".into(),
                sequence_number: "4968".into(),
                sub_sequence_number: None,
            },
            deduplicated: false,
            shows: crate::model::Shows::ALL,
            echo: None,
        })
    }

    fn refused() -> EventAnswer {
        EventAnswer::Refused(Refusal::new(Code::InvalidRequest, "no"))
    }

    fn printed(mut results: Results) -> String {
        let mut out = Vec::new();
        while let Some(piece) = results.next_piece() {
            assert!(piece.len() < PIECE_BYTES + 1000, "pieces are small");
            out.extend_from_slice(&piece);
        }
        String::from_utf8(out).expect("answers are UTF-8")
    }

    #[test]
    fn results_stand_in_the_order_of_the_events_each_with_its_name() {
        let named = |place, reference, id| Names { place, reference, id }.to_reference();
        let text = printed(Results::new(vec![
            (Reference::Number(0), durable()),
            (named(1, Some("\"mine\""), None), refused()),
            (named(2, None, Some("A \"1\"")), durable()),
        ]));
        assert_eq!(
            text,
            concat!(
                r#"{"ok":false,"results":[{"ref":0,"ok":true,"#,
                r#""id":"00000000-0000-0000-0000-000000000000","#,
                r#""timestamp":"1970-01-01T00:00:00.000Z","partitionKey":"k","#,
                r#""shardId":"shardId-000000000001","sequenceNumber":"4968"},"#,
                r#"{"ref":"mine","ok":false,"error":{"code":"InvalidRequest","#,
                r#""message":"no","retryable":false}},"#,
                r#"{"ref":2,"ok":true,"id":"A \"1\"","partitionKey":"k","#,
                r#""shardId":"shardId-000000000001","sequenceNumber":"4968"}]}"#,
                "\n"
            )
        );
        assert_eq!(printed(Results::new(Vec::new())), "{\"ok\":true,\"results\":[]}\n");
    }

    #[test]
    fn many_results_come_in_pieces_that_are_one_text() {
        let answers = (0..1000).map(|place| (Reference::Number(place), durable()));
        let text = printed(Results::new(answers.collect()));
        let read: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read["ok"], true);
        assert_eq!(read["results"].as_array().map(Vec::len), Some(1000));
        assert_eq!(read["results"][999]["ref"], 999);
    }

    #[test]
    fn a_piece_ends_with_the_answer_that_fills_it() {
        let refused = |bytes| {
            let refusal = Refusal::new(Code::InvalidRequest, "x".repeat(bytes));
            (Reference::Number(0), EventAnswer::Refused(refusal))
        };
        let first = |bytes| {
            let mut results = Results::new(vec![refused(bytes), refused(0)]);
            results.next_piece().expect("there are two answers").len()
        };
        let rest = first(PIECE_BYTES) - PIECE_BYTES;
        assert_eq!(first(PIECE_BYTES - rest), PIECE_BYTES, "it is full");
        assert!(first(PIECE_BYTES - rest - 1) > PIECE_BYTES, "there was room for a byte");
    }

    #[test]
    fn one_event_alone_is_answered_with_its_ack_or_with_what_was_wrong() {
        let single = |answer| Results::new(vec![(Reference::Number(0), answer)]).single();
        let ack = single(durable()).expect("it is durable");
        assert!(ack.starts_with(b"{\"ref\":0,\"ok\":true") && ack.ends_with(b"}\n"));
        let problem = single(refused()).expect_err("it is refused");
        assert_eq!((problem.status, problem.refusal.code), (400, Code::InvalidRequest));
    }
}
