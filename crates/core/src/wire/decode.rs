//! The events in a record that was read: the one place where they are taken out of it.

use super::packed::Layout;
use crate::model::read::StoredRecord;

/// One event of a record that was read. It borrows from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEvent<'a> {
    pub sequence_number: &'a str,
    /// The event's index in its packed record, as the KCL numbers it; `None` if the record is not
    /// packed.
    pub sub_sequence_number: Option<usize>,
    pub partition_key: Option<&'a str>,
    pub data: &'a [u8],
}

/// A record whose events are taken out of it a few at a time. Whether it is packed, and where its
/// events stand, is looked at once.
#[derive(Debug)]
pub struct Opened {
    record: StoredRecord,
    layout: Option<Layout>,
}

impl Opened {
    pub fn new(record: StoredRecord) -> Self {
        let layout = Layout::of(&record.data);
        Self { record, layout }
    }

    pub fn record(&self) -> &StoredRecord {
        &self.record
    }

    /// The event of this number, from 0; `None` behind the last.
    pub fn event(&self, number: usize) -> Option<StoredEvent<'_>> {
        event(&self.record, self.layout.as_ref(), number)
    }
}

/// The events of a record: one, or those packed into it in the KPL's format, whoever wrote it.
pub fn events(record: &StoredRecord) -> impl Iterator<Item = StoredEvent<'_>> {
    let layout = Layout::of(&record.data);
    (0..).map_while(move |number| event(record, layout.as_ref(), number))
}

fn event<'a>(
    record: &'a StoredRecord,
    layout: Option<&Layout>,
    number: usize,
) -> Option<StoredEvent<'a>> {
    let whole = StoredEvent {
        sequence_number: &record.sequence_number,
        sub_sequence_number: None,
        partition_key: record.partition_key.as_deref(),
        data: &record.data,
    };
    let Some(layout) = layout else { return (number == 0).then_some(whole) };
    let member = layout.member(&record.data, number)?;
    Some(StoredEvent {
        sub_sequence_number: Some(number),
        partition_key: Some(member.partition_key),
        data: member.data,
        ..whole
    })
}
