//! What callers ask of the stream, asked of the service with the daemon's credentials, and as
//! seldom as it may be: the calls count against quotas that the whole account shares
//! (DescribeStream: 10 a second), and an application may ask in a loop.
//!
//! One question is out at a time, and no more often than every [`ASK_EVERY`]; an answer is told
//! again for [`KEEP_FOR`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{sleep_until, timeout_at};

use dispatchd_aws::Kinesis;
use dispatchd_core::model::{CallError, Class};
use dispatchd_core::wire::kinesis_api::error::ApiError;
use dispatchd_core::wire::kinesis_api::operation::Describe;

/// Between two questions to the service: a tenth of the smallest quota is ours.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// For how long an answer is told again. A stream is seldom changed, and who changes it looks for
/// longer.
const KEEP_FOR: Duration = Duration::from_secs(10);

/// Bytes of the answers that are kept. A page of a thousand shards has a third of it.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Answers that are kept.
const KEPT_MAX: usize = 64;

/// The service's answers to callers' questions.
#[derive(Debug)]
pub(super) struct Questions {
    kinesis: Kinesis,
    /// Held while a question is out, so that callers who ask the same wait for one answer. Nobody
    /// on an event's way waits for it.
    known: Mutex<Known>,
}

/// What was answered of late.
#[derive(Debug)]
struct Known {
    /// No question before this.
    next: Instant,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    describe: Describe,
    question: Vec<u8>,
    answer: Result<Bytes, ApiError>,
    until: Instant,
}

impl Questions {
    pub(super) fn new(kinesis: Kinesis) -> Self {
        let known = Known { next: now(), kept: VecDeque::new() };
        Self { kinesis, known: Mutex::new(known) }
    }

    /// The service's answer to a question, until the deadline.
    ///
    /// # Errors
    /// The service refuses the question or does not answer it in time, or others are asked first.
    pub(super) async fn ask(
        &self,
        describe: Describe,
        question: Vec<u8>,
        deadline: Instant,
    ) -> Result<Bytes, ApiError> {
        let turn = async {
            let mut known = self.known.lock().await;
            let answer = known.find(describe, &question);
            if answer.is_none() {
                sleep_until(known.next.into()).await;
            }
            (known, answer)
        };
        let (mut known, answer) =
            timeout_at(deadline.into(), turn).await.map_err(|_| others_first())?;
        if let Some(answer) = answer {
            return answer;
        }
        known.next = now() + ASK_EVERY;
        let asked = self.kinesis.describe(describe, question.clone());
        let answer = timeout_at(deadline.into(), asked).await.map_err(|_| unanswered())?;
        let answer = answer.map_err(|error| told(&error));
        known.keep(Kept { describe, question, answer: answer.clone(), until: now() + KEEP_FOR });
        answer
    }
}

impl Known {
    fn find(&mut self, describe: Describe, question: &[u8]) -> Option<Result<Bytes, ApiError>> {
        let now = now();
        self.kept.retain(|kept| kept.until > now);
        let is_it = |kept: &&Kept| kept.describe == describe && kept.question == question;
        self.kept.iter().find(is_it).map(|kept| kept.answer.clone())
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.push_back(kept);
        let bytes = |kept: &VecDeque<Kept>| kept.iter().map(Kept::bytes).sum::<usize>();
        while self.kept.len() > KEPT_MAX || bytes(&self.kept) > KEPT_BYTES_MAX {
            self.kept.pop_front();
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.question.len() + self.answer.as_ref().map_or(0, Bytes::len)
    }
}

fn others_first() -> ApiError {
    const MANY: &str = "other questions come first: dispatchd asks the service one at a time, and \
                        one a second at most";
    ApiError::new("LimitExceededException", MANY)
}

fn unanswered() -> ApiError {
    const LATE: &str = "the service did not answer dispatchd while the reply may be held \
                        (kinesis_api.timeout)";
    ApiError::maybe_done(LATE)
}

/// What a caller is told of a call of ours that failed.
fn told(error: &CallError) -> ApiError {
    let whose = format!("dispatchd asked the service with its own credentials: {}", error.message);
    match (&*error.code, error.class) {
        ("ResourceNotFoundException", _) => ApiError::new("ResourceNotFoundException", whose),
        ("ExpiredNextTokenException", _) => ApiError::new("ExpiredNextTokenException", whose),
        ("ResourceInUseException", _) => ApiError::new("ResourceInUseException", whose),
        ("AccessDeniedException", _) => ApiError::denied(whose),
        (_, Class::Throttled) => ApiError::new("LimitExceededException", whose),
        (_, Class::Poison) => ApiError::new("InvalidArgumentException", whose),
        (_, Class::Transient | Class::Blocked(_)) => ApiError::maybe_done(whose),
    }
}

/// tokio's clock, so that a test can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use dispatchd_aws::{Connection, Settings, Wire};
    use dispatchd_core::model::StreamId;

    use super::*;

    /// What could go wrong: an application that asked once is told to ask less often, and nobody
    /// looks at the network.
    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_is_told_apart_from_too_many_questions() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", silent.local_addr().expect("it is bound"));
        let timeout = Duration::from_secs(60);
        let settings =
            Settings { connect_timeout: timeout, attempt_timeout: timeout, wire: Wire::Json };
        let connection = Connection::to_emulator(StreamId::Name("s".into()), url, settings);
        let kinesis = Kinesis::connect(connection).await.expect("its region is named");
        let (questions, began) = (Questions::new(kinesis), now());
        let ask = |seconds| {
            let deadline = began + Duration::from_secs(seconds);
            questions.ask(Describe::Stream, b"{}".to_vec(), deadline)
        };
        let (first, second) = tokio::join!(ask(5), ask(3));
        let name = |answer: Result<Bytes, ApiError>| answer.expect_err("nobody answers").name;
        assert_eq!([name(first), name(second)], ["InternalFailure", "LimitExceededException"]);
    }

    fn kept(question: &str, answer_bytes: usize) -> Kept {
        Kept {
            describe: Describe::ListShards,
            question: question.into(),
            answer: Ok(vec![b' '; answer_bytes].into()),
            until: now() + KEEP_FOR,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_told_again_for_a_while_to_the_same_question_alone() {
        let mut known = Known { next: now(), kept: VecDeque::new() };
        known.keep(kept("{}", 5));
        assert!(known.find(Describe::ListShards, b"{}").is_some());
        assert!(known.find(Describe::Stream, b"{}").is_none());
        assert!(known.find(Describe::ListShards, b"{\"MaxResults\":1}").is_none());
        tokio::time::advance(KEEP_FOR).await;
        assert!(known.find(Describe::ListShards, b"{}").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_kept_take_no_more_than_they_may() {
        let mut known = Known { next: now(), kept: VecDeque::new() };
        (0..=KEPT_MAX).for_each(|number| known.keep(kept(&number.to_string(), 1)));
        assert_eq!(known.kept.len(), KEPT_MAX);
        assert!(known.find(Describe::ListShards, b"0").is_none(), "the oldest goes first");
        known.keep(kept("large", KEPT_BYTES_MAX - 5));
        assert_eq!(known.kept.len(), 1);
        known.keep(kept("larger", KEPT_BYTES_MAX));
        assert!(known.kept.is_empty(), "not even itself");
    }
}
