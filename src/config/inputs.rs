//! What a configuration is made from: the layers as the command has them. Only data; nothing here
//! reads the host.

use std::path::PathBuf;
use std::str::FromStr;

use super::machine::Machine;

/// Where a forwarder serves metrics and probes: beside a daemon on the same host or pod.
const ADMIN_LISTEN: &str = "[::]:16465";

/// All that a configuration is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// What a command would rather have than the defaults; the file lies over it.
    pub preset: Vec<Flag>,
    /// What the KCL's own file says, and where it is; it lies over the presets.
    pub kcl: Option<(PathBuf, Vec<Flag>)>,
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
    /// Whether it is for `forward`, which has other defaults and needs a target.
    pub forward: bool,
    pub machine: Machine,
}

/// The variables that a forwarder of Rabble Rouser's is configured by, and the keys that they are
/// here. They are presets: whatever was typed lies over them.
const LISTENER: [(&str, &str); 2] =
    [("STREAM_NAME", "stream.name"), ("LISTENER_ENDPOINT", "forward.target[1].url")];
/// The variable that holds the token, and where Kinesis is.
const LISTENER_TOKEN: &str = "LISTENER_AUTH_TOKEN";
pub(super) const LISTENER_KINESIS: &str = "KINESIS_ENDPOINT";

impl Inputs {
    /// These inputs for `forward`: with its own port for metrics and probes, and what the variables
    /// of Rabble Rouser's forwarder say.
    pub(crate) fn for_forward(mut self) -> Self {
        self.forward = true;
        let mut preset = |key: &str, value: &str, flag: &str| {
            let (key, value, flag) = (key.to_owned(), value.to_owned(), flag.to_owned());
            self.preset.push(Flag { key, value, flag });
        };
        preset("admin.listen", ADMIN_LISTEN, "forward");
        let set = |name: &str| {
            let value = self.env.iter().find(|(set, value)| set == name && !value.is_empty());
            value.map(|(_, value)| value.as_str())
        };
        for (name, key) in LISTENER {
            if let Some(value) = set(name) {
                preset(key, value, name);
            }
        }
        if set("LISTENER_ENDPOINT").is_some() {
            preset("forward.target[1].format", "record", "LISTENER_ENDPOINT");
            if set(LISTENER_TOKEN).is_some() {
                preset("forward.target[1].token_env", LISTENER_TOKEN, LISTENER_TOKEN);
            }
        }
        if let Some(url) = set(LISTENER_KINESIS) {
            preset("stream.endpoint_url", url, LISTENER_KINESIS);
            preset("stream.allow_http", "true", LISTENER_KINESIS);
        }
        self
    }
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

#[cfg(test)]
impl Inputs {
    /// With the embedded stream, and these keys as `--set` sets them.
    pub(crate) fn set(set: &[(&str, &str)]) -> Self {
        let flag = |(key, value): &(&str, &str)| Flag {
            key: (*key).into(),
            value: (*value).into(),
            flag: "--set".into(),
        };
        Self { flags: set.iter().map(flag).collect(), local: true, ..Self::default() }
    }
}
