//! Tickets: the duty to answer an event, once, whatever happens; and the outbox of a connection,
//! where its answers lie until its input writes them.
//!
//! The credit for the answer was taken before the event was accepted, so that answering never
//! waits. A ticket that is dropped answers for itself: *unconfirmed*, the safe word. Nothing here
//! prints or writes, and nothing knows which input an event came from.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::budget::Permit;
use crate::counters::EventCounters;
use crate::credit::Credit;
use crate::gathering::{Begun, Gathered, Gathering, Result, result_bytes};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{
    Code, Durable, EventAnswer, Fingerprint, Outcome, Record, Reference, Refusal, Shows,
};

/// Answers handed over at once; a longer run goes in several groups.
const GROUP_ANSWERS_MAX: usize = 256;

/// The way back to one connection, or into one answer of it that many events share. It takes what
/// credits or bytes were taken for, so it needs no bound of its own.
#[derive(Debug)]
pub struct Outbox {
    way: Way,
    counters: Arc<EventCounters>,
}

#[derive(Debug)]
enum Way {
    /// The way to the one who writes the answers.
    Out(mpsc::UnboundedSender<Vec<Answer>>),
    /// The way into one answer, which goes out then. A lock, since the events' lanes bring their
    /// results when they have them; it is held for a group of answers, and never while anything
    /// waits.
    Together { gathering: Mutex<Gathering>, out: Arc<Outbox> },
}

/// Answers on their way back, those of one connection together: to wake its writer, to count them
/// and to give back their bytes costs as much for one as for hundreds. Dropped, the group hands
/// over what it holds.
#[derive(Debug, Default)]
pub struct AnswerGroup {
    /// Where the answers go; `None` where no answer waits.
    to: Option<Arc<Outbox>>,
    answers: Vec<Answer>,
    acked: u64,
    permit: Option<Permit>,
}

/// What comes out of a connection's outbox, with the credit to give back once it is written.
#[derive(Debug)]
pub enum Answer {
    /// What became of an event, or of a request that was none. `place`: the flushes before it, or
    /// its place among those that share an answer.
    Event { reference: Reference, place: u32, answer: EventAnswer, credit: Credit },
    /// What became of all events that share an answer.
    Gathered(Box<Gathered>),
    /// An answer to something else than an event. Its input has printed it already.
    Control { line: Vec<u8>, credit: Credit },
    /// A flush, to be answered when the `events` of `epoch`, and those before it, are.
    Flush { reference: Reference, epoch: u32, events: u64, credit: Credit },
}

/// The duty to answer a request, from the moment its credit is taken.
#[derive(Debug)]
pub struct Responder {
    outbox: Arc<Outbox>,
    reference: Reference,
    place: u32,
    credit: Credit,
    is_done: bool,
}

/// An event's id, and whose choice it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventId {
    /// The caller chose it: it may come again, and is then to say the same.
    Chosen {
        id: Uuid,
        said: Fingerprint,
    },
    Made(Uuid),
}

/// The duty to answer an event that went on its way, with what the answer must say.
#[derive(Debug)]
pub struct Ticket {
    responder: Responder,
    id: Uuid,
    said: Option<Fingerprint>,
    timestamp: Timestamp,
    echo: bool,
    shows: Shows,
    /// Held until the event is settled.
    permit: Permit,
}

