//! The scripted daemon: a socket, its connections, and the lines that come. It moves bytes and
//! tells what happened; what is answered, and when, `play` says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::happening::Happening;

/// What is read at once. While the daemon does not read, no more than this is on its way from the
/// kernel to the lines.
const READ_BYTES: usize = 64 << 10;
/// The longest line that a client may write: more than any case has it write.
const LINE_BYTES_MAX: usize = 4 << 20;
/// How long a client may leave the answers of a connection unread before it is cut: they are few.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection that is turned away may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// What a real daemon says to a connection that is one too many.
const TURNED_AWAY: &[u8] = br#"{"ok":false,"error":{"code":"Overloaded","message":"socket.max_connections connections are open already","retryable":true}}
"#;

/// What becomes of those who connect.
#[derive(Debug, Clone, Copy)]
enum Newcomers {
    LetIn,
    TurnedAway,
}

#[derive(Debug)]
pub(super) struct ScriptedDaemon {
    path: PathBuf,
    tell: mpsc::Sender<Happening>,
    reads: watch::Sender<bool>,
    newcomers: watch::Sender<Newcomers>,
    listener: Option<AbortOnDropHandle<()>>,
    connections: BTreeMap<usize, Connection>,
}

/// One connection: the answers that its writer has to write, and its reader.
#[derive(Debug)]
struct Connection {
    answers: mpsc::UnboundedSender<Vec<u8>>,
    writer: AbortOnDropHandle<()>,
    _reader: AbortOnDropHandle<()>,
}

impl ScriptedDaemon {
    /// A daemon that does not listen yet.
    pub(super) fn new(path: PathBuf, tell: mpsc::Sender<Happening>) -> Self {
        let (reads, newcomers) = (watch::Sender::new(true), watch::Sender::new(Newcomers::LetIn));
        Self { path, tell, reads, newcomers, listener: None, connections: BTreeMap::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Listens at the path, in the place of whatever is there. Connections that are open stay.
    ///
    /// # Errors
    /// If there can be no socket.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let listener = UnixListener::bind(&new)?;
        std::fs::rename(&new, &self.path)?;
        self.newcomers.send_replace(Newcomers::LetIn);
        let accepting = accept(listener, self.newcomers.subscribe(), self.tell.clone());
        self.listener = Some(AbortOnDropHandle::new(tokio::spawn(accepting)));
        Ok(())
    }

    /// Nobody listens any more: the file stays, as after a kill.
    pub(super) fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// The file goes.
    pub(super) fn remove_socket(&mut self) {
        self.listener = None;
        let _ = std::fs::remove_file(&self.path); // it may not be there
    }

    pub(super) fn turn_away(&mut self) {
        self.newcomers.send_replace(Newcomers::TurnedAway);
    }

    pub(super) fn set_reading(&mut self, reads: bool) {
        self.reads.send_replace(reads);
    }

    /// Begins to read from a connection that was let in.
    pub(super) fn take(&mut self, number: usize, stream: UnixStream) {
        let (read, write) = stream.into_split();
        let (answers, written) = mpsc::unbounded_channel(); // what one case says is little
        let reading = read_lines(number, read, self.reads.subscribe(), self.tell.clone());
        let connection = Connection {
            answers,
            writer: AbortOnDropHandle::new(tokio::spawn(self::write(write, written))),
            _reader: AbortOnDropHandle::new(tokio::spawn(reading)),
        };
        self.connections.insert(number, connection);
    }

    pub(super) fn is_open(&self, number: usize) -> bool {
        self.connections.contains_key(&number)
    }

    /// Writes to a connection, if it is still there.
    pub(super) fn write(&self, number: usize, bytes: Vec<u8>) {
        if let Some(connection) = self.connections.get(&number) {
            let _ = connection.answers.send(bytes); // a client that is gone needs no answer
        }
    }

    /// The client ended this connection.
    pub(super) fn let_go(&mut self, number: usize) {
        self.connections.remove(&number);
    }

    /// Ends every connection, once the answers so far are written.
    pub(super) async fn cut(&mut self) {
        for connection in std::mem::take(&mut self.connections).into_values() {
            drop(connection.answers);
            let _ = timeout(WRITTEN_WITHIN, connection.writer).await;
        }
    }
}

async fn accept(
    listener: UnixListener,
    newcomers: watch::Receiver<Newcomers>,
    tell: mpsc::Sender<Happening>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let are_let_in = matches!(*newcomers.borrow(), Newcomers::LetIn);
        let happening = if are_let_in {
            Happening::Connected(stream)
        } else {
            tokio::spawn(timeout(GONE_WITHIN, turn_away(stream))); // bounded by the deadline
            Happening::TurnedAway
        };
        if tell.send(happening).await.is_err() {
            return; // the case is over
        }
    }
}

async fn turn_away(mut stream: UnixStream) {
    let said = stream.write_all(TURNED_AWAY).await;
    if said.is_ok() && stream.shutdown().await.is_ok() {
        // What it writes is read, or its end would come as an error.
        let mut unread = [0; 4096];
        while matches!(stream.read(&mut unread).await, Ok(1..)) {}
    }
}

async fn write(mut socket: OwnedWriteHalf, mut answers: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = answers.recv().await {
        if socket.write_all(&bytes).await.is_err() {
            return; // the reader sees the end of it
        }
    }
    socket.forget(); // the connection's end is the reader's
}

async fn read_lines(
    number: usize,
    mut socket: OwnedReadHalf,
    mut reads: watch::Receiver<bool>,
    tell: mpsc::Sender<Happening>,
) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut searched = 0;
    loop {
        if reads.wait_for(|reads| *reads).await.is_err() {
            return;
        }
        buffer.reserve(READ_BYTES);
        let mut room = (&mut socket).take(READ_BYTES as u64);
        let read = tokio::select! {
            biased;
            _ = reads.changed() => continue,
            read = room.read_buf(&mut buffer) => read,
        };
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[searched..]) {
            let line = buffer[begin..searched + length].to_vec();
            searched += length + 1;
            begin = searched;
            if tell.send(Happening::Line { connection: number, line }).await.is_err() {
                return;
            }
        }
        buffer.drain(..begin);
        searched = buffer.len();
        if !matches!(read, Ok(1..)) || searched > LINE_BYTES_MAX {
            let torn_bytes = searched;
            let _ = tell.send(Happening::HungUp { connection: number, torn_bytes }).await;
            return;
        }
    }
}
