//! What the plan promises, by example and over random shard trees.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn shard(id: &str, parents: &[&str], open: bool) -> ListedShard {
    ListedShard {
        id: id.to_owned(),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        open,
    }
}

fn start(id: &str, position: StartingPosition) -> ShardStart {
    ShardStart { shard: id.to_owned(), position }
}

#[test]
fn from_latest_open_shards_begin_at_their_end_and_closed_ones_are_left_out() {
    let mut plan = ShardPlan::new(StartFrom::Latest);
    let list = [shard("0", &[], false), shard("1", &["0"], true), shard("2", &["0"], true)];
    assert_eq!(
        plan.listed(&list),
        [start("1", StartingPosition::Latest), start("2", StartingPosition::Latest)]
    );
    assert_eq!(plan.listed(&list), []);
}

#[test]
fn from_latest_children_that_appear_later_are_read_whole_once_their_parents_ended() {
    let mut plan = ShardPlan::new(StartFrom::Latest);
    assert_eq!(plan.listed(&[shard("0", &[], true)]), [start("0", StartingPosition::Latest)]);
    let list = [shard("0", &[], false), shard("1", &["0"], true), shard("2", &["0"], true)];
    assert_eq!(plan.listed(&list), []);
    assert_eq!(
        plan.ended("0"),
        [start("1", StartingPosition::TrimHorizon), start("2", StartingPosition::TrimHorizon)]
    );
}

#[test]
fn a_child_that_is_found_after_its_parent_ended_starts_at_once() {
    let mut plan = ShardPlan::new(StartFrom::Latest);
    plan.listed(&[shard("0", &[], true)]);
    assert_eq!(plan.ended("0"), []);
    assert_eq!(
        plan.listed(&[shard("1", &["0"], true)]),
        [start("1", StartingPosition::TrimHorizon)]
    );
}

#[test]
fn a_merged_shard_waits_for_both_parents() {
    let mut plan = ShardPlan::new(StartFrom::TrimHorizon);
    let list = [shard("2", &["0", "1"], true), shard("1", &[], false), shard("0", &[], false)];
    assert_eq!(
        plan.listed(&list),
        [start("0", StartingPosition::TrimHorizon), start("1", StartingPosition::TrimHorizon)]
    );
    assert_eq!(plan.ended("1"), []);
    assert_eq!(plan.ended("0"), [start("2", StartingPosition::TrimHorizon)]);
}

#[test]
fn parents_past_retention_hold_nobody_back() {
    let mut plan = ShardPlan::new(StartFrom::TrimHorizon);
    assert_eq!(
        plan.listed(&[shard("7", &["3", "4"], true)]),
        [start("7", StartingPosition::TrimHorizon)]
    );
}

#[test]
fn a_shard_is_forgotten_only_when_many_lists_lack_it() {
    let mut plan = ShardPlan::new(StartFrom::TrimHorizon);
    let list = [shard("0", &[], false)];
    plan.listed(&list);
    plan.ended("0");
    for _ in 1..FORGET_AFTER_LISTS {
        plan.listed(&[]);
    }
    assert_eq!(plan.listed(&list), [], "it is listed again, and was read");
    for _ in 0..FORGET_AFTER_LISTS {
        plan.listed(&[]);
    }
    assert!(plan.shards.is_empty());
}

#[test]
fn a_shard_that_is_being_read_is_kept_though_no_list_has_it() {
    let mut plan = ShardPlan::new(StartFrom::TrimHorizon);
    plan.listed(&[shard("0", &[], true)]);
    for _ in 0..2 * FORGET_AFTER_LISTS {
        plan.listed(&[]);
    }
    assert_eq!(plan.ended("0"), []);
}

fn resume<const N: usize>(shards: [(&str, Resume); N]) -> HashMap<String, Resume> {
    shards.map(|(id, resume)| (id.to_owned(), resume)).into()
}

