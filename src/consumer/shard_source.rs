//! One shard, to be read from any place, as often as its delivery likes: the loop of a target takes
//! pages from here, and goes back to an earlier place where its target lost what it was given.
//!
//! It has one reader at a time, which ends with it. It decides nothing about the records.

use std::sync::Arc;

use dispatchd_consumer::recovery::ReadError;
use dispatchd_core::model::read::StartingPosition;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::readers::ReaderShared;
use super::shard_reader::{Chunk, End};

/// Pages that wait between a reader and its delivery, besides the one that the reader holds: a page
/// is asked for while the one before it is delivered.
const CHUNKS_MAX: usize = 1;

/// A shard and its reader.
#[derive(Debug)]
pub(crate) struct ShardSource {
    shared: ReaderShared,
    shard: Arc<str>,
    chunks: mpsc::Receiver<Chunk>,
    reader: JoinSet<Result<End, ReadError>>,
}

impl ShardSource {
    /// Begins to read here.
    pub(crate) fn begin(shared: ReaderShared, shard: Arc<str>, position: StartingPosition) -> Self {
        let (out, chunks) = mpsc::channel(CHUNKS_MAX);
        let mut reader = JoinSet::new();
        let later = shared.later();
        reader.spawn(shared.reader(Arc::clone(&shard), position).run(out));
        Self { shared: later, shard, chunks, reader }
    }

    /// Goes on here instead. What was read and not taken is dropped.
    pub(crate) fn begin_again(&mut self, position: StartingPosition) {
        *self = Self::begin(self.shared.clone(), Arc::clone(&self.shard), position);
    }

    /// The next page; or how the reading ended, once, when every page was taken. Dropped while it
    /// waits, it loses nothing.
    ///
    /// # Errors
    /// The stream cannot be read, and waiting will not help.
    pub(crate) async fn next(&mut self) -> Result<Result<Chunk, End>, ReadError> {
        if let Some(chunk) = self.chunks.recv().await {
            return Ok(Ok(chunk));
        }
        let ended = self.reader.join_next().await.expect("it is asked for the end once");
        ended.expect("no reader is cancelled while this is here, and none panics").map(Err)
    }
}
