//! The model stream: shards, what they hold, and what it says to a request. It knows the faults of
//! the plan and nothing of the lane.

use std::ops::Range;
use std::sync::Arc;

use dispatchd_core::model::shard_map::Shard;
use dispatchd_core::model::{Class, Position, Record};
use dispatchd_core::model::{Entries, PutError, ShardMap, Verdict};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::plan::{At, Limit, Plan, PoisonIs};

/// What it says of every request while it refuses all.
pub(crate) const REFUSES_ALL: &str = "Value null at 'streamName' is not taken";

pub(crate) type Reply = Result<Vec<Verdict>, PutError>;

/// Events of a stream, in the order in which they were stored.
#[derive(Debug)]
pub(crate) struct Stream {
    open: Vec<Open>,
    limit: Option<Limit>,
    shards_made: u32,
    stored: Vec<Stored>,
}

/// An open shard, and what its limit has counted.
#[derive(Debug)]
struct Open {
    shard: Shard,
    /// When it was counted last.
    at: At,
    /// Records that it takes until more time has passed.
    room: f64,
}

#[derive(Debug)]
struct Stored {
    event: usize,
    shard_id: Arc<str>,
    /// The first event of its record; its place is the record's sequence number.
    record: usize,
}

impl Stream {
    pub(crate) fn new(shards_count: u32, limit: Option<Limit>) -> Self {
        let width = u128::MAX / u128::from(shards_count);
        let mut stream = Self { open: Vec::new(), limit, shards_made: 0, stored: Vec::new() };
        stream.open = (0..shards_count).map(|n| stream.new_shard(u128::from(n) * width)).collect();
        stream
    }

    pub(crate) fn map(&self) -> Arc<ShardMap> {
        Arc::new(
            ShardMap::new(self.open.iter().map(|open| open.shard.clone()).collect())
                .expect("a stream has a shard"),
        )
    }

    /// Splits a shard in two, or merges two neighbours; the new ones have new names.
    pub(crate) fn reshard(&mut self, rng: &mut SmallRng) {
        let index = rng.random_range(0..self.open.len());
        let end = self.open.get(index + 1).map_or(u128::MAX, |next| next.shard.first);
        let first = self.open[index].shard.first;
        if index + 1 < self.open.len() && rng.random_bool(0.3) {
            let merged = self.new_shard(first);
            self.open.splice(index..=index + 1, [merged]);
        } else {
            let children = [self.new_shard(first), self.new_shard(first + (end - first) / 2)];
            self.open.splice(index..=index, children);
        }
    }

    /// The event that the stream holds in the very place that was acked.
    pub(crate) fn event_at(&self, place: &Position) -> Option<usize> {
        let record = place.sequence_number.parse::<usize>().ok()?;
        let is_of_record =
            |index: &usize| self.stored.get(*index).is_some_and(|stored| stored.record == record);
        let is_alone = !is_of_record(&(record + 1));
        let index = match place.sub_sequence_number {
            Some(sub) => Some(record + sub).filter(|_| !is_alone),
            None => Some(record).filter(|_| is_alone),
        };
        let stored = &self.stored[index.filter(is_of_record)?];
        (stored.shard_id == place.shard_id).then_some(stored.event)
    }

    /// Events stored so far.
    pub(crate) fn len(&self) -> usize {
        self.stored.len()
    }

    /// These events, in the order in which they were stored.
    pub(crate) fn events(&self, stored: Range<usize>) -> impl Iterator<Item = usize> {
        self.stored[stored].iter().map(|stored| stored.event)
    }

