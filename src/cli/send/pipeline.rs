//! Lines to the daemon and its answers to standard output, both at once.
//!
//! One thread reads the input and sends, one reads answers, and who called prints them. The
//! daemon's answers are always read, however slowly they are printed: a daemon that waits to write
//! closes the connection. So what waits to be printed is bounded by what is sent: while too much
//! waits, no line is sent.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::lines::Lines;
use crate::cli::out;
use dispatchd_core::limits::MIB;
use dispatchd_core::model::Code;

/// How often the progress line on a terminal is drawn again.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// What one read takes.
const CHUNK_BYTES: usize = 64 * 1024;
/// Lines that are sent and whose answers are not printed: the default of `socket.window`, over
/// which a daemon does not read anyway.
const WINDOW_LINES: u64 = 4096;
/// Bytes of answers that wait to be printed while more lines are sent; some four times the usual
/// window. Answers that echo their event are longer: those of the lines that are under way come on
/// top, as many as the daemon holds for a connection.
const WAITING_BYTES_MAX: usize = 4 * MIB;

/// What became of the lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    AllAcked,
    /// An answer was a refusal.
    SomeRefused,
    /// Nobody takes the answers any more.
    Unread,
}

/// All that is read of an answer.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

/// How the input stands.
#[derive(Debug, Default)]
enum Input {
    #[default]
    Open,
    AtEnd,
    Unreadable(io::Error),
}

/// What the threads share. A lock, as a channel has no bound in bytes and cannot say to its sender
/// how far the printing has come; it is held for a few additions.
#[derive(Debug, Default)]
struct Pipeline {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that ask for an answer.
    sent: u64,
    printed: u64,
    /// Answers that are to be printed, and their bytes with those of the ones that are being
    /// printed.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    input: Input,
    /// The daemon has ended its half.
    answers_ended: bool,
    /// Nobody takes what is printed.
    is_unread: bool,
}

/// What was printed.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    refused: u64,
    /// The daemon let nobody in: what it said stands for all lines.
    turned_away: bool,
}

/// Copies `input` to the daemon and its answers to standard output, until it ended its half or
/// nobody takes them.
///
/// # Errors
/// The input cannot be read (what was sent is answered and printed first), the daemon left lines
/// without an answer, or the answers cannot be printed.
pub(super) fn run(
    socket: UnixStream,
    input: impl Read + Send + 'static,
    progress: bool,
) -> anyhow::Result<Outcome> {
    let pipeline = Arc::<Pipeline>::default();
    let socket = Arc::new(socket);
    // None of them is waited for: the input may never end, and the process ends with this
    // function's word.
    spawn("input", &pipeline, {
        let socket = Arc::clone(&socket);
        move |pipeline| pipeline.send_lines(input, &socket)
    })?;
    spawn("answers", &pipeline, move |pipeline| pipeline.read_answers(&socket))?;
    spawn("stdout", &pipeline, |pipeline| {
        out::wait_until_unread();
        pipeline.change(|state| state.is_unread = true);
    })?;
    let tally = pipeline.print_answers(progress)?;
    let state = pipeline.state();
    // A reader that left after the last answer, as `head` does, missed nothing.
    let is_printed = matches!(state.input, Input::AtEnd) && state.printed >= state.sent;
    if state.is_unread && !is_printed { Ok(Outcome::Unread) } else { conclude(&state, &tally) }
}

fn spawn(
    name: &str,
    pipeline: &Arc<Pipeline>,
    work: impl FnOnce(&Pipeline) + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let pipeline = Arc::clone(pipeline);
    thread::Builder::new().name(name.into()).spawn(move || work(&pipeline))
}

/// What there is to say once the daemon has ended its half.
fn conclude(state: &State, tally: &Tally) -> anyhow::Result<Outcome> {
    let (sent, unanswered) = (state.sent, state.sent.saturating_sub(tally.answered));
    let unread = match &state.input {
        Input::Open => ". The rest of the input was not sent",
        Input::AtEnd | Input::Unreadable(_) => "",
    };
    if tally.turned_away {
        bail!(
            "the daemon let no more connections in and has read nothing: no line is in the stream, send them again later"
        );
    }
    if unanswered > 0 {
        bail!(
            "the connection ended with {unanswered} of {sent} lines unanswered: they may or may not be in the stream, send them again{unread}"
        );
    }
    match &state.input {
        Input::Unreadable(error) => {
            bail!(
                "cannot read the input: {error}. Lines that came before, sent and answered: {sent}"
            )
        }
        Input::Open => {
            bail!("the daemon ended the connection after {sent} lines, which are answered{unread}")
        }
        Input::AtEnd if tally.refused > 0 => Ok(Outcome::SomeRefused),
        Input::AtEnd => Ok(Outcome::AllAcked),
    }
}

