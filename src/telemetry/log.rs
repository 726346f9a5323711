//! The log: JSON where nobody watches, text on a terminal; always on standard error.
//!
//! It tells transitions, not traffic, and never a payload. A line that cannot be written is lost,
//! and nothing else is: nobody waits for it, but for a moment at the end of the process.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use dispatchd_core::choice;
use serde::Deserialize;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::level::log_filter;
use super::stderr::Stderr;
use crate::terminal::escaped_but_colours;

/// What the process logs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub format: LogFormat,
    /// A level, or directives of a filter.
    pub level: String,
}

choice! {
    /// How lines of the log are written.
    pub(crate) enum LogFormat {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        Json = "json",
        Text = "text",
    }
}

/// The log of this process. Its level can be changed while it runs. Dropped, it waits a moment
/// until all is written.
#[derive(Debug)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
    stderr: Arc<Stderr>,
}

/// A line's way to standard error.
struct Line {
    stderr: Arc<Stderr>,
    /// Whether it goes to a terminal, which would act on what others wrote into it.
    to_terminal: bool,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Level(#[from] NotALevel),
    #[error("cannot start the log's thread: {0}")]
    Thread(#[from] io::Error),
}

/// A text that is neither a level nor a filter's directives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "log.level = {0:?}: expected error, warn, info, debug, trace, or directives such as \
     warn,dispatchd=debug"
)]
pub(crate) struct NotALevel(String);

/// Starts logging for the whole process, panics included. It can be called once.
///
/// # Errors
/// If `level` is neither a level nor a filter's directives, or there is no thread to be had.
pub(crate) fn start(format: LogFormat, level: &str) -> Result<Log, StartError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let stderr = Stderr::start(tell_lost)?;
    let to_terminal = io::stderr().is_terminal();
    let text = match format {
        LogFormat::Auto => to_terminal,
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let lines = Arc::clone(&stderr);
    let line = move || Line { stderr: Arc::clone(&lines), to_terminal };
    let log = fmt::layer().with_writer(line).log_internal_errors(false).with_target(false);
    let log = if text {
        log.with_ansi(to_terminal).boxed()
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(filter).with(log).init();
    let panics = Arc::clone(&stderr);
    panic::set_hook(Box::new(move |panic| tell_panic(&panics, panic)));
    Ok(Log { filter: handle, stderr })
}

fn tell_lost(lines: u64) {
    tracing::warn!(
        lines,
        "lines of this log were lost: whoever reads it was too slow, or it could not be written"
    );
}

/// Logs a panic in the words of the standard library, which would write to standard error itself,
/// and wait there. It may be the last there is to say, so it is waited for.
fn tell_panic(stderr: &Stderr, panic: &PanicHookInfo<'_>) {
    let mut text =
        format!("\nthread '{}' {panic}\n", thread::current().name().unwrap_or("<unnamed>"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("stack backtrace:\n{backtrace}\n"));
    }
    stderr.push(text.as_bytes());
    stderr.wait_until_written();
}

fn filter(level: &str) -> Result<Targets, NotALevel> {
    log_filter(level).ok_or_else(|| NotALevel(level.to_owned()))
}

impl Log {
    /// Logs at this level from now on.
    ///
    /// # Errors
    /// If it is neither a level nor a filter's directives: then the old level holds.
    pub(crate) fn set(&self, level: &str) -> Result<(), NotALevel> {
        self.filter.reload(filter(level)?).expect("the subscriber lives as long as the process");
        Ok(())
    }

    /// Where the lines go, for the count of those that were lost.
    pub(crate) fn stderr(&self) -> &Arc<Stderr> {
        &self.stderr
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stderr.wait_until_written();
    }
}

impl Write for Line {
    /// Takes the whole text: the subscriber writes a line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.to_terminal {
            self.stderr.push(escaped_but_colours(&String::from_utf8_lossy(line)).as_bytes());
        } else {
            self.stderr.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, pipe};
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_panic_is_told_where_the_log_goes() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let stderr = Stderr::write_to(File::from(OwnedFd::from(writer)), |_| ()).expect("a thread");
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| tell_panic(&stderr, panic)));
        let died = thread::Builder::new()
            .name("lane".into())
            .spawn(|| panic!("out of words"))
            .expect("a thread")
            .join();
        panic::set_hook(usual);
        assert!(died.is_err());
        // The hook has waited until it was written, so it is here at once.
        let mut told = [0; 64 * 1024];
        let told_bytes = reader.read(&mut told).expect("it can be read");
        let told = String::from_utf8_lossy(&told[..told_bytes]);
        assert!(told.contains("thread 'lane' panicked at src/telemetry/log.rs:"), "{told}");
        assert!(told.contains("\nout of words\n"), "{told}");
    }
}
