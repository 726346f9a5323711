//! A request as it stands before the intake: read, named and keyed once, offered as often as it
//! takes. Chance is an argument, and nothing here waits or answers.

use std::time::Instant;

use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{
    Event, Fingerprints, PartitionKey, RawRecord, Record, Reference, Shows,
};
use uuid::Uuid;

use crate::ticket::EventId;

/// The time, as an input knows it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub timestamp: Timestamp,
}

/// One event with all that its input knows of it. Its id, and its key if it named none, are drawn
/// when the request is made: however often it is offered, they stay.
#[derive(Debug)]
pub struct EventRequest<'a> {
    pub(super) reference: Reference,
    pub(super) id: EventId,
    pub(super) echo: bool,
    /// Until when the caller waits; `None` where that is as long as `delivery.timeout` permits.
    pub(super) deadline: Option<Instant>,
    pub(super) shows: Shows,
    /// Whether we drew the key.
    pub(super) is_key_drawn: bool,
    /// The type and the data of the event in a record that was sealed; `None` where they are not
    /// known, and for everything else.
    pub(super) says: Option<(&'a str, &'a str)>,
    pub(super) content: Content<'a>,
}

/// What is to be published. What it lacks once the request was taken is `None`.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// The envelope of this event.
    Event(Event<'a>),
    /// The bytes of this record, as they are.
    Raw(RawRecord<'a>),
    /// A record that was sealed before it came.
    Record(Option<Record>),
}

impl<'a> EventRequest<'a> {
    /// An event that is to be published in an envelope. `fresh_id` is asked for each id that the
    /// caller left to us.
    pub fn new(
        mut event: Event<'a>,
        reference: Reference,
        fingerprints: &Fingerprints,
        fresh_id: impl Fn() -> Uuid,
    ) -> Self {
        let id = match event.id {
            Some(id) => EventId::Chosen { id, said: fingerprints.of(event.said()) },
            None => EventId::Made(fresh_id()),
        };
        let is_key_drawn = event.key.is_none();
        if is_key_drawn {
            event.key = Some(PartitionKey::of_id(event.id.unwrap_or_else(fresh_id)));
        }
        let (echo, content) = (event.echo, Content::Event(event));
        let (shows, deadline) = (Shows::ALL, None);
        let says = None;
        Self { reference, id, echo, shows, is_key_drawn, says, deadline, content }
    }

    /// A record that is to be published without an envelope. `fresh_id` is asked as by `new`.
    pub fn raw(
        mut record: RawRecord<'a>,
        reference: Reference,
        fingerprints: &Fingerprints,
        fresh_id: impl Fn() -> Uuid,
    ) -> Self {
        let id = match record.id {
            Some(id) => EventId::Chosen { id, said: fingerprints.of(record.said()) },
            None => EventId::Made(fresh_id()),
        };
        let is_key_drawn = record.key.is_none();
        if is_key_drawn {
            record.key = Some(PartitionKey::of_id(record.id.unwrap_or_else(fresh_id)));
        }
        let shows = Shows { id: record.id.is_some(), timestamp: false };
        let (echo, deadline, content) = (false, None, Content::Raw(record));
        let says = None;
        Self { reference, id, echo, shows, is_key_drawn, says, deadline, content }
    }

    /// A record that is to be published as it is.
    pub fn sealed(record: Record, reference: Reference, id: EventId) -> Self {
        let content = Content::Record(Some(record));
        let (shows, is_key_drawn) = (Shows::ALL, false);
        let (echo, says, deadline) = (false, None, None);
        Self { reference, id, echo, shows, is_key_drawn, says, deadline, content }
    }

    /// This request for a record that was sealed, with the type and the data, which is JSON, of the
    /// event in it.
    pub fn saying(self, event_type: &'a str, data: &'a str) -> Self {
        Self { says: Some((event_type, data)), ..self }
    }

    /// What its answer is correlated by, until it was accepted or refused.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// What its answer is correlated by, for one that is not offered any more.
    pub fn into_reference(self) -> Reference {
        self.reference
    }

    /// This request, to be given up at its deadline: an event that is not in flight then is
    /// answered `DeliveryTimeout` and never sent; one that is in flight is answered when it lands.
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}
