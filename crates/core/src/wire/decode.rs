//! The events in a record that was read: the one place where they are taken out of it.

use super::packed;
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

/// The events of a record: one, or those packed into it in the KPL's format, whoever wrote it.
pub fn events(record: &StoredRecord) -> impl Iterator<Item = StoredEvent<'_>> {
    let whole = StoredEvent {
        sequence_number: &record.sequence_number,
        sub_sequence_number: None,
        partition_key: record.partition_key.as_deref(),
        data: &record.data,
    };
    let members = packed::decode(&record.data);
    let alone = members.is_none().then_some(whole);
    let members =
        members.into_iter().flatten().enumerate().map(move |(index, member)| StoredEvent {
            sub_sequence_number: Some(index),
            partition_key: Some(member.partition_key),
            data: member.data,
            ..whole
        });
    alone.into_iter().chain(members)
}
