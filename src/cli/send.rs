//! `send`: one event from flags, or lines of the protocol from stdin, to a running daemon.
//!
//! Prints what the daemon answers, a line each, and exits 0 only if every answer is an ack and
//! somebody took it.

mod lines;
mod pipeline;

use std::io::{self, IsTerminal};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{exit, fail};
use crate::config::Machine;
use pipeline::Outcome;

#[derive(Debug, Args)]
#[command(
    after_help = "Without --type it sends the lines of stdin, each a request of the protocol, and prints an answer a line.\n\nExit codes: 0: every line was acked; 1: one was refused or not answered, the input cannot be read, or nobody takes the answers."
)]
pub(super) struct Send {
    /// The daemon's socket; without it and DISPATCHD_SOCKET, where `run` puts it by default
    #[arg(long, value_name = "PATH", env = "DISPATCHD_SOCKET", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    socket: Option<PathBuf>,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Its data, a JSON object
    #[arg(long, value_name = "JSON", requires = "event_type", default_value = "{}")]
    data: String,
    /// Its partition key; without it a random one
    #[arg(long, value_name = "KEY", requires = "event_type")]
    key: Option<String>,
    /// Its id, a uuid; without it the daemon makes one
    #[arg(long, value_name = "UUID", requires = "event_type")]
    id: Option<String>,
    /// The user it comes from (source.userId)
    #[arg(long, value_name = "USER", requires = "event_type")]
    user: Option<String>,
    /// Print the whole published envelope too
    #[arg(long, requires = "event_type")]
    echo: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    data: &'a RawValue,
    options: Options<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    echo: bool,
}

impl Send {
    pub(super) fn main(self) -> ExitCode {
        match self.run() {
            Ok(Outcome::AllAcked) => ExitCode::SUCCESS,
            // Where nobody takes the answers it cannot be told whether they are acks.
            Ok(Outcome::SomeRefused | Outcome::Unread) => exit::FAILED.into(),
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    fn run(&self) -> anyhow::Result<Outcome> {
        match &self.event_type {
            Some(event_type) => {
                let line = self.line(event_type)?;
                pipeline::run(self.connect()?, io::Cursor::new(line), false)
            }
            None => {
                // On one terminal progress and answers would stand in one line.
                let progress = io::stderr().is_terminal()
                    && !io::stdin().is_terminal()
                    && !io::stdout().is_terminal();
                pipeline::run(self.connect()?, io::stdin(), progress)
            }
        }
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let path = self.socket.clone().filter(|path| !path.as_os_str().is_empty());
        let path = path.map_or_else(|| Machine::read().client_socket_path(), Ok)?;
        UnixStream::connect(&path).map_err(|error| connect_error(&path, &error))
    }

    fn line(&self, event_type: &str) -> anyhow::Result<Vec<u8>> {
        // In valid JSON a raw line end is white space; on the wire it would end the line.
        let data = self.data.replace(['\n', '\r'], " ");
        let data: &RawValue = serde_json::from_str(&data).context("--data is not JSON")?;
        let options = Options {
            partition_key: self.key.as_deref(),
            source_user_id: self.user.as_deref(),
            id: self.id.as_deref(),
            echo: self.echo,
        };
        let mut line = serde_json::to_vec(&Line { event_type, data, options })?;
        line.push(b'\n');
        Ok(line)
    }
}

/// What keeps us from the daemon: whether there is none, or one that we may not reach, is not the
/// same to mend.
fn connect_error(path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no daemon answers at {path}: start one with `dispatchd run`, or say where it is with --socket or DISPATCHD_SOCKET"
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "user {} may not connect to {path}: join the socket's group, or let others in with socket.mode and the mode of its directory",
            rustix::process::geteuid().as_raw()
        ),
        _ => anyhow!("cannot connect to {path}: {error}"),
    }
}
