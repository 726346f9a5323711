//! Which shards to read now: parents before children, each shard once. Pure: lists of shards go in,
//! starts come out.
//!
//! Never starts a shard whose parents are still being read or wait to be. A parent that the plan
//! does not know is past the stream's retention: nobody can wait for it.

use std::collections::{BTreeMap, HashSet};

use crate::kinesis::read::Position;
use crate::kinesis::read::ShardInfo;

/// Lists in a row in which a shard that was read must be missing before it is forgotten. One would
/// do if lists were consistent; a shard that is forgotten and then listed again would be read
/// twice.
const FORGET_AFTER_LISTS: u32 = 100;

/// Where a stream is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// What is stored from now on.
    Latest,
    /// Everything that the stream still holds, and what is stored from now on.
    TrimHorizon,
}

/// A shard to read, and where its reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub shard: String,
    pub position: Position,
}

/// What is known of the stream's shards. Bounded by the shards that the stream lists.
#[derive(Debug)]
pub struct Plan {
    from: From,
    is_first_list: bool,
    /// By id: ids are numbered as shards are made, so starts come in that order.
    shards: BTreeMap<String, Shard>,
}

#[derive(Debug)]
struct Shard {
    parents: Vec<String>,
    position: Position,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For its parents.
    Waiting,
    Reading,
    /// Read to the end, or nothing in it is wanted.
    Done {
        missing_from_lists: u32,
    },
}

const DONE: State = State::Done { missing_from_lists: 0 };

impl Plan {
    pub fn new(from: From) -> Self {
        Self { from, is_first_list: true, shards: BTreeMap::new() }
    }

    /// Takes in a list of all shards, open and closed. Returns what is to be read now, each shard
    /// once in the plan's life.
    pub fn listed(&mut self, list: &[ShardInfo]) -> Vec<Start> {
        let only_new = self.is_first_list && self.from == From::Latest;
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

    /// A shard was read to its end, or is gone. Returns the children that waited for it alone.
    ///
    /// # Panics
    /// If the plan never started it.
    pub fn ended(&mut self, id: &str) -> Vec<Start> {
        let shard = self
            .shards
            .get_mut(id)
            .expect("a shard that ends was started, and is kept while it is read");
        assert_eq!(shard.state, State::Reading, "{id} ends once");
        shard.state = DONE;
        self.start()
    }

    fn start(&mut self) -> Vec<Start> {
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
                Start { position: shard.position.clone(), shard: id }
            })
            .collect()
    }

    fn is_due(&self, shard: &Shard) -> bool {
        shard.state == State::Waiting && shard.parents.iter().all(|parent| self.is_past(parent))
    }

    fn is_past(&self, parent: &str) -> bool {
        self.shards.get(parent).is_none_or(|parent| matches!(parent.state, State::Done { .. }))
    }

    /// Shards that were read leave the plan when the stream has forgotten them.
    fn forget(&mut self, list: &[ShardInfo]) {
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
    /// Read from its first record, after its parents.
    fn whole(info: &ShardInfo) -> Self {
        Self {
            parents: info.parents.clone(),
            position: Position::TrimHorizon,
            state: State::Waiting,
        }
    }

    /// Nothing that is there already is wanted: a closed shard is done, an open one waits for no
    /// parent.
    fn at_its_end(info: &ShardInfo) -> Self {
        let state = if info.open { State::Waiting } else { DONE };
        Self { parents: Vec::new(), position: Position::Latest, state }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
