//! The metrics of the process as a whole: handles that are made once at the start.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say.

use metrics::{Gauge, gauge};

use crate::http_server::probes::State;

/// Handles of what the daemon's own task shows.
#[derive(Debug)]
pub(super) struct DaemonMetrics {
    /// 1 if the configuration was taken over when it was last read.
    pub config_last_reload_successful: Gauge,
    state: [Gauge; State::ALL.len()],
}

impl DaemonMetrics {
    /// Registers every series with the recorder that is in force here.
    pub(super) fn register() -> Self {
        gauge!("dispatchd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let config_last_reload_successful = gauge!("dispatchd_config_last_reload_successful");
        config_last_reload_successful.set(1.0); // the one at the start was taken over
        let state = State::ALL.map(|state| gauge!("dispatchd_state", "state" => state.as_str()));
        Self { config_last_reload_successful, state }
    }

    pub(super) fn set_state(&self, now: State) {
        for (state, gauge) in State::ALL.iter().zip(&self.state) {
            gauge.set(f64::from(u8::from(*state == now)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exporter::{Exporter, Sources};
    use dispatchd_producer::budget::Budget;

    #[test]
    fn the_daemons_series_are_there_from_the_start_and_one_state_holds() {
        let exporter = Exporter::default();
        let metrics = exporter.register(DaemonMetrics::register);
        metrics.set_state(State::Running);
        let sources = Sources {
            counters: Default::default(),
            backpressure: Default::default(),
            budget: Budget::new(1000),
            oldest: Vec::new(),
            credentials: Default::default(),
            log: Default::default(),
        };
        let text = exporter.expose(sources).render();
        for series in [
            "dispatchd_build_info{version=",
            "dispatchd_state{state=\"starting\"} 0",
            "dispatchd_state{state=\"running\"} 1",
            "dispatchd_state{state=\"draining\"} 0",
            "dispatchd_config_last_reload_successful 1",
        ] {
            assert!(text.contains(series), "{series} is missing in\n{text}");
        }
    }
}
