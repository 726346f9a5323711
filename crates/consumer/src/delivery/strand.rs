//! One strand of a shard: records in their order, of which one batch at a time is under way.
//!
//! A strand knows indices of records, and sizes; what they hold and what is done is `held`'s. It
//! never lets a record pass one that came before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dispatchd_core::wire::forward::Misfit;
use rand::Rng;

use super::follow::{Follow, follow};
use super::{Condition, Failure, FailureKind, Follows, Response, Rules, Standing};

/// The longest wait that a target may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Strand {
    /// What was in no batch yet.
    queue: VecDeque<Queued>,
    /// Bytes of the queue, as the rules count them.
    queue_bytes: usize,
    /// Batches that were sent, or cut, and are to be sent next, before the queue.
    parts: VecDeque<Part>,
    /// What is to be given up next, before anything is sent.
    given_up: Option<GivenUp>,
    under_way: Option<UnderWay>,
    /// Counts what was handed out, to know it when it comes home.
    serial: u64,
    /// Responses in a row that were no success.
    failures: u32,
    /// Until when nothing is sent.
    rests_until: Option<Instant>,
    /// Since when what the target said last was no success, and what it was.
    failing: Option<(Instant, Failure)>,
}

/// Bytes of a record's place in a queue, twice: the queue grows by doubling.
pub(super) const QUEUED_BYTES: usize = 2 * size_of::<Queued>();

#[derive(Debug)]
struct Queued {
    index: u64,
    bytes: usize,
    since: Instant,
}

/// Records that go together. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) indices: Vec<u64>,
    /// How often they were sent, of what counts.
    pub(super) attempts: u32,
}

/// Records that are given up. Never empty.
#[derive(Debug, Clone)]
pub(super) struct GivenUp {
    pub(super) part: Part,
    pub(super) condition: Condition,
    pub(super) last: Option<Failure>,
    /// How often they could not be kept, and until when that is not tried again.
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
enum UnderWay {
    Sent(Part),
    KeepingLetters(GivenUp),
}

/// Why a record is given up before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    TooOld,
    /// It cannot go out in the target's form.
    Misfit(Misfit),
}

/// What a strand wants next.
#[derive(Debug)]
pub(super) enum Want {
    Send(u64, Part),
    KeepLetters(u64, GivenUp),
    Wait(Option<Instant>),
}

/// What a response made of a batch.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) done: Vec<u64>,
    pub(super) follows: Follows,
}

impl Strand {
    pub(super) fn push(&mut self, index: u64, bytes: usize, since: Instant) {
        self.queue_bytes += bytes;
        self.queue.push_back(Queued { index, bytes, since });
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Says what is to be done at `now`. In a hurry a batch that is not full waits for nothing
    /// more. `unsent` looks at the record with an index.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        rules: &Rules,
        is_in_a_hurry: bool,
        unsent: impl Fn(u64) -> Option<Unsent>,
    ) -> Want {
        if self.under_way.is_some() {
            return Want::Wait(None);
        }
        if self.given_up.is_none() {
            match self.sendable_at(now, rules, is_in_a_hurry) {
                Some(due) if due <= now => {}
                due => return Want::Wait(due),
            }
            let part = self.next_part(rules);
            match self.without_the_unsent(part, unsent) {
                Some(part) => return self.send(part),
                None => return self.turn_of_given_up(now),
            }
        }
        self.turn_of_given_up(now)
    }

    /// From when on something may be sent; `None` if there is nothing.
    fn sendable_at(&self, now: Instant, rules: &Rules, is_in_a_hurry: bool) -> Option<Instant> {
        let ready = if !self.parts.is_empty() {
            now
        } else {
            let first = self.queue.front()?;
            let is_full =
                self.queue.len() >= rules.batch_records || self.queue_bytes >= rules.batch_bytes;
            if is_full || is_in_a_hurry { now } else { first.since + rules.batch_window }
        };
        Some(self.rests_until.map_or(ready, |until| until.max(ready)))
    }

