//! One run: the lane's task in virtual time. It does what `lane::Lane` and the task around it do,
//! in their order, with a list of what comes next in the place of tokio; it decides nothing.
//! Tickets, counters and budget are real.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use dispatchd_core::limits::RECORD_BYTES_MAX;
use dispatchd_core::model::{
    Class, Code, Durable, EventAnswer, Outcome, Position, Record, Refusal, Shows,
};
use dispatchd_core::model::{Distribution, ShardMap, StreamFacts, Verdict};
use dispatchd_producer::lane::Answered;
use dispatchd_producer::lane::Batch;
use dispatchd_producer::lane::BoxedItem;
use dispatchd_producer::lane::buffer::{Buffer, Gauges, Poll};
use dispatchd_producer::lane::dedupe::{self, Admission, Dedupe};
use dispatchd_producer::ticket::{AnswerGroup, EventId, Ticket};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::caller::Caller;
use crate::copies::{self, Way};
use crate::mutant::Mutant;
use crate::plan::{At, Plan, ms};
use crate::stream::{Reply, Stream, event_of};
use crate::tally::Tally;
use crate::watch::{Broken, Watch, check};

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
    buffer: Buffer,
    dedupe: Dedupe,
    stream: Stream,
    watch: Watch<'p>,
    todo: BTreeMap<(At, Todo), ()>,
    pushes_left: usize,
    flights: BTreeMap<u64, Flight>,
    /// The map that the lane has.
    known: Option<Arc<ShardMap>>,
    /// The world's chance and the lane's: neither depends on how often the other draws.
    world: SmallRng,
    lane: SmallRng,
    caller: Caller,
    /// What a mutant keeps back.
    kept: Kept,
}

/// What a mutant does not let go of.
#[derive(Debug, Default)]
struct Kept {
    tickets: Vec<Ticket>,
    windows: Vec<Dedupe>,
    /// Keys that failed and were not sent since.
    failed: BTreeSet<u128>,
}

/// Runs one seed to its end, or to the first promise that is not kept.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Tally, Broken> {
    let _seed = Seed(seed);
    let plan = Plan::draw(seed);
    let mut run = Run::new(seed, &plan, mutant);
    run.go().map(|()| run.watch.tally).map_err(|broken| {
        let (step, now, settings) = (run.steps, run.now, plan.settings);
        let what = format!(
            "seed {seed}, step {step}, at {now:?}: {}: {} ({settings:?})",
            broken.check, broken.what
        );
        Broken { what, ..broken }
    })
}

