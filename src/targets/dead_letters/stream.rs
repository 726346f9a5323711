//! Dead letters in another stream: each is a record there, under the key of the record that it is
//! about, through lanes of its own. So a letter is retried as an event of the daemon's is.

use dispatchd_aws::Kinesis;
use dispatchd_core::model::{EventAnswer, PartitionKey, Record};

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
    #[error(
        "dead letters: {unkept} of {written} were not stored in the other stream: {code}: {message}"
    )]
    Refused { unkept: usize, written: usize, code: &'static str, message: String },
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
    /// belong to no write.
    pub(super) async fn keep(&mut self, lines: Vec<Line>) -> Result<(), StreamError> {
        let (written, mut missing) = (lines.len(), lines.len());
        let Self { way_in, answers, sent, .. } = self;
        let send = async {
            for line in lines {
                way_in.send(*sent, record(line)).await;
                *sent += 1;
            }
            way_in.hand_over().await;
        };
        let settle = async {
            let (mut unkept, mut last) = (0, None);
            while missing > 0 {
                for (_, answer) in answers.next().await.ok_or(StreamError::Ended)? {
                    missing -= 1;
                    if let EventAnswer::Refused(refusal) = answer {
                        unkept += 1;
                        last = Some(refusal);
                    }
                }
            }
            match last {
                None => Ok(()),
                Some(refusal) => {
                    let (code, message) = (refusal.code.as_str(), refusal.message.into_owned());
                    Err(StreamError::Refused { unkept, written, code, message })
                }
            }
        };
        tokio::join!(send, settle).1
    }

    pub(super) async fn end(self) {
        self.running.end().await;
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

    use super::*;
    use crate::config::Carried;
    use dispatchd_aws::Connection;
    use dispatchd_core::limits::{BUDGET_BYTES_MIN, MIB};
    use dispatchd_core::model::StreamId;
    use dispatchd_producer::lane;
    use testkit::kinesis::Ferro;
    use testkit::stream::{create_stream, read_all};

    async fn letters(endpoint: &str, stream: &str) -> LetterStream {
        let settings = dispatchd_aws::Settings {
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(60),
            wire: dispatchd_aws::Wire::Json,
        };
        let id = StreamId::Name(stream.to_owned());
        let kinesis = Kinesis::connect(Connection::to_emulator(id, endpoint, settings)).await;
        let lanes = direct::Settings {
            lane: lane::Settings { timeout: Duration::from_secs(1), ..lane::Settings::default() },
            budget_bytes: BUDGET_BYTES_MIN,
            record_bytes_max: None,
            carried: Carried { record_bytes: MIB, budget_bytes: BUDGET_BYTES_MIN },
        };
        LetterStream::start(StreamSettings { kinesis: kinesis.expect("an emulator's"), lanes })
    }

    fn line(text: &str, key: Option<&str>) -> Line {
        Line { json: format!("{text}\n").into(), partition_key: key.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_letter_is_kept_under_its_record_s_key_once_it_is_stored_and_not_before() {
        let server = Ferro::start(false).await;
        let client = testkit::client(&server.endpoint());
        let mut letters = letters(&server.endpoint(), "letters").await;
        let lines = || vec![line("{\"n\":1}", Some("k")), line("{\"n\":2}", None)];
        let error = letters.keep(lines()).await.expect_err("there is no such stream");
        assert!(matches!(error, StreamError::Refused { unkept: 2, written: 2, .. }), "{error}");
        create_stream(&client, "letters", 1).await;
        testkit::eventually("they are kept", async || letters.keep(lines()).await.ok()).await;
        letters.end().await;
        let mut stored = read_all(&client, "letters").await;
        stored.sort_by(|a, b| a.data.cmp(&b.data));
        let kept: Vec<_> = stored.iter().map(|r| (&r.partition_key[..], &r.data[..])).collect();
        assert_eq!(kept, [("k", &b"{\"n\":1}"[..]), (NO_KEY, b"{\"n\":2}")]);
    }
}