    /// The part that is first, or a new one of what is first in the queue.
    fn next_part(&mut self, rules: &Rules) -> Part {
        if let Some(part) = self.parts.pop_front() {
            return part;
        }
        let (mut indices, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            let is_full = indices.len() == rules.batch_records.max(1)
                || (!indices.is_empty() && bytes + next.bytes > rules.batch_bytes);
            if is_full {
                break;
            }
            indices.push(next.index);
            bytes += next.bytes;
            self.queue.pop_front();
        }
        self.queue_bytes -= bytes;
        Part { indices, attempts: 0 }
    }

    /// Cuts out what is not to be sent: it is given up first, the rest is the next part. A target
    /// that refuses us makes nothing too old: that is for an operator to end.
    fn without_the_unsent(
        &mut self,
        part: Part,
        unsent: impl Fn(u64) -> Option<Unsent>,
    ) -> Option<Part> {
        let is_refused = self.failure_kind() == Some(FailureKind::Unauthorized);
        let why = |index: &u64| unsent(*index).filter(|why| !is_refused || *why != Unsent::TooOld);
        let Some(first) = part.indices.iter().find_map(why) else { return Some(part) };
        let Part { indices, attempts } = part;
        let (indices, rest): (Vec<u64>, Vec<u64>) =
            indices.into_iter().partition(|index| why(index) == Some(first));
        self.put_first(rest, attempts);
        let (condition, last) = match first {
            Unsent::TooOld => (Condition::RecordAgeExceeded, None),
            Unsent::Misfit(misfit) => (Condition::Refused, Some(cannot_be_sent(misfit))),
        };
        self.given_up = Some(GivenUp::new(Part { indices, attempts }, condition, last));
        None
    }

    fn send(&mut self, part: Part) -> Want {
        self.serial += 1;
        self.under_way = Some(UnderWay::Sent(part.clone()));
        Want::Send(self.serial, part)
    }

    fn turn_of_given_up(&mut self, now: Instant) -> Want {
        let Some(given_up) = self.given_up.take() else { return Want::Wait(None) };
        if let Some(until) = given_up.not_before.filter(|until| *until > now) {
            self.given_up = Some(given_up);
            return Want::Wait(Some(until));
        }
        self.serial += 1;
        self.under_way = Some(UnderWay::KeepingLetters(given_up.clone()));
        Want::KeepLetters(self.serial, given_up)
    }

    /// Takes in what came of the batch that is under way.
    ///
    /// # Panics
    /// If it is not under way.
    pub(super) fn responded(
        &mut self,
        serial: u64,
        response: Response,
        now: Instant,
        rules: &Rules,
        rng: &mut impl Rng,
    ) -> Outcome {
        let Some(UnderWay::Sent(part)) = self.came_home(serial) else {
            unreachable!("batch {serial} is not under way")
        };
        let Part { mut indices, attempts } = part;
        match follow(&response, indices.len(), attempts, rules) {
            Follow::Done => {
                self.succeeded();
                Outcome { done: indices, follows: Follows::Nothing }
            }
            Follow::DoneUntil(done) => {
                self.succeeded();
                let rest = indices.split_off(done);
                self.put_first(rest, 0);
                let wait = self.failed(response, now, rules, rng);
                Outcome { done: indices, follows: Follows::Retry(wait) }
            }
            Follow::Again { attempts } => {
                self.put_first(indices, attempts);
                let wait = self.failed(response, now, rules, rng);
                Outcome { done: Vec::new(), follows: Follows::Retry(wait) }
            }
            Follow::Halves => {
                let second = indices.split_off(indices.len().div_ceil(2));
                self.put_first(second, attempts);
                self.put_first(indices, attempts);
                // Halving ends by itself: the waits need not grow meanwhile.
                let failures = self.failures;
                let wait = self.failed(response, now, rules, rng);
                self.failures = failures;
                Outcome { done: Vec::new(), follows: Follows::Halves(wait) }
            }
            Follow::GiveUp { records, condition } => {
                let rest = indices.split_off(records);
                self.put_first(rest, 0);
                self.failed(response, now, rules, rng);
                let part = Part { indices, attempts: attempts.saturating_add(1) };
                let last = self.failing.as_ref().map(|(_, failure)| failure.clone());
                self.given_up = Some(GivenUp::new(part, condition, last));
                Outcome { done: Vec::new(), follows: Follows::GivenUp }
            }
        }
    }

