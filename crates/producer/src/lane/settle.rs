//! Batch + reply → outcomes for those that are done, retries for the rest.
//!
//! Pure: chance and time are arguments. What each class of error leads to stands here and nowhere
//! else; what an error's class is, in `kinesis::classify`.

use std::time::{Duration, Instant};

use rand::Rng;

use super::batch::{Batch, Company};
use super::buffer::{Blocked, Buffer};
use super::doubt::{is_about_records, named_record};
use super::line::{Key, line_of};
use super::pace::{self, Pace};
use super::{BoxedItem, Item};
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{Class, Code, Outcome, Place, Reason, Record, Refusal};
use dispatchd_core::model::{PutError, ShardMap, Verdict};

/// Probes of a blocked stream: soon at first, for an operator who is watching, then one half a
/// minute.
const PROBE: Backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30) };

/// The same while the daemon drains: its deadline is seconds away.
const DRAIN_PROBE: Backoff = Backoff { min: PROBE.min, max: PROBE.min };

/// The least that a paced shard rests, and the base of its exponential back-off.
pub const PACED_REST_MIN: Duration = Duration::from_millis(10);

/// Characters of the service's own words that an answer carries; its messages are shorter, but its
/// to choose.
const SERVICE_MESSAGE_CHARS_MAX: usize = 512;

/// What a reply led to.
#[derive(Debug, Default)]
pub struct Settled {
    pub answers: Vec<Answered>,
    pub stored: usize,
    /// Records that will be sent again, by why.
    pub throttled: usize,
    pub transient: usize,
    pub blocked: usize,
    /// Aggregates whose members will be sent again in other company: a member was in the wrong
    /// shard, or refused for good.
    pub regrouped: usize,
    pub rejected: usize,
    /// A record went to another shard than predicted: the map is old.
    pub map_is_old: bool,
    /// The request was refused in words that two records have got: they repeat nothing of a record.
    pub refused_in_known_words: bool,
}

/// What a verdict comes to for each event of an entry.
#[derive(Debug, Clone)]
enum Word {
    Durable(Place),
    Rejected {
        code: String,
        message: String,
    },
    Again {
        class: Class,
        maybe_stored: bool,
    },
    /// To be sent again at once, in this company: nothing is wrong with the event.
    Regroup {
        company: Company,
        maybe_stored: bool,
    },
}

impl Word {
    /// The same for a member of an aggregate.
    fn for_member(&self, index: usize) -> Self {
        let mut word = self.clone();
        if let Self::Durable(place) = &mut word {
            place.sub_sequence_number = Some(index);
        }
        word
    }
}

/// An item that is done.
#[derive(Debug)]
pub struct Answered {
    pub item: BoxedItem,
    pub outcome: Outcome,
}

