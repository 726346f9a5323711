//! The metrics of connections and of what is read from them: handles that are made once at the
//! start and given to the listener and to every connection.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say. It depends on the `metrics` facade alone, and never on a global recorder.

use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use dispatchd_core::model::Input;

/// A connection, which counts as open as long as this lives.
#[derive(Debug)]
pub struct OpenConnection {
    metrics: Arc<ConnectionMetrics>,
    input: Input,
}

/// Handles of what connections count.
#[derive(Debug)]
pub struct ConnectionMetrics {
    /// Connections that are open. In the order of `Input::ALL`.
    open: [Gauge; Input::ALL.len()],
    pub accepted: Counter,
    /// Connections that were turned away because `socket.max_connections` was reached.
    pub refused: Counter,
    /// Bytes of the events accepted: envelope and partition key. In the order of `Input::ALL`.
    event_bytes_accepted: [Counter; Input::ALL.len()],
}

impl ConnectionMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub fn register() -> Self {
        Self {
            open: Input::ALL
                .map(|input| gauge!("dispatchd_connections", "input" => input.as_str())),
            accepted: counter!("dispatchd_connections_total"),
            refused: counter!("dispatchd_connections_refused_total", "reason" => "max_connections"),
            event_bytes_accepted: Input::ALL.map(
                |input| counter!("dispatchd_event_bytes_accepted_total", "input" => input.as_str()),
            ),
        }
    }

    /// A connection is let in that speaks to this input, as far as is known by then.
    pub fn let_in(self: &Arc<Self>, input: Input) -> OpenConnection {
        self.accepted.increment(1);
        self.open[input as usize].increment(1.0);
        OpenConnection { metrics: Arc::clone(self), input }
    }

    /// Bytes of the events accepted of one input.
    pub fn event_bytes_accepted(&self, input: Input) -> &Counter {
        &self.event_bytes_accepted[input as usize]
    }
}

impl OpenConnection {
    /// The connection turns out to speak to this input.
    pub fn speaks(&mut self, input: Input) {
        let before = std::mem::replace(&mut self.input, input);
        self.metrics.open[input as usize].increment(1.0);
        self.metrics.open[before as usize].decrement(1.0);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.metrics.open[self.input as usize].decrement(1.0);
    }
}
