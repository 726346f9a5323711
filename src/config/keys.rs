//! The table of keys: for each its name, default, what it takes, meaning, and who takes it
//! over when a reload changes it. The documentation and `config.toml` repeat it, and tests hold
//! them to it.
//!
//! A new key is a line here and a field of the same name in the settings of its section
//! (`settings.rs` says in which file those stand); what it may be chosen from is the choice's own
//! `NAMES`.

use std::time::Duration;

use self::ReloadedBy::{Lanes, Log, Schemas};
use super::rule::Rule;
use crate::inputs::http::CloudEventsAs;
use crate::schema::{Mode, Unchecked};
use crate::telemetry::log::LogFormat;
use dispatchd_aws::Wire;
use dispatchd_core::limits::{
    BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, KIB, PRODUCER_ID_BYTES_MAX, RECORD_BYTES_MAX,
    RECORD_BYTES_MIN, REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX,
};
use dispatchd_core::model::Profile;
use dispatchd_producer::lane::{Aggregation, KeyOrder};

/// One key of the configuration.
pub struct Key {
    pub name: &'static str,
    /// As typed; `auto` and the empty text leave the choice to the program, the stream or the SDK.
    pub default: &'static str,
    pub(super) rule: Rule,
    /// One sentence.
    pub meaning: &'static str,
    /// Who takes over what a reload makes of it; `None` if it needs a restart.
    pub(super) reloaded_by: Option<ReloadedBy>,
}

