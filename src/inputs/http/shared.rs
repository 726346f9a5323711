//! What the connections that speak HTTP share, wherever they came in. Only data.

use std::sync::Arc;

use super::settings::{CloudEventsAs, Settings};
use crate::inputs::body::BodyRoom;
use crate::inputs::exchange::ExchangeShared;
use crate::inputs::metrics::ConnectionMetrics;
use crate::inputs::shared::InputsShared;
use dispatchd_core::limits::REQUEST_EVENTS_MAX;
use dispatchd_core::model::Input;

/// What every request shares.
#[derive(Debug)]
pub struct HttpShared {
    pub(super) exchange: Arc<ExchangeShared>,
    pub(super) bodies: BodyRoom,
    pub(super) cloudevents: CloudEventsAs,
}

impl HttpShared {
    pub fn new(
        settings: &Settings,
        inputs: &InputsShared,
        metrics: &ConnectionMetrics,
    ) -> Arc<Self> {
        let exchange = ExchangeShared::new(inputs, Input::Http, REQUEST_EVENTS_MAX, metrics);
        let bodies = BodyRoom {
            long_lines: Arc::clone(&inputs.long_lines),
            callers: Arc::clone(&inputs.callers),
            stop_reading: inputs.stop_reading.clone(),
        };
        let cloudevents = settings.cloudevents;
        Arc::new(Self { exchange: Arc::new(exchange), bodies, cloudevents })
    }
}
