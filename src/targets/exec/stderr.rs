//! What a child writes to standard error, in the log, line by line.
//!
//! It is read always and at once, whatever becomes of the lines: a child whose pipe is full stands
//! still. So a flood of lines is counted rather than logged.

use std::sync::Arc;
use std::time::Duration;

use dispatchd_core::limits::KIB;
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// Bytes of a line that are logged.
const LINE_BYTES_MAX: usize = 2 * KIB;

/// Lines of one child that are logged in a second: a few stack traces.
const LINES_PER_SECOND_MAX: u64 = 200;

const SECOND: Duration = Duration::from_secs(1);

/// Logs what comes until the child closes it.
pub(super) async fn log(mut from: impl AsyncRead + Unpin, shard: Arc<str>, pid: u32) {
    let (mut splitter, mut buf) = (Splitter::new(LINE_BYTES_MAX), Vec::with_capacity(8 * KIB));
    let mut second = Second::begin(shard, pid);
    loop {
        let read = from.read_buf(&mut buf);
        let read = match second.left_out() {
            0 => Ok(read.await),
            // Told even where no line comes in the next second.
            _ => timeout_at(second.ends, read).await,
        };
        match read {
            Err(_) => {
                second.next();
                continue;
            }
            Ok(Err(_) | Ok(0)) => break,
            Ok(Ok(_)) => {}
        }
        while let Some(line) = splitter.next(&buf) {
            match line {
                Line::Complete { text, .. } => second.line(text, ""),
                Line::TooLong { head, .. } => second.line(&head[..LINE_BYTES_MAX], " …"),
            }
        }
        buf.drain(..splitter.take_split());
    }
    if splitter.torn(&buf).is_some() {
        second.line(&buf, "");
    }
    second.next();
}

/// The lines of one second.
struct Second {
    shard: Arc<str>,
    pid: u32,
    ends: Instant,
    lines: u64,
}

impl Second {
    fn begin(shard: Arc<str>, pid: u32) -> Self {
        Self { shard, pid, ends: Instant::now() + SECOND, lines: 0 }
    }

    fn line(&mut self, text: &[u8], rest: &str) {
        if Instant::now() >= self.ends {
            self.next();
        }
        self.lines += 1;
        if self.lines <= LINES_PER_SECOND_MAX {
            let text = String::from_utf8_lossy(text);
            tracing::info!(shard = &*self.shard, pid = self.pid, "the child says: {text}{rest}");
        }
    }

    fn left_out(&self) -> u64 {
        self.lines.saturating_sub(LINES_PER_SECOND_MAX)
    }

    fn next(&mut self) {
        let left_out = self.left_out();
        if left_out > 0 {
            tracing::warn!(
                shard = &*self.shard,
                pid = self.pid,
                left_out,
                "the child writes more lines to standard error than are logged in a second"
            );
        }
        (self.ends, self.lines) = (Instant::now() + SECOND, 0);
    }
}
