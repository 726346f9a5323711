//! The metrics of connections and of what is read from them: handles that are made once at the
//! start and given to the listener and to every connection.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say. It depends on the `metrics` facade alone, and never on a global recorder.

use metrics::{Counter, Gauge, counter, gauge};

use dispatchd_core::model::Input;

/// Handles of what the socket for events counts.
#[derive(Debug)]
pub struct ConnectionMetrics {
    /// Connections that are open.
    pub open: Gauge,
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
            open: gauge!("dispatchd_connections"),
            accepted: counter!("dispatchd_connections_total"),
            refused: counter!("dispatchd_connections_refused_total", "reason" => "max_connections"),
            event_bytes_accepted: Input::ALL.map(
                |input| counter!("dispatchd_event_bytes_accepted_total", "input" => input.as_str()),
            ),
        }
    }

    /// Bytes of the events accepted of one input.
    pub fn event_bytes_accepted(&self, input: Input) -> &Counter {
        &self.event_bytes_accepted[input as usize]
    }
}
