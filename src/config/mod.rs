//! The configuration, twice: as typed (text with an origin) and as used ([`Config`]). Nothing here
//! reads the host but [`Machine::read`] and [`env_vars`]; [`resolve`] opens the one file it is
//! given and is pure otherwise.
//!
//! - One table, `keys.rs`, says for each key: name, default, what it takes, meaning. Nothing else
//!   knows a range.
//! - Layers, each over the one before: defaults < what the command presets < file < environment <
//!   flags (`file.rs`).
//! - What is then still `auto` or empty and the machine knows is filled in from [`Machine`].
//! - The SDK reads its own variables (`AWS_…`). They are checked here first, and it sees only those
//!   that are not blank (`environment.rs`).
//! - Only the step from text to [`Config`] can fail, and it reports every problem at once
//!   (`check.rs`). What it lets through needs no second look.
//! - `check` prints the very [`Resolved`] that `run` is built from.

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

pub use check::{Problem, Problems};
pub use file::{env_vars, readable_again};
pub use host::{files_kept_back, files_needed, resolve_to_serve};
pub use keys::{KEYS, Key};
pub use machine::{ForeignFallback, Machine};
pub use memory::{Carried, MemorySum, memory_sum, memory_sum_for};
pub use reload::{Changes, after as after_reload, changes};
pub use rule::{duration, show_size};
pub use settings::{Config, Local, Memory, Runtime, Shutdown, Stream};

/// All that a configuration is made from.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Below the file: what a command would rather have than the defaults.
    pub preset: Vec<Flag>,
    pub file: Option<PathBuf>,
    /// All of the environment: `DISPATCHD__…` are keys, `AWS_…` are the SDK's, others are passed
    /// over.
    pub env: Vec<(String, String)>,
    /// In the order in which they were typed: the last one wins.
    pub flags: Vec<Flag>,
    /// Whether the command line names the stream: what the layers below say of it, name or ARN,
    /// does not hold.
    pub is_stream_typed: bool,
    /// Whether an embedded stream stands in for Kinesis.
    pub local: bool,
    pub machine: Machine,
}

/// A key set on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    pub key: String,
    pub value: String,
    /// As typed, e.g. `--socket`.
    pub flag: String,
}

/// The error of a `--set` that is not KEY=VALUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, e.g. batch.linger=5ms")]
pub struct NotKeyValue;

/// A key as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Where a value came from; displayed in the words of the person who set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    /// The variable's name.
    Env(String),
    /// For a variable that is no key of ours, and is named already.
    Environment,
    /// The flag as typed.
    Flag(String),
    /// Why it is this value.
    Detected(String),
}

/// A configuration that holds, and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub config: Config,
    /// Every key, in the table's order.
    pub values: Vec<Setting>,
}

/// Lays the layers over each other and checks the result.
///
/// # Errors
/// Every problem at once; a file that cannot be read is reported alone, since the rest would be
/// guesses.
pub fn resolve(inputs: &Inputs) -> Result<Resolved, Problems> {
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
