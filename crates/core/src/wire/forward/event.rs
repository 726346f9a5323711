//! A record's own JSON as a request's body, and what its headers say of it.

use std::borrow::Cow;

use super::members::{self, Members, text};
use super::{Misfit, Outgoing, trace};

/// What a request that carries an event says of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub content_type: &'static str,
    pub trace: Trace<'a>,
}

/// The trace of an event, as far as it may stand in headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trace<'a> {
    pub parent: Option<Cow<'a, str>>,
    /// Says nothing without a parent, and is not there then.
    pub state: Option<Cow<'a, str>>,
}

/// Whether the record is JSON.
///
/// # Errors
/// It is not.
pub fn fits(record: &Outgoing<'_>) -> Result<(), Misfit> {
    members::check(record.data)
}

/// Reads what the headers need. The body is the record's data as it is.
///
/// # Errors
/// The data is not JSON.
pub fn read<'a>(record: &Outgoing<'a>) -> Result<Event<'a>, Misfit> {
    let members = Members::of(record.data)?.unwrap_or_default();
    let content_type = if is_cloudevent(&members) {
        "application/cloudevents+json; charset=utf-8" // posted as it is: the structured mode
    } else {
        "application/json"
    };
    Ok(Event { content_type, trace: Trace::of(&members) })
}

/// Whether an object has what every CloudEvent has.
pub(super) fn is_cloudevent(members: &Members<'_>) -> bool {
    let Members { specversion, id, source, event_type, .. } = *members;
    [specversion, id, source, event_type].into_iter().all(|member| text(member).is_some())
}

impl<'a> Trace<'a> {
    pub(super) fn of(members: &Members<'a>) -> Self {
        let parent = text(members.traceparent).filter(|text| trace::is_parent(text));
        let state = parent.as_ref().and_then(|_| text(members.tracestate));
        Self { parent, state: state.filter(|text| trace::is_state(text)) }
    }
}
