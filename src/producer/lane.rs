//! The shell of a lane: the clock, the chance, the inbox, the flights. It contains no decisions.
//!
//! Owned by the daemon. It ends when every reader is gone and everything is answered, or when it is
//! told to abandon: then what is left is answered `ShuttingDown`. A flight that panics takes the
//! lane with it, and every ticket it held answers for itself.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::refresher::RefreshRequested;
use crate::heap;
use dispatchd_core::model::{Cause, Class, Code, Outcome, Reason, Refusal};
use dispatchd_core::model::{PutError, PutRecords, StreamFacts, Verdict};
use dispatchd_producer::ack::{Body, Returning};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::Batch;
use dispatchd_producer::lane::IdleTrim;
use dispatchd_producer::lane::buffer::{Buffer, Gauges, Poll};
use dispatchd_producer::lane::dedupe::{self, Dedupe, Met};
use dispatchd_producer::lane::metrics::{LaneMetrics, OldestEvent, PutOutcome, Retry};
use dispatchd_producer::lane::outage::{News, Outage, Standing};
use dispatchd_producer::lane::report::Report;
use dispatchd_producer::lane::{Answered, Settled};
use dispatchd_producer::lane::{BoxedItem, Group, INBOX_GROUPS, Item, Settings};
use dispatchd_producer::recent_errors::RecentErrors;

/// Questions waiting for a lane. They are an operator's: a few a second at most.
pub const QUESTIONS_MAX: usize = 4;

/// The way back for what a lane tells of itself.
pub type Question = oneshot::Sender<Report>;

/// Everything a lane needs; built before it is spawned.
#[derive(Debug)]
pub struct Lane<S> {
    /// As configured; changed by a reload.
    pub settings: watch::Receiver<Settings>,
    /// Shared, and so a lock: an id belongs to no key, and a lane finds what came in by another. It
    /// is held for one look at one id, 0.3 µs for both that it takes, never across a wait, and only
    /// for events whose callers chose their ids. A channel to an owner would send each such event
    /// through one more task before it has its place behind the others of its key.
    pub dedupe: Arc<Mutex<Dedupe>>,
    pub service: Arc<S>,
    pub inbox: mpsc::Receiver<Group>,
    pub facts: watch::Receiver<StreamFacts>,
    /// From the admin thread.
    pub questions: mpsc::Receiver<Question>,
    /// Notified when the shard map is old.
    pub refresh_requested: RefreshRequested,
    pub metrics: Arc<LaneMetrics>,
    /// Looked at for the end of a burst.
    pub budget: Arc<Budget>,
    pub oldest: Arc<OldestEvent>,
    pub recent_errors: Arc<RecentErrors>,
    pub outage: Arc<Outage>,
    /// The stop began: nothing lingers any more.
    pub drain: CancellationToken,
    /// The deadline has come: whatever is left is answered now.
    pub abandon: CancellationToken,
}

/// What a flight brings home.
type Landed = (Batch, Result<Vec<Verdict>, PutError>, std::time::Duration);