    /// A request arrives: stores what it stores, and says what it says.
    pub(crate) fn put(
        &mut self,
        entries: Entries<'_>,
        plan: &Plan,
        now: At,
        rng: &mut SmallRng,
    ) -> Reply {
        let (faults, calm) = (&plan.faults, now >= plan.calm);
        let mut happens = |ratio: f64| !calm && rng.random_bool(ratio);
        if let Some((from, to, reason)) = faults.blocked
            && (from..to).contains(&now)
        {
            return Err(error(Class::Blocked(reason), "AccessDeniedException", "not allowed"));
        }
        if faults.refuses_all.is_some_and(|(from, to)| (from..to).contains(&now)) {
            return Err(error(Class::Poison, "ValidationException", REFUSES_ALL));
        }
        if happens(faults.request_throttled) {
            return Err(error(Class::Throttled, "ThrottlingException", "slow down"));
        }
        if happens(faults.request_lost) {
            // Nobody can know that nothing was stored; a refused connection is the exception.
            return Err(PutError {
                maybe_stored: happens(0.5),
                ..error(Class::Transient, "Timeout", "no reply")
            });
        }
        let is_poison =
            |events: &[&Record]| events.iter().any(|event| plan.events[event_of(event)].poison);
        let poison = entries.iter().position(is_poison);
        if let Some(index) = poison.filter(|_| faults.poison_is != PoisonIs::Record) {
            let message = match faults.poison_is {
                PoisonIs::Named => {
                    format!("Value at 'records.{}.member.data' is not taken", index + 1)
                }
                PoisonIs::Misnamed => "Value at 'records.777.member.data' is not taken".to_owned(),
                _ => "one of the records is not taken".to_owned(),
            };
            return Err(error(Class::Poison, "ValidationException", &message));
        }
        if happens(faults.reply_lost) {
            let whole = happens(0.6);
            for events in entries.iter() {
                if !is_poison(events) && (whole || happens(0.5)) {
                    self.take(events, now);
                }
            }
            return Err(PutError {
                maybe_stored: true,
                ..error(Class::Transient, "Timeout", "reply lost")
            });
        }
        let shard_throttled = faults
            .shard_throttled
            .filter(|(from, to, _)| (*from..*to).contains(&now))
            .map(|(_, _, at)| self.index(at));
        let verdicts = entries.iter().map(|events| {
            if is_poison(events) {
                failed(Class::Poison, "InvalidArgumentException")
            } else if shard_throttled == Some(self.index(events[0].ring_position))
                || happens(faults.record_throttled)
            {
                failed(Class::Throttled, "ProvisionedThroughputExceededException")
            } else if happens(faults.record_failed) {
                failed(Class::Transient, "InternalFailure")
            } else if happens(faults.record_unclear) {
                if happens(0.5) {
                    self.take(events, now);
                }
                Verdict::Unclear
            } else {
                self.take(events, now)
            }
        });
        Ok(verdicts.collect())
    }

    /// Stores a record, if its shard has room. If not all of its events belong to that shard it
    /// holds none: a consumer that checks hash ranges drops it.
    pub(crate) fn take(&mut self, events: &[&Record], now: At) -> Verdict {
        let open = self.index(events[0].ring_position);
        if !self.limit.is_none_or(|limit| self.open[open].has_room(limit, now)) {
            return failed(Class::Throttled, "ProvisionedThroughputExceededException");
        }
        let shard_id: Arc<str> = self.open[open].shard.id.as_str().into();
        let record = self.stored.len();
        if events.iter().all(|event| self.index(event.ring_position) == open) {
            let stored = |event: &&Record| Stored {
                event: event_of(event),
                shard_id: Arc::clone(&shard_id),
                record,
            };
            self.stored.extend(events.iter().map(stored));
        }
        Verdict::Stored { shard_id, sequence_number: record.to_string().into() }
    }

    fn index(&self, position: u128) -> usize {
        self.open.partition_point(|open| open.shard.first <= position) - 1 // the lowest begins at 0
    }

    fn new_shard(&mut self, first: u128) -> Open {
        let shard = Shard { id: shard_id(self.shards_made), first };
        self.shards_made += 1;
        let room = match self.limit {
            Some(Limit::PerSecond(count)) => count,
            Some(Limit::Bucket { burst, .. }) => burst,
            None => 0,
        };
        Open { shard, at: At::ZERO, room: f64::from(room) }
    }
}

impl Open {
    /// Whether it takes one more record now. If so, it is counted.
    fn has_room(&mut self, limit: Limit, now: At) -> bool {
        match limit {
            Limit::PerSecond(count) if now.as_secs() > self.at.as_secs() => {
                self.room = f64::from(count)
            }
            Limit::PerSecond(_) => {}
            Limit::Bucket { per_second, burst } => {
                let more = (now - self.at).as_secs_f64() * f64::from(per_second);
                self.room = (self.room + more).min(f64::from(burst).max(1.0));
            }
        }
        self.at = now;
        let has_room = self.room >= 1.0;
        self.room -= if has_room { 1.0 } else { 0.0 };
        has_room
    }
}

/// The event that a record carries: its number stands in the first bytes.
pub(crate) fn event_of(record: &Record) -> usize {
    let number = record.data[..4].try_into().expect("4 bytes are 4 bytes");
    u32::from_le_bytes(number) as usize
}

fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

fn failed(class: Class, code: &str) -> Verdict {
    Verdict::Failed { class, code: code.to_owned(), message: String::new() }
}

fn error(class: Class, code: &str, message: &str) -> PutError {
    PutError {
        class,
        cause: class.into(),
        code: code.to_owned(),
        message: message.to_owned(),
        maybe_stored: false,
    }
}
