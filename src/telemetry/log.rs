//! Logging: JSON where nobody watches, text on a terminal; always on stderr.
//!
//! Transitions, not traffic; never a payload. A line that cannot be written is lost, and nothing else is.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging for the whole process; at most once.
///
/// # Errors
/// If `level` is no level and no filter directive.
pub fn start(format: LogFormat, level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    // The libraries' own chatter begins at warn; a directive of the operator's can ask for more.
    let filter =
        EnvFilter::builder().parse(format!("warn,dispatchd={level}")).or_else(|_| EnvFilter::builder().parse(level))?;
    let text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    // A log that cannot be written, for a full disk or a reader that is gone, is no reason to stop: the subscriber's own
    // complaint about it goes to the same place, and its panic would take a lane along.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if text {
        log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    } else {
        log.json().flatten_event(true).with_target(false).with_current_span(false).with_span_list(false).init();
    }
    Ok(())
}
