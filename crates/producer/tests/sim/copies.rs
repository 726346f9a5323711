//! What the dedupe window promises, watched from outside: which lines share one answer, which may
//! make a record, and how much the window remembers at the least and at the most.
//!
//! It knows the ids of the plan, the truth of the stream and how the lane's task took each line in.
//! It never looks into the window.

use std::collections::BTreeSet;

use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{Code, Durable, EventAnswer, Position};
use dispatchd_simulation::Broken;
use uuid::Uuid;

use crate::plan::{At, Plan};
use crate::stream::Stream;
use crate::tally::Tally;
use crate::watch::check;

/// How the lane took a line in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The line is an event of its own.
    Own,
    /// The line waits for the one of its id that is on its way.
    Joined,
    /// The line's event was in the stream already.
    Again,
    /// The line's id is another event's.
    Reused,
}

#[derive(Debug)]
pub(crate) struct Copies<'p> {
    plan: &'p Plan,
    lines: Vec<Line>,
    ids: Vec<Id>,
    /// When events with ids that their callers chose were acked, or were refused and may be stored
    /// all the same.
    settled: Vec<At>,
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
    /// Whether the line had to be taken for a new event.
    is_new: bool,
    /// Whether its record is stored and the reply that says so is home.
    durable: bool,
}

#[derive(Debug, Default)]
struct Id {
    /// On its way.
    open: Option<usize>,
    /// The last that was acked or may be stored, and its place in `settled`.
    settled: Option<(usize, usize)>,
    /// Lines that have a record in the stream.
    stored: BTreeSet<usize>,
}

/// An answer, as far as a copy has to be given the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Acked(Position),
    Refused { code: Code, message: String, maybe_stored: Option<bool> },
}

/// Who chose it shows in the id.
pub(crate) fn uuid(plan: &Plan, event: usize) -> Uuid {
    const MADE: u128 = 1 << 64;
    Uuid::from_u128(plan.events[event].id.map_or(MADE + event as u128, |id| id as u128))
}

/// Each line has one of its own.
pub(crate) fn timestamp(event: usize) -> Timestamp {
    Timestamp::from_unix_ms(event as u64)
}

