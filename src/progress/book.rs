//! The task that keeps one target's checkpoints, and the handles of those who have them kept.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dispatchd_consumer::delivery::Checkpoint;
use dispatchd_core::model::envelope::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::Keep;
use super::document::{Contents, Shards};
use super::file::{BookFile, OpenError};

/// Writes that wait for the one that goes on. Those that wait are written together, and a shard has
/// one at a time; more wait at the channel.
const WRITES_MAX: usize = 64;

/// A handle on a book. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    writes: mpsc::Sender<Write>,
    /// What was kept. A lock, held for a copy: a delivery that begins reads it once.
    kept: Arc<Mutex<Contents>>,
    stream: String,
    /// Where; `None`: nowhere beyond the process.
    path: Option<PathBuf>,
}

/// The task behind the handles.
#[derive(Debug)]
pub(crate) struct BookTask {
    /// `None`: nothing is kept beyond the process.
    file: Option<BookFile>,
    writes: mpsc::Receiver<Write>,
    kept: Arc<Mutex<Contents>>,
}

/// A checkpoint could not be kept; the earlier one holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotKept(String);

/// The checkpoints are of a stream that is there no more, and another has its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stream {stream} was made at {}, and what was delivered is of one that was made at {}: it was \
     deleted and made again. Nothing of the new one is delivered until {}: then delivery begins \
     where `from` says", .found.as_str(), .kept.as_str(), until(.path.as_deref())
)]
pub(crate) struct OtherStream {
    stream: String,
    path: Option<PathBuf>,
    kept: Timestamp,
    found: Timestamp,
}

/// What an operator is to do.
fn until(path: Option<&Path>) -> String {
    match path {
        Some(path) => format!("{} is moved away", path.display()),
        None => "the forwarder is started again".to_owned(),
    }
}

type Write = (Arc<str>, Checkpoint, oneshot::Sender<Result<(), NotKept>>);

impl Book {
    /// Opens the book of a stream and a target. It blocks for a moment.
    ///
    /// # Errors
    /// If the file cannot be had, or is not this stream's and this target's.
    pub(crate) fn open(
        keep: &Keep,
        stream: &str,
        target: &str,
    ) -> Result<(Self, BookTask), OpenError> {
        let (file, contents) = match keep {
            Keep::Nowhere => (None, Contents::default()),
            Keep::Files(directory) => {
                let (file, contents) = BookFile::open(directory, stream, target)?;
                (Some(file), contents)
            }
        };
        let path = file.as_ref().map(|file| file.path().to_owned());
        let (writes, written) = mpsc::channel(WRITES_MAX);
        let kept = Arc::new(Mutex::new(contents));
        let task = BookTask { file, writes: written, kept: Arc::clone(&kept) };
        Ok((Self { writes, kept, stream: stream.to_owned(), path }, task))
    }

    /// The checkpoints that are kept, by shard.
    pub(crate) fn shards(&self) -> Shards {
        self.kept().shards.clone()
    }

    /// When it was written last, in this run or before it, by a clock that never went back.
    pub(crate) fn written(&self) -> Option<SystemTime> {
        self.kept().written
    }

    /// Takes note of when the stream was made. Whoever reads the stream asks before the first
    /// record.
    ///
    /// # Errors
    /// The checkpoints are of another stream: it would be read from places that mean nothing in it,
    /// or not at all where a shard of the same name was read to its end.
    pub(crate) fn is_of_stream(&self, made: SystemTime) -> Result<(), OtherStream> {
        self.is_of_no_other(made)?;
        self.kept().made = Some(made);
        Ok(())
    }

    /// The same, without taking note of it: for who has read.
    ///
    /// # Errors
    /// Those of [`Self::is_of_stream`].
    pub(crate) fn is_of_no_other(&self, made: SystemTime) -> Result<(), OtherStream> {
        let (kept, found) = (self.kept().made.unwrap_or(made).into(), Timestamp::from(made));
        if kept == found {
            return Ok(());
        }
        Err(OtherStream { stream: self.stream.clone(), path: self.path.clone(), kept, found })
    }

    /// Forgets shards that the stream has forgotten. The next write has them no more.
    pub(crate) fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.kept().shards.retain(|shard, _| is_known(shard));
    }

    fn kept(&self) -> MutexGuard<'_, Contents> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a checkpoint. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it could not be written: then the earlier one holds.
    pub(crate) async fn keep(&self, shard: &Arc<str>, at: Checkpoint) -> Result<(), NotKept> {
        let (reply, kept) = oneshot::channel();
        let gone = || NotKept("the task that writes checkpoints has ended".to_owned());
        self.writes.send((Arc::clone(shard), at, reply)).await.map_err(|_| gone())?;
        kept.await.map_err(|_| gone())?
    }
}

