//! Events that are held until they go on their way together: those of one line, or of a
//! transaction. Each was checked, measured and paid for before it is held, so that nothing can keep
//! them back once they may go. What is dropped here was never on its way and is answered by nobody.

use std::sync::Arc;
use std::time::Instant;

use crate::budget::Permit;
use crate::credit::Credit;
use crate::gathering::{Begun, Result};
use crate::lane::{BoxedItem, Item};
use crate::ticket::{Outbox, Responder};
use dispatchd_core::model::{EventAnswer, Record, Reference, Refusal};

use super::request::EventRequest;
use super::request::Now;

/// Events that are held together.
#[derive(Debug)]
pub(super) struct Staged {
    outbox: Arc<Outbox>,
    items: Vec<BoxedItem>,
    /// Results that are there already, each with its place: those of events that were refused.
    refused: Vec<(u32, Result)>,
    /// What pays for the results that are there.
    permit: Option<Permit>,
}

impl Staged {
    /// Holds no event yet, for the connection with this outbox.
    pub(super) fn new(out: &Arc<Outbox>) -> Self {
        let outbox = Outbox::together(out);
        Self { outbox, items: Vec::new(), refused: Vec::new(), permit: None }
    }

    /// How many events there are, refused ones with them.
    pub(super) fn len(&self) -> usize {
        self.items.len() + self.refused.len()
    }

    /// Holds one more event.
    pub(super) fn hold(
        &mut self,
        request: &mut EventRequest<'_>,
        record: Record,
        permit: Permit,
        now: &Now,
    ) {
        let reference = std::mem::take(&mut request.reference);
        let responder = Responder::of_many(Arc::clone(&self.outbox), reference, self.place());
        let ticket =
            responder.ticket(request.id, now.timestamp, request.echo, request.shows, permit);
        self.items.push(Item::new(record, ticket, now.instant));
    }

    /// Keeps a refusal in the place of an event.
    pub(super) fn refuse(&mut self, reference: Reference, refusal: Refusal, permit: Permit) {
        match &mut self.permit {
            Some(sum) => sum.merge(permit),
            none => *none = Some(permit),
        }
        self.refused.push((self.place(), (reference, EventAnswer::Refused(refusal))));
    }

    /// Counts all of them as accepted, and the refused ones as refused.
    pub(super) fn count(&self) {
        let counters = self.outbox.counters();
        counters.accept_many(self.len());
        self.refused.iter().for_each(|(_, (_, answer))| counters.answer(answer));
    }

    /// Lets them go, from now on: the items, in their order. Their one answer comes when all of
    /// them are settled. `covered_bytes`: of the results, what is paid for by the credit.
    pub(super) fn go(
        mut self,
        head: Vec<u8>,
        epoch: u32,
        credit: Credit,
        covered_bytes: usize,
        now: Instant,
    ) -> Vec<BoxedItem> {
        let begun = Begun { head, epoch, credit, covered_bytes, events: self.len() };
        let refused = std::mem::take(&mut self.refused);
        self.outbox.gather(begun, refused, self.permit.take());
        let mut items = std::mem::take(&mut self.items);
        items.iter_mut().for_each(|item| item.accepted = now);
        items
    }

    fn place(&self) -> u32 {
        u32::try_from(self.len()).expect("there are bounds far below that")
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.items.drain(..).for_each(|item| item.ticket.withdraw());
    }
}
