//! Reads an event once, from its first byte to its last, and collects the facts that a pattern asks
//! for. What it allocates is bounded by the slots of the pattern, whatever the event is.

use crate::error::NotAnEvent;
use crate::reader::{Flaw, ReadError, Reader, Scalar, Value};
use crate::test::Leaf;
use crate::text::Text;
use crate::tree::{Condition, Group, Node, ROOT, Tested, Tree, by_length};

/// A member of an object that is not written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Member<'a> {
    /// A value as JSON.
    Json(&'a [u8]),
    /// A text as it is, without quotes or escapes.
    Text(&'a str),
}

impl From<ReadError> for NotAnEvent {
    fn from(ReadError { offset, flaw }: ReadError) -> Self {
        match flaw {
            Flaw::NotJson(expected) => Self::NotJson { offset, expected },
            Flaw::TooDeep => Self::TooDeep { offset },
        }
    }
}

pub(crate) fn matches(tree: &Tree, event: &[u8]) -> Result<bool, NotAnEvent> {
    let mut reader = read(event)?;
    let mut walk = Walk::new(tree);
    match reader.value()? {
        Value::Object => walk.object(ROOT, &mut reader)?,
        _ => return Err(NotAnEvent::NotAnObject),
    }
    reader.end()?;
    Ok(walk.holds())
}

pub(crate) fn matches_members(
    tree: &Tree,
    members: &[(&str, Member<'_>)],
) -> Result<bool, NotAnEvent> {
    let mut walk = Walk::new(tree);
    for (key, member) in members {
        let (value, mut reader) = match member {
            Member::Json(json) => {
                let mut reader = read(json)?;
                (reader.value()?, reader)
            }
            Member::Text(text) => (Value::Scalar(Scalar::Text(Text::plain(text))), Reader::new("")),
        };
        walk.member(ROOT, Text::plain(key), value, &mut reader)?;
        reader.end()?;
    }
    Ok(walk.holds())
}

fn read(json: &[u8]) -> Result<Reader<'_>, NotAnEvent> {
    str::from_utf8(json).map(Reader::new).map_err(|_| NotAnEvent::NotUtf8)
}

struct Walk<'t> {
    tree: &'t Tree,
    /// The facts that are known, by slot.
    facts: Vec<bool>,
    /// The slots of these facts, in the order in which they were found.
    found: Vec<usize>,
}

impl<'t> Walk<'t> {
    fn new(tree: &'t Tree) -> Self {
        Self { tree, facts: vec![false; tree.owners.len()], found: Vec::new() }
    }

    /// The members of an object that was just opened.
    fn object(&mut self, node: usize, reader: &mut Reader<'_>) -> Result<(), ReadError> {
        let found_before = self.found.len();
        while let Some(key) = reader.key()? {
            let value = reader.value()?;
            self.member(node, key, value, reader)?;
        }
        // Every group asks for a fact, so that none can hold where nothing was found.
        if self.found.len() > found_before {
            self.close(node);
        }
        Ok(())
    }

    fn member<'e>(
        &mut self,
        parent: usize,
        key: Text<'e>,
        value: Value<'e>,
        reader: &mut Reader<'e>,
    ) -> Result<(), ReadError> {
        let Some(node) = self.find(parent, key) else { return reader.skip(value) };
        self.value(node, value, reader)?;
        // A key with dots stands for objects in each other, which end here.
        let mut around = self.node(node).parent;
        while around != parent {
            self.close(around);
            around = self.node(around).parent;
        }
        Ok(())
    }

    fn value<'e>(
        &mut self,
        node: usize,
        value: Value<'e>,
        reader: &mut Reader<'e>,
    ) -> Result<(), ReadError> {
        match value {
            Value::Object => self.object(node, reader),
            Value::Array => self.array(node, reader),
            Value::Scalar(scalar) => {
                self.scalar(node, scalar);
                Ok(())
            }
        }
    }

    fn array(&mut self, node: usize, reader: &mut Reader<'_>) -> Result<(), ReadError> {
        while reader.element()? {
            let found_before = self.found.len();
            let element = reader.value()?;
            self.value(node, element, reader)?;
            self.forget(found_before, self.node(node).depth);
        }
        Ok(())
    }

    fn scalar(&mut self, node: usize, scalar: Scalar<'_>) {
        let tested = &self.node(node).tested;
        if tested.is_empty() {
            return;
        }
        let leaf = Leaf::from(scalar);
        for Tested { tests, slot } in tested {
            if !self.facts[*slot] && tests.iter().any(|test| test.takes(leaf)) {
                self.learn(*slot);
            }
        }
    }

    /// Looks whether an object that was read fulfils what is asked of it.
    fn close(&mut self, node: usize) {
        for Group { conditions, slot } in &self.node(node).groups {
            if !self.facts[*slot] && self.all(conditions) {
                self.learn(*slot);
            }
        }
    }

    fn learn(&mut self, slot: usize) {
        self.facts[slot] = true;
        self.found.push(slot);
    }

    /// Forgets what was found since then and is asked for at this depth or deeper.
    fn forget(&mut self, found_before: usize, depth: usize) {
        let mut kept = found_before;
        for index in found_before..self.found.len() {
            let slot = self.found[index];
            if self.tree.owners[slot] >= depth {
                self.facts[slot] = false;
            } else {
                self.found[kept] = slot;
                kept += 1;
            }
        }
        self.found.truncate(kept);
    }

    /// The node that a key leads to; one with dots in it may lead over several.
    fn find(&self, node: usize, key: Text<'_>) -> Option<usize> {
        match key.as_plain() {
            Some(plain) => self.find_plain(node, plain),
            None => self.find_escaped(node, key.chars()),
        }
    }

    fn find_plain(&self, node: usize, key: &str) -> Option<usize> {
        // The keys of nodes have no dots, and few others do.
        self.child(node, key).or_else(|| {
            let may_lead_on = self.node(node).has_grandchildren;
            let (first, rest) = may_lead_on.then(|| key.split_once('.'))??;
            self.find_plain(self.child(node, first)?, rest)
        })
    }

    fn child(&self, node: usize, key: &str) -> Option<usize> {
        let children = &self.node(node).children;
        let found = children.binary_search_by(|(child, _)| by_length(child, key)).ok()?;
        Some(children[found].1)
    }

    fn find_escaped(&self, node: usize, key: impl Iterator<Item = char> + Clone) -> Option<usize> {
        let (child, mut rest) = self.node(node).children.iter().find_map(|(name, child)| {
            let mut rest = key.clone();
            let is_next = name.chars().all(|c| rest.next() == Some(c));
            let is_whole = is_next && matches!(rest.clone().next(), None | Some('.'));
            is_whole.then_some((*child, rest))
        })?;
        match rest.next() {
            None => Some(child),
            Some(_) => self.find_escaped(child, rest),
        }
    }

    fn holds(&self) -> bool {
        self.tree.clauses.iter().any(|clause| self.all(clause))
    }

    fn all(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| self.facts[condition.slot] == condition.is_wanted)
    }

    fn node(&self, node: usize) -> &'t Node {
        &self.tree.nodes[node]
    }
}
