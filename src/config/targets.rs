//! The targets of `forward`: a list of tables, `[[forward.target]]`, each with the keys of a table
//! of its own. A key of the first one is called `forward.target[1].url`.

use std::collections::BTreeMap;
use std::time::Duration;

use dispatchd_consumer::delivery::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BATCH_WINDOW_MAX, STRANDS_MAX,
};
use dispatchd_consumer::format::{Aggregates, Format};
use dispatchd_core::limits::KIB;

use super::inputs::{Flag, Inputs};
use super::keys::{Key, key};
use super::problem::{Problem, problem};
use super::rule::Rule;
use super::setting::{Origin, Setting, of};
use super::used::Values;
use crate::targets::settings::{OnFailure, Sequence, Target};

/// What every key of a target begins with.
const LIST: &str = "forward.target[";
/// The name of the one target that has none.
const ONLY: &str = "default";
/// Targets of one forwarder: each has readers of its own, and a shard gives five pages a second to
/// all its readers together.
pub(super) const TARGETS_MAX: usize = 64;

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const FIFTEEN_MINUTES: Duration = Duration::from_secs(900);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// As long as a stream may keep a record.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Every key of a target, in the order in which they are shown.
#[rustfmt::skip] // a table
pub(crate) const TARGET_KEYS: &[Key] = &[
    key("name", "auto", Rule::TargetName,
        "what the target is called in checkpoints, metrics and the log; auto: `default`, where \
         there is one target"),
    key("url", "", Rule::TargetUrl,
        "where records are sent"),
    key("exec", "", Rule::Command,
        "instead of a url: the program that is told of records by the KCL's protocol, one a shard"),
    key("format", "event", Rule::OneOf(Format::NAMES),
        "the form of a request; record: Rabble Rouser's; lambda: AWS Lambda's; event: the event \
         as it is in the stream; cloudevents: binary mode; batch: a JSON array"),
    key("token_file", "", Rule::File,
        "the file that holds what is sent as `Authorization`, read again when it changes"),
    key("token_env", "", Rule::Variable,
        "the variable that holds it"),
    key("ca_file", "", Rule::File,
        "certificates (PEM) that the server's may be signed by, instead of the system's"),
    key("from", "latest", Rule::StartFrom,
        "where reading begins, where no checkpoint is kept"),
    key("type", "", Rule::TextOrEmpty(4_096),
        "only events of these types, parted by commas"),
    key("filter", "", Rule::Patterns,
        "only events that one of these patterns takes"),
    key("filter_record", "", Rule::Patterns,
        "the same for the record, as Lambda's filters see it: `data` and `partitionKey`"),
    key("aggregates", "auto", Rule::AutoOneOf(Aggregates::NAMES),
        "whether the events of a packed record are sent apart or as the whole record; auto: whole \
         for lambda, apart for the others"),
    key("batch_size", "auto", Rule::AutoCount(1..=BATCH_RECORDS_MAX),
        "records of a request; auto: 100 for lambda and batch, 1 for the others, which take no more"),
    key("batch_window", "0s", Rule::Duration(Duration::ZERO..=BATCH_WINDOW_MAX),
        "how long a request that is not full waits for more records"),
    key("batch_bytes", "6MiB", Rule::Size(KIB..=BATCH_BYTES_MAX),
        "bytes of a request; one larger record still goes alone"),
    key("parallelization", "1", Rule::Count(1..=STRANDS_MAX),
        "into how many parts a shard is split by partition key; each has a request in flight"),
    key("bisect", "false", Rule::Switch,
        "whether a request that failed is halved, to find the record that it failed for"),
    key("max_retries", "off", Rule::CountOrOff(0..=10_000),
        "with dead-letter: how often a request that failed is sent again; off: without end"),
    key("max_age", "off", Rule::DurationOrOff(SECOND..=YEAR),
        "with dead-letter: how old a record may be that is still sent; off: as old as the stream \
         keeps it"),
    key("on_failure", "block", Rule::OneOf(OnFailure::NAMES),
        "what becomes of a record that is not taken; block: its shard waits; dead-letter: it is \
         kept aside"),
    key("dead_letter", "", Rule::DeadLetters,
        "where such records are kept"),
    key("connect_timeout", "3s", Rule::Duration(TENTH..=FIVE_MINUTES),
        "how long connecting may take"),
    key("timeout", "auto", Rule::AutoDuration(TENTH..=FIFTEEN_MINUTES),
        "how long one request may take; auto: 310s for lambda, whose emulators give a function \
         300s, 30s for the others"),
    key("max_in_flight", "auto", Rule::AutoCount(1..=256),
        "requests in flight at once, of all shards together; auto: 1 for record and lambda, 16 \
         for the others"),
    key("sequence", "auto", Rule::OneOf(Sequence::NAMES),
        "with record: the number that is sent; record: the record's; monotonic: increasing ones; \
         auto: monotonic where the stream has more than one shard"),
    key("exec_timeout", "10m", Rule::Duration(SECOND..=DAY),
        "with exec: how long the program may take to answer"),
    key("exec_grace", "10s", Rule::Duration(SECOND..=FIFTEEN_MINUTES),
        "with exec: how long the program may take to stop"),
    key("exec_empty", "false", Rule::Switch,
        "with exec: whether the program is told of pages without records"),
    key("role_arn", "", Rule::TextOrEmpty(2_048),
        "with lambda: what is sent as `invokeIdentityArn`"),
];

