//! What the nodes of a schema take of memory: an estimate from above, so that the memory of all
//! schemas has a bound.

use std::mem::{size_of, size_of_val};

use super::node::{
    ArrayRules, InPlace, Node, NodeId, NumberRules, ObjectRules, Property, TextRules,
};
use super::pattern::Pattern;

/// Bytes of a node, with all that it has of its own.
pub(super) fn bytes(node: &Node) -> usize {
    let number = node.number.as_ref().map_or(0, |_| size_of::<NumberRules>());
    let text = node.text.as_ref().map_or(0, |rules| {
        size_of::<TextRules>() + rules.pattern.as_ref().map_or(0, Pattern::bytes)
    });
    let array = node
        .array
        .as_ref()
        .map_or(0, |rules| size_of::<ArrayRules>() + size_of_val(&*rules.prefix));
    let object = node.object.as_deref().map_or(0, object_bytes);
    let value_bytes = |value: &String| size_of::<String>() + value.len();
    let values = node.values.iter().flatten().map(value_bytes).sum::<usize>();
    let in_place = node.in_place.iter().map(in_place_bytes).sum::<usize>();
    size_of::<Node>() + number + text + array + object + values + in_place
}

fn object_bytes(rules: &ObjectRules) -> usize {
    let property = |property: &Property| size_of::<Property>() + property.name.len();
    let pattern =
        |(pattern, _): &(Pattern, NodeId)| size_of::<(Pattern, NodeId)>() + pattern.bytes();
    size_of::<ObjectRules>()
        + rules.properties.iter().map(property).sum::<usize>()
        + rules.patterns.iter().map(pattern).sum::<usize>()
}

fn in_place_bytes(rule: &InPlace) -> usize {
    let inside = match rule {
        InPlace::Any(many) | InPlace::One(many) => size_of_val(&**many),
        InPlace::All(_) | InPlace::Not(_) | InPlace::If { .. } => 0,
    };
    size_of::<InPlace>() + inside
}
