//! What the connections of the socket share. Only data: who owns a part of it changes that part.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::callers::Callers;
use super::long_lines::LongLines;
use super::metrics::ConnectionMetrics;
use crate::inputs::backpressure::Backpressure;
use dispatchd_core::model::StreamFacts;
use dispatchd_producer::intake::IntakeShared;
use dispatchd_producer::lane::Lanes;

/// What every connection shares.
#[derive(Debug)]
pub(super) struct ConnectionShared {
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