/// The keys that one of the two ways of delivering has a use for: beside the other one nobody looks
/// at them.
const OF_ONE_WAY: [(&str, &[&str]); 2] = [
    (
        "url",
        &[
            "format",
            "token_file",
            "token_env",
            "ca_file",
            "type",
            "filter",
            "filter_record",
            "aggregates",
            "batch_window",
            "batch_bytes",
            "parallelization",
            "bisect",
            "max_retries",
            "max_age",
            "on_failure",
            "dead_letter",
            "connect_timeout",
            "timeout",
            "max_in_flight",
            "sequence",
            "role_arn",
        ],
    ),
    ("exec", &["exec_timeout", "exec_grace", "exec_empty"]),
];

/// The settings of targets, by their numbers, as typed: without the list's name before their keys.
#[derive(Debug, Default)]
pub(super) struct Typed(BTreeMap<usize, Vec<Setting>>);

impl Typed {
    /// Takes them out of all that was typed.
    pub(super) fn take_from(typed: &mut Vec<Setting>) -> Self {
        let mut targets = Self::default();
        typed.retain(|setting| match number_and_name(&setting.key) {
            Some((number, name)) => {
                let setting = Setting { key: name.to_owned(), ..setting.clone() };
                targets.0.entry(number).or_default().push(setting);
                false
            }
            None => true,
        });
        targets
    }

    /// The settings of each target, by number.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (usize, Vec<Setting>)> {
        self.0.into_iter()
    }
}

/// The key of a target, from its parts.
pub(super) fn full_name(number: usize, name: &str) -> String {
    format!("{LIST}{number}].{name}")
}

fn number_and_name(key: &str) -> Option<(usize, &str)> {
    let (number, name) = key.strip_prefix(LIST)?.split_once("].")?;
    Some((number.parse().ok()?, name))
}

/// Gives the only target its name.
pub(super) fn fill_in(targets: &mut [(usize, Vec<Setting>)]) {
    if let [(_, settings)] = targets {
        let name = settings.iter_mut().find(|setting| setting.key == "name");
        let name = name.expect("settings hold every key of the table");
        if name.value == "auto" {
            name.value = ONLY.to_owned();
            name.origin = Origin::Detected("the only target".to_owned());
        }
    }
}

