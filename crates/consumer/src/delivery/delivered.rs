//! One record on its way to a target, and where it stands in its shard.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use dispatchd_core::wire::forward::Misfit;

/// Where a record stands in its shard. The order of places is that of the shard.
///
/// A sequence number is a decimal number of up to 129 digits; it is compared as a number, not as
/// text.
#[derive(Debug, Clone)]
pub struct Place {
    pub sequence_number: String,
    /// The index of an event in its packed record, as the KCL numbers it; `None` for a record that
    /// is delivered as a whole, and for the end of a packed one.
    pub sub_sequence_number: Option<u64>,
}

/// A record that is delivered: one that is in the stream, or one event of a packed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub shard: Arc<str>,
    pub place: Place,
    /// `None` where the stream distributes records itself and the producer named no key.
    pub partition_key: Option<String>,
    pub data: Bytes,
    /// When the service took the record, by its clock; `None` if it does not say.
    pub arrived: Option<SystemTime>,
    /// Why it cannot go out in its target's form, as was found when it was read. Such a record is
    /// never sent: it is given up when its turn comes.
    pub misfit: Option<Misfit>,
}

impl Delivered {
    /// Bytes that it takes in memory, its share of the page that it lies in among them.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.place.sequence_number.len()
            + self.partition_key.as_ref().map_or(0, String::len)
            + self.data.len()
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let sub = |place: &Self| place.sub_sequence_number.unwrap_or(u64::MAX);
        number_order(&self.sequence_number, &other.sequence_number)
            .then_with(|| sub(self).cmp(&sub(other)))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

/// The order of two sequence numbers. The one with more digits is the larger, zeros in front not
/// counted.
pub fn number_order(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: &str, sub: Option<u64>) -> Place {
        Place { sequence_number: number.to_owned(), sub_sequence_number: sub }
    }

    #[test]
    fn places_stand_in_the_order_of_their_numbers_and_not_of_their_text() {
        // As text, "10" stands before "9", and a checkpoint would go back.
        let in_order = [
            place("0", None),
            place("9", None),
            place("10", Some(0)),
            place("10", Some(9)),
            place("10", Some(10)),
            place("10", None),
            place("49680409799831340432075313589018743844365722090150559762", None),
            place(&"9".repeat(129), None),
        ];
        for (i, one) in in_order.iter().enumerate() {
            for (j, other) in in_order.iter().enumerate() {
                assert_eq!(one.cmp(other), i.cmp(&j), "{one:?} {other:?}");
            }
        }
        assert_eq!(place("0010", None), place("10", None));
    }
}