#[test]
fn a_shard_that_was_read_goes_on_where_it_was_left_and_one_without_a_trace_begins_where_it_says() {
    let after = StartingPosition::After("17".into());
    let known = resume([("0", Resume::From(after.clone())), ("1", Resume::Ended)]);
    let mut plan = ShardPlan::resumed(StartFrom::Latest, known);
    let list = [shard("0", &[], true), shard("1", &[], false), shard("2", &[], true)];
    assert_eq!(plan.listed(&list), [start("0", after), start("2", StartingPosition::Latest)]);
}

#[test]
fn what_became_of_a_shard_that_was_read_is_read_whole_and_what_it_came_from_not_at_all() {
    let after = StartingPosition::AtRecord("17".into());
    for from in [StartFrom::Latest, StartFrom::TrimHorizon, StartFrom::At(SystemTime::UNIX_EPOCH)] {
        let known = resume([("2", Resume::From(after.clone()))]);
        let mut plan = ShardPlan::resumed(from, known);
        let list = [
            shard("0", &[], false),
            shard("1", &["0"], false),
            shard("2", &["1"], false),
            shard("3", &["2"], false),
            shard("4", &["3"], true),
        ];
        assert_eq!(plan.listed(&list), [start("2", after.clone())]);
        assert_eq!(plan.ended("2"), [start("3", StartingPosition::TrimHorizon)]);
        assert_eq!(plan.ended("3"), [start("4", StartingPosition::TrimHorizon)]);
    }
}

#[test]
fn a_child_of_a_shard_that_is_past_retention_is_read_whole_if_that_one_was_read() {
    let mut plan = ShardPlan::resumed(StartFrom::Latest, resume([("0", Resume::Ended)]));
    assert_eq!(
        plan.listed(&[shard("1", &["0"], true)]),
        [start("1", StartingPosition::TrimHorizon)]
    );
}

#[test]
fn from_a_time_every_shard_is_asked_for_what_came_then_and_children_wait_all_the_same() {
    let time = SystemTime::UNIX_EPOCH;
    let mut plan = ShardPlan::new(StartFrom::At(time));
    let list = [shard("0", &[], false), shard("1", &["0"], true)];
    assert_eq!(plan.listed(&list), [start("0", StartingPosition::At(time))]);
    assert_eq!(plan.ended("0"), [start("1", StartingPosition::At(time))]);
}

/// What the stream and the readers do.
#[derive(Debug, Clone)]
enum Step {
    Split(usize),
    Merge(usize, usize),
    List,
    /// One of the readers reaches the end of its shard, if that is closed.
    End(usize),
    /// The program is started anew, with what it wrote down of its progress.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<usize>().prop_map(Step::Split),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::Merge(a, b)),
        2 => Just(Step::List),
        4 => any::<usize>().prop_map(Step::End),
        1 => Just(Step::Restart),
    ]
}

/// A stream that reshards, a plan, and readers that do as it says.
struct Model {
    shards: Vec<ListedShard>,
    from: StartFrom,
    plan: ShardPlan,
    started: HashMap<String, StartingPosition>,
    reading: Vec<String>,
    ended: HashSet<String>,
    /// The shards of the first list, from latest: what was before them is not read.
    skipped: HashSet<String>,
}

impl Model {
    fn new(from: StartFrom, before: &[Step]) -> Self {
        let shards = vec![shard("000", &[], true), shard("001", &[], true)];
        let (started, reading) = (HashMap::new(), Vec::new());
        let mut model = Self {
            shards,
            from: from.clone(),
            plan: ShardPlan::new(from.clone()),
            started,
            reading,
            ended: HashSet::new(),
            skipped: HashSet::new(),
        };
        before
            .iter()
            .filter(|step| matches!(step, Step::Split(_) | Step::Merge(..)))
            .for_each(|step| model.take(step));
        if from == StartFrom::Latest {
            model.skipped = model
                .shards
                .iter()
                .filter(|shard| !shard.open)
                .map(|shard| shard.id.clone())
                .collect();
        }
        model.take(&Step::List);
        model
    }

