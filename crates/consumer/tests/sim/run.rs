//! A process that forwards, in virtual time: what the tasks around the engine do, and what happens
//! to them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dispatchd_consumer::cursor::Cursor;
use dispatchd_consumer::delivery::{
    Batch, BatchId, Checkpoint, DeadLetters, Delivered, End, Place, Read, Response, ShardDelivery,
    Step,
};
use dispatchd_consumer::plan::{ShardPlan, ShardStart, StartFrom};
use dispatchd_core::model::read::{ShardIterator, StartingPosition};
use dispatchd_simulation::Broken;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::clock::{Clock, time_at};
use crate::mutant::Mutant;
use crate::scenario::{At, CALM_AT, Scenario};
use crate::stream::{Stream, unpack};
use crate::tally::Tally;
use crate::target::Target;
use crate::watch::{Checked, Watch, broken, ensure};

/// Between two looks at a shard that has nothing new, and once all is calm.
const POLL: At = 500;
const POLL_CALM: At = 5000;
/// Between two lists of shards.
const LIST: At = 10_000;
/// Until when everything must be done: long waits add up where events are given up one by one.
const DEADLINE: At = CALM_AT + 6 * 3_600_000;
/// How long a process that was told to stop may take.
const STOP_MAX: At = 30_000;
/// Steps of a shard at one moment, at most.
const STEPS_MAX: usize = 1000;

#[derive(Debug)]
enum Happening {
    Put(usize),
    Reshard,
    Crash,
    Stop,
    Calm,
    Start,
    /// What follows is of one life of the process.
    Life(u64, Own),
}

#[derive(Debug)]
enum Own {
    List,
    Read(String),
    Wake(String),
    Response {
        shard: String,
        id: BatchId,
        events: Vec<usize>,
        response: Response,
    },
    /// Of the events those that are not kept, by where they stand.
    LettersKept {
        shard: String,
        id: BatchId,
        events: Vec<usize>,
        unkept: Vec<usize>,
    },
    Persisted {
        shard: String,
        kept: bool,
    },
    StopIsLate,
}

struct Run<'a> {
    scenario: &'a Scenario,
    mutant: Option<Mutant>,
    rng: SmallRng,
    clock: Clock,
    now: At,
    /// What will happen, by its time; the second number keeps the order of those of one moment.
    agenda: BTreeMap<(At, u64), Happening>,
    serial: u64,
    stream: Stream,
    target: Target,
    watch: Watch<'a>,
    life: u64,
    process: Option<Process>,
    /// Everything that is held for a page has one of these.
    page: Rc<()>,
    pages_kept: Vec<Rc<()>>,
}

struct Process {
    plan: ShardPlan,
    shards: BTreeMap<String, Shard>,
    /// Those that a mutant began, and all that ended.
    unplanned: BTreeSet<String>,
    begun: BTreeSet<String>,
    is_stopping: bool,
}

struct Shard {
    delivery: ShardDelivery<Rc<()>>,
    cursor: Cursor,
    /// Whether it begins with what is stored from then on.
    begins_at_tip: bool,
    is_placed: bool,
    is_read_to_end: bool,
    /// Whether a checkpoint was handed out.
    is_persisting: bool,
    wakes_at: Option<At>,
    done_places: Vec<Place>,
}

/// Runs a seed. An error names the promise that is broken.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Result<Tally, Broken> {
    let scenario = Scenario::new(seed);
    let mut run = Run::new(seed, &scenario, mutant);
    run.go()
        .map(|()| run.watch.tally)
        .map_err(|broken| broken.at(seed, format_args!("at {} ms", run.now)))
}

impl<'a> Run<'a> {
    fn new(seed: u64, scenario: &'a Scenario, mutant: Option<Mutant>) -> Self {
        let mut run = Self {
            scenario,
            mutant,
            rng: SmallRng::seed_from_u64(!seed),
            clock: Clock::new(),
            now: 0,
            agenda: BTreeMap::new(),
            serial: 0,
            stream: Stream::new(scenario.shards),
            target: Target::new(scenario.events.len()),
            watch: Watch::new(scenario),
            life: 0,
            process: None,
            page: Rc::new(()),
            pages_kept: Vec::new(),
        };
        let puts = scenario.records.iter().enumerate().map(|(i, it)| (it.at, Happening::Put(i)));
        let at = |times: &[At], make: fn() -> Happening| -> Vec<(At, Happening)> {
            times.iter().map(|&at| (at, make())).collect()
        };
        let planned = puts
            .chain(at(&scenario.reshards, || Happening::Reshard))
            .chain(at(&scenario.crashes, || Happening::Crash))
            .chain(at(&scenario.stops, || Happening::Stop))
            .chain([(0, Happening::Start), (CALM_AT, Happening::Calm)]);
        for (at, happening) in planned.collect::<Vec<_>>() {
            run.plan(at, happening);
        }
        run
    }

