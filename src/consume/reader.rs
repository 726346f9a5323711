//! One shard's loop: GetRecords, hand on, wait, again, until the shard ends.
//!
//! Never hands on a page before the one before it was taken: a printer that is slow slows the
//! calls. Decides nothing about other shards.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::cursor::Cursor;
use super::pages::{Held, PAGE_BYTES_MAX, Pages, TIP_PAGE_BYTES};
use super::trouble::Trouble;
use super::{Chunk, ReadError};
use crate::kinesis::client::Kinesis;
use crate::kinesis::error::CallError;
use crate::kinesis::get_records::PAGE_RECORDS_MAX;
use crate::kinesis::read::{Page, Position, Read};
use dispatchd_core::limits::MIB;
use dispatchd_core::model::Backoff;
use dispatchd_core::model::{Class, Reason};

/// Between two calls on a shard that is behind. A shard takes five GetRecords a second, of all its
/// readers together.
pub const CALLS_APART: Duration = Duration::from_millis(200);

/// A shard gives so much to all its readers together, and throttles for seconds whoever takes a
/// large page at once.
const READ_BYTES_PER_S: f64 = 2.0 * MIB as f64;

/// After calls that failed, throttled ones too.
const AGAIN: Backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(10) };

/// Failures in a row that say "not found" before the shard is taken for gone: lists and shards of
/// AWS agree in time.
const NOT_FOUND_MAX: u32 = 3;

pub(super) struct Reader {
    pub kinesis: Kinesis,
    pub shard: Arc<str>,
    pub start: Position,
    /// Between two calls on a shard that has nothing new.
    pub poll: Duration,
    pub out: mpsc::Sender<Chunk>,
    pub pages: Pages,
    /// Of all readers: held for a count, so that one minute's failures are one line.
    pub trouble: Arc<Mutex<Trouble>>,
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

/// How much the next page is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Appetite {
    /// Whether there is a backlog.
    is_behind: bool,
    /// Of the last pages. A page is asked for by its records, and bounded by its bytes.
    record_bytes: usize,
}

impl Reader {
    /// # Errors
    /// What will not pass by waiting.
    pub(super) async fn run(mut self) -> Result<End, ReadError> {
        let mut cursor = Cursor::new(self.start.clone());
        let mut appetite = Appetite::FIRST;
        let mut failures = 0u32; // in a row
        loop {
            let asked = Instant::now();
            let wait = match self.page(&mut cursor, appetite).await {
                Ok((page, held)) => {
                    failures = 0;
                    self.is_first = false;
                    appetite = appetite.after(&page);
                    let wait = pause(&page, appetite.is_behind, self.poll);
                    let records = cursor.take(page);
                    let chunk = Chunk { shard: Arc::clone(&self.shard), records, held };
                    if !chunk.records.is_empty() && self.out.send(chunk).await.is_err() {
                        return Ok(End::Unheard);
                    }
                    if cursor.iterator.is_none() {
                        return Ok(End::Finished);
                    }
                    wait
                }
                Err(call) if !call.is_expired_iterator() && self.is_final(&call) => {
                    return Err(ReadError { call });
                }
                Err(call) => {
                    failures = failures.saturating_add(1);
                    self.note(&call);
                    if call.class == Class::Blocked(Reason::StreamNotFound)
                        && failures > NOT_FOUND_MAX
                    {
                        return Ok(End::NotFound(call));
                    }
                    if call.is_expired_iterator() {
                        cursor.iterator = None;
                    }
                    // One that has expired is no reason to wait; one after the other is.
                    if call.is_expired_iterator() && failures == 1 {
                        CALLS_APART
                    } else {
                        AGAIN.delay(failures, &mut rand::rng())
                    }
                }
            };
            sleep_until(asked + wait).await;
        }
    }

    async fn page(
        &mut self,
        cursor: &mut Cursor,
        appetite: Appetite,
    ) -> Result<(Page, Held), CallError> {
        let iterator = match cursor.iterator.clone() {
            Some(iterator) => iterator,
            None => {
                let asked = SystemTime::now();
                let place = self.kinesis.iterator(&self.shard, &cursor.position()).await?;
                let iterator = place.iterator.clone();
                cursor.placed(place, asked);
                self.unplaced = None;
                iterator
            }
        };
        let mut held = self.pages.reserve(appetite.page_bytes()).await;
        let page = self.kinesis.records(&iterator, appetite.records_max()).await?;
        held.settle(page.records.iter().map(Read::bytes).sum());
        Ok((page, held))
    }

