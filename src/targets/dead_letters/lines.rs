//! The lines of records that were given up together. Pure.

use std::time::SystemTime;

use uuid::Uuid;

use dispatchd_consumer::delivery::{DeadLetters, Delivered};
use dispatchd_core::wire::dead_letter::{Batch, DeadLetter, End, LastResponse, Letter};

/// What Lambda calls the error of a function that did not return.
const UNHANDLED: &str = "Unhandled";

/// Where records came from, and to which target they did not get.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The target's name; never a URL, which may hold a secret.
    pub target: String,
    /// The ARN of the stream that was read; its name where the ARN is not known.
    pub stream_arn: String,
}

/// One dead letter, on its way to where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// JSON, with its line end.
    pub(super) json: Vec<u8>,
    /// The record's own: letters of one key keep their order in a stream too.
    pub(super) partition_key: Option<String>,
}

/// One line for each record. `request_id`: what they have in common.
pub fn lines(
    letters: &DeadLetters,
    origin: &Origin,
    request_id: Uuid,
    at: SystemTime,
) -> Vec<Line> {
    let (Some(first), Some(last)) = (letters.records.first(), letters.records.last()) else {
        return Vec::new();
    };
    let batch = Batch { first: end(first), last: end(last), records_count: letters.records.len() };
    let response = letters.last.as_ref().map(|failure| LastResponse {
        status: failure.status,
        function_error: failure.status.is_none_or(|status| status >= 500).then_some(UNHANDLED),
        reason: &failure.reason,
        body: failure.body.as_deref(),
    });
    let line = |record: &Delivered| {
        let letter = DeadLetter {
            target: &origin.target,
            stream_arn: &origin.stream_arn,
            request_id,
            condition: letters.condition.as_str(),
            attempts: letters.attempts,
            response,
            at,
            batch,
            record: Letter {
                shard: &record.shard,
                sequence_number: &record.place.sequence_number,
                sub_sequence_number: record.place.sub_sequence_number,
                partition_key: record.partition_key.as_deref(),
                arrived: record.arrived,
                data: &record.data,
            },
        };
        Line { json: letter.to_line(), partition_key: record.partition_key.clone() }
    };
    letters.records.iter().map(|record| line(record)).collect()
}

fn end(record: &Delivered) -> End<'_> {
    End { sequence_number: &record.place.sequence_number, arrived: record.arrived }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use bytes::Bytes;
    use dispatchd_consumer::delivery as engine;
    use dispatchd_core::wire::archive;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    /// A batch of two records that the target refuses, as the engine gives it up.
    fn given_up() -> DeadLetters {
        let now =
            engine::Now { instant: Instant::now(), time: UNIX_EPOCH + Duration::from_secs(9) };
        let mut rng = SmallRng::seed_from_u64(1);
        let mut rules = engine::Rules::new(|record| record.data.len());
        rules.give_up = Some(engine::GiveUp { retries_max: Some(0), age_max: None });
        let mut shard = engine::ShardDelivery::new(rules, None);
        let record = |n: u8| Delivered {
            shard: "shardId-000000000000".into(),
            place: engine::Place {
                sequence_number: format!("4{n}"),
                sub_sequence_number: (n == 1).then_some(7),
            },
            partition_key: Some(format!("k{n}")),
            data: Bytes::from(format!("{{\"type\":\"t{n}\"}}")),
            arrived: Some(UNIX_EPOCH + Duration::from_millis(1500)),
            misfit: None,
        };
        let records = [0, 1].map(|n| engine::Read::Wanted(record(n)));
        shard.take_in(records.into(), (), now.instant);
        loop {
            match shard.turn(now) {
                engine::Step::Send(batch) => {
                    let failure = engine::Failure {
                        kind: engine::FailureKind::Failed,
                        status: Some(500),
                        reason: "the target answered 500".to_owned(),
                        body: Some("boom".to_owned()),
                        retry_after: None,
                    };
                    let response = engine::Response::Failed(failure);
                    shard.responded(batch.id, response, now.instant, &mut rng);
                }
                engine::Step::KeepLetters(letters) => return letters,
                other => panic!("a batch fails and is given up: {other:?}"),
            }
        }
    }

    #[test]
    fn each_record_of_a_batch_that_was_given_up_is_a_line_that_replay_reads_back() {
        let origin = Origin { target: "orders".to_owned(), stream_arn: "s".to_owned() };
        let lines = lines(&given_up(), &origin, Uuid::nil(), UNIX_EPOCH);
        assert_eq!(lines.len(), 2);
        for (line, n) in lines.iter().zip(0..) {
            let text = str::from_utf8(&line.json).expect("JSON is text");
            let json: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
            assert_eq!(json["requestContext"]["condition"], "RetryAttemptsExhausted");
            assert_eq!(json["KinesisBatchInfo"]["startSequenceNumber"], "40");
            assert_eq!(json["KinesisBatchInfo"]["endSequenceNumber"], "41");
            assert_eq!(json["KinesisBatchInfo"]["batchSize"], 2);
            assert_eq!((&json["status"], &json["body"]), (&500.into(), &"boom".into()));
            let read = archive::read(text).expect("replay reads it");
            let [event] = &read.events().collect::<Vec<_>>()[..] else {
                panic!("one event: {text}")
            };
            assert_eq!(event.data, format!("{{\"type\":\"t{n}\"}}"));
            assert_eq!(event.partition_key, line.partition_key);
            assert_eq!(event.arrived, Some(1_500_000));
        }
    }
}
