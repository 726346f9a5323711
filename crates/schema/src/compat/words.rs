//! What nodes demand, in words for a person who reads of a gap.

use crate::compiled::node::{Kinds, Node};
use crate::compiled::number::Bound;

pub(super) fn kinds(kinds: Kinds) -> String {
    match kinds {
        Kinds::NONE => "nothing".to_owned(),
        kinds => kinds.words(),
    }
}

/// Values of an enum, the first few of many.
pub(super) fn values(values: Option<&[String]>) -> String {
    const SHOWN_MAX: usize = 10;
    let Some(values) = values else { return "any value".to_owned() };
    let shown = values.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    match values.len().saturating_sub(SHOWN_MAX) {
        0 => format!("one of {shown}"),
        more => format!("one of {shown} and {more} more"),
    }
}

pub(super) fn least(count: usize, what: &str) -> String {
    if count == 0 { format!("any number of {what}") } else { format!("at least {count} {what}") }
}

pub(super) fn most(count: Option<usize>, what: &str) -> String {
    count.map_or_else(|| format!("any number of {what}"), |count| format!("at most {count} {what}"))
}

pub(super) fn bound(bound: Option<&Bound>, at: &str, beyond: &str) -> String {
    match bound {
        None => "any number".to_owned(),
        Some(bound) if bound.is_exclusive => format!("a number {beyond} {bound}"),
        Some(bound) => format!("a number {at} {bound}"),
    }
}

/// What is demanded of a property, in few words.
pub(super) fn property(node: Option<&Node>) -> String {
    match node {
        None => "anything".to_owned(),
        Some(node) if node.kinds == Kinds::NONE => "no such property".to_owned(),
        Some(node) => kinds(node.kinds),
    }
}
