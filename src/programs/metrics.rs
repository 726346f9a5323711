//! The metrics of the process as a whole: handles that are made once at the start.
//!
//! Names and labels stand here; what each metric means and how it is exported is `telemetry`'s to
//! say.

use metrics::{Gauge, gauge};

use crate::http_server::probes::State;

/// Handles of what the task of a daemon or of a forwarder shows.
#[derive(Debug)]
pub(super) struct ProgramMetrics {
    /// 1 if the configuration was taken over when it was last read.
    pub config_last_reload_successful: Gauge,
    state: [Gauge; State::ALL.len()],
}

impl ProgramMetrics {
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::inputs::kinesis_api::CallMetrics;
    use crate::inputs::metrics::ConnectionMetrics;
    use crate::producer::stream_metrics::StreamMetrics;
    use crate::schema::SchemaMetrics;
    use crate::targets::exec::ExecMetrics;
    use crate::targets::metrics::TargetMetrics;
    use crate::telemetry::exporter::{Exporter, Sources};
    use crate::telemetry::table::METRICS;
    use dispatchd_producer::lane::metrics::LaneMetrics;

    #[test]
    fn the_rooms_and_the_table_have_the_same_metrics() {
        let exporter = Exporter::default();
        let _lane = exporter.register(LaneMetrics::register);
        let _stream = exporter.register(StreamMetrics::register);
        let _connections = exporter.register(ConnectionMetrics::register);
        let _calls = exporter.register(CallMetrics::register);
        let _daemon = exporter.register(ProgramMetrics::register);
        let _schemas = exporter.register(SchemaMetrics::register);
        let _target = exporter.register(|| TargetMetrics::register("crm"));
        let _exec = exporter.register(|| ExecMetrics::register("crm"));
        let text = exporter.expose(Sources::idle()).render();
        let about = |prefix: &str| -> BTreeSet<&str> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
            let names = lines.filter_map(|rest| rest.split(' ').next());
            names.filter(|name| name.starts_with("dispatchd_")).collect()
        };
        let counted = about("# TYPE ");
        assert_eq!(about("# HELP "), counted, "each that is counted is described");
        let described: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(described, counted, "each that is described is counted");
    }

    #[test]
    fn the_daemons_series_are_there_from_the_start_and_one_state_holds() {
        let exporter = Exporter::default();
        let metrics = exporter.register(ProgramMetrics::register);
        metrics.set_state(State::Running);
        let text = exporter.expose(Sources::idle()).render();
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