impl Outbox {
    /// The outbox, and what comes out of it until it and every responder are gone.
    pub fn new(counters: Arc<EventCounters>) -> (Arc<Self>, mpsc::UnboundedReceiver<Vec<Answer>>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { way: Way::Out(answers), counters }), receiver)
    }

    /// An outbox whose answers become one, in that of their connection.
    pub(crate) fn together(out: &Arc<Outbox>) -> Arc<Self> {
        let counters = Arc::clone(&out.counters);
        let (gathering, out) = (Mutex::new(Gathering::new()), Arc::clone(out));
        Arc::new(Self { way: Way::Together { gathering, out }, counters })
    }

    /// The answers that are missing may come now, and go out with those that are there.
    pub(crate) fn gather(&self, begun: Begun, there: Vec<(u32, Result)>, permit: Option<Permit>) {
        let Way::Together { gathering, out } = &self.way else {
            unreachable!("events that share an answer have an outbox of their own")
        };
        let mut gathering = gathering.lock().unwrap_or_else(PoisonError::into_inner);
        gathering.begin(begun, there, permit);
        if let Some(gathered) = gathering.take_if_whole() {
            out.send(Answer::Gathered(gathered));
        }
    }

    pub(crate) fn counters(&self) -> &EventCounters {
        &self.counters
    }

    /// Sends what is no answer to an event. A credit was taken for it.
    pub fn send(&self, answer: Answer) {
        self.send_all(std::iter::once(answer), None);
    }

    /// `permit`: the bytes of the events that are answered.
    fn send_all(&self, answers: impl Iterator<Item = Answer>, permit: Option<Permit>) {
        match &self.way {
            Way::Out(sender) => {
                drop(permit); // before the answer tells that there is room
                // Just as large as it must be: a peer may be slow to take it.
                let _ = sender.send(answers.collect()); // a peer that is gone reads nothing
            }
            Way::Together { gathering, out } => {
                let mut gathering = gathering.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = 0;
                for answer in answers {
                    let Answer::Event { reference, place, answer, .. } = answer else {
                        unreachable!("only events share an answer")
                    };
                    bytes += result_bytes(&reference, &answer);
                    gathering.settle(place, reference, answer);
                }
                if let Some(permit) = permit {
                    gathering.keep(permit, bytes);
                }
                if let Some(gathered) = gathering.take_if_whole() {
                    out.send(Answer::Gathered(gathered));
                }
            }
        }
    }
}

impl EventId {
    pub fn id(self) -> Uuid {
        match self {
            EventId::Chosen { id, .. } | EventId::Made(id) => id,
        }
    }
}

impl Responder {
    /// A responder for a request, which counts as accepted from here on.
    pub fn new(outbox: Arc<Outbox>, reference: Reference, place: u32, credit: Credit) -> Self {
        outbox.counters.accept();
        Self { outbox, reference, place, credit, is_done: false }
    }

    /// A responder for an event that shares its answer, and the answer's credit, with others. Who
    /// puts them together counts them.
    pub(crate) fn of_many(outbox: Arc<Outbox>, reference: Reference, place: u32) -> Self {
        Self { outbox, reference, place, credit: Credit::NONE, is_done: false }
    }

    /// Answers a request that does not go on its way.
    pub fn refuse(mut self, refusal: Refusal) {
        self.send(EventAnswer::Refused(refusal), None);
    }

    /// The event may go on its way. `echo` and `shows`: what its answer is to have.
    pub fn ticket(
        self,
        id: EventId,
        timestamp: Timestamp,
        echo: bool,
        shows: Shows,
        permit: Permit,
    ) -> Ticket {
        let (id, said) = match id {
            EventId::Chosen { id, said } => (id, Some(said)),
            EventId::Made(id) => (id, None),
        };
        Ticket { responder: self, id, said, timestamp, echo, shows, permit }
    }

    fn send(&mut self, answer: EventAnswer, permit: Option<Permit>) {
        if !self.is_done {
            self.outbox.counters.answer(&answer);
            let answer = self.answer(answer);
            self.outbox.send_all(std::iter::once(answer), permit);
        }
    }

    /// Makes the answer. The duty is done with it.
    #[inline]
    fn answer(&mut self, answer: EventAnswer) -> Answer {
        self.is_done = true;
        let reference = std::mem::take(&mut self.reference);
        Answer::Event { reference, place: self.place, answer, credit: self.credit }
    }
}

impl Ticket {
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What the caller said of the event; `None` unless it chose the id, and so may send the event
    /// again.
    pub fn said(&self) -> Option<Fingerprint> {
        self.said
    }

    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// What the answer shows of the event.
    pub fn shows(&self) -> Shows {
        self.shows
    }

    /// Answers an event that came again as its first copy was answered, or refuses it.
    pub fn answer_as(self, answer: EventAnswer) {
        let Ticket { mut responder, permit, .. } = self;
        responder.send(answer, Some(permit));
    }

    /// Gives the duty up: the event never went on its way, and its caller is told in another way.
    pub(crate) fn withdraw(mut self) {
        self.responder.is_done = true;
    }
}

