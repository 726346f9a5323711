//! Dead letters: where records go that were given up on, with the reason, so that the rest of their
//! shard goes on and nothing is lost. `dispatchd replay` reads them.
//!
//! - What [`Handle::write`] says is kept is durable: in a file that was synced, or in the other
//!   stream. Only then may a checkpoint pass the record.
//! - What cannot be kept is an error, and the record stays undone: no letter is dropped, and none
//!   is deleted to make room for another.
//! - After a failure the same letters may be written again: at least once.
//!
//! One task owns the place, and takes the letters of all shards and targets; those that wait
//! together are synced together. Nothing here decides what is given up on.

mod file;
mod lines;
mod stream;

use tokio::sync::{mpsc, oneshot};

pub use self::file::{FileError, FileSettings};
pub use self::lines::{Line, Told, lines};
pub use self::stream::{StreamError, StreamSettings};

use self::file::LetterFile;
use self::stream::LetterStream;

/// Writes that wait for the task. Each is one batch that a shard gave up on, and its shard waits.
const WRITES_MAX: usize = 16;

/// Where dead letters go.
#[derive(Debug)]
pub enum Settings {
    File(FileSettings),
    Stream(Box<StreamSettings>),
}

/// Why there is no place for dead letters.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why letters are not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the task that keeps dead letters has ended")]
    Gone,
}

/// The task that keeps dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    place: Place,
    writes: mpsc::Receiver<Write>,
}

/// A way to it. It ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Write>);

#[derive(Debug)]
enum Place {
    /// `None` while a thread has it that may wait for the disk.
    File(Option<LetterFile>),
    Stream(Box<LetterStream>),
}

#[derive(Debug)]
struct Write {
    lines: Vec<Line>,
    done: oneshot::Sender<Result<(), WriteError>>,
}

impl DeadLetters {
    /// Opens the place. A stream is not asked for anything yet; its lanes are started.
    ///
    /// # Errors
    /// If the file cannot be opened, or another process has it.
    pub fn open(settings: Settings) -> Result<(Self, Handle), OpenError> {
        let place = match settings {
            Settings::File(settings) => Place::File(Some(LetterFile::open(settings)?)),
            Settings::Stream(settings) => Place::Stream(Box::new(LetterStream::start(*settings))),
        };
        let (write, writes) = mpsc::channel(WRITES_MAX);
        Ok((Self { place, writes }, Handle(write)))
    }

    /// Keeps what is written, until every handle is gone.
    pub async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.writes.recv_many(&mut waiting, WRITES_MAX).await > 0 {
            let (lines, done): (Vec<_>, Vec<_>) =
                waiting.drain(..).map(|Write { lines, done }| (lines, done)).unzip();
            let kept = self.place.keep(lines.concat()).await;
            for done in done {
                let _ = done.send(kept.clone()); // a shard that was ended asks no more
            }
        }
        if let Place::Stream(stream) = self.place {
            stream.end().await;
        }
    }
}

impl Place {
    async fn keep(&mut self, lines: Vec<Line>) -> Result<(), WriteError> {
        match self {
            Self::Stream(stream) => Ok(stream.keep(lines).await?),
            Self::File(slot) => {
                let mut file = slot.take().ok_or(WriteError::Gone)?;
                let wrote = tokio::task::spawn_blocking(move || {
                    let kept = file.append(&lines);
                    (file, kept)
                });
                let (file, kept) = wrote.await.map_err(|_| WriteError::Gone)?;
                *slot = Some(file);
                Ok(kept?)
            }
        }
    }
}

impl Handle {
    /// Keeps these letters. Once it returns without an error they are durable.
    ///
    /// # Errors
    /// If they may not be: a checkpoint must not pass them, and they are to be written again later.
    pub async fn write(&self, lines: Vec<Line>) -> Result<(), WriteError> {
        let (done, kept) = oneshot::channel();
        self.0.send(Write { lines, done }).await.map_err(|_| WriteError::Gone)?;
        kept.await.unwrap_or(Err(WriteError::Gone))
    }
}