    fn take(&mut self, step: &Step) {
        let open: Vec<usize> = (0..self.shards.len()).filter(|&n| self.shards[n].open).collect();
        match *step {
            Step::Split(n) => {
                let parent = open[n % open.len()];
                self.replace(&[parent], 2);
            }
            Step::Merge(a, b) if open[a % open.len()] != open[b % open.len()] => {
                self.replace(&[open[a % open.len()], open[b % open.len()]], 1);
            }
            Step::Merge(..) => {}
            Step::List => {
                let starts = self.plan.listed(&self.shards);
                self.start(starts);
            }
            Step::End(n) => {
                let closed: Vec<String> =
                    self.reading.iter().filter(|id| !self.is_open(id)).cloned().collect();
                if !closed.is_empty() {
                    self.end(&closed[n % closed.len()]);
                }
            }
            Step::Restart => {
                let here = |id| (id, Resume::From(StartingPosition::After("here".into())));
                let ended = self.ended.iter().cloned().map(|id| (id, Resume::Ended));
                let known = self.reading.drain(..).map(here).chain(ended).collect();
                self.plan = ShardPlan::resumed(self.from.clone(), known);
                self.take(&Step::List);
            }
        }
    }

    fn replace(&mut self, parents: &[usize], children: usize) {
        let ids: Vec<String> = parents.iter().map(|&n| self.shards[n].id.clone()).collect();
        parents.iter().for_each(|&n| self.shards[n].open = false);
        for _ in 0..children {
            self.shards.push(ListedShard {
                id: format!("{:03}", self.shards.len()),
                parents: ids.clone(),
                open: true,
            });
        }
    }

    fn is_open(&self, id: &str) -> bool {
        self.shards.iter().any(|shard| shard.id == id && shard.open)
    }

    fn end(&mut self, id: &str) {
        self.reading.retain(|reading| reading != id);
        self.ended.insert(id.to_owned());
        let starts = self.plan.ended(id);
        self.start(starts);
    }

    fn start(&mut self, starts: Vec<ShardStart>) {
        for ShardStart { shard, position } in starts {
            let info =
                self.shards.iter().find(|info| info.id == shard).expect("a planned shard exists");
            let past =
                |parent: &String| self.ended.contains(parent) || self.skipped.contains(parent);
            assert!(
                info.parents.iter().all(past),
                "{shard} starts before {:?} ended",
                info.parents
            );
            assert!(!self.skipped.contains(&shard), "{shard} was closed before the start");
            if position == StartingPosition::After("here".into()) {
                assert!(self.started.contains_key(&shard), "{shard} goes on and was never begun");
            } else {
                assert_eq!(self.started.insert(shard.clone(), position), None, "{shard} twice");
            }
            self.reading.push(shard);
        }
    }

    /// Reads on until only open shards are left.
    fn settle(&mut self) {
        self.take(&Step::List);
        while let Some(closed) = self.reading.iter().find(|id| !self.is_open(id)).cloned() {
            self.end(&closed);
        }
    }
}

proptest! {
    #[test]
    fn every_shard_is_read_once_and_never_before_its_parents_ended(
        latest in any::<bool>(),
        before in prop::collection::vec(step(), 0..12),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let from = if latest { StartFrom::Latest } else { StartFrom::TrimHorizon };
        let mut model = Model::new(from, &before);
        let at_start: HashSet<String> = model.started.keys().cloned().collect();
        steps.iter().for_each(|step| model.take(step));
        model.settle();
        for shard in &model.shards {
            let is_skipped = model.skipped.contains(&shard.id);
            let expected = match (is_skipped, latest && at_start.contains(&shard.id)) {
                (true, _) => None,
                (false, true) => Some(&StartingPosition::Latest),
                (false, false) => Some(&StartingPosition::TrimHorizon),
            };
            prop_assert_eq!(model.started.get(&shard.id), expected, "{}", shard.id);
        }
    }
}
