//! One run: the lane's task in virtual time. It does what `lane::task` does, in its order, with a list of what
//! comes next in the place of tokio; it decides nothing. Real tickets, real books, a real budget.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use dispatchd::ack::{Answer, Books, Duty, EventId, Slot};
use dispatchd::budget::{Budget, Share};
use dispatchd::event::envelope::Timestamp;
use dispatchd::event::{Code, Outcome, Refusal};
use dispatchd::lane::Item;
use dispatchd::lane::batch::Batch;
use dispatchd::lane::buffer::{Buffer, Gauges, Poll};
use dispatchd::limits::MIB;
use dispatchd::protocol::request::Ref;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::mutant::Mutant;
use crate::plan::{At, Plan, ms};
use crate::stream::{Reply, Stream, event_of};
use crate::watch::{Broken, Tally, Watch, check};

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
    stream: Stream,
    watch: Watch<'p>,
    todo: BTreeMap<(At, Todo), ()>,
    pushes_left: usize,
    flights: BTreeMap<u64, Flight>,
    /// The world's chance and the lane's: neither depends on how often the other draws.
    world: SmallRng,
    lane: SmallRng,
    outbox: mpsc::Receiver<Answer>,
    slots: mpsc::Sender<Answer>,
    books: Arc<Books>,
    budget: Arc<Budget>,
    share: Arc<Share>,
}

