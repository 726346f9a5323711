//! From the records of a page to what is delivered of them: packed records taken apart, or not, and
//! what nobody wants left out. Pure but for the counters.
//!
//! It goes piece by piece, since a packed record may hold a hundred thousand events, and each of
//! them takes more in memory than in its record: no more are taken out than there is room for.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use dispatchd_consumer::delivery::{Delivered, Place, Read};
use dispatchd_consumer::format::Aggregates;
use dispatchd_consumer::window::PageBytes;
use dispatchd_core::model::read::StoredRecord;
use dispatchd_core::wire::packed;

use super::target::Target;

/// Events of a piece, of one shard at a time: they take some 300 bytes each besides their page.
const PIECE_EVENTS_MAX: usize = 1_000;

/// A page that is being taken apart.
#[derive(Debug)]
pub(super) struct Unpacking {
    records: vec::IntoIter<StoredRecord>,
    /// The packed record that some events were taken out of, and how many.
    opened: Option<(Opened, usize)>,
    /// What the page takes of the window, until its last event is done.
    held: Arc<PageBytes>,
}

/// A record whose events share its bytes: each is a part of them.
#[derive(Debug)]
struct Opened {
    record: StoredRecord,
    /// What was in the record.
    data: Bytes,
}

impl Unpacking {
    pub(super) fn new(records: Vec<StoredRecord>, held: PageBytes) -> Self {
        Self { records: records.into_iter(), opened: None, held: Arc::new(held) }
    }

    /// The next piece of what is to be delivered, in order, and what it holds of the page; `None`
    /// once there is no more.
    pub(super) fn next(
        &mut self,
        target: &Target,
        shard: &Arc<str>,
    ) -> Option<(Vec<Read>, Arc<PageBytes>)> {
        let mut reads = Vec::with_capacity(self.records.len().min(PIECE_EVENTS_MAX));
        while reads.len() < PIECE_EVENTS_MAX
            && let Some((opened, taken)) = self.take()
        {
            let room = PIECE_EVENTS_MAX - reads.len();
            let events = match target.aggregates {
                Aggregates::Whole => None,
                Aggregates::Apart => opened.events(shard, taken, room),
            };
            let Some(events) = events else {
                reads.push(target.read(opened.whole(shard)));
                continue;
            };
            if events.len() == room {
                self.opened = Some((opened, taken + room));
            }
            reads.extend(events.into_iter().map(|event| target.read(event)));
        }
        (!reads.is_empty()).then(|| (reads, Arc::clone(&self.held)))
    }

    /// The record that is to be gone on with.
    fn take(&mut self) -> Option<(Opened, usize)> {
        self.opened.take().or_else(|| Some((Opened::new(self.records.next()?), 0)))
    }
}

impl Opened {
    fn new(mut record: StoredRecord) -> Self {
        let data = Bytes::from(std::mem::take(&mut record.data));
        Self { record, data }
    }

    fn whole(self, shard: &Arc<str>) -> Delivered {
        let Self { record: StoredRecord { sequence_number, partition_key, arrived, .. }, data } =
            self;
        let place = Place { sequence_number, sub_sequence_number: None };
        Delivered { shard: Arc::clone(shard), place, partition_key, data, arrived, misfit: None }
    }

    /// The events behind the first so many, as many as there is room for; `None` if the record is
    /// not packed.
    fn events(&self, shard: &Arc<str>, taken: usize, room: usize) -> Option<Vec<Delivered>> {
        let Self { record, data } = self;
        let event = |(index, member): (usize, packed::Member<'_>)| Delivered {
            shard: Arc::clone(shard),
            place: Place {
                sequence_number: record.sequence_number.clone(),
                sub_sequence_number: Some(index as u64),
            },
            partition_key: Some(member.partition_key.to_owned()),
            data: data.slice_ref(member.data),
            arrived: record.arrived,
            misfit: None,
        };
        let members = packed::decode(data)?.enumerate();
        Some(members.skip(taken).take(room).map(event).collect())
    }
}
