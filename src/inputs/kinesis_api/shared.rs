//! What the connections of the Kinesis API share. Only data.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::metrics::CallMetrics;
use super::questions::Questions;
use super::settings::Settings;
use crate::inputs::body::BodyRoom;
use crate::inputs::exchange::ExchangeShared;
use crate::inputs::metrics::ConnectionMetrics;
use crate::inputs::shared::InputsShared;
use dispatchd_aws::Kinesis;
use dispatchd_core::limits::{PUT_BODY_BYTES_MAX, REQUEST_RECORDS_MAX, long_lines_bytes};
use dispatchd_core::model::{Input, StreamFacts, StreamId};

/// What every call shares.
#[derive(Debug)]
pub(crate) struct KinesisApiShared {
    pub exchange: Arc<ExchangeShared>,
    pub bodies: BodyRoom,
    /// Calls that are read and answered at once. A connection of HTTP/1.1 has one, so it never
    /// waits for this; the many of an HTTP/2 connection take no more memory than as many
    /// connections.
    pub at_once: Semaphore,
    /// The stream that calls may be about.
    pub stream: StreamId,
    pub facts: watch::Receiver<StreamFacts>,
    pub(super) questions: Questions,
    pub timeout: Duration,
    pub metrics: CallMetrics,
    /// Bytes of the largest body of a PutRecords call that there is room for.
    pub put_bytes_max: usize,
}

impl KinesisApiShared {
    pub(crate) fn new(
        settings: &Settings,
        (stream, kinesis): (StreamId, Kinesis),
        inputs: &InputsShared,
        connections: &ConnectionMetrics,
        metrics: CallMetrics,
    ) -> Arc<Self> {
        let exchange =
            ExchangeShared::new(inputs, Input::KinesisApi, REQUEST_RECORDS_MAX, connections);
        let bodies = BodyRoom {
            long_lines: Arc::clone(&inputs.long_lines),
            callers: Arc::clone(&inputs.callers),
            stop_reading: inputs.stop_reading.clone(),
        };
        Arc::new(Self {
            exchange: Arc::new(exchange),
            bodies,
            at_once: Semaphore::new(settings.max_connections),
            stream,
            facts: inputs.facts.clone(),
            questions: Questions::new(kinesis),
            timeout: settings.timeout,
            metrics,
            put_bytes_max: PUT_BODY_BYTES_MAX.min(long_lines_bytes(inputs.budget.limit_bytes())),
        })
    }
}
