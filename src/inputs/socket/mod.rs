//! The ingest socket: where an application's bytes enter and our answers leave.
//!
//! `bind` makes the socket file and keeps it (`place`: where it may lie; `lock`: for one daemon),
//! and `listener` lets connections in. Each connection is one task with two halves: `reader` (bytes
//! → requests → the intake) and `writer` (answers → bytes). A reader waits for room for a long line
//! (`long_lines`), then for what its intake says is short, an answer credit or bytes of the budget,
//! then for a lane's inbox, in this order; a writer waits for the peer alone. So a slow or hostile
//! peer costs nobody else anything, and nothing waits in a circle.

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
mod writer;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::telemetry::backpressure::Backpressure;
use crate::telemetry::metrics::Metrics;
use dispatchd_core::model::StreamFacts;
use dispatchd_producer::intake::IntakeShared;
use dispatchd_producer::lane::Lanes;

pub use callers::Callers;
pub use long_lines::LongLines;

/// What every connection shares.
#[derive(Debug)]
pub struct ConnectionShared {
    pub intake: Arc<IntakeShared>,
    pub lanes: Lanes,
    pub metrics: Arc<Metrics>,
    /// How long readers wait for bytes of the budget.
    pub backpressure: Arc<Backpressure>,
    pub facts: watch::Receiver<StreamFacts>,
    pub long_lines: LongLines,
    pub callers: Arc<Callers>,
    /// Where ids come from that callers leave to us.
    pub fresh_id: fn() -> Uuid,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
}
