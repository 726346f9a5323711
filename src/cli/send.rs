//! `send`: one event from flags, or lines of the protocol from stdin, to a running daemon.
//!
//! Prints what the daemon answers, a line each, and exits 0 only if every answer is an ack.

use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{exit, fail};
use crate::config::Machine;

/// How often the progress line on a terminal is drawn again.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// What one read of stdin takes.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "Without --type it sends the lines of stdin, each a request of the protocol, and prints an answer a line."
)]
pub struct Send {
    /// The daemon's socket; without it and DISPATCHD_SOCKET, where `run` puts it by default
    #[arg(long, value_name = "PATH", env = "DISPATCHD_SOCKET")]
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

/// All that is read of an answer.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
}

impl Send {
    pub fn main(self) -> ExitCode {
        match self.run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => exit::FAILED.into(),
            Err(error) => fail(format_args!("{error:#}"), exit::FAILED),
        }
    }

    /// Whether everything was acked.
    fn run(&self) -> anyhow::Result<bool> {
        match &self.event_type {
            Some(event_type) => {
                let line = self.line(event_type)?;
                pipeline(&self.connect()?, line.as_slice(), false)
            }
            None => {
                let progress = io::stderr().is_terminal() && !io::stdin().is_terminal();
                pipeline(&self.connect()?, io::stdin(), progress)
            }
        }
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let path = self.socket.clone().unwrap_or_else(|| Machine::read().client_socket_path());
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

/// What keeps us from the daemon: whether there is none, or one that we may not reach, is not the same to mend.
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

/// Copies `input` to the daemon and its answers to stdout, both at once. Whether all were acks.
fn pipeline(socket: &UnixStream, input: impl Read + std::marker::Send, progress: bool) -> anyhow::Result<bool> {
    let sent = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || copy_lines(input, socket, sent));
        let answers = print_answers(socket, sent, progress);
        // When the daemon is gone the copy ends too: its next write fails.
        let written = writing.join().expect("copying does not panic");
        let (answered, refused) = answers?;
        let sent = sent.load(Ordering::Relaxed);
        if answered < sent {
            bail!(
                "the connection ended with {} of {sent} lines unanswered: they may or may not be in the stream, send them again",
                sent - answered
            );
        }
        written.context("cannot read the input")?;
        Ok(refused == 0)
    })
}

/// Sends `input` as lines, then ends our half. Counts the lines that ask for an answer.
fn copy_lines(input: impl Read, mut socket: &UnixStream, sent: &AtomicU64) -> io::Result<()> {
    let mut input = BufReader::with_capacity(CHUNK_BYTES, input);
    let mut in_line = false; // something other than white space stands in the line that is not ended yet
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let mut lines = 0;
        for byte in chunk {
            if *byte == b'\n' {
                lines += u64::from(std::mem::take(&mut in_line));
            } else {
                in_line |= !byte.is_ascii_whitespace();
            }
        }
        // Counted first: an answer must not come before its line.
        sent.fetch_add(lines, Ordering::Relaxed);
        if socket.write_all(chunk).is_err() {
            return Ok(()); // the daemon is gone: the answers that are missing tell
        }
        let length = chunk.len();
        input.consume(length);
    }
    if in_line {
        // A file whose last line has no end is no torn write.
        sent.fetch_add(1, Ordering::Relaxed);
        let _ = socket.write_all(b"\n");
    }
    let _ = socket.shutdown(Shutdown::Write);
    Ok(())
}

/// Prints answers until the daemon ends its half. How many came, and how many were refusals.
fn print_answers(socket: &UnixStream, sent: &AtomicU64, progress: bool) -> anyhow::Result<(u64, u64)> {
    let (mut answered, mut refused, mut drawn) = (0, 0, Instant::now());
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, io::stdout().lock());
    let mut answers = BufReader::with_capacity(CHUNK_BYTES, socket);
    let mut line = Vec::new();
    // A daemon that was killed resets the connection: what is missing is told by the caller.
    while answers.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let answer: Answer = serde_json::from_slice(&line).context("the daemon's answer is not of the protocol")?;
        answered += 1;
        refused += u64::from(!answer.ok);
        out.write_all(&line).context("cannot print the answers")?;
        line.clear();
        if answers.buffer().is_empty() {
            out.flush().context("cannot print the answers")?; // nothing more is here: show what came
        }
        if progress && drawn.elapsed() >= PROGRESS_EVERY {
            draw(sent, answered, refused);
            drawn = Instant::now();
        }
    }
    out.flush().context("cannot print the answers")?;
    if progress {
        draw(sent, answered, refused);
        eprintln!();
    }
    Ok((answered, refused))
}

fn draw(sent: &AtomicU64, answered: u64, refused: u64) {
    let sent = sent.load(Ordering::Relaxed);
    eprint!("\r{sent} sent, {} acked, {refused} refused", answered - refused);
}