    fn note(&self, call: &CallError) {
        let news =
            self.trouble.lock().expect("nobody panics while counting").note(call, Instant::now());
        if let Some(news) = news {
            news.log();
        }
    }

    fn is_final(&self, call: &CallError) -> bool {
        match call.class {
            Class::Poison => true,
            Class::Blocked(_) => self.is_first,
            Class::Throttled | Class::Transient => false,
        }
    }
}

/// From the start of a call to the start of the next.
fn pause(page: &Page, is_behind: bool, poll: Duration) -> Duration {
    let calls_apart = if is_behind { CALLS_APART.min(poll) } else { poll };
    let bytes: usize = page
        .records
        .iter()
        .map(|record| record.data.len() + record.partition_key.as_ref().map_or(0, String::len))
        .sum();
    calls_apart.max(Duration::from_secs_f64(bytes as f64 / READ_BYTES_PER_S))
}

impl Appetite {
    /// Nothing is known of the shard yet: one record tells more, however large it is.
    const FIRST: Self = Self { is_behind: false, record_bytes: TIP_PAGE_BYTES };
    /// Records may be larger from now on, and are seldom smaller by more from one page to the next.
    const SHRINKS_BY_MAX: usize = 10;

    fn page_bytes(self) -> usize {
        if self.is_behind { PAGE_BYTES_MAX } else { TIP_PAGE_BYTES }
    }

    fn records_max(self) -> usize {
        (self.page_bytes() / self.record_bytes).clamp(1, PAGE_RECORDS_MAX)
    }

    /// A full page says "behind" as well: emulators always claim 0 ms, and it was asked to be
    /// small.
    fn after(self, page: &Page) -> Self {
        let largest = page.records.iter().map(Read::bytes).max();
        Self {
            is_behind: page.millis_behind_latest > 0 || page.records.len() >= self.records_max(),
            record_bytes: largest.map_or(self.record_bytes, |bytes| {
                bytes.max(self.record_bytes / Self::SHRINKS_BY_MAX)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::limits::KIB;

    const POLL: Duration = Duration::from_secs(1);
    const SMALL: Appetite = Appetite { record_bytes: 10 * KIB, ..Appetite::FIRST };

    fn page(records_count: usize, millis_behind_latest: i64) -> Page {
        let record = Read {
            sequence_number: "1".into(),
            partition_key: Some("k".into()),
            data: Vec::new(),
            arrived: None,
        };
        Page {
            records: vec![record; records_count],
            next_iterator: Some("next".into()),
            millis_behind_latest,
        }
    }

    #[test]
    fn a_shard_at_its_end_is_asked_once_a_poll_and_for_little() {
        for records_count in [0, 3] {
            let appetite = SMALL.after(&page(records_count, 0));
            assert_eq!((appetite.is_behind, appetite.page_bytes()), (false, TIP_PAGE_BYTES));
        }
        assert_eq!(pause(&page(3, 0), false, POLL), POLL);
    }

    #[test]
    fn a_shard_that_is_behind_is_asked_as_often_as_the_service_lets_one_reader_and_for_much() {
        for (records_count, millis_behind) in [(3, 1), (0, 1), (SMALL.records_max(), 0)] {
            let appetite = SMALL.after(&page(records_count, millis_behind));
            assert_eq!(
                (appetite.is_behind, appetite.page_bytes()),
                (true, PAGE_BYTES_MAX),
                "{records_count}"
            );
        }
        assert_eq!(pause(&page(3, 1), true, POLL), CALLS_APART);
    }

    #[test]
    fn of_small_records_many_are_asked_for_and_of_large_ones_what_a_page_holds() {
        let mut appetite = Appetite::FIRST;
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(appetite.records_max());
            appetite = appetite.after(&page(asked[asked.len() - 1], 0));
        }
        assert_eq!(asked, [1, 100, PAGE_RECORDS_MAX, PAGE_RECORDS_MAX]);
        let mut large = page(1, 1);
        large.records[0].data = vec![0; MIB];
        assert_eq!(
            appetite.after(&large).records_max(),
            9,
            "with its key a record takes more than a MiB"
        );
    }

    #[test]
    fn a_large_page_is_followed_by_the_time_that_its_bytes_take() {
        let mut large = page(10, 1);
        large.records.iter_mut().for_each(|record| record.data = vec![0; MIB]);
        let wait = pause(&large, true, POLL);
        assert!((5.0..5.1).contains(&wait.as_secs_f64()), "{wait:?}");
    }
}
