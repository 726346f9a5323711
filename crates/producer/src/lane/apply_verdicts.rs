//! Batch + reply → outcomes for those that are done, retries for the rest.
//!
//! Pure: chance and time are arguments. What each class of error leads to stands here and nowhere
//! else; which error is of which class is decided where the reply is read.

use std::time::Instant;

use rand::Rng;

use super::batch::Batch;
use super::bisect_batch::Bisection;
use super::doubt::named_record;
use super::flight::Reply;
use super::item::{AggregateScope, BoxedItem, Item};
use super::key_queue::Key;
use super::pacing::{self, Pacing};
use super::queues::Queues;
use super::stream_health::StreamHealth;
use dispatchd_core::model::{Class, Code, Outcome, Position, Reason, Refusal};
use dispatchd_core::model::{PutError, Verdict};

/// Characters of the service's own words that an answer carries; its messages are shorter, but its
/// to choose.
const SERVICE_MESSAGE_CHARS_MAX: usize = 512;

/// What a reply led to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub answers: Vec<Answered>,
    pub stored: usize,
    /// Records that will be sent again because they were throttled.
    pub throttled: usize,
    /// Records that will be sent again after a failure that passes.
    pub transient: usize,
    /// Records that will be sent again once the stream takes any.
    pub blocked: usize,
    /// Packed records whose members will be sent again in other records: a member was in the wrong
    /// shard, or refused for good.
    pub regrouped: usize,
    pub rejected: usize,
    /// A record went to another shard than predicted: the map is old.
    pub map_is_old: bool,
    /// The request was refused in words that two records have got: they repeat nothing of a record.
    pub refused_in_known_words: bool,
}

/// An item that is done.
#[derive(Debug)]
pub(super) struct Answered {
    pub item: BoxedItem,
    pub outcome: Outcome,
}

/// A flight that has come home, and all that its reply acts upon.
#[derive(Debug)]
pub(super) struct Landing<'a, R> {
    pub queues: &'a mut Queues,
    pub bisection: &'a mut Bisection,
    pub stream: &'a mut StreamHealth,
    pub now: Instant,
    pub rng: &'a mut R,
    pub settled: Settled,
}

/// What a verdict on an entry comes to for each event of it.
#[derive(Debug, Clone)]
enum Disposition {
    Durable(Position),
    Rejected {
        code: String,
        message: String,
    },
    /// The event is to be sent again, after a wait.
    Again {
        class: Class,
        maybe_stored: bool,
    },
    /// The event is to be sent again at once, in a record of this scope: nothing is wrong with it.
    Regroup {
        scope: AggregateScope,
        maybe_stored: bool,
    },
}

/// The events of one key, side by side in a batch, as they are gone through.
#[derive(Debug, Default)]
struct KeyRun {
    /// `None` before the first event.
    key: Option<Key>,
    /// The events that are sent again.
    back: Vec<BoxedItem>,
    /// Until when the key cools; `None` where it need not.
    cool_until: Option<Instant>,
}

impl Disposition {
    /// What the disposition of a packed record comes to for one member of it.
    fn of_member(&self, index: usize) -> Self {
        let mut disposition = self.clone();
        if let Self::Durable(position) = &mut disposition {
            position.sub_sequence_number = Some(index);
        }
        disposition
    }
}