impl<S: PutRecords> Lane<S> {
    pub async fn run(mut self) {
        let mut buffer = Buffer::new(*self.settings.borrow_and_update());
        let mut rng: SmallRng = rand::make_rng();
        let mut flights: JoinSet<Landed> = JoinSet::new();
        let (mut groups, mut returning) = (Vec::new(), Returning::default());
        let (mut shown, mut slack) = (Shown::default(), IdleTrim::default());
        let (mut inbox_open, mut draining, mut hinted) = (true, false, false);
        self.facts.mark_changed(); // the first map may have come before the lane
        while inbox_open || !buffer.is_empty() {
            let now = now();
            let wait = loop {
                match buffer.poll(now) {
                    Poll::Late(items) => {
                        let standing = self.outage.standing(now);
                        for item in items {
                            let outcome = late(&item, standing, now);
                            self.answer(Answered { item, outcome }, now, &mut returning);
                        }
                    }
                    Poll::Send(batch) => self.launch(&mut flights, batch),
                    Poll::Wait(until) => break until,
                }
            };
            returning.hand_over();
            shown.update(&buffer, &self.metrics, &self.oldest);
            let give_back_at = slack.poll(self.budget.used_bytes(), now);
            if give_back_at.is_some_and(|at| at <= now) {
                heap::give_back();
                slack.given_back();
                continue;
            }
            if buffer.holds_many() && !std::mem::replace(&mut hinted, true) {
                tracing::warn!(
                    "hundreds of events of one partition key wait behind each other: strict order sends one of them a request. Use more keys, or delivery.ordering = \"relaxed\" where a partial failure may reorder"
                );
            }
            if !inbox_open && buffer.is_empty() {
                break; // the last items expired
            }
            tokio::select! {
                // Old work first: what has landed frees keys for what comes in.
                biased;
                () = self.abandon.cancelled() => return self.give_up(buffer, flights, shown).await,
                Some(landed) = flights.join_next() => {
                    let now = self::now();
                    let mut next = Some(landed);
                    while let Some(landed) = next {
                        let (batch, reply, took) = landed.expect("a flight that panics takes its lane along");
                        let settled = self.land(&mut buffer, batch, reply, took, now, &mut rng);
                        self.count(&settled, now);
                        for answered in settled.answers {
                            self.answer(answered, now, &mut returning);
                        }
                        next = flights.try_join_next();
                    }
                    returning.hand_over();
                }
                Ok(()) = self.facts.changed() => {
                    let facts = self.facts.borrow_and_update().clone();
                    buffer.learn(facts, self::now());
                }
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    buffer.drain(self::now());
                }
                Ok(()) = self.settings.changed() => {
                    let settings = *self.settings.borrow_and_update();
                    buffer.set_settings(settings, self::now());
                }
                // Before the inbox: in a flood, which fills it again and again, an operator asks.
                Some(question) = self.questions.recv() => {
                    let _ = question.send(buffer.report(self::now())); // who asked may have given up
                }
                received = self.inbox.recv_many(&mut groups, INBOX_GROUPS), if inbox_open => {
                    inbox_open = received > 0;
                    let now = self::now();
                    groups.drain(..).flatten().for_each(|item| self.take_in(&mut buffer, item, now));
                }
                () = sleep_until(wait.into_iter().chain(give_back_at).min()) => {}
            }
        }
        shown.update(&buffer, &self.metrics, &self.oldest);
    }

    fn launch(&self, flights: &mut JoinSet<Landed>, batch: Batch) {
        self.metrics.batch_records.record(batch.len() as f64);
        self.metrics.batch_bytes.record(batch.bytes() as f64);
        let service = Arc::clone(&self.service);
        flights.spawn(async move {
            let began = now();
            let reply = service.put(batch.entries()).await;
            (batch, reply, now() - began)
        });
    }

    fn land(
        &self,
        buffer: &mut Buffer,
        batch: Batch,
        reply: Result<Vec<Verdict>, PutError>,
        took: std::time::Duration,
        now: Instant,
        rng: &mut SmallRng,
    ) -> Settled {
        self.metrics.put_records_duration.record(took);
        self.metrics.put_records(outcome_of(&reply)).increment(1);
        if let Err(error) = &reply {
            let reason = without_records(error.class, &error.message);
            tracing::debug!(code = error.code, reason, records = batch.len(), "PutRecords failed");
        }
        let (fared, noteworthy) = (fared(&reply), noteworthy(&reply));
        let blocked_before = buffer.blocked();
        let settled = buffer.apply_verdicts(batch, reply, now, rng);
        if blocked_before != buffer.blocked() {
            self.metrics.set_blocked(buffer.blocked());
        }
        let mut said = (String::new(), String::new());
        if let Some((class, code, message)) = noteworthy {
            let message = if settled.refused_in_known_words {
                &message
            } else {
                without_records(class, &message)
            };
            self.recent_errors.note("PutRecords", &code, message, SystemTime::now());
            said = (code, message.to_owned());
        }
        if let Some(news) =
            self.watch(fared, buffer.blocked(), now.checked_sub(took).unwrap_or(now), now)
        {
            tell(&news, &said.0, &said.1);
        }
        if settled.map_is_old {
            self.refresh_requested.notify_one();
        }
        settled
    }

    fn count(&self, settled: &Settled, now: Instant) {
        let Settled { stored, throttled, transient, blocked, regrouped, rejected, .. } = settled;
        let count =
            |counter: &::metrics::Counter, records: usize| counter.increment(records as u64);
        count(&self.metrics.records_stored, *stored);
        count(&self.metrics.records_rejected, *rejected);
        count(&self.metrics.records_throttled, *throttled);
        count(&self.metrics.records_failed, transient + blocked);
        count(self.metrics.retries(Retry::Throttled), *throttled);
        count(self.metrics.retries(Retry::Transient), *transient);
        count(self.metrics.retries(Retry::Blocked), *blocked);
        count(self.metrics.retries(Retry::Regrouped), *regrouped);
        // Events of one read were accepted at one time.
        for run in settled.answers.chunk_by(|one, next| one.item.accepted == next.item.accepted) {
            let acked = run
                .iter()
                .filter(|answered| matches!(answered.outcome, Outcome::Durable(_)))
                .count();
            let took = now.saturating_duration_since(run[0].item.accepted);
            self.metrics.ack_duration.record_many(took, acked);
        }
    }

    /// An event that came in: on its way, or to the one of the same id that is there already.
    fn take_in(&self, buffer: &mut Buffer, item: BoxedItem, now: Instant) {
        if item.ticket.said().is_none() {
            return buffer.push(item);
        }
        let met = self.known_ids().meet(item, now);
        match met {
            Met::New(item) => buffer.push(item),
            Met::Reused(ticket) => ticket.answer_as(Body::Refused(dedupe::reused())),
            Met::Joined => self.metrics.events_deduplicated.increment(1),
            Met::Again(ticket, ack) => {
                self.metrics.events_deduplicated.increment(1);
                ticket.answer_as(Body::Durable(*ack));
            }
        }
    }

    fn answer(&self, answered: Answered, now: Instant, returning: &mut Returning) {
        let Answered { item, outcome } = answered;
        if item.ticket.said().is_some() {
            let settled = self.known_ids().settle(&item, &outcome, now);
            if let Some((copies, same)) = settled {
                copies.into_iter().for_each(|copy| copy.answer_as(same.clone()));
            }
        }
        returning.answer(item.ticket, item.record, outcome);
    }

    fn known_ids(&self) -> MutexGuard<'_, Dedupe> {
        self.dedupe.lock().expect("a lane that panics ends the daemon")
    }

    /// Keeps how a request fared that was sent at `sent`.
    fn watch(
        &self,
        fared: Fared,
        blocked: Option<Reason>,
        sent: Instant,
        now: Instant,
    ) -> Option<News> {
        match (fared, blocked) {
            (Fared::Failed(cause), _) => self.outage.failed(cause, sent, now),
            // Only the lane's doubt tells a refusal by the stream from one for the records.
            (Fared::LookedAt, Some(reason @ Reason::RequestRefused)) => {
                self.outage.failed(Cause::Blocked(reason), sent, now)
            }
            (Fared::Stored | Fared::LookedAt, _) => self.outage.stored(now),
        }
    }

    /// The deadline: every event is answered now, those in flight by their tickets.
    async fn give_up(mut self, mut buffer: Buffer, mut flights: JoinSet<Landed>, mut shown: Shown) {
        self.inbox.close();
        while let Some(group) = self.inbox.recv().await {
            group.into_iter().for_each(|item| self.take_in(&mut buffer, item, now()));
        }
        let mut returning = Returning::default();
        let standing = self.outage.standing(now());
        for item in buffer.abandon() {
            let why = last_attempt(&item, standing);
            let message = format!("the daemon stopped before Kinesis confirmed this event{why}");
            let refusal = Refusal::unconfirmed(Code::ShuttingDown, item.maybe_stored, message);
            let answered = Answered { item, outcome: Outcome::Refused(refusal) };
            self.answer(answered, now(), &mut returning);
        }
        returning.hand_over();
        flights.shutdown().await;
        shown.update(&buffer, &self.metrics, &self.oldest);
    }
}