    /// Takes in which of what is given up could not be kept, by where they stand in it, in order:
    /// those are tried again alone. Returns what is done.
    ///
    /// # Panics
    /// If it is not under way.
    pub(super) fn letters_kept(
        &mut self,
        serial: u64,
        unkept: &[usize],
        now: Instant,
        rules: &Rules,
        rng: &mut impl Rng,
    ) -> Vec<u64> {
        let Some(UnderWay::KeepingLetters(mut given_up)) = self.came_home(serial) else {
            unreachable!("dead letters {serial} are not under way")
        };
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for (place, index) in given_up.part.indices.into_iter().enumerate() {
            if unkept.binary_search(&place).is_ok() { left.push(index) } else { done.push(index) }
        }
        if !left.is_empty() {
            given_up.part.indices = left;
            given_up.failures = given_up.failures.saturating_add(1);
            given_up.not_before = Some(now + rules.backoff.delay(given_up.failures, rng));
            self.given_up = Some(given_up);
        }
        done
    }

    fn came_home(&mut self, serial: u64) -> Option<UnderWay> {
        if serial == self.serial { self.under_way.take() } else { None }
    }

    /// Puts records that were in a batch before all others.
    fn put_first(&mut self, indices: Vec<u64>, attempts: u32) {
        if !indices.is_empty() {
            self.parts.push_front(Part { indices, attempts });
        }
    }

    fn succeeded(&mut self) {
        (self.failures, self.rests_until, self.failing) = (0, None, None);
    }

    /// Takes note of a response that was no success. Returns the wait that follows.
    fn failed(
        &mut self,
        response: Response,
        now: Instant,
        rules: &Rules,
        rng: &mut impl Rng,
    ) -> Duration {
        let failure = match response {
            Response::Failed(failure) => failure,
            Response::Delivered | Response::Until(_) => named_by_the_target(),
        };
        self.failures = self.failures.saturating_add(1);
        let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let wait = rules.backoff.delay(self.failures, rng).max(asked);
        self.rests_until = Some(now + wait);
        let since = self.failing.take().map_or(now, |(since, _)| since);
        self.failing = Some((since, failure));
        wait
    }

    /// Ends the waits.
    pub(super) fn retry_now(&mut self) {
        self.rests_until = None;
        if let Some(given_up) = &mut self.given_up {
            given_up.not_before = None;
        }
    }

    /// Since when the target was no success for this strand, and what it said last.
    pub(super) fn failing(&self) -> Option<&(Instant, Failure)> {
        self.failing.as_ref()
    }

    fn failure_kind(&self) -> Option<FailureKind> {
        self.failing.as_ref().map(|(_, failure)| failure.kind)
    }

    pub(super) fn standing(&self, rules: &Rules) -> Standing {
        match self.failure_kind() {
            None => Standing::Delivering,
            Some(kind @ FailureKind::Unauthorized) => Standing::Blocked(kind),
            Some(kind @ FailureKind::Refused) if rules.give_up.is_none() => Standing::Blocked(kind),
            Some(kind) => Standing::Retrying(kind),
        }
    }
}

impl GivenUp {
    fn new(part: Part, condition: Condition, last: Option<Failure>) -> Self {
        Self { part, condition, last, failures: 0, not_before: None }
    }
}

/// What is said of records that no target was asked to take.
fn cannot_be_sent(misfit: Misfit) -> Failure {
    Failure {
        kind: FailureKind::Refused,
        status: None,
        reason: format!("the record cannot be sent in this format: {misfit}"),
        body: None,
        retry_after: None,
    }
}

/// What a partial response says of the record that it names.
fn named_by_the_target() -> Failure {
    Failure {
        kind: FailureKind::Failed,
        status: None,
        reason: "the target named the record as one that failed".to_owned(),
        body: None,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_takes_no_more_than_is_reckoned_though_it_grows_by_doubling() {
        // One more than a power of two: the queue has just doubled.
        let (records, mut strand, now) = (1_025, Strand::default(), Instant::now());
        (0..records).for_each(|index| strand.push(index, 10, now));
        let places = strand.queue.capacity();
        assert!(places * size_of::<Queued>() <= records as usize * QUEUED_BYTES, "{places}");
    }
}
