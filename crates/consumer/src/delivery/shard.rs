//! The delivery of one shard to one target: puts the rooms of this folder together. What follows a
//! response is `follow`'s, the order of a strand `strand`'s, what is done `held`'s.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rand::Rng;

use super::held::{self, Held};
use super::persisting::Persisting;
use super::strand::{GivenUp, Part, QUEUED_BYTES, Strand, Unsent, Want};
use super::{
    Batch, BatchId, Checkpoint, DeadLetters, Delivered, End, Failure, Holding, Now, Place, Read,
    Response, Rules, Settled, Standing, Step,
};

/// The most memory that the records of one shard take besides their pages, where a target has
/// batches of so many records and a shard so many strands.
pub fn bytes_beside_pages_max(batch_records: usize, strands: usize) -> usize {
    held::bytes_beside_pages_max(batch_records * strands, QUEUED_BYTES)
}

/// One shard's records on their way to one target. `H` is what is held for a page while one of its
/// records is not done, and is dropped then: its bytes in a [`Window`](crate::window::Window).
#[derive(Debug)]
pub struct ShardDelivery<H> {
    rules: Rules,
    held: Held<H>,
    strands: Vec<Strand>,
    persisting: Persisting,
    /// Where reading began, while no record is done.
    began: Option<SystemTime>,
    is_read_to_end: bool,
    is_stopping: bool,
    /// Counts the records without a key, to spread them.
    keyless: usize,
}

impl<H> ShardDelivery<H> {
    /// Goes on behind this checkpoint: what is at it or before it is passed over.
    pub fn new(rules: Rules, checkpoint: Option<Checkpoint>) -> Self {
        let (began, done) = match &checkpoint {
            Some(Checkpoint::From(time)) => (Some(*time), None),
            Some(Checkpoint::After(place)) => (None, Some(place.clone())),
            Some(Checkpoint::End) | None => (None, None),
        };
        Self {
            rules,
            held: Held::new(done),
            strands: (0..rules.strands.max(1)).map(|_| Strand::default()).collect(),
            persisting: Persisting::new(checkpoint),
            began,
            is_read_to_end: false,
            is_stopping: false,
            keyless: 0,
        }
    }

    /// Takes note of when reading began, where it began with what is stored from then on. Until a
    /// record is done this is the checkpoint: a restart would skip what came since otherwise.
    pub fn began(&mut self, time: SystemTime) {
        self.began.get_or_insert(time);
    }

    /// Whether more may be taken in. What is held is bounded by a batch for each strand or a
    /// standing bound, whichever is more, and by what was taken in last. Its data lie in their
    /// pages, which a [`Window`](crate::window::Window) counts too.
    pub fn has_room(&self) -> bool {
        let strands = self.strands.len();
        self.held.has_room(self.rules.batch_records * strands, self.rules.batch_bytes * strands)
    }

    /// Takes in a page, in the order of the shard. What was taken in before is passed over.
    pub fn take_in(&mut self, records: Vec<Read>, held: H, now: Instant) {
        for record in records {
            match record {
                Read::Wanted(record) if self.held.has_taken(&record.place) => {}
                Read::Skipped(place) if self.held.has_taken(&place) => {}
                Read::Wanted(record) => self.push(record, now),
                Read::Skipped(place) => self.held.push_done(place),
            }
        }
        self.held.end_page(held);
    }

    fn push(&mut self, record: Delivered, now: Instant) {
        let strand = self.strand_of(&record);
        let bytes = (self.rules.bytes_of)(&record);
        let index = self.held.push(record);
        self.strands[strand].push(index, bytes, now);
    }

    /// The strand of a record: one for all records of its key. Those without a key have no order
    /// among them, and are spread.
    fn strand_of(&mut self, record: &Delivered) -> usize {
        let strands = self.strands.len();
        if strands == 1 {
            return 0;
        }
        let Some(key) = &record.partition_key else {
            self.keyless = self.keyless.wrapping_add(1);
            return self.keyless % strands;
        };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        usize::try_from(hasher.finish() % strands as u64).expect("there are few strands")
    }

    /// Takes note that the shard is read to its end.
    pub fn read_to_end(&mut self) {
        self.is_read_to_end = true;
    }

    /// What to do next. To be called until it says to wait; while something is under way, to be
    /// called again when that is home.
    pub fn turn(&mut self, now: Now) -> Step {
        let mut wake = None;
        if !self.is_stopping {
            match self.turn_of_strands(now) {
                Ok(step) => return step,
                Err(until) => wake = until,
            }
        }
        match self.turn_of_checkpoint(now.instant) {
            Ok(step) => step,
            Err(until) => Step::Wait(earlier(wake, until)),
        }
    }