impl AnswerGroup {
    /// Says what became of an event. Never waits; the event's bytes are given back with those of
    /// the others in the group.
    #[inline] // or ticket and record are copied on the way, and again into the answer
    pub fn answer(&mut self, ticket: Ticket, record: Record, outcome: Outcome) {
        let Ticket { mut responder, id, timestamp, echo, shows, permit, .. } = ticket;
        let goes_along = |to: &Arc<Outbox>| {
            Arc::ptr_eq(to, &responder.outbox) && self.answers.len() < GROUP_ANSWERS_MAX
        };
        if !self.to.as_ref().is_some_and(goes_along) {
            self.turn_to(&responder.outbox);
        }
        match &mut self.permit {
            Some(sum) => sum.merge(permit),
            none => *none = Some(permit),
        }
        match outcome {
            Outcome::Durable(position) => {
                self.acked += 1;
                let key = record.key;
                let echo = echo.then_some(record.data);
                let deduplicated = false;
                let durable = Durable { id, timestamp, key, position, deduplicated, shows, echo };
                self.answers.push(responder.answer(EventAnswer::Durable(durable)));
            }
            Outcome::Refused(refusal) => {
                responder.outbox.counters.refuse(refusal.code);
                self.answers.push(responder.answer(EventAnswer::Refused(refusal)));
            }
        }
    }

    #[cold]
    fn turn_to(&mut self, outbox: &Arc<Outbox>) {
        self.hand_over();
        self.to = Some(Arc::clone(outbox));
    }

    /// Hands the group over. To be called before its owner waits.
    pub fn hand_over(&mut self) {
        let Some(to) = self.to.take() else { return };
        to.counters.ack(std::mem::take(&mut self.acked));
        to.send_all(self.answers.drain(..), self.permit.take());
    }
}

impl Drop for AnswerGroup {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl Drop for Responder {
    /// Whatever was forgotten, cancelled or crashed comes out as the safe answer.
    fn drop(&mut self) {
        const LOST: &str = "the daemon stopped before this event was confirmed: \
                            it may or may not be in the stream";
        let refusal = Refusal::unconfirmed(Code::ShuttingDown, true, LOST);
        self.send(EventAnswer::Refused(refusal), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::credit::credits;
    use dispatchd_core::model::{PartitionKey, Position};

    fn durable() -> Outcome {
        let (shard_id, sequence_number) = ("shardId-000000000000".into(), "1".into());
        Outcome::Durable(Position { shard_id, sequence_number, sub_sequence_number: None })
    }

    #[test]
    fn answers_go_home_in_groups_of_one_connection_and_what_is_left_goes_when_it_is_dropped() {
        let (counters, budget) = (Arc::<EventCounters>::default(), Budget::new(1 << 20));
        let mut homes = [(); 2].map(|()| {
            let (outbox, answers) = Outbox::new(Arc::clone(&counters));
            (outbox, answers, budget.connection(), credits(1000, 1 << 20).0)
        });
        let mut group = AnswerGroup::default();
        for home in [0, 0, 1].into_iter().chain([0; GROUP_ANSWERS_MAX + 1]) {
            let (outbox, _, budget, credits) = &mut homes[home];
            let credit = credits.try_take(1).expect("there are enough");
            let responder = Responder::new(Arc::clone(outbox), Reference::Number(1), 0, credit);
            let permit = budget.try_take(100).expect("there is room");
            let (id, timestamp) = (EventId::Made(Uuid::nil()), Timestamp::from_unix_ms(0));
            let ticket = responder.ticket(id, timestamp, false, Shows::ALL, permit);
            let key = PartitionKey::new("k").expect("one character");
            group.answer(ticket, Record::new(key, None, "{}".into()), durable());
        }
        assert_eq!(
            (counters.snapshot().in_flight(), budget.used_bytes()),
            (1, 100),
            "one waits for company"
        );
        drop(group);
        assert_eq!((counters.snapshot().in_flight(), budget.used_bytes()), (0, 0));
        let groups = homes.each_mut().map(|(_, answers, ..)| {
            std::iter::from_fn(|| answers.try_recv().ok())
                .map(|group| group.len())
                .collect::<Vec<_>>()
        });
        assert_eq!(groups, [vec![2, GROUP_ANSWERS_MAX, 1], vec![1]]);
    }
}
