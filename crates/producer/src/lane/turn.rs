//! A lane between two waits: everything that it does, but for waiting, sending and logging.
//!
//! Pure: time and chance are arguments. What has to be sent is handed out, what an operator should
//! hear of is returned. Answers go home in groups; counting is done here.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rand::Rng;

use super::apply_verdicts::{Answered, Settled};
use super::batch::Batch;
use super::buffer::{Buffer, Gauges, Poll};
use super::dedupe::{self, Admission, Dedupe};
use super::flight::{Fared, Landed, ServiceError, outcome_of};
use super::idle_trim::IdleTrim;
use super::item::{BoxedItem, Group};
use super::metrics::{LaneMetrics, OldestEvent, Retry};
use super::outage::{self, Outage};
use super::queues::earliest;
use super::report::Report;
use super::settings::Settings;
use super::unconfirmed;
use crate::budget::Budget;
use crate::ticket::AnswerGroup;
use dispatchd_core::model::StreamFacts;
use dispatchd_core::model::{Cause, EventAnswer, Outcome, Reason};

/// A lane, without a clock and without the service.
#[derive(Debug)]
pub struct Lane {
    buffer: Buffer,
    shared: LaneShared,
    /// Read by a scrape and by the admin socket.
    oldest: Arc<OldestEvent>,
    answers: AnswerGroup,
    /// What the gauges show of this lane, so that several lanes add up.
    shown: Gauges,
    idle_trim: IdleTrim,
    /// The hint on many events of one key was given.
    has_hinted: bool,
}

/// What the lanes of a daemon share with each other and with others.
#[derive(Debug, Clone)]
pub struct LaneShared {
    /// A lock: an id belongs to no key, and a lane finds what came in by another. It is held for
    /// one look at one id, 0.3 µs for both that it takes, never across a wait, and only for events
    /// whose callers chose their ids. A channel to an owner would send each such event through one
    /// more task before it has its place behind the others of its key.
    pub dedupe: Arc<Mutex<Dedupe>>,
    pub metrics: Arc<LaneMetrics>,
    /// Looked at for the end of a burst.
    pub budget: Arc<Budget>,
    pub outage: Arc<Outage>,
}

/// What is to be done after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The next turn is due then, unless something arrives; `None`: not before something arrives.
    pub until: Option<Instant>,
    /// A burst is over: its memory is to be given back to the system.
    pub gives_memory_back: bool,
    /// For the first time, strict order holds so many events of one key back that the operator
    /// should hear of it.
    pub holds_many: bool,
}

/// What a flight that came home leaves to be done and to be told.
#[derive(Debug, Default)]
pub struct News {
    /// The request failed as a whole.
    pub failed: Option<FailedRequest>,
    /// An error that an operator may ask for later.
    pub error: Option<KeptError>,
    /// How the stream fares has changed.
    pub outage: Option<outage::News>,
    /// The shard map is old: it is to be refreshed.
    pub map_is_old: bool,
}

/// A request that failed as a whole, in words that repeat nothing of a record.
#[derive(Debug, PartialEq, Eq)]
pub struct FailedRequest {
    pub code: String,
    pub reason: String,
    pub records: usize,
}

/// An error in the service's words, which repeat nothing of a record.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptError {
    pub code: String,
    pub message: String,
}

impl Lane {
    pub fn new(settings: Settings, shared: LaneShared, oldest: Arc<OldestEvent>) -> Self {
        Self {
            buffer: Buffer::new(settings),
            shared,
            oldest,
            answers: AnswerGroup::default(),
            shown: Gauges::default(),
            idle_trim: IdleTrim::default(),
            has_hinted: false,
        }
    }