impl<R: Rng> Landing<'_, R> {
    /// Applies a reply to its batch.
    ///
    /// # Panics
    /// If the reply has not one verdict per entry: the service's adapter promised that.
    pub(super) fn apply(mut self, batch: Batch, reply: Reply) -> Settled {
        match reply {
            Ok(verdicts) => self.apply_verdicts(batch, verdicts),
            Err(error) => self.apply_error(batch, &error),
        }
        self.settled
    }

    /// A request was taken: each entry has a verdict of its own.
    fn apply_verdicts(&mut self, batch: Batch, verdicts: Vec<Verdict>) {
        assert_eq!(batch.len(), verdicts.len(), "one verdict per entry");
        self.stream.request_was_taken();
        self.settled.answers.reserve_exact(batch.records().len());
        let (sent, mut throttled, mut run) = (batch.sent(), Vec::new(), KeyRun::default());
        let (mut items, lengths) = batch.into_entries();
        for (length, verdict) in lengths.zip(verdicts) {
            let entry = &items.as_slice()[..length];
            let shard = self.queues.shards.index_of(&entry[0].record);
            self.count(shard, &verdict);
            let disposition = self.disposition(entry, shard, verdict, sent);
            if self.makes_the_shard_rest(&disposition) {
                self.slow_down(shard, entry, sent);
                throttled.push(shard);
            }
            if length == 1
                && let Some(item) = items.next()
            {
                self.dispose(&mut run, item, disposition);
                continue;
            }
            for (index, item) in items.by_ref().take(length).enumerate() {
                self.dispose(&mut run, item, disposition.of_member(index));
            }
        }
        self.end_run(&mut run);
        self.cool(throttled);
    }

    /// Counts what a shard took and what it refused for its speed.
    fn count(&mut self, shard: usize, verdict: &Verdict) {
        let counts = &mut self.queues.shards.at(shard).counts;
        match verdict {
            Verdict::Stored { .. } => counts.stored(self.now),
            Verdict::Failed { class: Class::Throttled, .. } => counts.throttled(self.now),
            Verdict::Failed { .. } | Verdict::Unclear => {}
        }
    }

    /// What a verdict comes to for the events of its entry.
    fn disposition(
        &mut self,
        entry: &[BoxedItem],
        shard: usize,
        verdict: Verdict,
        sent: Instant,
    ) -> Disposition {
        match verdict {
            Verdict::Stored { shard_id, sequence_number } => {
                self.settled.stored += 1;
                self.queues.shards.at(shard).cooling.stored();
                let position = Position { shard_id, sequence_number, sub_sequence_number: None };
                self.stored(entry, position, sent)
            }
            Verdict::Failed { class: Class::Poison, .. } if entry.len() > 1 => {
                self.settled.regrouped += 1;
                Disposition::Regroup { scope: AggregateScope::Alone, maybe_stored: false }
            }
            Verdict::Failed { class: Class::Poison, code, message } => {
                self.settled.rejected += 1;
                Disposition::Rejected { code, message }
            }
            Verdict::Failed { class, .. } => {
                self.settled.retry(class, 1);
                Disposition::Again { class, maybe_stored: false }
            }
            Verdict::Unclear => {
                self.settled.retry(Class::Transient, 1);
                Disposition::Again { class: Class::Transient, maybe_stored: true }
            }
        }
    }

    /// An entry was stored: whether it is durable for each of its events.
    fn stored(&mut self, entry: &[BoxedItem], position: Position, sent: Instant) -> Disposition {
        let shards = &self.queues.shards;
        let is_elsewhere = |item: &BoxedItem| {
            shards
                .map()
                .is_some_and(|map| map.id(shards.index_of(&item.record)) != &*position.shard_id)
        };
        if !entry.iter().any(is_elsewhere) {
            return Disposition::Durable(position);
        }
        self.settled.map_is_old |= shards.were_known_at(sent);
        // A consumer that checks hash ranges drops a record with such a member whole. Events of one
        // key and place are where they belong, whatever we think of it.
        let on_ring = |item: &BoxedItem| item.record.ring_position;
        if entry.iter().any(|item| on_ring(item) != on_ring(&entry[0])) {
            self.settled.regrouped += 1;
            return Disposition::Regroup { scope: AggregateScope::OwnKey, maybe_stored: true };
        }
        Disposition::Durable(position)
    }

    /// Whether an entry was throttled whose shard is known: then the shard cools, not its keys.
    fn makes_the_shard_rest(&self, disposition: &Disposition) -> bool {
        matches!(disposition, Disposition::Again { class: Class::Throttled, .. })
            && self.queues.shards.map().is_some()
    }

    /// A shard refused an entry: its pace falls. While the daemon drains nothing is paced.
    fn slow_down(&mut self, shard: usize, entry: &[BoxedItem], sent: Instant) {
        if !self.queues.is_draining {
            let more = entry[1..].iter().map(|item| pacing::cost_of_more(item.record.size()));
            let cost = pacing::cost(entry[0].record.size()) + more.sum::<f64>();
            let pacing = &mut self.queues.shards.at(shard).pacing;
            pacing.get_or_insert_with(|| Pacing::new(self.now)).refused(cost, sent, self.now);
        }
    }

    /// Does to one event what its entry's verdict came to.
    fn dispose(&mut self, run: &mut KeyRun, mut item: BoxedItem, disposition: Disposition) {
        let key = item.record.key_hash;
        if run.key != Some(key) {
            self.end_run(run);
            run.key = Some(key);
        }
        match disposition {
            Disposition::Durable(position) => {
                return self.answer(item, Outcome::Durable(position));
            }
            Disposition::Rejected { code, message } => {
                return self.reject(item, &code, &message);
            }
            Disposition::Again { class, maybe_stored } => {
                item.maybe_stored |= maybe_stored;
                item.failures = item.failures.saturating_add(1);
                item.cause = Some(class.into());
                if class != Class::Throttled || self.queues.shards.map().is_none() {
                    let wait = self.queues.settings.backoff.delay(item.failures, self.rng);
                    run.cool_until = run.cool_until.max(Some(self.now + wait));
                }
            }
            Disposition::Regroup { scope, maybe_stored } => {
                item.scope = scope;
                item.maybe_stored |= maybe_stored;
            }
        }
        run.back.push(item);
    }

    /// All events of a key were gone through: its flight is over, or goes on with its next piece.
    fn end_run(&mut self, run: &mut KeyRun) {
        let KeyRun { key: Some(key), back, cool_until } = std::mem::take(run) else { return };
        if back.is_empty() && self.bisection.send_next_piece(key, true, self.queues) {
            return;
        }
        self.bisection.end_flight(key, back, cool_until, self.queues);
    }

    /// A request failed as a whole: none of its records is known to be stored.
    fn apply_error(&mut self, batch: Batch, error: &PutError) {
        match error.class {
            Class::Poison => return self.apply_refusal(batch, error),
            Class::Throttled => {
                self.stream.request_was_looked_at(); // as far as to be counted
                for head in batch.heads() {
                    let shard = self.queues.shards.index_of(head);
                    self.queues.shards.at(shard).counts.throttled(self.now);
                }
            }
            Class::Transient | Class::Blocked(_) => {}
        }
        self.settled.retry(error.class, batch.len());
        // One wait for the whole batch, so that its keys fill a request together again.
        let wait = self.queues.settings.backoff.delay(batch.failures_max() + 1, self.rng);
        let cool_until = match error.class {
            Class::Throttled if self.queues.shards.map().is_some() => {
                self.cool(batch.heads().map(|head| self.queues.shards.index_of(head)).collect());
                None
            }
            Class::Blocked(reason) => {
                self.block(reason);
                None
            }
            _ => Some(self.now + wait),
        };
        if let (Class::Transient, Some(reason)) = (error.class, self.stream.reason()) {
            self.block(reason); // no news: the next probe tells
        }
        self.give_back_all(batch, cool_until, |item| {
            // A blocked stream says nothing about the record.
            item.failures = item.failures.saturating_add(u32::from(cool_until.is_some()));
            item.cause = Some(error.cause);
            item.maybe_stored |= error.maybe_stored;
        });
    }

    /// A request was refused for what is in it, or so it says: it is taken apart to find the record
    /// at fault, unless the stream is.
    fn apply_refusal(&mut self, batch: Batch, error: &PutError) {
        let known = self.stream.blocked().filter(|is| is.reason == Reason::RequestRefused);
        if !self.stream.is_at_fault(&batch, error) {
            self.stream.request_was_looked_at();
            return self.find_the_record_at_fault(batch, error);
        }
        self.settled.blocked += batch.len();
        self.settled.refused_in_known_words = self.stream.is_in_known_words(error);
        self.block(Reason::RequestRefused);
        let probe = batch.sole().map(|item| item.record.key_hash);
        self.give_back_all(batch, None, |_| {});
        // It may be about this record after all: the next probe is another one.
        let was_due = known.is_some_and(|blocked| self.now >= blocked.next_probe);
        if let Some(key) = probe.filter(|_| was_due) {
            self.queues.stand_last(key, self.now);
        }
    }

    /// One record of a request is at fault. It is refused if it was alone; the others are sent
    /// again at once, in parts.
    fn find_the_record_at_fault(&mut self, batch: Batch, error: &PutError) {
        if batch.is_aggregated() {
            // The same events, unpacked: if the request is refused again, it can be taken apart.
            self.settled.regrouped += batch.len();
            return self.give_back_all(batch, None, |item| item.scope = AggregateScope::Alone);
        }
        if batch.sole().is_none() {
            let named = named_record(&error.message).and_then(|number| number.checked_sub(1));
            return self.bisection.take_apart(batch, named, self.queues);
        }
        for item in batch.into_items() {
            let key = item.record.key_hash;
            self.settled.rejected += 1;
            self.reject(item, &error.code, &error.message);
            if !self.bisection.send_next_piece(key, false, self.queues) {
                self.bisection.end_flight(key, Vec::new(), None, self.queues);
            }
        }
    }

    /// Gives back all that a batch holds, key by key, each item marked.
    fn give_back_all(
        &mut self,
        batch: Batch,
        cool_until: Option<Instant>,
        mark: impl Fn(&mut Item),
    ) {
        let marked = |mut item: BoxedItem| {
            mark(&mut item);
            item
        };
        let mut items = batch.into_items().map(marked).peekable();
        while let Some(key) = items.peek().map(|item| item.record.key_hash) {
            let back =
                std::iter::from_fn(|| items.next_if(|item| item.record.key_hash == key)).collect();
            self.bisection.end_flight(key, back, cool_until, self.queues);
        }
    }

    /// Lets each of these shards cool for itself: they take less than they were sent.
    fn cool(&mut self, mut shards: Vec<usize>) {
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let queue = self.queues.shards.at(shard);
            let (backoff, is_paced) = (self.queues.settings.backoff, queue.pacing.is_some());
            let until = queue.cooling.throttled(backoff, is_paced, self.now, self.rng);
            if let (Some(until), Some(pacing)) = (until, &mut queue.pacing) {
                pacing.rest(until);
            }
        }
    }

    /// An event is done.
    fn answer(&mut self, item: BoxedItem, outcome: Outcome) {
        self.queues.ages.remove(item.accepted);
        self.settled.answers.push(Answered { item, outcome });
    }

    fn reject(&mut self, item: BoxedItem, code: &str, message: &str) {
        let words: String = message.chars().take(SERVICE_MESSAGE_CHARS_MAX).collect();
        let message = format!("Kinesis refused it: {code}: {words}");
        self.answer(item, Outcome::Refused(Refusal::new(Code::Rejected, message)));
    }

    /// The stream takes nothing.
    fn block(&mut self, reason: Reason) {
        if self.stream.block(reason, self.queues.is_draining, self.now, self.rng) {
            // Parts would wait outside their queues, where no timeout finds them.
            for part in self.bisection.take_parts() {
                self.give_back_all(part, None, |_| {});
            }
        }
    }
}

impl Settled {
    fn retry(&mut self, class: Class, records: usize) {
        match class {
            Class::Throttled => self.throttled += records,
            Class::Blocked(_) => self.blocked += records,
            // A poison record is answered, not sent again; a poison request is taken apart.
            Class::Transient | Class::Poison => self.transient += records,
        }
    }
}

#[cfg(test)]
mod tests;
