//! The token that a target is shown: kept as a header's value that prints as `Sensitive`, and read
//! from its file again when it may have changed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// How long a token that was read from a file is sent before the file is looked at again.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The most bytes of a token's file. Servers take headers of 8 KiB.
const TOKEN_BYTES_MAX: u64 = 8 * 1024;

/// Where a token comes from.
#[derive(Clone)]
pub enum TokenFrom {
    /// The value of a variable: it does not change while a process lives.
    Text(String),
    /// A file, which is read again when it may have changed.
    File(PathBuf),
}

/// A token that cannot be sent. It never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("token: {0}")]
    Text(&'static str),
    #[error("token_file: {}: {what}", .path.display())]
    File { path: PathBuf, what: String },
}

/// Where tokens come from, and the last one.
#[derive(Debug)]
pub(super) struct Tokens {
    /// `None`: the token stays as it is.
    file: Option<PathBuf>,
    /// Guards two words, and is never held over a wait.
    last: Mutex<Last>,
}

#[derive(Debug, Clone)]
struct Last {
    token: HeaderValue,
    read: Instant,
}

/// Never the token itself.
impl fmt::Debug for TokenFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Tokens {
    /// # Errors
    /// There is no token, or it cannot stand in a header.
    pub(super) fn new(from: TokenFrom) -> Result<Self, BadToken> {
        let (file, token) = match from {
            TokenFrom::Text(text) => (None, of_text(&text).map_err(BadToken::Text)?),
            TokenFrom::File(path) => {
                let token = read(&path)?;
                (Some(path), token)
            }
        };
        Ok(Self { file, last: Mutex::new(Last { token, read: Instant::now() }) })
    }

    /// The token to send now.
    ///
    /// # Errors
    /// The file cannot be read any more, or holds no token.
    pub(super) async fn current(&self) -> Result<HeaderValue, BadToken> {
        let last = self.last().clone();
        match &self.file {
            Some(path) if last.read.elapsed() >= READ_EVERY => {
                let token = read_aside(path).await?;
                *self.last() = Last { token: token.clone(), read: Instant::now() };
                Ok(token)
            }
            _ => Ok(last.token),
        }
    }

    /// Waits until the file holds another token than the last one when this began: who asks first
    /// may have sent the new one by then, and the others are to send it too.
    pub(super) async fn changed(&self) {
        let Some(path) = &self.file else { return std::future::pending().await };
        let known = self.last().token.clone();
        loop {
            sleep(READ_EVERY).await;
            if read_aside(path).await.is_ok_and(|token| token != known) {
                return;
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().expect("nobody panics with it in hand")
    }
}

/// Reads the file where a file system that hangs stops nobody else.
async fn read_aside(path: &Path) -> Result<HeaderValue, BadToken> {
    let path = path.to_owned();
    spawn_blocking(move || read(&path)).await.expect("reading a file does not panic")
}

fn read(path: &Path) -> Result<HeaderValue, BadToken> {
    let bad = |what: String| BadToken::File { path: path.to_owned(), what };
    let text = read_text(path).map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(bad(format!("it has more than {TOKEN_BYTES_MAX} bytes")));
    }
    of_text(&text).map_err(|what| bad(what.to_owned()))
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// White space around a token is not part of it: files end in a line break.
fn of_text(text: &str) -> Result<HeaderValue, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("it holds a line break or another character that no header can have");
    }
    let mut value = HeaderValue::from_str(text).expect("it is printable ASCII");
    value.set_sensitive(true);
    Ok(value)
}
