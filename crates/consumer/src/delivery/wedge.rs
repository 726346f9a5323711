//! Decides whether a target is wedged: it is there and handles nothing, for longer than it can have
//! work for. Rabble Rouser's stream client does so after a handler that neither returns a promise
//! nor answers: the request hangs, and every later one gets 503 until the process is restarted.
//!
//! It decides nothing about records: those are sent again as ever.

use std::time::{Duration, Instant};

use super::{FailureKind, Response};

/// How long nothing but 503 and time-outs must come from a target until it is called wedged. An app
/// that starts, or replays its archive, says the same for seconds.
const WEDGED_AFTER: Duration = Duration::from_secs(120);
/// How many of them there must be, since two are minutes apart at the end of the back-off.
const WEDGED_RESPONSES: u32 = 3;

/// What one target says of late, across its shards.
#[derive(Debug, Default)]
pub struct Wedge {
    run: Option<Run>,
}

/// Responses in a row that say that the target does nothing.
#[derive(Debug)]
struct Run {
    since: Instant,
    responses: u32,
    is_told: bool,
}

/// What is to be told, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WedgeNews {
    /// Nothing else came from the target for so long.
    Wedged(Duration),
    Over,
}

impl Wedge {
    /// Takes note of a response at `now`.
    pub fn note(&mut self, response: &Response, now: Instant) -> Option<WedgeNews> {
        match says(response) {
            Word::Nothing => None,
            Word::Works => self.run.take().filter(|run| run.is_told).map(|_| WedgeNews::Over),
            Word::Stuck => {
                let run = self.run.get_or_insert(Run { since: now, responses: 0, is_told: false });
                run.responses += 1;
                let lasts = now.saturating_duration_since(run.since);
                if run.is_told || run.responses < WEDGED_RESPONSES || lasts < WEDGED_AFTER {
                    return None;
                }
                run.is_told = true;
                Some(WedgeNews::Wedged(lasts))
            }
        }
    }

    /// Whether it was told that the target is wedged, and not that it is over.
    pub fn is_wedged(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.is_told)
    }
}

enum Word {
    Works,
    Stuck,
    /// Neither: a target that is not there is being restarted, which is the cure.
    Nothing,
}

fn says(response: &Response) -> Word {
    let Response::Failed(failure) = response else { return Word::Works };
    match (failure.kind, failure.status) {
        (_, Some(503)) | (FailureKind::Failed, None) => Word::Stuck,
        (FailureKind::Unavailable, None) => Word::Nothing,
        _ => Word::Works,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Failure;
    use super::super::samples::failure;
    use super::*;

    fn busy() -> Response {
        Response::Failed(failure(FailureKind::Unavailable))
    }

    fn silent(kind: FailureKind) -> Response {
        Response::Failed(Failure { status: None, ..failure(kind) })
    }

    #[test]
    fn minutes_of_503_and_time_outs_are_told_once_and_their_end_once() {
        let (mut wedge, began) = (Wedge::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(wedge.note(&silent(FailureKind::Failed), at(0)), None);
        for seconds in [1, 30, 119] {
            assert_eq!(wedge.note(&busy(), at(seconds)), None);
        }
        let news = Some(WedgeNews::Wedged(Duration::from_secs(120)));
        assert_eq!(wedge.note(&busy(), at(120)), news);
        assert!(wedge.is_wedged());
        assert_eq!(wedge.note(&busy(), at(600)), None, "it was told");
        assert_eq!(wedge.note(&Response::Delivered, at(601)), Some(WedgeNews::Over));
        assert!(!wedge.is_wedged());
        assert_eq!(wedge.note(&Response::Delivered, at(602)), None);
    }

    #[test]
    fn a_target_that_says_anything_else_in_between_is_not_wedged() {
        let (mut wedge, began) = (Wedge::default(), Instant::now());
        for seconds in 0..600 {
            let response = match seconds % 100 {
                0 => Response::Failed(failure(FailureKind::Failed)),
                _ => busy(),
            };
            assert_eq!(wedge.note(&response, began + Duration::from_secs(seconds)), None);
        }
    }

    #[test]
    fn a_target_that_is_not_there_is_not_wedged_and_its_restart_ends_nothing_by_itself() {
        let (mut wedge, began) = (Wedge::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        for seconds in 0..600 {
            assert_eq!(wedge.note(&silent(FailureKind::Unavailable), at(seconds)), None);
        }
        for seconds in [600, 601, 900] {
            wedge.note(&busy(), at(seconds));
        }
        assert!(wedge.is_wedged());
        assert_eq!(wedge.note(&silent(FailureKind::Unavailable), at(901)), None);
        assert!(wedge.is_wedged());
    }

    #[test]
    fn two_responses_are_no_run_however_far_apart() {
        let (mut wedge, began) = (Wedge::default(), Instant::now());
        assert_eq!(wedge.note(&busy(), began), None);
        assert_eq!(wedge.note(&busy(), began + Duration::from_secs(3600)), None);
    }
}