    fn turn_of_strands(&mut self, now: Now) -> Result<Step, Option<Instant>> {
        // What is not coming, or has no room, is not waited for.
        let is_in_a_hurry = self.is_read_to_end || !self.has_room();
        let Self { strands, rules, held, .. } = self;
        let unsent = |index| {
            let (give_up, record) = (rules.give_up?, held.record(index));
            let is_too_old = give_up.age_max.zip(record.arrived).is_some_and(|(max, arrived)| {
                now.time.duration_since(arrived).is_ok_and(|age| age > max)
            });
            if is_too_old { Some(Unsent::TooOld) } else { record.misfit.map(Unsent::Misfit) }
        };
        let mut wake = None;
        for (strand, it) in strands.iter_mut().enumerate() {
            match it.turn(now.instant, rules, is_in_a_hurry, unsent) {
                Want::Send(serial, part) => return Ok(self.batch(BatchId { strand, serial }, part)),
                Want::KeepLetters(serial, given_up) => {
                    return Ok(self.dead_letters(BatchId { strand, serial }, given_up));
                }
                Want::Wait(until) => wake = earlier(wake, until),
            }
        }
        Err(wake)
    }

    fn batch(&self, id: BatchId, part: Part) -> Step {
        let attempt = part.attempts.saturating_add(1);
        Step::Send(Batch { id, records: self.records(&part.indices), attempt })
    }

    fn dead_letters(&self, id: BatchId, given_up: GivenUp) -> Step {
        let GivenUp { part, condition, last, .. } = given_up;
        let records = self.records(&part.indices);
        Step::KeepLetters(DeadLetters { id, condition, attempts: part.attempts, last, records })
    }

    fn records(&self, indices: &[u64]) -> Vec<Arc<Delivered>> {
        indices.iter().map(|&index| Arc::clone(self.held.record(index))).collect()
    }

    fn turn_of_checkpoint(&mut self, now: Instant) -> Result<Step, Option<Instant>> {
        let latest = self.checkpoint();
        let is_quiet = !self.strands.iter().any(Strand::is_under_way);
        let is_over = latest == Some(Checkpoint::End) || (self.is_stopping && is_quiet);
        if let Some(due) = self.persisting.due_at(latest.as_ref(), is_over, now) {
            let Some(latest) = latest.filter(|_| due <= now) else { return Err(Some(due)) };
            return Ok(Step::Persist(self.persisting.hand_out(latest, now)));
        }
        if !is_over || self.persisting.is_under_way() {
            return Err(None);
        }
        let is_read = self.persisting.persisted() == Some(&Checkpoint::End);
        Ok(Step::End(if is_read { End::ShardRead } else { End::Stopped }))
    }

    /// Takes in what came of a batch.
    ///
    /// # Panics
    /// If the batch is not under way: each is settled once.
    pub fn responded(
        &mut self,
        id: BatchId,
        response: Response,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Settled {
        let outcome = self.strands[id.strand].responded(id.serial, response, now, &self.rules, rng);
        self.held.settle(&outcome.done);
        Settled { delivered: outcome.done.len(), follows: outcome.follows }
    }

    /// Takes in which dead letters could not be kept, by where they stand among those that were
    /// handed out, in order. They are handed out again after a wait, and the others are done.
    ///
    /// # Panics
    /// If they are not under way.
    pub fn letters_kept(
        &mut self,
        id: BatchId,
        unkept: &[usize],
        now: Instant,
        rng: &mut impl Rng,
    ) {
        let done = self.strands[id.strand].letters_kept(id.serial, unkept, now, &self.rules, rng);
        self.held.settle(&done);
    }

    /// Takes in whether the checkpoint that was handed out is persisted. If it is not, one is
    /// handed out again after a wait.
    ///
    /// # Panics
    /// If none is under way.
    pub fn persisted(&mut self, kept: bool, now: Instant, rng: &mut impl Rng) {
        self.persisting.came_home(kept, now, &self.rules.backoff, rng);
    }

    /// Ends the waits after failures, for an operator who has acted.
    pub fn retry_now(&mut self) {
        self.strands.iter_mut().for_each(Strand::retry_now);
    }

    /// Begins nothing more: what is under way is waited for, and what is done is persisted.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// How far the shard is done, whether that is persisted or not.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        if self.persisting.persisted() == Some(&Checkpoint::End)
            || (self.is_read_to_end && self.held.is_empty())
        {
            return Some(Checkpoint::End);
        }
        let place: Option<&Place> = self.held.done();
        place.cloned().map(Checkpoint::After).or(self.began.map(Checkpoint::From))
    }

    /// How the strand stands that stands worst.
    pub fn standing(&self) -> Standing {
        self.strands
            .iter()
            .map(|strand| strand.standing(&self.rules))
            .max_by_key(|standing| match standing {
                Standing::Delivering => 0,
                Standing::Retrying(_) => 1,
                Standing::Blocked(_) => 2,
            })
            .unwrap_or(Standing::Delivering)
    }

    /// The failure that lasts longest: since when no batch of its strand was a success, and what
    /// the target said last. `None` while every strand's last batch was one.
    pub fn failing(&self) -> Option<&(Instant, Failure)> {
        self.strands.iter().filter_map(Strand::failing).min_by_key(|(since, _)| *since)
    }

    pub fn holding(&self) -> Holding {
        Holding { records: self.held.len(), bytes: self.held.bytes(), oldest: self.held.oldest() }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
