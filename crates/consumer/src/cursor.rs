//! Knows where one reader is in its shard, and where it goes on when its iterator has expired.
//!
//! An iterator is a token for a place. It expires after five minutes without use: a laptop slept,
//! there was an outage, nobody turned a pager's page. The place itself is kept here in terms that
//! do not expire.

use std::time::{Duration, SystemTime};

use dispatchd_core::model::read::{Page, ShardIterator, StartingPosition, StoredRecord};

/// How far apart the clocks of the service's hosts may be. See [`Cursor::position`].
const SERVICE_SKEW_MAX: Duration = Duration::from_secs(1);
/// How far this machine's clock may be ahead of the service's, if the service does not tell the
/// time.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// A place in a shard.
#[derive(Debug)]
pub struct Cursor {
    start: StartingPosition,
    /// The sequence number of the last record that was read.
    last: Option<String>,
    /// When the first iterator was issued, or somewhat earlier; `None` while there was none.
    began: Option<SystemTime>,
    /// Set while the iterator is one for a time: records that arrived before it are not wanted.
    not_before: Option<SystemTime>,
    /// The token to ask with; `None` if there is none yet, it expired, or the shard is read to its
    /// end.
    iterator: Option<String>,
}

impl Cursor {
    pub fn new(start: StartingPosition) -> Self {
        Self { start, last: None, began: None, not_before: None, iterator: None }
    }

    /// The token to ask for the next page with; `None` if one must be asked for first, or, after a
    /// page, if the shard is read to its end.
    pub fn iterator(&self) -> Option<&str> {
        self.iterator.as_deref()
    }

    /// From when on what is stored is read, by the service's own clock, where reading begins at the
    /// tip: when the first iterator was issued, or somewhat earlier. `None` while there was none.
    pub fn began(&self) -> Option<SystemTime> {
        self.began
    }

    /// Takes note that the iterator expired.
    pub fn expired(&mut self) {
        self.iterator = None;
    }

    /// The position to ask for an iterator at.
    ///
    /// After the last record, if one was read. Otherwise it is still the start, unless that is
    /// `Latest`: asking for it again would skip what was stored since the first time. Then it is
    /// the time of that first question (AT_TIMESTAMP), by the service's own clock, since this
    /// machine's may be hours off. That clock shows seconds, so up to two seconds from before the
    /// start are shown once; the alternative would be to lose records. Reading from the trim
    /// horizon and filtering would cost a day of the shard. (kinesalite never answers AT_TIMESTAMP:
    /// there such a reader fails by timeout and says so.)
    pub fn position(&self) -> StartingPosition {
        match (&self.last, &self.start, self.began) {
            (Some(last), ..) => StartingPosition::After(last.clone()),
            (None, StartingPosition::Latest, Some(began)) => StartingPosition::At(began),
            _ => self.start.clone(),
        }
    }

    /// Takes in the iterator for [`Cursor::position`], which was asked for at this time by this
    /// machine's clock.
    pub fn placed(&mut self, iterator: ShardIterator, asked: SystemTime) {
        self.not_before = match self.position() {
            StartingPosition::At(time) => Some(time),
            _ => None,
        };
        self.iterator = Some(iterator.token);
        self.began.get_or_insert(match iterator.issued {
            Some(issued) => before(issued, SERVICE_SKEW_MAX),
            None => before(asked, CLOCK_SKEW_MAX),
        });
    }

    /// Moves on behind this page. Returns those of its records that are wanted.
    pub fn take(&mut self, page: Page) -> Vec<StoredRecord> {
        self.iterator = page.next_iterator;
        let mut records = page.records;
        if let Some(time) = self.not_before {
            // ferrokinesis answers AT_TIMESTAMP with the trim horizon if the shard has no record
            // from that time on.
            records.retain(|record| record.arrived.is_none_or(|arrived| arrived >= time));
        }
        if let Some(last) = records.last() {
            self.last = Some(last.sequence_number.clone());
        }
        records
    }
}

fn before(time: SystemTime, skew: Duration) -> SystemTime {
    time.checked_sub(skew).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Duration = Duration::from_secs(1_000_000);

    fn at(offset_s: i64) -> SystemTime {
        let seconds = BEGAN.as_secs().checked_add_signed(offset_s).expect("small offsets");
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn page(records: &[(&str, i64)]) -> Page {
        let records = records.iter().map(|&(number, offset_s)| StoredRecord {
            sequence_number: number.to_owned(),
            partition_key: Some("k".to_owned()),
            data: Vec::new(),
            arrived: Some(at(offset_s)),
        });
        Page {
            records: records.collect(),
            next_iterator: Some("next".to_owned()),
            millis_behind_latest: 0,
        }
    }

    fn placed(start: StartingPosition) -> Cursor {
        let mut cursor = Cursor::new(start.clone());
        assert_eq!(cursor.position(), start);
        cursor.placed(iterator(Some(at(0))), at(7200));
        cursor
    }

    fn iterator(issued: Option<SystemTime>) -> ShardIterator {
        ShardIterator { token: "first".to_owned(), issued }
    }

    #[test]
    fn after_a_record_a_new_iterator_goes_on_behind_it_wherever_reading_began() {
        for start in [StartingPosition::Latest, StartingPosition::TrimHorizon] {
            let mut cursor = placed(start);
            assert_eq!(cursor.take(page(&[("8", 1), ("9", 2)])).len(), 2);
            assert_eq!(cursor.take(page(&[])), []);
            assert_eq!(cursor.position(), StartingPosition::After("9".to_owned()));
            assert_eq!(cursor.iterator(), Some("next"));
        }
    }

    #[test]
    fn with_nothing_read_the_trim_horizon_is_still_the_place() {
        let mut cursor = placed(StartingPosition::TrimHorizon);
        cursor.take(page(&[]));
        assert_eq!(cursor.position(), StartingPosition::TrimHorizon);
    }

    #[test]
    fn with_nothing_read_latest_becomes_the_time_when_it_was_first_given_by_the_service_s_clock() {
        let mut cursor = placed(StartingPosition::Latest);
        cursor.take(page(&[]));
        cursor.placed(iterator(Some(at(900))), at(8100));
        assert_eq!(cursor.position(), StartingPosition::At(at(-1)), "whatever ours says");
    }

    #[test]
    fn a_service_that_tells_no_time_is_taken_to_have_ours_or_to_be_up_to_a_minute_behind() {
        let mut cursor = Cursor::new(StartingPosition::Latest);
        cursor.placed(iterator(None), at(0));
        assert_eq!(cursor.position(), StartingPosition::At(at(-60)));
    }

    #[test]
    fn what_latest_returns_is_shown_whatever_the_clocks_say() {
        let mut cursor = placed(StartingPosition::Latest);
        assert_eq!(cursor.take(page(&[("7", -3600)])).len(), 1);
    }

    #[test]
    fn a_place_by_time_shows_nothing_older() {
        let mut cursor = placed(StartingPosition::Latest);
        cursor.placed(iterator(Some(at(900))), at(8100));
        let records = cursor.take(page(&[("7", -2), ("8", -1), ("9", 5)]));
        let numbers: Vec<&str> =
            records.iter().map(|record| record.sequence_number.as_str()).collect();
        assert_eq!(numbers, ["8", "9"]);
    }
}
