//! What the configuration says of `forward`: the section `forward`, and each of its targets.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dispatchd_consumer::filter::Filter;
use dispatchd_consumer::format::{Aggregates, Format};
use dispatchd_consumer::plan::StartFrom;
use dispatchd_core::choice;
use dispatchd_core::limits::GET_RECORDS_MAX;
use dispatchd_pattern::{Pattern, PatternError};
use serde::{Deserialize, Deserializer, de};

use super::exec::CommandLine;
use crate::consumer::start_from;
use crate::progress::Keep;

/// What holds for all targets, and the targets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Where checkpoints are kept; `None`: no place for them is known.
    pub checkpoint: Option<Keep>,
    /// Between two calls on a shard that has nothing new.
    pub poll: Duration,
    /// In the file's order, each with a name of its own.
    #[serde(skip)]
    pub targets: Vec<Target>,
}

/// Who is delivered to, what, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub name: String,
    /// `None`: `exec` is set.
    pub url: Option<String>,
    #[serde(deserialize_with = "command")]
    pub exec: Option<CommandLine>,
    pub format: Format,
    pub token_file: Option<PathBuf>,
    /// The name of the variable that holds the token.
    pub token_env: Option<String>,
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "from_text")]
    pub from: StartFrom,
    /// Only events of these types; `None`: of all.
    #[serde(rename = "type", deserialize_with = "words")]
    pub types: Option<Vec<String>>,
    /// Only events that one of these patterns takes; `None`: all.
    pub filter: Option<String>,
    pub filter_record: Option<String>,
    /// `None`: the format's own.
    pub aggregates: Option<Aggregates>,
    /// `None`: the format's own.
    pub batch_size: Option<usize>,
    pub batch_window: Duration,
    pub batch_bytes: usize,
    pub parallelization: usize,
    pub bisect: bool,
    /// How often a batch that failed is sent again; `None`: without end.
    pub max_retries: Option<u32>,
    /// How old a record may be; `None`: as old as the stream keeps it.
    pub max_age: Option<Duration>,
    pub on_failure: OnFailure,
    pub dead_letter: Option<DeadLetterKeep>,
    pub connect_timeout: Duration,
    /// `None`: the format's own.
    pub timeout: Option<Duration>,
    /// Requests in flight at once, of all shards together; `None`: the format's own.
    pub max_in_flight: Option<usize>,
    pub sequence: Sequence,
    pub exec_timeout: Duration,
    pub exec_grace: Duration,
    pub exec_empty: bool,
    /// Lambda's `invokeIdentityArn`.
    pub role_arn: Option<String>,
}

impl Target {
    /// Records of a request, or of a message to a program.
    pub(crate) fn batch_records(&self) -> usize {
        let default = match &self.exec {
            Some(_) => GET_RECORDS_MAX,
            None => self.format.batch_records_default(),
        };
        self.batch_size.unwrap_or(default)
    }

    /// Whether its filters look at the data of events.
    pub(super) fn looks_at_data(&self) -> bool {
        self.types.is_some() || self.filter.is_some() || self.filter_record.is_some()
    }

    /// Which records are wanted.
    ///
    /// # Errors
    /// The types are more than a pattern holds. The filters were read before.
    pub(crate) fn filter(&self) -> Result<Filter, PatternError> {
        let read = |text: &Option<String>| {
            text.as_deref().map_or_else(|| Ok(Vec::new()), patterns).unwrap_or_default()
        };
        let (events, records) = (read(&self.filter), read(&self.filter_record));
        Filter::new(events, records).of_types(self.types.as_deref().unwrap_or_default())
    }
}

choice! {
    /// What becomes of a record that the target will not take.
    pub enum OnFailure {
        /// Its shard waits, until an operator acts or the record expires.
        Block = "block",
        /// It is kept aside, with the reason, and the shard goes on.
        DeadLetter = "dead-letter",
    }
}

choice! {
    /// Which number a record is sent with, in the format `record`.
    pub enum Sequence {
        /// That of the record where the stream has one shard, increasing ones where it has more.
        Auto = "auto",
        /// That of the record.
        Record = "record",
        /// One that is larger than any that was sent before.
        Monotonic = "monotonic",
    }
}

/// Where dead letters are kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeadLetterKeep {
    /// A file of lines.
    File(PathBuf),
    /// Another stream, by name or ARN.
    Stream(String),
}

impl DeadLetterKeep {
    /// Reads `file:PATH` or `stream:NAME|ARN`; `None` for any other text.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            (_, "") => None,
            ("file", path) => Some(Self::File(path.into())),
            ("stream", stream) => Some(Self::Stream(stream.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for DeadLetterKeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Stream(stream) => write!(f, "stream:{stream}"),
        }
    }
}

impl<'de> Deserialize<'de> for DeadLetterKeep {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| de::Error::custom("expected file:PATH or stream:NAME"))
    }
}

/// Reads patterns: one, or a JSON array of texts that each hold one.
///
/// # Errors
/// Which one is none, and why.
pub(crate) fn patterns(text: &str) -> Result<Vec<Pattern>, String> {
    let texts = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map_err(|error| format!("this is no list: {error}"))?,
        false => vec![text.to_owned()],
    };
    texts
        .iter()
        .map(|text| Pattern::parse(text).map_err(|error| format!("this is none: {error}")))
        .collect()
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.map(|text| text.split(',').map(|word| word.trim().to_owned()).collect()))
}

fn command<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CommandLine>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| CommandLine::parse(&text).map_err(de::Error::custom)).transpose()
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<StartFrom, D::Error> {
    let text = String::deserialize(from)?;
    start_from(&text).ok_or_else(|| de::Error::custom("expected a place to begin"))
}
