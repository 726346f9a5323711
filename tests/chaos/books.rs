//! The books of one daemon, read at every scrape: they balance, they never run backwards, and they
//! know of every ack that a caller has read.

use std::collections::HashMap;

use testkit::prometheus::sum_of;

#[derive(Default)]
pub(crate) struct Books {
    last: HashMap<String, f64>,
    page: String,
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
        let events = |name: &str| {
            let name = format!("dispatchd_events_{name}");
            sum_of(text, &name).unwrap_or_else(|| panic!("the series {name} is missing in\n{text}"))
        };
        let acked = events("acked_total");
        let parts = ["refused_total", "rolled_back_total", "in_flight", "staged"].map(events);
        assert_eq!(
            events("accepted_total"),
            acked + parts.iter().sum::<f64>(),
            "accepted = acked {acked} + refused, rolled back, in flight, staged {parts:?}"
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
        self.page = text.to_owned();
        self.scrapes += 1;
    }

    /// The last sum of the series of this name and these labels; 0 before the first scrape.
    pub(crate) fn value(&self, series: &str) -> f64 {
        sum_of(&self.page, series).unwrap_or(0.0)
    }
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end))
}
