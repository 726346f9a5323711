//! One shard's loop: GetRecords, hand the records on, wait, again, until the shard ends.
//!
//! It never hands on a page before the page before was taken, so a slow printer slows the calls. It
//! knows nothing of other shards.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dispatchd_aws::Kinesis;
use dispatchd_consumer::cursor::Cursor;
use dispatchd_consumer::failure_report::{FailureReport, News};
use dispatchd_consumer::polling::Polling;
use dispatchd_consumer::recovery::{Next, ReadError, ShardCalls};
use dispatchd_consumer::window::{PageBytes, ShardWindow};
use dispatchd_core::model::CallError;
use dispatchd_core::model::read::{Page, StartingPosition, StoredRecord};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::backlog::{Backlog, Behind};

/// What one page brought of a shard: its records in their order, which may be none.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub shard: Arc<str>,
    pub records: Vec<StoredRecord>,
    /// How far behind the shard's tip the page was.
    pub millis_behind_latest: i64,
    /// From when on what is stored is read, where reading begins at the tip; by the service's
    /// clock.
    pub began: SystemTime,
    /// What the records take of the window, until this is dropped.
    pub held: PageBytes,
}

/// What a reader of a shard needs.
pub(super) struct ShardReader {
    pub(super) kinesis: Kinesis,
    pub(super) shard: Arc<str>,
    pub(super) start: StartingPosition,
    /// The time between two calls on a shard that has nothing new.
    pub(super) poll: Duration,
    pub(super) window: ShardWindow,
    pub(super) failures: Failures,
    /// Whether somebody has read from the stream since the start. Until then, a refusal is an error
    /// of the set-up and not an outage.
    pub(super) has_read: bool,
    /// Dropped once the reader has its first iterator.
    pub(super) unplaced: Option<mpsc::Sender<Infallible>>,
    pub(super) backlog: Backlog,
    /// That the shard is behind: from the start, since nobody knows what is in it.
    pub(super) behind: Option<Behind>,
}

/// The failures of those who call for one target, or for `tail`, together, so that one minute's
/// failures are one line of the log. A lock, held for a count, and taken for a failed call alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<FailureReport>>);

/// How the reading of a shard ends when nothing is wrong with the stream.
#[derive(Debug)]
pub(crate) enum End {
    /// The shard is closed and everything in it was handed on.
    Finished,
    /// The service does not know the shard: it is past retention, if the stream still exists.
    NotFound(CallError),
    /// Nobody takes what is read.
    Unheard,
}

impl ShardReader {
    /// # Errors
    /// The stream cannot be read, and waiting will not help.
    pub(super) async fn run(mut self, out: mpsc::Sender<Chunk>) -> Result<End, ReadError> {
        let mut cursor = Cursor::new(self.start.clone());
        let (mut polling, mut calls) = (Polling::FIRST, ShardCalls::default());
        loop {
            let asked = Instant::now();
            let wait = match self.page(&mut cursor, polling).await {
                Ok((page, records_max, held)) => {
                    calls.succeeded();
                    self.has_read = true;
                    polling = polling.after(&page, records_max);
                    let wait = polling.pause(&page, self.poll);
                    let millis_behind_latest = page.millis_behind_latest;
                    let (shard, records) = (Arc::clone(&self.shard), cursor.take(page));
                    let began = cursor.began().expect("a page comes by an iterator");
                    let chunk = Chunk { shard, records, millis_behind_latest, began, held };
                    let behind = polling.is_behind().then(|| self.backlog.behind());
                    if out.send(chunk).await.is_err() {
                        return Ok(End::Unheard);
                    }
                    self.behind = behind; // not before the page is in the taker's hands
                    if cursor.iterator().is_none() {
                        return Ok(End::Finished);
                    }
                    wait
                }
                Err(call) => {
                    let next = calls.failed(&call, self.has_read, &mut rand::rng());
                    if next != Next::GiveUp {
                        self.failures.note(&call);
                    }
                    match next {
                        Next::GiveUp => return Err(ReadError { call }),
                        Next::ShardNotFound => return Ok(End::NotFound(call)),
                        Next::Again { after } => {
                            if call.is_expired_iterator() {
                                cursor.expired();
                            }
                            after
                        }
                    }
                }
            };
            sleep_until(asked + wait).await;
        }
    }

    /// The next page, how many records were asked for, and the room that it takes in the window.
    async fn page(
        &mut self,
        cursor: &mut Cursor,
        polling: Polling,
    ) -> Result<(Page, usize, PageBytes), CallError> {
        let iterator = match cursor.iterator() {
            Some(iterator) => iterator.to_owned(),
            None => {
                let asked = SystemTime::now();
                let iterator = self.kinesis.iterator(&self.shard, &cursor.position()).await?;
                let token = iterator.token.clone();
                cursor.placed(iterator, asked);
                self.unplaced = None;
                token
            }
        };
        let mut held = self.window.reserve(polling.page_bytes()).await;
        let records_max = polling.records_max(held.bytes());
        let page = self.kinesis.records(&iterator, records_max).await?;
        held.settle(page.records.iter().map(StoredRecord::bytes).sum());
        Ok((page, records_max, held))
    }
}

impl Failures {
    /// Counts a failed call, and logs what is to be told.
    pub(crate) fn note(&self, call: &CallError) {
        self.tell(|report, now| report.note(call, now));
    }

    /// Logs what is due though nothing happened.
    pub(crate) fn look(&self) {
        self.tell(FailureReport::due);
    }

    fn tell(&self, look: impl FnOnce(&mut FailureReport, std::time::Instant) -> Option<News>) {
        let mut report = self.0.lock().expect("nobody panics while counting");
        let Some(news) = look(&mut report, Instant::now().into_std()) else { return };
        match &news {
            News::Fails { failures, call, reason } => {
                tracing::warn!(failures, call, reason, "{news}");
            }
            News::Over => tracing::info!("{news}"),
        }
    }
}
