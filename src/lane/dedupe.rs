//! The dedupe window: what became of ids that callers chose themselves, so that sending again is safe.
//!
//! Pure. An id that is on its way takes later events of the same id along to the same outcome; one that was acked is
//! acked again; one that was refused may be tried again. Ids that the daemon made are never sent again and are not
//! kept. Bounded by count, by bytes and by time; what it forgot is delivered again, with the same id in its envelope.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{BoxedItem, Item};
use crate::ack::{Body, Ticket};
use crate::event::envelope::Timestamp;
use crate::event::{Outcome, PartitionKey, Place};
use crate::limits::DEDUPE_BYTES_PER_ID;
use crate::protocol::reply::Ack;

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Ids that were acked; 0 turns it off.
    pub ids_max: usize,
    pub keep_for: Duration,
}

/// What is known of the ids that callers chose.
#[derive(Debug)]
pub struct Dedupe {
    window: Window,
    ids: HashMap<Uuid, Known>,
    /// The acked ones, by when they were.
    acked: VecDeque<(Instant, Uuid)>,
    /// Of what is remembered of the acked ones.
    bytes: usize,
}

#[derive(Debug)]
enum Known {
    /// On its way, with those that came again meanwhile.
    Open(Vec<Ticket>),
    Acked(Box<Stored>),
}

/// What an ack said, to be said again.
#[derive(Debug, Clone)]
struct Stored {
    timestamp: Timestamp,
    key: PartitionKey,
    place: Place,
}

/// What is to be done with an event that came in.
#[derive(Debug)]
pub enum Met {
    /// It is new, or was refused: it goes on its way.
    New(BoxedItem),
    /// It waits for the outcome of the one that is on its way.
    Joined,
    /// It is in the stream already.
    Again(Ticket, Box<Ack>),
}

impl Dedupe {
    pub fn new(window: Window) -> Self {
        Self { window, ids: HashMap::new(), acked: VecDeque::new(), bytes: 0 }
    }

    /// Looks an event up that has come in.
    pub fn meet(&mut self, item: BoxedItem, now: Instant) -> Met {
        let Some(id) = item.ticket.chosen_id().filter(|_| self.window.ids_max > 0) else { return Met::New(item) };
        self.forget(now);
        match self.ids.get_mut(&id) {
            None => {
                self.ids.insert(id, Known::Open(Vec::new()));
                Met::New(item)
            }
            Some(Known::Open(again)) => {
                again.push(item.ticket);
                Met::Joined
            }
            Some(Known::Acked(stored)) => {
                let ack = Box::new(stored.ack(id));
                Met::Again(item.ticket, ack)
            }
        }
    }

    /// An event is settled: gives those that came again, and what they are answered.
    pub fn settle(&mut self, item: &Item, outcome: &Outcome, now: Instant) -> Option<(Vec<Ticket>, Body)> {
        let id = item.ticket.chosen_id()?;
        let Some(Known::Open(again)) = self.ids.remove(&id) else { return None };
        let same = match outcome {
            Outcome::Refused(refusal) => Body::Refused(refusal.clone()),
            Outcome::Durable(place) => {
                let (timestamp, key) = (item.ticket.timestamp(), item.record.key.clone());
                let stored = Stored { timestamp, key, place: place.clone() };
                let ack = stored.ack(id);
                self.bytes += stored.bytes();
                self.ids.insert(id, Known::Acked(Box::new(stored)));
                self.acked.push_back((now, id));
                self.forget(now);
                Body::Durable(ack)
            }
        };
        (!again.is_empty()).then_some((again, same))
    }

    /// Drops what is too old, and the oldest of what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some((acked, id)) = self.acked.front().copied() {
            let too_old = now.saturating_duration_since(acked) >= self.window.keep_for;
            let too_many = self.acked.len() > self.window.ids_max;
            if !(too_old || too_many || self.bytes > self.window.ids_max.saturating_mul(DEDUPE_BYTES_PER_ID)) {
                return;
            }
            self.acked.pop_front();
            if let Some(Known::Acked(stored)) = self.ids.remove(&id) {
                self.bytes -= stored.bytes();
            }
        }
    }
}

impl Stored {
    fn ack(&self, id: Uuid) -> Ack {
        let Self { timestamp, key, place } = self.clone();
        Ack { id, timestamp, key, place, deduplicated: true, event: None }
    }

