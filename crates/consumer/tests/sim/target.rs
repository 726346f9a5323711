//! The model target: what it does with a batch, and what it says.

use std::time::Duration;

use dispatchd_consumer::delivery::{Failure, FailureKind, Response};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::scenario::{At, CALM_AT, Nature, Phase, Scenario};

#[derive(Debug)]
pub(crate) struct Target {
    /// How often each event failed for being flaky.
    failed: Vec<u32>,
}

impl Target {
    pub(crate) fn new(events: usize) -> Self {
        Self { failed: vec![0; events] }
    }

    /// Takes a batch of events. Returns how many of them it handled, and what it says.
    pub(crate) fn take(
        &mut self,
        scenario: &Scenario,
        events: &[usize],
        now: At,
        rng: &mut SmallRng,
    ) -> (usize, Response) {
        match scenario.phase(now) {
            Phase::Works => {}
            Phase::Down => return (0, failed(FailureKind::Unavailable, None)),
            Phase::Busy(seconds) => {
                let Response::Failed(failure) = failed(FailureKind::Unavailable, Some(503)) else {
                    unreachable!("it was just made")
                };
                let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds * 100));
                return (0, Response::Failed(Failure { retry_after, ..failure }));
            }
            Phase::Broken => return (0, failed(FailureKind::Failed, Some(500))),
            Phase::RefusesUs => return (0, failed(FailureKind::Unauthorized, Some(401))),
            Phase::RefusesAll => return (0, failed(FailureKind::Refused, Some(400))),
        }
        let lasts = scenario.gives_up_events() || now < CALM_AT;
        let nature = |event: &usize| scenario.events[*event].nature;
        if lasts && events.iter().any(|event| nature(event) == Nature::Refused) {
            return (0, failed(FailureKind::Refused, Some(400)));
        }
        let bad = events.iter().position(|event| match nature(event) {
            Nature::Poison => lasts,
            Nature::Flaky(times) if self.failed[*event] < times => {
                self.failed[*event] += 1;
                true
            }
            _ => false,
        });
        match bad {
            Some(bad) if scenario.is_partial => (bad, Response::Until(bad)),
            Some(bad) => (bad, failed(FailureKind::Failed, Some(500))),
            None if now < CALM_AT && rng.random_ratio(scenario.responses_lost, 100) => {
                (events.len(), failed(FailureKind::Failed, None))
            }
            None => (events.len(), Response::Delivered),
        }
    }
}

fn failed(kind: FailureKind, status: Option<u16>) -> Response {
    let reason = format!("{kind:?}");
    Response::Failed(Failure { kind, status, reason, body: None, retry_after: None })
}
