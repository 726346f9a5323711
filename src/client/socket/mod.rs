//! Lines to a daemon's socket for events and its answers back, both at once.
//!
//! One thread reads the input and sends, one reads answers, and who called takes them. The daemon's
//! answers are always read, however slowly they are taken: a daemon that waits to write closes the
//! connection. So what waits to be taken is bounded by what is sent: while too much waits, no line
//! is sent. Nothing here prints.

mod lines;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use serde::Deserialize;

use self::lines::Lines;
use dispatchd_core::limits::MIB;
use dispatchd_core::model::Code;

/// Bytes that one read takes.
const CHUNK_BYTES: usize = 64 * 1024;
/// Lines that are sent and whose answers are not taken: the default of `socket.window`, over which
/// a daemon does not read anyway.
const WINDOW_LINES: u64 = 4096;
/// Bytes of answers that wait to be taken while more lines are sent; some four times the usual
/// window. Answers that echo their event are longer: those of the lines that are under way come on
/// top, as many as the daemon holds for a connection.
const WAITING_BYTES_MAX: usize = 4 * MIB;

/// What keeps us from the daemon. Whether there is none, or one that we may not reach, is not the
/// same to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(
        "no daemon answers at {}: start one with `dispatchd run`, or say where it is with \
         --socket or DISPATCHD_SOCKET", .0.display()
    )]
    Nobody(PathBuf),
    #[error(
        "user {} may not connect to {}: join the socket's group, or let others in with \
         socket.mode and the mode of its directory",
        rustix::process::geteuid().as_raw(), .0.display()
    )]
    NotPermitted(PathBuf),
    #[error("cannot connect to {}: {source}", path.display())]
    Other { path: PathBuf, source: io::Error },
}

/// What became of the lines, once the daemon has ended its half or nobody takes its answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    AllAcked,
    /// At least one answer was a refusal.
    SomeRefused,
    /// Nobody takes the answers any more.
    Unread,
}

/// Why not every line has an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the daemon's answer is not of the protocol")]
    NotAnAnswer(#[from] serde_json::Error),
    #[error(
        "the daemon let no more connections in and has read nothing: no line is in the stream, \
         send them again later"
    )]
    TurnedAway,
    #[error(
        "the connection ended with {unanswered} of {sent} lines unanswered: they may or may not \
         be in the stream, send them again{}", unsent(.input_is_left)
    )]
    Unanswered { unanswered: u64, sent: u64, input_is_left: bool },
    #[error("cannot read the input: {error}. Lines that came before, sent and answered: {sent}")]
    Input { error: io::Error, sent: u64 },
    #[error(
        "the daemon ended the connection after {sent} lines, which are answered{}", unsent(&true)
    )]
    Ended { sent: u64 },
}

fn unsent(input_is_left: &bool) -> &'static str {
    if *input_is_left { ". The rest of the input was not sent" } else { "" }
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

/// Lines on their way out and answers on their way back. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session(Arc<Inner>);

/// What the threads share. A lock, as a channel has no bound in bytes and cannot say to its sender
/// how far the taking has come; it is held for a few additions.
#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that ask for an answer.
    sent: u64,
    /// Answers.
    taken: u64,
    /// Answers that are to be taken, and their bytes with those of the ones that are being taken.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    input: Input,
    /// The daemon has ended its half.
    answers_ended: bool,
    /// Nobody takes answers any more.
    is_unread: bool,
}

/// What the answers say that were taken.
#[derive(Debug, Default)]
pub(crate) struct AnswerCounts {
    pub answered: u64,
    pub refused: u64,
    /// The daemon let nobody in: what it said stands for all lines.
    turned_away: bool,
}

/// Connects to the daemon that listens at this path.
pub(crate) fn connect(path: &Path) -> Result<UnixStream, ConnectError> {
    UnixStream::connect(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ConnectError::Nobody(path.into())
        }
        io::ErrorKind::PermissionDenied => ConnectError::NotPermitted(path.into()),
        _ => ConnectError::Other { path: path.into(), source },
    })
}

