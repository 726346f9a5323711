//! What the dedupe window promises, watched from outside: which lines share one answer, which may make a record, and how
//! much the window remembers at the least and at the most.
//!
//! It knows the ids of the plan, the truth of the stream and how the lane's task took each line in. It never looks
//! into the window.

use std::collections::BTreeSet;

use dispatchd::ack::Body;
use dispatchd::event::envelope::Timestamp;
use dispatchd::event::{Code, Place};
use dispatchd::limits::DEDUPE_BYTES_PER_ID;
use dispatchd::protocol::reply::Ack;
use uuid::Uuid;

use crate::plan::{At, Plan};
use crate::stream::Stream;
use crate::tally::Tally;
use crate::watch::{Broken, check};

/// How the lane took a line in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As an event of its own.
    Own,
    /// It waits for the one of its id that is on its way.
    Joined,
    /// It was in the stream already.
    Again,
}

#[derive(Debug)]
pub struct Copies<'p> {
    plan: &'p Plan,
    lines: Vec<Line>,
    ids: Vec<Id>,
    /// Acked with an id that its caller chose: when, and how many bytes the window keeps of it at the least.
    acked: Vec<(At, usize)>,
    /// Copies that wait for the answer of the one they joined.
    waiting: BTreeSet<usize>,
    /// Copies that are answered while that one is not.
    ahead: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Line {
    way: Option<Way>,
    /// The line whose answer it shares.
    with: Option<usize>,
    said: Option<Said>,
    /// It had to be taken for a new event.
    is_new: bool,
    /// Its record is stored, and the reply that says so is home.
    durable: bool,
}

#[derive(Debug, Default)]
struct Id {
    /// On its way.
    open: Option<usize>,
    /// The last that was acked, and its place in `acked`.
    acked: Option<(usize, usize)>,
    /// Lines that have a record in the stream.
    stored: BTreeSet<usize>,
}

/// An answer, as far as a copy has to be given the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Acked(Place),
    Refused { code: Code, message: String, maybe_stored: Option<bool> },
}

/// Who chose it shows in the id.
pub fn uuid(plan: &Plan, event: usize) -> Uuid {
    const MADE: u128 = 1 << 64;
    Uuid::from_u128(plan.events[event].id.map_or(MADE + event as u128, |id| id as u128))
}

/// Each line has one of its own.
pub fn timestamp(event: usize) -> Timestamp {
    Timestamp::from_unix_ms(event as u64)
}

