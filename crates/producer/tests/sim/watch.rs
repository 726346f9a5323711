//! The promises, watched from outside: what was pushed, sent, stored, landed and answered, and
//! whether that may be.
//!
//! It knows the plan and the truth of the model stream; of the lane it sees only what the lane's
//! task sees. Every check has a name. It never changes what it watches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dispatchd_core::limits::ITEM_BYTES;
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{Class, Code, EventAnswer, Record, Refusal};
use dispatchd_core::model::{Entries, ShardMap, Verdict};
use dispatchd_core::wire::packed;
use dispatchd_producer::lane::{Aggregation, KeyOrder};
use dispatchd_simulation::Broken;

use crate::copies::{Copies, Way};
use crate::lane::Shown;
use crate::plan::{At, Plan, PoisonIs, ms};
use crate::refusals::{Blame, Refusals};
use crate::rests::Rests;
use crate::stream::{REFUSES_ALL, Reply, Stream, event_of};
use crate::tally::Tally;

/// Fails the check called `$check` unless `$holds`.
macro_rules! check {
    ($check:literal, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(dispatchd_simulation::Broken { check: $check, what: format!($($what)+) });
        }
    };
}
pub(crate) use check;

#[derive(Debug)]
pub(crate) struct Watch<'p> {
    plan: &'p Plan,
    events: Vec<Seen>,
    keys: Vec<Key>,
    /// Events that are not answered and on their way; copies that joined one are not.
    open: BTreeSet<usize>,
    /// Bytes of all lines that are not answered.
    open_bytes: usize,
    /// Flights that are out.
    flights: usize,
    rests: Rests,
    copies: Copies<'p>,
    /// What the last reply that tells says of the stream.
    blocked: bool,
    refusals: Refusals,
    /// Until when a blocked stream is not probed.
    probe_floor: At,
    drained: Option<At>,
    pub abandoned: bool,
    /// Whether the lane could send nothing more at the last look.
    was_busy: bool,
    /// When it could send nothing more for the last time, or the shards changed.
    unfree: At,
    /// Wakes of the timer that the events account for.
    wakes_due: usize,
    pub tally: Tally,
}

/// One event, as seen.
#[derive(Debug, Default)]
struct Seen {
    in_air: bool,
    attempts: u32,
    answered: bool,
    stored: bool,
    /// Whether an attempt may have stored it.
    maybe: bool,
    /// Whether it came home with a refused request, and waits for its part to be sent.
    in_part: bool,
    landed: At,
    /// When its key could go, with this event first.
    ready: At,
    /// Whether nothing that the lane may wait for stands before its first flight.
    prompt: bool,
    /// Whether it was refused alone, in words that may have been about it.
    blamed: bool,
    /// Refused requests in a row, and how large the first was.
    rounds: u32,
    rounds_records: usize,
}

#[derive(Debug, Default)]
struct Key {
    open: BTreeSet<usize>,
    in_air: usize,
    /// Cools at least until.
    floor: At,
    /// May cool until.
    floor_maybe: At,
    /// When it changed last: one of its events came in, came home or was answered.
    changed: At,
    /// The last event whose first copy is stored.
    stored_last: Option<usize>,
    /// A partial failure in a request with several of its records: relaxed order promises nothing
    /// now.
    loose: bool,
}

