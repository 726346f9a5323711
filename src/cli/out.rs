//! Prints for a command, and tells it when nobody takes what it prints. Nothing else here writes to
//! the standard streams: `println!` panics when they are closed or full.
//!
//! On a terminal, characters that are not seen are written out (see [`crate::terminal`]); a pipe
//! and a file get the bytes.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow::{self, Break, Continue};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::terminal;

/// Standard output takes no more, as on a full disk. What was to be printed must not be thrown away
/// without a word.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(super) struct PrintError(#[from] io::Error);

/// Whether somebody takes what is printed. `Break` means that nobody does any more, as with `|
/// head`: that is no error, and there is nothing left to say.
pub(super) type Taken = Result<ControlFlow<()>, PrintError>;

/// Prints a text, and waits until it is taken.
pub(super) fn print(text: &str) -> Taken {
    let shown = if io::stdout().is_terminal() { terminal::escaped(text) } else { text.into() };
    write(shown.as_bytes())
}

/// Prints what another program said, which need not be text.
pub(super) fn print_bytes(said: &[u8]) -> Taken {
    if io::stdout().is_terminal() { print(&String::from_utf8_lossy(said)) } else { write(said) }
}

/// Prints a text as it is, to a terminal too: what draws there has escaped what it draws.
pub(super) fn draw(text: &str) -> Taken {
    write(text.as_bytes())
}

fn write(bytes: &[u8]) -> Taken {
    let mut out = io::stdout().lock();
    taken(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What became of a write to standard output.
pub(super) fn taken(written: io::Result<()>) -> Taken {
    match written {
        Ok(()) => Ok(Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Break(())),
        Err(error) => Err(error.into()),
    }
}

/// Prints to standard error. Where nobody can be told, the exit code still tells.
pub(super) fn tell(text: &str) {
    let shown: Cow<str> =
        if io::stderr().is_terminal() { terminal::escaped(text) } else { text.into() };
    let _ = io::stderr().write_all(shown.as_bytes());
}

/// Draws a line on a terminal's standard error over the one before it.
pub(super) fn redraw(line: &str) {
    let _ = write!(io::stderr(), "\r{line}");
}

/// Returns when nobody can take what is printed any more, without printing: the reader of a pipe is
/// gone, or a terminal was hung up. Where that cannot happen (a file) it never returns.
pub(super) fn wait_until_unread() {
    let stdout = io::stdout();
    loop {
        // The kernel tells of these without being asked, and of nothing else.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return,
            Err(_) => std::thread::park(), // it cannot be watched: the next write tells
        }
    }
}
