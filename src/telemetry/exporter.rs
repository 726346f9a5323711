//! Renders what the rooms count, for Prometheus.
//!
//! Each room makes its handles once, with [`Exporter::register`] (an increment by handle takes 10
//! ns, one by name 70; measured 2026-11). What only a scrape needs is read when one comes
//! ([`AtScrape`]). Labels come from closed sets alone, and from the configuration: never from a
//! payload, a key, an id, a peer or a shard.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, counter, gauge,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::histogram::EventHistogram;
use super::stderr::Stderr;
use super::table::{Kind, METRICS, Metric};
use crate::inputs::backpressure::Backpressure;
use dispatchd_aws::CredentialsExpiry;
use dispatchd_core::model::{Code, Input};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::counters::{InputCounters, Snapshot, TransactionEnd};
use dispatchd_producer::lane::metrics::OldestEvent;

/// Where the rooms register what they count. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Exporter(Arc<Series>);

/// What is set when a scrape comes.
pub(crate) trait AtScrape: fmt::Debug + Send + Sync {
    fn set(&self);
}

/// What a scrape reads.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub counters: InputCounters,
    pub budget: Arc<Budget>,
    pub backpressure: Arc<Backpressure>,
    /// What each lane's oldest event is.
    pub oldest: Vec<Arc<OldestEvent>>,
    pub credentials: Arc<CredentialsExpiry>,
    pub log: Arc<Stderr>,
}

/// Answers scrapes.
#[derive(Debug)]
pub(crate) struct Exposition {
    series: Arc<Series>,
    prometheus: PrometheusHandle,
    process: metrics_process::Collector,
    at_scrape: Box<dyn AtScrape>,
}

/// Keeps every series: the exporter's own, and histograms that are written once an event.
#[derive(Debug)]
struct Series {
    prometheus: PrometheusRecorder,
    per_event: Vec<(&'static str, &'static str, Arc<EventHistogram>)>,
}

/// Handles of the daemon's metrics that are set when a scrape comes, and what they are set from.
#[derive(Debug)]
struct OfDaemon {
    sources: Sources,
    /// In the order of `Input::ALL`.
    events: [EventsAtScrape; Input::ALL.len()],
    transactions_open: Gauge,
    /// In the order of `TransactionEnd::ALL`.
    transactions_ended: [Counter; TransactionEnd::ALL.len()],
    buffer_bytes: Gauge,
    backpressure_seconds: Counter,
    oldest_age: Gauge,
    credentials_expiry: Gauge,
    log_lines_dropped: Counter,
}

/// What became of the events of one input.
#[derive(Debug)]
struct EventsAtScrape {
    accepted: Counter,
    acked: Counter,
    /// In the order of `Code::ALL`.
    refused: [Counter; Code::ALL.len()],
    rolled_back: Counter,
    in_flight: Gauge,
    staged: Gauge,
}

impl Sources {
    /// The age of the oldest event that is not settled, over all lanes; 0 without one.
    pub(crate) fn oldest_age_seconds(&self) -> f64 {
        let now = Instant::now();
        self.oldest.iter().map(|oldest| oldest.age_seconds(now)).fold(0.0, f64::max)
    }
}

impl Default for Exporter {
    fn default() -> Self {
        Self(Arc::new(Series::described()))
    }
}

impl Exporter {
    /// Makes the handles of a room, each series at 0.
    pub(crate) fn register<T>(&self, make: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(&*self.0, make)
    }

    /// What answers the daemon's scrapes, once every room has registered its series.
    pub(crate) fn expose(self, sources: Sources) -> Exposition {
        self.expose_with(|| Box::new(OfDaemon::register(sources)))
    }

    /// What answers scrapes, with what is to be set at each of them.
    pub(crate) fn expose_with(self, make: impl FnOnce() -> Box<dyn AtScrape>) -> Exposition {
        let process = metrics_process::Collector::default();
        let at_scrape = self.register(|| {
            process.describe();
            make()
        });
        let prometheus = self.0.prometheus.handle();
        Exposition { series: self.0, prometheus, process, at_scrape }
    }
}

impl Series {
    /// No series yet, but a description for each that will come.
    fn described() -> Self {
        let mut builder = PrometheusBuilder::new();
        let mut per_event = Vec::new();
        for Metric { name, kind, help } in METRICS {
            match kind {
                Kind::Histogram(bounds) => {
                    builder = builder
                        .set_buckets_for_metric(Matcher::Full((*name).into()), bounds)
                        .expect("the bounds are not empty");
                }
                Kind::EventHistogram(bounds) => {
                    per_event.push((*name, *help, Arc::new(EventHistogram::new(bounds))));
                }
                Kind::Counter | Kind::Gauge => {}
            }
        }
        let prometheus = builder.build_recorder();
        for Metric { name, kind, help } in METRICS {
            let (name, help) = (KeyName::from(*name), SharedString::from(*help));
            match kind {
                Kind::Counter => prometheus.describe_counter(name, None, help),
                Kind::Gauge => prometheus.describe_gauge(name, None, help),
                Kind::Histogram(_) => prometheus.describe_histogram(name, None, help),
                Kind::EventHistogram(_) => {} // it renders its own description
            }
        }
        Self { prometheus, per_event }
    }
}

