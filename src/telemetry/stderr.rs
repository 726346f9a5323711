//! Standard error, written by a thread of its own: whoever logs never waits for whoever reads the
//! log.
//!
//! A collector that is stuck leaves a pipe that is open and full, and a write to it would stop the
//! one thread that moves events. So lines wait here, in order; a line that finds no room is lost,
//! and counted. Nothing here knows what a line says.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use dispatchd_core::limits::KIB;

/// The most bytes of lines that wait for whoever reads the log. They are some 1,000 lines of the
/// usual 250 bytes: more than any start, stop or outage says, and little beside the memory of an
/// idle daemon.
pub(crate) const WAITING_BYTES_MAX: usize = 256 * KIB;
/// How long the end of the process waits until the last lines are written.
pub(crate) const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// The way to standard error.
#[derive(Debug, Default)]
pub(crate) struct Stderr {
    /// A lock, held for a push or a pop and never while something is written: a channel has no
    /// bound in bytes, and nobody can wait until it is empty for a limited time.
    waiting: Mutex<Waiting>,
    changed: Condvar,
    lines_lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    /// The bytes of these lines and of the one that is being written.
    bytes: usize,
}

impl Stderr {
    /// Starts the thread that writes, which ends with the process. When lines were lost and all
    /// that waited is written, `tell_lost` is called with their number, so that the log says so.
    ///
    /// # Errors
    /// If there is no thread or no file descriptor to be had.
    pub(crate) fn start(tell_lost: fn(u64)) -> io::Result<Arc<Self>> {
        // A descriptor of our own: a write that is stuck must not hold the lock of the standard
        // library's.
        Self::write_to(File::from(io::stderr().as_fd().try_clone_to_owned()?), tell_lost)
    }

    pub(super) fn write_to(out: File, tell_lost: fn(u64)) -> io::Result<Arc<Self>> {
        let stderr = Arc::<Self>::default();
        let writer = Arc::clone(&stderr);
        thread::Builder::new().name("log".into()).spawn(move || writer.write(out, tell_lost))?;
        Ok(stderr)
    }

    /// Queues a line; one that finds no room is lost.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            self.lines_lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        self.changed.notify_all();
    }

    /// How many lines were lost, because there was no room or they could not be written.
    pub(crate) fn lines_lost(&self) -> u64 {
        self.lines_lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was pushed is written, for at most [`LAST_WORDS_MAX`].
    pub(crate) fn wait_until_written(&self) {
        let waited = self
            .changed
            .wait_timeout_while(self.waiting(), LAST_WORDS_MAX, |waiting| waiting.bytes > 0);
        drop(waited.expect("nobody panics with the lines in hand"));
    }

    fn write(&self, mut out: File, tell_lost: fn(u64)) {
        let mut told = 0;
        loop {
            let line = self.next();
            // One line at a time, so that what others write to the same place stands between lines.
            let written = out.write_all(&line);
            if written.is_err() {
                self.lines_lost.fetch_add(1, Ordering::Relaxed);
            }
            let none_waits = self.done(line.len());
            let lost = self.lines_lost();
            // It is not told after a failed write, or a full disk would be told of without end.
            if lost > told && none_waits && written.is_ok() {
                tell_lost(lost - told);
                told = lost;
            }
        }
    }

    fn next(&self) -> Box<[u8]> {
        let waiting = self.changed.wait_while(self.waiting(), |waiting| waiting.lines.is_empty());
        let line = waiting.expect("nobody panics with the lines in hand").lines.pop_front();
        line.expect("there is one: it was waited for")
    }

    /// Counts a written line out; says whether no other one waits.
    fn done(&self, bytes: usize) -> bool {
        let mut waiting = self.waiting();
        waiting.bytes -= bytes;
        self.changed.notify_all();
        waiting.lines.is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics with the lines in hand")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, PipeReader, pipe};
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    fn piped() -> (Arc<Stderr>, BufReader<PipeReader>) {
        let (reader, writer) = pipe().expect("a pipe");
        let stderr = Stderr::write_to(File::from(OwnedFd::from(writer)), |_| ()).expect("a thread");
        (stderr, BufReader::new(reader))
    }

    #[test]
    fn lines_come_out_in_their_order_and_none_is_lost_while_somebody_reads() {
        let (stderr, reader) = piped();
        for n in 0..1_000 {
            stderr.push(format!("{n}\n").as_bytes());
        }
        for (n, line) in (0..1_000).zip(reader.lines()) {
            assert_eq!(line.expect("it can be read"), n.to_string());
        }
        assert_eq!(stderr.lines_lost(), 0);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_lost_is_counted() {
        let (stderr, _reader) = piped();
        let line = [b'x'; 1024];
        for _ in 0..1024 {
            stderr.push(&line); // 1 MiB, for a pipe of 64 KiB
        }
        let waiting = stderr.waiting().bytes;
        assert!(waiting <= WAITING_BYTES_MAX, "{waiting}");
        let kept_max = (WAITING_BYTES_MAX + 64 * 1024) / line.len();
        assert!(stderr.lines_lost() >= (1024 - kept_max) as u64, "{}", stderr.lines_lost());
    }

    #[test]
    fn the_wait_for_the_last_words_ends_when_they_are_written_or_nobody_takes_them() {
        let (stderr, reader) = piped();
        stderr.push(b"last words\n");
        stderr.wait_until_written();
        assert_eq!(stderr.waiting().bytes, 0);
        (0..1024).for_each(|_| stderr.push(&[b'x'; 1024]));
        let began = Instant::now();
        stderr.wait_until_written();
        assert!(began.elapsed() >= LAST_WORDS_MAX, "{:?}", began.elapsed());
        drop(reader);
    }
}
