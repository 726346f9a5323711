//! What all inputs share with the rest of the daemon. Only data: who owns a part of it changes that
//! part.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::backpressure::Backpressure;
use super::callers::Callers;
use super::long_lines::LongLines;
use super::presence::Presence;
use dispatchd_core::limits::ANSWERS_BYTES_MAX;
use dispatchd_core::model::{Fingerprints, Input, StreamFacts};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::InputCounters;
use dispatchd_producer::intake::{Checks, Envelopes, IntakeShared, TransactionSettings};
use dispatchd_producer::lane::Lanes;

/// What an input is made from, besides its own settings. Clones share it.
#[derive(Debug, Clone)]
pub struct InputsShared {
    pub producer_id: String,
    pub envelopes: Envelopes,
    pub transaction: TransactionSettings,
    pub lanes: Lanes,
    pub budget: Arc<Budget>,
    pub counters: InputCounters,
    /// An event that comes by one input and again by another is known again.
    pub fingerprints: Fingerprints,
    /// What an event is checked by besides.
    pub checks: Arc<Checks>,
    /// How long readers wait for bytes of the budget.
    pub backpressure: Arc<Backpressure>,
    /// Room for what is longer than a connection's own buffer.
    pub long_lines: Arc<LongLines>,
    pub callers: Arc<Callers>,
    pub presence: watch::Sender<Presence>,
    pub facts: watch::Receiver<StreamFacts>,
    /// The largest record that our memory carries, whatever the stream takes.
    pub record_bytes_carried: usize,
    /// Descriptors that no connection may take: Kinesis is reached, whoever is connected.
    pub files_kept_back: usize,
    /// Where ids come from that callers leave to us.
    pub fresh_id: fn() -> Uuid,
    /// The stop began.
    pub drain: CancellationToken,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
}

impl InputsShared {
    /// The intake of one input, which counts for itself, and opens one for each that may have
    /// `answers_max` unanswered.
    pub(crate) fn intake(&self, input: Input, answers_max: usize) -> Arc<IntakeShared> {
        Arc::new(IntakeShared {
            producer_id: self.producer_id.clone(),
            envelopes: self.envelopes.clone(),
            transaction: self.transaction.clone(),
            answers_max,
            answer_bytes_max: ANSWERS_BYTES_MAX,
            record_bytes_carried: self.record_bytes_carried,
            budget: Arc::clone(&self.budget),
            counters: Arc::clone(self.counters.of(input)),
            fingerprints: self.fingerprints.clone(),
            checks: Arc::clone(&self.checks),
        })
    }
}

/// An input's surroundings, without a stream.
#[cfg(test)]
pub(super) fn for_tests(lanes: Lanes) -> InputsShared {
    InputsShared {
        producer_id: "app@host".into(),
        lanes,
        budget: Budget::new(4 * dispatchd_core::limits::MIB),
        counters: Default::default(),
        fingerprints: Default::default(),
        checks: Default::default(),
        backpressure: Default::default(),
        long_lines: Arc::new(LongLines::new(2 * dispatchd_core::limits::MIB)),
        callers: Arc::new(Callers::new(std::time::Instant::now())),
        presence: watch::Sender::new(Presence::default()),
        facts: watch::channel(StreamFacts::unknown(None)).1,
        envelopes: Default::default(),
        transaction: Default::default(),
        record_bytes_carried: dispatchd_core::limits::MIB,
        files_kept_back: 0,
        fresh_id: Uuid::new_v4,
        drain: CancellationToken::new(),
        stop_reading: CancellationToken::new(),
    }
}
