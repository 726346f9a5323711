//! Where one reader is in its shard, and where it goes on when its iterator is no good. Pure.
//!
//! An iterator is a token for a place; it dies after five minutes without use (a laptop that slept,
//! an outage, a pager that nobody pages). The place itself is kept here in terms that do not die.

use std::time::{Duration, SystemTime};

use crate::kinesis::read::{Page, Place, Position, Read};

/// How far the clocks of the service's hosts may be apart. See [`Cursor::position`].
const SERVICE_SKEW_MAX: Duration = Duration::from_secs(1);
/// How far this machine's clock may be ahead of the service's, where the service does not tell the
/// time.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Cursor {
    start: Position,
    /// The last record read.
    last: Option<String>,
    /// When the first iterator was given out, or somewhat earlier; once there is one.
    began: Option<SystemTime>,
    /// Set while the place is a time: what arrived before it is not wanted.
    not_before: Option<SystemTime>,
    pub iterator: Option<String>,
}

impl Cursor {
    pub(super) fn new(start: Position) -> Self {
        Self { start, last: None, began: None, not_before: None, iterator: None }
    }

    /// Where the next iterator is asked for.
    ///
    /// With a record read: after it. With none, the start holds, except `Latest`: asked for again
    /// it would skip what was stored since the first time. Then it is the time of that first asking
    /// (AT_TIMESTAMP), by the service's own clock: this machine's may be hours off. That clock
    /// shows seconds, so up to two seconds from before the start are shown once, rather than
    /// records never. The alternative, the trim horizon and a filter, costs a day of the shard.
    /// (kinesalite never answers AT_TIMESTAMP: there such a reader fails by timeout and says so.)
    pub(super) fn position(&self) -> Position {
        match (&self.last, &self.start, self.began) {
            (Some(last), ..) => Position::After(last.clone()),
            (None, Position::Latest, Some(began)) => Position::At(began),
            _ => self.start.clone(),
        }
    }

    /// There is an iterator for [`Cursor::position`], asked for at this time by this machine's
    /// clock.
    pub(super) fn placed(&mut self, place: Place, asked: SystemTime) {
        self.not_before = match self.position() {
            Position::At(time) => Some(time),
            _ => None,
        };
        self.iterator = Some(place.iterator);
        self.began.get_or_insert(match place.given {
            Some(given) => before(given, SERVICE_SKEW_MAX),
            None => before(asked, CLOCK_SKEW_MAX),
        });
    }

    /// Goes on to after this page. Returns its records.
    pub(super) fn take(&mut self, page: Page) -> Vec<Read> {
        self.iterator = page.next_iterator;
        let mut records = page.records;
        if let Some(time) = self.not_before {
            // ferrokinesis answers AT_TIMESTAMP with the trim horizon when the shard has nothing as
            // new.
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
        let records = records.iter().map(|&(number, offset_s)| Read {
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

    fn placed(start: Position) -> Cursor {
        let mut cursor = Cursor::new(start.clone());
        assert_eq!(cursor.position(), start);
        cursor.placed(place(Some(at(0))), at(7200));
        cursor
    }

    fn place(given: Option<SystemTime>) -> Place {
        Place { iterator: "first".to_owned(), given }
    }

    #[test]
    fn after_a_record_a_new_iterator_goes_on_behind_it_wherever_reading_began() {
        for start in [Position::Latest, Position::TrimHorizon] {
            let mut cursor = placed(start);
            assert_eq!(cursor.take(page(&[("8", 1), ("9", 2)])).len(), 2);
            assert_eq!(cursor.take(page(&[])), []);
            assert_eq!(cursor.position(), Position::After("9".to_owned()));
            assert_eq!(cursor.iterator.as_deref(), Some("next"));
        }
    }

    #[test]
    fn with_nothing_read_the_trim_horizon_is_still_the_place() {
        let mut cursor = placed(Position::TrimHorizon);
        cursor.take(page(&[]));
        assert_eq!(cursor.position(), Position::TrimHorizon);
    }

    #[test]
    fn with_nothing_read_latest_becomes_the_time_when_it_was_first_given_by_the_service_s_clock() {
        let mut cursor = placed(Position::Latest);
        cursor.take(page(&[]));
        cursor.placed(place(Some(at(900))), at(8100));
        assert_eq!(cursor.position(), Position::At(at(-1)), "whatever ours says");
    }

    #[test]
    fn a_service_that_tells_no_time_is_taken_to_have_ours_or_to_be_up_to_a_minute_behind() {
        let mut cursor = Cursor::new(Position::Latest);
        cursor.placed(place(None), at(0));
        assert_eq!(cursor.position(), Position::At(at(-60)));
    }

    #[test]
    fn what_latest_returns_is_shown_whatever_the_clocks_say() {
        let mut cursor = placed(Position::Latest);
        assert_eq!(cursor.take(page(&[("7", -3600)])).len(), 1);
    }

    #[test]
    fn a_place_by_time_shows_nothing_older() {
        let mut cursor = placed(Position::Latest);
        cursor.placed(place(Some(at(900))), at(8100));
        let records = cursor.take(page(&[("7", -2), ("8", -1), ("9", 5)]));
        let numbers: Vec<&str> =
            records.iter().map(|record| record.sequence_number.as_str()).collect();
        assert_eq!(numbers, ["8", "9"]);
    }
}
