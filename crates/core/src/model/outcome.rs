//! What became of an event: durable, refused, or unconfirmed. Our word to the caller, as data: how
//! it is printed is the business of each surface.

use std::borrow::Cow;

use bytes::Bytes;
use uuid::Uuid;

use super::envelope::Timestamp;
use super::{Code, PartitionKey, Position};

/// What became of one event on its way. There is no fourth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Kinesis returned this position for the very record that holds the event.
    Durable(Position),
    /// The event is not durable: refused for good, or unconfirmed (`maybe_stored` is set).
    Refused(Refusal),
}

/// What the caller of an event is told of it.
#[derive(Debug, Clone)]
pub enum EventAnswer {
    Durable(Durable),
    Refused(Refusal),
}

/// A durable event in full: its position, and what was published of it.
#[derive(Debug, Clone)]
pub struct Durable {
    pub id: Uuid,
    pub timestamp: Timestamp,
    pub key: PartitionKey,
    pub position: Position,
    /// Whether the event is an earlier one of the same id, which was durable before or is with it.
    pub deduplicated: bool,
    /// Which of these its caller knows.
    pub shows: Shows,
    /// The whole published envelope; `None` unless the caller asked for an echo.
    pub echo: Option<Bytes>,
}

/// What the answer to a durable event shows besides its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shows {
    pub id: bool,
    pub timestamp: bool,
}

impl Shows {
    /// All that there is: it is in the envelope too.
    pub const ALL: Self = Self { id: true, timestamp: true };
}

/// A refusal in words: whose fault it is, which field, which limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: Cow<'static, str>,
    /// Whether an attempt may have stored the event; `None` where it never went on its way.
    pub maybe_stored: Option<bool>,
}

impl Refusal {
    /// Refuses an event that never went on its way, or that Kinesis will never take.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), maybe_stored: None }
    }

    /// Says that an event which went on its way is not confirmed: it may be sent again.
    pub fn unconfirmed(
        code: Code,
        maybe_stored: bool,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, message: message.into(), maybe_stored: Some(maybe_stored) }
    }
}
