//! The dedupe window: what became of the ids that callers chose themselves, so that sending an
//! event again is safe.
//!
//! Pure. An id stands for one event. Another event with the same id is refused, `IdReused`, or one
//! of the two would never be published. While an event is on its way, copies of it wait for its
//! outcome. A copy of an event that is durable is answered as durable again. An event that was
//! refused may be sent again, and its id may be used for another event, unless an attempt may have
//! stored the first. Ids that the daemon made are never sent again and are not kept. The window is
//! bounded by count, by bytes and by time; an event that it forgot is delivered again, with the
//! same id in its envelope.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::item::{BoxedItem, Item};
use super::remembered::{Id, Remembered};
use crate::ticket::Ticket;
use dispatchd_core::limits::DEDUPE_BYTES_PER_ID;
use dispatchd_core::model::{Code, Durable, EventAnswer, Fingerprint, Outcome, Refusal};

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Ids of events that are answered; 0 turns the window off.
    pub ids_max: usize,
    pub keep_for: Duration,
}

/// What is known of the ids that callers chose. There is one for all lanes: an id is found whatever
/// key it comes with.
#[derive(Debug)]
pub struct Dedupe {
    window: Window,
    open: HashMap<Id, Open, foldhash::fast::RandomState>,
    answered: Remembered,
}

/// An event on its way, with the copies that came meanwhile.
#[derive(Debug)]
struct Open {
    said: Fingerprint,
    copies: Vec<Ticket>,
}

/// What is to be done with an event that came in.
#[derive(Debug)]
pub enum Admission {
    /// The event is new, or was refused: it goes on its way.
    New(BoxedItem),
    /// The event waits for the outcome of the event of its id that is on its way.
    Joined,
    /// The event is in the stream already, at this position.
    AlreadyDurable(Ticket, Box<Durable>),
    /// The event's id stands for another event.
    IdReused(Ticket),
}

impl Dedupe {
    pub fn new(window: Window) -> Self {
        Self { window, open: HashMap::default(), answered: Remembered::default() }
    }

    /// Looks up an event that has come in, and takes note of it.
    pub fn admit(&mut self, mut item: BoxedItem, now: Instant) -> Admission {
        let Some(said) = item.ticket.said().filter(|_| self.window.ids_max > 0) else {
            return Admission::New(item);
        };
        let id = item.ticket.id().into_bytes();
        self.forget(now);
        if let Some(open) = self.open.get_mut(&id) {
            if open.said != said {
                return Admission::IdReused(item.ticket);
            }
            open.copies.push(item.ticket);
            return Admission::Joined;
        }
        if let Some(known) = self.answered.get(&id) {
            if known.said != said {
                return Admission::IdReused(item.ticket);
            }
            if let Some((timestamp, position)) = known.acked() {
                // It says the same, so its key is the one that the first had.
                let (id, key, shows) = (item.ticket.id(), item.record.key, item.ticket.shows());
                let (deduplicated, echo) = (true, None);
                let again = Durable { id, timestamp, key, position, deduplicated, shows, echo };
                return Admission::AlreadyDurable(item.ticket, Box::new(again));
            }
            item.maybe_stored = true;
        }
        self.open.insert(id, Open { said, copies: Vec::new() });
        Admission::New(item)
    }

    /// Takes note of the outcome of an event. Returns the copies that waited for it and what they
    /// are answered; `None` where none waited.
    pub fn close(
        &mut self,
        item: &Item,
        outcome: &Outcome,
        now: Instant,
    ) -> Option<(Vec<Ticket>, EventAnswer)> {
        item.ticket.said()?;
        let id = item.ticket.id().into_bytes();
        let Open { said, copies } = self.open.remove(&id)?;
        let timestamp = item.ticket.timestamp();
        let same = match outcome {
            Outcome::Refused(refusal) => {
                if item.maybe_stored {
                    self.answered.push(id, said, None, now);
                }
                EventAnswer::Refused(refusal.clone())
            }
            Outcome::Durable(position) => {
                self.answered.push(id, said, Some((timestamp, position)), now);
                let (id, key) = (item.ticket.id(), item.record.key.clone());
                let shows = item.ticket.shows();
                let position = position.clone();
                EventAnswer::Durable(Durable {
                    id,
                    timestamp,
                    key,
                    position,
                    deduplicated: true,
                    shows,
                    echo: None,
                })
            }
        };
        self.forget(now);
        (!copies.is_empty()).then_some((copies, same))
    }

    /// Forgets what is too old, and the oldest of what is too much.
    fn forget(&mut self, now: Instant) {
        let Window { ids_max, keep_for } = self.window;
        while let Some(age) = self.answered.oldest_age(now) {
            let too_many = self.answered.len() > ids_max;
            if age < keep_for
                && !too_many
                && self.answered.bytes() <= ids_max.saturating_mul(DEDUPE_BYTES_PER_ID)
            {
                return;
            }
            self.answered.pop();
        }
    }
}