impl Session {
    /// Begins to copy `input` to the daemon. Its threads are waited for by nobody: the input may
    /// never end.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn start(socket: UnixStream, input: impl Read + Send + 'static) -> io::Result<Self> {
        let (session, socket) = (Self::default(), Arc::new(socket));
        let (sender, reader) = (session.clone(), session.clone());
        let half = Arc::clone(&socket);
        spawn("input", move || sender.send_lines(input, &half))?;
        spawn("answers", move || reader.read_answers(&socket))?;
        Ok(session)
    }

    /// All answers that are here. Waits for the first one; `None` when there will be none, or
    /// nobody takes them. Each is to be told [`Self::taken`] afterwards.
    pub(crate) fn next_answers(&self) -> Option<Vec<Vec<u8>>> {
        let nothing = |state: &mut State| {
            state.waiting.is_empty() && !state.answers_ended && !state.is_unread
        };
        let waited = self.0.changed.wait_while(self.state(), nothing);
        let mut state = waited.expect("nobody panics with it in hand");
        if state.is_unread {
            return None;
        }
        let answers: Vec<_> = state.waiting.drain(..).collect();
        (!answers.is_empty()).then_some(answers)
    }

    /// So many answers of so many bytes were taken by whoever reads them.
    pub(crate) fn taken(&self, answers: usize, bytes: usize) {
        self.change(|state| {
            state.taken += answers as u64;
            state.waiting_bytes -= bytes;
        });
    }

    /// Nobody takes answers any more.
    pub(crate) fn unread(&self) {
        self.change(|state| state.is_unread = true);
    }

    /// Lines that were sent and ask for an answer.
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent
    }

    /// What became of the lines, once [`Self::next_answers`] gives no more.
    pub(crate) fn conclude(&self, counts: &AnswerCounts) -> Result<Outcome, SendError> {
        let mut state = self.state();
        // A reader that left after the last answer, as `head` does, missed nothing.
        let is_done = matches!(state.input, Input::AtEnd) && state.taken >= state.sent;
        if state.is_unread && !is_done {
            return Ok(Outcome::Unread);
        }
        let (sent, unanswered) = (state.sent, state.sent.saturating_sub(counts.answered));
        let input = std::mem::take(&mut state.input);
        if counts.turned_away {
            return Err(SendError::TurnedAway);
        }
        if unanswered > 0 {
            let input_is_left = matches!(input, Input::Open);
            return Err(SendError::Unanswered { unanswered, sent, input_is_left });
        }
        match input {
            Input::Unreadable(error) => Err(SendError::Input { error, sent }),
            Input::Open => Err(SendError::Ended { sent }),
            Input::AtEnd if counts.refused > 0 => Ok(Outcome::SomeRefused),
            Input::AtEnd => Ok(Outcome::AllAcked),
        }
    }

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

    /// Says whether all was sent.
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
                WINDOW_LINES.saturating_sub(state.sent.saturating_sub(state.taken))
            }
            _ => 0,
        };
        let waited = self.0.changed.wait_while(self.state(), |state| room(state) == 0);
        room(&waited.expect("nobody panics with it in hand")) as usize
    }

    /// Reads answers as they come, until the daemon ends its half. One that it could not end is
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

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics with it in hand")
    }
}

impl AnswerCounts {
    /// Counts an answer.
    ///
    /// # Errors
    /// If it is none of the protocol's.
    pub(crate) fn count(&mut self, line: &[u8]) -> Result<(), SendError> {
        let answer: Answer = serde_json::from_slice(line)?;
        self.answered += 1;
        self.refused += u64::from(!answer.ok);
        // The one line that such a connection gets, and nothing was read of it. A later refusal of
        // this code is of one event alone.
        self.turned_away = self.answered == 1
            && answer.error.is_some_and(|error| error.code == Code::Overloaded.as_str());
        Ok(())
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could go wrong: one event of many is refused for want of room, and a person is told
    /// that none of the others is in the stream.
    #[test]
    fn only_a_connection_whose_first_answer_says_so_was_turned_away() {
        const OK: &[u8] = br#"{"ref":1,"ok":true}"#;
        const FULL: &[u8] = br#"{"ok":false,"error":{"code":"Overloaded"}}"#;
        for (answers, turned_away) in
            [(&[FULL][..], true), (&[OK, FULL], false), (&[OK], false), (&[FULL, OK], false)]
        {
            let mut counts = AnswerCounts::default();
            answers.iter().for_each(|line| counts.count(line).expect("it is an answer"));
            assert_eq!(counts.turned_away, turned_away, "{}", answers.len());
        }
    }
}
