//! `send`: sends one event from flags, or lines of the protocol from stdin, to a running daemon.
//!
//! It prints what the daemon answers, a line each, and exits 0 only if every answer is an ack and
//! somebody took it.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgGroup, Args};
use serde::Serialize;
use serde_json::value::RawValue;

use super::checked::{self, Checked};
use super::common::{exit, fail};
use super::out;
use super::together::{Requests, Together};
use crate::client::http::{Response, post};
use crate::client::socket::{AnswerCounts, Outcome, Session, connect};
use crate::config::Machine;
use crate::schema::Loaded;
use dispatchd_core::limits::RECORD_BYTES_MAX;
use dispatchd_core::wire::forward::content::{self, Content};

/// How often the progress line on a terminal is drawn again.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// No event is longer.
const DATA_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64;

#[derive(Debug, Args)]
#[group(skip)]
#[command(
    group = ArgGroup::new("one_event").args(["event_type", "raw", "cloudevent"]),
    after_help = "Without --type, --raw or --cloudevent it sends the lines of stdin, each a \
                  request of the protocol, and prints an answer a line. With --batch or --tx each line is an \
                  event.\n\nExit codes: 0: every line was acked; 1: one was \
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
    /// Publish the data as it is, without an envelope
    #[arg(long, conflicts_with_all = ["event_type", "user", "echo"], requires = "data")]
    raw: bool,
    /// The data is a CloudEvent in JSON (structured mode), which is published as it is
    #[arg(
        long,
        conflicts_with_all = ["event_type", "raw", "key", "id", "user", "echo"],
        requires = "data"
    )]
    cloudevent: bool,
    /// Its data, a JSON object, {} by default; with --raw any bytes. @FILE: what is in the file; -:
    /// what comes on stdin
    #[arg(long, value_name = "DATA", requires = "one_event")]
    data: Option<String>,
    /// Its partition key; without it a random one
    #[arg(long, value_name = "KEY", requires = "one_event")]
    key: Option<String>,
    /// Its id, a uuid; without it the daemon makes one
    #[arg(long, value_name = "UUID", requires = "one_event")]
    id: Option<String>,
    /// The user it comes from (source.userId)
    #[arg(long, value_name = "USER", requires = "event_type")]
    user: Option<String>,
    /// Print the whole published envelope too
    #[arg(long, requires = "event_type")]
    echo: bool,
    /// Send the events of stdin in batches: many events, one answer
    #[arg(long, conflicts_with = "one_event")]
    batch: bool,
    /// Send the events of stdin in one transaction, which is committed at the end
    #[arg(long, conflicts_with_all = ["one_event", "batch"])]
    tx: bool,
    /// Check events by the schemas of this folder, and send none that does not fit or has no schema
    #[arg(long, value_name = "DIR", conflicts_with = "raw")]
    schema: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    data: &'a RawValue,
    options: Options<'a>,
}

