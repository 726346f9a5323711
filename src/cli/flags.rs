//! The flags that set configuration keys, for every command that has a configuration. What a value may be is the
//! configuration's to say.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Flag, Inputs, Machine, Problems, Resolved, env_vars, resolve};

/// Flags for what a person types; `--set` for any other key.
#[derive(Debug, Args)]
pub struct ConfigFlags {
    /// Read this configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The Kinesis stream (stream.name)
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The Unix socket (socket.path)
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Its permissions, e.g. 0660 (socket.mode)
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Where metrics and probes are served, or "off" (admin.listen)
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// error, warn, info, debug or trace (log.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Use an embedded stream instead of AWS
    #[arg(long)]
    local: bool,
    /// Its port on loopback; 0: any (local.port)
    #[arg(long, value_name = "N")]
    local_port: Option<String>,
    /// Its shards (local.shards)
    #[arg(long, value_name = "N")]
    local_shards: Option<String>,
    /// Set any configuration key
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Flag>,
}

impl ConfigFlags {
    /// As if `--local` were among them.
    #[cfg(feature = "local")]
    pub fn with_local(self) -> Self {
        Self { local: true, ..self }
    }

    /// The configuration from file, environment and these flags.
    pub fn resolve(&self) -> Result<Resolved, Problems> {
        let named = [
            ("stream.name", "--stream", &self.stream),
            ("socket.path", "--socket", &self.socket),
            ("socket.mode", "--socket-mode", &self.socket_mode),
            ("admin.listen", "--admin-listen", &self.admin_listen),
            ("log.level", "--log-level", &self.log_level),
            ("local.port", "--local-port", &self.local_port),
            ("local.shards", "--local-shards", &self.local_shards),
        ];
        let named = named.into_iter().filter_map(|(key, flag, value)| {
            value.clone().map(|value| Flag { key: key.into(), value, flag: flag.into() })
        });
        let inputs = Inputs {
            file: self.config.clone(),
            env: env_vars(),
            flags: self.set.iter().cloned().chain(named).collect(),
            local: self.local,
            machine: Machine::read(),
        };
        resolve(&inputs)
    }
}
