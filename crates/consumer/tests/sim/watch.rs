//! The promises, each a named check, watched from outside: by what the target did, by what was
//! kept, and by what is in the stream. It knows nothing of the engine's insides.

use std::collections::BTreeMap;

use dispatchd_consumer::delivery::{
    Batch, Checkpoint, Condition, DeadLetters, FailureKind, Follows, Place, Response, Settled,
};
use dispatchd_simulation::Broken;

use crate::clock::time_at;
use crate::scenario::{At, Scenario};
use crate::stream::Stream;
use crate::tally::Tally;

pub(crate) type Checked = Result<(), Broken>;

#[derive(Debug)]
pub(crate) struct Watch<'a> {
    scenario: &'a Scenario,
    seen: Vec<Seen>,
    /// Since when a shard's events are owed, where reading began with the latest: since the first
    /// checkpoint of the shard was kept.
    owed_since: BTreeMap<String, At>,
    /// When the reading of a shard was placed at the latest.
    placed_at: BTreeMap<String, At>,
    pub store: BTreeMap<String, Checkpoint>,
    idle: BTreeMap<String, Idle>,
    pub tally: Tally,
}

/// What is known of an event.
#[derive(Debug, Default, Clone)]
struct Seen {
    stored: Option<Stored>,
    /// Delivered, kept as a dead letter or not wanted; the engine was told so.
    is_done: bool,
    /// The rest is of this life of the process.
    life: Life,
}

#[derive(Debug, Clone)]
struct Stored {
    shard: String,
    place: Place,
    arrived: At,
}

#[derive(Debug, Default, Clone)]
struct Life {
    is_done: bool,
    taken_at: Option<At>,
    is_sent: bool,
    /// Attempts that count.
    counted: u32,
    not_before: At,
    /// What was said last of a batch with this event, and how large it was.
    last: Option<(FailureKind, usize)>,
}

impl Stored {
    fn is_packed(&self) -> bool {
        self.place.sub_sequence_number.is_some()
    }
}

/// From when on nothing holds a shard's strand back.
#[derive(Debug, Default, Clone, Copy)]
struct Idle {
    since: At,
    is_unknown: bool,
    is_read_to_end: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            seen: vec![Seen::default(); scenario.events.len()],
            owed_since: BTreeMap::new(),
            placed_at: BTreeMap::new(),
            store: BTreeMap::new(),
            idle: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn stored(&mut self, events: &[usize], shard: &str, places: Vec<Place>, now: At) {
        for (&event, place) in events.iter().zip(places) {
            self.seen[event].stored = Some(Stored { shard: shard.to_owned(), place, arrived: now });
        }
        self.tally.records += 1;
    }

    /// A process begins: it remembers nothing but what is stored.
    pub(crate) fn begins(&mut self) {
        self.seen.iter_mut().for_each(|seen| seen.life = Life::default());
        self.idle.clear();
        self.tally.lives += 1;
    }

    pub(crate) fn placed_at_latest(&mut self, shard: &str, now: At) {
        self.placed_at.insert(shard.to_owned(), now);
    }

    pub(crate) fn taken(&mut self, event: usize, now: At) {
        self.seen[event].life.taken_at.get_or_insert(now);
    }

    pub(crate) fn read_to_end(&mut self, shard: &str) {
        self.idle.entry(shard.to_owned()).or_default().is_read_to_end = true;
    }

    /// An operator had everything tried again.
    pub(crate) fn retried_now(&mut self) {
        self.seen.iter_mut().for_each(|seen| seen.life.not_before = 0);
    }

    pub(crate) fn sent(
        &mut self,
        shard: &str,
        batch: &Batch,
        events: &[usize],
        now: At,
        stream: &Stream,
    ) -> Checked {
        self.tally.batches += 1;
        self.bounds_of(events)?;
        self.order_of(shard, events, stream)?;
        self.window_of(shard, events, now)?;
        for &event in events {
            let life = &self.seen[event].life;
            let is_wanted = self.scenario.events[event].is_wanted;
            ensure(is_wanted, "what is not wanted is not sent", || format!("{event}"))?;
            ensure(!life.is_done, "what is done is not sent again", || format!("{event}"))?;
            ensure(!self.is_checkpointed(event), "what is checkpointed is not sent again", || {
                format!("{event}: {:?}", self.store.get(shard))
            })?;
            ensure(now >= life.not_before, "nothing spins", || {
                format!("{event} at {now}, not before {}", life.not_before)
            })?;
            ensure(!self.is_too_old(event, now), "nothing too old is sent", || format!("{event}"))?;
            if let Some(retries_max) = self.retries_max() {
                let is_right = life.counted <= retries_max && batch.attempt == life.counted + 1;
                ensure(is_right, "attempts", || format!("{event}: {} {life:?}", batch.attempt))?;
            }
            self.seen[event].life.is_sent = true;
        }
        Ok(())
    }

