//! One run: the lane's task in virtual time. The lane is the one that ships; here is what the task
//! around it does, in its order, with a list of what comes next in the place of tokio. It decides
//! nothing. Tickets, counters and budget are real.
//!
//! A mutant stands between the lane and the world: it changes what the lane hears, what it sends,
//! or what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dispatchd_core::limits::RECORD_BYTES_MAX;
use dispatchd_core::model::{
    Class, Code, Durable, EventAnswer, Outcome, Position, Record, Refusal, Shows,
};
use dispatchd_core::model::{Distribution, ShardMap, StreamFacts, Verdict};
use dispatchd_producer::lane::dedupe::Dedupe;
use dispatchd_producer::lane::{Batch, BoxedItem, Landed};
use dispatchd_producer::ticket::{AnswerGroup, EventId};
use dispatchd_simulation::Broken;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::caller::Caller;
use crate::copies::{self, Way};
use crate::lane::WatchedLane;
use crate::mutant::Mutant;
use crate::plan::{At, Plan, ms};
use crate::stream::{Reply, Stream, event_of};
use crate::tally::Tally;
use crate::watch::{Watch, check};

/// What comes next, in the order in which the task's select looks: old work first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    /// The world's: the lane does not notice.
    Arrives(u64),
    Reshard,
    /// The lane's.
    Abandon,
    Lands(u64),
    MapKnown,
    Drain,
    Push(usize),
}

#[derive(Debug)]
struct Flight {
    batch: Batch,
    sent: At,
    /// The reply to the request; `None` until that has arrived.
    reply: Option<Reply>,
    /// Sent while the stream was blocked.
    probe: bool,
    /// Sent behind the lane's back, by a mutant.
    smuggled: bool,
}

#[derive(Debug)]
struct Run<'p> {
    plan: &'p Plan,
    mutant: Option<Mutant>,
    base: Instant,
    now: At,
    steps: usize,
    lane: WatchedLane,
    stream: Stream,
    watch: Watch<'p>,
    todo: BTreeMap<(At, Todo), ()>,
    pushes_left: usize,
    flights: BTreeMap<u64, Flight>,
    /// The map that the lane has.
    known: Option<Arc<ShardMap>>,
    /// The world's chance and the lane's: neither depends on how often the other draws.
    world: SmallRng,
    lanes: SmallRng,
    caller: Caller,
    /// What a mutant keeps back.
    kept: Kept,
}

/// What a mutant does not let go of, or has to know.
#[derive(Debug, Default)]
struct Kept {
    windows: Vec<Arc<Mutex<Dedupe>>>,
    /// Keys that failed and were not sent since.
    failed: BTreeSet<u128>,
    /// Copies that joined one on its way.
    joined: BTreeSet<usize>,
    /// Events of which an attempt may have stored the record, unknown to the lane.
    unconfirmed: BTreeSet<usize>,
}

/// Runs one seed to its end, or to the first promise that is not kept.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Tally, Broken> {
    let plan = Plan::draw(seed);
    let mut run = Run::new(seed, &plan, mutant);
    run.go().map(|()| run.watch.tally).map_err(|broken| {
        let (step, now, settings) = (run.steps, run.now, plan.settings);
        broken.at(seed, format_args!("step {step}, at {now:?} ({settings:?})"))
    })
}

impl<'p> Run<'p> {
    fn new(seed: u64, plan: &'p Plan, mutant: Option<Mutant>) -> Self {
        let settings = mutant.map_or(plan.settings, |mutant| mutant.settings(plan.settings));
        let window = mutant.map_or(plan.window, |mutant| mutant.window(plan.window));
        let mut todo = BTreeMap::new();
        todo.extend(
            (0..plan.events.len())
                .map(|event| ((plan.events[event].pushed, Todo::Push(event)), ())),
        );
        todo.extend(plan.map_known.map(|at| ((at, Todo::MapKnown), ())));
        todo.extend(plan.reshards.iter().map(|at| ((*at, Todo::Reshard), ())));
        todo.extend(plan.drain.map(|at| ((at, Todo::Drain), ())));
        todo.extend(plan.abandon.map(|at| ((at, Todo::Abandon), ())));
        let (base, caller) = (Instant::now(), Caller::new());
        Self {
            plan,
            mutant,
            base,
            now: At::ZERO,
            steps: 0,
            lane: WatchedLane::new(settings, window, Arc::clone(caller.budget()), base),
            stream: Stream::new(plan.shards_count, plan.limit),
            watch: Watch::new(plan),
            todo,
            pushes_left: plan.events.len(),
            flights: BTreeMap::new(),
            known: None,
            world: SmallRng::seed_from_u64(seed ^ 0xdead_beef),
            lanes: SmallRng::seed_from_u64(seed ^ 0x00c0_ffee),
            caller,
            kept: Kept::default(),
        }
    }

