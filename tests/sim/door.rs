//! The reader's part: bytes of the budget, the duty to answer. All real, and counted in real books.

use std::sync::Arc;
use std::time::Instant;
use std::vec;

use dispatchd_core::limits::MIB;
use dispatchd_core::model::Record;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::wire::ndjson::request::Ref;
use dispatchd_producer::ack::{Answer, Balance, Body, Books, Duty, EventId, Outbox};
use dispatchd_producer::budget::{Budget, Share};
use dispatchd_producer::lane::{BoxedItem, Item};
use tokio::sync::mpsc;

/// One connection, without its socket.
#[derive(Debug)]
pub(crate) struct Door {
    outbox: Arc<Outbox>,
    answers: mpsc::UnboundedReceiver<Vec<Answer>>,
    /// Taken out of it and not looked at yet.
    group: vec::IntoIter<Answer>,
    books: Arc<Books>,
    budget: Arc<Budget>,
    share: Arc<Share>,
}

impl Door {
    pub(crate) fn new() -> Self {
        let (books, budget) = (Arc::<Books>::default(), Budget::new(64 * MIB));
        let (outbox, answers) = Outbox::new(Arc::clone(&books));
        Self {
            outbox,
            answers,
            group: Vec::new().into_iter(),
            books,
            share: budget.share(),
            budget,
        }
    }

    /// A line that was accepted.
    pub(crate) fn item(
        &self,
        line: usize,
        record: Record,
        id: EventId,
        timestamp: Timestamp,
        accepted: Instant,
    ) -> BoxedItem {
        let duty = Duty::new(Arc::clone(&self.outbox), Ref::Line(line as u64 + 1), 0, 0);
        let charge = self.share.try_take(record.size()).expect("a run fits into the budget");
        Item::new(record, duty.ticket(id, timestamp, false, charge), accepted)
    }

    /// The next line that is answered, and how.
    pub(crate) fn answer(&mut self) -> Option<(usize, Body)> {
        if self.group.len() == 0 {
            self.group = self.answers.try_recv().ok()?.into_iter();
        }
        let Some(Answer::Event { reference: Ref::Line(line), body, .. }) = self.group.next() else {
            return None;
        };
        Some((usize::try_from(line - 1).expect("a run is small"), body))
    }

    pub(crate) fn balance(&self) -> Balance {
        self.books.balance()
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.budget.used_bytes()
    }
}