/// What an event is told whose id stands for another event.
pub(super) fn id_reused() -> Refusal {
    const REUSED: &str = "options.id is that of another event: its type, data or options are \
                          others. Give each event an id of its own";
    Refusal::new(Code::IdReused, REUSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::test_support::{Kit, ms, settings};
    use dispatchd_core::model::Position;

    const KEEP: Window = Window { ids_max: 3, keep_for: Duration::from_secs(300) };

    const LATE: &str = "late";

    fn refused(code: Code, maybe_stored: bool) -> Outcome {
        Outcome::Refused(Refusal::unconfirmed(code, maybe_stored, LATE))
    }

    fn durable(sequence_number: &str) -> Outcome {
        let shard_id = "shardId-000000000000".into();
        Outcome::Durable(Position {
            shard_id,
            sequence_number: sequence_number.into(),
            sub_sequence_number: None,
        })
    }

    /// Meets an event that has to be new.
    fn new(dedupe: &mut Dedupe, item: BoxedItem, now: Instant) -> BoxedItem {
        match dedupe.admit(item, now) {
            Admission::New(item) => item,
            other => panic!("{other:?}"),
        }
    }

    /// The sequence number that an event is acked with again.
    fn again(dedupe: &mut Dedupe, item: BoxedItem, now: Instant) -> String {
        match dedupe.admit(item, now) {
            Admission::AlreadyDurable(_, ack) => {
                assert!(ack.deduplicated);
                ack.position.sequence_number.to_string()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_id_on_its_way_takes_its_copies_along_and_an_acked_one_is_acked_again() {
        let (kit, mut dedupe) = (Kit::new(settings()), Dedupe::new(KEEP));
        let now = kit.at(0);
        let first = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(matches!(dedupe.admit(kit.item_with_id(1), now), Admission::Joined));
        let (copies, same) = dedupe.close(&first, &durable("77"), now).expect("one came again");
        assert_eq!(copies.len(), 1);
        let EventAnswer::Durable(ack) = same else { panic!("{same:?}") };
        assert_eq!((&*ack.position.sequence_number, ack.deduplicated), ("77", true));
        assert_eq!(again(&mut dedupe, kit.item_with_id(1), now + ms(1)), "77");
        new(&mut dedupe, kit.item_with_id(2), now);
    }

    #[test]
    fn a_refused_id_refuses_its_copies_and_may_be_used_again_where_nothing_can_be_stored() {
        let (kit, mut dedupe) = (Kit::new(settings()), Dedupe::new(KEEP));
        let now = kit.at(0);
        let first = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(matches!(dedupe.admit(kit.item_with_id(1), now), Admission::Joined));
        let (copies, same) = dedupe
            .close(&first, &refused(Code::DeliveryTimeout, false), now)
            .expect("one came again");
        assert_eq!(copies.len(), 1);
        assert!(
            matches!(same, EventAnswer::Refused(refusal) if refusal.code == Code::DeliveryTimeout)
        );
        let again = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(!again.maybe_stored);
        dedupe.close(&again, &Outcome::Refused(Refusal::new(Code::Rejected, LATE)), now);
        new(&mut dedupe, kit.item_that_says(1, "another event"), now);
    }

    #[test]
    fn another_event_with_a_known_id_is_refused_on_its_way_once_acked_and_where_it_may_be_stored() {
        let (kit, mut dedupe) = (Kit::new(settings()), Dedupe::new(KEEP));
        let now = kit.at(0);
        let is_reused = |admission| matches!(admission, Admission::IdReused(_));
        let other = || kit.item_that_says(1, "another event");
        let mut first = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(is_reused(dedupe.admit(other(), now)), "on its way");
        first.maybe_stored = true;
        dedupe.close(&first, &refused(Code::DeliveryTimeout, true), now);
        assert!(is_reused(dedupe.admit(other(), now)), "perhaps stored");
        let again = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(again.maybe_stored, "an attempt of the first may have stored it");
        dedupe.close(&again, &Outcome::Refused(Refusal::new(Code::Rejected, LATE)), now);
        assert!(
            is_reused(dedupe.admit(other(), now)),
            "the second was refused for good, the first may be stored still"
        );
        let again = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(
            dedupe.close(&again, &durable("77"), now).is_none(),
            "what was refused was no copy of it"
        );
        assert!(is_reused(dedupe.admit(other(), now)), "acked");
        new(&mut dedupe, other(), now + KEEP.keep_for);
    }

    #[test]
    fn it_forgets_what_is_too_old_and_the_oldest_of_too_many() {
        let (kit, mut dedupe) = (Kit::new(settings()), Dedupe::new(KEEP));
        let now = kit.at(0);
        for id in 1..=4 {
            let item = new(&mut dedupe, kit.item_with_id(id), now);
            assert!(dedupe.close(&item, &durable(&id.to_string()), now).is_none());
        }
        new(&mut dedupe, kit.item_with_id(1), now);
        assert_eq!(again(&mut dedupe, kit.item_with_id(4), now), "4");
        new(&mut dedupe, kit.item_with_id(4), now + KEEP.keep_for);
        assert_eq!((dedupe.answered.len(), dedupe.answered.bytes()), (0, 0));
    }

    #[test]
    fn it_never_holds_more_bytes_than_its_ids_may_take() {
        let (kit, mut dedupe) = (Kit::new(settings()), Dedupe::new(KEEP));
        let long = "9".repeat(DEDUPE_BYTES_PER_ID);
        for id in 1..=3 {
            let item = new(&mut dedupe, kit.item_with_id(id), kit.at(0));
            dedupe.close(&item, &durable(&long), kit.at(0));
            assert!(dedupe.answered.bytes() <= KEEP.ids_max * DEDUPE_BYTES_PER_ID);
        }
        assert_eq!(dedupe.answered.len(), 1);
    }

    #[test]
    fn ids_of_the_daemons_own_and_a_window_of_none_are_not_kept() {
        let (kit, mut dedupe) = (Kit::new(settings()), Dedupe::new(KEEP));
        new(&mut dedupe, kit.item_without_id(), kit.at(0));
        assert!(dedupe.open.is_empty());
        let mut off = Dedupe::new(Window { ids_max: 0, ..KEEP });
        new(&mut off, kit.item_with_id(1), kit.at(0));
        new(&mut off, kit.item_with_id(1), kit.at(0));
    }
}
