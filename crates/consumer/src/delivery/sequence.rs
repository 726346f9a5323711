//! Numbers that only grow, for a target that drops whatever has a number below the last one it
//! handled, as Rabble Rouser's stream client does. The sequence numbers of one shard are larger
//! than all of another's, so with two shards such a target drops what it never saw.
//!
//! A number is 10^57 and the time in nanoseconds: larger than every sequence number of Kinesis, so
//! that it follows an archive too, and larger than what was issued before a restart. A clock that
//! was set back is passed over, also across a restart: whoever makes the numbers says how far they
//! may have come.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Delivered, Place};

/// Issues a number for each record that is sent to one target, across its shards.
#[derive(Debug, Default)]
pub struct IncreasingNumbers {
    last: Option<Issued>,
    /// Nanoseconds that no number is below.
    least: u128,
}

#[derive(Debug)]
struct Issued {
    nanos: u128,
    shard: Arc<str>,
    place: Place,
}

impl IncreasingNumbers {
    /// Numbers from this time on: where others may have been issued up to it, by a process that is
    /// gone.
    pub fn beyond(time: SystemTime) -> Self {
        Self { last: None, least: since_epoch(time) }
    }

    /// The number to send this record with now. To be asked for when the request goes out, while no
    /// other request to the target is under way.
    ///
    /// A record that is sent again keeps its number, so that the target knows it, while no other
    /// record was sent since. After another one it gets a new number: the target may have handled
    /// that other one, and would drop what has a number below.
    pub fn number(&mut self, record: &Delivered, now: SystemTime) -> String {
        let nanos = match &self.last {
            Some(last) if last.is_of(record) => last.nanos,
            Some(last) => since_epoch(now).max(last.nanos + 1),
            None => since_epoch(now).max(self.least),
        };
        self.last =
            Some(Issued { nanos, shard: Arc::clone(&record.shard), place: record.place.clone() });
        format!("1{nanos:057}")
    }
}

impl Issued {
    fn is_of(&self, record: &Delivered) -> bool {
        self.place == record.place && self.shard == record.shard
    }
}

fn since_epoch(now: SystemTime) -> u128 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::samples::record;
    use super::*;

    fn at(nanos: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    #[test]
    fn numbers_grow_also_where_the_clock_stands_or_goes_back() {
        let mut numbers = IncreasingNumbers::default();
        let mut last = String::new();
        for (number, nanos) in [(1, 7), (2, 7), (3, 5), (4, 1_795_211_719_886_000_000)] {
            let issued = numbers.number(&record(number), at(nanos));
            assert_eq!(issued.len(), 58, "more digits than Kinesis ever gives");
            assert!(issued > last);
            last = issued;
        }
        assert!(last.ends_with("1795211719886000000"));
    }

    #[test]
    fn numbers_grow_across_a_restart_with_a_clock_that_was_set_back() {
        let mut before = IncreasingNumbers::default();
        let last = before.number(&record(1), at(1_795_211_719_886_000_000));
        let mut after = IncreasingNumbers::beyond(at(1_795_211_719_886_000_001));
        assert!(after.number(&record(2), at(5)) > last);
    }

    #[test]
    fn a_record_that_is_sent_again_keeps_its_number_unless_another_was_sent_since() {
        // With its old number it would be dropped: the target handled the other one, which has a
        // larger number.
        let mut numbers = IncreasingNumbers::default();
        let first = numbers.number(&record(1), at(10));
        assert_eq!(numbers.number(&record(1), at(20)), first);
        let other = numbers.number(&record(2), at(30));
        let again = numbers.number(&record(1), at(40));
        assert!(first < other && other < again);
    }

    #[test]
    fn records_of_two_shards_at_the_same_place_are_two() {
        let mut numbers = IncreasingNumbers::default();
        let mut other = record(1);
        other.shard = Arc::from("shardId-1");
        assert_ne!(numbers.number(&record(1), at(10)), numbers.number(&other, at(10)));
    }
}
