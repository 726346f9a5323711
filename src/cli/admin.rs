//! `admin`: asks a running daemon for its status, or gives it a command, over its admin socket.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time::interval;

use super::common::{exit, fail, said};
use super::forward_status;
use super::out::{draw, print};
use super::status;
use crate::client::admin::AdminClient;
use crate::config::{self, Flag, Inputs, Machine, env_vars};
use crate::programs::signals::stop_signal;
use crate::terminal::escaped;
use dispatchd_core::wire::admin::{ForwardStatus, Reload, Status};

/// How often `status --watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The longest time that a level of the log may be set for.
const LEVEL_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Args)]
#[command(
    after_help = "It finds the daemon by the file and the environment that `run` reads too; what \
                  `run` was told by flags, tell it again."
)]
pub(super) struct Admin {
    /// Read this configuration file (TOML)
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The daemon's socket for events, which the admin socket lies beside (socket.path)
    #[arg(long, value_name = "PATH", env = "DISPATCHD_SOCKET", global = true)]
    socket: Option<String>,
    /// The admin socket itself (admin.socket)
    #[arg(long, value_name = "PATH", global = true)]
    admin_socket: Option<String>,
    /// Ask the forwarder, not the daemon
    #[arg(long, global = true)]
    forward: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how the daemon stands: buffer, shards, what is blocked and why, the last errors
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Every second, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Log at this level until a restart, or for a time
    LogLevel {
        /// error, warn, info, debug, trace or a filter directive
        level: String,
        /// Until the configured level holds again, e.g. 10m; at most 24h
        #[arg(long = "for", value_name = "DURATION", value_parser = level_time)]
        lasts: Option<Duration>,
    },
    /// Read the configuration again, as SIGHUP does, and try a blocked stream at once
    Reload,
    /// Make ready to stop: not ready any more, nothing lingers. Returns at once; the daemon serves
    /// on
    Drain,
    /// Stop as SIGTERM does, and wait until the daemon is gone
    Quit,
}

fn level_time(text: &str) -> Result<Duration, String> {
    let time = config::duration(text)
        .filter(|time| (Duration::from_millis(1)..=LEVEL_TIME_MAX).contains(time));
    time.ok_or_else(|| "expected a duration from 1ms to 24h, e.g. \"10m\"".to_owned())
}

impl Admin {
    pub(super) fn main(self) -> ExitCode {
        let socket = match self.socket() {
            Ok(Some(socket)) => socket,
            Ok(None) => {
                return fail(
                    "admin.socket is off: say where it is with --admin-socket",
                    exit::USAGE,
                );
            }
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(error, exit::FAILED),
        };
        match runtime.block_on(self.verb.run(&AdminClient::at(socket))) {
            Ok(code) => code,
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    /// The admin socket of this configuration's daemon; `None` if it is off. Which stream the
    /// daemon serves does not matter.
    fn socket(&self) -> anyhow::Result<Option<PathBuf>> {
        let machine = Machine::read();
        let beside = machine.client_socket_path();
        let preset = beside.iter().map(|path| path.display().to_string());
        let preset = preset
            .map(|value| Flag { key: "socket.path".into(), value, flag: "admin".into() })
            .collect();
        let flag = |key: &str, flag: &str, value: &Option<String>| {
            value.clone().map(|value| Flag { key: key.into(), value, flag: flag.into() })
        };
        let flags = [
            flag("socket.path", "--socket", &self.socket),
            flag("admin.socket", "--admin-socket", &self.admin_socket),
        ];
        let flags: Vec<_> = flags.into_iter().flatten().collect();
        let is_named = !flags.is_empty();
        let inputs = Inputs {
            preset,
            kcl: None,
            file: self.config.clone(),
            env: env_vars(),
            flags,
            is_stream_typed: false,
            local: true,
            forward: self.forward,
            machine,
        };
        let socket = config::resolve(&inputs)?.config.admin.socket;
        match beside {
            Err(foreign)
                if !is_named
                    && socket.as_ref().is_some_and(|socket| socket.starts_with(&foreign.path)) =>
            {
                Err(foreign.into())
            }
            _ => Ok(socket),
        }
    }
}

impl Verb {
    async fn run(self, daemon: &AdminClient) -> anyhow::Result<ExitCode> {
        match self {
            Self::Status { json, watch: false } => {
                let status = shown(&daemon.status_json().await?, json, false)?;
                return Ok(said(print(&status), 0));
            }
            Self::Status { json, watch: true } => watch(daemon, json).await?,
            Self::LogLevel { level, lasts } => daemon.set_log_level(level, lasts).await?,
            Self::Reload => return Ok(reloaded(daemon.reload().await?)),
            Self::Drain => daemon.drain().await?,
            Self::Quit => daemon.quit().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The status of whoever answers: each tells of other things.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyStatus {
    Daemon(Box<Status>),
    Forwarder(Box<ForwardStatus>),
}

/// The text that is printed for an answer, with the last line's end.
fn shown(answer: &Bytes, json: bool, live: bool) -> anyhow::Result<String> {
    if json && live {
        return Ok(String::from_utf8_lossy(answer).into_owned() + "\n");
    }
    let status: AnyStatus = serde_json::from_slice(answer)
        .context("the daemon is of another version: its answer is not understood")?;
    match status {
        AnyStatus::Daemon(status) if json => Ok(serde_json::to_string_pretty(&status)? + "\n"),
        AnyStatus::Forwarder(status) if json => Ok(serde_json::to_string_pretty(&status)? + "\n"),
        AnyStatus::Daemon(status) => Ok(status::render(&status)),
        AnyStatus::Forwarder(status) => Ok(forward_status::render(&status)),
    }
}

/// Draws the status again and again on a terminal; elsewhere it prints one below the other.
async fn watch(daemon: &AdminClient, json: bool) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let live = io::stdout().is_terminal() && !json;
    let mut every = interval(WATCH_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = every.tick() => {}
        }
        let text = tokio::select! {
            () = stop.cancelled() => break,
            answer = daemon.status_json() => shown(&answer?, json, true)?,
        };
        let taken =
            if live { draw(&over(&text)) } else { print(&(text + if json { "" } else { "\n" })) };
        if taken?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Draws a text from the top left corner, each line over the old one: clearing the screen first
/// would flicker.
fn over(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", escaped(text).replace('\n', "\x1b[K\n"))
}

fn reloaded(reload: Reload) -> ExitCode {
    let Reload { error, applied, needs_restart, .. } = reload;
    if let Some(problems) = error {
        return fail(format_args!("the old configuration holds:\n{problems}"), exit::FAILED);
    }
    let applied = if applied.is_empty() { "nothing".to_owned() } else { applied.join(", ") };
    let mut text = format!("changed: {applied}\n");
    if !needs_restart.is_empty() {
        text += &format!("needs a restart: {}\n", needs_restart.join(", "));
    }
    said(print(&text), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_for_a_day_at_most() {
        assert_eq!(level_time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(level_time("24h"), Ok(LEVEL_TIME_MAX));
        for text in ["25h", "0s", "10", "", "-1s"] {
            assert!(level_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_live_view_draws_over_the_old_one_and_leaves_nothing_of_it() {
        assert_eq!(over("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_live_view_writes_out_what_others_would_draw() {
        assert_eq!(over("off\x1b[2J\u{9b}2J\u{202e}"), "\x1b[Hoff\\u001b[2J\\u009b2J\\u202e\x1b[J");
    }
}