impl<'p> Copies<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            lines: plan.events.iter().map(|_| Line::default()).collect(),
            ids: (0..plan.ids_count).map(|_| Id::default()).collect(),
            acked: Vec::new(),
            waiting: BTreeSet::new(),
            ahead: BTreeSet::new(),
        }
    }

    pub fn taken_in(&mut self, event: usize, way: Way, now: At, tally: &mut Tally) -> Result<(), Broken> {
        self.lines[event].way = Some(way);
        let Some(number) = self.plan.events[event].id else { return Ok(()) };
        let (surely, maybe) = self.remembered(number, now);
        let id = &mut self.ids[number];
        let line = &mut self.lines[event];
        line.is_new = self.plan.window.ids_max == 0 || (id.open.is_none() && !surely);
        match way {
            Way::Own => {
                let first = id.acked.is_none() && id.stored.is_empty();
                tally.forgotten += usize::from(line.is_new && id.acked.is_some() && self.plan.window.ids_max > 0);
                tally.tried_again += usize::from(line.is_new && id.acked.is_none() && !first);
                (id.open, id.acked) = (Some(event), None);
            }
            Way::Joined => {
                check!("a copy joins what is open", id.open.is_some(), "event {event}: none of its id is on its way");
                line.with = id.open;
                self.waiting.insert(event);
                tally.joined += 1;
            }
            Way::Again => {
                check!("the window is bounded", maybe, "event {event}: its id should be forgotten");
                line.with = id.acked.map(|(event, _)| event);
                tally.acked_again += 1;
            }
        }
        Ok(())
    }

    /// Whether the lane has this event on its way, as one of its own.
    pub fn is_own(&self, event: usize) -> bool {
        self.lines[event].way == Some(Way::Own)
    }

    /// A record of this event is in the stream.
    pub fn stored(&mut self, event: usize) -> Result<(), Broken> {
        let Some(id) = self.plan.events[event].id else { return Ok(()) };
        let stored = &mut self.ids[id].stored;
        stored.insert(event);
        let second = stored.iter().skip(1).find(|event| !self.lines[**event].is_new);
        check!("one record an id", second.is_none(), "event {second:?} is stored too: {stored:?}");
        Ok(())
    }

    /// A reply is home that says that this event's record is stored.
    pub fn durable(&mut self, event: usize) {
        self.lines[event].durable = true;
    }

    pub fn answered(&mut self, event: usize, body: &Body, stream: &Stream, now: At) -> Result<(), Broken> {
        let said = match body {
            Body::Durable(ack) => {
                self.acked_where_it_is(event, ack, stream)?;
                Said::Acked(ack.place.clone())
            }
            Body::Refused(refusal) => {
                let (code, message, maybe_stored) = (refusal.code, refusal.message.to_string(), refusal.maybe_stored);
                Said::Refused { code, message, maybe_stored }
            }
        };
        self.lines[event].said = Some(said);
        self.waiting.remove(&event);
        if let Some(first) = self.lines[event].with {
            self.said_the_same(event, first)?;
        }
        while let Some(copy) = self.ahead.iter().copied().find(|copy| self.lines[*copy].with == Some(event)) {
            self.ahead.remove(&copy);
            self.said_the_same(copy, event)?;
        }
        if let Some(id) = self.plan.events[event].id.filter(|_| self.is_own(event)) {
            let id = &mut self.ids[id];
            id.open = id.open.filter(|open| *open != event);
            if let Body::Durable(ack) = body {
                id.acked = Some((event, self.acked.len()));
                let bytes = ack.key.as_str().len() + ack.place.shard_id.len() + ack.place.sequence_number.len();
                self.acked.push((now, bytes));
            }
        }
        Ok(())
    }

    /// An ack names the place of a record of this very id, and says whether it is this very line's.
    fn acked_where_it_is(&self, event: usize, ack: &Ack, stream: &Stream) -> Result<(), Broken> {
        let events = &self.plan.events;
        let is_it =
            |held: &usize| *held == event || (events[event].id.is_some() && events[event].id == events[*held].id);
        let held = stream.event_at(&ack.place).filter(is_it);
        let Some(held) = held else {
            check!("acked is stored", false, "event {event} is not at {:?}", ack.place);
            return Ok(());
        };
        let (key, timestamp) = (&events[held].record.key, timestamp(held));
        check!("acked is stored", ack.key == *key, "event {event} is acked with the key {:?}, not {key:?}", ack.key);
        check!("acked is stored", ack.timestamp.as_str() == timestamp.as_str(), "event {event}: {:?}", ack.timestamp);
        check!("acked is stored", ack.id == uuid(self.plan, event), "event {event}: {}", ack.id);
        let own = held == event;
        check!("deduplicated is told", ack.deduplicated != own, "event {event} is acked with the record of {held}");
        let durable = self.lines[held].durable;
        check!("no copy is acked early", durable, "event {event} is acked, and {held} is still on its way");
        Ok(())
    }

    /// A copy is answered as the one that it joined, or that was there before.
    fn said_the_same(&mut self, copy: usize, first: usize) -> Result<(), Broken> {
        let (Some(said), of_first) = (&self.lines[copy].said, &self.lines[first].said) else { return Ok(()) };
        let Some(of_first) = of_first else {
            self.ahead.insert(copy); // copies are answered first, and within the same moment
            return Ok(());
        };
        let same = match (said, of_first) {
            // What the window held when it was dropped is answered with the careful word.
            (
                Said::Refused { code: Code::ShuttingDown, maybe_stored, .. },
                Said::Refused { code: Code::ShuttingDown, .. },
            ) => *maybe_stored == Some(true),
            (said, of_first) => said == of_first,
        };
        check!("a copy is answered as its first", same, "event {copy}: {said:?}, but {first}: {of_first:?}");
        Ok(())
    }

    /// Between two waits of the lane.
    pub fn look(&self) -> Result<(), Broken> {
        let ahead = &self.ahead;
        check!(
            "a copy is answered as its first",
            ahead.is_empty(),
            "events {ahead:?} are answered, not those they joined"
        );
        let left = self.waiting.iter().find(|copy| {
            let first = self.lines[**copy].with;
            first.is_some_and(|first| self.lines[first].said.is_some())
        });
        check!("a copy is answered with its first", left.is_none(), "event {left:?} is not answered");
        Ok(())
    }

    pub fn all_answered(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the window must remember the last ack of an id, and whether it may.
    fn remembered(&self, id: usize, now: At) -> (bool, bool) {
        /// What it may take to remember one, besides the texts.
        const PLACES_MAX: usize = 256;
        let window = self.plan.window;
        let Some((_, place)) = self.ids[id].acked else { return (false, false) };
        let since = &self.acked[place..];
        let fits = since.len() <= window.ids_max && now - since[0].0 < window.keep_for;
        let bytes: usize = since.iter().map(|(_, bytes)| bytes).sum();
        let bytes_max = window.ids_max * DEDUPE_BYTES_PER_ID;
        (fits && bytes + since.len() * PLACES_MAX <= bytes_max, fits && bytes <= bytes_max)
    }
}
