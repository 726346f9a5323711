//! The table of keys: name, default, what it takes, meaning. The documentation and `config.toml`
//! repeat it, and tests hold them to it. It never says where a value goes: that is `used.rs`.

use std::time::Duration;

use super::rule::Rule;
use dispatchd_core::limits::{
    BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, KIB, PRODUCER_ID_BYTES_MAX, RECORD_BYTES_MAX,
    RECORD_BYTES_MIN, REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX,
};

/// One key of the configuration.
pub struct Key {
    pub name: &'static str,
    /// As typed; `auto` and the empty text leave the choice to the program, the stream or the SDK.
    pub default: &'static str,
    pub(super) rule: Rule,
    /// One sentence.
    pub meaning: &'static str,
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const ZERO: Duration = Duration::ZERO;
const TENTH: Duration = Duration::from_millis(100);
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Every key, in the order in which they are shown.
#[rustfmt::skip] // a table
pub const KEYS: &[Key] = &[
    key("producer_id", "auto", Rule::Text(PRODUCER_ID_BYTES_MAX),
        "`source.producerId` of every event; auto: `<program>@<hostname>`"),
    key("stream.name", "", Rule::StreamName,
        "the stream, by name; this or `stream.arn` is required, except with `--local`"),
    key("stream.arn", "", Rule::StreamArn,
        "the stream, by ARN"),
    key("stream.region", "", Rule::Region,
        "empty: that of the ARN, else `AWS_REGION` and the SDK's chain"),
    key("stream.endpoint_url", "", Rule::Url,
        "empty: `AWS_ENDPOINT_URL_KINESIS` and the SDK's chain; http only to loopback"),
    key("stream.allow_http", "false", Rule::Switch,
        "whether the endpoint may be http to another host, whoever names it"),
    key("stream.max_record_bytes", "auto", Rule::AutoSize(RECORD_BYTES_MIN..=RECORD_BYTES_MAX),
        "the largest record, data and partition key; auto: ask the stream"),
    key("socket.path", "auto", Rule::Path,
        "where applications connect; auto: `DISPATCHD_SOCKET`, else the first of three places that can be written"),
    key("socket.mode", "0660", Rule::Mode,
        "the socket's permissions"),
    key("socket.max_connections", "512", Rule::Count(1..=65_536),
        "connections at once; more are answered with an error"),
    key("socket.window", "4096", Rule::Count(1..=65_536),
        "unanswered events a connection may have; more wait in the socket"),
    key("batch.linger", "10ms", Rule::Duration(ZERO..=MINUTE),
        "how long the oldest ready event waits for company"),
    key("batch.max_records", "500", Rule::Count(1..=REQUEST_RECORDS_MAX),
        "records a request"),
    key("batch.max_bytes", "1MiB", Rule::Size(KIB..=REQUEST_BYTES_MAX),
        "bytes a request, keys included; one larger record still goes alone"),
    key("batch.max_in_flight", "16", Rule::Count(1..=256),
        "requests at once"),
    key("delivery.ordering", "strict", Rule::KeyOrder,
        "strict: a key's order holds under every failure; relaxed: faster for hot keys"),
    key("delivery.aggregation", "off", Rule::Aggregation,
        "events in one record, in the KPL's format: off: one; key: those of one key; shard: those for one shard"),
    key("delivery.aggregate_max_bytes", "50KiB", Rule::Size(KIB..=RECORD_BYTES_MAX),
        "with `shard`: bytes of such a record, never more than the record limit"),
    key("delivery.timeout", "2m", Rule::Duration(SECOND..=DAY),
        "from accept to a refusal `DeliveryTimeout`"),
    key("delivery.backoff_min", "50ms", Rule::Duration(MS..=MINUTE),
        "no wait after a failure is shorter, and the first at most twice as long; a paced shard rests from 10ms"),
    key("delivery.backoff_max", "5s", Rule::Duration(MS..=MINUTE),
        "no wait after a failure is longer; at least `delivery.backoff_min`"),
    key("delivery.dedupe_ids", "300000", Rule::Count(0..=10_000_000),
        "ids chosen by callers that are remembered once their events are settled; 0: none"),
    key("delivery.dedupe_for", "5m", Rule::Duration(SECOND..=DAY),
        "for how long they are remembered"),
    key("memory.budget", "auto", Rule::AutoSize(BUDGET_BYTES_MIN..=BUDGET_BYTES_MAX),
        "bytes of events held at once; auto: 64MiB, at most half of the cgroup's memory limit"),
    key("runtime.threads", "1", Rule::Count(1..=64),
        "threads that carry events; one takes the least CPU and memory an event"),
    key("kinesis.connect_timeout", "3s", Rule::Duration(TENTH..=MINUTE),
        "how long connecting may take"),
    key("kinesis.attempt_timeout", "10s", Rule::Duration(TENTH..=FIVE_MINUTES),
        "how long one request may take"),
    key("kinesis.wire", "json", Rule::Wire,
        "how PutRecords are written; cbor: a quarter fewer bytes, never tried with AWS itself"),
    key("admin.listen", "[::]:16464", Rule::Listen,
        "where metrics and probes are served"),
    key("admin.socket", "auto", Rule::PathOrOff,
        "where `dispatchd admin` asks, for the daemon's own user; auto: `socket.path` and `.admin`"),
    key("log.format", "auto", Rule::LogFormat,
        "auto: text on a terminal, json elsewhere"),
    key("log.level", "info", Rule::LogLevel,
        "what is logged, to standard error"),
    key("shutdown.timeout", "25s", Rule::Duration(SECOND..=HOUR),
        "from the signal to the last answer; less than the pod's grace period"),
    key("shutdown.after_last_client", "off", Rule::DurationOrOff(SECOND..=DAY),
        "stop once a client sent a line and none has been connected for so long; for jobs"),
    key("local.port", "0", Rule::Count(0..=65_535),
        "with `--local`: the embedded stream's port; 0: any free one"),
    key("local.shards", "4", Rule::Count(1..=64),
        "with `--local`: the embedded stream's shards"),
];

const fn key(name: &'static str, default: &'static str, rule: Rule, meaning: &'static str) -> Key {
    Key { name, default, rule, meaning }
}

impl Key {
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
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let is_near = |edits: usize, of: &str| edits <= 1 + of.len() / 5;
    let edits = |known: &'static str| {
        let last = known.rsplit('.').next().unwrap_or(known);
        let (whole, alone) = (edits_count(name, known), edits_count(name, last));
        let (edits, of) = if alone < whole { (alone, last) } else { (whole, known) };
        is_near(edits, of).then_some((edits, known))
    };
    let of_table =
        KEYS.iter().map(|key| key.name).find(|known| known.starts_with(&format!("{name}.")));
    let nearest = || KEYS.iter().filter_map(|key| edits(key.name)).min_by_key(|(edits, _)| *edits);
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
            assert_eq!(nearest(typed), Some(meant), "{typed}");
        }
    }

    #[test]
    fn what_is_near_to_nothing_is_not_guessed() {
        for typed in ["x", "", "kafka.brokers", "retries", "admin.password", "stream.partitions"] {
            assert_eq!(nearest(typed), None, "{typed}");
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

    #[test]
    fn the_documentation_holds_every_row_of_the_table() {
        let page = include_str!("../../docs/configuration.md");
        let row = |Key { name, default, rule, meaning }: &Key| {
            format!("| `{name}` | `{default:?}` | {rule} | {meaning} |")
        };
        let rows: Vec<String> = KEYS.iter().map(row).collect();
        let written: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(
            written == rows,
            "the rows of docs/configuration.md should be\n{}",
            rows.join("\n")
        );
    }
}
