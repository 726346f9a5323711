//! The records of a shard that were read and are not all done: which of them are done, and how far
//! the shard is done without a gap.
//!
//! It never forgets a record that is not done, and its place never goes back. What it holds is
//! bounded by whoever asks [`Held::has_room`] before reading a page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use dispatchd_core::limits::{MIB, PARTITION_KEY_CHARS_MAX};

use super::{Delivered, Place};

/// Records that are held for a shard before more are taken in, if a batch needs no more: as many as
/// come in ten pages, or in one with packed records.
const READ_AHEAD_RECORDS: usize = 10_000;
/// Bytes that are held for a shard before more are taken in, if a batch needs no more. What is
/// taken in at once comes on top.
const READ_AHEAD_BYTES: usize = 8 * MIB;
/// Records that are taken in at once, at most: they come on top of what is held.
pub const TAKEN_IN_MAX: usize = 1_000;

/// Bytes that a record takes at most while it is held, but for its data, which lie in its page: its
/// key is the longest there is, in the longest of UTF-8, and so is its sequence number. A slot is
/// counted twice, since the list of them grows by doubling.
const RECORD_BYTES_MAX: usize = size_of::<Delivered>()
    + ARC_BYTES
    + SEQUENCE_NUMBER_DIGITS_MAX
    + 4 * PARTITION_KEY_CHARS_MAX
    + 2 * size_of::<Slot>();
const SEQUENCE_NUMBER_DIGITS_MAX: usize = 129;
/// The two counts of an [`Arc`].
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// The most records that are held before no more are taken in, where a batch takes so many in all
/// strands together.
fn records_max(batch_records: usize) -> usize {
    READ_AHEAD_RECORDS.max(2 * batch_records)
}

/// The most bytes that the records of a shard take besides their pages, where a batch takes so many
/// in all strands together and each record so many bytes in its strand's queue.
pub(super) fn bytes_beside_pages_max(batch_records: usize, queued_bytes: usize) -> usize {
    (records_max(batch_records) + TAKEN_IN_MAX) * (RECORD_BYTES_MAX + queued_bytes)
}

/// The most bytes of records that are held before no more are taken in, where a batch takes so many
/// in all strands together.
fn bytes_max(batch_bytes: usize) -> usize {
    READ_AHEAD_BYTES.max(2 * batch_bytes)
}

#[derive(Debug)]
pub(super) struct Held<H> {
    /// The index of the first slot. An index names a record for as long as it is held.
    first: u64,
    slots: VecDeque<Slot>,
    /// For each page the index behind its last record, and what is held for the page.
    pages: VecDeque<(u64, H)>,
    /// Bytes of the records that are not done.
    bytes: usize,
    /// The last record that was taken in.
    last: Option<Place>,
    /// The last record before which everything is done, itself included.
    done: Option<Place>,
}

#[derive(Debug)]
enum Slot {
    Open(Arc<Delivered>),
    /// Done, while one before it is not.
    Done(Place),
}

impl<H> Held<H> {
    /// Holds nothing yet; all up to this place is done.
    pub(super) fn new(done: Option<Place>) -> Self {
        Self {
            first: 0,
            slots: VecDeque::new(),
            pages: VecDeque::new(),
            bytes: 0,
            last: done.clone(),
            done,
        }
    }

    /// Whether another page may be read, where a batch takes so much in all strands together.
    pub(super) fn has_room(&self, batch_records: usize, batch_bytes: usize) -> bool {
        self.slots.len() < records_max(batch_records) && self.bytes < bytes_max(batch_bytes)
    }

    /// Whether a record at this place was taken in before: it was read twice.
    pub(super) fn has_taken(&self, place: &Place) -> bool {
        self.last.as_ref().is_some_and(|last| place <= last)
    }

    /// Takes in a record, behind all others. Returns its index.
    pub(super) fn push(&mut self, record: Delivered) -> u64 {
        self.bytes += record.bytes();
        self.slots.push_back(Slot::Open(Arc::new(record)));
        self.behind() - 1
    }

    /// Takes in the place of a record that is done.
    pub(super) fn push_done(&mut self, place: Place) {
        self.slots.push_back(Slot::Done(place));
    }

    /// Takes note that what was pushed since the last page was this page.
    pub(super) fn end_page(&mut self, held: H) {
        if let Some(slot) = self.slots.back() {
            self.last = Some(slot.place().clone());
        }
        self.pages.push_back((self.behind(), held));
        self.advance();
    }

    /// # Panics
    /// If the record is done.
    pub(super) fn record(&self, index: u64) -> &Arc<Delivered> {
        match &self.slots[self.position(index)] {
            Slot::Open(record) => record,
            Slot::Done(place) => unreachable!("{place:?} is asked for though it is done"),
        }
    }

    /// Takes note that these records are done. Their data is let go, the place goes on as far as it
    /// can.
    pub(super) fn settle(&mut self, indices: &[u64]) {
        for &index in indices {
            let position = self.position(index);
            let Slot::Open(record) = &self.slots[position] else { continue };
            self.bytes -= record.bytes();
            if position == 0 {
                self.pop_first();
            } else {
                let place = record.place.clone();
                self.slots[position] = Slot::Done(place);
            }
        }
        self.advance();
    }

