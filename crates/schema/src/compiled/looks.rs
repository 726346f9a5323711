//! How often a schema may look at one byte of an event, so that one which would be slow is refused
//! when it is loaded.
//!
//! A schema that looks at the same value as another one (`allOf`, `anyOf`, `$ref` and their like)
//! is a look of its own at all that is inside; below it the same happens again, and looks multiply.
//! A schema whose `type` does not admit the kind of value is none: it says so by the first byte. So
//! `anyOf` of null and an object looks once, however often it stands inside itself.

use super::error::LoadError;
use super::node::{Kinds, Node, NodeId};
use super::places::Places;
use super::schema::Schema;
use crate::bounds::{DEPTH_MAX, IN_PLACE_DEPTH_MAX, LOOKS_MAX};

/// Looks at a value of each of [`Kinds::EACH`].
type Looks = [u32; Kinds::EACH.len()];

/// Refuses a schema that looks at a byte more often than [`LOOKS_MAX`], or leads to itself without
/// going into a value.
pub(super) fn check(schema: &Schema, places: &Places<'_>) -> Result<(), LoadError> {
    let order = in_order(schema, places)?;
    let mut looks = vec![Looks::default(); schema.nodes.len()];
    // A value of one more level in each round; deeper ones are not looked into.
    for _ in 0..=DEPTH_MAX {
        let before = looks.clone();
        for id in &order {
            let counted = count(schema, *id, &before, &looks);
            if counted.iter().any(|count| *count > LOOKS_MAX) {
                let why = format!(
                    "what stands here may look at one byte of an event more than {LOOKS_MAX} \
                     times, because schemas for the same value stand inside each other"
                );
                return Err(LoadError::new(&places.pointer(*id), why));
            }
            looks[id.0] = counted;
        }
        if looks == before {
            break;
        }
    }
    Ok(())
}

/// The looks of one node. `before`: those of all nodes at values of a level less; `now`: those of
/// the nodes that look at the same value.
fn count(schema: &Schema, id: NodeId, before: &[Looks], now: &[Looks]) -> Looks {
    let node = schema.node(id);
    let mut at = 0;
    Kinds::EACH.map(|kind| {
        let place = at;
        at += 1;
        if !node.kinds.meets(kind) {
            return 0;
        }
        let in_place = node.in_place().map(|other| now[other.0][place]);
        let of_values = u32::from(node.values.is_some());
        in_place.fold(own(node, kind, before).saturating_add(of_values), u32::saturating_add)
    })
}

/// The looks of a node's own demands at what is inside a value of this kind.
fn own(node: &Node, kind: Kinds, before: &[Looks]) -> u32 {
    let deepest = |id: NodeId| before[id.0].iter().copied().max().unwrap_or(0);
    let most = |ids: &mut dyn Iterator<Item = NodeId>| ids.map(deepest).max().unwrap_or(0).max(1);
    match (&node.array, &node.object) {
        (Some(array), _) if kind == Kinds::ARRAY => {
            let unique = u32::from(array.is_unique);
            most(&mut array.prefix.iter().copied().chain(array.items)).saturating_add(unique)
        }
        (_, Some(object)) if kind == Kinds::OBJECT => {
            let named = object.properties.iter().filter_map(|property| property.schema);
            let patterns = object.patterns.iter().map(|(_, schema)| deepest(*schema));
            let others = most(&mut named.chain(object.additional));
            let values = patterns.fold(others, u32::saturating_add);
            let tries = object.patterns.len().try_into().unwrap_or(u32::MAX);
            values.max(object.names.map_or(0, deepest).saturating_add(tries))
        }
        _ => u32::from(node.kinds.meets(Kinds::TEXT) && node.text.is_some()),
    }
}

/// The nodes, each after those that look at the same value.
fn in_order(schema: &Schema, places: &Places<'_>) -> Result<Vec<NodeId>, LoadError> {
    let mut depths = vec![None; schema.nodes.len()];
    for id in (0..schema.nodes.len()).map(NodeId) {
        if depth(schema, id, &mut depths, IN_PLACE_DEPTH_MAX).is_none() {
            let why = format!(
                "more than {IN_PLACE_DEPTH_MAX} schemas for the same value refer one to the next, \
                 or one leads to itself"
            );
            return Err(LoadError::new(&places.pointer(id), why));
        }
    }
    let mut order: Vec<NodeId> = (0..schema.nodes.len()).map(NodeId).collect();
    order.sort_by_key(|id| depths[id.0]);
    Ok(order)
}

/// How many schemas for the same value follow each other from here; `None`: more than `left`.
fn depth(schema: &Schema, id: NodeId, depths: &mut [Option<usize>], left: usize) -> Option<usize> {
    if let Some(known) = depths[id.0] {
        return (known <= left).then_some(known);
    }
    let left = left.checked_sub(1)?;
    let mut deepest = 0;
    for other in schema.node(id).in_place() {
        deepest = deepest.max(depth(schema, other, depths, left)?);
    }
    depths[id.0] = Some(deepest + 1);
    depths[id.0]
}