/// Checks the values of targets against each other. The keys of the problems are those of a target.
pub(super) fn relate(settings: &[Setting], values: &Values, names: &[String]) -> Vec<Problem> {
    let set = |key| of(settings, key);
    let mut problems = Vec::new();
    let mut refuse = |key, expected: &str| problems.push(problem(set(key), expected.to_owned()));
    let is_set = |key| values.text_if_set(key).is_some();
    let name = &set("name").value;
    if name == "auto" {
        refuse("name", "a name, where there is more than one target");
    } else if names.iter().filter(|other| *other == name).count() > 1 {
        refuse("name", "a name that no other target has");
    }
    let is_typed = |key| {
        let known = TARGET_KEYS.iter().find(|known| known.name == key);
        known.expect("the table has it").default != set(key).value
    };
    match (is_set("url"), is_set("exec")) {
        (false, false) => refuse("url", "a url, where records are sent, or exec, a program"),
        (true, true) => refuse("exec", "nothing beside url"),
        (has_url, _) => {
            let way = if has_url { "url" } else { "exec" };
            for (other, keys) in OF_ONE_WAY.into_iter().filter(|(of, _)| *of != way) {
                let expected = format!("nothing beside {way}: it is for {other} alone");
                for &key in keys.iter().filter(|&&key| is_typed(key)) {
                    refuse(key, &expected);
                }
            }
            if !has_url {
                return problems;
            }
        }
    }
    if is_set("ca_file") && set("url").value.starts_with("unix:") {
        refuse("ca_file", "nothing beside a Unix socket, on which there is no TLS");
    }
    if is_set("token_file") && is_set("token_env") {
        refuse("token_env", "nothing beside token_file");
    }
    let format: Format = set("format").value.parse().unwrap_or(Format::Event);
    let most = format.batch_records_max();
    if values.number_if_set("batch_size").is_some_and(|size| size > most) {
        let expected = format!("at most {most} in the format {}", set("format").value);
        refuse("batch_size", &expected);
    }
    if format == Format::Record && values.number_if_set("max_in_flight").is_some_and(|max| max > 1)
    {
        refuse("max_in_flight", "1 in the format record, whose consumers take one at a time");
    }
    let gives_up = set("on_failure").value == "dead-letter";
    if gives_up && !is_set("dead_letter") {
        refuse("dead_letter", "file:PATH or stream:NAME beside on_failure = \"dead-letter\"");
    }
    for key in ["dead_letter", "max_retries", "max_age"] {
        if !gives_up && !matches!(&*set(key).value, "" | "off") {
            refuse(
                key,
                "on_failure = \"dead-letter\" beside it: a shard that blocks gives nothing up",
            );
        }
    }
    if format != Format::Record && set("sequence").value != "auto" {
        refuse("sequence", "format = \"record\" beside it: no other sends such a number");
    }
    if format != Format::Lambda && is_set("role_arn") {
        refuse("role_arn", "format = \"lambda\" beside it: no other sends it");
    }
    problems
}

/// What is wrong where there is no target at all. Who only asks a forwarder needs none.
pub(super) fn lacking() -> Problem {
    let expected = "a target: --to URL, or [[forward.target]] in the file".to_owned();
    Problem { key: "forward.target".to_owned(), value: None, expected, origin: Origin::Default }
}

/// What is wrong with how many targets there are.
pub(super) fn count(targets: &[(usize, Vec<Setting>)], inputs: &Inputs) -> Option<Problem> {
    let flag = inputs.flags.iter().find(|flag| flag.key.starts_with(LIST));
    let (key, value, origin, expected) = match (targets.len(), flag) {
        (2.., Some(Flag { key, value, flag })) => {
            let expected = "no such flag where the file has more than one target";
            (key.clone(), Some(value.clone()), Origin::Flag(flag.clone()), expected.to_owned())
        }
        (count, _) if count > TARGETS_MAX => {
            let expected = format!("at most {TARGETS_MAX} targets, there are {count}");
            ("forward.target".to_owned(), None, Origin::Default, expected)
        }
        _ => return None,
    };
    Some(Problem { key, value, expected, origin })
}

/// The targets of settings that hold.
pub(super) fn used(targets: &[Vec<Setting>]) -> Vec<Target> {
    let target = |settings: &Vec<Setting>| {
        serde_json::from_value(Values::of(TARGET_KEYS, settings).tree())
            .unwrap_or_else(|error| unreachable!("the table and the settings differ: {error}"))
    };
    targets.iter().map(target).collect()
}
