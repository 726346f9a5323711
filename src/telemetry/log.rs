//! Logging: JSON where nobody watches, text on a terminal; always on stderr.
//!
//! Transitions, not traffic; never a payload. A line that cannot be written is lost, and nothing else is.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::LogFormat;

/// The log of this process. Its level can be changed while it runs.
#[derive(Debug)]
pub struct Log(reload::Handle<Targets, Registry>);

/// A text that is no level and no filter directive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log.level = {0:?}: expected error, warn, info, debug, trace, or directives such as warn,dispatchd=debug")]
pub struct NotALevel(String);

/// Starts logging for the whole process; at most once.
///
/// # Errors
/// If `level` is no level and no filter directive.
pub fn start(format: LogFormat, level: &str) -> Result<Log, NotALevel> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    // A log that cannot be written, for a full disk or a reader that is gone, is no reason to stop: the subscriber's own
    // complaint about it goes to the same place, and its panic would take a lane along.
    let log = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false).with_target(false);
    let log = if text {
        log.with_ansi(std::io::stderr().is_terminal()).boxed()
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(filter).with(log).init();
    Ok(Log(handle))
}

/// Whether `level` is a level or a filter directive.
///
/// # Errors
/// If it is neither.
pub fn check(level: &str) -> Result<(), NotALevel> {
    filter(level).map(drop)
}

/// The libraries' own chatter begins at warn; a directive of the operator's can ask for more.
fn filter(level: &str) -> Result<Targets, NotALevel> {
    // The parser takes any word for the name of a module: `verbose` would turn everything else off.
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok(); // the empty text is a level to it
    let ends_in_level = |directive: &str| directive.rsplit('=').next().is_some_and(|last| is_level(last.trim()));
    let directives = if is_level(level) { format!("warn,dispatchd={level}") } else { level.to_owned() };
    let refused = || NotALevel(level.to_owned());
    if !directives.split(',').all(ends_in_level) {
        return Err(refused());
    }
    directives.parse().map_err(|_| refused())
}

impl Log {
    /// From now on this level holds.
    ///
    /// # Errors
    /// If it is no level and no filter directive: then the old one holds.
    pub fn set(&self, level: &str) -> Result<(), NotALevel> {
        self.0.reload(filter(level)?).expect("the subscriber lives as long as the process");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_directives_that_name_one_are_taken_and_nothing_else() {
        for level in
            ["error", "info", "TRACE", "off", "warn,dispatchd=debug", "dispatchd::lane=trace", "hyper=debug,info"]
        {
            assert_eq!(check(level), Ok(()), "{level}");
        }
        for level in ["verbose", "dispatchd", "dispatchd=", "debug=", "info,verbose", "=", ",", ""] {
            assert_eq!(check(level), Err(NotALevel(level.to_owned())), "{level}");
        }
    }
}
