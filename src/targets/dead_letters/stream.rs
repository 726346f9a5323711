//! Dead letters in another stream: each is a record there, under the key of the record that it is
//! about, through lanes of its own. So a letter is retried as an event of the daemon's is.

use dispatchd_aws::Kinesis;
use dispatchd_core::model::{Code, EventAnswer, PartitionKey, Record, Refusal};

use super::lines::Line;
use crate::producer::direct::{self, Answers, Running, WayIn};

/// The key of letters about records that had none.
const NO_KEY: &str = "dead-letter";

/// The other stream, and how it is written.
#[derive(Debug)]
pub struct StreamSettings {
    pub kinesis: Kinesis,
    /// Its `lane.timeout` is how long a letter may take.
    pub lanes: direct::Settings,
}

/// Why letters are not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    #[error("dead letters: one was not stored in the other stream: {code}: {message}")]
    Refused { code: &'static str, message: String },
    #[error(
        "dead letters: one is too large for a record of the other stream: {message}. Have that stream \
         take larger records, or keep them in a file, which takes them all (dead_letter = \"file:PATH\")"
    )]
    TooLarge { message: String },
    #[error("dead letters: the lanes to the other stream have ended")]
    Ended,
}

#[derive(Debug)]
pub(super) struct LetterStream {
    way_in: WayIn,
    answers: Answers,
    running: Running,
    /// Letters sent so far.
    sent: u64,
}

impl LetterStream {
    pub(super) fn start(settings: StreamSettings) -> Self {
        let (way_in, answers, running) = direct::start(settings.kinesis, &settings.lanes);
        Self { way_in, answers, running, sent: 0 }
    }

    /// Sends these letters, and waits until all of them are answered: what is answered later would
    /// belong to no write. Returns the word on each.
    pub(super) async fn keep(&mut self, lines: Vec<Line>) -> Vec<Result<(), StreamError>> {
        let Self { way_in, answers, sent, .. } = self;
        let (first, mut missing) = (*sent, lines.len());
        let mut words = vec![Err(StreamError::Ended); missing];
        *sent += missing as u64;
        let send = async {
            for (number, line) in (first..).zip(lines) {
                way_in.send(number, record(line)).await;
            }
            way_in.hand_over().await;
        };
        let settle = async {
            while missing > 0
                && let Some(settled) = answers.next().await
            {
                missing -= settled.len();
                for (number, answer) in settled {
                    let place = usize::try_from(number - first).expect("it was just sent");
                    words[place] = word(answer);
                }
            }
        };
        tokio::join!(send, settle);
        words
    }

    pub(super) async fn end(self) {
        self.running.end().await;
    }
}

/// What an answer says of a letter.
fn word(answer: EventAnswer) -> Result<(), StreamError> {
    match answer {
        EventAnswer::Durable(_) => Ok(()),
        EventAnswer::Refused(Refusal { code, message, .. }) => Err(match code {
            Code::EventTooLarge => StreamError::TooLarge { message: message.into_owned() },
            code => StreamError::Refused { code: code.as_str(), message: message.into_owned() },
        }),
    }
}

fn record(Line { mut json, partition_key }: Line) -> Record {
    let key = partition_key.and_then(|key| PartitionKey::new(key).ok());
    let key = key.unwrap_or_else(|| PartitionKey::new(NO_KEY).expect("it has eleven characters"));
    json.truncate(json.trim_ascii_end().len());
    Record::new(key, None, json.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{DeadLetters, Settings, Unkept, WriteError};
    use super::*;
    use crate::config::Carried;
    use dispatchd_aws::Connection;
    use dispatchd_core::limits::{BUDGET_BYTES_MIN, MIB};
    use dispatchd_core::model::StreamId;
    use dispatchd_producer::lane;
    use testkit::kinesis::Ferro;
    use testkit::stream::{create_stream, read_all};

    async fn settings(endpoint: &str, timeout: Duration) -> StreamSettings {
        let settings = dispatchd_aws::Settings {
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(60),
            wire: dispatchd_aws::Wire::Json,
        };
        let id = StreamId::Name("letters".to_owned());
        let kinesis = Kinesis::connect(Connection::to_emulator(id, endpoint, settings)).await;
        let lanes = direct::Settings {
            lane: lane::Settings { timeout, ..lane::Settings::default() },
            budget_bytes: BUDGET_BYTES_MIN,
            record_bytes_max: None,
            carried: Carried { record_bytes: MIB, budget_bytes: BUDGET_BYTES_MIN },
        };
        StreamSettings { kinesis: kinesis.expect("an emulator's"), lanes }
    }

    fn line(text: &str, key: Option<&str>) -> Line {
        Line { json: format!("{text}\n").into(), partition_key: key.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_letter_is_kept_under_its_record_s_key_once_it_is_stored_and_not_before() {
        let server = Ferro::start(false).await;
        let client = testkit::client(&server.endpoint());
        let mut letters =
            LetterStream::start(settings(&server.endpoint(), Duration::from_secs(1)).await);
        let lines = || vec![line("{\"n\":1}", Some("k")), line("{\"n\":2}", None)];
        let words = letters.keep(lines()).await;
        let is_refused = |word: &Result<_, _>| matches!(word, Err(StreamError::Refused { .. }));
        assert!(words.len() == 2 && words.iter().all(is_refused), "no such stream: {words:?}");
        create_stream(&client, "letters", 1).await;
        testkit::eventually("they are kept", async || {
            letters.keep(lines()).await.iter().all(Result::is_ok).then_some(())
        })
        .await;
        letters.end().await;
        let mut stored = read_all(&client, "letters").await;
        stored.sort_by(|a, b| a.data.cmp(&b.data));
        let mut kept: Vec<_> = stored.iter().map(|r| (&r.partition_key[..], &r.data[..])).collect();
        kept.dedup(); // on a slow machine a try may be late, and its letters come again
        assert_eq!(kept, [("k", &b"{\"n\":1}"[..]), (NO_KEY, b"{\"n\":2}")]);
    }

    #[tokio::test]
    async fn a_letter_that_is_too_large_is_told_by_its_place_and_keeps_no_other_from_being_kept() {
        // What could go wrong: it has all that were given up with it written again at each try.
        let server = Ferro::start(false).await;
        let client = testkit::client(&server.endpoint());
        create_stream(&client, "letters", 1).await;
        let settings = settings(&server.endpoint(), Duration::from_secs(60)).await;
        let (task, handle) =
            DeadLetters::open(Settings::Stream(Box::new(settings))).expect("it asks nobody yet");
        let task = tokio::spawn(task.run());
        let large = format!("{{\"n\":\"{}\"}}", "x".repeat(2 * MIB));
        let letters = ["{\"n\":1}", &large, "{\"n\":3}"].map(|text| line(text, Some("k")));
        let other = handle.write(vec![line("{\"n\":4}", None)]);
        let (unkept, other) = tokio::join!(handle.write(letters.into()), other);
        let Unkept { places, error } = unkept.expect_err("one is too large");
        assert_eq!(places, [1]);
        assert!(matches!(error, WriteError::Stream(StreamError::TooLarge { .. })), "{error}");
        assert!(other.is_ok(), "{other:?}");
        drop(handle);
        task.await.expect("it ends with its handles");
        let stored = read_all(&client, "letters").await;
        let mut kept: Vec<_> = stored.iter().map(|record| record.data[..].to_vec()).collect();
        kept.sort();
        assert_eq!(kept, [b"{\"n\":1}", b"{\"n\":3}", b"{\"n\":4}"]);
    }
}
