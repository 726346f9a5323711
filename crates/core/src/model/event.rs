//! An event as an application wrote it, in the words that every input shares. An input's parser
//! checks the fields and fills them in; nothing here reads bytes or chooses a default. What a
//! connection says for all of its events is `context`.

use std::borrow::Cow;
use std::hash::Hash;

use uuid::Uuid;

use super::{HashKey, PartitionKey, Profile};

/// An event whose fields were checked and whose bytes were not copied.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub event_type: Cow<'a, str>,
    /// A JSON object, verbatim.
    pub data: &'a str,
    /// `None` where the caller leaves the key to us.
    pub key: Option<PartitionKey>,
    /// `None` where the partition key places the event.
    pub explicit_hash: Option<HashKey>,
    /// `None` where the connection's own default applies.
    pub user_id: Option<Cow<'a, str>>,
    /// `None` where the caller leaves the id to us.
    pub id: Option<Uuid>,
    /// Whether the answer is to carry the published envelope.
    pub echo: bool,
    /// What few events say: apart, so that the others pay nothing for it.
    pub extras: Option<Box<Extras<'a>>>,
}

/// What few events say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extras<'a> {
    /// The trace that the event belongs to, as W3C's Trace Context has it.
    pub traceparent: Option<Cow<'a, str>>,
    pub tracestate: Option<Cow<'a, str>>,
    /// The form that it is published in; `None` where the connection's own default applies.
    pub envelope: Option<Profile>,
}

impl Event<'_> {
    /// What the caller said of the event itself, byte for byte and option for option. Two requests
    /// that say the same are one event, sent again: neither what a connection adds to them nor how
    /// they want to be answered is part of it, nor the trace, in which every sending is a step.
    pub fn said(&self) -> impl Hash {
        let envelope = self.extras.as_ref().and_then(|extras| extras.envelope);
        (&self.event_type, self.data, &self.key, self.explicit_hash, &self.user_id, envelope)
    }
}
