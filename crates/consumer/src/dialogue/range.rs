//! Which checkpoints a child may set: from the last one to the last record that was delivered to
//! it, or the end of the shard once it was told of it.
//!
//! Places are compared as pairs of a sequence number and a sub-sequence number, where a record that
//! is not packed has 0: a child cannot tell the two apart.

use std::cmp::Ordering;

use dispatchd_core::wire::multilang::{Asked, Refusal};

use crate::delivery::{Checkpoint, Place, number_order};

/// The KCL's words for places that are no sequence numbers.
const TRIM_HORIZON: &str = "TRIM_HORIZON";
const AT_TIMESTAMP: &str = "AT_TIMESTAMP";
const SHARD_END: &str = "SHARD_END";

#[derive(Debug)]
pub(super) struct Range {
    stored: Option<Checkpoint>,
    /// The last record that was delivered, to this child or one before it.
    last: Option<Place>,
    /// Whether the child was told that the shard has ended.
    has_ended: bool,
}

/// What a child that asks for a checkpoint is to have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// What is stored already.
    AsItIs,
    To(Checkpoint),
}

impl Range {
    pub(super) fn new(stored: Option<Checkpoint>) -> Self {
        let last = match &stored {
            Some(Checkpoint::After(place)) => Some(place.clone()),
            Some(Checkpoint::From(_) | Checkpoint::End) | None => None,
        };
        Self { stored, last, has_ended: false }
    }

    pub(super) fn stored(&self) -> Option<&Checkpoint> {
        self.stored.as_ref()
    }

    pub(super) fn store(&mut self, checkpoint: Checkpoint) {
        self.stored = Some(checkpoint);
    }

    pub(super) fn delivered(&mut self, last: &Place) {
        self.last = Some(last.clone());
    }

    pub(super) fn ended(&mut self) {
        self.has_ended = true;
    }

    /// The pair that `initialize` has.
    pub(super) fn said_at_start(&self) -> (&str, u64) {
        match &self.stored {
            None => (TRIM_HORIZON, 0),
            Some(Checkpoint::From(_)) => (AT_TIMESTAMP, 0),
            Some(Checkpoint::After(place)) => (&place.sequence_number, sub_of(place)),
            Some(Checkpoint::End) => (SHARD_END, 0),
        }
    }

    pub(super) fn resolve(&self, asked: &Asked) -> Result<Resolved, Refusal> {
        let Some(number) = &asked.sequence_number else { return Ok(self.farthest()) };
        if number == SHARD_END && self.has_ended {
            return Ok(self.farthest());
        }
        if number == self.said_at_start().0 && !is_number(number) {
            return Ok(Resolved::AsItIs);
        }
        let place = place(number, asked.sub_sequence_number).ok_or(Refusal::IllegalArgument)?;
        let Some(last) = &self.last else { return Err(Refusal::IllegalArgument) };
        match (pair_order(&place, last), self.order_to_stored(&place)) {
            (Ordering::Greater, _) | (_, Ordering::Less) => Err(Refusal::IllegalArgument),
            // All of the shard is done, whichever way it is said.
            (Ordering::Equal, _) if self.has_ended => Ok(self.farthest()),
            (_, Ordering::Equal) => Ok(Resolved::AsItIs),
            (_, Ordering::Greater) => Ok(Resolved::To(Checkpoint::After(place))),
        }
    }

    /// All that was delivered, and the end of the shard once it was told.
    fn farthest(&self) -> Resolved {
        let farthest = match (&self.last, self.has_ended) {
            (_, true) => Checkpoint::End,
            (Some(last), false) => Checkpoint::After(last.clone()),
            (None, false) => return Resolved::AsItIs,
        };
        if self.stored.as_ref() == Some(&farthest) {
            Resolved::AsItIs
        } else {
            Resolved::To(farthest)
        }
    }

    fn order_to_stored(&self, place: &Place) -> Ordering {
        match &self.stored {
            None | Some(Checkpoint::From(_)) => Ordering::Greater,
            Some(Checkpoint::After(stored)) => pair_order(place, stored),
            Some(Checkpoint::End) => Ordering::Less,
        }
    }
}

/// Whether a record is done where all is done up to this place.
pub(super) fn is_done(place: &Place, up_to: &Place) -> bool {
    // A place without a sub number is the whole record, packed or not.
    place <= up_to || pair_order(place, up_to).is_le()
}

/// The order of two places as a child sees them.
pub(super) fn pair_order(a: &Place, b: &Place) -> Ordering {
    number_order(&a.sequence_number, &b.sequence_number).then_with(|| sub_of(a).cmp(&sub_of(b)))
}

fn sub_of(place: &Place) -> u64 {
    place.sub_sequence_number.unwrap_or(0)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A place as a child names it. A number alone means the first event of a packed record. No record
/// has the number 0: from there nobody could go on.
fn place(number: &str, sub: Option<i64>) -> Option<Place> {
    let sub = u64::try_from(sub.unwrap_or(0)).ok()?;
    let number = number.trim_start_matches('0');
    is_number(number)
        .then(|| Place { sequence_number: number.to_owned(), sub_sequence_number: Some(sub) })
}