    fn bounds_of(&self, events: &[usize]) -> Checked {
        let rules = &self.scenario.rules;
        let bytes: usize = events.iter().map(|&event| self.scenario.events[event].bytes).sum();
        let fits = events.len() == 1
            || (events.len() <= rules.batch_records && bytes <= rules.batch_bytes);
        ensure(fits, "the bounds of a batch", || format!("{events:?} have {bytes} bytes"))
    }

    /// Nothing of a strand passes what is not done: of a key, or of the shard where it is one
    /// strand; and nothing passes an event of its key in a shard before.
    fn order_of(&self, shard: &str, events: &[usize], stream: &Stream) -> Checked {
        let is_one_strand = self.scenario.rules.strands == 1;
        for (i, &event) in events.iter().enumerate() {
            let stored = self.place_of(event);
            let key = self.scenario.events[event].key;
            for (other, seen) in self.seen.iter().enumerate() {
                let Some(before) = seen.stored.as_ref().filter(|it| it.place < stored.place) else {
                    continue;
                };
                // A packed record is stored by one key: its other events follow no order of theirs.
                let is_comparable =
                    before.shard == shard || !(before.is_packed() || stored.is_packed());
                let shares_a_key =
                    is_comparable && key.is_some() && self.scenario.events[other].key == key;
                let shares_a_strand = (is_one_strand && before.shard == shard) || shares_a_key;
                let is_before = events[..i].contains(&other);
                if shares_a_strand && self.is_owed(other, stream) && !seen.is_done && !is_before {
                    return broken("order", format!("{event} passes {other}: {events:?}"));
                }
            }
        }
        Ok(())
    }

    fn window_of(&self, shard: &str, events: &[usize], now: At) -> Checked {
        let rules = &self.scenario.rules;
        let is_new = |&event: &usize| !self.seen[event].life.is_sent;
        let idle = self.idle.get(shard).copied().unwrap_or_default();
        let first = self.seen[events[0]].life.taken_at.expect("what is sent was taken in");
        if !events.iter().all(is_new) {
            return Ok(());
        }
        let window_ends = first + u64::try_from(rules.batch_window.as_millis()).expect("short");
        let bytes: usize = events.iter().map(|&event| self.scenario.events[event].bytes).sum();
        let largest = self.scenario.events.iter().map(|event| event.bytes).max().unwrap_or(0);
        let is_full = events.len() >= rules.batch_records || bytes + largest > rules.batch_bytes;
        // What was cut for its age was full before.
        let was_cut = rules.give_up.is_some_and(|give_up| give_up.age_max.is_some());
        let has_waited = now >= window_ends || idle.is_read_to_end || is_full || was_cut;
        ensure(has_waited, "a batch waits for its window", || {
            format!("{events:?} at {now}, which would be {window_ends}")
        })?;
        let latest = window_ends.max(idle.since);
        let is_known = rules.strands == 1 && !idle.is_unknown;
        ensure(now <= latest || !is_known, "a batch is sent when its window ends", || {
            format!("{events:?} at {now}, which would be {latest}")
        })
    }

    /// What came of a batch, as the target said it; `settled` is what the engine made of it.
    pub(crate) fn responded(
        &mut self,
        shard: &str,
        events: &[usize],
        response: &Response,
        settled: Settled,
        now: At,
    ) {
        let wait = match settled.follows {
            Follows::Nothing => 0,
            Follows::Retry(wait) | Follows::Halves(wait) => wait.as_nanos().div_ceil(1_000_000),
            Follows::GivenUp => 0,
        };
        let idle = self.idle.entry(shard.to_owned()).or_default();
        idle.since = now + u64::try_from(wait).expect("short");
        idle.is_unknown = settled.follows == Follows::GivenUp
            || (idle.is_unknown && settled.follows != Follows::Nothing);
        let done = match response {
            Response::Delivered => events.len(),
            Response::Until(done) => *done,
            Response::Failed(_) => 0,
        };
        self.done(&events[..done]);
        let rest = &events[done..];
        let failure = match response {
            Response::Delivered => return,
            Response::Until(_) => FailureKind::Failed,
            Response::Failed(failure) => failure.kind,
        };
        self.count(events, response, failure);
        let least = u64::try_from(self.scenario.rules.backoff.min.as_millis()).expect("short");
        for &event in rest {
            let life = &mut self.seen[event].life;
            life.last = Some((failure, events.len()));
            life.not_before = now + least;
        }
    }

