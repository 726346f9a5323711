//! One lane's memory: what is held, what may be sent now, and what a reply leads to.
//!
//! Pure: time comes in as an argument, work goes out as values. It never talks to Kinesis, never
//! answers a ticket and never drops an item. Its parts know nothing of each other but what stands
//! below them; here is decided in which order they are asked.

use std::time::Instant;

use rand::Rng;

use super::apply_verdicts::{Landing, Settled};
use super::batch::Batch;
use super::batch_builder::{BatchBuilder, Bounds};
use super::bisect_batch::Bisection;
use super::flight::{Flights, Reply};
use super::item::BoxedItem;
use super::queues::{Queues, earliest};
use super::report::Report;
use super::settings::{Aggregation, Settings};
use super::stream_health::StreamHealth;
use dispatchd_core::model::Reason;
use dispatchd_core::model::{Distribution, StreamFacts};

/// What to do now.
#[derive(Debug)]
pub(super) enum Poll {
    /// The events that are overdue, by `delivery.timeout` or by their own deadlines: they are
    /// answered now, and never sent again.
    Late(Vec<BoxedItem>),
    Send(Batch),
    /// There is nothing to do before this time, unless something arrives; with `None`, before
    /// something arrives.
    Wait(Option<Instant>),
}

/// What the lane's gauges show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Gauges {
    pub flights: usize,
    pub shards_cooling: usize,
    pub keys_cooling: usize,
    /// Keys in flight with events waiting behind them.
    pub keys_held: usize,
}

/// One lane's memory.
#[derive(Debug)]
pub(super) struct Buffer {
    queues: Queues,
    bisection: Bisection,
    stream: StreamHealth,
    flights: Flights,
    /// `delivery.aggregation`, which does not hold where keys do not decide the shard.
    aggregation: Aggregation,
    /// The largest record that the stream takes; `None` while that is not known.
    record_limit: Option<usize>,
    /// How many shards cooled when `poll` looked last.
    shards_cooling: usize,
}

