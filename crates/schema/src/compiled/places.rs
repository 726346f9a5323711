//! The schemas inside a schema: every one has its node once, whoever refers to it, and what is
//! still to be loaded is a list. What is in them is not looked at here.
//!
//! Where a node stands is kept as a step from another one, and written out only where something is
//! wrong: a name may be long, and many nodes may stand below it.

use std::collections::HashMap;
use std::ptr;

use serde_json::Value;

use super::node::{Node, NodeId};
use super::violation::escaped;
use crate::bounds::NODES_MAX;

/// What was loaded, and what is still to be.
pub(super) struct Loader<'a> {
    root: &'a Value,
    pub(super) nodes: Vec<Node>,
    places: Places<'a>,
    /// The nodes by where their schemas lie in memory: a schema has one place there.
    by_address: HashMap<*const Value, NodeId>,
    pub(super) todo: Vec<(NodeId, &'a Value)>,
    /// Bytes of the patterns that were loaded.
    pub(super) pattern_bytes: usize,
}

/// Where each node stands.
pub(super) struct Places<'a>(Vec<Place<'a>>);

/// Where a node stands in its schema.
pub(super) enum Place<'a> {
    Root,
    /// Where a `$ref` leads, as a JSON pointer.
    Referred(String),
    Below(NodeId, &'static str, Step<'a>),
}

/// What follows a keyword, if its value is several schemas.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    None,
    Named(&'a str),
    Index(usize),
}

impl<'a> Loader<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            nodes: Vec::new(),
            places: Places(Vec::new()),
            by_address: HashMap::new(),
            todo: Vec::new(),
            pattern_bytes: 0,
        }
    }

    /// The node of a schema that stands at this place.
    ///
    /// # Errors
    /// If there are too many, in words.
    pub(super) fn schema(&mut self, place: Place<'a>, value: &'a Value) -> Result<NodeId, String> {
        if let Some(known) = self.by_address.get(&ptr::from_ref(value)) {
            return Ok(*known);
        }
        if self.nodes.len() == NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} schemas inside"));
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node::anything());
        self.places.0.push(place);
        self.by_address.insert(ptr::from_ref(value), id);
        self.todo.push((id, value));
        Ok(id)
    }

    /// The node that a `$ref` names.
    ///
    /// # Errors
    /// If that is no place in this document, in words.
    pub(super) fn referred(&mut self, reference: &str) -> Result<NodeId, String> {
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(format!(
                "$ref to {reference}: it is another document. Only what begins with # is \
                 followed, and nothing is fetched: copy it into $defs"
            ));
        };
        let pointer = decoded(fragment);
        let found = pointer.as_deref().and_then(|pointer| self.root.pointer(pointer));
        match (pointer, found) {
            (Some(pointer), Some(value)) => self.schema(Place::Referred(pointer), value),
            _ => Err(format!("$ref to {reference}: there is nothing")),
        }
    }

    /// Where a node stands, as a JSON pointer.
    pub(super) fn pointer(&self, id: NodeId) -> String {
        self.places.pointer(id)
    }

    pub(super) fn loaded(self) -> (Vec<Node>, Places<'a>) {
        (self.nodes, self.places)
    }
}

impl Places<'_> {
    /// Where a node stands, as a JSON pointer.
    pub(super) fn pointer(&self, id: NodeId) -> String {
        let (mut at, mut steps) = (id, Vec::new());
        let start = loop {
            match &self.0[at.0] {
                Place::Root => break "",
                Place::Referred(pointer) => break pointer,
                Place::Below(above, keyword, step) => {
                    steps.push((*keyword, *step));
                    at = *above;
                }
            }
        };
        let mut pointer = start.to_owned();
        for (keyword, step) in steps.into_iter().rev() {
            pointer.push('/');
            pointer.push_str(keyword);
            match step {
                Step::None => {}
                Step::Named(name) => {
                    pointer.push('/');
                    pointer.push_str(&escaped(name));
                }
                Step::Index(index) => pointer.push_str(&format!("/{index}")),
            }
        }
        pointer
    }
}

/// What the fragment of a URI says; `None` where it is no text.
fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
