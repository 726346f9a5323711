//! Decides which shards to read now: parents before children, each shard once. Lists of shards go
//! in, shards to start come out.
//!
//! It never starts a shard while a parent of it is being read or waits to be. A parent that the
//! plan does not know is past the stream's retention, and nobody can wait for it.

use std::collections::{BTreeMap, HashSet};

use dispatchd_core::model::read::{ListedShard, StartingPosition};

/// How many lists in a row must lack a shard that was read before the plan forgets it. One would do
/// if lists were consistent. A shard that is forgotten and then listed again would be read twice.
const FORGET_AFTER_LISTS: u32 = 100;

/// Where reading a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// What is stored from now on.
    Latest,
    /// Everything that the stream still holds, and what is stored from now on.
    TrimHorizon,
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
        Self { from, is_first_list: true, shards: BTreeMap::new() }
    }

    /// Takes in a list of all shards, open and closed. Returns the shards to start reading now. A
    /// shard is returned once in the plan's life.
    pub fn listed(&mut self, list: &[ListedShard]) -> Vec<ShardStart> {
        let only_new = self.is_first_list && self.from == StartFrom::Latest;
        self.is_first_list = false;
        for info in list {
            if !self.shards.contains_key(&info.id) {
                let shard = if only_new { Shard::at_its_end(info) } else { Shard::whole(info) };
                self.shards.insert(info.id.clone(), shard);
            }
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

    /// A shard of which only what comes from now on is wanted. A closed one is done, and an open
    /// one waits for no parent.
    fn at_its_end(info: &ListedShard) -> Self {
        let state = if info.open { State::Waiting } else { DONE };
        Self { parents: Vec::new(), position: StartingPosition::Latest, state }
    }
}

#[cfg(test)]
mod tests;
