//! The model stream: shards, what they hold, and what it says to a request. It knows the faults of the plan and
//! nothing of the lane.

use std::ops::Range;
use std::sync::Arc;

use dispatchd::event::{Class, Record};
use dispatchd::kinesis::shards::Shard;
use dispatchd::kinesis::{PutError, ShardMap, Verdict};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::plan::{At, Plan, PoisonIs};

pub type Reply = Result<Vec<Verdict>, PutError>;

/// Records of a stream, in the order in which they were stored.
#[derive(Debug)]
pub struct Stream {
    open: Vec<Shard>,
    shards_made: u32,
    stored: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    event: usize,
    shard_id: String,
}

impl Stream {
    pub fn new(shards_count: u32) -> Self {
        let width = u128::MAX / u128::from(shards_count);
        let open = (0..shards_count).map(|n| Shard { id: shard_id(n), first: u128::from(n) * width }).collect();
        Self { open, shards_made: shards_count, stored: Vec::new() }
    }

    pub fn map(&self) -> Arc<ShardMap> {
        Arc::new(ShardMap::new(self.open.clone()).expect("a stream has a shard"))
    }

    /// Splits a shard in two, or merges two neighbours; the new ones have new names.
    pub fn reshard(&mut self, rng: &mut SmallRng) {
        let index = rng.random_range(0..self.open.len());
        let end = self.open.get(index + 1).map_or(u128::MAX, |next| next.first);
        let first = self.open[index].first;
        if index + 1 < self.open.len() && rng.random_bool(0.3) {
            let merged = self.new_shard(first);
            self.open.splice(index..=index + 1, [merged]);
        } else {
            let children = [self.new_shard(first), self.new_shard(first + (end - first) / 2)];
            self.open.splice(index..=index, children);
        }
    }

    /// Whether the stream holds the event in the very place that was acked.
    pub fn holds(&self, event: usize, shard_id: &str, sequence_number: &str) -> bool {
        let stored = sequence_number.parse::<usize>().ok().and_then(|number| self.stored.get(number));
        stored.is_some_and(|stored| stored.event == event && stored.shard_id == shard_id)
    }

    /// Copies stored so far.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// The events of these copies, in the order in which they were stored.
    pub fn events(&self, copies: Range<usize>) -> impl Iterator<Item = usize> {
        self.stored[copies].iter().map(|stored| stored.event)
    }

    /// A request arrives: stores what it stores, and says what it says.
    pub fn put(&mut self, records: &[Record], plan: &Plan, now: At, rng: &mut SmallRng) -> Reply {
        let (faults, calm) = (&plan.faults, now >= plan.calm);
        let mut happens = |ratio: f64| !calm && rng.random_bool(ratio);
        if let Some((from, to, reason)) = faults.blocked
            && (from..to).contains(&now)
        {
            return Err(error(Class::Blocked(reason), "AccessDeniedException", "not allowed"));
        }
        if happens(faults.request_throttled) {
            return Err(error(Class::Throttled, "ThrottlingException", "slow down"));
        }
        if happens(faults.request_lost) {
            // Nobody can know that nothing was stored; a refused connection is the exception.
            return Err(PutError { maybe_stored: happens(0.5), ..error(Class::Transient, "Timeout", "no reply") });
        }
        let poison = records.iter().position(|record| plan.events[event_of(record)].poison);
        if let Some(index) = poison.filter(|_| faults.poison_is != PoisonIs::Record) {
            let message = match faults.poison_is {
                PoisonIs::Named => format!("Value at 'records.{}.member.data' is not taken", index + 1),
                PoisonIs::Misnamed => "Value at 'records.777.member.data' is not taken".to_owned(),
                _ => "one of the records is not taken".to_owned(),
            };
            return Err(error(Class::Poison, "ValidationException", &message));
        }
        if happens(faults.reply_lost) {
            let whole = happens(0.6);
            for record in records {
                if !plan.events[event_of(record)].poison && (whole || happens(0.5)) {
                    self.store(record);
                }
            }
            return Err(PutError { maybe_stored: true, ..error(Class::Transient, "Timeout", "reply lost") });
        }
        let shard_throttled =
            faults.shard_throttled.filter(|(from, to, _)| (*from..*to).contains(&now)).map(|(_, _, at)| self.index(at));
        let verdicts = records.iter().map(|record| {
            if plan.events[event_of(record)].poison {
                failed(Class::Poison, "InvalidArgumentException")
            } else if shard_throttled == Some(self.index(record.ring_position())) || happens(faults.record_throttled) {
                failed(Class::Throttled, "ProvisionedThroughputExceededException")
            } else if happens(faults.record_failed) {
                failed(Class::Transient, "InternalFailure")
            } else {
                self.store(record)
            }
        });
        Ok(verdicts.collect())
    }

    fn store(&mut self, record: &Record) -> Verdict {
        let shard_id = self.open[self.index(record.ring_position())].id.clone();
        self.stored.push(Stored { event: event_of(record), shard_id: shard_id.clone() });
        Verdict::Stored { shard_id, sequence_number: (self.stored.len() - 1).to_string() }
    }

    fn index(&self, position: u128) -> usize {
        self.open.partition_point(|shard| shard.first <= position) - 1 // the lowest begins at 0
    }

    fn new_shard(&mut self, first: u128) -> Shard {
        self.shards_made += 1;
        Shard { id: shard_id(self.shards_made - 1), first }
    }
}

/// The event that a record carries: its number stands in the first bytes.
pub fn event_of(record: &Record) -> usize {
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
    PutError { class, code: code.to_owned(), message: message.to_owned(), maybe_stored: false }
}