    /// The task's loop.
    fn go(&mut self) -> Result<(), Broken> {
        loop {
            self.steps += 1;
            check!(
                "everything is answered in time",
                self.now <= self.plan.deadline(),
                "{:?}",
                self.lane.shown(self.instant())
            );
            let until = self.turn()?;
            self.look()?;
            if self.pushes_left == 0 && self.lane.is_empty() {
                break;
            }
            if self.wait(until)? {
                return self.ends_abandoned();
            }
        }
        let shown = self.lane.shown(self.instant());
        let is_idle = (shown.flights, shown.keys_cooling, shown.keys_held) == (0, 0, 0);
        check!("ends empty", is_idle, "{shown:?}");
        self.ends()
    }

    /// Lets the lane do what is due. Returns until when it wants to wait.
    fn turn(&mut self) -> Result<Option<At>, Broken> {
        let (sent, until) = self.lane.turn(self.instant());
        self.read_outbox()?;
        for batch in sent {
            self.launch(batch, false)?;
        }
        let past = until.is_some_and(|until| until <= self.now);
        check!("no busy loop", !past, "the lane waits until {until:?}, which is over");
        Ok(until)
    }

    fn launch(&mut self, batch: Batch, smuggled: bool) -> Result<(), Broken> {
        let probe = self.lane.is_blocked(self.instant());
        self.watch.sent(batch.entries(), self.now)?;
        for record in batch.records() {
            self.kept.failed.remove(&record.key_hash);
        }
        let number = self.watch.tally.flights as u64;
        let (shortest, longest) = self.plan.flight;
        let slow = self.world.random_bool(self.plan.slow_ratio);
        let takes = if slow { self.plan.slow } else { self.world.random_range(shortest..=longest) };
        let arrives = self.now + takes.mul_f64(self.world.random_range(0.0..1.0));
        self.todo.insert((arrives, Todo::Arrives(number)), ());
        self.todo.insert((self.now + takes, Todo::Lands(number)), ());
        if self.mutant == Some(Mutant::AckBeforeReply) {
            // It guesses what the reply will be, and well: a stream alone with it would prove it
            // right.
            let (first, map) = (self.stream.len(), self.stream.map());
            for (index, item) in batch.into_items().enumerate() {
                let shard_id = map.id(map.index_of(item.record.ring_position)).into();
                let sequence_number = (first + index).to_string().into();
                let position = Position { shard_id, sequence_number, sub_sequence_number: None };
                AnswerGroup::default().answer(item.ticket, item.record, Outcome::Durable(position));
            }
            return self.read_outbox();
        }
        self.flights.insert(number, Flight { batch, sent: self.now, reply: None, probe, smuggled });
        Ok(())
    }

    /// Until the next thing that the lane notices. True when it is told to give up.
    fn wait(&mut self, until: Option<At>) -> Result<bool, Broken> {
        loop {
            let next = self.todo.first_key_value().map(|((at, todo), ())| (*at, *todo));
            let (at, todo) = match (next, until) {
                (Some(next), until) if until.is_none_or(|until| next.0 <= until) => next,
                (_, Some(until)) => {
                    self.now = until;
                    if self.mutant == Some(Mutant::TimerSleepsIn) {
                        self.now += ms(400);
                    }
                    self.watch.woken(until)?;
                    return Ok(false);
                }
                (_, None) => {
                    check!(
                        "something comes next",
                        false,
                        "the lane waits for nothing: {:?}",
                        self.lane.shown(self.instant())
                    );
                    return Ok(false);
                }
            };
            self.todo.remove(&(at, todo));
            self.now = self.now.max(at);
            match todo {
                Todo::Arrives(number) => self.arrive(number)?,
                Todo::Reshard => self.stream.reshard(&mut self.world),
                Todo::Abandon => return Ok(true),
                Todo::Lands(number) => {
                    self.land(number)?;
                    while let Some((&(at, Todo::Lands(number)), ())) = self.todo.first_key_value()
                        && at == self.now
                    {
                        self.todo.remove(&(at, Todo::Lands(number)));
                        self.land(number)?;
                    }
                    return Ok(false);
                }
                Todo::MapKnown => {
                    let map = self.stream.map();
                    self.watch.map_set(Arc::clone(&map), self.now);
                    let known = self.mutant.map_or(Arc::clone(&map), |mutant| mutant.map(map));
                    self.known = Some(Arc::clone(&known));
                    let (shards, record_limit) = (Some(known), Some(RECORD_BYTES_MAX));
                    let facts =
                        StreamFacts { shards, record_limit, distribution: Distribution::ByKey };
                    self.lane.learn(facts, self.instant());
                    return Ok(false);
                }
                Todo::Drain => {
                    if self.mutant != Some(Mutant::DrainUnheard) {
                        self.lane.drain(self.instant());
                    }
                    self.watch.drained(self.now);
                    return Ok(false);
                }
                Todo::Push(event) => {
                    self.push(event)?;
                    while let Some((&(at, Todo::Push(event)), ())) = self.todo.first_key_value()
                        && at == self.now
                    {
                        self.todo.remove(&(at, Todo::Push(event)));
                        self.push(event)?;
                    }
                    return Ok(false);
                }
            }
        }
    }