/// Who takes over a key that a reload changes. `programs::control` hands it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReloadedBy {
    Lanes,
    Log,
    Schemas,
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const ZERO: Duration = Duration::ZERO;
const FIFTH: Duration = Duration::from_millis(200);
const TENTH: Duration = Duration::from_millis(100);
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Every key, in the order in which they are shown.
#[rustfmt::skip] // a table
pub const KEYS: &[Key] = &[
    key("producer_id", "auto", Rule::Text(PRODUCER_ID_BYTES_MAX),
        "the `source.producerId` of every event; auto: `<program>@<hostname>`"),
    key("stream.name", "", Rule::StreamName,
        "the stream, by name; this or `stream.arn` is required, except with `--local`"),
    key("stream.arn", "", Rule::StreamArn,
        "the stream, by ARN"),
    key("stream.region", "", Rule::Region,
        "the stream's region; empty: the region of the ARN, else `AWS_REGION` and the SDK's chain"),
    key("stream.endpoint_url", "", Rule::Url,
        "where requests go; empty: `AWS_ENDPOINT_URL_KINESIS` and the SDK's chain; http only \
         to loopback, see `stream.allow_http`"),
    key("stream.allow_http", "false", Rule::Switch,
        "whether requests may go over http to another host, wherever the endpoint is named"),
    key("stream.max_record_bytes", "auto", Rule::AutoSize(RECORD_BYTES_MIN..=RECORD_BYTES_MAX),
        "the largest record, data and partition key together; auto: the stream's own limit"),
    key("socket.path", "auto", Rule::Path,
        "where applications connect; auto: `DISPATCHD_SOCKET`, else the first of three places \
         that can be written"),
    key("socket.mode", "0660", Rule::Mode,
        "the socket's permissions"),
    key("socket.max_connections", "512", Rule::Count(1..=65_536),
        "how many connections may be open at once; further ones are answered with an error"),
    key("socket.window", "4096", Rule::Count(1..=65_536),
        "how many events of one connection may be unanswered; further ones wait in the socket"),
    key("http.listen", "off", Rule::Loopback,
        "where HTTP is served besides the socket, for callers that cannot open it"),
    key("http.max_connections", "512", Rule::Count(1..=65_536),
        "how many connections may be open there at once; where all are taken, one that is idle \
         makes room"),
    key("http.cloudevents", "cloudevents", Rule::OneOf(CloudEventsAs::NAMES),
        "what a CloudEvent is published as; cloudevents: structured JSON, with every attribute; \
         lk: the envelope of other events, with its type, data, id and key"),
    key("kinesis_api.listen", "off", Rule::Loopback,
        "where the Kinesis API is served, for applications that write with one of AWS's SDKs"),
    key("kinesis_api.max_connections", "512", Rule::Count(1..=65_536),
        "how many connections may be open there at once; where all are taken, one that is idle \
         makes room"),
    key("kinesis_api.timeout", "8s", Rule::Duration(SECOND..=FIVE_MINUTES),
        "how long a reply is held until its records are durable; the SDK for Java waits for 10 s"),
    key("envelope.profile", "lk", Rule::OneOf(Profile::NAMES),
        "the form that events are published in, where neither `hello` nor the event says another"),
    key("envelope.source", "auto", Rule::AutoText(PRODUCER_ID_BYTES_MAX),
        "the `source` of an event in the forms eventbridge and cloudevents; auto: its producer"),
    key("schema.dir", "", Rule::Folder,
        "the folder of schemas that events are checked by; empty: none")
        .reloaded(Schemas),
    key("schema.mode", "off", Rule::OneOf(Mode::NAMES),
        "what becomes of an event that does not fit its schema; off: nothing is checked; warn: it \
         is counted and logged; enforce: it is refused")
        .reloaded(Schemas),
    key("schema.unknown", "allow", Rule::OneOf(Unchecked::NAMES),
        "what becomes of an event whose type has no schema, where events are checked")
        .reloaded(Schemas),
    key("schema.raw", "allow", Rule::OneOf(Unchecked::NAMES),
        "what becomes of a record that says no type, where events are checked")
        .reloaded(Schemas),
    key("schema.types", "", Rule::TypeModes,
        "types with a mode of their own, `TYPE=MODE,TYPE=MODE`, each type as its file is named")
        .reloaded(Schemas),
    key("transaction.timeout", "60s", Rule::Duration(SECOND..=HOUR),
        "how long a transaction may be open; then it is rolled back"),
    key("transaction.max_events", "10000", Rule::Count(1..=100_000),
        "how many events a transaction may hold"),
    key("batch.linger", "10ms", Rule::Duration(ZERO..=MINUTE),
        "how long the oldest ready event waits for others to share its request")
        .reloaded(Lanes),
    key("batch.max_records", "500", Rule::Count(1..=REQUEST_RECORDS_MAX),
        "records per request")
        .reloaded(Lanes),
    key("batch.max_bytes", "1MiB", Rule::Size(KIB..=REQUEST_BYTES_MAX),
        "bytes per request, partition keys included; one larger record still goes alone")
        .reloaded(Lanes),
    key("batch.max_in_flight", "16", Rule::Count(1..=256),
        "requests in flight at once")
        .reloaded(Lanes),
    key("delivery.ordering", "strict", Rule::OneOf(KeyOrder::NAMES),
        "strict: a key keeps its order under every failure; relaxed: hot keys are faster"),
    key("delivery.aggregation", "off", Rule::OneOf(Aggregation::NAMES),
        "which events are packed into one record, in the KPL's format; off: none; key: those \
         of one key; shard: those for one shard"),
    key("delivery.aggregate_max_bytes", "50KiB", Rule::Size(KIB..=RECORD_BYTES_MAX),
        "with `shard`: the largest packed record, never more than the record limit"),
    key("delivery.timeout", "2m", Rule::Duration(SECOND..=DAY),
        "how long an accepted event may wait; then it is answered `DeliveryTimeout`")
        .reloaded(Lanes),
    key("delivery.backoff_min", "50ms", Rule::Duration(MS..=MINUTE),
        "no wait after a failure is shorter, and the first is at most twice as long; only a \
         paced shard may wait less, from 10ms")
        .reloaded(Lanes),
    key("delivery.backoff_max", "5s", Rule::Duration(MS..=MINUTE),
        "no wait after a failure is longer; at least `delivery.backoff_min`")
        .reloaded(Lanes),
    key("delivery.dedupe_ids", "300000", Rule::Count(0..=10_000_000),
        "how many ids chosen by callers are remembered after their events are settled; 0: none"),
    key("delivery.dedupe_for", "5m", Rule::Duration(SECOND..=DAY),
        "how long such an id is remembered"),
    key("memory.budget", "auto", Rule::AutoSize(BUDGET_BYTES_MIN..=BUDGET_BYTES_MAX),
        "bytes of events that may be held at once; auto: 64MiB, at most half of the cgroup's \
         memory limit"),
    key("runtime.threads", "1", Rule::Count(1..=64),
        "threads that carry events; one takes the least CPU and memory per event"),
    key("kinesis.connect_timeout", "3s", Rule::Duration(TENTH..=MINUTE),
        "how long connecting may take"),
    key("kinesis.attempt_timeout", "10s", Rule::Duration(TENTH..=FIVE_MINUTES),
        "how long one request may take"),
    key("kinesis.wire", "json", Rule::OneOf(Wire::NAMES),
        "the encoding of PutRecords; cbor: a quarter fewer bytes, never tried with AWS itself"),
    key("admin.listen", "[::]:16464", Rule::Listen,
        "where metrics and probes are served"),
    key("admin.socket", "auto", Rule::PathOrOff,
        "the socket of `dispatchd admin`, for the daemon's own user and root; auto: \
         `socket.path` with `.admin` appended"),
    key("log.format", "auto", Rule::OneOf(LogFormat::NAMES),
        "auto: text on a terminal, json elsewhere"),
    key("log.level", "info", Rule::LogLevel,
        "what is logged, to standard error")
        .reloaded(Log),
    key("forward.checkpoint", "auto", Rule::Keep,
        "where `forward` keeps how far each target is; auto: below the first of three directories \
         that can be written"),
    key("forward.poll", "1s", Rule::Duration(FIFTH..=MINUTE),
        "how often `forward` asks a shard that has nothing new; a shard takes five such calls a \
         second, of all its readers together"),
    key("shutdown.timeout", "25s", Rule::Duration(SECOND..=HOUR),
        "the longest time from the signal to the last answer; choose less than the pod's \
         grace period"),
    key("shutdown.after_last_client", "off", Rule::DurationOrOff(SECOND..=DAY),
        "stop once a client has sent a line and none has been connected for this long; for jobs"),
    key("local.port", "0", Rule::Count(0..=65_535),
        "with `--local`: the port of the embedded stream; 0: any free one"),
    key("local.shards", "4", Rule::Count(1..=64),
        "with `--local`: how many shards the embedded stream has"),
];

