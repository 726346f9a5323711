//! The configuration, twice: as typed (text with an origin) and as used (`Config`). Nothing here
//! reads the host but `Machine::read` and `env_vars`; `resolve` opens the one file that it is
//! given, and is pure otherwise.
//!
//! - One table, `keys.rs`, says for each key its name, its default, what it takes and what it
//!   means. Nothing else knows a range.
//! - Layers, each over the one before: defaults < what the command presets < file < environment <
//!   flags (`file.rs`).
//! - Settings that are then still `auto` or empty are filled in from `Machine`, where it knows
//!   better.
//! - The SDK's own variables (`AWS_…`) are checked here first, and it sees only those that are not
//!   blank (`environment.rs`).
//! - Only the step from text to values can fail, and it reports every problem at once (`check.rs`).
//!   Values that pass need no second look; each finds the field of its key's name in the settings
//!   of its section (`used.rs`, `settings.rs`).
//! - `check` prints the very `Resolved` that `run` is built from.

mod check;
mod connection;
mod environment;
mod file;
mod host;
mod keys;
mod machine;
mod memory;
mod reload;
mod rule;
mod settings;
#[cfg(test)]
mod tests;
mod used;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use check::{Problem, Problems};
pub(crate) use file::{env_vars, readable_again};
pub(crate) use host::{files_kept_back, files_needed, resolve_to_serve};
pub(crate) use keys::ReloadedBy;
pub use keys::{KEYS, Key};
pub(crate) use machine::Machine;
pub(crate) use memory::{Carried, memory_sum, memory_sum_for};
pub(crate) use reload::{Changes, after as after_reload, changes};
pub(crate) use rule::{duration, show_size};
pub(crate) use settings::Config;

/// All that a configuration is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// What a command would rather have than the defaults; the file lies over it.
    pub preset: Vec<Flag>,
    pub file: Option<PathBuf>,
    /// The whole environment: `DISPATCHD__…` are keys, `AWS_…` are the SDK's, others are passed
    /// over.
    pub env: Vec<(String, String)>,
    /// In the order in which they were typed: the last one wins.
    pub flags: Vec<Flag>,
    /// Whether the command line names the stream: then neither the name nor the ARN of the layers
    /// below holds.
    pub is_stream_typed: bool,
    /// Whether an embedded stream stands in for Kinesis.
    pub local: bool,
    pub machine: Machine,
}

/// A key set on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub key: String,
    pub value: String,
    /// As typed, e.g. `--socket`.
    pub flag: String,
}

/// A `--set` that is not KEY=VALUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, e.g. batch.linger=5ms")]
pub(crate) struct NotKeyValue;

/// A key with its value as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Where a value came from; displayed in the words of the person who set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    /// The variable's name.
    Env(String),
    /// For a variable that is no key of ours: the problem's key names it already.
    Environment,
    /// The flag as typed.
    Flag(String),
    /// The program chose the value, for this reason.
    Detected(String),
}

/// A configuration that holds, and where each of its values came from.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub config: Config,
    /// Every key, in the table's order.
    pub values: Vec<Setting>,
}

/// Lays the layers over each other and checks the result.
///
/// # Errors
/// Every problem at once. A file that cannot be read is reported alone, since the rest would be
/// guesses.
pub(crate) fn resolve(inputs: &Inputs) -> Result<Resolved, Problems> {
    check::check(file::layers(inputs)?, inputs)
}

/// Reads what follows `--set`.
impl FromStr for Flag {
    type Err = NotKeyValue;

    fn from_str(text: &str) -> Result<Self, NotKeyValue> {
        let (key, value) = text.split_once('=').ok_or(NotKeyValue)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned(), flag: "--set".to_owned() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment => f.write_str("the environment"),
            Self::Env(text) | Self::Flag(text) | Self::Detected(text) => f.write_str(text),
        }
    }
}