impl Buffer {
    /// Takes a batch back with what Kinesis said of it.
    ///
    /// # Panics
    /// If a reply has not one verdict per entry: the service's adapter promised that.
    pub fn settle(
        &mut self,
        batch: Batch,
        reply: Result<Vec<Verdict>, PutError>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Settled {
        self.gauges.flights -= 1;
        self.flying_bytes -= batch.bytes();
        let mut settled = Settled::default();
        match reply {
            Ok(verdicts) => {
                self.blocked = None;
                self.doubt.end();
                self.settle_records(batch, verdicts, now, rng, &mut settled);
            }
            Err(error) => self.settle_failure(batch, &error, now, rng, &mut settled),
        }
        for answered in &settled.answers {
            self.ages.remove(answered.item.accepted);
        }
        settled
    }

    fn settle_records(
        &mut self,
        batch: Batch,
        verdicts: Vec<Verdict>,
        now: Instant,
        rng: &mut impl Rng,
        settled: &mut Settled,
    ) {
        assert_eq!(batch.len(), verdicts.len(), "one verdict per entry");
        let sent = batch.sent();
        settled.answers.reserve_exact(batch.records().len());
        let mut throttled = Vec::new();
        let mut words = Vec::with_capacity(batch.records().len());
        for (events, verdict) in batch.entries().iter().zip(verdicts) {
            let line = line_of(self.shards.as_deref(), events[0]);
            match &verdict {
                Verdict::Stored { .. } => self.lines[line].tally.stored(now),
                Verdict::Failed { class: Class::Throttled, .. } => {
                    self.lines[line].tally.throttled(now)
                }
                Verdict::Failed { .. } | Verdict::Unclear => {}
            }
            let word = self.word(events, line, verdict, sent, settled);
            if matches!(word, Word::Again { class: Class::Throttled, .. }) && self.shards.is_some()
            {
                self.slow_down(line, events, sent, now);
                throttled.push(line);
            }
            match events {
                [_] => words.push(word),
                members => words.extend((0..members.len()).map(|index| word.for_member(index))),
            }
        }
        let mut pairs = batch.into_items().zip(words).peekable();
        while let Some(key) = pairs.peek().map(|(item, _)| item.record.key_hash) {
            let (mut back, mut cool_until) = (Vec::new(), None);
            while let Some((mut item, word)) =
                pairs.next_if(|(item, _)| item.record.key_hash == key)
            {
                match word {
                    Word::Durable(place) => {
                        settled.answer(item, Outcome::Durable(place));
                        continue;
                    }
                    Word::Rejected { code, message } => {
                        settled.reject(item, &code, &message);
                        continue;
                    }
                    Word::Again { class, maybe_stored } => {
                        item.maybe_stored |= maybe_stored;
                        item.failures = item.failures.saturating_add(1);
                        item.cause = Some(class.into());
                        if class != Class::Throttled || self.shards.is_none() {
                            cool_until = cool_until
                                .max(Some(now + self.rules.backoff.delay(item.failures, rng)));
                        }
                    }
                    Word::Regroup { company, maybe_stored } => {
                        item.company = company;
                        item.maybe_stored |= maybe_stored;
                    }
                }
                back.push(item);
            }
            if !(back.is_empty() && self.send_next_cut(key, true)) {
                self.give_back(key, back, cool_until);
            }
        }
        self.cool(throttled, now, rng);
    }

    /// What a verdict comes to for the events of its entry.
    fn word(
        &mut self,
        events: &[&Record],
        line: usize,
        verdict: Verdict,
        sent: Instant,
        settled: &mut Settled,
    ) -> Word {
        match verdict {
            Verdict::Stored { shard_id, sequence_number } => {
                settled.stored += 1;
                self.lines[line].throttles = 0;
                let is_elsewhere = |shards: &ShardMap, event| {
                    shards.id(line_of(Some(shards), event)) != &*shard_id
                };
                let shards = self.shards.as_deref();
                let is_misplaced = shards
                    .is_some_and(|shards| events.iter().any(|event| is_elsewhere(shards, *event)));
                settled.map_is_old |=
                    is_misplaced && self.mapped.is_some_and(|since| sent >= since);
                // A consumer that checks hash ranges drops a record with such a member whole.
                // Events of one key and place are where they belong, whatever we think of it.
                if is_misplaced
                    && events.iter().any(|event| event.ring_position() != events[0].ring_position())
                {
                    settled.regrouped += 1;
                    return Word::Regroup { company: Company::OwnKey, maybe_stored: true };
                }
                Word::Durable(Place { shard_id, sequence_number, sub_sequence_number: None })
            }
            Verdict::Failed { class: Class::Poison, .. } if events.len() > 1 => {
                settled.regrouped += 1;
                Word::Regroup { company: Company::Nobody, maybe_stored: false }
            }
            Verdict::Failed { class: Class::Poison, code, message } => {
                settled.rejected += 1;
                Word::Rejected { code, message }
            }
            Verdict::Failed { class, .. } => {
                settled.retry(class, 1);
                Word::Again { class, maybe_stored: false }
            }
            Verdict::Unclear => {
                settled.retry(Class::Transient, 1);
                Word::Again { class: Class::Transient, maybe_stored: true }
            }
        }
    }

    /// A shard refused an entry: its pace falls. While the daemon drains nothing is paced.
    fn slow_down(&mut self, line: usize, events: &[&Record], sent: Instant, now: Instant) {
        if !self.draining {
            let more: f64 = events[1..].iter().map(|event| pace::cost_of_more(event.size())).sum();
            let pace = self.lines[line].pace.get_or_insert_with(|| Pace::new(now));
            pace.refused(pace::cost(events[0].size()) + more, sent, now);
        }
    }

    fn settle_failure(
        &mut self,
        batch: Batch,
        error: &PutError,
        now: Instant,
        rng: &mut impl Rng,
        settled: &mut Settled,
    ) {
        if error.class == Class::Poison {
            return self.settle_poison(batch, error, now, rng, settled);
        }
        if error.class == Class::Throttled {
            self.blocked = None; // it was let in as far as to be counted
            for events in batch.entries().iter() {
                self.lines[line_of(self.shards.as_deref(), events[0])].tally.throttled(now);
            }
        }
        settled.retry(error.class, batch.len());
        // One wait for the whole batch, so that its keys fill a request together again.
        let wait = now + self.rules.backoff.delay(batch.failures_max() + 1, rng);
        let cool_until = match error.class {
            Class::Throttled if self.shards.is_some() => {
                let shards = self.shards.as_deref();
                let lines =
                    batch.entries().iter().map(|events| line_of(shards, events[0])).collect();
                self.cool(lines, now, rng);
                None
            }
            Class::Blocked(reason) => {
                self.block(reason, now, rng);
                None
            }
            _ => Some(wait),
        };
        if let (Class::Transient, Some(blocked)) = (error.class, self.blocked) {
            self.block(blocked.reason, now, rng); // no news: the next probe tells
        }
        self.give_back_all(batch, cool_until, |item| {
            // A blocked stream says nothing about the record.
            item.failures = item.failures.saturating_add(u32::from(cool_until.is_some()));
            item.cause = Some(error.cause);
            item.maybe_stored |= error.maybe_stored;
        });
    }

    /// A request was refused for what is in it, or so it says: it is the stream where two records
    /// that have nothing in common are refused alone in the same words, and then every refusal that
    /// names no record, until a request is taken or one of its records is named.
    fn settle_poison(
        &mut self,
        batch: Batch,
        error: &PutError,
        now: Instant,
        rng: &mut impl Rng,
        settled: &mut Settled,
    ) {
        let known = self.blocked.filter(|blocked| blocked.reason == Reason::RequestRefused);
        let is_the_streams = !is_about_records(error)
            && match batch.sole() {
                _ if known.is_some() => true,
                Some(item) => self.doubt.is_about_the_stream(item, error),
                None => false,
            };
        if !is_the_streams {
            if named_record(&error.message).is_some() {
                self.doubt.end();
            }
            self.blocked = None; // it was let in as far as to be looked at
            return self.take_apart(batch, error, settled);
        }
        settled.blocked += batch.len();
        settled.refused_in_known_words = self.doubt.is_in_the_words_of_the_first(error);
        self.block(Reason::RequestRefused, now, rng);
        let probe = batch.sole().map(|item| item.record.key_hash);
        self.give_back_all(batch, None, |_| {});
        // It may be about this record after all: the next probe is another one.
        if let Some(key) = probe.filter(|_| known.is_some_and(|blocked| now >= blocked.next_probe))
        {
            self.stand_last(key, now);
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
            self.give_back(key, back, cool_until);
        }
    }

    /// The shards of these lines take less than they were sent: they rest, each for itself.
    fn cool(&mut self, mut lines: Vec<usize>, now: Instant, rng: &mut impl Rng) {
        lines.sort_unstable();
        lines.dedup();
        for index in lines {
            let line = &mut self.lines[index];
            // Flights that were out together are throttled together: that is one throttling, not
            // many.
            if line.cooling_until.is_none_or(|until| until <= now) {
                line.throttles = line.throttles.saturating_add(1);
                let Backoff { min, max } = self.rules.backoff;
                // Where a pace limits what asking again costs, it is asked soon: Kinesis counts
                // over a second, and what is missed at the beginning of the next one is lost.
                let min = if line.pace.is_some() { min.min(PACED_REST_MIN) } else { min };
                let until = now + Backoff { min, max }.delay(line.throttles, rng);
                line.cooling_until = Some(until);
                if let Some(pace) = &mut line.pace {
                    pace.rest(until);
                }
            }
        }
    }

    fn block(&mut self, reason: Reason, now: Instant, rng: &mut impl Rng) {
        let (since, probes) = match self.blocked {
            // Flights that were out when it began come back blocked too.
            Some(blocked) if now < blocked.next_probe => return,
            Some(blocked) => (blocked.since, blocked.probes.saturating_add(1)),
            None => (now, 0),
        };
        let probe = if self.draining { DRAIN_PROBE } else { PROBE };
        self.blocked =
            Some(Blocked { reason, since, next_probe: now + probe.delay(probes, rng), probes });
        // Parts would wait outside their queues, where no timeout finds them.
        for part in std::mem::take(&mut self.parts) {
            self.give_back_all(part, None, |_| {});
        }
    }

    /// The same request without aggregates: if it is refused again, it can be taken apart.
    fn regroup(&mut self, batch: Batch, settled: &mut Settled) {
        settled.regrouped += batch.len();
        self.give_back_all(batch, None, |item| item.company = Company::Nobody);
    }

    /// Finds the record for whose sake a whole request was refused: by the index that the message
    /// names, else by halves, so that at most log2(n) + 1 requests are refused. The others are sent
    /// again at once.
    fn take_apart(&mut self, batch: Batch, error: &PutError, settled: &mut Settled) {
        if batch.is_aggregated() {
            return self.regroup(batch, settled);
        }
        let count = batch.records().len();
        let named = named_record(&error.message).and_then(|number| number.checked_sub(1));
        let cuts = match named.filter(|index| *index < count) {
            Some(index) => [index, index + 1],
            None => [count / 2, count],
        };
        let is_halved = cuts[1] == count;
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for (index, item) in batch.into_items().enumerate() {
            parts[usize::from(index >= cuts[0]) + usize::from(index >= cuts[1])].push(item);
        }
        if count == 1 {
            for item in parts.into_iter().flatten() {
                let key = item.record.key_hash;
                settled.rejected += 1;
                settled.reject(item, &error.code, &error.message);
                if !self.send_next_cut(key, false) {
                    self.give_back(key, Vec::new(), None);
                }
            }
            return;
        }
        // A key that is cut sends its first piece now and the others one after the other: its order
        // holds.
        let mut cut_off: Vec<(Key, Vec<Vec<BoxedItem>>)> = Vec::new();
        let (mut last_key, mut sent) = (None, 0);
        for part in parts {
            let mut part = part.into_iter().peekable();
            let piece: Vec<BoxedItem> =
                std::iter::from_fn(|| part.next_if(|item| Some(item.record.key_hash) == last_key))
                    .collect();
            if let (Some(key), false) = (last_key, piece.is_empty()) {
                match cut_off.last_mut().filter(|(cut, _)| *cut == key) {
                    Some((_, pieces)) => pieces.push(piece),
                    None => cut_off.push((key, vec![piece])),
                }
            }
            let part: Batch = part.collect();
            if !part.is_empty() {
                last_key = part.records().next_back().map(|last| last.key_hash);
                sent += 1;
                self.parts.push_back(part);
            }
        }
        let are_halves = is_halved && sent == 1; // all of one key: the pieces are the two halves
        for (key, pieces) in cut_off {
            self.cut(key, pieces, are_halves);
        }
    }
}

impl Settled {
    fn answer(&mut self, item: BoxedItem, outcome: Outcome) {
        self.answers.push(Answered { item, outcome });
    }

    fn reject(&mut self, item: BoxedItem, code: &str, message: &str) {
        let words: String = message.chars().take(SERVICE_MESSAGE_CHARS_MAX).collect();
        self.answer(
            item,
            Outcome::Refused(Refusal::new(
                Code::Rejected,
                format!("Kinesis refused it: {code}: {words}"),
            )),
        );
    }

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