impl Pipeline {
    /// Sends the whole lines of `input`, then ends our half, whatever the end.
    fn send_lines(&self, input: impl Read, socket: &UnixStream) {
        let end = match self.copy_lines(input, socket) {
            Ok(true) => Input::AtEnd,
            Ok(false) => return, // the daemon is gone: the answers that are missing tell
            Err(error) => Input::Unreadable(error),
        };
        // Noted first: the daemon's end must not come before ours.
        self.change(|state| state.input = end);
        let _ = socket.shutdown(Shutdown::Write);
    }

    /// Whether all was sent.
    fn copy_lines(&self, mut input: impl Read, mut socket: &UnixStream) -> io::Result<bool> {
        let (mut lines, mut piece) = (Lines::default(), vec![0; CHUNK_BYTES]);
        loop {
            let read = match input.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            match &piece[..read] {
                [] => lines.end(),
                piece => lines.push(piece),
            }
            while lines.has_whole() {
                let (bytes, asking) = lines.take(self.wait_for_room());
                // Counted first: an answer must not come before its line.
                self.change(|state| state.sent += asking as u64);
                if socket.write_all(&bytes).is_err() {
                    return Ok(false);
                }
            }
            if read == 0 {
                return Ok(true);
            }
        }
    }

    /// How many lines may be sent now; at least one.
    fn wait_for_room(&self) -> usize {
        let room = |state: &State| match state.waiting_bytes {
            ..WAITING_BYTES_MAX => {
                WINDOW_LINES.saturating_sub(state.sent.saturating_sub(state.printed))
            }
            _ => 0,
        };
        let waited = self.changed.wait_while(self.state(), |state| room(state) == 0);
        room(&waited.expect("nobody panics with it in hand")) as usize
    }

    /// Takes answers as they come, until the daemon ends its half. One that it could not end is
    /// none.
    fn read_answers(&self, socket: &UnixStream) {
        let mut answers = BufReader::with_capacity(CHUNK_BYTES, socket);
        loop {
            let mut line = Vec::new();
            if answers.read_until(b'\n', &mut line).is_err() || line.last() != Some(&b'\n') {
                break;
            }
            self.change(|state| {
                state.waiting_bytes += line.len();
                state.waiting.push_back(line);
            });
        }
        self.change(|state| state.answers_ended = true);
    }

    /// Prints answers until there are no more, or nobody takes them.
    fn print_answers(&self, progress: bool) -> anyhow::Result<Tally> {
        let (mut tally, mut drawn) = (Tally::default(), Instant::now());
        while let Some(answers) = self.next_answers() {
            for line in &answers {
                tally.count(line)?;
            }
            let text = answers.concat();
            if out::print_bytes(&text)?.is_break() {
                self.change(|state| state.is_unread = true);
                break;
            }
            self.change(|state| {
                state.printed += answers.len() as u64;
                state.waiting_bytes -= text.len();
            });
            if progress && drawn.elapsed() >= PROGRESS_EVERY {
                self.draw(&tally);
                drawn = Instant::now();
            }
        }
        if progress {
            self.draw(&tally);
            out::tell("\n");
        }
        Ok(tally)
    }

    /// All answers that are here; nothing when there will be none, or nobody takes them.
    fn next_answers(&self) -> Option<Vec<Vec<u8>>> {
        let nothing = |state: &mut State| {
            state.waiting.is_empty() && !state.answers_ended && !state.is_unread
        };
        let waited = self.changed.wait_while(self.state(), nothing);
        let mut state = waited.expect("nobody panics with it in hand");
        if state.is_unread {
            return None;
        }
        let answers: Vec<_> = state.waiting.drain(..).collect();
        (!answers.is_empty()).then_some(answers)
    }

    fn draw(&self, Tally { answered, refused, .. }: &Tally) {
        let sent = self.state().sent;
        out::redraw(&format!("{sent} sent, {} acked, {refused} refused", answered - refused));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it in hand")
    }
}

impl Tally {
    fn count(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let answer: Answer =
            serde_json::from_slice(line).context("the daemon's answer is not of the protocol")?;
        self.answered += 1;
        self.refused += u64::from(!answer.ok);
        // The one line that such a connection gets, and nothing was read of it.
        self.turned_away =
            answer.error.is_some_and(|error| error.code == Code::Overloaded.as_str());
        Ok(())
    }
}