/// What the gauges show of this lane, so that several lanes add up.
#[derive(Debug, Default)]
struct Shown(Gauges);

impl Shown {
    fn update(&mut self, buffer: &Buffer, metrics: &LaneMetrics, oldest: &OldestEvent) {
        let now = buffer.gauges();
        for (gauge, before, after) in [
            (&metrics.put_records_in_flight, self.0.flights, now.flights),
            (&metrics.shards_cooling, self.0.shards_cooling, now.shards_cooling),
            (&metrics.keys_cooling, self.0.keys_cooling, now.keys_cooling),
            (&metrics.keys_held_by_order, self.0.keys_held, now.keys_held),
        ] {
            if before != after {
                gauge.increment(after as f64 - before as f64);
            }
        }
        self.0 = now;
        oldest.set(buffer.oldest());
    }
}

/// What an event is told that was not confirmed in time.
fn late(item: &Item, standing: Option<Standing>, now: Instant) -> Outcome {
    let waited = now.saturating_duration_since(item.accepted).as_secs();
    let why = last_attempt(item, standing);
    let message = format!("not confirmed by Kinesis within {waited} s, delivery.timeout{why}");
    Outcome::Refused(Refusal::unconfirmed(Code::DeliveryTimeout, item.maybe_stored, message))
}

