//! What is counted of checking events: handles that are made once at the start. No label names a
//! type: there may be many of them. Which code an event is refused with is counted with all other
//! refusals.

use metrics::{Counter, Gauge, counter, gauge};

/// Handles of what the gate counts.
#[derive(Debug)]
pub(crate) struct SchemaMetrics {
    /// What does not fit and is let in, and what does not and is refused.
    warned: Counter,
    enforced: Counter,
    /// What is let in unchecked, since there is no schema for it.
    pub(super) unchecked: Counter,
    types: Gauge,
    /// 1 if the folder was taken over when it was last read.
    last_load_successful: Gauge,
}

impl SchemaMetrics {
    /// Registers every series with the recorder that is in force here.
    pub(crate) fn register() -> Self {
        let violations =
            |mode| counter!("dispatchd_events_schema_violations_total", "mode" => mode);
        let last_load_successful = gauge!("dispatchd_schemas_last_load_successful");
        last_load_successful.set(1.0); // what there was at the start was taken over
        Self {
            warned: violations("warn"),
            enforced: violations("enforce"),
            unchecked: counter!("dispatchd_events_schema_unchecked_total"),
            types: gauge!("dispatchd_schemas"),
            last_load_successful,
        }
    }

    pub(super) fn violated(&self, is_refused: bool) {
        if is_refused { &self.enforced } else { &self.warned }.increment(1);
    }

    /// The folder was read: so many types, or it was not taken.
    pub(super) fn loaded(&self, types: Option<usize>) {
        self.last_load_successful.set(f64::from(u8::from(types.is_some())));
        if let Some(types) = types {
            self.types.set(types as f64);
        }
    }
}
