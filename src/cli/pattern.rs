//! `pattern`: says whether an event matches an event pattern; and reads the patterns that other
//! commands take.

use std::fs;
use std::io::{self, Read};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::common::{exit, fail, said};
use super::out;

/// The exit code of an event that does not match.
const NO_MATCH: u8 = 1;
/// The exit code of a pattern that is none.
const NO_PATTERN: u8 = 2;

/// What an argument may begin with: the rest of it names a file.
const FILE: char = '@';

#[derive(Debug, Args)]
pub(super) struct Pattern {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether an event matches a pattern
    Test(Test),
}

#[derive(Debug, Args)]
#[command(
    after_help = "For example: dispatchd pattern test --pattern '{\"type\": [{\"prefix\": \"order \
                  \"}]}' --event @event.json\n\nExit codes: 0: it matches; 1: it does not, or is no \
                  event; 2: the pattern is wrong; 64: bad usage, or a file that cannot be read."
)]
struct Test {
    /// The pattern, or @ and the file that holds it
    #[arg(long, value_name = "JSON|@FILE")]
    pattern: String,
    /// The event, @ and the file that holds it, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    event: String,
}

impl Pattern {
    pub(super) fn main(self) -> ExitCode {
        let Verb::Test(Test { pattern, event }) = self.verb;
        let (pattern, event) = match (text(&pattern), event_text(&event)) {
            (Ok(pattern), Ok(event)) => (pattern, event),
            (Err(error), _) | (_, Err(error)) => return fail(error, exit::USAGE),
        };
        let pattern = match dispatchd_pattern::Pattern::parse(&pattern) {
            Ok(pattern) => pattern,
            Err(error) => return fail(format_args!("the pattern is wrong: {error}"), NO_PATTERN),
        };
        match pattern.matches(&event) {
            Ok(true) => said(out::print("it matches\n"), 0),
            Ok(false) => said(out::print("it does not match\n"), NO_MATCH),
            Err(error) => fail(format_args!("this is no event: {error}"), NO_MATCH),
        }
    }
}

/// Reads the pattern of an argument, for other commands.
///
/// # Errors
/// What is wrong with the file or with the pattern.
pub(super) fn read(argument: &str) -> Result<dispatchd_pattern::Pattern, String> {
    let text = text(argument)?;
    dispatchd_pattern::Pattern::parse(&text).map_err(|error| error.to_string())
}

/// Reads the text of an argument, which the argument is or names a file of.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn text(argument: &str) -> Result<String, String> {
    let Some(path) = argument.strip_prefix(FILE) else { return Ok(argument.to_owned()) };
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

fn event_text(argument: &str) -> Result<Vec<u8>, String> {
    if argument != "-" {
        return text(argument).map(String::into_bytes);
    }
    let mut event = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut event);
    read.map(|_| event).map_err(|error| format!("cannot read standard input: {error}"))
}
