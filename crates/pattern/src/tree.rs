//! A pattern as it is matched: the tree of the keys that it names, and the groups of what must hold
//! together.
//!
//! - A **node** is a path. Values of events that have that path are tested there.
//! - A **slot** is a fact about an event: a value took a test, or a group holds. Facts are all that
//!   is remembered while an event is read, so their number is all that matching needs of memory.
//! - A **group** is what one object must fulfil, or one element of a list of objects: each of its
//!   conditions asks for a fact to be there, or to be missing. Every clause has a group for the
//!   event, and one for each object in it that has a field that must have a value.
//!
//! # Elements of lists
//! What is asked of an object is asked of one element, where the event has a list of objects. So a
//! fact that a group inside the list asks for is forgotten before the next element is read; a fact
//! that is asked for outside of the list is not. The **owner** of a slot says where: the depth of
//! the group that asks.
//!
//! A field that has to be missing is asked for by the innermost group around it that has a field
//! with a value before it, in the order of paths: that field has chosen the element. Without one it
//! must be missing from all elements. So it is in EventBridge, whose matcher goes through the
//! fields in that order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::clauses::Clause;
use crate::error::Reason;
use crate::test::Test;

/// Facts about an event, and questions about them, that a pattern may ask for.
const CONDITIONS_MAX: usize = 1 << 16;

#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// The first is the root: the event itself.
    pub(crate) nodes: Vec<Node>,
    /// By slot, where its fact is asked for: the depth of that group.
    pub(crate) owners: Vec<usize>,
    /// One a clause: what the event must fulfil.
    pub(crate) clauses: Vec<Box<[Condition]>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) parent: usize,
    /// Keys that lead here.
    pub(crate) depth: usize,
    /// By key, in the order of [`by_length`].
    pub(crate) children: Vec<(Box<str>, usize)>,
    /// Whether keys lead on from one of the children.
    pub(crate) has_grandchildren: bool,
    pub(crate) tested: Vec<Tested>,
    /// Looked at when an object with this path was read.
    pub(crate) groups: Vec<Group>,
}

/// Tests for the values of a path, and the fact that a value took one of them.
#[derive(Debug, Clone)]
pub(crate) struct Tested {
    pub(crate) tests: Box<[Test]>,
    pub(crate) slot: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) conditions: Box<[Condition]>,
    pub(crate) slot: usize,
}

/// That a fact is there, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    pub(crate) slot: usize,
    pub(crate) is_wanted: bool,
}

