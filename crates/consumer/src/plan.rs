//! Decides which shards to read now: parents before children, each shard once. Lists of shards go
//! in, shards to start come out.
//!
//! It never starts a shard while a parent of it is being read or waits to be. A parent that the
//! plan does not know is past the stream's retention, and nobody can wait for it.
//!
//! Where a stream was read before, it goes on shard by shard. A shard that was read has told of its
//! family: its ancestors were read to their end before it began, and its descendants are read
//! whole, wherever else reading begins.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use dispatchd_core::model::read::{ListedShard, StartingPosition};

/// How many lists in a row must lack a shard that was read before the plan forgets it. One would do
/// if lists were consistent. A shard that is forgotten and then listed again would be read twice.
const FORGET_AFTER_LISTS: u32 = 100;

/// Where reading a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// What is stored from now on.
    Latest,
    /// Everything that the stream still holds, and what is stored from now on.
    TrimHorizon,
    /// What arrived then or later, by the service's clock.
    At(SystemTime),
    /// What follows the record with this sequence number. It is one shard's: a stream of several is
    /// not read so.
    After(String),
}

/// How far a shard was read before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// It goes on here.
    From(StartingPosition),
    /// It was read to its end.
    Ended,
}

/// A shard to read, and where its reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStart {
    pub shard: String,
    pub position: StartingPosition,
}

/// What is known of a stream's shards, and which of them are read. It holds no more shards than the
/// stream lists, for a while.
#[derive(Debug)]
pub struct ShardPlan {
    from: StartFrom,
    /// What was read before, by shard, until the first list.
    resume: HashMap<String, Resume>,
    is_first_list: bool,
    /// By id. Shards are numbered as they are made, so they start in that order.
    shards: BTreeMap<String, Shard>,
}

#[derive(Debug)]
struct Shard {
    parents: Vec<String>,
    position: StartingPosition,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits until its parents are read.
    Waiting,
    Reading,
    /// Read to its end, or nothing in it is wanted.
    Done {
        missing_from_lists: u32,
    },
}

const DONE: State = State::Done { missing_from_lists: 0 };

impl ShardPlan {
    pub fn new(from: StartFrom) -> Self {
        Self::resumed(from, HashMap::new())
    }

    /// A plan that goes on where these shards were left. `from` is for what has no kin among them.
    pub fn resumed(from: StartFrom, resume: HashMap<String, Resume>) -> Self {
        Self { from, resume, is_first_list: true, shards: BTreeMap::new() }
    }

    /// Takes in a list of all shards, open and closed. Returns the shards to start reading now. A
    /// shard is returned once in the plan's life.
    pub fn listed(&mut self, list: &[ListedShard]) -> Vec<ShardStart> {
        if std::mem::take(&mut self.is_first_list) {
            self.first_list(list);
        }
        for info in list {
            let whole = || Shard::whole(info);
            self.shards.entry(info.id.clone()).or_insert_with(whole);
        }
        self.forget(list);
        self.start()
    }

    /// Takes note that a shard was read to its end, or is gone. Returns its children that waited
    /// for no other parent.
    ///
    /// # Panics
    /// If the plan never started the shard, or it ended before.
    pub fn ended(&mut self, id: &str) -> Vec<ShardStart> {
        let shard = self
            .shards
            .get_mut(id)
            .expect("a shard that ends was started, and is kept while it is read");
        assert_eq!(shard.state, State::Reading, "{id} ends once");
        shard.state = DONE;
        self.start()
    }

    fn first_list(&mut self, list: &[ListedShard]) {
        let resume = std::mem::take(&mut self.resume);
        let kin = Kin::of(&resume, list);
        for info in list {
            let id = info.id.as_str();
            let shard = match resume.get(id) {
                Some(Resume::Ended) => Shard::done(),
                Some(Resume::From(position)) => Shard::from_here(position.clone()),
                None if kin.ancestors.contains(id) => Shard::done(),
                None if kin.descendants.contains(id) => Shard::whole(info),
                None => match &self.from {
                    StartFrom::TrimHorizon => Shard::whole(info),
                    StartFrom::Latest if info.open => Shard::from_here(StartingPosition::Latest),
                    StartFrom::Latest => Shard::done(),
                    StartFrom::At(time) => {
                        Shard { position: StartingPosition::At(*time), ..Shard::whole(info) }
                    }
                    StartFrom::After(number) => {
                        Shard::from_here(StartingPosition::After(number.clone()))
                    }
                },
            };
            self.shards.insert(info.id.clone(), shard);
        }
    }

    fn start(&mut self) -> Vec<ShardStart> {
        let due: Vec<String> = self
            .shards
            .iter()
            .filter(|(_, shard)| self.is_due(shard))
            .map(|(id, _)| id.clone())
            .collect();
        due.into_iter()
            .map(|id| {
                let shard = self.shards.get_mut(&id).expect("it was just found");
                shard.state = State::Reading;
                ShardStart { position: shard.position.clone(), shard: id }
            })
            .collect()
    }

    fn is_due(&self, shard: &Shard) -> bool {
        shard.state == State::Waiting && shard.parents.iter().all(|parent| self.is_past(parent))
    }

    fn is_past(&self, parent: &str) -> bool {
        self.shards.get(parent).is_none_or(|parent| matches!(parent.state, State::Done { .. }))
    }

    /// Drops the shards that were read and that the stream has forgotten.
    fn forget(&mut self, list: &[ListedShard]) {
        let listed: HashSet<&str> = list.iter().map(|info| info.id.as_str()).collect();
        self.shards.retain(|id, shard| match &mut shard.state {
            State::Waiting | State::Reading => true,
            State::Done { missing_from_lists } => {
                *missing_from_lists =
                    if listed.contains(id.as_str()) { 0 } else { *missing_from_lists + 1 };
                *missing_from_lists < FORGET_AFTER_LISTS
            }
        });
    }
}

impl Shard {
    /// A shard that is read from its first record, after its parents.
    fn whole(info: &ListedShard) -> Self {
        Self {
            parents: info.parents.clone(),
            position: StartingPosition::TrimHorizon,
            state: State::Waiting,
        }
    }

    /// A shard that is read from here, and waits for no parent.
    fn from_here(position: StartingPosition) -> Self {
        Self { parents: Vec::new(), position, state: State::Waiting }
    }

    /// A shard of which nothing is wanted any more.
    fn done() -> Self {
        Self { state: DONE, ..Self::from_here(StartingPosition::TrimHorizon) }
    }
}

/// The family of shards that were read before, as far as it is listed.
struct Kin<'a> {
    ancestors: HashSet<&'a str>,
    descendants: HashSet<&'a str>,
}

impl<'a> Kin<'a> {
    fn of(resume: &HashMap<String, Resume>, list: &'a [ListedShard]) -> Self {
        let was_read = |id: &str| resume.contains_key(id);
        let (mut ancestors, mut descendants) = (HashSet::new(), HashSet::new());
        // A child has a higher number than its parents, and a later place in the order of ids.
        let mut by_age: Vec<&ListedShard> = list.iter().collect();
        by_age.sort_by(|a, b| a.id.cmp(&b.id));
        for child in &by_age {
            let is_kin = |parent: &String| was_read(parent) || descendants.contains(&**parent);
            if child.parents.iter().any(is_kin) {
                descendants.insert(&*child.id);
            }
        }
        for child in by_age.iter().rev() {
            if was_read(&child.id) || ancestors.contains(&*child.id) {
                ancestors.extend(child.parents.iter().map(String::as_str));
            }
        }
        Self { ancestors, descendants }
    }
}

#[cfg(test)]
mod tests;
