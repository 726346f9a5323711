//! The shell of a lane: the clock, the chance, the inbox, the flights, the log. It contains no
//! decisions: what is done at a time is `lane::Lane`'s, which is pure.
//!
//! Owned by the daemon. It ends when every reader is gone and everything is answered, or when it is
//! told to abandon: then what is left is answered `ShuttingDown`. A flight that panics takes the
//! lane with it, and every ticket it held answers for itself.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::refresher::RefreshRequested;
use crate::heap;
use dispatchd_core::model::{PutRecords, StreamFacts};
use dispatchd_producer::lane::outage;
use dispatchd_producer::lane::report::Report;
use dispatchd_producer::lane::{Batch, Group, INBOX_GROUPS, Landed, Lane, News, Settings, Wait};
use dispatchd_producer::recent_errors::RecentErrors;

/// Questions waiting for a lane. They are an operator's: a few a second at most.
pub(crate) const QUESTIONS_MAX: usize = 4;

/// The way back for what a lane tells of itself.
pub(crate) type Question = oneshot::Sender<Report>;

/// A lane and everything that its task needs; built before it is spawned.
#[derive(Debug)]
pub struct LaneTask<S> {
    pub(super) lane: Lane,
    pub(super) service: Arc<S>,
    pub(super) rng: SmallRng,
    pub(super) flights: JoinSet<Landed>,
    pub(super) inbox: mpsc::Receiver<Group>,
    /// False once every reader is gone.
    pub(super) inbox_is_open: bool,
    /// What one look into the inbox brings.
    pub(super) groups: Vec<Group>,
    /// As configured; changed by a reload.
    pub(super) settings: watch::Receiver<Settings>,
    pub(super) facts: watch::Receiver<StreamFacts>,
    /// From the admin thread.
    pub(super) questions: mpsc::Receiver<Question>,
    /// Notified when the shard map is old.
    pub(super) refresh_requested: RefreshRequested,
    pub(super) recent_errors: Arc<RecentErrors>,
    /// The stop began: nothing lingers any more.
    pub(super) drain: CancellationToken,
    /// The deadline has come: whatever is left is answered now.
    pub(super) abandon: CancellationToken,
}

impl<S: PutRecords> LaneTask<S> {
    pub async fn run(mut self) {
        self.facts.mark_changed(); // the first map may have come before the lane
        loop {
            let Wait { until, .. } = self.turn(now());
            if !self.inbox_is_open && self.lane.is_empty() {
                return;
            }
            tokio::select! {
                // Old work first: what has landed frees keys for what comes in.
                biased;
                () = self.abandon.cancelled() => return self.give_up().await,
                Some(landed) = self.flights.join_next() => self.land(landed),
                Ok(()) = self.facts.changed() => {
                    self.lane.learn(self.facts.borrow_and_update().clone(), now());
                }
                () = self.drain.cancelled(), if !self.lane.is_draining() => self.lane.drain(now()),
                Ok(()) = self.settings.changed() => {
                    self.lane.set_settings(*self.settings.borrow_and_update(), now());
                }
                // Before the inbox: in a flood, which fills it again and again, an operator asks.
                Some(question) = self.questions.recv() => {
                    let _ = question.send(self.lane.report(now())); // who asked may have given up
                }
                received = self.inbox.recv_many(&mut self.groups, INBOX_GROUPS),
                    if self.inbox_is_open => self.take_in(received),
                () = sleep_until(until) => {}
            }
        }
    }

    /// Does what is due: sends, gives memory back, tells the operator.
    fn turn(&mut self, now: Instant) -> Wait {
        let Self { lane, service, flights, .. } = self;
        let wait = lane.turn(now, |batch| _ = flights.spawn(fly(Arc::clone(service), batch)));
        if wait.gives_memory_back {
            heap::give_back();
        }
        if wait.holds_many {
            tracing::warn!(
                "hundreds of events of one partition key wait behind each other: strict order \
                 sends one of them a request. Use more keys, or delivery.ordering = \"relaxed\" \
                 where a partial failure may reorder"
            );
        }
        wait
    }

    /// Takes what came out of the inbox; nothing comes out once every reader is gone.
    fn take_in(&mut self, received: usize) {
        self.inbox_is_open = received > 0;
        let now = now();
        self.groups.drain(..).for_each(|group| self.lane.take_in(group, now));
    }

    /// Takes a flight back, and every other one that has landed by now.
    fn land(&mut self, landed: Result<Landed, JoinError>) {
        let (now, mut next) = (now(), Some(landed));
        while let Some(landed) = next {
            let landed = landed.expect("a flight that panics takes its lane along");
            let news = self.lane.land(landed, now, &mut self.rng);
            self.tell(&news);
            next = self.flights.try_join_next();
        }
    }

    fn tell(&self, news: &News) {
        let News { failed, error, outage, map_is_old } = news;
        if let Some(failed) = failed {
            let (code, reason, records) = (&failed.code, &failed.reason, failed.records);
            tracing::debug!(code, reason, records, "PutRecords failed");
        }
        let said = error.as_ref().map(|error| (&*error.code, &*error.message));
        if let Some((code, message)) = said {
            self.recent_errors.note("PutRecords", code, message, SystemTime::now());
        }
        if let Some(news) = outage {
            tell_outage(news, said.unwrap_or_default());
        }
        if *map_is_old {
            self.refresh_requested.notify_one();
        }
    }

    /// The deadline: every event is answered now, those in flight by their tickets.
    async fn give_up(mut self) {
        self.inbox.close();
        while let Some(group) = self.inbox.recv().await {
            self.lane.take_in(group, now());
        }
        self.lane.abandon(now());
        self.flights.shutdown().await;
    }
}

/// One request, from here to its reply.
async fn fly<S: PutRecords>(service: Arc<S>, batch: Batch) -> Landed {
    let began = now();
    let reply = service.put(batch.entries()).await;
    Landed { batch, reply, took: now() - began }
}

/// A line of the log for what an operator should know: an error where nothing helps but the
/// operator. `code`, `reason`: the last error, in the service's words.
fn tell_outage(news: &outage::News, (code, reason): (&str, &str)) {
    match *news {
        outage::News::Fails { cause, requests, untold, .. } if cause.is_blocked() => {
            tracing::error!(
                cause = cause.as_str(),
                code,
                message_from_kinesis = reason,
                requests_failed = requests,
                untold_outages = untold,
                "the stream takes nothing: events wait, none is refused before delivery.timeout. \
                 To do: {}",
                cause.advice()
            );
        }
        outage::News::Fails { cause, lasts, requests, untold } => tracing::warn!(
            cause = cause.as_str(),
            code,
            reason,
            requests_failed = requests,
            untold_outages = untold,
            "nothing was stored for {} s: {}. Events wait, none is refused before \
             delivery.timeout. To do: {}",
            lasts.as_secs(),
            cause.says(),
            cause.advice()
        ),
        outage::News::Ended { lasted, requests } => tracing::info!(
            seconds = lasted.as_secs_f64(),
            requests_failed = requests,
            "the stream takes records again, after {} s",
            lasted.as_secs()
        ),
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
