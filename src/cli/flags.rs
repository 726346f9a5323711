//! The flags that set configuration keys, for every command that has a configuration. What a value
//! may be is the configuration's to say, never a flag's.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use dispatchd_core::model::stream_id::is_arn;

use crate::config::{Config, Flag, Inputs, Machine, Problems, Resolved, env_vars, resolve};

/// Flags for the stream service and how it is reached: for every command that speaks to it.
#[derive(Debug, Args)]
pub(super) struct ConnectionFlags {
    /// Read this configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The stream's region (stream.region)
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Where the API is (stream.endpoint_url)
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Use an embedded stream instead of AWS
    #[arg(long)]
    local: bool,
    /// Its port on loopback; 0: any (local.port)
    #[arg(long, value_name = "N")]
    local_port: Option<String>,
    /// Set any configuration key
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Flag>,
}

/// Flags for one stream and how it is reached: for every command about a single stream.
#[derive(Debug, Args)]
pub(super) struct StreamFlags {
    #[command(flatten)]
    connection: ConnectionFlags,
    /// The Kinesis stream, by name or ARN (stream.name, stream.arn)
    #[arg(long, value_name = "NAME|ARN")]
    stream: Option<String>,
    /// error, warn, info, debug or trace (log.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Flags for a person who runs a daemon; `--set` sets any other key.
#[derive(Debug, Args)]
pub(super) struct ConfigFlags {
    #[command(flatten)]
    stream: StreamFlags,
    /// The Unix socket (socket.path)
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Its permissions, e.g. 0660 (socket.mode)
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Where metrics and probes are served, or "off" (admin.listen)
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Where `dispatchd admin` asks, or "off" (admin.socket)
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<String>,
    /// The embedded stream's shards (local.shards)
    #[arg(long, value_name = "N")]
    local_shards: Option<String>,
}

/// Flags for a person who runs the embedded stream alone, which reaches nothing.
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(super) struct EmbeddedFlags {
    /// Read this configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The stream's name, or an ARN that ends in it (stream.name, stream.arn)
    #[arg(long, value_name = "NAME|ARN")]
    stream: Option<String>,
    /// Its port on loopback; 0: any (local.port)
    #[arg(long, value_name = "N")]
    local_port: Option<String>,
    /// Its shards (local.shards)
    #[arg(long, value_name = "N")]
    local_shards: Option<String>,
    /// error, warn, info, debug or trace (log.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Set any configuration key
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Flag>,
}

impl ConnectionFlags {
    /// What the configuration is made from: file, environment, these flags, and what a command's
    /// own arguments set, which win.
    pub(super) fn inputs(&self, own: impl IntoIterator<Item = Flag>) -> Inputs {
        let named = [
            ("stream.region", "--region", &self.region),
            ("stream.endpoint_url", "--endpoint-url", &self.endpoint_url),
            ("local.port", "--local-port", &self.local_port),
        ];
        Inputs {
            preset: Vec::new(),
            kcl: None,
            file: self.config.clone(),
            env: env_vars(),
            flags: self.set.iter().cloned().chain(typed(named)).chain(own).collect(),
            is_stream_typed: false,
            local: self.local,
            forward: false,
            machine: Machine::read(),
        }
    }
}

impl StreamFlags {
    /// What the configuration is made from: file, environment, these flags, and what a command's
    /// own arguments set.
    pub(super) fn inputs(&self, own: impl IntoIterator<Item = Flag>) -> Inputs {
        let mut inputs = self
            .connection
            .inputs(typed([("log.level", "--log-level", &self.log_level)]).chain(own));
        name_stream_if_set(&mut inputs, &self.stream);
        inputs
    }

    /// The configuration from them.
    pub(super) fn resolve(&self) -> Result<Resolved, Problems> {
        resolve(&self.inputs([]))
    }
}

impl ConfigFlags {
    /// What the configuration is made from: file, environment and these flags.
    pub(super) fn inputs(&self) -> Inputs {
        self.stream.inputs(typed([
            ("socket.path", "--socket", &self.socket),
            ("socket.mode", "--socket-mode", &self.socket_mode),
            ("admin.listen", "--admin-listen", &self.admin_listen),
            ("admin.socket", "--admin-socket", &self.admin_socket),
            ("local.shards", "--local-shards", &self.local_shards),
        ]))
    }
}

#[cfg(feature = "local")]
impl EmbeddedFlags {
    /// The configuration from them.
    pub(super) fn resolve(&self) -> Result<Resolved, Problems> {
        let named = typed([
            ("local.port", "--local-port", &self.local_port),
            ("local.shards", "--local-shards", &self.local_shards),
            ("log.level", "--log-level", &self.log_level),
        ]);
        let mut inputs = Inputs {
            preset: Vec::new(),
            kcl: None,
            file: self.config.clone(),
            env: env_vars(),
            flags: self.set.iter().cloned().chain(named).collect(),
            is_stream_typed: false,
            local: true,
            forward: false,
            machine: Machine::read(),
        };
        name_stream_if_set(&mut inputs, &self.stream);
        resolve(&inputs)
    }
}

/// Takes the stream that was typed, by name or by ARN, whichever of the two file and environment
/// say. Beside a `--set` of the other one it is refused, as the two are anywhere.
pub(super) fn name_stream(inputs: &mut Inputs, stream: &str, flag: &str) {
    let key = if is_arn(stream) { "stream.arn" } else { "stream.name" };
    inputs.is_stream_typed = true;
    inputs.flags.push(Flag { key: key.into(), value: stream.into(), flag: flag.into() });
}

/// Takes the stream of `--stream`. An empty one is not set.
fn name_stream_if_set(inputs: &mut Inputs, stream: &Option<String>) {
    if let Some(stream) = stream.as_deref().filter(|stream| !stream.is_empty()) {
        name_stream(inputs, stream, "--stream");
    }
}

/// Of these flags (key, flag, value), the ones that were typed.
pub(super) fn typed<'a>(
    flags: impl IntoIterator<Item = (&'static str, &'static str, &'a Option<String>)>,
) -> impl Iterator<Item = Flag> {
    flags.into_iter().filter_map(|(key, flag, value)| {
        value.clone().map(|value| Flag { key: key.into(), value, flag: flag.into() })
    })
}

/// Where another process's embedded stream listens; `None` without `--local`.
///
/// # Errors
/// If its port was not said.
pub(super) fn running_local(config: &Config) -> anyhow::Result<Option<String>> {
    match &config.local {
        Some(local) if local.port == 0 => {
            bail!("which embedded stream? Say --local-port, as `dispatchd run --local` printed it")
        }
        Some(local) => Ok(Some(format!("http://127.0.0.1:{}", local.port))),
        None => Ok(None),
    }
}