pub(super) const fn key(
    name: &'static str,
    default: &'static str,
    rule: Rule,
    meaning: &'static str,
) -> Key {
    Key { name, default, rule, meaning, reloaded_by: None }
}

impl ReloadedBy {
    /// Everyone, in the order in which they are told.
    pub(crate) const ALL: [Self; 3] = [Lanes, Log, Schemas];
}

impl Key {
    /// A reload changes it. Safe to change is what says how fast and how much at once; where things
    /// are, and what was promised to callers, is not.
    const fn reloaded(self, by: ReloadedBy) -> Self {
        Self { reloaded_by: Some(by), ..self }
    }

    /// What follows "expected" when `text` was not taken.
    pub(super) fn expected(&self, text: &str) -> String {
        let mut words = self.rule.to_string();
        if let Some(hint) = self.rule.hint(text) {
            words += &format!(", {hint}");
        }
        if self.rule.wants_example() {
            words += &format!(", e.g. {:?}", self.default);
        }
        words
    }
}

/// The known key that was probably meant: a slip of the pen away, with or without its table; or the
/// first one of a table. A guess from further away would only mislead.
pub(super) fn nearest(keys: &'static [Key], name: &str) -> Option<&'static str> {
    let is_near = |edits: usize, of: &str| edits <= 1 + of.len() / 5;
    let edits = |known: &'static str| {
        let last = known.rsplit('.').next().unwrap_or(known);
        let (whole, alone) = (edits_count(name, known), edits_count(name, last));
        let (edits, of) = if alone < whole { (alone, last) } else { (whole, known) };
        is_near(edits, of).then_some((edits, known))
    };
    let of_table =
        keys.iter().map(|key| key.name).find(|known| known.starts_with(&format!("{name}.")));
    let nearest = || keys.iter().filter_map(|key| edits(key.name)).min_by_key(|(edits, _)| *edits);
    of_table.or_else(|| nearest().map(|(_, known)| known))
}

/// Levenshtein's distance, one row at a time.
fn edits_count(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_key() {
        for (typed, meant) in [
            ("batch.lingr", "batch.linger"),
            ("stream.nmae", "stream.name"),
            ("linger", "batch.linger"),
            ("log_level", "log.level"),
            ("max_conections", "socket.max_connections"),
            ("socket", "socket.path"),
        ] {
            assert_eq!(nearest(KEYS, typed), Some(meant), "{typed}");
        }
    }

    #[test]
    fn what_is_near_to_nothing_is_not_guessed() {
        for typed in ["x", "", "kafka.brokers", "retries", "admin.password", "stream.partitions"] {
            assert_eq!(nearest(KEYS, typed), None, "{typed}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(edits_count(from, to), count, "{from} {to}");
        }
    }
}
