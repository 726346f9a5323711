//! One shard's loop: GetRecords, hand on, wait, again, until the shard ends.
//!
//! Never hands on a page before the one before it was taken: a printer that is slow slows the calls. Decides nothing
//! about other shards.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::cursor::Cursor;
use super::{Chunk, ReadError};
use crate::backoff::Backoff;
use crate::event::{Class, Reason};
use crate::kinesis::aws::{CallError, Kinesis, PAGE_RECORDS_MAX, Page, Position};
use crate::limits::MIB;

/// Between two calls on a shard that is behind. A shard takes five GetRecords a second, of all its readers together.
pub const CALLS_APART: Duration = Duration::from_millis(200);

/// A shard gives so much to all its readers together, and throttles for seconds whoever takes a large page at once.
const READ_BYTES_PER_S: f64 = 2.0 * MIB as f64;

/// After calls that failed, throttled ones too.
const AGAIN: Backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(10) };

/// Failures in a row that say "not found" before the shard is taken for gone: lists and shards of AWS agree in time.
const NOT_FOUND_MAX: u32 = 3;

pub(super) struct Reader {
    pub kinesis: Kinesis,
    pub shard: Arc<str>,
    pub start: Position,
    /// Between two calls on a shard that has nothing new.
    pub poll: Duration,
    pub out: mpsc::Sender<Chunk>,
    /// Nobody has read from this stream yet: what is not permitted now is an error, not an outage.
    pub is_first: bool,
    /// Dropped once the reader has its first iterator.
    pub unplaced: Option<mpsc::Sender<Infallible>>,
}

/// How a reader ends when nothing is wrong with the stream.
#[derive(Debug)]
pub(super) enum End {
    /// The shard is closed and everything in it was handed on.
    Finished,
    /// The service does not know the shard: past retention, if the stream still exists.
    NotFound(CallError),
    /// Nobody takes what is read.
    Unheard,
}

/// Failures in a row.
#[derive(Default)]
struct Trouble {
    failures: u32,
}

impl Reader {
    /// # Errors
    /// What will not pass by waiting.
    pub async fn run(mut self) -> Result<End, ReadError> {
        let mut cursor = Cursor::new(self.start.clone());
        let mut trouble = Trouble::default();
        loop {
            let asked = Instant::now();
            let wait = match self.page(&mut cursor).await {
                Ok(page) => {
                    trouble.is_over(&self.shard);
                    self.is_first = false;
                    let wait = pause(&page, self.poll);
                    let records = cursor.take(page);
                    let chunk = Chunk { shard: Arc::clone(&self.shard), records };
                    if !chunk.records.is_empty() && self.out.send(chunk).await.is_err() {
                        return Ok(End::Unheard);
                    }
                    if cursor.iterator.is_none() {
                        return Ok(End::Finished);
                    }
                    wait
                }
                Err(error) if error.is_expired_iterator() => {
                    cursor.iterator = None;
                    CALLS_APART
                }
                Err(call) if self.is_final(&call) => return Err(ReadError { call }),
                Err(call) => {
                    let wait = trouble.goes_on(&self.shard, &call);
                    if call.class == Class::Blocked(Reason::StreamNotFound) && trouble.failures > NOT_FOUND_MAX {
                        return Ok(End::NotFound(call));
                    }
                    wait
                }
            };
            sleep_until(asked + wait).await;
        }
    }

    async fn page(&mut self, cursor: &mut Cursor) -> Result<Page, CallError> {
        let iterator = match cursor.iterator.clone() {
            Some(iterator) => iterator,
            None => {
                let asked = SystemTime::now();
                let iterator = self.kinesis.iterator(&self.shard, &cursor.position()).await?;
                cursor.placed(iterator.clone(), asked);
                self.unplaced = None;
                iterator
            }
        };
        self.kinesis.records(&iterator).await
    }

    fn is_final(&self, call: &CallError) -> bool {
        match call.class {
            Class::Poison => true,
            Class::Blocked(_) => self.is_first,
            Class::Throttled | Class::Transient => false,
        }
    }
}

/// From the start of a call to the start of the next. A full page says "behind" as well: emulators always claim 0 ms.
fn pause(page: &Page, poll: Duration) -> Duration {
    let is_behind = page.millis_behind_latest > 0 || page.records.len() >= PAGE_RECORDS_MAX;
    let calls_apart = if is_behind { CALLS_APART.min(poll) } else { poll };
    let bytes: usize = page
        .records
        .iter()
        .map(|record| record.data.len() + record.partition_key.as_ref().map_or(0, String::len))
        .sum();
    calls_apart.max(Duration::from_secs_f64(bytes as f64 / READ_BYTES_PER_S))
}

impl Trouble {
    /// Says so once, and how long to wait.
    fn goes_on(&mut self, shard: &str, call: &CallError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(
                shard,
                call = call.operation,
                code = call.code,
                reason = call.message,
                "a shard cannot be read now: trying on, nothing is lost"
            );
        }
        AGAIN.delay(self.failures, &mut rand::rng())
    }

    fn is_over(&mut self, shard: &str) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(shard, "the shard is read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::aws::Read;

    const POLL: Duration = Duration::from_secs(1);

    fn page(records_count: usize, millis_behind_latest: i64) -> Page {
        let record = Read {
            sequence_number: "1".into(),
            sub_sequence_number: None,
            partition_key: Some("k".into()),
            data: Vec::new(),
            arrived: None,
        };
        Page { records: vec![record; records_count], next_iterator: Some("next".into()), millis_behind_latest }
    }

    #[test]
    fn a_shard_at_its_end_is_asked_once_a_poll() {
        assert_eq!(pause(&page(0, 0), POLL), POLL);
        assert_eq!(pause(&page(3, 0), POLL), POLL);
    }

    #[test]
    fn a_shard_that_is_behind_is_asked_as_often_as_the_service_lets_one_reader() {
        assert_eq!(pause(&page(3, 1), POLL), CALLS_APART);
        assert_eq!(pause(&page(0, 1), POLL), CALLS_APART);
        assert_eq!(pause(&page(PAGE_RECORDS_MAX, 0), POLL), CALLS_APART);
    }

    #[test]
    fn a_large_page_is_followed_by_the_time_that_its_bytes_take() {
        let mut large = page(10, 1);
        large.records.iter_mut().for_each(|record| record.data = vec![0; MIB]);
        let wait = pause(&large, POLL);
        assert!((5.0..5.1).contains(&wait.as_secs_f64()), "{wait:?}");
    }
}