    /// Does what is due at `now`: answers what is late and hands out what is to be sent. To be
    /// called after everything that arrives, and at the time that it names.
    pub fn turn(&mut self, now: Instant, mut send: impl FnMut(Batch)) -> Wait {
        self.answers.hand_over(); // before what takes longer
        let until = loop {
            match self.buffer.poll(now) {
                Poll::Late(items) => self.answer_late(items, now),
                Poll::Send(batch) => {
                    self.shared.metrics.batch_records.record(batch.len() as f64);
                    self.shared.metrics.batch_bytes.record(batch.bytes() as f64);
                    send(batch);
                }
                Poll::Wait(until) => break until,
            }
        };
        self.answers.hand_over();
        self.show();
        let trim_at = self.idle_trim.poll(self.shared.budget.used_bytes(), now);
        let gives_memory_back = trim_at.is_some_and(|at| at <= now);
        if gives_memory_back {
            self.idle_trim.given_back();
        }
        let until = earliest(until, trim_at.filter(|_| !gives_memory_back));
        let has_hinted = std::mem::replace(&mut self.has_hinted, self.buffer.holds_many());
        Wait { until, gives_memory_back, holds_many: self.has_hinted && !has_hinted }
    }

    /// Takes events in: on their way, or to the one of the same id that is there already.
    pub fn take_in(&mut self, group: Group, now: Instant) {
        group.into_iter().for_each(|item| self.take_in_one(item, now));
    }

    /// Takes a flight back: what is done is answered, the rest is sent again.
    pub fn land(&mut self, landed: Landed, now: Instant, rng: &mut impl Rng) -> News {
        let Landed { batch, reply, took } = landed;
        self.shared.metrics.put_records_duration.record(took);
        self.shared.metrics.put_records(outcome_of(&reply)).increment(1);
        let (fared, error) = (Fared::of(&reply), ServiceError::worth_keeping(&reply));
        let failed = error.as_ref().filter(|_| reply.is_err()).map(|error| FailedRequest {
            code: error.code.clone(),
            reason: error.words(false).to_owned(),
            records: batch.len(),
        });
        let blocked_before = self.buffer.blocked();
        let settled = self.buffer.apply_verdicts(batch, reply, now, rng);
        let blocked = self.buffer.blocked();
        if blocked_before != blocked {
            self.shared.metrics.set_blocked(blocked);
        }
        self.count(&settled, now);
        let error = error.map(|error| KeptError {
            message: error.words(settled.refused_in_known_words).to_owned(),
            code: error.code,
        });
        let sent = now.checked_sub(took).unwrap_or(now);
        let news = News {
            failed,
            error,
            outage: self.watch(fared, blocked, sent, now),
            map_is_old: settled.map_is_old,
        };
        settled.answers.into_iter().for_each(|answered| self.answer(answered, now));
        news
    }

    /// Takes note of what is known of the stream now.
    pub fn learn(&mut self, facts: StreamFacts, now: Instant) {
        self.buffer.learn(facts, now);
    }

    /// The stop began: from `now` on nothing lingers, and no wait is long.
    pub fn drain(&mut self, now: Instant) {
        self.buffer.drain(now);
    }

    /// Other settings hold from `now` on.
    pub fn set_settings(&mut self, settings: Settings, now: Instant) {
        self.buffer.set_settings(settings, now);
    }

    /// How the lane stands at `now`, for an operator who asks.
    pub fn report(&self, now: Instant) -> Report {
        self.buffer.report(now)
    }

    /// The deadline has come: everything is answered now, but for what is in flight.
    pub fn abandon(&mut self, now: Instant) {
        let outage = self.outage(now);
        for item in self.buffer.abandon() {
            let outcome = unconfirmed::shutting_down(&item, outage);
            self.answer(Answered { item, outcome }, now);
        }
        self.answers.hand_over();
        self.show();
    }