impl Tree {
    /// # Errors
    /// If the clauses ask for too much.
    pub(crate) fn new(clauses: &[Clause<'_>]) -> Result<Self, Reason> {
        let mut builder = Builder::new();
        for clause in clauses {
            builder.add(clause)?;
        }
        Ok(builder.tree)
    }

    /// The tree of all clauses of these.
    pub(crate) fn of_all(trees: impl IntoIterator<Item = Self>) -> Self {
        let mut builder = Builder::new();
        for tree in trees {
            builder.add_tree(&tree);
        }
        builder.tree
    }

    fn child(&mut self, parent: usize, key: &str) -> usize {
        let new = self.nodes.len();
        let Node { parent: grandparent, depth, children, .. } = &mut self.nodes[parent];
        match children.binary_search_by(|(child, _)| by_length(child, key)) {
            Ok(index) => children[index].1,
            Err(index) => {
                children.insert(index, (key.into(), new));
                let (grandparent, depth) = (*grandparent, *depth + 1);
                if parent != ROOT {
                    self.nodes[grandparent].has_grandchildren = true;
                }
                self.nodes.push(Node { parent, depth, ..Node::default() });
                new
            }
        }
    }

    fn new_slot(&mut self, owner: usize) -> usize {
        self.owners.push(owner);
        self.owners.len() - 1
    }
}

/// An order of keys in which most are told apart without looking at their bytes.
pub(crate) fn by_length(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// The event itself.
pub(crate) const ROOT: usize = 0;

/// What a field that has to be missing must not have.
static ANY_VALUE: [Test; 1] = [Test::Exists];

type Slots = HashMap<Box<[Test]>, usize>;

struct Builder {
    tree: Tree,
    /// The slots of tests, which clauses share, by node and owner.
    tests: HashMap<(usize, usize), Slots>,
    /// The slots of groups, which clauses share as well, by node.
    groups: HashMap<(usize, Box<[Condition]>), usize>,
    conditions_count: usize,
}

impl Builder {
    fn new() -> Self {
        Self {
            tree: Tree { nodes: vec![Node::default()], owners: Vec::new(), clauses: Vec::new() },
            tests: HashMap::new(),
            groups: HashMap::new(),
            conditions_count: 0,
        }
    }

    fn add_tree(&mut self, other: &Tree) {
        // By node and by slot of the other: ours.
        let mut nodes = vec![ROOT; other.nodes.len()];
        let mut slots = vec![0; other.owners.len()];
        // Parents come before their children.
        for (theirs, node) in other.nodes.iter().enumerate() {
            for (key, child) in &node.children {
                nodes[*child] = self.tree.child(nodes[theirs], key);
            }
            for Tested { tests, slot } in &node.tested {
                slots[*slot] = self.slot_of(nodes[theirs], tests, other.owners[*slot]);
            }
        }
        let ours = |conditions: &[Condition], slots: &[usize]| -> Box<[Condition]> {
            let condition = |theirs: &Condition| Condition { slot: slots[theirs.slot], ..*theirs };
            conditions.iter().map(condition).collect()
        };
        // A group asks for what is below it.
        for (theirs, node) in other.nodes.iter().enumerate().rev() {
            for Group { conditions, slot } in &node.groups {
                slots[*slot] = self.group(nodes[theirs], ours(conditions, &slots));
            }
        }
        let clauses = other.clauses.iter().map(|clause| ours(clause, &slots));
        self.tree.clauses.extend(clauses);
    }

    fn add(&mut self, clause: &Clause<'_>) -> Result<(), Reason> {
        // The groups of the clause, by their nodes.
        let mut groups: BTreeMap<usize, Vec<Condition>> = BTreeMap::new();
        // Where a field with a value has chosen an element, if there is a list.
        let mut chosen = BTreeSet::new();
        for term in clause {
            let node = self.node_of(term.path);
            let asking = match term.tests {
                Some(_) => {
                    chosen.extend(self.around(node));
                    self.tree.nodes[node].parent
                }
                None => self.around(node).find(|node| chosen.contains(node)).unwrap_or(ROOT),
            };
            let owner = self.tree.nodes[asking].depth;
            let slot = self.slot_of(node, term.tests.unwrap_or(&ANY_VALUE), owner);
            let condition = Condition { slot, is_wanted: term.tests.is_some() };
            groups.entry(asking).or_default().push(condition);
        }
        // A group is asked for by the one around it. Nodes come after their parents, so the last
        // group is always one that nothing more is added to.
        while let Some((node, conditions)) = groups.pop_last() {
            self.conditions_count += conditions.len();
            if self.conditions_count > CONDITIONS_MAX {
                return Err(Reason::TooComplex { max: CONDITIONS_MAX });
            }
            if node == ROOT {
                self.tree.clauses.push(conditions.into());
                break;
            }
            let condition =
                Condition { slot: self.group(node, conditions.into()), is_wanted: true };
            groups.entry(self.tree.nodes[node].parent).or_default().push(condition);
        }
        Ok(())
    }

    fn node_of(&mut self, path: &str) -> usize {
        path.split('.').fold(ROOT, |node, key| self.tree.child(node, key))
    }

    /// The nodes around a node, from its parent to the root.
    fn around(&self, node: usize) -> impl Iterator<Item = usize> {
        let parent = |node: &usize| (*node != ROOT).then(|| self.tree.nodes[*node].parent);
        std::iter::successors(parent(&node), parent)
    }

    fn slot_of(&mut self, node: usize, tests: &[Test], owner: usize) -> usize {
        let known = self.tests.entry((node, owner)).or_default();
        if let Some(slot) = known.get(tests) {
            return *slot;
        }
        let slot = self.tree.new_slot(owner);
        known.insert(tests.into(), slot);
        self.tree.nodes[node].tested.push(Tested { tests: tests.into(), slot });
        slot
    }

    fn group(&mut self, node: usize, conditions: Box<[Condition]>) -> usize {
        let key = (node, conditions);
        if let Some(slot) = self.groups.get(&key) {
            return *slot;
        }
        let slot = self.tree.new_slot(self.tree.nodes[node].depth - 1);
        let conditions = key.1.clone();
        self.groups.insert(key, slot);
        self.tree.nodes[node].groups.push(Group { conditions, slot });
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clauses::clauses;
    use crate::syntax;

    fn tree(pattern: &str) -> Result<Tree, Reason> {
        let scope = syntax::parse(pattern).expect("its syntax is right");
        clauses(&scope).and_then(|clauses| Tree::new(&clauses))
    }

    fn groups_count(tree: &Tree) -> usize {
        tree.nodes.iter().map(|node| node.groups.len()).sum()
    }

    /// What an object of an event costs is the conditions of the groups at its node. If every
    /// clause had its own group for what its alternatives do not touch, it would be multiplied.
    #[test]
    fn clauses_share_the_groups_that_ask_for_the_same() {
        let or = |n: usize| format!(r#""f{n}": {{"$or": [{{"a": [1]}}, {{"b": [1]}}]}}"#);
        let ors: Vec<String> = (0..8).map(or).collect();
        let pattern = format!(r#"{{"list": {{"x": [1], "y": [2]}}, {}}}"#, ors.join(","));
        let tree = tree(&pattern).expect("256 are few");
        assert_eq!(tree.clauses.len(), 256);
        assert_eq!(groups_count(&tree), 1 + 2 * 8, "one for the list, two a field");
    }

    /// A pattern that is short and comes to much is refused, and what is not refused is small.
    #[test]
    fn what_a_pattern_comes_to_is_bounded_however_it_is_written() {
        let list = |count: usize, field: &dyn Fn(usize) -> String| -> String {
            (0..count).map(field).collect::<Vec<_>>().join(",")
        };
        let maybe = |n: usize| format!(r#""x{n}":[1,{{"exists":false}}]"#);
        let absent = |n: usize| format!(r#""z{n}":[{{"exists":false}}]"#);
        let or_of_ten = |k: usize| {
            let alternatives = list(10, &|n| format!(r#"{{"{k}{n}":[1]}}"#));
            format!(r#""$or":[{alternatives}]"#)
        };
        let mut nested = r#"{"a":[1]}"#.to_owned();
        for _ in 0..60 {
            nested = format!(r#"{{"$or":[{nested},{{"b":[1]}}]}}"#);
        }
        for pattern in [
            format!(r#"{{"a":{{{},{}}}}}"#, list(9, &maybe), list(120, &absent)),
            format!(r#"{{"a":{{{},{},"~":[1]}}}}"#, list(8, &maybe), list(100, &absent)),
            format!(r#"{{"a":{{"k":[1],{}}}}}"#, list(3, &or_of_ten)),
            nested,
        ] {
            let Ok(tree) = tree(&pattern) else { continue };
            let groups = tree.nodes.iter().flat_map(|node| &node.groups);
            let conditions = groups.map(|group| &group.conditions).chain(&tree.clauses);
            let conditions_count: usize = conditions.map(|conditions| conditions.len()).sum();
            assert!(conditions_count <= CONDITIONS_MAX, "{pattern}: {conditions_count}");
            assert!(tree.owners.len() <= conditions_count, "{pattern}: each fact is asked for");
            assert!(tree.nodes.len() < pattern.len(), "{pattern}: a node has a key");
        }
    }

    #[test]
    fn one_pattern_of_several_asks_for_what_each_of_them_asks() {
        let one = tree(r#"{"a": {"b": [1], "c": [2]}, "z": [1]}"#).expect("it is small");
        let other = tree(r#"{"a": {"c": [2], "b": {"d": [3]}}}"#).expect("it is small");
        let both = Tree::of_all([one.clone(), other.clone()]);
        assert_eq!(both.nodes.len(), 1 + 5, "a, a.b, a.c, z and a.b.d");
        let slots_count = one.owners.len() + other.owners.len() - 1;
        assert_eq!(both.owners.len(), slots_count, "both ask whether a.c is 2");
        assert_eq!(groups_count(&both), groups_count(&one) + groups_count(&other));
        assert_eq!(both.clauses.len(), 2);
        let twice = Tree::of_all([one.clone(), one.clone()]);
        assert_eq!(twice.owners.len(), one.owners.len(), "nothing is asked twice");
    }
}
