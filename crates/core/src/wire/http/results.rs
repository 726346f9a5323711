//! Prints the answers to a request's events, in the order of the events: piece by piece, so that no
//! more than one piece of it is in memory beside the answers.

use super::problem::Problem;
use crate::model::{EventAnswer, Reference};
use crate::wire::ndjson::reply;

/// Bytes of one piece; a long answer may exceed this by its own length.
const PIECE_BYTES: usize = 32 * 1024;

/// How one event's answer names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The reference that the caller gave, as JSON.
    pub reference: Option<Box<str>>,
    /// The event's own id, where it is no uuid of ours.
    pub id: Option<Box<str>>,
}

/// The answers to one request.
#[derive(Debug)]
pub struct Results {
    answers: std::vec::IntoIter<EventAnswer>,
    /// By the event's place; what is not there has no name of its own.
    names: Vec<Named>,
    printed: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Results,
    Ended,
}

impl Results {
    pub fn new(answers: Vec<EventAnswer>, names: Vec<Named>) -> Self {
        Self { answers: answers.into_iter(), names, printed: 0, state: State::Begin }
    }

    /// The answer to one event alone: an ack as a socket has it, or what was wrong.
    ///
    /// # Panics
    /// If there is not one answer.
    pub fn single(mut self) -> Result<Vec<u8>, Problem> {
        let answer = self.answers.next().expect("one event has one answer");
        match answer {
            EventAnswer::Refused(refusal) => Err(refusal.into()),
            durable => {
                let mut out = Vec::new();
                self.print(&mut out, &durable);
                Ok(out)
            }
        }
    }

    /// The next piece; `None` at the end.
    pub fn next_piece(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(PIECE_BYTES);
        if self.state == State::Begin {
            let is_ok = |answer: &EventAnswer| matches!(answer, EventAnswer::Durable(_));
            let ok: &[u8] =
                if self.answers.as_slice().iter().all(is_ok) { b"true" } else { b"false" };
            out.extend_from_slice(b"{\"ok\":");
            out.extend_from_slice(ok);
            out.extend_from_slice(b",\"results\":[");
            self.state = State::Results;
        }
        while self.state == State::Results && out.len() < PIECE_BYTES {
            match self.answers.next() {
                Some(answer) => {
                    if self.printed > 0 {
                        out.push(b',');
                    }
                    self.print(&mut out, &answer);
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

    fn print(&mut self, out: &mut Vec<u8>, answer: &EventAnswer) {
        let named = self.names.get_mut(self.printed).map(std::mem::take).unwrap_or_default();
        let reference = match named.reference {
            Some(json) => Reference::Text(json),
            None => Reference::Number(self.printed as u64),
        };
        match named.id {
            Some(id) => reply::own_event(out, &reference, &id, answer),
            None => reply::event(out, &reference, answer),
        }
        self.printed += 1;
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
        let names = vec![
            Named::default(),
            Named { reference: Some("\"mine\"".into()), id: None },
            Named { reference: None, id: Some("A \"1\"".into()) },
        ];
        let text = printed(Results::new(vec![durable(), refused(), durable()], names));
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
        assert_eq!(printed(Results::new(Vec::new(), Vec::new())), "{\"ok\":true,\"results\":[]}\n");
    }

    #[test]
    fn many_results_come_in_pieces_that_are_one_text() {
        let text = printed(Results::new(vec![durable(); 1000], Vec::new()));
        let read: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read["ok"], true);
        assert_eq!(read["results"].as_array().map(Vec::len), Some(1000));
        assert_eq!(read["results"][999]["ref"], 999);
    }

    #[test]
    fn one_event_alone_is_answered_with_its_ack_or_with_what_was_wrong() {
        let single = |answer| Results::new(vec![answer], Vec::new()).single();
        let ack = single(durable()).expect("it is durable");
        assert!(ack.starts_with(b"{\"ref\":0,\"ok\":true") && ack.ends_with(b"}\n"));
        let problem = single(refused()).expect_err("it is refused");
        assert_eq!((problem.status, problem.refusal.code), (400, Code::InvalidRequest));
    }
}
