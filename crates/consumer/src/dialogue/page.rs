//! A page of records on its way to a child: taken apart, and cut into messages.
//!
//! What the child's checkpoint says is done is passed over, since reading begins again at the whole
//! record that it is in. A packed record is looked at once, into however many messages it is cut.

use std::time::{SystemTime, UNIX_EPOCH};
use std::vec;

use dispatchd_core::limits::MIB;
use dispatchd_core::model::read::StoredRecord;
use dispatchd_core::wire::decode::{Opened, StoredEvent};
use dispatchd_core::wire::multilang::{Record, RecordsMessage};

use super::range::is_done;
use crate::delivery::Place;

/// Bytes with which a message is full. Both libraries read a message as a whole and hold it some
/// five times. One record more may come on top, 14 MiB at most.
const MESSAGE_BYTES_FULL: usize = 4 * MIB;

/// A page that is being told. `H` is what is held for it, until this is dropped.
#[derive(Debug)]
pub struct Page<H> {
    records: vec::IntoIter<StoredRecord>,
    behind_ms: u64,
    /// The record that is being told, and how many of its events were told or passed over.
    opened: Option<(Opened, usize)>,
    _held: H,
}

/// What one message tells.
#[derive(Debug)]
pub struct PageMessage {
    pub message: RecordsMessage,
    /// Where its last record is.
    pub last: Place,
    pub behind_ms: u64,
}

impl<H> Page<H> {
    pub fn new(records: Vec<StoredRecord>, millis_behind_latest: i64, held: H) -> Self {
        let behind_ms = u64::try_from(millis_behind_latest).unwrap_or(0);
        Self { records: records.into_iter(), behind_ms, opened: None, _held: held }
    }

    /// The next message, of at most so many records, all of them behind this place; `None` if all
    /// of the page was told.
    pub fn next(&mut self, after: Option<&Place>, records_max: usize) -> Option<PageMessage> {
        let mut message = RecordsMessage::default();
        let mut last = None;
        'page: while let Some((opened, taken)) = self.current() {
            while let Some(event) = opened.event(*taken) {
                let is_full =
                    message.records_count() >= records_max || message.bytes() >= MESSAGE_BYTES_FULL;
                if is_full {
                    break 'page;
                }
                *taken += 1;
                let place = place_of(&event);
                if after.is_some_and(|after| is_done(&place, after)) {
                    continue;
                }
                message.push(&record_of(&event, opened.record().arrived));
                last = Some(place);
            }
            self.opened = None;
        }
        last.map(|last| PageMessage { message, last, behind_ms: self.behind_ms })
    }

    /// When the first record arrived of those that are not told; `None` if all are, or the service
    /// does not say.
    pub fn oldest(&self) -> Option<SystemTime> {
        match &self.opened {
            Some((opened, _)) => opened.record().arrived,
            None => self.records.as_slice().first()?.arrived,
        }
    }

    /// The record that is to be gone on with; `None` behind the last.
    fn current(&mut self) -> Option<&mut (Opened, usize)> {
        if self.opened.is_none() {
            self.opened = Some((Opened::new(self.records.next()?), 0));
        }
        self.opened.as_mut()
    }
}

fn place_of(event: &StoredEvent<'_>) -> Place {
    Place {
        sequence_number: event.sequence_number.to_owned(),
        sub_sequence_number: event.sub_sequence_number.map(|index| index as u64),
    }
}