/// Names the seed of a run that panics: the lane asserts promises too.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} panics", self.0);
        }
    }
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
        Self {
            plan,
            mutant,
            base: Instant::now(),
            now: At::ZERO,
            steps: 0,
            buffer: Buffer::new(settings),
            dedupe: Dedupe::new(window),
            stream: Stream::new(plan.shards_count, plan.limit),
            watch: Watch::new(plan),
            todo,
            pushes_left: plan.events.len(),
            flights: BTreeMap::new(),
            known: None,
            world: SmallRng::seed_from_u64(seed ^ 0xdead_beef),
            lane: SmallRng::seed_from_u64(seed ^ 0x00c0_ffee),
            caller: Caller::new(),
            kept: Kept::default(),
        }
    }

    /// The task's loop.
    fn go(&mut self) -> Result<(), Broken> {
        while self.pushes_left > 0 || !self.buffer.is_empty() {
            self.steps += 1;
            check!(
                "everything is answered in time",
                self.now <= self.plan.deadline(),
                "{:?}",
                self.buffer.gauges()
            );
            let until = self.decide()?;
            self.look()?;
            if self.pushes_left == 0 && self.buffer.is_empty() {
                break; // the last events expired
            }
            if self.wait(until)? {
                return self.ends_abandoned();
            }
        }
        self.look()?;
        let gauges = Gauges { shards_cooling: 0, ..self.buffer.gauges() };
        check!("ends empty", gauges == Gauges::default(), "{gauges:?}");
        self.ends()
    }

    /// Answers what is late and sends, until the lane wants to wait.
    fn decide(&mut self) -> Result<Option<At>, Broken> {
        let now = self.instant();
        loop {
            match self.buffer.poll(now) {
                Poll::Late(items) if self.mutant == Some(Mutant::LateForgotten) => {
                    drop(items);
                    self.read_outbox()?;
                }
                Poll::Late(items) => {
                    for item in items {
                        let is_given_up = item.deadline.is_some_and(|deadline| deadline <= now);
                        if is_given_up && self.mutant == Some(Mutant::DeadlineDropsEvent) {
                            drop(item);
                            continue;
                        }
                        let refusal =
                            Refusal::unconfirmed(Code::DeliveryTimeout, item.maybe_stored, "late");
                        self.answer(Answered { item, outcome: Outcome::Refused(refusal) });
                    }
                    self.read_outbox()?;
                }
                Poll::Send(batch) => self.launch(batch, false)?,
                Poll::Wait(until) => {
                    let until = until.map(|until| until.duration_since(self.base));
                    let past = until.is_some_and(|until| until <= self.now);
                    check!("no busy loop", !past, "the lane waits until {until:?}, which is over");
                    return Ok(until);
                }
            }
        }
    }

    fn launch(&mut self, batch: Batch, smuggled: bool) -> Result<(), Broken> {
        let probe = self.buffer.blocked().is_some();
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
                let shard_id = map.id(map.index_of(item.record.ring_position())).into();
                let sequence_number = (first + index).to_string().into();
                let position = Position { shard_id, sequence_number, sub_sequence_number: None };
                AnswerGroup::default().answer(item.ticket, item.record, Outcome::Durable(position));
            }
            return self.read_outbox();
        }
        self.flights.insert(number, Flight { batch, reply: None, probe, smuggled });
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
                        self.buffer.gauges()
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
                    self.buffer.learn(facts, self.instant());
                    return Ok(false);
                }
                Todo::Drain => {
                    if self.mutant != Some(Mutant::DrainUnheard) {
                        self.buffer.drain(self.instant());
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

    /// A line comes in: the task's `take_in`.
    fn push(&mut self, event: usize) -> Result<(), Broken> {
        let item = self.accepted(event);
        let key = item.record.key_hash;
        self.pushes_left -= 1;
        if let Some(Mutant::CopyOnItsOwn) = self.mutant {
            self.watch.pushed(event, Way::Own, self.now)?;
            self.buffer.push(item);
            return Ok(());
        }
        if self.mutant == Some(Mutant::CopyAckedEarly)
            && let Some(ack) = self.guess(event)
        {
            self.watch.pushed(event, Way::Joined, self.now)?;
            item.ticket.answer_as(EventAnswer::Durable(ack));
            return self.read_outbox();
        }
        let now = self.instant();
        match self.dedupe.admit(item, now) {
            Admission::IdReused(ticket) if self.mutant == Some(Mutant::ReusedTaken) => {
                drop(ticket);
                self.watch.pushed(event, Way::Own, self.now)
            }
            Admission::IdReused(ticket) => {
                self.watch.pushed(event, Way::Reused, self.now)?;
                ticket.answer_as(EventAnswer::Refused(dedupe::id_reused()));
                self.read_outbox()
            }
            Admission::New(item) => {
                self.watch.pushed(event, Way::Own, self.now)?;
                let in_air =
                    |flight: &Flight| flight.batch.records().any(|record| record.key_hash == key);
                let smuggled = match self.mutant {
                    Some(Mutant::KeyInFlightIgnored) => self.flights.values().any(in_air),
                    Some(Mutant::CoolingKeySkipped) => self.kept.failed.contains(&key),
                    _ => false,
                };
                if smuggled && self.flights.len() < self.plan.settings.max_in_flight {
                    return self.launch(std::iter::once(item).collect(), true);
                }
                self.buffer.push(item);
                Ok(())
            }
            Admission::Joined => self.watch.pushed(event, Way::Joined, self.now),
            Admission::AlreadyDurable(ticket, mut ack) => {
                self.watch.pushed(event, Way::Again, self.now)?;
                ack.deduplicated = self.mutant != Some(Mutant::DeduplicatedUntold);
                ticket.answer_as(EventAnswer::Durable(*ack));
                self.read_outbox()
            }
        }
    }

    fn accepted(&mut self, event: usize) -> BoxedItem {
        let (known, id) = (&self.plan.events[event], copies::uuid(self.plan, event));
        let said = if self.mutant == Some(Mutant::ReusedJoins) { 0 } else { known.said };
        let said = self.caller.fingerprints().of(said);
        let deadline = self.mutant.map_or(known.deadline, |mutant| mutant.deadline(known.deadline));
        let id = if known.id.is_some() { EventId::Chosen { id, said } } else { EventId::Made(id) };
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

    /// The task's `answer`.
    fn answer(&mut self, answered: Answered) {
        let Answered { mut item, mut outcome } = answered;
        item.maybe_stored &= self.mutant != Some(Mutant::UnconfirmedForgotten);
        if let (Some(Mutant::MembersUnnumbered), Outcome::Durable(position)) =
            (self.mutant, &mut outcome)
        {
            position.sub_sequence_number = None;
        }
        let now = self.instant();
        if let Some((copies, same)) = self.dedupe.close(&item, &outcome, now) {
            for ticket in copies {
                match self.mutant {
                    Some(Mutant::CopyDropped) => drop(ticket),
                    Some(Mutant::CopyForgotten) => self.kept.tickets.push(ticket),
                    Some(Mutant::CopyTimesOut) => {
                        let refusal = Refusal::unconfirmed(Code::DeliveryTimeout, true, "late");
                        ticket.answer_as(EventAnswer::Refused(refusal));
                    }
                    _ => ticket.answer_as(same.clone()),
                }
            }
        }
        AnswerGroup::default().answer(item.ticket, item.record, outcome);
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
        let Some(Flight { batch, reply, probe, smuggled }) = self.flights.remove(&number) else {
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
            Some(mutant) => mutant.landed(batch, reply),
            None => (batch, reply),
        };
        let now = self.instant();
        let settled = self.buffer.apply_verdicts(batch, reply, now, &mut self.lane);
        if settled.map_is_old {
            // The refresher takes its time, and asks but once.
            let waits = self.world.random_range(ms(5)..ms(200));
            if !self.todo.keys().any(|(_, todo)| *todo == Todo::MapKnown) {
                self.todo.insert((self.now + waits, Todo::MapKnown), ());
            }
        }
        settled.answers.into_iter().for_each(|answered| self.answer(answered));
        self.read_outbox()
    }

    /// Each aggregate as if it were where the lane expects it.
    fn as_predicted(&self, batch: &Batch, mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
        for (events, verdict) in
            batch.entries().iter().zip(&mut verdicts).filter(|(events, _)| events.len() > 1)
        {
            if let (Verdict::Stored { shard_id, .. }, Some(known)) = (verdict, &self.known) {
                *shard_id = known.id(known.index_of(events[0].ring_position())).into();
            }
        }
        verdicts
    }

    fn read_outbox(&mut self) -> Result<(), Broken> {
        while let Some((event, body)) = self.caller.read() {
            self.watch.answered(event, &body, &self.stream, self.now)?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Broken> {
        let oldest = self.buffer.oldest().map(|oldest| oldest.duration_since(self.base));
        self.watch.look(&self.buffer, oldest, self.now)?;
        self.eventss()
    }

    /// accepted = acked + refused + rolled back + in flight + staged, and the budget holds the bytes
    /// of what is in flight.
    fn eventss(&self) -> Result<(), Broken> {
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
        let (used, open) = (self.caller.used_bytes(), self.watch.open_bytes());
        check!("budget", used == open, "{used} bytes are held, {open} are open");
        Ok(())
    }

    /// The deadline of the drain: the task's `give_up`.
    fn ends_abandoned(&mut self) -> Result<(), Broken> {
        self.watch.abandoned = true;
        // What is in the inbox by now is taken in, to be answered with the rest.
        let next = self.plan.events.len() - self.pushes_left;
        for event in (next..self.plan.events.len()).take(3) {
            self.pushes_left -= 1;
            self.watch.pushed(event, Way::Own, self.now)?;
            // Not sent any more, so it is no matter whether it is a copy.
            let item = self.accepted(event);
            self.buffer.push(item);
        }
        for item in self.buffer.abandon() {
            let refusal =
                Refusal::unconfirmed(Code::ShuttingDown, item.maybe_stored, "the deadline");
            AnswerGroup::default().answer(item.ticket, item.record, Outcome::Refused(refusal));
        }
        self.flights.clear();
        let window = std::mem::replace(&mut self.dedupe, Dedupe::new(self.plan.window));
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
        self.eventss()?;
        check!("answered once", self.watch.all_answered(), "some events never were");
        Ok(())
    }
}