impl BookTask {
    /// Writes until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut writes = Vec::with_capacity(WRITES_MAX);
        while self.writes.recv_many(&mut writes, WRITES_MAX).await > 0 {
            let mut contents = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut replies = Vec::with_capacity(writes.len());
            for (shard, checkpoint, reply) in writes.drain(..) {
                contents.shards.insert(shard.as_ref().to_owned(), checkpoint);
                replies.push(reply);
            }
            let now = SystemTime::now();
            contents.written = Some(contents.written.map_or(now, |before| now.max(before)));
            let outcome = self.write(&contents).await;
            if outcome.is_ok() {
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = contents;
            }
            for reply in replies {
                let _ = reply.send(outcome.clone()); // its shard may have been given up
            }
        }
    }

    async fn write(&mut self, contents: &Contents) -> Result<(), NotKept> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let contents = contents.clone();
        let written = tokio::task::spawn_blocking(move || {
            let written = file.write(&contents);
            (file, written)
        });
        let (file, written) = written.await.expect("writing a file does not panic");
        self.file = Some(file);
        written.map_err(|error| NotKept(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn checkpoints_that_come_together_are_all_kept_and_none_without_the_disk() {
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let keep = Keep::Files(directory.path().into());
        let (book, task) = Book::open(&keep, "orders", "crm").expect("it is new");
        let task = tokio::spawn(task.run());
        let shards: Vec<Arc<str>> = (0..100).map(|n| format!("shard-{n}").into()).collect();
        for shard in &shards {
            book.keep(shard, Checkpoint::End).await.expect("the directory is writable");
        }
        assert_eq!(book.shards().len(), shards.len());
        // Where the file was, nothing can be made any more.
        std::fs::remove_dir_all(directory.path()).expect("it is ours");
        let late: Arc<str> = "shard-late".into();
        assert!(book.keep(&late, Checkpoint::End).await.is_err());
        assert_eq!(book.shards().len(), shards.len(), "what is not on the disk is not kept");
        drop(book);
        task.await.expect("it ends with its handles");
    }

    #[tokio::test]
    async fn checkpoints_of_a_stream_that_was_made_again_are_refused_and_kept() {
        // What could go wrong: a shard of the same name counts as read to its end, and what is in
        // the new stream is never delivered.
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let keep = Keep::Files(directory.path().into());
        let made =
            |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000 + seconds);
        let (book, task) = Book::open(&keep, "orders", "crm").expect("it is new");
        let task = tokio::spawn(task.run());
        book.is_of_stream(made(0)).expect("nobody said so before");
        book.is_of_stream(made(0)).expect("it is the same");
        let kept = book.keep(&"shard-0".into(), Checkpoint::End).await;
        kept.expect("the directory is writable");
        drop(book);
        task.await.expect("it ends with its handles");
        let (book, _task) = Book::open(&keep, "orders", "crm").expect("it is whole");
        let refused = book.is_of_stream(made(1)).expect_err("it is another").to_string();
        for part in ["orders/crm.json", "2026-11-18T11:06:40.000Z", "2026-11-18T11:06:41.000Z"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        book.is_of_stream(made(0)).expect("the checkpoints are still those of the first");
    }

    #[tokio::test]
    async fn the_time_of_the_last_write_is_kept_and_grows_with_each_opening() {
        // What could go wrong: two starts number records by the same time, and a target drops what
        // the second one sends.
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let keep = Keep::Files(directory.path().into());
        let (book, task) = Book::open(&keep, "orders", "crm").expect("it is new");
        assert_eq!(book.written(), None);
        let ahead = SystemTime::now() + Duration::from_secs(3600); // then the clock was set back
        book.kept().written = Some(ahead);
        let task = tokio::spawn(task.run());
        let kept = book.keep(&"shard-0".into(), Checkpoint::End).await;
        kept.expect("the directory is writable");
        let written = book.written().expect("it was written");
        assert!(written > SystemTime::now() + Duration::from_secs(3000));
        drop(book);
        task.await.expect("it ends with its handles");
        // A start that writes nothing has numbered by that time all the same.
        let opened = || Book::open(&keep, "orders", "crm").expect("it is whole").0.written();
        let (first, second) = (opened(), opened());
        assert!(Some(written) < first && first < second, "{written:?} {first:?} {second:?}");
    }
}
