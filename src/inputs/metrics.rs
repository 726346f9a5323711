//! The metrics of connections and of what is read from them: handles that are made once at the
//! start and given to the listener and to every connection.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say. It depends on the `metrics` facade alone, and never on a global recorder.

use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use dispatchd_core::model::Input;

/// Handles of what connections count. Each array is in the order of `Input::ALL`.
#[derive(Debug)]
pub struct ConnectionMetrics {
    open: [Gauge; Input::ALL.len()],
    accepted: [Counter; Input::ALL.len()],
    /// Connections that were turned away. In the order of [`Full`].
    refused: [Counter; 2],
    /// Bytes of the events accepted: envelope and partition key.
    event_bytes_accepted: [Counter; Input::ALL.len()],
}

/// What is full where a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many are open as the input's `max_connections` lets in.
    Connections,
    /// The descriptors that are not kept back for Kinesis and probes.
    Files,
}

/// A connection that is open, as it is counted, until this is dropped. On a socket where more than
/// one protocol is spoken it counts as the plainest one until it has said something, and is let in
/// as what it speaks.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    metrics: Arc<ConnectionMetrics>,
    input: Input,
    has_spoken: bool,
}

impl ConnectionMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub fn register() -> Self {
        Self {
            open: Input::ALL
                .map(|input| gauge!("dispatchd_connections", "input" => input.as_str())),
            accepted: Input::ALL
                .map(|input| counter!("dispatchd_connections_total", "input" => input.as_str())),
            refused: ["max_connections", "open_files"]
                .map(|reason| counter!("dispatchd_connections_refused_total", "reason" => reason)),
            event_bytes_accepted: Input::ALL.map(
                |input| counter!("dispatchd_event_bytes_accepted_total", "input" => input.as_str()),
            ),
        }
    }

    /// A connection is turned away.
    pub(crate) fn refuse(&self, full: Full) {
        self.refused[full as usize].increment(1);
    }

    /// Bytes of the events accepted of one input.
    pub(crate) fn event_bytes_accepted(&self, input: Input) -> &Counter {
        &self.event_bytes_accepted[input as usize]
    }
}

impl OpenConnection {
    /// A connection that can speak nothing but this.
    pub(crate) fn of(metrics: Arc<ConnectionMetrics>, input: Input) -> Self {
        let mut connection = Self::unheard(metrics, input);
        connection.speaks(input);
        connection
    }

    /// A connection that has said nothing yet, and counts as one of this input until it has.
    pub(crate) fn unheard(metrics: Arc<ConnectionMetrics>, input: Input) -> Self {
        metrics.open[input as usize].increment(1.0);
        Self { metrics, input, has_spoken: false }
    }

    /// It is known what the connection speaks.
    pub(crate) fn speaks(&mut self, input: Input) {
        self.metrics.open[self.input as usize].decrement(1.0);
        self.metrics.open[input as usize].increment(1.0);
        self.metrics.accepted[input as usize].increment(1);
        (self.input, self.has_spoken) = (input, true);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if !self.has_spoken {
            self.speaks(self.input);
        }
        self.metrics.open[self.input as usize].decrement(1.0);
    }
}
