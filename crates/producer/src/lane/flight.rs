//! Flights: batches that are being sent. How many are out, what they carry, and what a reply says
//! of its request as a whole.
//!
//! Pure. What a verdict means for its own record is decided in `apply_verdicts`.

use std::time::Duration;

use super::batch::Batch;
use super::metrics::PutOutcome;
use dispatchd_core::model::{Cause, Class, PutError, Verdict};

/// What the service answers to a batch: a verdict per entry, or an error for the whole request.
pub type Reply = Result<Vec<Verdict>, PutError>;

/// A flight that has come home.
#[derive(Debug)]
pub struct Landed {
    pub batch: Batch,
    pub reply: Reply,
    /// The time from sending the request to its reply.
    pub took: Duration,
}

/// The flights that are out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flights {
    count: usize,
    bytes: usize,
}

/// What a reply says of the stream as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fared {
    /// A record was stored.
    Stored,
    /// Nothing was stored, but the records were looked at: they are at fault, or so the reply says.
    LookedAt,
    /// Nothing was stored, and no record is at fault.
    Failed(Cause),
}

/// An error of the service's, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceError {
    class: Class,
    pub code: String,
    message: String,
}

impl Flights {
    pub(super) fn take_off(&mut self, batch: &Batch) {
        self.count += 1;
        self.bytes += batch.bytes();
    }

    pub(super) fn land(&mut self, batch: &Batch) {
        self.count -= 1;
        self.bytes -= batch.bytes();
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The records' bytes in them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Fared {
    pub(super) fn of(reply: &Reply) -> Self {
        let verdicts = match reply {
            Ok(verdicts) => verdicts,
            Err(PutError { class: Class::Poison, .. }) => return Self::LookedAt,
            Err(error) => return Self::Failed(error.cause),
        };
        let mut fared = Self::LookedAt;
        for verdict in verdicts {
            match verdict {
                Verdict::Stored { .. } => return Self::Stored,
                Verdict::Failed { class: Class::Poison, .. } => {}
                Verdict::Failed { class, .. } => fared = Self::Failed((*class).into()),
                Verdict::Unclear => fared = Self::Failed(Cause::NotKinesis),
            }
        }
        fared
    }
}

impl ServiceError {
    /// The error of a reply that an operator may ask for later; `None` where there is none.
    /// Throttled records are no errors: each shard's share of them is told.
    pub(super) fn worth_keeping(reply: &Reply) -> Option<Self> {
        const UNCLEAR: &str =
            "an entry of the reply has neither the place of its record nor an error";
        let error_of = |verdict: &Verdict| match verdict {
            Verdict::Failed { class: Class::Throttled, .. } | Verdict::Stored { .. } => None,
            Verdict::Failed { class, code, message } => {
                Some(Self { class: *class, code: code.clone(), message: message.clone() })
            }
            Verdict::Unclear => {
                let (code, message) = ("BadReply".into(), UNCLEAR.into());
                Some(Self { class: Class::Transient, code, message })
            }
        };
        match reply {
            Err(PutError { class, code, message, .. }) => {
                Some(Self { class: *class, code: code.clone(), message: message.clone() })
            }
            Ok(verdicts) => verdicts.iter().find_map(error_of),
        }
    }

    /// The service's words for an operator. What it says of a record that it will never take may
    /// repeat the record's key, unless two records have got the same words.
    pub(super) fn words(&self, repeat_nothing_of_a_record: bool) -> &str {
        if self.class == Class::Poison && !repeat_nothing_of_a_record {
            "the caller was told why"
        } else {
            &self.message
        }
    }
}

/// How a request ended, for the metrics.
pub(super) fn outcome_of(reply: &Reply) -> PutOutcome {
    match reply {
        Ok(verdicts)
            if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Stored { .. })) =>
        {
            PutOutcome::Stored
        }
        Ok(_) => PutOutcome::Partial,
        Err(error) => match error.class {
            Class::Throttled => PutOutcome::Throttled,
            Class::Transient => PutOutcome::Transient,
            Class::Blocked(_) => PutOutcome::Blocked,
            Class::Poison => PutOutcome::Poison,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{failed, stored};
    use dispatchd_core::model::Reason;

    fn refused(class: Class) -> Reply {
        let (code, message) = ("Code".to_owned(), "key 'customer-9'".to_owned());
        Err(PutError { class, cause: class.into(), code, message, maybe_stored: false })
    }

    #[test]
    fn one_record_that_is_stored_shows_that_the_stream_takes_records() {
        let throttled = || failed(Class::Throttled);
        for (reply, fared) in [
            (Ok(vec![throttled(), stored()]), Fared::Stored),
            (Ok(vec![failed(Class::Poison)]), Fared::LookedAt),
            (refused(Class::Poison), Fared::LookedAt),
            (Ok(vec![failed(Class::Poison), throttled()]), Fared::Failed(Class::Throttled.into())),
            (Ok(vec![Verdict::Unclear]), Fared::Failed(Cause::NotKinesis)),
            (refused(Class::Transient), Fared::Failed(Class::Transient.into())),
        ] {
            assert_eq!(Fared::of(&reply), fared, "{reply:?}");
        }
    }

    #[test]
    fn the_first_error_of_a_reply_is_kept_and_throttled_records_are_none() {
        let code = |reply: Reply| ServiceError::worth_keeping(&reply).map(|error| error.code);
        assert_eq!(code(Ok(vec![stored(), failed(Class::Throttled)])), None);
        assert_eq!(code(Ok(vec![stored(), Verdict::Unclear])), Some("BadReply".into()));
        let verdicts = vec![failed(Class::Throttled), failed(Class::Transient), Verdict::Unclear];
        assert_eq!(code(Ok(verdicts)), Some("Code".into()));
        assert_eq!(code(refused(Class::Throttled)), Some("Code".into()), "a whole request is");
    }

    #[test]
    fn words_about_a_record_are_its_callers_unless_two_records_have_got_them() {
        let error = |class| ServiceError::worth_keeping(&refused(class)).expect("an error");
        let (poison, other) = (error(Class::Poison), error(Class::Blocked(Reason::Kms)));
        assert_eq!(poison.words(false), "the caller was told why");
        assert_eq!(
            (poison.words(true), other.words(false)),
            ("key 'customer-9'", "key 'customer-9'")
        );
    }

    #[test]
    fn a_request_ends_as_its_worst_record_or_its_error_says() {
        let ends = |reply: Reply| outcome_of(&reply);
        assert_eq!(ends(Ok(vec![stored(), stored()])), PutOutcome::Stored);
        assert_eq!(ends(Ok(vec![stored(), failed(Class::Poison)])), PutOutcome::Partial);
        for (class, outcome) in [
            (Class::Throttled, PutOutcome::Throttled),
            (Class::Transient, PutOutcome::Transient),
            (Class::Blocked(Reason::Kms), PutOutcome::Blocked),
            (Class::Poison, PutOutcome::Poison),
        ] {
            assert_eq!(ends(refused(class)), outcome);
        }
    }
}
