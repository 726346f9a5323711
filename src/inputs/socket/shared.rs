//! What the connections of the socket share. Only data: who owns a part of it changes that part.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::inputs::backpressure::Backpressure;
use crate::inputs::callers::Callers;
use crate::inputs::http::HttpShared;
use crate::inputs::long_lines::LongLines;
use crate::inputs::metrics::ConnectionMetrics;
use crate::inputs::shared::InputsShared;
use dispatchd_core::model::{Input, StreamFacts};
use dispatchd_producer::intake::IntakeShared;
use dispatchd_producer::lane::Lanes;

/// What every connection shares.
#[derive(Debug)]
pub(super) struct ConnectionShared {
    pub intake: Arc<IntakeShared>,
    pub lanes: Lanes,
    pub metrics: Arc<ConnectionMetrics>,
    /// How long readers wait for bytes of the budget.
    pub backpressure: Arc<Backpressure>,
    pub facts: watch::Receiver<StreamFacts>,
    pub long_lines: Arc<LongLines>,
    pub callers: Arc<Callers>,
    /// Where ids come from that callers leave to us.
    pub fresh_id: fn() -> Uuid,
    /// For connections that speak HTTP.
    pub http: Arc<HttpShared>,
    /// Readers take no more.
    pub stop_reading: CancellationToken,
}

impl ConnectionShared {
    /// `window`: how many unanswered events a connection may have.
    pub(super) fn new(
        window: usize,
        inputs: InputsShared,
        http: Arc<HttpShared>,
        metrics: Arc<ConnectionMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            intake: inputs.intake(Input::Ndjson, window),
            lanes: inputs.lanes,
            metrics,
            backpressure: inputs.backpressure,
            facts: inputs.facts,
            long_lines: inputs.long_lines,
            callers: inputs.callers,
            fresh_id: inputs.fresh_id,
            http,
            stop_reading: inputs.stop_reading,
        })
    }
}
