//! What a record's event is: its type and its data, whatever envelope is around them.

use std::borrow::Cow;

use super::members::{Members, text};

/// An event without its envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct Content<'a> {
    pub event_type: Cow<'a, str>,
    /// JSON: `data`, or `detail` in EventBridge's form; `null` where there is none, as of a
    /// CloudEvent whose data is no JSON.
    pub data: &'a str,
}

/// Reads them. `None`: it is no JSON object, or says no type.
pub fn read(record: &[u8]) -> Option<Content<'_>> {
    let members = Members::of(record).ok()??;
    let event_type = text(members.event_type).or_else(|| text(members.detail_type));
    let event_type = event_type.filter(|text| !text.is_empty())?;
    let data = members.data.or(members.detail).map_or("null", |data| data.get());
    Some(Content { event_type, data })
}