    /// Moves the place on to the first record, which is done.
    fn pop_first(&mut self) {
        let Some(slot) = self.slots.pop_front() else { return };
        self.done = Some(match slot {
            Slot::Done(place) => place,
            // Most often nobody else holds the record any more.
            Slot::Open(record) => {
                Arc::try_unwrap(record).map_or_else(|held| held.place.clone(), |own| own.place)
            }
        });
        self.first += 1;
    }

    fn advance(&mut self) {
        while let Some(Slot::Done(_)) = self.slots.front() {
            self.pop_first();
        }
        while self.pages.front().is_some_and(|(behind, _)| *behind <= self.first) {
            self.pages.pop_front();
        }
    }

    /// The last record before which everything is done, itself included; `None` if there is none.
    pub(super) fn done(&self) -> Option<&Place> {
        self.done.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first record that is not done arrived.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        match self.slots.front()? {
            Slot::Open(record) => record.arrived,
            Slot::Done(_) => None,
        }
    }

    fn behind(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.first).expect("as many as there are slots")
    }
}

impl Slot {
    fn place(&self) -> &Place {
        match self {
            Self::Open(record) => &record.place,
            Self::Done(place) => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::samples::{place, record};
    use super::*;

    #[test]
    fn the_place_never_passes_a_record_that_is_not_done() {
        let mut held = Held::new(None);
        let indices: Vec<u64> = (1..=4).map(|number| held.push(record(number))).collect();
        held.end_page(());
        held.settle(&indices[1..3]);
        assert_eq!(held.done(), None, "the first is not done");
        held.settle(&indices[..1]);
        assert_eq!(held.done(), Some(&place(3)), "two and three were done before");
        assert_eq!((held.len(), held.is_empty()), (1, false));
        assert_eq!(held.oldest(), record(4).arrived);
        held.settle(&indices[3..]);
        assert_eq!((held.done(), held.is_empty(), held.bytes()), (Some(&place(4)), true, 0));
    }

    #[test]
    fn what_is_reckoned_for_a_record_is_what_the_longest_takes_and_not_twice_as_much() {
        let mut longest = record(1);
        longest.place.sequence_number = "9".repeat(SEQUENCE_NUMBER_DIGITS_MAX);
        longest.partition_key = Some("\u{1d11e}".repeat(PARTITION_KEY_CHARS_MAX));
        let texts = longest.place.sequence_number.len()
            + longest.partition_key.as_ref().map_or(0, String::len);
        let taken = size_of::<Delivered>() + 2 * size_of::<usize>() + texts + size_of::<Slot>();
        assert!((taken..2 * taken).contains(&RECORD_BYTES_MAX), "{taken} {RECORD_BYTES_MAX}");
    }

    #[test]
    fn a_record_that_is_skipped_moves_the_place_and_one_that_is_not_done_stops_it() {
        let mut held = Held::new(Some(place(5)));
        assert!(held.has_taken(&place(5)) && !held.has_taken(&place(6)));
        held.push_done(place(6));
        held.end_page(());
        assert_eq!(held.done(), Some(&place(6)));
        let index = held.push(record(7));
        held.push_done(place(8));
        held.end_page(());
        assert_eq!(held.done(), Some(&place(6)));
        assert!(held.has_taken(&place(8)), "it is not asked for again");
        held.settle(&[index]);
        assert_eq!(held.done(), Some(&place(8)));
    }

    #[test]
    fn what_is_held_for_a_page_is_let_go_with_its_last_record_and_an_empty_page_at_once() {
        let (mut held, bytes) = (Held::new(None), Rc::new(()));
        let indices = [held.push(record(1)), held.push(record(2))];
        held.end_page(Rc::clone(&bytes));
        held.end_page(Rc::clone(&bytes));
        held.settle(&indices[..1]);
        assert_eq!(Rc::strong_count(&bytes), 3);
        held.settle(&indices[1..]);
        assert_eq!(Rc::strong_count(&bytes), 1);
        held.end_page(Rc::clone(&bytes));
        assert_eq!(Rc::strong_count(&bytes), 1, "it had no records");
    }

    #[test]
    fn there_is_room_until_the_bound_and_always_for_two_batches() {
        let mut held = Held::<()>::new(None);
        for number in 0..READ_AHEAD_RECORDS as u64 {
            assert!(held.has_room(1, 1));
            held.push(record(number));
        }
        assert!(!held.has_room(1, 1), "by number");
        assert!(held.has_room(READ_AHEAD_RECORDS, 1), "a batch takes as many as that");
        let mut held = Held::new(None);
        let mut large = record(1);
        large.data = vec![0; READ_AHEAD_BYTES].into();
        held.push(large);
        held.end_page(());
        assert!(!held.has_room(1, 1), "by bytes");
        assert!(held.has_room(1, READ_AHEAD_BYTES));
    }
}
