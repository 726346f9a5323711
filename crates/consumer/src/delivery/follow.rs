//! Decides what follows a target's response to one batch: the table in `delivery`'s header, as a
//! function. It knows nothing of the shard, of waits or of what else is under way.

use super::{Condition, FailureKind, Response, Rules};

/// What follows for the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    Done,
    /// The first so many are done; the rest is sent again, and counts its attempts anew.
    DoneUntil(usize),
    /// All are sent again, as a batch that was sent so many times.
    Again {
        attempts: u32,
    },
    /// Both halves are sent again, one after the other. It counts as no attempt.
    Halves,
    /// The first so many are given up; those behind them are sent again, and count anew.
    GiveUp {
        records: usize,
        condition: Condition,
    },
}

/// What follows when a batch of so many records, which was sent `attempts` times before, gets this
/// response.
pub(super) fn follow(response: &Response, records: usize, attempts: u32, rules: &Rules) -> Follow {
    let failure = match response {
        Response::Delivered => return Follow::Done,
        Response::Until(done) if *done >= records => return Follow::Done,
        // The target names the record that it failed for: no other is given up with it.
        Response::Until(0) => return counted(1, attempts, rules),
        Response::Until(done) => return Follow::DoneUntil(*done),
        Response::Failed(failure) => failure,
    };
    match failure.kind {
        FailureKind::Unavailable | FailureKind::Unauthorized => Follow::Again { attempts },
        // What was refused had no effect: its halves can be sent without asking `bisect`.
        FailureKind::Refused if records > 1 => Follow::Halves,
        FailureKind::Refused if rules.give_up.is_some() => {
            Follow::GiveUp { records, condition: Condition::Refused }
        }
        FailureKind::Refused => Follow::Again { attempts: attempts.saturating_add(1) },
        FailureKind::Failed if rules.bisect && records > 1 => Follow::Halves,
        FailureKind::Failed => counted(records, attempts, rules),
    }
}

/// An attempt that counts: all are sent again, or the first so many are given up.
fn counted(at_fault: usize, attempts_before: u32, rules: &Rules) -> Follow {
    let attempts = attempts_before.saturating_add(1);
    match rules.give_up.and_then(|give_up| give_up.retries_max) {
        Some(retries_max) if attempts > retries_max => {
            Follow::GiveUp { records: at_fault, condition: Condition::RetryAttemptsExhausted }
        }
        _ => Follow::Again { attempts },
    }
}

#[cfg(test)]
mod tests {
    use super::super::GiveUp;
    use super::super::samples::failure;
    use super::*;

    fn rules(bisect: bool, retries_max: Option<Option<u32>>) -> Rules {
        Rules {
            bisect,
            give_up: retries_max.map(|retries_max| GiveUp { retries_max, age_max: None }),
            ..Rules::new(|_| 1)
        }
    }

    fn failed(kind: FailureKind) -> Response {
        Response::Failed(failure(kind))
    }

    #[test]
    fn each_response_has_its_row() {
        use FailureKind::{Failed, Refused, Unauthorized, Unavailable};
        let block = rules(false, None);
        let twice = rules(false, Some(Some(2)));
        let halving = rules(true, Some(Some(2)));
        let refused = Follow::GiveUp { records: 1, condition: Condition::Refused };
        let exhausted =
            |records| Follow::GiveUp { records, condition: Condition::RetryAttemptsExhausted };
        let again = |attempts| Follow::Again { attempts };
        let table = [
            // response, records, attempts before, rules, what follows
            (Response::Delivered, 3, 9, &twice, Follow::Done),
            (Response::Until(3), 3, 9, &twice, Follow::Done),
            (Response::Until(2), 3, 9, &twice, Follow::DoneUntil(2)),
            (Response::Until(0), 3, 1, &twice, again(2)),
            (Response::Until(0), 3, 2, &twice, exhausted(1)),
            (Response::Until(0), 3, 2, &halving, exhausted(1)),
            (Response::Until(0), 3, 999, &block, again(1000)),
            (failed(Unavailable), 3, 2, &halving, again(2)),
            (failed(Unauthorized), 3, 2, &halving, again(2)),
            (failed(Refused), 3, 0, &block, Follow::Halves),
            (failed(Refused), 3, 0, &twice, Follow::Halves),
            (failed(Refused), 1, 0, &block, again(1)),
            (failed(Refused), 1, 0, &twice, refused),
            (failed(Failed), 3, 0, &twice, again(1)),
            (failed(Failed), 3, 2, &twice, exhausted(3)),
            (failed(Failed), 3, 2, &halving, Follow::Halves),
            (failed(Failed), 1, 2, &halving, exhausted(1)),
            (failed(Failed), 1, u32::MAX, &rules(true, Some(None)), again(u32::MAX)),
            (failed(Failed), 3, 7, &block, again(8)),
        ];
        for (response, records, attempts, rules, expected) in table {
            let follows = follow(&response, records, attempts, rules);
            assert_eq!(follows, expected, "{response:?} {records} {attempts} {rules:?}");
        }
    }

    #[test]
    fn no_retries_is_one_delivery() {
        let once = rules(false, Some(Some(0)));
        let follows = follow(&failed(FailureKind::Failed), 1, 0, &once);
        let condition = Condition::RetryAttemptsExhausted;
        assert_eq!(follows, Follow::GiveUp { records: 1, condition });
    }
}
