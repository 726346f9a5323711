//! Tickets: the duty to answer, once, whatever happens.
//!
//! The answer's slot on its connection was reserved before the event was accepted, so that
//! answering never waits. A ticket that is dropped answers for itself: *unconfirmed*, the safe
//! word. Nothing here prints or writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::budget::Charge;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::outcome::{Code, Outcome, Refusal};
use dispatchd_core::model::{Fingerprint, Record};
use dispatchd_core::wire::ndjson::reply::Ack;
use dispatchd_core::wire::ndjson::request::Ref;

/// Answers handed over at once; a longer run goes in several groups.
const GROUP_ANSWERS_MAX: usize = 256;

/// The books: accepted = acked + refused + in flight, at every moment.
#[derive(Debug, Default)]
pub struct Books {
    accepted: AtomicU64,
    acked: AtomicU64,
    refused: [AtomicU64; Code::ALL.len()],
}

/// One consistent reading of the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub accepted: u64,
    pub acked: u64,
    /// By code, in the order of `Code::ALL`.
    pub refused: [u64; Code::ALL.len()],
}

impl Books {
    /// Reads what was answered first and what was accepted last, so that the difference, what is in
    /// flight, is never negative.
    pub fn balance(&self) -> Balance {
        let acked = self.acked.load(Ordering::Acquire);
        let refused = std::array::from_fn(|i| self.refused[i].load(Ordering::Acquire));
        Balance { accepted: self.accepted.load(Ordering::Acquire), acked, refused }
    }

    fn settle(&self, body: &Body) {
        match body {
            Body::Durable(_) => self.ack(1),
            Body::Refused(refusal) => self.refuse(refusal.code),
        }
    }

    fn ack(&self, events: u64) {
        self.acked.fetch_add(events, Ordering::Release);
    }

    fn refuse(&self, code: Code) {
        self.refused[code as usize].fetch_add(1, Ordering::Release);
    }
}

impl Balance {
    pub fn in_flight(&self) -> u64 {
        self.accepted - self.acked - self.refused.iter().sum::<u64>()
    }

    /// Events answered with `code`.
    pub fn refused(&self, code: Code) -> u64 {
        self.refused[code as usize]
    }
}

/// The way back to one connection. It takes what slots were reserved for, so it needs no bound of
/// its own.
#[derive(Debug)]
pub struct Outbox {
    answers: mpsc::UnboundedSender<Vec<Answer>>,
    books: Arc<Books>,
}

/// Answers on their way back, those of one connection together: to wake its writer, to count them
/// and to give back their bytes costs as much for one as for hundreds. What is left is handed over
/// when it is dropped.
#[derive(Debug, Default)]
pub struct Returning {
    to: Option<Arc<Outbox>>,
    answers: Vec<Answer>,
    acked: u64,
    charge: Option<Charge>,
}

/// What comes out of a connection's outbox. `room`: bytes to give back once it is written.
#[derive(Debug)]
pub enum Answer {
    /// What became of an event line (or of a line that was none). `epoch`: the flushes before it.
    Event { reference: Ref, epoch: u32, body: Body, room: u32 },
    /// `hello` and `ping`: printed already.
    Control { line: Vec<u8>, room: u32 },
    /// `flush`: to be answered when the `events` of `epoch`, and those before it, are.
    Flush { reference: Ref, epoch: u32, events: u64, room: u32 },
}

/// What an answer to an event says.
#[derive(Debug, Clone)]
pub enum Body {
    Durable(Ack),
    Refused(Refusal),
}

/// The duty to answer a line, from the moment its slot is reserved.
#[derive(Debug)]
pub struct Duty {
    outbox: Arc<Outbox>,
    reference: Ref,
    epoch: u32,
    room: u32,
    is_done: bool,
}

/// An event's id, and whose choice it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventId {
    /// The caller's: it may come again, and is then to say the same.
    Chosen {
        id: Uuid,
        said: Fingerprint,
    },
    Made(Uuid),
}

/// The duty to answer an event that went on its way, with what an ack must say.
#[derive(Debug)]
pub struct Ticket {
    duty: Duty,
    id: Uuid,
    /// What the caller said of the event, if it chose the id, and so may send it again.
    said: Option<Fingerprint>,
    timestamp: Timestamp,
    echo: bool,
    /// Held until the event is settled.
    charge: Charge,
}

impl Outbox {
    /// The outbox, and what comes out of it until it and every duty are gone.
    pub fn new(books: Arc<Books>) -> (Arc<Self>, mpsc::UnboundedReceiver<Vec<Answer>>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { answers, books }), receiver)
    }

    /// Sends what is no answer to an event. A slot was reserved for it.
    pub fn send(&self, answer: Answer) {
        self.send_all(vec![answer]);
    }

    fn send_all(&self, answers: Vec<Answer>) {
        let _ = self.answers.send(answers); // a peer that is gone reads nothing
    }
}

impl Duty {
    /// From here on the line counts as accepted. `room`: bytes of the slot that was reserved for
    /// the answer.
    pub fn new(outbox: Arc<Outbox>, reference: Ref, epoch: u32, room: u32) -> Self {
        outbox.books.accepted.fetch_add(1, Ordering::Release);
        Self { outbox, reference, epoch, room, is_done: false }
    }

