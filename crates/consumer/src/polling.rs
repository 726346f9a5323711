//! Decides how much a reader asks its shard for next, and when.

use std::time::Duration;

use dispatchd_core::limits::{GET_RECORDS_MAX, MIB};
use dispatchd_core::model::read::{Page, StoredRecord};

use crate::window::{PAGE_BYTES_MAX, TIP_PAGE_BYTES};

/// The time between two calls on a shard that has a backlog. A shard takes five GetRecords a
/// second, of all its readers together.
pub const CALLS_APART: Duration = Duration::from_millis(200);

/// What a shard gives to all its readers together. A reader that takes a large page at once is
/// throttled for seconds.
const READ_BYTES_PER_S: f64 = 2.0 * MIB as f64;

/// How much larger the records of one page may be than those of the next, for the next question.
const SHRINKS_BY_MAX: usize = 10;

/// What is known of a shard's records, for the next question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polling {
    /// Whether the shard has a backlog.
    is_behind: bool,
    /// Bytes of a record, by the last pages: a page is bounded by its bytes, and asked for by the
    /// number of its records.
    record_bytes: usize,
}

impl Polling {
    /// While nothing is known of the shard: one record tells more, however large it is.
    pub const FIRST: Self = Self { is_behind: false, record_bytes: TIP_PAGE_BYTES };

    /// Whether the shard has a backlog, by its last page.
    pub fn is_behind(self) -> bool {
        self.is_behind
    }

    /// Bytes that the next page may take.
    pub fn page_bytes(self) -> usize {
        if self.is_behind { PAGE_BYTES_MAX } else { TIP_PAGE_BYTES }
    }

    /// Records to ask for, where a page may take so many bytes.
    pub fn records_max(self, page_bytes: usize) -> usize {
        (page_bytes / self.record_bytes).clamp(1, GET_RECORDS_MAX)
    }

    /// What is known after this page, of which so many records were asked for. A full page counts
    /// as a backlog too: emulators always say that it is 0 ms, and the page was asked to be small.
    pub fn after(self, page: &Page, records_max: usize) -> Self {
        let largest = page.records.iter().map(StoredRecord::bytes).max();
        Self {
            is_behind: page.millis_behind_latest > 0 || page.records.len() >= records_max,
            record_bytes: largest
                .map_or(self.record_bytes, |bytes| bytes.max(self.record_bytes / SHRINKS_BY_MAX)),
        }
    }

    /// The time from the start of the call that brought this page to the start of the next one.
    /// `poll` is for a shard that has nothing new.
    pub fn pause(self, page: &Page, poll: Duration) -> Duration {
        let calls_apart = if self.is_behind { CALLS_APART.min(poll) } else { poll };
        let bytes: usize = page
            .records
            .iter()
            .map(|record| record.data.len() + record.partition_key.as_ref().map_or(0, String::len))
            .sum();
        calls_apart.max(Duration::from_secs_f64(bytes as f64 / READ_BYTES_PER_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::limits::KIB;

    const POLL: Duration = Duration::from_secs(1);
    const SMALL: Polling = Polling { record_bytes: 10 * KIB, ..Polling::FIRST };

    /// As many as are asked for, where nothing else is read.
    fn most(polling: Polling) -> usize {
        polling.records_max(polling.page_bytes())
    }

    fn after(polling: Polling, page: &Page) -> Polling {
        polling.after(page, most(polling))
    }

    fn page(records_count: usize, millis_behind_latest: i64) -> Page {
        let record = StoredRecord {
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
            let polling = after(SMALL, &page(records_count, 0));
            assert_eq!((polling.is_behind, polling.page_bytes()), (false, TIP_PAGE_BYTES));
        }
        assert_eq!(after(SMALL, &page(3, 0)).pause(&page(3, 0), POLL), POLL);
    }

    #[test]
    fn a_shard_that_is_behind_is_asked_as_often_as_the_service_lets_one_reader_and_for_much() {
        for (records_count, millis_behind) in [(3, 1), (0, 1), (most(SMALL), 0)] {
            let polling = after(SMALL, &page(records_count, millis_behind));
            assert_eq!(
                (polling.is_behind, polling.page_bytes()),
                (true, PAGE_BYTES_MAX),
                "{records_count}"
            );
        }
        assert_eq!(after(SMALL, &page(3, 1)).pause(&page(3, 1), POLL), CALLS_APART);
    }

    #[test]
    fn a_shard_that_got_room_for_less_than_it_wanted_still_counts_as_behind() {
        // Its pages are small ones, and full: it would be asked but once a poll.
        let records_max = SMALL.records_max(TIP_PAGE_BYTES);
        assert!(records_max < SMALL.records_max(PAGE_BYTES_MAX));
        assert!(SMALL.after(&page(records_max, 0), records_max).is_behind);
    }

    #[test]
    fn of_small_records_many_are_asked_for_and_of_large_ones_what_a_page_holds() {
        let mut polling = Polling::FIRST;
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(most(polling));
            polling = after(polling, &page(asked[asked.len() - 1], 0));
        }
        assert_eq!(asked, [1, 100, GET_RECORDS_MAX, GET_RECORDS_MAX]);
        let mut large = page(1, 1);
        large.records[0].data = vec![0; MIB];
        assert_eq!(most(after(polling, &large)), 9, "with its key a record takes more than a MiB");
    }

    #[test]
    fn a_large_page_is_followed_by_the_time_that_its_bytes_take() {
        let mut large = page(10, 1);
        large.records.iter_mut().for_each(|record| record.data = vec![0; MIB]);
        let wait = after(SMALL, &large).pause(&large, POLL);
        assert!((5.0..5.1).contains(&wait.as_secs_f64()), "{wait:?}");
    }
}