impl<'p> Copies<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            lines: plan.events.iter().map(|_| Line::default()).collect(),
            ids: (0..plan.ids_count).map(|_| Id::default()).collect(),
            settled: Vec::new(),
            waiting: BTreeSet::new(),
            ahead: BTreeSet::new(),
        }
    }

    /// Whether an event may be taken in so, by what its id is known for.
    pub(crate) fn means_one_event(&self, event: usize, way: Way, now: At) -> Result<(), Broken> {
        let Some(number) = self.plan.events[event].id.filter(|_| self.plan.window.ids_max > 0)
        else {
            return Ok(());
        };
        let known = self.ids[number].open.or_else(|| self.remembered(number, now));
        let is_other =
            known.is_some_and(|known| self.plan.events[known].said != self.plan.events[event].said);
        let told = way == Way::Reused;
        check!(
            "an id means one event",
            told == is_other,
            "event {event} is taken in as {way:?}, {known:?} is known"
        );
        Ok(())
    }

    /// Whether an earlier event of this one's id was refused and may be stored, as the lane must
    /// know.
    pub(crate) fn is_unconfirmed(&self, event: usize, now: At) -> bool {
        let known = self.plan.events[event].id.and_then(|id| self.remembered(id, now));
        known.is_some_and(|known| matches!(self.lines[known].said, Some(Said::Refused { .. })))
    }

    pub(crate) fn taken_in(
        &mut self,
        event: usize,
        way: Way,
        now: At,
        tally: &mut Tally,
    ) -> Result<(), Broken> {
        self.lines[event].way = Some(way);
        let Some(number) = self.plan.events[event].id else { return Ok(()) };
        let remembered = self.remembered(number, now);
        let is_acked = |known: usize| matches!(self.lines[known].said, Some(Said::Acked(_)));
        let acked = remembered.filter(|known| is_acked(*known));
        let was_acked = self.ids[number].settled.is_some_and(|(known, _)| is_acked(known));
        let id = &mut self.ids[number];
        let line = &mut self.lines[event];
        line.is_new = self.plan.window.ids_max == 0 || (id.open.is_none() && acked.is_none());
        match way {
            Way::Own => {
                let first = id.settled.is_none() && id.stored.is_empty();
                tally.forgotten +=
                    usize::from(line.is_new && was_acked && self.plan.window.ids_max > 0);
                tally.tried_again += usize::from(line.is_new && !was_acked && !first);
                (id.open, id.settled) = (Some(event), None);
            }
            Way::Joined => {
                check!(
                    "a copy joins what is open",
                    id.open.is_some(),
                    "event {event}: none of its id is on its way"
                );
                line.with = id.open;
                self.waiting.insert(event);
                tally.joined += 1;
            }
            Way::Again => {
                check!(
                    "the window is bounded",
                    acked.is_some(),
                    "event {event}: its id should be forgotten"
                );
                line.with = acked;
                tally.acked_again += 1;
            }
            Way::Reused => {}
        }
        Ok(())
    }

    /// Whether the lane has this event on its way, as one of its own.
    pub(crate) fn is_own(&self, event: usize) -> bool {
        self.lines[event].way == Some(Way::Own)
    }

    /// A record of this event is in the stream.
    pub(crate) fn stored(&mut self, event: usize) -> Result<(), Broken> {
        let Some(id) = self.plan.events[event].id else { return Ok(()) };
        let stored = &mut self.ids[id].stored;
        stored.insert(event);
        let second = stored.iter().skip(1).find(|event| !self.lines[**event].is_new);
        check!("one record an id", second.is_none(), "event {second:?} is stored too: {stored:?}");
        Ok(())
    }

    /// A reply is home that says that this event's record is stored.
    pub(crate) fn durable(&mut self, event: usize) {
        self.lines[event].durable = true;
    }

    /// `maybe`: an attempt may have stored it.
    pub(crate) fn answered(
        &mut self,
        event: usize,
        body: &EventAnswer,
        maybe: bool,
        stream: &Stream,
        now: At,
    ) -> Result<(), Broken> {
        let reused =
            matches!(body, EventAnswer::Refused(refusal) if refusal.code == Code::IdReused);
        let is_reused = self.lines[event].way == Some(Way::Reused);
        check!("an id means one event", reused == is_reused, "event {event}: {body:?}");
        let said = match body {
            EventAnswer::Durable(ack) => {
                self.acked_where_it_is(event, ack, stream)?;
                Said::Acked(ack.position.clone())
            }
            EventAnswer::Refused(refusal) => {
                let (code, message, maybe_stored) =
                    (refusal.code, refusal.message.to_string(), refusal.maybe_stored);
                Said::Refused { code, message, maybe_stored }
            }
        };
        self.lines[event].said = Some(said);
        self.waiting.remove(&event);
        if let Some(first) = self.lines[event].with {
            self.said_the_same(event, first)?;
        }
        while let Some(copy) =
            self.ahead.iter().copied().find(|copy| self.lines[*copy].with == Some(event))
        {
            self.ahead.remove(&copy);
            self.said_the_same(copy, event)?;
        }
        if let Some(id) = self.plan.events[event].id.filter(|_| self.is_own(event)) {
            let id = &mut self.ids[id];
            id.open = id.open.filter(|open| *open != event);
            if maybe || matches!(body, EventAnswer::Durable(_)) {
                id.settled = Some((event, self.settled.len()));
                self.settled.push(now);
            }
        }
        Ok(())
    }

    /// An ack names the place of a record of this very id, and says whether it is this very line's.
    fn acked_where_it_is(
        &self,
        event: usize,
        ack: &Durable,
        stream: &Stream,
    ) -> Result<(), Broken> {
        let events = &self.plan.events;
        let is_it = |held: &usize| {
            *held == event || (events[event].id.is_some() && events[event].id == events[*held].id)
        };
        let held = stream.event_at(&ack.position).filter(is_it);
        let Some(held) = held else {
            check!("acked is stored", false, "event {event} is not at {:?}", ack.position);
            return Ok(());
        };
        let (key, timestamp) = (&events[held].record.key, timestamp(held));
        check!(
            "acked is stored",
            ack.key == *key,
            "event {event} is acked with the key {:?}, not {key:?}",
            ack.key
        );
        check!(
            "acked is stored",
            ack.timestamp.as_str() == timestamp.as_str(),
            "event {event}: {:?}",
            ack.timestamp
        );
        check!("acked is stored", ack.id == uuid(self.plan, event), "event {event}: {}", ack.id);
        let own = held == event;
        check!(
            "deduplicated is told",
            ack.deduplicated != own,
            "event {event} is acked with the record of {held}"
        );
        let durable = self.lines[held].durable;
        check!(
            "no copy is acked early",
            durable,
            "event {event} is acked, and {held} is still on its way"
        );
        Ok(())
    }

    /// A copy is answered as the one that it joined, or that was there before.
    fn said_the_same(&mut self, copy: usize, first: usize) -> Result<(), Broken> {
        let (Some(said), of_first) = (&self.lines[copy].said, &self.lines[first].said) else {
            return Ok(());
        };
        let Some(of_first) = of_first else {
            self.ahead.insert(copy); // copies are answered first, and within the same moment
            return Ok(());
        };
        let same = match (said, of_first) {
            // What the window held when it was dropped is answered with the careful word.
            (
                Said::Refused { code: Code::ShuttingDown, maybe_stored: Some(true), .. },
                Said::Refused { code: Code::ShuttingDown, .. },
            ) => true,
            (said, of_first) => said == of_first,
        };
        check!(
            "a copy is answered as its first",
            same,
            "event {copy}: {said:?}, but {first}: {of_first:?}"
        );
        Ok(())
    }

    /// Between two waits of the lane.
    pub(crate) fn look(&self) -> Result<(), Broken> {
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
        check!(
            "a copy is answered with its first",
            left.is_none(),
            "event {left:?} is not answered"
        );
        Ok(())
    }

    pub(crate) fn all_answered(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What the window must know of an id that is not on its way: the last of its events that was
    /// acked, or may be stored. Places here are as AWS writes them, so it is the number of ids and
    /// their age that bound the window, not their bytes.
    fn remembered(&self, id: usize, now: At) -> Option<usize> {
        let window = self.plan.window;
        let (event, place) = self.ids[id].settled?;
        let since = &self.settled[place..];
        (since.len() <= window.ids_max && now - since[0] < window.keep_for).then_some(event)
    }
}