    /// Counts the attempts as the header of `delivery` has it.
    fn count(&mut self, events: &[usize], response: &Response, kind: FailureKind) {
        match response {
            Response::Until(done) if *done > 0 => {
                self.tally.partly_done += 1;
                self.set_counted(&events[*done..], 0);
                return;
            }
            _ => {}
        }
        let is_halved = match response {
            Response::Failed(_) => self.scenario.rules.bisect && events.len() > 1,
            _ => false,
        };
        match kind {
            FailureKind::Failed if !is_halved => {
                let counted = self.seen[events[0]].life.counted + 1;
                self.set_counted(events, counted);
                let is_named = matches!(response, Response::Until(_));
                if is_named && self.retries_max().is_some_and(|max| counted > max) {
                    self.set_counted(&events[1..], 0);
                }
                self.tally.attempts_counted += 1;
            }
            FailureKind::Failed => self.tally.halves += 1,
            FailureKind::Refused => self.tally.refused += 1,
            FailureKind::Unavailable => self.tally.unavailable += 1,
            FailureKind::Unauthorized => self.tally.unauthorized += 1,
        }
    }

    fn set_counted(&mut self, events: &[usize], counted: u32) {
        for &event in events {
            self.seen[event].life.counted = counted;
        }
    }

    pub(crate) fn skipped(&mut self, event: usize) {
        self.done(&[event]);
        self.tally.skipped += 1;
    }

    fn done(&mut self, events: &[usize]) {
        for &event in events {
            self.seen[event].is_done = true;
            self.seen[event].life.is_done = true;
        }
    }

    pub(crate) fn gives_up(&mut self, letters: &DeadLetters, events: &[usize], now: At) -> Checked {
        const REASON: &str = "given up for its reason";
        let Some(give_up) = self.scenario.rules.give_up else {
            return broken(REASON, format!("{events:?}: it was to block"));
        };
        for &event in events {
            let life = &self.seen[event].life;
            ensure(!life.is_done, "what is kept is not kept again", || format!("{event}"))?;
            let kind = life.last.map(|(kind, _)| kind);
            match letters.condition {
                Condition::RecordAgeExceeded => {
                    ensure(self.is_over_age(event, now), REASON, || format!("{event} is young"))?;
                    let is_silent = letters.last.is_none() && letters.attempts == life.counted;
                    ensure(is_silent, REASON, || format!("{event}: {letters:?}"))?;
                    self.tally.too_old += 1;
                }
                Condition::Refused => {
                    let is_refused = life.last == Some((FailureKind::Refused, 1));
                    ensure(is_refused, REASON, || format!("{event}: {life:?}"))?;
                    self.tally.given_up_refused += 1;
                }
                Condition::RetryAttemptsExhausted => {
                    let is_right = give_up.retries_max.is_some_and(|max| life.counted == max + 1)
                        && letters.attempts == life.counted;
                    ensure(is_right, "attempts", || format!("{event}: {letters:?} {life:?}"))?;
                    ensure(kind == Some(FailureKind::Failed), REASON, || format!("{event}"))?;
                    self.tally.exhausted += 1;
                }
            }
        }
        Ok(())
    }

    /// Of these events that were given up, those at these places could not be kept.
    pub(crate) fn kept(&mut self, shard: &str, events: &[usize], unkept: &[usize], now: At) {
        let all = events.iter().enumerate();
        let kept: Vec<usize> =
            all.filter(|(place, _)| !unkept.contains(place)).map(|(_, event)| *event).collect();
        self.done(&kept);
        self.tally.letters_not_kept += unkept.len();
        let idle = self.idle.entry(shard.to_owned()).or_default();
        idle.since = now;
        idle.is_unknown = true;
    }

    /// A checkpoint is stored.
    pub(crate) fn persists(
        &mut self,
        shard: &str,
        checkpoint: &Checkpoint,
        now: At,
        stream: &Stream,
    ) -> Checked {
        let before = self.store.get(shard);
        let goes_on = before.is_none_or(|before| rank(before) <= rank(checkpoint));
        ensure(goes_on, "the checkpoint never goes back", || {
            format!("{shard}: {before:?} {checkpoint:?}")
        })?;
        const PASSES: &str = "the checkpoint passes only what is done";
        let is_open = stream.shard(shard).is_open;
        let is_end = *checkpoint == Checkpoint::End;
        ensure(!is_end || !is_open, PASSES, || format!("{shard} is open"))?;
        for (event, seen) in self.seen.iter().enumerate() {
            let Some(stored) = seen.stored.as_ref().filter(|stored| stored.shard == shard) else {
                continue;
            };
            let is_passed = match checkpoint {
                Checkpoint::From(_) => false,
                Checkpoint::After(place) => stored.place <= *place,
                Checkpoint::End => true,
            };
            let is_fine = !is_passed || seen.is_done || !self.is_owed(event, stream);
            ensure(is_fine, PASSES, || format!("{shard} {checkpoint:?}: {event} is not done"))?;
        }
        let since = match checkpoint {
            Checkpoint::From(_) => self.placed_at.get(shard).copied().unwrap_or(now),
            _ => now,
        };
        self.owed_since.entry(shard.to_owned()).or_insert(since);
        if let Checkpoint::After(Place { sub_sequence_number: Some(_), .. }) = checkpoint {
            self.tally.inside_packed += 1;
        }
        self.store.insert(shard.to_owned(), checkpoint.clone());
        self.tally.checkpoints += 1;
        Ok(())
    }