/// Runs one seed to its end, or to the first promise that is not kept.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Result<Tally, Broken> {
    let _seed = Seed(seed);
    let plan = Plan::draw(seed);
    let mut run = Run::new(seed, &plan, mutant);
    run.go().map(|()| run.watch.tally).map_err(|broken| {
        let (step, now, rules) = (run.steps, run.now, plan.rules);
        let what = format!("seed {seed}, step {step}, at {now:?}: {}: {} ({rules:?})", broken.check, broken.what);
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
        let rules = mutant.map_or(plan.rules, |mutant| mutant.rules(plan.rules));
        let (slots, outbox) = mpsc::channel(plan.events.len());
        let budget = Budget::new(64 * MIB);
        let mut todo = BTreeMap::new();
        todo.extend((0..plan.events.len()).map(|event| ((plan.events[event].pushed, Todo::Push(event)), ())));
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
            buffer: Buffer::new(rules),
            stream: Stream::new(plan.shards_count),
            watch: Watch::new(plan),
            todo,
            pushes_left: plan.events.len(),
            flights: BTreeMap::new(),
            world: SmallRng::seed_from_u64(seed ^ 0xdead_beef),
            lane: SmallRng::seed_from_u64(seed ^ 0x00c0_ffee),
            outbox,
            slots,
            books: Arc::new(Books::default()),
            share: budget.share(),
            budget,
        }
    }

    /// The task's loop.
    fn go(&mut self) -> Result<(), Broken> {
        while self.pushes_left > 0 || !self.buffer.is_empty() {
            self.steps += 1;
            check!("everything is answered in time", self.now <= self.plan.deadline(), "{:?}", self.buffer.gauges());
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

    /// Expires and sends, until the lane wants to wait.
    fn decide(&mut self) -> Result<Option<At>, Broken> {
        let now = self.instant();
        let expired = match self.mutant {
            Some(Mutant::ExpiryForgotten) => Vec::new(),
            _ => self.buffer.expire(now),
        };
        for item in expired {
            let refusal = Refusal::unconfirmed(Code::DeliveryTimeout, item.maybe_stored, "late");
            item.ticket.answer(item.record, Outcome::Refused(refusal));
        }
        self.read_outbox()?;
        loop {
            match self.buffer.poll(now) {
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
        self.watch.sent(batch.records(), self.now)?;
        let number = self.watch.tally.flights as u64;
        let (shortest, longest) = self.plan.flight;
        let slow = self.world.random_bool(self.plan.slow_ratio);
        let takes = if slow { self.plan.slow } else { self.world.random_range(shortest..=longest) };
        let arrives = self.now + takes.mul_f64(self.world.random_range(0.0..1.0));
        self.todo.insert((arrives, Todo::Arrives(number)), ());
        self.todo.insert((self.now + takes, Todo::Lands(number)), ());
        if self.mutant == Some(Mutant::AckBeforeReply) {
            // It guesses what the reply will be, and well: a stream alone with it would prove it right.
            let first = self.stream.len();
            for (index, item) in batch.into_items().enumerate() {
                let shard_id = self.stream.map().id(self.stream.map().index_of(item.record.ring_position())).to_owned();
                let outcome = Outcome::Durable { shard_id, sequence_number: (first + index).to_string() };
                item.ticket.answer(item.record, outcome);
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
                    self.watch.woken(until)?;
                    return Ok(false);
                }
                (_, None) => {
                    check!("something comes next", false, "the lane waits for nothing: {:?}", self.buffer.gauges());
                    return Ok(false);
                }
            };
            self.todo.remove(&(at, todo));
            self.now = at;
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
                    self.watch.map_set(Arc::clone(&map));
                    let known = self.mutant.map_or(Arc::clone(&map), |mutant| mutant.map(map));
                    let now = self.instant();
                    self.buffer.set_shards(Some(known), now);
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

    /// The reader's part: slot, budget, ticket.
    fn push(&mut self, event: usize) -> Result<(), Broken> {
        let known = &self.plan.events[event];
        let permit = self.slots.clone().try_reserve_owned().expect("there is a slot for each event");
        let slot = Slot { permit, room: 0 };
        let duty = Duty::new(slot, Arc::clone(&self.books), Ref::Line(event as u64 + 1), 0);
        let charge = self.share.try_take(known.record.size()).expect("a run fits into the budget");
        let ticket =
            duty.ticket(EventId::Made(Uuid::from_u128(event as u128)), Timestamp::from_unix_ms(0), false, charge);
        let item = Item::new(known.record.clone(), ticket, self.base + known.accepted);
        self.pushes_left -= 1;
        self.watch.pushed(event, self.now);
        let in_air = |flight: &Flight| flight.batch.records().iter().any(|r| r.key_hash == known.record.key_hash);
        if self.mutant == Some(Mutant::KeyInFlightIgnored)
            && self.flights.len() < self.plan.rules.max_in_flight
            && self.flights.values().any(in_air)
        {
            return self.launch(std::iter::once(item).collect(), true);
        }
        self.buffer.push(item);
        Ok(())
    }

    /// A request arrives at the stream.
    fn arrive(&mut self, number: u64) -> Result<(), Broken> {
        let Some(flight) = self.flights.get_mut(&number) else { return Ok(()) };
        let records = flight.batch.records();
        let before = self.stream.len();
        flight.reply = Some(self.stream.put(records, self.plan, self.now, &mut self.world));
        let copies: Vec<_> = self.stream.events(before..self.stream.len()).collect();
        self.watch.stored(records, &copies)
    }

    fn land(&mut self, number: u64) -> Result<(), Broken> {
        if self.mutant == Some(Mutant::LandingUnnoticed) {
            return Ok(());
        }
        let Some(Flight { batch, reply, probe, smuggled }) = self.flights.remove(&number) else { return Ok(()) };
        let reply = reply.expect("a request arrives before its reply");
        let events: Vec<_> = batch.records().iter().map(event_of).collect();
        self.watch.landed(&events, &reply, probe, self.now);
        if self.mutant == Some(Mutant::BatchLost) || smuggled {
            drop(batch);
            return self.read_outbox();
        }
        let (batch, reply) = match self.mutant {
            Some(mutant) => mutant.landed(batch, reply),
            None => (batch, reply),
        };
        let now = self.instant();
        let settled = self.buffer.settle(batch, reply, now, &mut self.lane);
        if settled.map_is_old {
            // The refresher takes its time, and asks but once.
            let waits = self.world.random_range(ms(5)..ms(200));
            if !self.todo.keys().any(|(_, todo)| *todo == Todo::MapKnown) {
                self.todo.insert((self.now + waits, Todo::MapKnown), ());
            }
        }
        for answered in settled.answers {
            answered.item.ticket.answer(answered.item.record, answered.outcome);
        }
        self.read_outbox()
    }

    fn read_outbox(&mut self) -> Result<(), Broken> {
        while let Ok(answer) = self.outbox.try_recv() {
            let Answer::Event { reference: Ref::Line(line), body, .. } = answer else {
                unreachable!("only events are pushed, each with its line")
            };
            let event = usize::try_from(line - 1).expect("a run is small");
            self.watch.answered(event, &body, &self.stream, self.now)?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Broken> {
        let oldest = self.buffer.oldest().map(|oldest| oldest.duration_since(self.base));
        self.watch.look(&self.buffer, oldest, self.now)?;
        self.balances()
    }

    /// accepted = acked + refused + in flight, and the budget holds the bytes of what is in flight.
    fn balances(&self) -> Result<(), Broken> {
        let (balance, tally) = (self.books.balance(), self.watch.tally);
        let refused = tally.rejected + tally.timed_out + tally.abandoned;
        let open = tally.events - tally.acked - refused;
        check!("books", balance.accepted == tally.events as u64, "{balance:?}, {} pushed", tally.events);
        check!("books", balance.acked == tally.acked as u64, "{balance:?}, {} acked", tally.acked);
        check!("books", balance.in_flight() == open as u64, "{balance:?}, {open} open");
        check!("books", (open == 0) == (self.budget.used_bytes() == 0), "{} bytes held", self.budget.used_bytes());
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
        for item in self.buffer.abandon() {
            let refusal = Refusal::unconfirmed(Code::ShuttingDown, item.maybe_stored, "the deadline");
            item.ticket.answer(item.record, Outcome::Refused(refusal));
        }
        self.flights.clear();
        self.read_outbox()?;
        self.ends()
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn ends(&self) -> Result<(), Broken> {
        self.balances()?;
        check!("answered once", self.watch.all_answered(), "some events never were");
        Ok(())
    }
}
