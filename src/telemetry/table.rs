//! Every metric in one table: its name, what it is and what it means, in the words of
//! `docs/metrics.md`, which the tests hold to this table.
//!
//! Who counts what stands in the rooms (`lane::metrics`, `producer::stream_metrics`,
//! `inputs::metrics`, `kinesis_api::metrics`, `schema::metrics`, `targets::metrics`,
//! `exec::metrics`, `programs::metrics`) and in `exporter`. A metric that a room registers and this
//! table lacks fails a test in `programs::metrics`; so does one that only this table has.

/// One metric.
pub(crate) struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence, which Prometheus shows.
    pub help: &'static str,
}

/// What kind of metric it is.
pub(crate) enum Kind {
    Counter,
    Gauge,
    /// Written once a request. The upper bounds of its buckets, ascending.
    Histogram(&'static [f64]),
    /// Written once an event: see [`super::histogram`]. The upper bounds of its buckets.
    EventHistogram(&'static [f64]),
}

const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0];
const BYTES: &[f64] = &[
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    2_097_152.0,
    5_242_880.0,
    10_485_760.0,
];

/// Every metric but those of the process itself, which `metrics_process` describes.
#[rustfmt::skip] // a table
pub(crate) const METRICS: &[Metric] = &[
    // Events.
    counter("dispatchd_events_accepted_total",
        "Events read: acked + refused + rolled back + in flight + staged"),
    counter("dispatchd_events_acked_total",
        "Events answered as durable in Kinesis"),
    counter("dispatchd_events_refused_total",
        "Events answered with an error, by its code"),
    counter("dispatchd_events_schema_violations_total",
        "Events that do not fit their schema: let in by mode warn, refused by mode enforce"),
    counter("dispatchd_events_schema_unchecked_total",
        "Events that were let in unchecked, since there is no schema for them"),
    gauge("dispatchd_schemas",
        "Types that have a schema"),
    gauge("dispatchd_schemas_last_load_successful",
        "1 if the folder of schemas was taken over when it was last read"),
    counter("dispatchd_events_rolled_back_total",
        "Events of transactions that ended without a commit: nothing of them is stored"),
    counter("dispatchd_events_deduplicated_total",
        "Events that were answered as an earlier one with the same id"),
    gauge("dispatchd_events_in_flight",
        "Events on their way that are not answered yet"),
    gauge("dispatchd_events_staged",
        "Events of open transactions: checked and held, and not on their way"),
    gauge("dispatchd_transactions_open",
        "Transactions that were begun and have not ended"),
    counter("dispatchd_transactions_total",
        "Transactions that ended, by how"),
    counter("dispatchd_event_bytes_accepted_total",
        "Bytes of the events accepted: envelope and partition key"),
    gauge("dispatchd_oldest_event_age_seconds",
        "Age of the oldest event that is not settled; 0 without one"),
    Metric { name: "dispatchd_ack_duration_seconds", kind: Kind::EventHistogram(SECONDS), help:
        "From accepting an event to knowing that it is durable; only of events acked" },
    // Connections and back-pressure.
    gauge("dispatchd_connections",
        "Connections that are open; one on the socket that has said nothing yet counts as ndjson"),
    counter("dispatchd_connections_total",
        "Connections let in, once it is known what they speak"),
    counter("dispatchd_connections_refused_total",
        "Connections turned away, by what was full"),
    counter("dispatchd_kinesis_api_calls_total",
        "Calls of the Kinesis API that were answered, by operation and by how they ended"),
    gauge("dispatchd_buffer_bytes",
        "Bytes of the budget that are taken, some 512 for each event besides its own"),
    gauge("dispatchd_buffer_limit_bytes",
        "Bytes of events that may be held at once: memory.budget"),
    counter("dispatchd_backpressure_seconds_total",
        "Seconds that connections waited for room in the budget, added up over all of them; \
         whole seconds"),
    // Requests.
    counter("dispatchd_put_records_total",
        "PutRecords requests, by how they ended"),
    histogram("dispatchd_put_records_duration_seconds", SECONDS,
        "From sending a PutRecords request to its reply or its failure"),
    histogram("dispatchd_put_records_batch_records", RECORDS,
        "Records in a PutRecords request"),
    histogram("dispatchd_put_records_batch_bytes", BYTES,
        "Bytes of a PutRecords request: data and partition keys"),
    gauge("dispatchd_put_records_in_flight",
        "PutRecords requests out now"),
    counter("dispatchd_records_total",
        "Records sent, by what became of each: throttled and failed ones are sent again"),
    counter("dispatchd_retries_total",
        "Records put back to be sent again, by why"),
    // The stream.
    gauge("dispatchd_shards",
        "Open shards known; 0 while they are not"),
    gauge("dispatchd_stream_ignores_keys",
        "1 while the stream distributes records itself, whatever their keys (strategy AUTO)"),
    gauge("dispatchd_shards_cooling",
        "Shards that rest after being throttled"),
    gauge("dispatchd_keys_cooling",
        "Partition keys that wait before another attempt"),
    gauge("dispatchd_keys_held_by_order",
        "Partition keys with events waiting behind one in flight, to keep their order"),
    counter("dispatchd_shard_map_refreshes_total",
        "Times the open shards were asked for, by whether Kinesis told them"),
    gauge("dispatchd_stream_blocked",
        "1 while the stream takes nothing until an operator acts, by what is wrong"),
    // Targets of `forward`.
    counter("dispatchd_forward_records_total",
        "Records that are done for a target, by how"),
    counter("dispatchd_forward_attempts_total",
        "Requests to a target, by what came of them"),
    histogram("dispatchd_forward_batch_duration_seconds", SECONDS,
        "From sending a request to a target to its answer or its failure"),
    histogram("dispatchd_forward_batch_records", RECORDS,
        "Records in a request to a target"),
    gauge("dispatchd_forward_behind_seconds",
        "How long ago the oldest record arrived that is not done for a target; 0 at the tip"),
    gauge("dispatchd_forward_checkpoint_age_seconds",
        "How long ago the oldest checkpoint was kept of the shards that have records which are \
         not done; 0 without one"),
    gauge("dispatchd_forward_shards",
        "Shards that are read for a target now"),
    gauge("dispatchd_forward_shards_blocked",
        "Shards of which a target refuses a record, or us, until an operator acts"),
    gauge("dispatchd_forward_wedged",
        "1 while a target is there and handles nothing"),
    gauge("dispatchd_forward_children",
        "Programs that run for a target now, one a shard"),
    counter("dispatchd_forward_children_failed_total",
        "Programs of a target that were followed by another, by why"),
    counter("dispatchd_forward_child_lines_skipped_total",
        "Lines that a target's programs wrote to standard output and that were no messages"),
    // The daemon.
    gauge("dispatchd_build_info",
        "Always 1; the label has the version"),
    gauge("dispatchd_state",
        "1 for the state the daemon is in"),
    gauge("dispatchd_config_last_reload_successful",
        "Whether the configuration was taken over when it was last read"),
    gauge("dispatchd_credentials_expiry_timestamp_seconds",
        "When the AWS credentials in use expire, in seconds since 1970; 0: never, or not known \
         yet"),
    counter("dispatchd_log_lines_dropped_total",
        "Lines of the log that were lost: whoever reads it was too slow, or it could not be \
         written"),
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, bounds: &'static [f64], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), help }
}
