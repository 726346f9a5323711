//! One event on its way through a lane: its record, the ticket that answers its caller, and what
//! has been tried so far. Items are moved and marked by others; nothing is decided here.

use std::time::{Duration, Instant};

use crate::ticket::Ticket;
use dispatchd_core::model::{Cause, Record};

/// An event that was accepted and is not answered.
#[derive(Debug)]
pub struct Item {
    pub record: Record,
    pub ticket: Ticket,
    pub accepted: Instant,
    /// Until when the event may wait: it is given up then, unless it is in flight. `None` where its
    /// caller said nothing.
    pub deadline: Option<Instant>,
    /// Attempts to send it that failed.
    pub failures: u32,
    /// Why the last attempt failed; `None` before the first failure.
    pub cause: Option<Cause>,
    /// Whether an attempt may have stored the record although it was not confirmed.
    pub maybe_stored: bool,
    pub scope: AggregateScope,
}

/// An item by its address: it passes through many hands, and only the address moves.
pub type BoxedItem = Box<Item>;

/// The items that a reader hands over at once: the events of one read, in their order.
pub type Group = Vec<BoxedItem>;

/// Which events an event may share a record with. Each choice is narrower than the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AggregateScope {
    /// The events that `delivery.aggregation` allows.
    #[default]
    AsConfigured,
    /// The events of the same key and hash key: a packed record with it went to a shard where not
    /// all of its members belong.
    OwnKey,
    /// No other event: a packed record with it was refused for good, and each member must be judged
    /// alone.
    Alone,
}

impl Item {
    pub fn new(record: Record, ticket: Ticket, accepted: Instant) -> BoxedItem {
        Box::new(Self {
            record,
            ticket,
            accepted,
            deadline: None,
            failures: 0,
            cause: None,
            maybe_stored: false,
            scope: AggregateScope::AsConfigured,
        })
    }

    /// Whether it has waited for `timeout`, or for as long as its caller said.
    pub(super) fn is_overdue(&self, timeout: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.accepted) >= timeout || self.is_past_deadline(now)
    }

    /// Whether it has waited for as long as its caller said.
    pub(super) fn is_past_deadline(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An allocator has a size of 256 bytes; the next one above it is 320. A daemon with a full
    /// budget holds a hundred thousand items.
    #[test]
    fn an_item_is_no_larger_than_the_block_that_an_allocator_has_for_it() {
        assert!(size_of::<Item>() <= 256, "{} bytes", size_of::<Item>());
    }
}