    /// Turns the line round at the door.
    pub fn refuse(mut self, refusal: Refusal) {
        self.send(Body::Refused(refusal));
    }

    /// The event may go on its way.
    pub fn ticket(self, id: EventId, timestamp: Timestamp, echo: bool, charge: Charge) -> Ticket {
        let (id, said) = match id {
            EventId::Chosen { id, said } => (id, Some(said)),
            EventId::Made(id) => (id, None),
        };
        Ticket { duty: self, id, said, timestamp, echo, charge }
    }

    fn send(&mut self, body: Body) {
        if !self.is_done {
            self.outbox.books.settle(&body);
            let answer = self.answer(body);
            self.outbox.send(answer);
        }
    }

    /// The duty is done with this.
    #[inline]
    fn answer(&mut self, body: Body) -> Answer {
        self.is_done = true;
        let reference = std::mem::replace(&mut self.reference, Ref::Line(0));
        Answer::Event { reference, epoch: self.epoch, body, room: self.room }
    }
}

impl Ticket {
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What the caller said of the event, if it chose the id.
    pub fn said(&self) -> Option<Fingerprint> {
        self.said
    }

    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Answers an event that came again as its first copy was, or refuses it.
    pub fn answer_as(mut self, body: Body) {
        self.duty.send(body);
    }
}

impl Returning {
    /// Says what became of an event. Never waits; its bytes are given back with those of the
    /// others.
    #[inline] // or ticket and record are copied on the way, and again into the answer
    pub fn answer(&mut self, ticket: Ticket, record: Record, outcome: Outcome) {
        let Ticket { mut duty, id, timestamp, echo, charge, .. } = ticket;
        let goes_along = |to: &Arc<Outbox>| {
            Arc::ptr_eq(to, &duty.outbox) && self.answers.len() < GROUP_ANSWERS_MAX
        };
        if !self.to.as_ref().is_some_and(goes_along) {
            self.turn_to(&duty.outbox);
        }
        match &mut self.charge {
            Some(sum) => sum.merge(charge),
            none => *none = Some(charge),
        }
        match outcome {
            Outcome::Durable(place) => {
                self.acked += 1;
                let event = echo.then_some(record.data);
                let ack = Ack { id, timestamp, key: record.key, place, deduplicated: false, event };
                self.answers.push(duty.answer(Body::Durable(ack)));
            }
            Outcome::Refused(refusal) => {
                duty.outbox.books.refuse(refusal.code);
                self.answers.push(duty.answer(Body::Refused(refusal)));
            }
        }
    }

    #[cold]
    fn turn_to(&mut self, outbox: &Arc<Outbox>) {
        self.hand_over();
        self.to = Some(Arc::clone(outbox));
    }

    /// To be called before its owner waits.
    pub fn hand_over(&mut self) {
        let Some(to) = self.to.take() else { return };
        to.books.ack(std::mem::take(&mut self.acked));
        self.charge = None;
        to.send_all(self.answers.drain(..).collect()); // just as large as it must be: a peer may be slow to take it
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl Drop for Duty {
    /// Whatever was forgotten, cancelled or crashed comes out as the safe answer.
    fn drop(&mut self) {
        const LOST: &str = "the daemon stopped before this event was confirmed: it may or may not be in the stream";
        self.send(Body::Refused(Refusal::unconfirmed(Code::ShuttingDown, true, LOST)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use dispatchd_core::model::{PartitionKey, Place};

    fn durable() -> Outcome {
        let (shard_id, sequence_number) = ("shardId-000000000000".into(), "1".into());
        Outcome::Durable(Place { shard_id, sequence_number, sub_sequence_number: None })
    }

    #[test]
    fn answers_go_home_in_groups_of_one_connection_and_what_is_left_goes_when_it_is_dropped() {
        let (books, budget) = (Arc::<Books>::default(), Budget::new(1 << 20));
        let mut homes = [(); 2].map(|()| (Outbox::new(Arc::clone(&books)), budget.share()));
        let mut returning = Returning::default();
        for home in [0, 0, 1].into_iter().chain([0; GROUP_ANSWERS_MAX + 1]) {
            let ((outbox, _), share) = &homes[home];
            let duty = Duty::new(Arc::clone(outbox), Ref::Line(1), 0, 0);
            let charge = share.try_take(100).expect("there is room");
            let ticket =
                duty.ticket(EventId::Made(Uuid::nil()), Timestamp::from_unix_ms(0), false, charge);
            let record =
                Record::new(PartitionKey::new("k").expect("one character"), None, "{}".into());
            returning.answer(ticket, record, durable());
        }
        assert_eq!(
            (books.balance().in_flight(), budget.used_bytes()),
            (1, 100),
            "one waits for company"
        );
        drop(returning);
        assert_eq!((books.balance().in_flight(), budget.used_bytes()), (0, 0));
        let groups = homes.each_mut().map(|((_, answers), _)| {
            std::iter::from_fn(|| answers.try_recv().ok())
                .map(|group| group.len())
                .collect::<Vec<_>>()
        });
        assert_eq!(groups, [vec![2, GROUP_ANSWERS_MAX, 1], vec![1]]);
    }
}