impl Recorder for Series {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.prometheus.describe_counter(key, unit, help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.prometheus.describe_gauge(key, unit, help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.prometheus.describe_histogram(key, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.prometheus.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.prometheus.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        match self.per_event.iter().find(|(name, ..)| *name == key.name()) {
            Some((.., histogram)) => Histogram::from_arc(Arc::clone(histogram)),
            None => self.prometheus.register_histogram(key, metadata),
        }
    }
}

impl OfDaemon {
    fn register(sources: Sources) -> Self {
        gauge!("dispatchd_buffer_limit_bytes").set(sources.budget.limit_bytes() as f64);
        Self {
            events: Input::ALL.map(EventsAtScrape::register),
            transactions_open: gauge!("dispatchd_transactions_open"),
            transactions_ended: TransactionEnd::ALL
                .map(|end| counter!("dispatchd_transactions_total", "outcome" => end.as_str())),
            buffer_bytes: gauge!("dispatchd_buffer_bytes"),
            backpressure_seconds: counter!("dispatchd_backpressure_seconds_total"),
            oldest_age: gauge!("dispatchd_oldest_event_age_seconds"),
            credentials_expiry: gauge!("dispatchd_credentials_expiry_timestamp_seconds"),
            log_lines_dropped: counter!("dispatchd_log_lines_dropped_total"),
            sources,
        }
    }
}

impl AtScrape for OfDaemon {
    fn set(&self) {
        let Sources { counters, budget, backpressure, credentials, log, .. } = &self.sources;
        for (input, events) in Input::ALL.into_iter().zip(&self.events) {
            events.set(counters.of(input).snapshot());
        }
        let all = counters.snapshot();
        self.transactions_open.set(all.transactions_open as f64);
        for (ended, count) in self.transactions_ended.iter().zip(all.transactions_ended) {
            ended.absolute(count);
        }
        self.buffer_bytes.set(budget.used_bytes() as f64);
        // The library's counters count whole numbers.
        self.backpressure_seconds.absolute(backpressure.waited().as_secs());
        self.oldest_age.set(self.sources.oldest_age_seconds());
        self.credentials_expiry.set(credentials.unix_seconds() as f64);
        self.log_lines_dropped.absolute(log.lines_lost());
    }
}

impl EventsAtScrape {
    fn register(input: Input) -> Self {
        let input = input.as_str();
        let refused = |code: Code| {
            let code = code.as_str();
            counter!("dispatchd_events_refused_total", "code" => code, "input" => input)
        };
        Self {
            accepted: counter!("dispatchd_events_accepted_total", "input" => input),
            acked: counter!("dispatchd_events_acked_total", "input" => input),
            refused: Code::ALL.map(refused),
            rolled_back: counter!("dispatchd_events_rolled_back_total", "input" => input),
            in_flight: gauge!("dispatchd_events_in_flight", "input" => input),
            staged: gauge!("dispatchd_events_staged", "input" => input),
        }
    }

    fn set(&self, events: Snapshot) {
        self.accepted.absolute(events.accepted);
        self.acked.absolute(events.acked);
        for (code, refused) in Code::ALL.iter().zip(&self.refused) {
            refused.absolute(events.refused(*code));
        }
        self.rolled_back.absolute(events.rolled_back);
        self.in_flight.set(events.in_flight() as f64);
        self.staged.set(events.staged as f64);
    }
}

impl Exposition {
    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        self.at_scrape.set();
        metrics::with_local_recorder(&*self.series, || self.process.collect());
        let mut text = self.prometheus.render();
        for (name, help, histogram) in &self.series.per_event {
            histogram.render(name, help, &mut text);
        }
        text
    }

    /// Folds new samples into the histograms, so that they do not pile up between scrapes.
    pub(crate) fn run_upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}

#[cfg(test)]
impl Sources {
    /// Of a daemon to which nothing has happened.
    pub(crate) fn idle() -> Self {
        Self {
            counters: InputCounters::default(),
            budget: Budget::new(1000),
            backpressure: Arc::default(),
            oldest: Vec::new(),
            credentials: Arc::default(),
            log: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::metrics::ConnectionMetrics;
    use dispatchd_producer::lane::metrics::LaneMetrics;

    fn sources() -> Sources {
        Sources { oldest: vec![OldestEvent::new(Instant::now())], ..Sources::idle() }
    }

    #[test]
    fn what_happens_once_an_event_is_counted_by_the_handle_that_the_facade_gives() {
        let exporter = Exporter::default();
        let lane = exporter.register(LaneMetrics::register);
        lane.ack_duration.record_many(0.003, 5);
        let text = exporter.expose(sources()).render();
        assert!(text.contains("dispatchd_ack_duration_seconds_bucket{le=\"0.005\"} 5"), "{text}");
        assert!(text.contains("dispatchd_ack_duration_seconds_sum 0.015\n"), "{text}");
    }

    #[test]
    fn every_series_is_there_at_zero_from_the_start() {
        let exporter = Exporter::default();
        let _lane = exporter.register(LaneMetrics::register);
        let _connections = exporter.register(ConnectionMetrics::register);
        let text = exporter.expose(sources()).render();
        for series in [
            "dispatchd_events_accepted_total{input=\"ndjson\"} 0",
            "dispatchd_events_staged{input=\"ndjson\"} 0",
            "dispatchd_events_refused_total{code=\"DeliveryTimeout\",input=\"http\"} 0",
            "dispatchd_ack_duration_seconds_bucket{le=\"0.005\"} 0",
            "dispatchd_put_records_batch_records_count 0",
            "dispatchd_put_records_total{outcome=\"partial\"} 0",
            "dispatchd_stream_blocked{reason=\"kms\"} 0",
            "dispatchd_buffer_limit_bytes 1000",
            "dispatchd_connections{input=\"ndjson\"} 0",
            "dispatchd_credentials_expiry_timestamp_seconds 0",
            "dispatchd_log_lines_dropped_total 0",
            "process_open_fds",
        ] {
            assert!(text.contains(series), "{series} is missing in\n{text}");
        }
    }
}
