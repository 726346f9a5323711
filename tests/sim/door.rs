//! The reader's part: a slot for the answer, bytes of the budget, the duty to answer. All real, and counted in real books.

use std::sync::Arc;
use std::time::Instant;

use dispatchd::ack::{Answer, Balance, Body, Books, Duty, EventId, Slot};
use dispatchd::budget::{Budget, Share};
use dispatchd::event::Record;
use dispatchd::event::envelope::Timestamp;
use dispatchd::lane::{BoxedItem, Item};
use dispatchd::limits::MIB;
use dispatchd::protocol::request::Ref;
use tokio::sync::mpsc;

/// One connection, without its socket.
#[derive(Debug)]
pub struct Door {
    outbox: mpsc::Receiver<Answer>,
    slots: mpsc::Sender<Answer>,
    books: Arc<Books>,
    budget: Arc<Budget>,
    share: Arc<Share>,
}

impl Door {
    /// For so many lines that are not answered, or whose answers are not read.
    pub fn new(lines_max: usize) -> Self {
        let (slots, outbox) = mpsc::channel(lines_max);
        let budget = Budget::new(64 * MIB);
        Self { outbox, slots, books: Arc::default(), share: budget.share(), budget }
    }

    /// A line that was accepted.
    pub fn item(&self, line: usize, record: Record, id: EventId, timestamp: Timestamp, accepted: Instant) -> BoxedItem {
        let permit = self.slots.clone().try_reserve_owned().expect("there is a slot for each line");
        let duty = Duty::new(Slot { permit, room: 0 }, Arc::clone(&self.books), Ref::Line(line as u64 + 1), 0);
        let charge = self.share.try_take(record.size()).expect("a run fits into the budget");
        Item::new(record, duty.ticket(id, timestamp, false, charge), accepted)
    }

    /// The next line that is answered, and how.
    pub fn answer(&mut self) -> Option<(usize, Body)> {
        let Ok(Answer::Event { reference: Ref::Line(line), body, .. }) = self.outbox.try_recv() else { return None };
        Some((usize::try_from(line - 1).expect("a run is small"), body))
    }

    pub fn balance(&self) -> Balance {
        self.books.balance()
    }

    pub fn used_bytes(&self) -> usize {
        self.budget.used_bytes()
    }
}
