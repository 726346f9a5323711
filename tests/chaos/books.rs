//! The books of one daemon, read at every scrape: they balance, they never run backwards, and they
//! know of every ack that a caller has read.

use std::collections::HashMap;

#[derive(Default)]
pub(crate) struct Books {
    last: HashMap<String, f64>,
    pub scrapes: usize,
}

impl Books {
    /// Holds one scrape against the last. `heard`: acks that callers of this daemon had read before
    /// it.
    pub(crate) fn read(&mut self, text: &str, heard: u64) {
        let series = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '));
        let now: HashMap<String, f64> = series
            .map(|(name, value)| (name.to_owned(), value.parse().expect("a value is a number")))
            .collect();
        let value = |name: &str| {
            now.get(name)
                .copied()
                .unwrap_or_else(|| panic!("the series {name} is missing in\n{text}"))
        };
        let refused: f64 = now
            .iter()
            .filter(|(name, _)| name.starts_with("dispatchd_events_refused_total{"))
            .map(|(_, n)| n)
            .sum();
        let (accepted, acked) =
            (value("dispatchd_events_accepted_total"), value("dispatchd_events_acked_total"));
        let in_flight = value("dispatchd_events_in_flight");
        assert_eq!(
            accepted,
            acked + refused + in_flight,
            "accepted = acked {acked} + refused + in flight {in_flight}"
        );
        assert!(acked >= heard as f64, "callers have read {heard} acks, the books know of {acked}");
        assert!(
            value("dispatchd_buffer_bytes") <= value("dispatchd_buffer_limit_bytes"),
            "the budget is passed"
        );
        for (name, before) in &self.last {
            let after = value(name);
            assert!(after >= *before || !is_counter(name), "{name} went down: {before}, {after}");
        }
        self.last = now;
        self.scrapes += 1;
    }

    /// The last value of a series; 0 before the first scrape.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.last.get(name).copied().unwrap_or(0.0)
    }
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end))
}