    /// Whether nothing is held and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub fn is_draining(&self) -> bool {
        self.buffer.is_draining()
    }

    fn take_in_one(&mut self, item: BoxedItem, now: Instant) {
        if item.ticket.said().is_none() {
            return self.buffer.push(item);
        }
        let admission = known_ids(&self.shared.dedupe).admit(item, now);
        match admission {
            Admission::New(item) => self.buffer.push(item),
            Admission::IdReused(ticket) => {
                ticket.answer_as(EventAnswer::Refused(dedupe::id_reused()))
            }
            Admission::Joined => self.shared.metrics.events_deduplicated.increment(1),
            Admission::AlreadyDurable(ticket, ack) => {
                self.shared.metrics.events_deduplicated.increment(1);
                ticket.answer_as(EventAnswer::Durable(*ack));
            }
        }
    }

    fn answer_late(&mut self, items: Vec<BoxedItem>, now: Instant) {
        let outage = self.outage(now);
        for item in items {
            let outcome = unconfirmed::late(&item, outage, now);
            self.answer(Answered { item, outcome }, now);
        }
    }

    fn answer(&mut self, answered: Answered, now: Instant) {
        let Answered { item, outcome } = answered;
        if item.ticket.said().is_some() {
            let settled = known_ids(&self.shared.dedupe).close(&item, &outcome, now);
            if let Some((copies, same)) = settled {
                copies.into_iter().for_each(|copy| copy.answer_as(same.clone()));
            }
        }
        self.answers.answer(item.ticket, item.record, outcome);
    }

    /// What every event waits for now; `None` where the stream takes records.
    fn outage(&self, now: Instant) -> Option<Cause> {
        self.shared.outage.standing(now).map(|standing| standing.cause)
    }

    /// Keeps how a request fared that was sent at `sent`.
    fn watch(
        &self,
        fared: Fared,
        blocked: Option<Reason>,
        sent: Instant,
        now: Instant,
    ) -> Option<outage::News> {
        match (fared, blocked) {
            (Fared::Failed(cause), _) => self.shared.outage.failed(cause, sent, now),
            // Only the lane's doubt tells a refusal by the stream from one for the records.
            (Fared::LookedAt, Some(reason @ Reason::RequestRefused)) => {
                self.shared.outage.failed(Cause::Blocked(reason), sent, now)
            }
            (Fared::Stored | Fared::LookedAt, _) => self.shared.outage.stored(now),
        }
    }

    fn count(&self, settled: &Settled, now: Instant) {
        let Settled { stored, throttled, transient, blocked, regrouped, rejected, .. } = settled;
        let metrics = &*self.shared.metrics;
        for (counter, records) in [
            (&metrics.records_stored, *stored),
            (&metrics.records_rejected, *rejected),
            (&metrics.records_throttled, *throttled),
            (&metrics.records_failed, transient + blocked),
            (metrics.retries(Retry::Throttled), *throttled),
            (metrics.retries(Retry::Transient), *transient),
            (metrics.retries(Retry::Blocked), *blocked),
            (metrics.retries(Retry::Regrouped), *regrouped),
        ] {
            counter.increment(records as u64);
        }
        // Events of one read were accepted at one time.
        for run in settled.answers.chunk_by(|one, next| one.item.accepted == next.item.accepted) {
            let acked = |answered: &&Answered| matches!(answered.outcome, Outcome::Durable(_));
            let took: Duration = now.saturating_duration_since(run[0].item.accepted);
            metrics.ack_duration.record_many(took, run.iter().filter(acked).count());
        }
    }

    /// Lets gauges show what has changed.
    fn show(&mut self) {
        let now = self.buffer.gauges();
        let before = std::mem::replace(&mut self.shown, now);
        let metrics = &*self.shared.metrics;
        for (gauge, before, now) in [
            (&metrics.put_records_in_flight, before.flights, now.flights),
            (&metrics.shards_cooling, before.shards_cooling, now.shards_cooling),
            (&metrics.keys_cooling, before.keys_cooling, now.keys_cooling),
            (&metrics.keys_held_by_order, before.keys_held, now.keys_held),
        ] {
            if before != now {
                gauge.increment(now as f64 - before as f64);
            }
        }
        self.oldest.set(self.buffer.oldest());
    }
}

fn known_ids(dedupe: &Mutex<Dedupe>) -> MutexGuard<'_, Dedupe> {
    dedupe.lock().expect("a lane that panics ends the daemon")
}

#[cfg(test)]
mod tests;