    /// A line comes in: the task's `take_in`. How the lane took it shows in what is answered and
    /// counted at once.
    fn push(&mut self, event: usize) -> Result<(), Broken> {
        let item = self.accepted(event);
        self.pushes_left -= 1;
        if self.mutant == Some(Mutant::CopyAckedEarly)
            && let Some(ack) = self.guess(event)
        {
            self.watch.pushed(event, Way::Joined, self.now)?;
            item.ticket.answer_as(EventAnswer::Durable(ack));
            return self.read_outbox();
        }
        if self.is_smuggled(&item) {
            self.watch.pushed(event, Way::Own, self.now)?;
            return self.launch(std::iter::once(item).collect(), true);
        }
        let known = self.lane.deduplicated();
        self.lane.take_in(vec![item], self.instant());
        let answers = self.outbox();
        let told = answers.iter().find(|(answered, _)| *answered == event);
        let way = match told {
            Some((_, EventAnswer::Refused(_))) => Way::Reused,
            Some((_, EventAnswer::Durable(_))) => Way::Again,
            None if self.lane.deduplicated() > known => Way::Joined,
            None => Way::Own,
        };
        if way == Way::Joined {
            self.kept.joined.insert(event);
        }
        self.watch.pushed(event, way, self.now)?;
        self.answered(answers)
    }

    /// Whether a mutant sends this event at once, which has to wait for others of its key.
    fn is_smuggled(&self, item: &BoxedItem) -> bool {
        let key = item.record.key_hash;
        let in_air = |flight: &Flight| flight.batch.records().any(|record| record.key_hash == key);
        let waits = match self.mutant {
            Some(Mutant::KeyInFlightIgnored) => self.flights.values().any(in_air),
            Some(Mutant::CoolingKeySkipped) => self.kept.failed.contains(&key),
            _ => false,
        };
        waits
            && item.ticket.said().is_none()
            && self.flights.len() < self.plan.settings.max_in_flight
    }

    fn accepted(&mut self, event: usize) -> BoxedItem {
        let (known, id) = (&self.plan.events[event], copies::uuid(self.plan, event));
        let said = if self.mutant == Some(Mutant::ReusedJoins) { 0 } else { known.said };
        let said = self.caller.fingerprints().of(said);
        let deadline = self.mutant.map_or(known.deadline, |mutant| mutant.deadline(known.deadline));
        let is_chosen = known.id.is_some()
            && match self.mutant {
                Some(Mutant::CopyOnItsOwn) => false,
                Some(Mutant::ReusedTaken) => !self.is_reused(event),
                _ => true,
            };
        let id = if is_chosen { EventId::Chosen { id, said } } else { EventId::Made(id) };
        self.caller.write(
            event,
            known.record.clone(),
            id,
            copies::timestamp(event),
            self.base + known.accepted,
            deadline.map(|deadline| self.base + deadline),
        )
    }

    /// What one of this event's id that is on its way will be acked with, as the stream knows and
    /// the lane does not.
    fn guess(&self, event: usize) -> Option<Durable> {
        let id = self.plan.events[event].id?;
        let (record, verdict) = self.flights.values().find_map(|flight| {
            let entries = flight.batch.entries();
            let mut verdicts = entries.iter().zip(flight.reply.as_ref()?.as_ref().ok()?);
            let is_it = |event: &Record| self.plan.events[event_of(event)].id == Some(id);
            verdicts.find_map(|(events, verdict)| match *events {
                [event] if is_it(event) => Some((event, verdict)),
                _ => None,
            })
        })?;
        let Verdict::Stored { shard_id, sequence_number } = verdict.clone() else { return None };
        let (key, timestamp) = (record.key.clone(), copies::timestamp(event_of(record)));
        let id = copies::uuid(self.plan, event);
        let position = Position { shard_id, sequence_number, sub_sequence_number: None };
        Some(Durable {
            id,
            timestamp,
            key,
            position,
            deduplicated: true,
            shows: Shows::ALL,
            echo: None,
        })
    }