    /// What it takes in memory, with its places in the table and in the line.
    fn bytes(&self) -> usize {
        const PLACES: usize = 128;
        let Place { shard_id, sequence_number, .. } = &self.place;
        PLACES + size_of::<Self>() + self.key.as_str().len() + shard_id.len() + sequence_number.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::{Kit, ms, rules};
    use super::*;
    use crate::event::{Code, Refusal};

    const KEEP: Window = Window { ids_max: 3, keep_for: Duration::from_secs(300) };

    fn durable(sequence_number: &str) -> Outcome {
        let shard_id = "shardId-000000000000".into();
        Outcome::Durable(Place { shard_id, sequence_number: sequence_number.into(), sub_sequence_number: None })
    }

    /// Meets an event that has to be new.
    fn new(dedupe: &mut Dedupe, item: BoxedItem, now: Instant) -> BoxedItem {
        match dedupe.meet(item, now) {
            Met::New(item) => item,
            other => panic!("{other:?}"),
        }
    }

    /// The sequence number that an event is acked with again.
    fn again(dedupe: &mut Dedupe, item: BoxedItem, now: Instant) -> String {
        match dedupe.meet(item, now) {
            Met::Again(_, ack) => {
                assert!(ack.deduplicated);
                ack.place.sequence_number.to_string()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_id_on_its_way_takes_its_copies_along_and_an_acked_one_is_acked_again() {
        let (kit, mut dedupe) = (Kit::new(rules()), Dedupe::new(KEEP));
        let now = kit.at(0);
        let first = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(matches!(dedupe.meet(kit.item_with_id(1), now), Met::Joined));
        let (copies, same) = dedupe.settle(&first, &durable("77"), now).expect("one came again");
        assert_eq!(copies.len(), 1);
        assert!(matches!(same, Body::Durable(ack) if &*ack.place.sequence_number == "77" && ack.deduplicated));
        assert_eq!(again(&mut dedupe, kit.item_with_id(1), now + ms(1)), "77");
        new(&mut dedupe, kit.item_with_id(2), now);
    }

    #[test]
    fn a_refused_id_refuses_its_copies_and_may_be_tried_again() {
        let (kit, mut dedupe) = (Kit::new(rules()), Dedupe::new(KEEP));
        let now = kit.at(0);
        let first = new(&mut dedupe, kit.item_with_id(1), now);
        assert!(matches!(dedupe.meet(kit.item_with_id(1), now), Met::Joined));
        let late = Outcome::Refused(Refusal::unconfirmed(Code::DeliveryTimeout, true, "late"));
        let (copies, same) = dedupe.settle(&first, &late, now).expect("one came again");
        assert_eq!(copies.len(), 1);
        assert!(matches!(same, Body::Refused(refusal) if refusal.code == Code::DeliveryTimeout));
        new(&mut dedupe, kit.item_with_id(1), now);
    }

    #[test]
    fn it_forgets_what_is_too_old_and_the_oldest_of_too_many() {
        let (kit, mut dedupe) = (Kit::new(rules()), Dedupe::new(KEEP));
        let now = kit.at(0);
        for id in 1..=4 {
            let item = new(&mut dedupe, kit.item_with_id(id), now);
            assert!(dedupe.settle(&item, &durable(&id.to_string()), now).is_none());
        }
        new(&mut dedupe, kit.item_with_id(1), now);
        assert_eq!(again(&mut dedupe, kit.item_with_id(4), now), "4");
        new(&mut dedupe, kit.item_with_id(4), now + KEEP.keep_for);
        assert_eq!((dedupe.acked.len(), dedupe.bytes), (0, 0));
    }

    #[test]
    fn it_never_holds_more_bytes_than_its_ids_may_take() {
        let (kit, mut dedupe) = (Kit::new(rules()), Dedupe::new(KEEP));
        let long = "9".repeat(2 * DEDUPE_BYTES_PER_ID);
        for id in 1..=3 {
            let item = new(&mut dedupe, kit.item_with_id(id), kit.at(0));
            dedupe.settle(&item, &durable(&long), kit.at(0));
            assert!(dedupe.bytes <= KEEP.ids_max * DEDUPE_BYTES_PER_ID);
        }
        assert_eq!(dedupe.acked.len(), 1);
    }

    #[test]
    fn ids_of_the_daemons_own_and_a_window_of_none_are_not_kept() {
        let (kit, mut dedupe) = (Kit::new(rules()), Dedupe::new(KEEP));
        new(&mut dedupe, kit.item_without_id(), kit.at(0));
        assert!(dedupe.ids.is_empty());
        let mut off = Dedupe::new(Window { ids_max: 0, ..KEEP });
        new(&mut off, kit.item_with_id(1), kit.at(0));
        new(&mut off, kit.item_with_id(1), kit.at(0));
    }
}
