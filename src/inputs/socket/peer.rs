//! Who listens at a socket that is there already. It asks the kernel, and disturbs nobody.

use std::fmt;
use std::io;
use std::path::Path;

use tokio::net::UnixStream;

/// Bytes of a process' name, as the kernel keeps it.
const NAME_BYTES_MAX: usize = 15;

/// Who listens at a socket, by the credentials that they listened with. What is not known is
/// `None`, and is not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    name: Option<String>,
    pid: Option<i32>,
    uid: Option<u32>,
}

impl Peer {
    /// Whether it is a daemon as we are.
    pub fn is_dispatchd(&self) -> bool {
        self.name.as_deref() == Some(env!("CARGO_PKG_NAME"))
    }

    fn of(stream: &UnixStream) -> Self {
        let Ok(credentials) = stream.peer_cred() else { return Self::default() };
        let pid = credentials.pid().filter(|pid| *pid != 0); // of another PID namespace
        Self { name: pid.and_then(process_name), pid, uid: Some(credentials.uid()) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if self.is_dispatchd() => write!(f, "another {name}")?,
            Some(name) => f.write_str(name)?,
            None => f.write_str("another program")?,
        }
        match (self.pid, self.uid) {
            (Some(pid), Some(uid)) => write!(f, " (process {pid}, user {uid})"),
            (None, Some(uid)) => write!(f, " (of user {uid}, in another container)"),
            _ => Ok(()),
        }
    }
}

/// Whatever a process calls itself, it is a word on the operator's terminal.
fn process_name(pid: i32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let is_plain = |c: char| c.is_ascii_graphic();
    Some(
        name.trim()
            .chars()
            .map(|c| if is_plain(c) { c } else { '?' })
            .take(NAME_BYTES_MAX)
            .collect(),
    )
}

/// Who listens at this path; `None` where a file was left behind, or there is none.
///
/// # Errors
/// If that cannot be known, as with another user's socket.
pub(super) async fn who_serves(path: &Path) -> io::Result<Option<Peer>> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(Peer::of(&stream))),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::WouldBlock => Ok(Some(Peer::default())), // more wait than its queue holds
            _ => Err(error),
        },
    }
}