impl<'p> Watch<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            events: plan.events.iter().map(|_| Seen::default()).collect(),
            keys: (0..plan.keys_count).map(|_| Key::default()).collect(),
            open: BTreeSet::new(),
            open_bytes: 0,
            flights: 0,
            rests: Rests::new(plan),
            copies: Copies::new(plan),
            blocked: false,
            refusals: Refusals::default(),
            probe_floor: At::ZERO,
            drained: None,
            abandoned: false,
            was_busy: false,
            unfree: At::ZERO,
            wakes_due: 20,
            tally: Tally::default(),
        }
    }

    pub(crate) fn pushed(&mut self, event: usize, way: Way, now: At) -> Result<(), Broken> {
        let record = &self.plan.events[event].record;
        self.tally.events += 1;
        self.open_bytes += record.size() + ITEM_BYTES;
        if !self.abandoned {
            self.copies.means_one_event(event, way, now)?;
        }
        // An attempt of an earlier copy may have stored it.
        self.events[event].maybe = way == Way::Own && self.copies.is_unconfirmed(event, now);
        self.copies.taken_in(event, way, now, &mut self.tally)?;
        if way != Way::Own {
            return Ok(());
        }
        let key = &mut self.keys[self.plan.events[event].key];
        key.changed = now;
        let alone = key.open.is_empty();
        key.open.insert(event);
        self.open.insert(event);
        (self.events[event].landed, self.events[event].ready) = (now, now);
        self.events[event].prompt = alone && !self.rests.holds_back(record);
        self.wakes_due += 3;
        Ok(())
    }

    /// The lane sends these.
    pub(crate) fn sent(&mut self, entries: Entries<'_>, now: At) -> Result<(), Broken> {
        let settings = &self.plan.settings;
        let bytes: usize = entries.iter().map(record_bytes).sum();
        let count = entries.len();
        check!(
            "flights",
            self.flights < settings.max_in_flight,
            "{} are out already",
            self.flights
        );
        check!(
            "request limits",
            (1..=settings.max_records.min(500)).contains(&count),
            "{count} records"
        );
        check!(
            "request limits",
            bytes <= settings.max_bytes || count == 1,
            "{bytes} bytes in {count} records"
        );
        if self.blocked {
            let floor = self.probe_floor;
            check!(
                "one probe at a time",
                self.flights == 0 && count == 1,
                "{count} records, {} out",
                self.flights
            );
            check!("probes are seconds apart", now >= floor, "before {floor:?}");
            self.tally.probes += 1;
        }
        let mut previous = None;
        for events in entries.iter() {
            self.shares_a_record(events)?;
        }
        for (record, is_joined) in
            entries.iter().flat_map(|events| events.iter().zip((0..).map(|index| index > 0)))
        {
            let event = event_of(record);
            self.goes_on(event, now)?;
            let (seen, number) = (&self.events[event], self.plan.events[event].key);
            let due = self.due(event);
            check!(
                "sent within linger",
                !seen.prompt || now <= due,
                "event {event} should be out since {due:?}"
            );
            let is_late = |event: usize| now >= self.plan.overdue(event);
            check!("nothing late is sent", !is_late(event), "event {event} is overdue");
            let key = &self.keys[number];
            check!(
                "an answered event is not sent",
                !seen.answered && !seen.in_air,
                "event {event}"
            );
            // What is late is answered in the same moment, before or after.
            let oldest =
                key.open.iter().find(|event| !self.events[**event].in_air && !is_late(**event));
            check!(
                "oldest of the key first",
                oldest == Some(&event),
                "event {event}, but {oldest:?} waits"
            );
            if previous != Some(number) {
                check!("one flight per key", key.in_air == 0, "event {event}, key {number}");
                check!("a key cools", now >= key.floor, "event {event} before {:?}", key.floor);
                let shard = self
                    .rests
                    .shard(record)
                    .filter(|_| self.plan.key_has_one_shard && !seen.in_part);
                if let Some(shard) = shard.map(str::to_owned) {
                    self.tally.paced += usize::from(self.rests.sent(&shard, now)?);
                }
            } else {
                let strict = settings.ordering == KeyOrder::Strict;
                check!(
                    "strict: one record per key",
                    !strict || is_joined,
                    "event {event}, key {number}"
                );
            }
            previous = Some(number);
            let seen = &mut self.events[event];
            self.tally.prompt += usize::from(seen.prompt);
            self.tally.prompt_beside += usize::from(seen.prompt && self.rests.holds_back_any());
            (seen.in_air, seen.in_part, seen.prompt) = (true, false, false);
            seen.attempts += 1;
            self.keys[number].in_air += 1;
        }
        self.flights += 1;
        self.tally.flights += 1;
        Ok(())
    }

    /// Whether these events may be one record of the stream.
    fn shares_a_record(&mut self, events: &[&Record]) -> Result<(), Broken> {
        let [first, others @ ..] = events else { return Ok(()) };
        if others.is_empty() {
            return Ok(());
        }
        self.tally.aggregates += 1;
        let (settings, bytes) = (&self.plan.settings, record_bytes(events));
        let shard = self.rests.shard(first).map(str::to_owned);
        for event in others {
            let hashed = event.explicit_hash().is_some() == first.explicit_hash().is_some();
            let own =
                event.key_hash == first.key_hash && event.explicit_hash() == first.explicit_hash();
            let together = match settings.aggregation {
                Aggregation::Off => false,
                Aggregation::Key => own,
                Aggregation::Shard => {
                    own || (shard.is_some() && self.rests.shard(event) == shard.as_deref())
                }
            };
            check!("aggregates", together && hashed, "{first:?} and {event:?}");
        }
        let most = if settings.aggregation == Aggregation::Shard {
            settings.aggregate_max_bytes
        } else {
            settings.max_bytes
        };
        check!("aggregates", bytes <= most, "{bytes} bytes in {} events", events.len());
        Ok(())
    }

    /// Whether the lane has to send these events again though the stream took them: for all it
    /// knows, one of them is in another shard than where it belongs.
    fn is_misplaced(&self, events: &[&Record], shard_id: &str) -> bool {
        let is_elsewhere =
            |event: &&Record| self.rests.shard(event).is_some_and(|known| known != shard_id);
        let at = |event: &Record| event.ring_position;
        events.iter().any(|event| at(event) != at(events[0])) && events.iter().any(is_elsewhere)
    }

    /// The stream has taken these events of a request, at last.
    pub(crate) fn stored(&mut self, records: &[&Record], stored: &[usize]) -> Result<(), Broken> {
        self.tally.records += stored.len();
        for record in records.iter().filter(|_| stored.len() < records.len()) {
            let key = self.plan.events[event_of(record)].key;
            let is_this = |other: &&&Record| other.key_hash == record.key_hash;
            self.keys[key].loose |= records.iter().filter(is_this).nth(1).is_some();
        }
        for &event in stored {
            self.copies.stored(event)?;
            let (seen, key) =
                (&mut self.events[event], &mut self.keys[self.plan.events[event].key]);
            if !std::mem::replace(&mut seen.stored, true) {
                let free = self.plan.settings.ordering == KeyOrder::Relaxed && key.loose;
                let in_order = key.stored_last.is_none_or(|last| last < event);
                check!(
                    "order",
                    free || in_order,
                    "event {event} is stored after {:?}",
                    key.stored_last
                );
                key.stored_last = key.stored_last.max(Some(event));
            }
        }
        Ok(())
    }

    /// A flight is home; the lane has not heard of it yet.
    pub(crate) fn landed(&mut self, entries: Entries<'_>, reply: &Reply, probe: bool, now: At) {
        self.flights -= 1;
        let records: usize = entries.iter().map(<[_]>::len).sum();
        let sole = entries.iter().next().filter(|_| records == 1).map(|events| event_of(events[0]));
        let blame = self.refusals.heard(sole, reply, self.plan);
        if let Some(event) = sole {
            self.events[event].blamed = blame == Blame::Record;
        }
        self.wakes_due += 2 + 3 * records;
        let Backoff { min, max } = self.plan.settings.backoff;
        let mut tired = BTreeSet::new();
        let mut stored = 0;
        let is_aggregated = entries.len() < records;
        let members = entries
            .iter()
            .enumerate()
            .flat_map(|(index, events)| events.iter().map(move |event| (index, events, event)));
        for (index, events, record) in members {
            let (event, is_shared) = (event_of(record), events.len() > 1);
            let known = self.rests.shard(events[0]).map(str::to_owned); // which places them all
            let is_misplaced = match reply.as_ref().map(|verdicts| &verdicts[index]) {
                Ok(Verdict::Stored { shard_id, .. }) => self.is_misplaced(events, shard_id),
                _ => false,
            };
            let (seen, key) =
                (&mut self.events[event], &mut self.keys[self.plan.events[event].key]);
            key.in_air -= 1;
            key.changed = now;
            (seen.in_air, seen.landed) = (false, now);
            let class = match reply {
                Ok(verdicts) => match &verdicts[index] {
                    Verdict::Stored { .. } => None,
                    Verdict::Failed { class, .. } => Some(*class),
                    Verdict::Unclear => Some(Class::Transient),
                },
                Err(error) => Some(error.class),
            };
            let is_unclear = reply
                .as_ref()
                .map_or_else(|error| error.maybe_stored, |said| said[index] == Verdict::Unclear);
            seen.maybe |= is_misplaced || is_unclear;
            self.tally.unclear += usize::from(reply.is_ok() && is_unclear);
            self.tally.misplaced += usize::from(is_misplaced);
            if class.is_none() && !is_misplaced {
                stored += 1;
                self.copies.durable(event);
            }
            self.tally.throttled += usize::from(class == Some(Class::Throttled));
            match (class, known) {
                (Some(Class::Throttled), Some(shard)) => _ = tired.insert(shard),
                (Some(Class::Throttled | Class::Transient), _) => {
                    (key.floor, key.floor_maybe) = (now + min, now + max)
                }
                // In other company it goes again, and speaks for itself then.
                (Some(Class::Poison), _) if is_shared || is_aggregated => {}
                (Some(Class::Poison), _) if blame == Blame::Stream => {}
                (Some(Class::Poison), _) if reply.is_err() => {
                    seen.in_part = true;
                    if reply.as_ref().is_err_and(|error| error.message == REFUSES_ALL) {
                        seen.rounds = 0; // it was not refused for any of them
                        continue;
                    }
                    seen.rounds += 1;
                    if seen.rounds == 1 {
                        seen.rounds_records = records;
                    }
                    continue;
                }
                _ => {}
            }
            seen.rounds = 0;
        }
        self.tally.partial += usize::from(reply.is_ok() && stored < records);
        tired.into_iter().for_each(|shard: String| self.rest(&shard, now));
        self.hear(reply, blame, probe, now);
    }

    /// Whether the stream is blocked, by this reply.
    fn hear(&mut self, reply: &Reply, blame: Blame, probe: bool, now: At) {
        let before = self.blocked;
        match reply.as_ref().err().map(|error| error.class) {
            Some(Class::Blocked(_) | Class::Poison) if !matches!(blame, Blame::Record) => {
                self.tally.doubted += usize::from(!before && blame == Blame::Stream);
                self.blocked = true;
                // Parts went back into their queues: the next requests are new ones.
                for seen in &mut self.events {
                    if std::mem::take(&mut seen.in_part) {
                        seen.landed = now;
                    }
                    seen.rounds = 0;
                }
            }
            Some(Class::Transient) => {} // it says nothing
            _ => self.blocked = false,
        }
        if self.blocked && (probe || !before) {
            self.probe_floor = now + Duration::from_secs(1);
        }
    }

    /// An answer came out of the outbox.
    pub(crate) fn answered(
        &mut self,
        event: usize,
        body: &EventAnswer,
        stream: &Stream,
        now: At,
    ) -> Result<(), Broken> {
        let plan = self.plan;
        let (seen, known) = (&mut self.events[event], &plan.events[event]);
        check!(
            "answered once",
            !std::mem::replace(&mut seen.answered, true),
            "event {event} is answered again"
        );
        self.copies.answered(event, body, seen.maybe, stream, now)?;
        self.tally.answered(body);
        self.open_bytes -= known.record.size() + ITEM_BYTES;
        if !self.copies.is_own(event) {
            let dropped =
                matches!(body, EventAnswer::Refused(refusal) if refusal.code == Code::ShuttingDown);
            check!(
                "nothing is forgotten",
                self.abandoned || !dropped,
                "copy {event} was dropped: {body:?}"
            );
            return Ok(()); // the rest is said of the one that it is a copy of
        }
        match body {
            EventAnswer::Durable(_) => {}
            EventAnswer::Refused(refusal) => match (refusal.code, refusal.maybe_stored) {
                (Code::Rejected, told) => {
                    let may_be = known.poison || seen.blamed;
                    check!("rejected is poison", may_be, "event {event}: {}", refusal.message);
                    self.tally.blamed += usize::from(!known.poison);
                    check!(
                        "rejected is poison",
                        told.is_none(),
                        "event {event} is rejected, perhaps"
                    );
                    let rounds_max = seen.rounds_records.next_power_of_two().ilog2() + 1;
                    let in_parts = plan.faults.poison_is != PoisonIs::Record;
                    if in_parts && known.poison && plan.settings.ordering == KeyOrder::Strict {
                        let named = plan.faults.poison_is == PoisonIs::Named;
                        // By name, each poison record of a request costs a round, and its own
                        // refusal one.
                        let poison_count = plan.events.iter().filter(|event| event.poison).count();
                        let most = if named {
                            u32::try_from(poison_count).unwrap_or(u32::MAX) + 1
                        } else {
                            rounds_max
                        };
                        let (rounds, of) = (seen.rounds, seen.rounds_records);
                        check!(
                            "poison is found in log2(n)+1",
                            rounds <= most,
                            "event {event}: {rounds} for {of}"
                        );
                        self.tally.found += 1;
                    }
                }
                (Code::DeliveryTimeout, Some(told)) => {
                    let early = now < plan.overdue(event);
                    let is_given_up = known.deadline == Some(plan.overdue(event));
                    self.tally.given_up += usize::from(is_given_up);
                    check!(
                        "no timeout is early",
                        !early,
                        "event {event}, accepted at {:?}",
                        known.accepted
                    );
                    maybe_stored_told(event, seen, told, refusal)?;
                }
                (Code::ShuttingDown, Some(told)) => {
                    check!(
                        "nothing is forgotten",
                        self.abandoned,
                        "event {event} was dropped: {}",
                        refusal.message
                    );
                    // A flight that is cut off may store it still, so its ticket's word is the
                    // careful one.
                    check!(
                        "maybe stored is told",
                        told || !seen.stored,
                        "event {event}: {refusal:?}"
                    );
                }
                _ => check!("refused for a reason", false, "event {event}: {refusal:?}"),
            },
        }
        self.open.remove(&event);
        let key = &mut self.keys[known.key];
        key.open.remove(&event);
        key.changed = now;
        if key.open.is_empty() {
            // The key is forgotten, and what it did.
            (key.floor, key.floor_maybe) = (At::ZERO, At::ZERO);
        }
        self.frees(event, now);
        Ok(())
    }

    /// The next event of this one's key may go, unless something holds it.
    fn frees(&mut self, event: usize, now: At) {
        let key = &self.keys[self.plan.events[event].key];
        let Some(&next) = key.open.first().filter(|_| key.in_air == 0 && key.floor <= now) else {
            return;
        };
        let in_part = key.open.iter().any(|event| self.events[*event].in_part);
        let held = self.rests.holds_back(&self.plan.events[next].record);
        if self.events[event].attempts > 0 && self.events[event].landed == now && !in_part && !held
        {
            (self.events[next].prompt, self.events[next].ready) = (true, now);
        }
    }

    /// Whether the requests that are out may leave too little room for one of the records that
    /// wait.
    fn bytes_may_be_short(&self) -> bool {
        let size = |event: &usize| self.plan.events[*event].record.size();
        let (out, waits): (Vec<&usize>, Vec<&usize>) =
            self.open.iter().partition(|event| self.events[**event].in_air);
        // What a packed record takes is reckoned generously before it is made: as if each began
        // one.
        let is_plain = self.plan.settings.aggregation == Aggregation::Off;
        let reckoned = |event: &usize| match &self.plan.events[*event].record {
            record if is_plain => record.size(),
            record => {
                packed::FRAME_BYTES + record.key.as_str().len() + packed::member_bytes_max(record)
            }
        };
        let flying: usize = out.into_iter().map(reckoned).sum();
        let largest = waits.into_iter().map(size).max().unwrap_or(0);
        flying > 0
            && flying + largest > self.plan.settings.max_in_flight * self.plan.settings.max_bytes
    }

    /// When this event goes at the latest if nothing holds it.
    fn due(&self, event: usize) -> At {
        let lingers_until = self
            .drained
            .unwrap_or(At::MAX)
            .min(self.plan.events[event].accepted + self.plan.settings.linger);
        lingers_until.max(self.events[event].ready) + self.plan.disorder
    }

    /// Between two waits of the lane: the gauges, and whether anything waits that should not.
    pub(crate) fn look(&mut self, shown: &Shown, now: At) -> Result<(), Broken> {
        self.gauges(shown)?;
        self.copies.look()?;
        let (blocked, told) = (shown.is_blocked, self.blocked);
        check!(
            "a blocked stream is known",
            blocked == told,
            "the lane says {blocked}, the stream {told}"
        );
        let probes = !blocked || self.flights > 0 || self.open.is_empty();
        check!("a drain probes at once", probes || self.drained != Some(now), "it waits");
        let busy = blocked
            || self.flights >= self.plan.settings.max_in_flight
            || self.bytes_may_be_short();
        if std::mem::replace(&mut self.was_busy, busy) || busy {
            self.unfree = now;
        }
        let slack = 2 * self.tick() + self.plan.disorder;
        for &event in &self.open {
            let (seen, known) = (&self.events[event], &self.plan.events[event]);
            if seen.in_air {
                continue;
            }
            if !seen.in_part {
                let given_up = known.deadline.is_some_and(|deadline| now >= deadline);
                check!("no deadline is late", !given_up, "event {event}: {:?}", known.deadline);
            }
            if !seen.in_part && now > seen.landed + slack {
                let late = known.accepted + self.plan.settings.timeout + slack;
                check!(
                    "no timeout is late",
                    now <= late,
                    "event {event} should be answered since {late:?}"
                );
            }
            if seen.prompt && !busy {
                let due = self.due(event);
                check!(
                    "sent within linger",
                    now < due,
                    "event {event} should be out since {due:?}"
                );
            }
            self.events[event].prompt &= !busy;
            self.goes_on(event, now)?;
        }
        Ok(())
    }

    /// The oldest event of a key waits for its key, its shard and its company as long as they may
    /// ask for, and no longer.
    fn goes_on(&self, event: usize, now: At) -> Result<(), Broken> {
        let (known, key) = (&self.plan.events[event], &self.keys[self.plan.events[event].key]);
        let is_head = key.in_air == 0 && key.open.first() == Some(&event);
        if !is_head
            || self.was_busy
            || !self.plan.key_has_one_shard
            || key.open.iter().any(|event| self.events[*event].in_part)
        {
            return Ok(());
        }
        let lingers_until = known.accepted + self.plan.settings.linger + self.plan.disorder;
        let free = lingers_until.max(key.changed).max(key.floor_maybe).max(self.unfree);
        let by = self.rests.goes_on_by(&known.record, free);
        check!("what may go goes on", now <= by, "event {event} should be out since {by:?}");
        Ok(())
    }

    fn gauges(&self, shown: &Shown) -> Result<(), Broken> {
        check!("gauges", shown.flights == self.flights, "{shown:?}, but {} are out", self.flights);
        check!(
            "is_empty",
            shown.is_empty == self.open.is_empty(),
            "{} events are open",
            self.open.len()
        );
        let (mut held, mut idle) = (0, 0);
        for key in self.keys.iter().filter(|key| !key.open.is_empty()) {
            held += usize::from(key.in_air > 0 && key.open.len() > key.in_air);
            idle += usize::from(key.in_air == 0);
        }
        // A key whose part waits to be sent is in flight too, but that is not seen from here.
        let in_part =
            shown.keys_held != held && self.open.iter().any(|event| self.events[*event].in_part);
        check!("gauges", shown.keys_held == held || in_part, "{shown:?}, but {held} keys are held");
        check!(
            "gauges",
            shown.keys_cooling <= idle,
            "{shown:?}, but {idle} keys are not in flight"
        );

        let first = self.open.first().map(|event| self.plan.events[*event].accepted);
        let close = match (shown.oldest, first) {
            // The first one pushed may not be the first one accepted, and it is shown by the
            // millisecond.
            (Some(oldest), Some(first)) => {
                let slack = self.plan.disorder + ms(1);
                oldest + self.tick() + slack > first && oldest <= first + slack
            }
            (oldest, first) => oldest == first,
        };
        check!("oldest", close, "{:?}, but it is {first:?}", shown.oldest);
        Ok(())
    }

    /// The lane's timer went off.
    pub(crate) fn woken(&mut self, now: At) -> Result<(), Broken> {
        // While something overdue is in flight the lane looks once a tick.
        let first = self.open.first().map_or(At::MAX, |event| self.plan.events[*event].accepted);
        let overdue = first.saturating_add(self.plan.settings.timeout)
            <= now + self.tick() + self.plan.disorder;
        self.tally.timer_wakes += usize::from(!overdue);
        let (wakes, due) = (self.tally.timer_wakes, self.wakes_due);
        check!("no busy loop", wakes <= due, "{wakes} wakes of the timer, {due} would do");
        Ok(())
    }

    /// How exactly the lane knows ages: its promise is a 64th of the timeout, and never worse than
    /// a second.
    fn tick(&self) -> At {
        (self.plan.settings.timeout / 64).clamp(ms(1), ms(1000))
    }

    pub(crate) fn map_set(&mut self, map: Arc<ShardMap>, now: At) {
        self.rests.map_set(map);
        self.unfree = now;
    }

    pub(crate) fn drained(&mut self, now: At) {
        self.drained = Some(now);
        self.unfree = now;
        self.rests.drained();
        for key in &mut self.keys {
            (key.floor, key.floor_maybe) = (At::ZERO, At::ZERO);
            // Whatever made the key wait, it goes now.
            let in_part = key.open.iter().any(|event| self.events[*event].in_part);
            if let Some(&oldest) = key.open.first().filter(|_| key.in_air == 0 && !in_part) {
                (self.events[oldest].prompt, self.events[oldest].ready) = (true, now);
            }
        }
        self.probe_floor = At::ZERO;
    }

    pub(crate) fn all_answered(&self) -> bool {
        self.open.is_empty() && self.copies.all_answered()
    }

    pub(crate) fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    fn rest(&mut self, shard: &str, now: At) {
        for &event in &self.open {
            if self.rests.shard(&self.plan.events[event].record) == Some(shard) {
                self.events[event].prompt = false;
            }
        }
        self.rests.throttled(shard, now);
    }
}

/// Data and partition key of a record that holds these events.
fn record_bytes(events: &[&Record]) -> usize {
    match events {
        [event] => event.size(),
        _ => packed::encode(events).len() + events[0].key.as_str().len(),
    }
}

/// After a timeout the caller learns whether sending again may make a second copy, and is not
/// worried for nothing.
fn maybe_stored_told(
    event: usize,
    seen: &Seen,
    told: bool,
    refusal: &Refusal,
) -> Result<(), Broken> {
    check!("maybe stored is told", told == seen.maybe, "event {event}: {refusal:?}");
    check!("maybe stored is told", told || !seen.stored, "event {event} is stored: {refusal:?}");
    Ok(())
}
