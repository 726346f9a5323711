//! Asks before a command does what cannot be undone: a person types the stream's name.

use std::io::{self, IsTerminal};

use anyhow::bail;

use super::out;

/// Whether there is anybody to ask.
///
/// # Errors
/// If there is not: `what` the command does, and how to say that it may.
pub(super) fn is_there(what: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("this {what}: say --yes if that is what you want");
    }
    Ok(())
}

/// Has a person type the name of the stream. It blocks: there is nothing else to do meanwhile.
/// `undone`: what did not happen if something else is typed.
///
/// # Errors
/// If nobody is there to ask, or something else was typed.
pub(super) fn confirm(what: &str, stream: &str, undone: &str) -> anyhow::Result<()> {
    let name = stream.rsplit('/').next().unwrap_or(stream); // of an ARN
    is_there(what)?;
    out::tell(&format!("This {what}.\nType its name to go on: "));
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    if typed.trim() != name {
        bail!("that is not its name: {undone}");
    }
    Ok(())
}