fn record_of<'a>(event: &StoredEvent<'a>, arrived: Option<SystemTime>) -> Record<'a> {
    let since_1970 = arrived.and_then(|arrived| arrived.duration_since(UNIX_EPOCH).ok());
    Record {
        data: event.data,
        partition_key: event.partition_key,
        sequence_number: event.sequence_number,
        sub_sequence_number: event.sub_sequence_number.map_or(0, |index| index as u64),
        arrived_ms: since_1970.map_or(0, |time| {
            u64::try_from(time.as_millis()).expect("it is less than 500 million years after 1970")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::pair_order;
    use super::{MIB, Page, PageMessage, Place, StoredRecord, UNIX_EPOCH};
    use dispatchd_core::model::{PartitionKey, Record};
    use dispatchd_core::wire::packed;

    fn whole(number: &str, data: &[u8]) -> StoredRecord {
        StoredRecord {
            sequence_number: number.to_owned(),
            partition_key: Some("k".to_owned()),
            data: data.to_vec(),
            arrived: Some(UNIX_EPOCH + std::time::Duration::from_millis(1_732_650_000_123)),
        }
    }

    fn packed_record(number: &str, events: usize) -> StoredRecord {
        let event = |n| {
            let key = PartitionKey::new("k").expect("it is short");
            Record::new(key, None, format!("{number}/{n}").into())
        };
        let events: Vec<Record> = (0..events).map(event).collect();
        whole(number, &packed::encode(&events.iter().collect::<Vec<_>>()))
    }

    fn at(number: &str, sub: impl Into<Option<u64>>) -> Place {
        Place { sequence_number: number.to_owned(), sub_sequence_number: sub.into() }
    }

    /// The places of each message, as a child reads them.
    fn told(page: &mut Page<()>, after: Option<&Place>, records_max: usize) -> Vec<Vec<Place>> {
        let mut messages = Vec::new();
        while let Some(PageMessage { message, last, behind_ms }) = page.next(after, records_max) {
            assert_eq!(behind_ms, 7);
            let line = message.finish(behind_ms);
            let json: serde_json::Value = serde_json::from_slice(&line).expect("it is JSON");
            let places: Vec<Place> = json["records"]
                .as_array()
                .expect("it has records")
                .iter()
                .map(|record| {
                    assert_eq!(record["approximateArrivalTimestamp"], 1_732_650_000_123u64);
                    at(
                        record["sequenceNumber"].as_str().expect("text"),
                        record["subSequenceNumber"].as_u64(),
                    )
                })
                .collect();
            assert!(pair_order(places.last().expect("it is not empty"), &last).is_eq());
            messages.push(places);
        }
        messages
    }

    #[test]
    fn a_packed_record_is_told_event_by_event() {
        let records = vec![whole("8", b"x"), packed_record("9", 3), whole("10", b"y")];
        let mut page = Page::new(records, 7, ());
        let all = [at("8", 0), at("9", 0), at("9", 1), at("9", 2), at("10", 0)];
        assert_eq!(told(&mut page, None, 100), [all.to_vec()]);
        assert!(page.next(None, 100).is_none(), "each record is told once");
    }

    #[test]
    fn what_is_not_told_yet_is_as_old_as_its_first_record() {
        let at = |second| Some(UNIX_EPOCH + std::time::Duration::from_secs(second));
        let arrived = |record, second| StoredRecord { arrived: at(second), ..record };
        let records = vec![arrived(packed_record("8", 3), 8), arrived(whole("9", b"x"), 9)];
        let mut page = Page::new(records, 7, ());
        let oldest: Vec<_> = (0..3)
            .map(|_| {
                let oldest = page.oldest();
                page.next(None, 2);
                oldest
            })
            .collect();
        assert_eq!(oldest, [at(8), at(8), None]);
    }

    /// A child dies in the middle of a packed record: what comes after its checkpoint comes again,
    /// and nothing before it.
    #[test]
    fn what_is_at_the_checkpoint_or_before_it_is_passed_over() {
        let records = || vec![whole("8", b"x"), packed_record("9", 3), whole("10", b"y")];
        for (after, expected) in [
            (at("8", None), vec![at("9", 0), at("9", 1), at("9", 2), at("10", 0)]),
            (at("8", 0), vec![at("9", 0), at("9", 1), at("9", 2), at("10", 0)]),
            (at("9", 1), vec![at("9", 2), at("10", 0)]),
            (at("9", 2), vec![at("10", 0)]),
            (at("9", None), vec![at("10", 0)]), // by a target that takes packed records whole
            (at("7", 5), vec![at("8", 0), at("9", 0), at("9", 1), at("9", 2), at("10", 0)]),
        ] {
            let mut page = Page::new(records(), 7, ());
            assert_eq!(told(&mut page, Some(&after), 100), [expected], "{after:?}");
        }
        let mut page = Page::new(records(), 7, ());
        assert!(page.next(Some(&at("10", 0)), 100).is_none());
    }

    #[test]
    fn a_page_is_cut_into_messages_by_number_and_by_bytes() {
        let mut page = Page::new(vec![packed_record("9", 5), whole("10", b"y")], 7, ());
        let expected = [
            vec![at("9", 0), at("9", 1)],
            vec![at("9", 2), at("9", 3)],
            vec![at("9", 4), at("10", 0)],
        ];
        assert_eq!(told(&mut page, None, 2), expected);
        let large = vec![0; 3 * MIB];
        let mut page = Page::new((0..5).map(|n| whole(&n.to_string(), &large)).collect(), 7, ());
        assert_eq!(told(&mut page, None, 100).iter().map(Vec::len).collect::<Vec<_>>(), [1; 5]);
    }
}