    /// Whether an earlier event of this one's id says another thing.
    fn is_reused(&self, event: usize) -> bool {
        let (earlier, one) = (&self.plan.events[..event], &self.plan.events[event]);
        earlier.iter().any(|other| other.id == one.id && other.said != one.said)
    }

    /// A request arrives at the stream.
    fn arrive(&mut self, number: u64) -> Result<(), Broken> {
        let Some(flight) = self.flights.get_mut(&number) else { return Ok(()) };
        let before = self.stream.len();
        flight.reply =
            Some(self.stream.put(flight.batch.entries(), self.plan, self.now, &mut self.world));
        let copies: Vec<_> = self.stream.events(before..self.stream.len()).collect();
        self.watch.stored(&flight.batch.records().collect::<Vec<_>>(), &copies)
    }

    fn land(&mut self, number: u64) -> Result<(), Broken> {
        if self.mutant == Some(Mutant::LandingUnnoticed) {
            return Ok(());
        }
        let Some(Flight { batch, sent, reply, probe, smuggled }) = self.flights.remove(&number)
        else {
            return Ok(());
        };
        let reply = reply.expect("a request arrives before its reply");
        self.watch.landed(batch.entries(), &reply, probe, self.now);
        if self.mutant == Some(Mutant::BatchLost) || smuggled {
            drop(batch);
            return self.read_outbox();
        }
        for (index, events) in batch.entries().iter().enumerate() {
            let stored = reply
                .as_ref()
                .is_ok_and(|verdicts| matches!(verdicts[index], Verdict::Stored { .. }));
            if !stored {
                self.kept.failed.extend(events.iter().map(|event| event.key_hash));
            }
        }
        let (batch, reply) = match self.mutant {
            Some(Mutant::PoisonMatesForgotten)
                if reply.as_ref().is_err_and(|error| error.class == Class::Poison) =>
            {
                let is_poison = |item: &BoxedItem| self.plan.events[event_of(&item.record)].poison;
                (batch.into_items().filter(is_poison).collect(), reply)
            }
            Some(Mutant::MisplacementUnseen) => {
                let reply = reply.map(|verdicts| self.as_predicted(&batch, verdicts));
                (batch, reply)
            }
            Some(Mutant::UnconfirmedForgotten) => {
                self.kept.unconfirmed.extend(unconfirmed(&batch, &reply));
                let (batch, reply) = Mutant::MaybeStoredForgotten.landed(batch, reply);
                Mutant::UnclearAsFailed.landed(batch, reply)
            }
            Some(mutant) => mutant.landed(batch, reply),
            None => (batch, reply),
        };
        let landed = Landed { batch, reply, took: self.now - sent };
        let news = self.lane.land(landed, self.instant(), &mut self.lanes);
        if news.map_is_old {
            // The refresher takes its time, and asks but once.
            let waits = self.world.random_range(ms(5)..ms(200));
            if !self.todo.keys().any(|(_, todo)| *todo == Todo::MapKnown) {
                self.todo.insert((self.now + waits, Todo::MapKnown), ());
            }
        }
        Ok(()) // what is settled is answered in the next turn
    }

    /// Each packed record as if it were where the lane expects it.
    fn as_predicted(&self, batch: &Batch, mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
        for (events, verdict) in
            batch.entries().iter().zip(&mut verdicts).filter(|(events, _)| events.len() > 1)
        {
            if let (Verdict::Stored { shard_id, .. }, Some(known)) = (verdict, &self.known) {
                *shard_id = known.id(known.index_of(events[0].ring_position)).into();
            }
        }
        verdicts
    }

    fn read_outbox(&mut self) -> Result<(), Broken> {
        let answers = self.outbox();
        self.answered(answers)
    }

    fn answered(&mut self, answers: Vec<(usize, EventAnswer)>) -> Result<(), Broken> {
        let answered =
            |(event, answer)| self.watch.answered(event, &answer, &self.stream, self.now);
        answers.into_iter().try_for_each(answered)
    }

    /// What is in the outbox; with a mutant, what it lets out.
    fn outbox(&mut self) -> Vec<(usize, EventAnswer)> {
        let answers: Vec<_> = std::iter::from_fn(|| self.caller.read()).collect();
        let Some(mutant) = self.mutant else { return answers };
        let told = |(event, answer)| Some((event, self.told(mutant, event, answer)?));
        answers.into_iter().filter_map(told).collect()
    }