/// Why an event was not stored: what every event waits for now, or else what its own last attempt
/// came to.
fn last_attempt(item: &Item, standing: Option<Standing>) -> String {
    let cause = standing.map(|standing| standing.cause).or(item.cause);
    cause.map(|cause| format!("; the last attempt: {}", cause.says())).unwrap_or_default()
}

/// What a reply says of the stream as a whole.
#[derive(Debug, Clone, Copy)]
enum Fared {
    Stored,
    /// Nothing was stored, but the records were looked at: they are at fault, or so it says.
    LookedAt,
    Failed(Cause),
}

fn fared(reply: &Result<Vec<Verdict>, PutError>) -> Fared {
    let verdicts = match reply {
        Ok(verdicts) => verdicts,
        Err(PutError { class: Class::Poison, .. }) => return Fared::LookedAt,
        Err(error) => return Fared::Failed(error.cause),
    };
    let mut fared = Fared::LookedAt;
    for verdict in verdicts {
        match verdict {
            Verdict::Stored { .. } => return Fared::Stored,
            Verdict::Failed { class: Class::Poison, .. } => {}
            Verdict::Failed { class, .. } => fared = Fared::Failed((*class).into()),
            Verdict::Unclear => fared = Fared::Failed(Cause::NotKinesis),
        }
    }
    fared
}

/// A line of the log for what an operator should know: an error where nothing helps but the
/// operator.
fn tell(news: &News, code: &str, reason: &str) {
    match *news {
        News::Fails { cause, requests, untold, .. } if cause.is_blocked() => tracing::error!(
            cause = cause.as_str(),
            code,
            message_from_kinesis = reason,
            requests_failed = requests,
            untold_outages = untold,
            "the stream takes nothing: events wait, none is refused before delivery.timeout. To do: {}",
            cause.advice()
        ),
        News::Fails { cause, lasts, requests, untold } => tracing::warn!(
            cause = cause.as_str(),
            code,
            reason,
            requests_failed = requests,
            untold_outages = untold,
            "nothing was stored for {} s: {}. Events wait, none is refused before delivery.timeout. To do: {}",
            lasts.as_secs(),
            cause.says(),
            cause.advice()
        ),
        News::Ended { lasted, requests } => tracing::info!(
            seconds = lasted.as_secs_f64(),
            requests_failed = requests,
            "the stream takes records again, after {} s",
            lasted.as_secs()
        ),
    }
}

/// What an operator may ask for later. Throttled records are not errors: each shard's share of them
/// is told.
fn noteworthy(reply: &Result<Vec<Verdict>, PutError>) -> Option<(Class, String, String)> {
    const UNCLEAR: &str = "an entry of the reply has neither the place of its record nor an error";
    let error_of = |verdict: &Verdict| match verdict {
        Verdict::Failed { class: Class::Throttled, .. } | Verdict::Stored { .. } => None,
        Verdict::Failed { class, code, message } => Some((*class, code.clone(), message.clone())),
        Verdict::Unclear => Some((Class::Transient, "BadReply".into(), UNCLEAR.into())),
    };
    match reply {
        Err(error) => Some((error.class, error.code.clone(), error.message.clone())),
        Ok(verdicts) => verdicts.iter().find_map(error_of),
    }
}

fn outcome_of(reply: &Result<Vec<Verdict>, PutError>) -> PutOutcome {
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

/// tokio's clock, so that a test can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Kinesis' words for an operator. What it says of a record that it will never take may repeat the
/// record's key.
fn without_records(class: Class, message: &str) -> &str {
    if class == Class::Poison { "the caller was told why" } else { message }
}
