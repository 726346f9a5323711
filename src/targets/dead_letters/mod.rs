//! Dead letters: where records go that were given up on, with the reason, so that the rest of their
//! shard goes on and nothing is lost. `dispatchd replay` reads them.
//!
//! - What [`Handle::write`] says is kept is durable: in a file that was synced, or in the other
//!   stream. Only then may a checkpoint pass the record.
//! - What cannot be kept is told by its place, and its record stays undone: no letter is dropped,
//!   and none is deleted to make room for another. Those that were kept with it are not written
//!   again.
//! - After a crash the same letters may be written again: at least once.
//!
//! One task owns the file or the lanes, and takes the letters of all shards and targets; those that
//! wait together are synced together. Nothing here decides what is given up on.

mod file;
mod lines;
mod stream;

use tokio::sync::{mpsc, oneshot};

pub use self::file::{FileError, FileSettings};
pub use self::lines::{Line, Origin, lines};
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

/// Why dead letters cannot be kept from the start.
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

/// Letters that may not be kept, and why.
#[derive(Debug, Clone)]
pub struct Unkept {
    /// Where they stand among those that were to be written, in order. Never empty.
    pub places: Vec<usize>,
    /// Of the first of them.
    pub error: WriteError,
}

/// The task that keeps dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    store: Store,
    writes: mpsc::Receiver<Write>,
}

/// A way to it. It ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Write>);

#[derive(Debug)]
enum Store {
    /// `None` while a thread has it that may wait for the disk.
    File(Option<LetterFile>),
    Stream(Box<LetterStream>),
}

#[derive(Debug)]
struct Write {
    lines: Vec<Line>,
    done: oneshot::Sender<Result<(), Unkept>>,
}

impl DeadLetters {
    /// Opens the file, or starts the lanes to the stream, which is not asked for anything yet.
    ///
    /// # Errors
    /// If the file cannot be opened, or another process has it.
    pub fn open(settings: Settings) -> Result<(Self, Handle), OpenError> {
        let store = match settings {
            Settings::File(settings) => Store::File(Some(LetterFile::open(settings)?)),
            Settings::Stream(settings) => Store::Stream(Box::new(LetterStream::start(*settings))),
        };
        let (write, writes) = mpsc::channel(WRITES_MAX);
        Ok((Self { store, writes }, Handle(write)))
    }

    /// Keeps what is written, until every handle is gone.
    pub async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.writes.recv_many(&mut waiting, WRITES_MAX).await > 0 {
            let (writes, done): (Vec<_>, Vec<_>) =
                waiting.drain(..).map(|Write { lines, done }| (lines, done)).unzip();
            for (done, kept) in done.into_iter().zip(self.store.keep(writes).await) {
                let _ = done.send(kept); // a shard that was ended asks no more
            }
        }
        if let Store::Stream(stream) = self.store {
            stream.end().await;
        }
    }
}

impl Store {
    /// Keeps the letters of several writes together. Returns what came of each write.
    async fn keep(&mut self, writes: Vec<Vec<Line>>) -> Vec<Result<(), Unkept>> {
        let counts: Vec<usize> = writes.iter().map(Vec::len).collect();
        let lines = writes.concat();
        match self {
            Self::Stream(stream) => {
                let mut words = stream.keep(lines).await.into_iter();
                let of_write = |count| of_words(words.by_ref().take(count));
                counts.into_iter().map(of_write).collect()
            }
            Self::File(slot) => {
                let kept = keep_in_file(slot, lines).await;
                let of_write = |count| kept.clone().map_err(|error| Unkept::all(count, error));
                counts.into_iter().map(of_write).collect()
            }
        }
    }
}

async fn keep_in_file(slot: &mut Option<LetterFile>, lines: Vec<Line>) -> Result<(), WriteError> {
    let mut file = slot.take().ok_or(WriteError::Gone)?;
    let wrote = tokio::task::spawn_blocking(move || {
        let kept = file.append(&lines);
        (file, kept)
    });
    let (file, kept) = wrote.await.map_err(|_| WriteError::Gone)?;
    *slot = Some(file);
    Ok(kept?)
}

/// What came of a write, from the word on each of its letters.
fn of_words(words: impl Iterator<Item = Result<(), StreamError>>) -> Result<(), Unkept> {
    let (mut places, mut first) = (Vec::new(), None);
    for (place, word) in words.enumerate() {
        if let Err(error) = word {
            places.push(place);
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), |error| Err(Unkept { places, error: error.into() }))
}

impl Unkept {
    /// None of so many letters may be kept.
    fn all(count: usize, error: WriteError) -> Self {
        Self { places: (0..count).collect(), error }
    }
}

impl Handle {
    /// Keeps these letters. Once it returns without an error they are durable.
    ///
    /// # Errors
    /// Which of them may not be: a checkpoint must not pass those, and they are to be written again
    /// later.
    pub async fn write(&self, lines: Vec<Line>) -> Result<(), Unkept> {
        let (count, (done, kept)) = (lines.len(), oneshot::channel());
        let gone = || Unkept::all(count, WriteError::Gone);
        self.0.send(Write { lines, done }).await.map_err(|_| gone())?;
        kept.await.unwrap_or_else(|_| Err(gone()))
    }
}
