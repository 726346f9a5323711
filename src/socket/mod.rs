//! The ingest socket: where an application's bytes enter and our answers leave.
//!
//! `bind` makes the socket file and keeps it (`place`: where it may lie; `lock`: for one daemon),
//! `listener` lets connections in, and each connection is one task with two halves: `reader` (bytes
//! → items) and `writer` (outcomes → bytes). A reader waits for room for a long line
//! (`long_lines`), then for an answer's slot (`slots`), then for bytes of the budget (`allowance`
//! has both), then for a lane's inbox, in this order; a writer waits for the peer alone. So a slow
//! or hostile peer costs nobody else anything, and nothing waits in a circle.

mod allowance;
pub mod barred;
pub mod bind;
mod callers;
mod clock;
mod connection;
pub mod listener;
mod lock;
mod long_lines;
mod patience;
pub mod place;
mod reader;
mod slots;
mod writer;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::Metrics;
use dispatchd_core::model::Fingerprints;
use dispatchd_core::model::StreamFacts;
use dispatchd_producer::ack::Books;
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::Lanes;

pub use callers::Callers;
pub use long_lines::LongLines;

/// What every connection shares.
#[derive(Debug)]
pub struct Door {
    pub producer_id: String,
    /// Unanswered events a connection may have.
    pub window: usize,
    pub lanes: Lanes,
    /// Of events whose callers chose their ids.
    pub fingerprints: Fingerprints,
    pub budget: Arc<Budget>,
    pub books: Arc<Books>,
    pub metrics: Arc<Metrics>,
    pub facts: watch::Receiver<StreamFacts>,
    /// The largest record that our memory carries, whatever the stream takes.
    pub record_bytes_carried: usize,
    pub long_lines: LongLines,
    pub callers: Arc<Callers>,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
}