    /// An answer as a mutant gives it; `None` where it gives none.
    fn told(&self, mutant: Mutant, event: usize, answer: EventAnswer) -> Option<EventAnswer> {
        let deadline = self.plan.events[event].deadline;
        let is_given_up = deadline.is_some_and(|deadline| deadline <= self.now);
        let is_joined = self.kept.joined.contains(&event);
        let unconfirmed = |code| EventAnswer::Refused(Refusal::unconfirmed(code, true, "mutant"));
        Some(match (mutant, answer) {
            (Mutant::LateForgotten, EventAnswer::Refused(refusal))
                if refusal.code == Code::DeliveryTimeout =>
            {
                unconfirmed(Code::ShuttingDown)
            }
            (Mutant::DeadlineDropsEvent, EventAnswer::Refused(refusal))
                if refusal.code == Code::DeliveryTimeout && is_given_up =>
            {
                unconfirmed(Code::ShuttingDown)
            }
            (Mutant::UnconfirmedForgotten, EventAnswer::Refused(mut refusal)) => {
                let is_wrong = self.kept.unconfirmed.contains(&event);
                refusal.maybe_stored = refusal.maybe_stored.map(|told| told || is_wrong);
                EventAnswer::Refused(refusal)
            }
            (Mutant::CopyDropped, _) if is_joined => unconfirmed(Code::ShuttingDown),
            (Mutant::CopyTimesOut, _) if is_joined => unconfirmed(Code::DeliveryTimeout),
            (Mutant::CopyForgotten, _) if is_joined => return None,
            (Mutant::DeduplicatedUntold, EventAnswer::Durable(ack)) => {
                EventAnswer::Durable(Durable { deduplicated: false, ..ack })
            }
            (Mutant::MembersUnnumbered, EventAnswer::Durable(mut ack)) => {
                ack.position.sub_sequence_number = None;
                EventAnswer::Durable(ack)
            }
            (_, answer) => answer,
        })
    }

    fn look(&mut self) -> Result<(), Broken> {
        self.watch.look(&self.lane.shown(self.instant()), self.now)?;
        self.counters_add_up()
    }

    /// accepted = acked + refused + rolled back + in flight + staged, and the budget holds the
    /// bytes of what is in flight.
    fn counters_add_up(&self) -> Result<(), Broken> {
        let (events, tally) = (self.caller.snapshot(), self.watch.tally);
        check!(
            "counters",
            events.accepted == tally.events as u64,
            "{events:?}, {} pushed",
            tally.events
        );
        check!("counters", events.acked == tally.acked as u64, "{events:?}, {} acked", tally.acked);
        check!(
            "counters",
            events.in_flight() == tally.open() as u64,
            "{events:?}, {} open",
            tally.open()
        );
        // A copy that waits is in the budget like any event: its bytes are the bound of what waits
        // with it.
        let (used, open) = (self.caller.budget().used_bytes(), self.watch.open_bytes());
        check!("budget", used == open, "{used} bytes are held, {open} are open");
        Ok(())
    }

    /// The deadline of the drain: the task's `give_up`.
    fn ends_abandoned(&mut self) -> Result<(), Broken> {
        self.watch.abandoned = true;
        // What is in the inbox by now is taken in, to be answered with the rest.
        let next = self.plan.events.len() - self.pushes_left;
        for event in (next..self.plan.events.len()).take(3) {
            self.push(event)?;
        }
        let now = self.instant();
        let ended = WatchedLane::new(
            self.plan.settings,
            self.plan.window,
            Arc::clone(self.caller.budget()),
            self.base,
        );
        let window = std::mem::replace(&mut self.lane, ended).abandon(now);
        self.flights.clear();
        match self.mutant {
            Some(Mutant::WindowOutlivesLane) => self.kept.windows.push(window),
            _ => drop(window), // and with it the copies that joined, which answer for themselves
        }
        self.read_outbox()?;
        self.ends()
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn ends(&self) -> Result<(), Broken> {
        self.counters_add_up()?;
        check!("answered once", self.watch.all_answered(), "some events never were");
        Ok(())
    }
}

/// The events of a request of which the reply does not say whether they are stored.
fn unconfirmed(batch: &Batch, reply: &Reply) -> Vec<usize> {
    let entries = batch.entries();
    let is_unclear = |index: usize| match reply {
        Ok(verdicts) => verdicts[index] == Verdict::Unclear,
        Err(error) => error.maybe_stored,
    };
    let unclear = entries.iter().enumerate().filter(|(index, _)| is_unclear(*index));
    unclear.flat_map(|(_, events)| events.iter().map(|event| event_of(event))).collect()
}
