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
pub(crate) mod directory;
pub mod listener;
mod lock;
mod long_lines;
pub mod metrics;
mod patience;
pub mod place;
mod reader;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::inputs::backpressure::Backpressure;
use dispatchd_core::model::StreamFacts;
use dispatchd_producer::intake::IntakeShared;
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
struct ConnectionShared {
    pub intake: Arc<IntakeShared>,
    pub lanes: Lanes,
    pub metrics: ConnectionMetrics,
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