#[derive(Serialize)]
struct RawLine<'a> {
    data_base64: String,
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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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
                converse(self.connect()?, io::Cursor::new(line), false)
            }
            None if self.raw => {
                let line = self.raw_line()?;
                converse(self.connect()?, io::Cursor::new(line), false)
            }
            None if self.cloudevent => self.cloud_event(),
            None if self.batch || self.tx => {
                let together = if self.tx { Together::Transaction } else { Together::Batches };
                let requests = Requests::new(io::BufReader::new(self.lines()?), together);
                converse(self.connect()?, requests, false)
            }
            None => {
                // On one terminal progress and answers would stand in one line.
                let progress = io::stderr().is_terminal()
                    && !io::stdin().is_terminal()
                    && !io::stdout().is_terminal();
                converse(self.connect()?, self.lines()?, progress)
            }
        }
    }

    /// What comes on stdin.
    fn lines(&self) -> anyhow::Result<Box<dyn Read + std::marker::Send>> {
        Ok(match self.schemas()? {
            None => Box::new(io::stdin()),
            Some(schemas) => Box::new(Checked::new(io::BufReader::new(io::stdin()), schemas)),
        })
    }

    fn schemas(&self) -> anyhow::Result<Option<Loaded>> {
        let loaded = self.schema.as_deref().map(Loaded::of).transpose();
        loaded.context("--schema")
    }

    /// Checks one event, if that is asked for.
    fn check(&self, event_type: &str, data: &str) -> anyhow::Result<()> {
        let schemas = self.schemas()?;
        let checked = schemas.map_or(Ok(()), |schemas| checked::check(&schemas, event_type, data));
        checked.context("nothing is sent")
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let path = self.socket.clone().filter(|path| !path.as_os_str().is_empty());
        let path = path.map_or_else(|| Machine::read().client_socket_path(), Ok)?;
        Ok(connect(&path)?)
    }

    fn line(&self, event_type: &str) -> anyhow::Result<Vec<u8>> {
        let data = String::from_utf8(self.data()?).context("--data is not UTF-8")?;
        // In valid JSON a raw line end is white space; on the wire it would end the line.
        let data = data.replace(['\n', '\r'], " ");
        let data: &RawValue = serde_json::from_str(&data).context("--data is not JSON")?;
        self.check(event_type, data.get())?;
        ended(serde_json::to_vec(&Line { event_type, data, options: self.options() })?)
    }

    fn raw_line(&self) -> anyhow::Result<Vec<u8>> {
        let data_base64 = STANDARD.encode(self.data()?);
        ended(serde_json::to_vec(&RawLine { data_base64, options: self.options() })?)
    }

    fn cloud_event(&self) -> anyhow::Result<Outcome> {
        const TYPE: &str = "application/cloudevents+json";
        let event = self.data()?;
        if let Some(Content { event_type, data }) = content::read(&event) {
            self.check(&event_type, data)?;
        }
        let Response { is_ok, body } = post(self.connect()?, TYPE, &event)?;
        let taken = out::print_bytes(&body)?;
        Ok(match (is_ok, taken.is_break()) {
            (true, false) => Outcome::AllAcked,
            (false, false) => Outcome::SomeRefused,
            (_, true) => Outcome::Unread,
        })
    }

    fn options(&self) -> Options<'_> {
        Options {
            partition_key: self.key.as_deref(),
            source_user_id: self.user.as_deref(),
            id: self.id.as_deref(),
            echo: self.echo,
        }
    }

    /// What is to be sent, as far as an event can be long.
    fn data(&self) -> anyhow::Result<Vec<u8>> {
        let read = |from: &mut dyn Read| {
            let mut data = Vec::new();
            from.take(DATA_BYTES_MAX + 1).read_to_end(&mut data)?;
            Ok::<_, io::Error>(data)
        };
        let data = match self.data.as_deref() {
            None => b"{}".to_vec(),
            Some("-") => read(&mut io::stdin()).context("cannot read stdin")?,
            Some(data) => match data.strip_prefix('@') {
                None => data.as_bytes().to_vec(),
                Some(path) => File::open(path)
                    .and_then(|mut file| read(&mut file))
                    .with_context(|| format!("cannot read {path}"))?,
            },
        };
        anyhow::ensure!(
            data.len() as u64 <= DATA_BYTES_MAX,
            "--data is over {DATA_BYTES_MAX} bytes"
        );
        Ok(data)
    }
}

fn ended(mut line: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    line.push(b'\n');
    Ok(line)
}

/// Copies `input` to the daemon and its answers to standard output, until the daemon ended its half
/// or nobody takes them.
///
/// # Errors
/// If the input cannot be read (what was sent is answered and printed first), the daemon left lines
/// without an answer, or the answers cannot be printed.
fn converse(
    socket: UnixStream,
    input: impl Read + std::marker::Send + 'static,
    progress: bool,
) -> anyhow::Result<Outcome> {
    let session = Session::start(socket, input)?;
    let unread = session.clone();
    thread::Builder::new().name("stdout".into()).spawn(move || {
        out::wait_until_unread();
        unread.unread();
    })?;
    let counts = print_answers(&session, progress)?;
    Ok(session.conclude(&counts)?)
}

/// Prints answers until there are no more, or nobody takes them.
fn print_answers(session: &Session, progress: bool) -> anyhow::Result<AnswerCounts> {
    let (mut counts, mut drawn) = (AnswerCounts::default(), Instant::now());
    while let Some(answers) = session.next_answers() {
        for line in &answers {
            counts.count(line)?;
        }
        let text = answers.concat();
        if out::print_bytes(&text)?.is_break() {
            session.unread();
            break;
        }
        session.taken(answers.len(), text.len());
        if progress && drawn.elapsed() >= PROGRESS_EVERY {
            draw(session, &counts);
            drawn = Instant::now();
        }
    }
    if progress {
        draw(session, &counts);
        out::tell("\n");
    }
    Ok(counts)
}

fn draw(session: &Session, counts: &AnswerCounts) {
    let (sent, AnswerCounts { answered, refused, .. }) = (session.sent(), counts);
    out::redraw(&format!("{sent} sent, {} acked, {refused} refused", answered - refused));
}