impl Buffer {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            queues: Queues::new(settings),
            bisection: Bisection::default(),
            stream: StreamHealth::default(),
            flights: Flights::default(),
            aggregation: settings.aggregation,
            record_limit: None,
            shards_cooling: 0,
        }
    }

    /// Takes an item in, behind every earlier one of its key.
    pub(super) fn push(&mut self, item: BoxedItem) {
        self.queues.push(item);
    }

    /// What to do at `now`. To be asked again after every push, send and reply, and at the time it
    /// names.
    pub(super) fn poll(&mut self, now: Instant) -> Poll {
        self.queues.sweep(now, |key| self.bisection.forget(key));
        if let Some(late) = self.queues.take_late() {
            return Poll::Late(late);
        }
        match self.send_or_wait(now) {
            Poll::Wait(until) => self.queues.take_late().map_or(Poll::Wait(until), Poll::Late),
            next => next,
        }
    }

    fn send_or_wait(&mut self, now: Instant) -> Poll {
        self.shards_cooling = self.queues.wake(now);
        let sleep = self.queues.next_event(now);
        if self.flights.count() >= self.queues.settings.max_in_flight {
            return Poll::Wait(sleep); // the flight that lands first asks again
        }
        let batch = match self.stream.blocked() {
            Some(_) if self.flights.count() > 0 => return Poll::Wait(sleep),
            Some(blocked) if now < blocked.next_probe => {
                return Poll::Wait(earliest(sleep, Some(blocked.next_probe)));
            }
            Some(_) => self.fill(1, now), // one record, to see whether the stream takes it now
            None => match (self.bisection.next_part(&mut self.queues, now), self.queues.due(now)) {
                (Some(part), _) => part,
                (None, Some(due)) if due > now => return Poll::Wait(earliest(sleep, Some(due))),
                (None, Some(_)) => self.fill(self.queues.settings.max_records, now),
                (None, None) => return Poll::Wait(sleep),
            },
        };
        if batch.is_empty() {
            return Poll::Wait(sleep);
        }
        self.flights.take_off(&batch);
        Poll::Send(batch.send(now))
    }

    fn fill(&mut self, max_entries: usize, now: Instant) -> Batch {
        let bounds = Bounds { max_entries, flights: self.flights, record_limit: self.record_limit };
        BatchBuilder::new(&mut self.queues, bounds, now).fill()
    }

    /// Takes a batch back with what Kinesis said of it.
    ///
    /// # Panics
    /// If a reply has not one verdict per entry: the service's adapter promised that.
    pub(super) fn apply_verdicts(
        &mut self,
        batch: Batch,
        reply: Reply,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Settled {
        self.flights.land(&batch);
        let Self { queues, bisection, stream, .. } = self;
        let settled = Settled::default();
        Landing { queues, bisection, stream, now, rng, settled }.apply(batch, reply)
    }

    /// Takes everything out that is not in flight: the deadline has come.
    pub(super) fn abandon(&mut self) -> Vec<BoxedItem> {
        (self.flights, self.shards_cooling) = (Flights::default(), 0);
        let mut items = self.queues.abandon();
        items.extend(self.bisection.abandon().into_iter().flat_map(Batch::into_items));
        items
    }

    /// Begins the drain: from `now` on nothing lingers and nothing is paced, what cools may go at
    /// once, and a blocked stream is tried.
    pub(super) fn drain(&mut self, now: Instant) {
        self.queues.drain();
        self.stream.probe(now);
    }

    /// Other settings hold from `now` on, but for order and aggregation. A blocked stream is tried
    /// at once: who changes the settings may have mended more.
    ///
    /// # Panics
    /// If order or aggregation are others: what the shard queues count of their keys depends on
    /// them.
    pub(super) fn set_settings(&mut self, settings: Settings, now: Instant) {
        let lasting = |settings: &Settings, aggregation| {
            (settings.ordering, aggregation, settings.aggregate_max_bytes)
        };
        assert_eq!(
            lasting(&settings, settings.aggregation),
            lasting(&self.queues.settings, self.aggregation),
            "order and aggregation hold for the life of a lane"
        );
        let aggregation = self.queues.settings.aggregation;
        let settings = Settings { aggregation, ..settings };
        self.queues.settings = if self.queues.is_draining { settings.draining() } else { settings };
        self.stream.probe(now);
    }

    /// Takes note of what is known of the stream now. It may have no shards that can be predicted.
    /// What is in flight is settled as it is.
    pub(super) fn learn(&mut self, facts: StreamFacts, now: Instant) {
        let StreamFacts { shards, record_limit, distribution } = facts;
        self.record_limit = record_limit;
        // Readers drop a packed record silently that lies in another shard than its keys say.
        let aggregation = match distribution {
            Distribution::ByKey => self.aggregation,
            Distribution::Auto | Distribution::NotAsked => Aggregation::Off,
        };
        let map = shards.filter(|_| distribution != Distribution::Auto);
        self.queues.remap(map, aggregation, now);
    }

    /// How the lane stands at `now`.
    pub(super) fn report(&self, now: Instant) -> Report {
        Report::new(&self.queues, self.flights, &self.stream, now)
    }

    /// Whether nothing is held and nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.keys.is_empty()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.queues.is_draining
    }

    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            flights: self.flights.count(),
            shards_cooling: self.shards_cooling,
            keys_cooling: self.queues.keys_cooling(),
            keys_held: self.queues.keys_held,
        }
    }

    /// Whether strict order has held back a long queue of one key.
    pub(super) fn holds_many(&self) -> bool {
        self.queues.holds_many()
    }

    /// Why the stream takes nothing; `None` while it takes records.
    pub(super) fn blocked(&self) -> Option<Reason> {
        self.stream.reason()
    }

    /// When the oldest event that is not answered was accepted; `None` without one.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queues.ages.oldest()
    }
}

#[cfg(test)]
impl Buffer {
    /// Bytes that may be sent now, of all shards.
    pub(super) fn sendable_bytes(&self, now: Instant) -> usize {
        self.queues.shards.iter().map(|queue| queue.sendable(now).1).sum()
    }

    /// Places in all shard queues, those that keys left behind among them.
    pub(super) fn places(&self) -> usize {
        self.queues.shards.iter().map(|queue| queue.places()).sum()
    }

    /// How many shard queues there are.
    pub(super) fn shard_queues(&self) -> usize {
        self.queues.shards.iter().count()
    }

    /// What a look for overdue items finds now.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<BoxedItem> {
        self.queues.sweep(now, |key| self.bisection.forget(key));
        self.queues.take_late().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
