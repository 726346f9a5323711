//! `send`: sends one event from flags, or lines of the protocol from stdin, to a running daemon.
//!
//! It prints what the daemon answers, a line each, and exits 0 only if every answer is an ack and
//! somebody took it.

use std::io::{self, IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::Serialize;
use serde_json::value::RawValue;

use super::common::{exit, fail};
use super::out;
use crate::client::socket::{AnswerCounts, Exchange, Outcome, connect};
use crate::config::Machine;

/// How often the progress line on a terminal is drawn again.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "Without --type it sends the lines of stdin, each a request of the protocol, and \
                  prints an answer a line.\n\nExit codes: 0: every line was acked; 1: one was \
                  refused or not answered, the input cannot be read, or nobody takes the answers."
)]
pub(super) struct Send {
    /// The daemon's socket; without it and DISPATCHD_SOCKET, where `run` puts it by default
    #[arg(
        long,
        value_name = "PATH",
        env = "DISPATCHD_SOCKET",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
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
            // Where nobody takes the answers, it cannot be told whether they are acks.
            Ok(Outcome::SomeRefused | Outcome::Unread) => exit::FAILED.into(),
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    fn run(&self) -> anyhow::Result<Outcome> {
        match &self.event_type {
            Some(event_type) => {
                let line = self.line(event_type)?;
                exchange(self.connect()?, io::Cursor::new(line), false)
            }
            None => {
                // On one terminal progress and answers would stand in one line.
                let progress = io::stderr().is_terminal()
                    && !io::stdin().is_terminal()
                    && !io::stdout().is_terminal();
                exchange(self.connect()?, io::stdin(), progress)
            }
        }
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let path = self.socket.clone().filter(|path| !path.as_os_str().is_empty());
        let path = path.map_or_else(|| Machine::read().client_socket_path(), Ok)?;
        Ok(connect(&path)?)
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

/// Copies `input` to the daemon and its answers to standard output, until the daemon ended its half
/// or nobody takes them.
///
/// # Errors
/// If the input cannot be read (what was sent is answered and printed first), the daemon left lines
/// without an answer, or the answers cannot be printed.
fn exchange(
    socket: UnixStream,
    input: impl Read + std::marker::Send + 'static,
    progress: bool,
) -> anyhow::Result<Outcome> {
    let exchange = Exchange::start(socket, input)?;
    let unread = exchange.clone();
    thread::Builder::new().name("stdout".into()).spawn(move || {
        out::wait_until_unread();
        unread.unread();
    })?;
    let counts = print_answers(&exchange, progress)?;
    Ok(exchange.conclude(&counts)?)
}

/// Prints answers until there are no more, or nobody takes them.
fn print_answers(exchange: &Exchange, progress: bool) -> anyhow::Result<AnswerCounts> {
    let (mut counts, mut drawn) = (AnswerCounts::default(), Instant::now());
    while let Some(answers) = exchange.next_answers() {
        for line in &answers {
            counts.count(line)?;
        }
        let text = answers.concat();
        if out::print_bytes(&text)?.is_break() {
            exchange.unread();
            break;
        }
        exchange.taken(answers.len(), text.len());
        if progress && drawn.elapsed() >= PROGRESS_EVERY {
            draw(exchange, &counts);
            drawn = Instant::now();
        }
    }
    if progress {
        draw(exchange, &counts);
        out::tell("\n");
    }
    Ok(counts)
}

fn draw(exchange: &Exchange, counts: &AnswerCounts) {
    let (sent, AnswerCounts { answered, refused, .. }) = (exchange.sent(), counts);
    out::redraw(&format!("{sent} sent, {} acked, {refused} refused", answered - refused));
}
