//! The lanes with no input before them, for a program that has records of its own: what it sends is
//! retried record by record, keeps the order of each key, and is answered once it is durable, as an
//! event of any input's.
//!
//! Who sends holds two halves: a [`WayIn`], which waits for room, and [`Answers`]. The tasks are
//! [`Running`]'s. Nothing here decides what is sent, or what a refusal means.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::refresher::Refresher;
use super::stream_metrics::StreamMetrics;
use super::{Shared, lanes};
use crate::config::{Carried, Config};
use dispatchd_aws::Kinesis;
use dispatchd_core::limits::{ANSWER_BYTES, PARTITION_KEY_CHARS_MAX};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{EventAnswer, Record, Reference, StreamFacts};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::EventCounters;
use dispatchd_producer::credit::{CreditReturns, CreditTotal};
use dispatchd_producer::intake::{
    Envelopes, EventRequest, Intake, IntakeShared, Now, Offered, WayBack,
};
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::metrics::LaneMetrics;
use dispatchd_producer::lane::{Inlet, Settings as LaneSettings};
use dispatchd_producer::recent_errors::RecentErrors;
use dispatchd_producer::ticket::{Answer, EventId};
use tokio::sync::mpsc;

/// Records that are sent and not answered: what 16 requests of 500 carry.
const UNANSWERED_MAX: usize = 8_192;

/// Bytes of their answers: the longest key there is, in the longest of UTF-8.
const ANSWER_BYTES_MAX: usize = UNANSWERED_MAX * (ANSWER_BYTES + 4 * PARTITION_KEY_CHARS_MAX);

/// What such lanes are made from.
#[derive(Debug, Clone)]
pub struct Settings {
    pub lane: LaneSettings,
    /// Bytes of records that are held: half of it, as for any one connection.
    pub budget_bytes: usize,
    /// `stream.max_record_bytes`; `None` if the stream is to be asked.
    pub record_bytes_max: Option<usize>,
    pub(crate) carried: Carried,
}

/// Where records enter. Dropped, it says that no more come.
#[derive(Debug)]
pub(crate) struct WayIn {
    intake: Intake,
    inlet: Inlet,
    facts: watch::Receiver<StreamFacts>,
}

/// What became of the records.
#[derive(Debug)]
pub(crate) struct Answers {
    answers: mpsc::UnboundedReceiver<Vec<Answer>>,
    credits: CreditReturns,
}

/// The tasks of the lanes. Dropped, they end, and what they held is answered as unconfirmed.
#[derive(Debug)]
pub(crate) struct Running {
    tasks: JoinSet<()>,
    drain: CancellationToken,
    abandon: CancellationToken,
}

/// A record's number, and our word on it.
pub(crate) type Settled = (u64, EventAnswer);

impl Settings {
    /// The settings that a daemon with this configuration has.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            lane: LaneSettings::of(&config.batch, &config.delivery),
            budget_bytes: config.memory.budget_bytes,
            record_bytes_max: config.stream.max_record_bytes,
            carried: Carried::of(config),
        }
    }
}

/// Starts lanes that send to `kinesis`. Metrics are registered with the recorder that is in force
/// here, if there is one.
pub(crate) fn start(kinesis: Kinesis, settings: &Settings) -> (WayIn, Answers, Running) {
    let (drain, abandon) = (CancellationToken::new(), CancellationToken::new());
    let recent_errors = Arc::<RecentErrors>::default();
    let budget = Budget::new(settings.budget_bytes);
    let (refresher, stream) = Refresher::new(
        kinesis.clone(),
        settings.record_bytes_max,
        settings.carried,
        StreamMetrics::register(),
        Arc::clone(&recent_errors),
    );
    let shared = Shared {
        metrics: LaneMetrics::register(),
        budget: Arc::clone(&budget),
        recent_errors,
        drain: drain.clone(),
        abandon: abandon.clone(),
    };
    // An id that we draw is never sent again: none is remembered.
    let dedupe = Window { ids_max: 0, keep_for: settings.lane.timeout };
    let wanted = super::Settings { lanes_count: 1, lane: settings.lane, dedupe };
    let (lanes, handle) = lanes(wanted, kinesis, &stream, shared);
    let mut tasks = JoinSet::new();
    lanes.into_iter().for_each(|lane| _ = tasks.spawn(lane.run()));
    tasks.spawn(async move {
        let _asked_by = (stream.reloads, stream.calls); // nobody asks: they only keep it asking
        refresher.run().await;
    });
    let intake = Arc::new(IntakeShared {
        producer_id: String::new(), // records are sealed already
        envelopes: Envelopes::default(),
        transaction: Default::default(),
        answers_max: UNANSWERED_MAX,
        answer_bytes_max: ANSWER_BYTES_MAX,
        record_bytes_carried: settings.carried.record_bytes,
        budget,
        counters: Arc::<EventCounters>::default(),
        fingerprints: Default::default(),
        checks: Default::default(),
    });
    let (intake, WayBack { answers, credits }) = intake.open(stream.facts.borrow().record_limit);
    let way_in = WayIn { intake, inlet: handle.inboxes.inlet(), facts: stream.facts };
    (way_in, Answers { answers, credits }, Running { tasks, drain, abandon })
}

impl WayIn {
    /// Sends a record, once there is room for it. It is on its way at the latest when
    /// [`hand_over`](Self::hand_over) was called.
    pub(crate) async fn send(&mut self, number: u64, record: Record) {
        let id = EventId::Made(Uuid::nil()); // nobody is told an id
        let mut request = EventRequest::sealed(record, Reference::Number(number), id);
        loop {
            if self.facts.has_changed().unwrap_or(false) {
                let limit = self.facts.borrow_and_update().record_limit;
                self.intake.set_record_limit(limit);
            }
            match self.intake.offer(&mut request, &now()) {
                Offered::Accepted(item) => return self.inlet.add(item),
                Offered::Refused(_) => return, // its answer says so
                Offered::Needs(shortage) => {
                    self.hand_over().await;
                    self.intake.wait(shortage).await;
                }
            }
        }
    }

    /// Hands the lanes what was sent. To be called before every wait for something else.
    pub(crate) async fn hand_over(&mut self) {
        self.intake.give_back();
        self.inlet.flush().await;
    }
}

impl Answers {
    /// The answers that have come; `None` once the way in is gone and every record is answered.
    pub(crate) async fn next(&mut self) -> Option<Vec<Settled>> {
        let group = self.answers.recv().await?;
        let mut taken = CreditTotal::default();
        let settled = group.into_iter().map(|answer| match answer {
            Answer::Event { reference: Reference::Number(number), answer, credit, .. } => {
                taken.add(credit);
                (number, answer)
            }
            _ => unreachable!("records alone are sent, by their numbers"),
        });
        let settled = settled.collect();
        self.credits.give_back(taken);
        Some(settled)
    }
}

impl Running {
    /// No record waits for company any more.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Every record that is not answered is answered now, as unconfirmed.
    pub(crate) fn abandon(&self) {
        self.abandon.cancel();
    }

    /// Ends the tasks.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await; // before the runtime goes, or a last call fails aloud
    }
}

fn now() -> Now {
    let instant: Instant = tokio::time::Instant::now().into_std();
    // A sealed record has its time in it.
    Now { instant, timestamp: Timestamp::from_unix_ms(0) }
}
