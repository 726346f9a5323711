//! What a configuration is made from: the layers as the command has them. Only data; nothing here
//! reads the host.

use std::path::PathBuf;
use std::str::FromStr;

use super::machine::Machine;

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

/// Reads what follows `--set`.
impl FromStr for Flag {
    type Err = NotKeyValue;

    fn from_str(text: &str) -> Result<Self, NotKeyValue> {
        let (key, value) = text.split_once('=').ok_or(NotKeyValue)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned(), flag: "--set".to_owned() })
    }
}
