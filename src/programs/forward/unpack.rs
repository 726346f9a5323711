//! From the records of a page to what is delivered of them: packed records taken apart, or not, and
//! what nobody wants left out. Pure but for the counters.
//!
//! It goes piece by piece, since a packed record may hold a hundred thousand events, and each of
//! them takes more in memory than in its record: no more are taken out than there is room for.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use dispatchd_consumer::delivery::{Delivered, Place, Read, TAKEN_IN_MAX};
use dispatchd_consumer::format::Aggregates;
use dispatchd_consumer::window::PageBytes;
use dispatchd_core::model::read::StoredRecord;
use dispatchd_core::wire::packed::{Layout, Member};

use super::target::Target;

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
    /// Where its events stand, if it is packed and to be taken apart.
    layout: Option<Layout>,
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
        let mut reads = Vec::with_capacity(self.records.len().min(TAKEN_IN_MAX));
        while reads.len() < TAKEN_IN_MAX
            && let Some((opened, taken)) = self.take(target.aggregates)
        {
            let Some(layout) = &opened.layout else {
                reads.push(target.read(opened.whole(shard)));
                continue;
            };
            let room = TAKEN_IN_MAX - reads.len();
            let events = (taken..layout.count().min(taken + room)).map_while(|number| {
                Some(opened.event(shard, number, layout.member(&opened.data, number)?))
            });
            reads.extend(events.map(|event| target.read(event)));
            if taken + room < layout.count() {
                self.opened = Some((opened, taken + room));
            }
        }
        (!reads.is_empty()).then(|| (reads, Arc::clone(&self.held)))
    }

    /// The record that is to be gone on with.
    fn take(&mut self, aggregates: Aggregates) -> Option<(Opened, usize)> {
        self.opened.take().or_else(|| Some((Opened::new(self.records.next()?, aggregates), 0)))
    }
}

impl Opened {
    fn new(mut record: StoredRecord, aggregates: Aggregates) -> Self {
        let data = Bytes::from(std::mem::take(&mut record.data));
        let layout = match aggregates {
            Aggregates::Whole => None,
            Aggregates::Apart => Layout::of(&data),
        };
        Self { record, data, layout }
    }

    fn whole(self, shard: &Arc<str>) -> Delivered {
        let Self {
            record: StoredRecord { sequence_number, partition_key, arrived, .. }, data, ..
        } = self;
        let place = Place { sequence_number, sub_sequence_number: None };
        Delivered { shard: Arc::clone(shard), place, partition_key, data, arrived, misfit: None }
    }

    /// The event of this number, which is this member.
    fn event(&self, shard: &Arc<str>, number: usize, member: Member<'_>) -> Delivered {
        Delivered {
            shard: Arc::clone(shard),
            place: Place {
                sequence_number: self.record.sequence_number.clone(),
                sub_sequence_number: Some(number as u64),
            },
            partition_key: Some(member.partition_key.to_owned()),
            data: self.data.slice_ref(member.data),
            arrived: self.record.arrived,
            misfit: None,
        }
    }
}
