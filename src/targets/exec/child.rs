//! One child: a process, its pipes, and its end.
//!
//! It is the leader of a process group of its own: a Ctrl-C at the terminal does not reach it
//! (what it is to do about the stop, it is told), and what it started ends with it where it is
//! killed. Its input is written while its output is read, so that neither waits for the other.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dispatchd_core::limits::{KIB, MIB};
use dispatchd_core::wire::multilang::LINE_BYTES_MAX;
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::command::CommandLine;
use super::stderr;

/// How long what a child has said is still read once it ended: it lies in the pipes, unless a
/// process that it started holds them open.
const AFTER_END: Duration = Duration::from_secs(1);

/// How long a child that closed its output may take to end.
const END_AFTER_OUTPUT: Duration = Duration::from_secs(5);

/// How long a child that was killed may take to be gone. One that hangs in the kernel is left to
/// it.
const GONE_AFTER_KILL: Duration = Duration::from_secs(5);

/// Bytes that may wait to be written: the largest message, and then answers. A child that asks on
/// and on and reads nothing is not listened to beyond that; then it does not answer in time.
pub(crate) const MESSAGES_BYTES_MAX: usize = 32 * MIB;

/// Bytes that are read at once.
const READ_BYTES: usize = 8 * KIB;

pub(super) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    /// `None` once it is closed, by either side.
    input: Option<ChildStdin>,
    /// What is to be written, and how much of it was.
    outgoing: Vec<u8>,
    written: usize,
    output: Output,
    /// One task, which logs standard error.
    errors: JoinSet<()>,
    status: Option<ExitStatus>,
    /// When to stop listening, once the child has ended or closed its output.
    until: Option<Instant>,
}

/// Standard output, in lines.
struct Output {
    pipe: ChildStdout,
    is_open: bool,
    buf: Vec<u8>,
    splitter: Splitter,
}

/// What a child does.
#[derive(Debug)]
pub(super) enum Event {
    Line(Vec<u8>),
    /// A line that is longer than any message.
    LongLine,
    /// It ended, and everything that it said was heard.
    Ended(ExitStatus),
    /// It closed its output and did not end.
    OutputClosed,
}

impl Child {
    /// # Errors
    /// If there is no such program, it may not be executed, or there is no room for a process.
    pub(super) fn start(command: &CommandLine, shard: &Arc<str>) -> io::Result<Self> {
        let mut process = Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = process.id().expect("it was not waited for");
        let pid = Pid::from_raw(id.cast_signed()).expect("a child's id is not 0");
        let errors = process.stderr.take().expect("it is piped");
        let errors = JoinSet::from_iter([stderr::log(errors, Arc::clone(shard), id)]);
        let output = Output {
            pipe: process.stdout.take().expect("it is piped"),
            is_open: true,
            buf: Vec::with_capacity(READ_BYTES),
            splitter: Splitter::new(LINE_BYTES_MAX),
        };
        Ok(Self {
            input: process.stdin.take(),
            process,
            pid,
            outgoing: Vec::new(),
            written: 0,
            output,
            errors,
            status: None,
            until: None,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Has this written after what is being written.
    pub(super) fn write(&mut self, line: Vec<u8>) {
        if self.outgoing.is_empty() {
            self.outgoing = line;
        } else {
            self.outgoing.extend_from_slice(&line);
        }
    }

    /// What the child does next. Dropped while it waits, it loses nothing.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.output.next() {
                return event;
            }
            if let (Some(status), false) = (self.status, self.output.is_open) {
                return Event::Ended(status);
            }
            let has_ended = self.status.is_some();
            let is_writing = !self.outgoing.is_empty();
            let is_full = self.outgoing.len() - self.written > MESSAGES_BYTES_MAX;
            let until = self.until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = self.output.read(), if self.output.is_open && !is_full => {
                    if !self.output.is_open && !has_ended {
                        self.until = Some(Instant::now() + END_AFTER_OUTPUT);
                    }
                }
                written = write(&mut self.input, &self.outgoing[self.written..]), if is_writing => {
                    self.wrote(written);
                }
                status = self.process.wait(), if !has_ended => {
                    // The process is ours to wait for, and nobody else has.
                    self.status = status.ok();
                    self.until = Some(Instant::now() + AFTER_END);
                }
                () = sleep_until(until), if self.until.is_some() => {
                    return self.status.map_or(Event::OutputClosed, Event::Ended);
                }
            }
        }
    }

    fn wrote(&mut self, written: io::Result<usize>) {
        match written {
            Ok(bytes) => self.written += bytes,
            // Nobody reads: then the child has ended or is about to, and that is the event.
            Err(_) => (self.input, self.written) = (None, self.outgoing.len()),
        }
        if self.written == self.outgoing.len() {
            (self.outgoing, self.written) = (Vec::new(), 0);
        }
    }

    /// Closes its input and waits for its end until then, and for what it still says. What it
    /// started ends with it. Returns its status; `None` if it had to be killed.
    pub(super) async fn finish(mut self, until: Instant) -> Option<ExitStatus> {
        (self.input, self.outgoing, self.written) = (None, Vec::new(), 0);
        let ended = async {
            loop {
                match self.event().await {
                    Event::Ended(status) => return Some(status),
                    Event::OutputClosed => return None,
                    Event::Line(_) | Event::LongLine => {}
                }
            }
        };
        let status = timeout_at(until, ended).await.ok().flatten();
        self.kill().await;
        status
    }

    /// Ends it now, with what it started. Returns the status that it then has.
    pub(super) async fn kill(&mut self) -> Option<ExitStatus> {
        // Of a child that has just ended, what it started may go on. Its group keeps its id as long
        // as there is somebody in it.
        kill_group(self.pid);
        if self.status.is_none() {
            let gone = timeout(GONE_AFTER_KILL, self.process.wait()).await;
            self.status = gone.ok().and_then(Result::ok);
        }
        self.hear_the_last_words().await;
        self.status
    }

    /// So that what it wrote to standard error stands in the log before what is told of its end.
    async fn hear_the_last_words(&mut self) {
        // Its task cannot panic on what a child writes; one that waits for a grandchild is dropped.
        let _ = timeout(AFTER_END, self.errors.join_next()).await;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Of one that was waited for, the id may be another's by now.
        if self.status.is_none() {
            kill_group(self.pid);
        }
    }
}

fn kill_group(leader: Pid) {
    let _ = kill_process_group(leader, Signal::KILL); // a group that is gone takes no signal
}

async fn write(input: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match input {
        Some(input) => input.write(bytes).await,
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

impl Output {
    fn next(&mut self) -> Option<Event> {
        if let Some(line) = self.splitter.next(&self.buf) {
            return Some(match line {
                Line::Complete { text, .. } => Event::Line(text.to_vec()),
                Line::TooLong { .. } => Event::LongLine,
            });
        }
        self.buf.drain(..self.splitter.take_split());
        // A last line needs no end.
        let is_torn = !self.is_open && self.splitter.torn(&self.buf).is_some();
        is_torn.then(|| Event::Line(std::mem::take(&mut self.buf)))
    }

    async fn read(&mut self) {
        self.buf.reserve(READ_BYTES);
        let read = self.pipe.read_buf(&mut self.buf).await;
        self.is_open = matches!(read, Ok(bytes) if bytes > 0);
    }
}
