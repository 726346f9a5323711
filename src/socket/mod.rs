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
pub(crate) mod directory;
pub mod listener;
mod lock;
mod long_lines;
pub mod metrics;
mod patience;
pub mod place;
mod reader;
mod slots;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use dispatchd_core::model::Fingerprints;
use dispatchd_core::model::StreamFacts;
use dispatchd_producer::ack::Books;
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::Lanes;

use self::metrics::ConnectionMetrics;
pub use callers::Callers;
pub use long_lines::LongLines;

/// Where applications connect, and what they may have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub path: PathBuf,
    /// The permissions of the socket's file.
    pub mode: u32,
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// How many unanswered events a connection may have.
    pub window: usize,
}

/// What every connection shares.
#[derive(Debug)]
struct Door {
    pub producer_id: String,
    /// Unanswered events a connection may have.
    pub window: usize,
    pub lanes: Lanes,
    /// Of events whose callers chose their ids.
    pub fingerprints: Fingerprints,
    pub budget: Arc<Budget>,
    pub books: Arc<Books>,
    pub metrics: ConnectionMetrics,
    pub facts: watch::Receiver<StreamFacts>,
    /// The largest record that our memory carries, whatever the stream takes.
    pub record_bytes_carried: usize,
    pub long_lines: LongLines,
    pub callers: Arc<Callers>,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
}