    /// Where a shard begins that has no checkpoint is handed out before all else.
    pub(crate) fn began(&self, shard: &str, is_handed_out: bool) -> Checked {
        let is_kept = is_handed_out || self.store.contains_key(shard);
        ensure(is_kept, "where reading began is kept", || shard.to_owned())
    }

    /// Whether everything is as it is to be in the end, and what is not.
    pub(crate) fn ends(&self, stream: &Stream) -> Checked {
        for event in 0..self.seen.len() {
            let is_done = self.seen[event].is_done || !self.is_owed(event, stream);
            ensure(is_done, "everything is done in the end", || {
                format!("{event}: {:?}", self.seen[event])
            })?;
        }
        for shard in &stream.shards {
            let of_shard = |seen: &Seen| {
                seen.stored.as_ref().filter(|it| it.shard == shard.id).map(|it| it.place.clone())
            };
            let last = self.seen.iter().filter_map(of_shard).max();
            let has_owed = (0..self.seen.len())
                .any(|event| of_shard(&self.seen[event]).is_some() && self.is_owed(event, stream));
            let is_there = match (self.store.get(&shard.id), last) {
                (_, None) => true,
                (Some(Checkpoint::End), _) => !shard.is_open,
                (Some(Checkpoint::After(place)), Some(last)) => shard.is_open && *place == last,
                _ => false,
            };
            ensure(is_there || !has_owed, "the checkpoint gets to the end", || {
                format!("{}: {:?}", shard.id, self.store.get(&shard.id))
            })?;
        }
        Ok(())
    }

    /// Whether an event has to get to the target, if it wants it.
    fn is_owed(&self, event: usize, stream: &Stream) -> bool {
        let Some(stored) = &self.seen[event].stored else { return false };
        !self.scenario.is_latest || {
            let since = self.owed_since.get(&stored.shard);
            since.is_some_and(|since| stored.arrived >= *since)
                || self.has_owed_parent(&stored.shard, stream)
        }
    }

    fn has_owed_parent(&self, shard: &str, stream: &Stream) -> bool {
        stream.shard(shard).parents.iter().any(|parent| {
            self.owed_since.contains_key(parent) || self.has_owed_parent(parent, stream)
        })
    }

    fn is_checkpointed(&self, event: usize) -> bool {
        let stored = self.place_of(event);
        match self.store.get(&stored.shard) {
            Some(Checkpoint::After(place)) => stored.place <= *place,
            Some(Checkpoint::End) => true,
            Some(Checkpoint::From(_)) | None => false,
        }
    }

    fn is_too_old(&self, event: usize, now: At) -> bool {
        let is_refused_us =
            matches!(self.seen[event].life.last, Some((FailureKind::Unauthorized, _)));
        self.is_over_age(event, now) && !is_refused_us
    }

    fn is_over_age(&self, event: usize, now: At) -> bool {
        let age_max = self.scenario.rules.give_up.and_then(|give_up| give_up.age_max);
        let arrived = time_at(self.place_of(event).arrived);
        let age = time_at(now).duration_since(arrived).unwrap_or_default();
        age_max.is_some_and(|max| age > max)
    }

    fn place_of(&self, event: usize) -> &Stored {
        self.seen[event].stored.as_ref().expect("what is read was stored")
    }

    fn retries_max(&self) -> Option<u32> {
        self.scenario.rules.give_up.and_then(|give_up| give_up.retries_max)
    }
}

fn rank(checkpoint: &Checkpoint) -> (u8, Option<&Place>) {
    match checkpoint {
        Checkpoint::From(_) => (0, None),
        Checkpoint::After(place) => (1, Some(place)),
        Checkpoint::End => (2, None),
    }
}

pub(crate) fn ensure(holds: bool, check: &'static str, what: impl Fn() -> String) -> Checked {
    if holds { Ok(()) } else { broken(check, what()) }
}

pub(crate) fn broken(check: &'static str, what: String) -> Checked {
    Err(Broken { check, what })
}
