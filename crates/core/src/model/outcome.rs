//! What became of an event: durable, refused, or unconfirmed. Our word to the caller, and the codes
//! that appear on the wire and in the metrics.

use std::borrow::Cow;
use std::sync::Arc;

closed_set! {
    /// The codes of a refusal, in the order of the table in `docs/protocol.md`.
    pub enum Code {
        InvalidRequest = "InvalidRequest",
        EventTooLarge = "EventTooLarge",
        IdReused = "IdReused",
        Rejected = "Rejected",
        DeliveryTimeout = "DeliveryTimeout",
        ShuttingDown = "ShuttingDown",
        Overloaded = "Overloaded",
    }
}

impl Code {
    /// Whether sending the same event again can succeed.
    pub fn retryable(self) -> bool {
        matches!(self, Code::DeliveryTimeout | Code::ShuttingDown | Code::Overloaded)
    }
}

/// A refusal in words: whose fault, which field, which limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: Cow<'static, str>,
    /// Only for events that went on their way: whether an attempt may have stored them.
    pub maybe_stored: Option<bool>,
}

impl Refusal {
    /// A refusal at the door: the event never went on its way.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), maybe_stored: None }
    }

    /// The event went on its way and is not confirmed: it may be sent again.
    pub fn unconfirmed(
        code: Code,
        maybe_stored: bool,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, message: message.into(), maybe_stored: Some(maybe_stored) }
    }
}

/// Where an event is in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub shard_id: Arc<str>,
    /// That of the record which holds the event.
    pub sequence_number: Arc<str>,
    /// The event's index in that record, if it is an aggregate.
    pub sub_sequence_number: Option<usize>,
}

/// Our word to the caller. There is no fourth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Kinesis returned this sequence number for the very record that holds the event.
    Durable(Place),
    /// Not durable: refused for good, or unconfirmed (`maybe_stored` is set).
    Refused(Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_code_in_order_and_says_which_may_be_sent_again() {
        let page = include_str!("../../../../docs/protocol.md");
        let rows = page.lines().skip_while(|line| *line != "| code | retryable | when |").skip(2);
        let rows: Vec<_> = rows
            .take_while(|line| line.starts_with("| `"))
            .map(|line| line.split(" | ").collect())
            .collect();
        let said: Vec<_> = rows.iter().map(|row: &Vec<_>| (row[0], row[1])).collect();
        let names = Code::ALL.map(|code| format!("| `{}`", code.as_str()));
        let retryable = Code::ALL.map(|code| if code.retryable() { "yes" } else { "no" });
        assert_eq!(said, names.iter().map(String::as_str).zip(retryable).collect::<Vec<_>>());
    }

    #[test]
    fn the_runbook_has_every_code_that_is_the_applications_fault() {
        let page = include_str!("../../../../docs/operations.md");
        let table = page.lines().skip_while(|line| *line != "| code | |").skip(2);
        let rows: Vec<_> =
            table.map_while(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let theirs: Vec<_> =
            Code::ALL.iter().filter(|code| !code.retryable()).map(|code| code.as_str()).collect();
        assert_eq!(rows, theirs);
    }
}
