//! A value as typed, and where it came from.

use std::fmt;
use std::path::PathBuf;

use super::inputs::LISTENER_KINESIS;
use super::settings::Config;

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
    /// Every key of each target of `forward`, in the file's order.
    pub targets: Vec<Vec<Setting>>,
}

impl Resolved {
    /// Whether the endpoint is one that `KINESIS_ENDPOINT` names without TLS: an emulator, which
    /// wants no credentials and gets none that open anything else.
    pub(crate) fn names_an_emulator(&self) -> bool {
        let Setting { value, origin, .. } = of(&self.values, "stream.endpoint_url");
        *origin == Origin::Flag(LISTENER_KINESIS.to_owned()) && value.starts_with("http://")
    }
}

/// The setting of this key, among those of every key.
///
/// # Panics
/// If the table has no such key.
pub(super) fn of<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
    settings
        .iter()
        .find(|setting| setting.key == key)
        .expect("settings hold every key of the table")
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