    fn plan(&mut self, at: At, happening: Happening) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), happening);
    }

    fn own(&mut self, at: At, own: Own) {
        let life = self.life;
        self.plan(at, Happening::Life(life, own));
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A die that shows nothing once all is calm.
    fn fails(&mut self, of_hundred: u32) -> bool {
        self.rng.random_ratio(of_hundred, 100) && self.now < CALM_AT
    }

    fn soon(&mut self) -> At {
        self.now + self.rng.random_range(1..50)
    }

    fn go(&mut self) -> Checked {
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            self.now = at;
            self.happen(happening)?;
            if self.now > DEADLINE {
                return self.watch.ends(&self.stream);
            }
            let is_quiet = self.now > CALM_AT && self.process.is_some();
            if is_quiet && self.watch.ends(&self.stream).is_ok() {
                self.process = None;
                let held = Rc::strong_count(&self.page);
                return ensure(held == 1, "pages are let go", || format!("{held}"));
            }
        }
        broken("everything is done in the end", "nothing happens any more".to_owned())
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Put(index) => {
                let record = &self.scenario.records[index];
                let hash = self.scenario.events[record.events[0]].key;
                let hash = hash.map_or_else(|| self.rng.random(), |key| key.wrapping_mul(37));
                let (shard, places) = self.stream.put(record, hash, self.now);
                self.watch.stored(&record.events, &shard, places, self.now);
                Ok(())
            }
            Happening::Reshard => {
                self.stream.reshard(self.rng.random_range(0..100));
                Ok(())
            }
            Happening::Crash => self.dies(),
            Happening::Stop => self.stops(),
            Happening::Calm => self.calms(),
            Happening::Start => self.starts(),
            Happening::Life(life, own) if life == self.life && self.process.is_some() => {
                self.happen_to_process(own)
            }
            Happening::Life(..) => Ok(()),
        }
    }

    fn happen_to_process(&mut self, own: Own) -> Checked {
        match own {
            Own::List => self.lists(),
            Own::Read(shard) => self.reads(&shard),
            Own::Wake(shard) => self.drives(&shard),
            Own::Response { shard, id, events, response } => {
                self.lands(&shard, id, &events, response)
            }
            Own::LettersKept { shard, id, events, mut unkept } => {
                self.watch.kept(&shard, &events, &unkept, self.now);
                match self.mutant {
                    Some(Mutant::LossUnseen) => unkept.clear(),
                    Some(Mutant::LossForAll) if !unkept.is_empty() => {
                        unkept = (0..events.len()).collect();
                    }
                    _ => {}
                }
                let instant = self.clock.instant(self.now);
                let it = self.process.as_mut().and_then(|process| process.shards.get_mut(&shard));
                let it = it.expect("a shard waits for what is under way");
                it.delivery.letters_kept(id, &unkept, instant, &mut self.rng);
                self.drives(&shard)
            }
            Own::Persisted { shard, kept } => {
                let kept = kept || self.is(Mutant::PersistFailureUnseen);
                let instant = self.clock.instant(self.now);
                let it = self.process.as_mut().and_then(|process| process.shards.get_mut(&shard));
                let it = it.expect("a shard waits for what is under way");
                it.delivery.persisted(kept, instant, &mut self.rng);
                self.drives(&shard)
            }
            Own::StopIsLate => {
                let is_right = self.scenario.persist_fails == 0;
                ensure(!is_right, "a stop ends", || "it was told long ago".to_owned())?;
                self.dies()
            }
        }
    }

    fn starts(&mut self) -> Checked {
        self.life += 1;
        self.watch.begins();
        let from = if self.scenario.is_latest { StartFrom::Latest } else { StartFrom::TrimHorizon };
        let resume = self.watch.store.iter().map(|(id, it)| (id.clone(), it.resume())).collect();
        self.process = Some(Process {
            plan: ShardPlan::resumed(from, resume),
            shards: BTreeMap::new(),
            unplanned: BTreeSet::new(),
            begun: BTreeSet::new(),
            is_stopping: false,
        });
        self.lists()
    }

    fn dies(&mut self) -> Checked {
        if self.process.take().is_some() {
            let after = self.now + self.rng.random_range(1..5000);
            self.plan(after, Happening::Start);
        }
        Ok(())
    }

    fn stops(&mut self) -> Checked {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.is_stopping = true;
        self.watch.tally.stops += 1;
        if self.mutant != Some(Mutant::StopUnheard) {
            process.shards.values_mut().for_each(|shard| shard.delivery.stop());
        }
        self.own(self.now + STOP_MAX, Own::StopIsLate);
        self.drives_all()?;
        self.ends_if_stopped()
    }

    fn ends_if_stopped(&mut self) -> Checked {
        let is_over = |it: &Process| it.is_stopping && it.shards.is_empty();
        if self.process.as_ref().is_some_and(is_over) { self.dies() } else { Ok(()) }
    }

    fn calms(&mut self) -> Checked {
        self.watch.retried_now();
        if let Some(process) = &mut self.process {
            process.shards.values_mut().for_each(|shard| shard.delivery.retry_now());
        }
        self.drives_all()
    }

    fn drives_all(&mut self) -> Checked {
        let shards = self.process.iter().flat_map(|it| it.shards.keys().cloned());
        for shard in shards.collect::<Vec<_>>() {
            self.drives(&shard)?;
        }
        Ok(())
    }

    fn lists(&mut self) -> Checked {
        let Some(process) = self.process.as_mut().filter(|it| !it.is_stopping) else {
            return Ok(());
        };
        let list = self.stream.list();
        let mut starts = process.plan.listed(&list);
        if self.mutant == Some(Mutant::ParentsUnasked) {
            for shard in list.into_iter().filter(|it| !self.watch.store.contains_key(&it.id)) {
                process.unplanned.insert(shard.id.clone());
                let position = StartingPosition::TrimHorizon;
                starts.push(ShardStart { shard: shard.id, position });
            }
        }
        starts.into_iter().for_each(|start| self.begins(start));
        self.own(self.now + LIST, Own::List);
        Ok(())
    }

    fn begins(&mut self, start: ShardStart) {
        let rules = self.scenario.rules;
        let rules = self.mutant.map_or(rules, |mutant| mutant.rules(rules));
        let Some(process) = &mut self.process else { return };
        if !process.begun.insert(start.shard.clone()) {
            return;
        }
        if !self.stream.shard(&start.shard).parents.is_empty() {
            self.watch.tally.children += 1;
        }
        let checkpoint = self.watch.store.get(&start.shard).cloned();
        let checkpoint = checkpoint.filter(|_| self.mutant != Some(Mutant::CheckpointUntold));
        let shard = Shard {
            delivery: ShardDelivery::new(rules, checkpoint),
            begins_at_tip: start.position == StartingPosition::Latest,
            cursor: Cursor::new(start.position),
            is_placed: false,
            is_read_to_end: false,
            is_persisting: false,
            wakes_at: None,
            done_places: Vec::new(),
        };
        process.shards.insert(start.shard.clone(), shard);
        let at = self.soon();
        self.own(at, Own::Read(start.shard));
    }

    fn shard(&mut self, id: &str) -> Option<&mut Shard> {
        self.process.as_mut()?.shards.get_mut(id)
    }

    /// One GetRecords, with GetShardIterator before it where that is needed.
    fn reads(&mut self, id: &str) -> Checked {
        let (is_throttled, is_expired) =
            (self.fails(self.scenario.throttled), self.fails(self.scenario.expired));
        let records_max = self.rng.random_range(1..8);
        let (now, life) = (self.now, self.life);
        let Some(shard) = self.process.as_mut().and_then(|it| it.shards.get_mut(id)) else {
            return Ok(());
        };
        if is_throttled || !shard.delivery.has_room() {
            self.watch.tally.throttled += usize::from(is_throttled);
            self.plan(now + POLL, Happening::Life(life, Own::Read(id.to_owned())));
            return Ok(());
        }
        let stored = self.stream.shard(id);
        if is_expired && shard.cursor.iterator().is_some() {
            shard.cursor.expired();
            self.watch.tally.expired += 1;
        }
        let is_start = !shard.is_placed && shard.begins_at_tip;
        if shard.cursor.iterator().is_none() {
            let position = shard.cursor.position();
            if position == StartingPosition::Latest {
                self.watch.placed_at_latest(id, now);
            }
            let token = stored.iterator(&position);
            let time = time_at(now);
            shard.cursor.placed(ShardIterator { token, issued: Some(time) }, time);
            shard.is_placed = true;
        }
        let began = shard.cursor.began().expect("it is placed");
        let iterator = shard.cursor.iterator().expect("it is placed").to_owned();
        let page = stored.page(&iterator, records_max);
        let is_read_to_end = page.next_iterator.is_none();
        let records = shard.cursor.take(page);
        let tells_start = match self.mutant {
            Some(Mutant::StartForgotten) => false,
            Some(Mutant::StartForAll) => true,
            _ => shard.begins_at_tip,
        };
        if tells_start {
            shard.delivery.began(began);
        }
        let mut reads = Vec::new();
        for (event, place) in records.iter().flat_map(unpack) {
            self.reads_event(id, event, place, &mut reads);
        }
        if self.is(Mutant::PageReversed) {
            reads.reverse();
        }
        let page = Rc::clone(&self.page);
        if self.is(Mutant::PagesKept) {
            self.pages_kept.push(Rc::clone(&page));
        }
        let instant = self.clock.instant(now);
        let ends_early = self.is(Mutant::EndsEarly);
        let shard = self.shard(id).expect("it is there still");
        shard.delivery.take_in(reads, page, instant);
        if is_read_to_end || ends_early {
            shard.delivery.read_to_end();
            shard.is_read_to_end = true;
            self.watch.read_to_end(id);
        } else {
            let pause = if now > CALM_AT { POLL_CALM } else { POLL };
            self.own(now + pause, Own::Read(id.to_owned()));
        }
        self.drives(id)?;
        let is_persisting = self.shard(id).map(|shard| shard.is_persisting);
        match is_persisting {
            Some(is_persisting) if is_start => self.watch.began(id, is_persisting),
            _ => Ok(()),
        }
    }

    fn reads_event(&mut self, shard: &str, event: usize, place: Place, reads: &mut Vec<Read>) {
        let planned = self.scenario.events[event];
        if planned.is_wanted || self.is(Mutant::FilterForgotten) {
            self.watch.taken(event, self.now);
        }
        let is_wanted = match self.mutant {
            Some(Mutant::FilterForgotten) => true,
            Some(Mutant::WantedSkipped) => !event.is_multiple_of(5) && planned.is_wanted,
            _ => planned.is_wanted,
        };
        if !planned.is_wanted {
            self.watch.skipped(event);
        }
        if !is_wanted {
            if !self.is(Mutant::SkippedUntold) {
                reads.push(Read::Skipped(place));
            }
            return;
        }
        let key = planned.key.filter(|_| !self.is(Mutant::KeysIgnored));
        let id = u32::try_from(event).expect("there are few").to_le_bytes();
        let data = id.into_iter().chain(vec![0; planned.bytes - id.len()]).collect();
        reads.push(Read::Wanted(Delivered {
            shard: shard.into(),
            place,
            partition_key: key.map(|key| key.to_string()),
            data,
            arrived: self.arrived(event),
            misfit: None,
        }));
    }

    fn arrived(&self, event: usize) -> Option<std::time::SystemTime> {
        let planned = self.scenario.records.iter().find(|it| it.events.contains(&event));
        planned.map(|record| time_at(record.at))
    }

    /// Asks a shard for its steps until it has to wait.
    fn drives(&mut self, id: &str) -> Checked {
        for _ in 0..STEPS_MAX {
            let now = self.clock.now(self.now);
            let ignores_waits = self.is(Mutant::WaitsIgnored);
            let Some(shard) = self.shard(id) else { return Ok(()) };
            if ignores_waits {
                shard.delivery.retry_now();
            }
            match shard.delivery.turn(now) {
                Step::Send(batch) => self.sends(id, batch)?,
                Step::KeepLetters(letters) => self.keeps_letters(id, letters)?,
                Step::Persist(checkpoint) => self.persists(id, checkpoint)?,
                Step::Wait(until) => return self.waits(id, until.map(|it| self.clock.at(it))),
                Step::End(end) => return self.ends(id, end),
            }
        }
        broken("no busy loop", format!("{id} has {STEPS_MAX} steps"))
    }

    fn waits(&mut self, id: &str, until: Option<At>) -> Checked {
        let now = self.now;
        let Some(mut until) = until else { return Ok(()) };
        ensure(until > now, "no busy loop", || format!("{id} waits for {until}"))?;
        let longest = now + 300_000;
        ensure(until <= longest, "no wait is too long", || format!("{id} waits for {until}"))?;
        if self.is(Mutant::TimerSleepsIn) {
            until += until - now;
        }
        let shard = self.shard(id).expect("it was just asked");
        if shard.wakes_at.is_none_or(|at| at <= now || at > until) {
            shard.wakes_at = Some(until);
            self.own(until, Own::Wake(id.to_owned()));
        }
        Ok(())
    }

    fn sends(&mut self, shard: &str, batch: Batch) -> Checked {
        let events = events_of(&batch.records);
        self.watch.sent(shard, &batch, &events, self.now, &self.stream)?;
        let (_, response) = self.target.take(self.scenario, &events, self.now, &mut self.rng);
        if self.is(Mutant::ResponseForgotten) && self.rng.random_ratio(1, 10) {
            return Ok(());
        }
        let at = self.now + self.rng.random_range(1..=self.scenario.latency_max);
        self.own(at, Own::Response { shard: shard.to_owned(), id: batch.id, events, response });
        Ok(())
    }

    fn lands(&mut self, id: &str, batch: BatchId, events: &[usize], response: Response) -> Checked {
        let told = response.clone();
        let told = self.mutant.map_or(told.clone(), |mutant| mutant.response(told));
        let instant = self.clock.instant(self.now);
        let shard = self.process.as_mut().and_then(|process| process.shards.get_mut(id));
        let shard = shard.expect("a shard waits for what is under way");
        let settled = shard.delivery.responded(batch, told, instant, &mut self.rng);
        self.watch.responded(id, events, &response, settled, self.now);
        self.drives(id)
    }

    fn keeps_letters(&mut self, shard: &str, letters: DeadLetters) -> Checked {
        let events = events_of(&letters.records);
        self.watch.gives_up(&letters, &events, self.now)?;
        let unkept =
            (0..events.len()).filter(|_| self.fails(self.scenario.keeping_fails)).collect();
        let (at, id) = (self.soon(), letters.id);
        self.own(at, Own::LettersKept { shard: shard.to_owned(), id, events, unkept });
        Ok(())
    }

    fn persists(&mut self, id: &str, checkpoint: Checkpoint) -> Checked {
        let kept = !self.fails(self.scenario.persist_fails);
        let shard = self.shard(id).expect("it was just asked");
        shard.is_persisting = true;
        let before = shard.done_places.pop();
        if let Checkpoint::After(place) = &checkpoint {
            shard.done_places.push(place.clone());
        }
        let stored = match (self.mutant, checkpoint) {
            (Some(Mutant::CheckpointAhead), Checkpoint::After(place)) => {
                let number: u64 = place.sequence_number.parse().expect("we made it");
                let sequence_number = (number + 1 + number / 8).to_string();
                Checkpoint::After(Place { sequence_number, ..place })
            }
            (Some(Mutant::MembersForgotten), Checkpoint::After(place)) => {
                Checkpoint::After(Place { sub_sequence_number: None, ..place })
            }
            (Some(Mutant::CheckpointBack), Checkpoint::After(_)) if before.is_some() => {
                let first = Place { sequence_number: "1".to_owned(), sub_sequence_number: None };
                Checkpoint::After(first)
            }
            (_, checkpoint) => checkpoint,
        };
        if kept {
            self.watch.persists(id, &stored, self.now, &self.stream)?;
        } else {
            self.watch.tally.not_persisted += 1;
        }
        let at = self.soon();
        self.own(at, Own::Persisted { shard: id.to_owned(), kept });
        Ok(())
    }

    fn ends(&mut self, id: &str, end: End) -> Checked {
        let process = self.process.as_mut().expect("one of its shards ends");
        process.shards.remove(id);
        if end == End::ShardRead && !process.is_stopping && !process.unplanned.contains(id) {
            let starts = process.plan.ended(id);
            starts.into_iter().for_each(|start| self.begins(start));
            self.lists()?;
        }
        self.ends_if_stopped()
    }
}

fn events_of(records: &[std::sync::Arc<Delivered>]) -> Vec<usize> {
    let event = |record: &std::sync::Arc<Delivered>| {
        let id = record.data[..4].try_into().expect("it begins with its number");
        u32::from_le_bytes(id) as usize
    };
    records.iter().map(event).collect()
}
