//! A text against a schema: one pass over the value for what its own node demands, and one more for
//! each schema that looks at the same value. How many there can be is bounded when a schema is
//! loaded (`looks`).

use std::cmp::Ordering;
use std::collections::HashSet;

use super::cursor::{Cursor, unescaped};
use super::equal::canonical_text;
use super::node::{
    ArrayRules, Bits, InPlace, Kinds, Node, NodeId, NumberRules, ObjectRules, Property, TextRules,
};
use super::number::Amount;
use super::schema::Schema;
use super::violation::{Fault, Step};
use crate::bounds::DEPTH_MAX;

pub(super) type Fits = Result<(), Box<Fault>>;

pub(super) fn check(schema: &Schema, text: &str) -> Fits {
    check_at(schema, NodeId::ROOT, text)
}

pub(super) fn check_at(schema: &Schema, id: NodeId, text: &str) -> Fits {
    value(schema, id, &mut Cursor::new(text), DEPTH_MAX)
}

/// Checks the value that is next, and passes it where it fits. `levels`: how many more there may
/// be.
pub(super) fn value(schema: &Schema, id: NodeId, cursor: &mut Cursor<'_>, levels: usize) -> Fits {
    let node = schema.node(id);
    let start = *cursor;
    match cursor.peek() {
        Some(b'"') => {
            kind(node, Kinds::TEXT)?;
            let (inner, has_escapes) = cursor.string();
            if let Some(rules) = &node.text {
                text(rules, &unescaped(inner, has_escapes))?;
            }
        }
        Some(b'{') => {
            kind(node, Kinds::OBJECT)?;
            match &node.object {
                Some(rules) => object(schema, rules, cursor, deeper(levels)?)?,
                None => cursor.skip(),
            }
        }
        Some(b'[') => {
            kind(node, Kinds::ARRAY)?;
            match &node.array {
                Some(rules) => array(schema, rules, cursor, deeper(levels)?)?,
                None => cursor.skip(),
            }
        }
        Some(b't' | b'f') => {
            kind(node, Kinds::BOOLEAN)?;
            cursor.word();
        }
        Some(b'n') => {
            kind(node, Kinds::NULL)?;
            cursor.word();
        }
        _ => number(node, cursor.word())?,
    }
    if node.values.is_none() && node.in_place.is_empty() {
        return Ok(());
    }
    again(schema, node, start, *cursor, levels)
}

fn deeper(levels: usize) -> Result<usize, Box<Fault>> {
    let too_deep =
        || Fault::new("$ref", format!("at most {DEPTH_MAX} levels of objects and arrays"));
    levels.checked_sub(1).ok_or_else(too_deep)
}

#[inline]
fn kind(node: &Node, kind: Kinds) -> Fits {
    if node.kinds.meets(kind) { Ok(()) } else { Err(not_of_kind(node)) }
}

#[cold]
fn not_of_kind(node: &Node) -> Box<Fault> {
    match node.kinds {
        Kinds::NONE => Fault::new("false", "no value here".to_owned()),
        kinds => Fault::new("type", kinds.words()),
    }
}

fn number(node: &Node, word: &str) -> Fits {
    if node.kinds.meets(Kinds::FRACTION)
        && node.kinds.meets(Kinds::INTEGER)
        && node.number.is_none()
    {
        return Ok(());
    }
    if !node.kinds.meets(Kinds::NUMBER) {
        return Err(not_of_kind(node));
    }
    let amount = Amount::read(word);
    kind(node, if amount.is_integer() { Kinds::INTEGER } else { Kinds::FRACTION })?;
    node.number.as_deref().map_or(Ok(()), |rules| amount_fits(rules, amount))
}

fn amount_fits(rules: &NumberRules, amount: Amount) -> Fits {
    if let Some(minimum) = &rules.minimum
        && !minimum.admits(amount, Ordering::Greater)
    {
        let (keyword, words) = match minimum.is_exclusive {
            true => ("exclusiveMinimum", "a number above"),
            false => ("minimum", "a number of at least"),
        };
        return Err(Fault::new(keyword, format!("{words} {minimum}")));
    }
    if let Some(maximum) = &rules.maximum
        && !maximum.admits(amount, Ordering::Less)
    {
        let (keyword, words) = match maximum.is_exclusive {
            true => ("exclusiveMaximum", "a number below"),
            false => ("maximum", "a number of at most"),
        };
        return Err(Fault::new(keyword, format!("{words} {maximum}")));
    }
    match rules.multiple_of {
        Some(unit) if !amount.is_multiple_of(unit) => {
            Err(Fault::new("multipleOf", format!("a multiple of {unit}")))
        }
        _ => Ok(()),
    }
}

fn text(rules: &TextRules, text: &str) -> Fits {
    if rules.min_length > 0 || rules.max_length.is_some() {
        let chars = text.chars().count();
        if chars < rules.min_length {
            let expected = format!("a text of at least {} characters", rules.min_length);
            return Err(Fault::new("minLength", expected));
        }
        if let Some(max) = rules.max_length.filter(|max| chars > *max) {
            return Err(Fault::new("maxLength", format!("a text of at most {max} characters")));
        }
    }
    if let Some(format) = rules.format.filter(|format| !format.admits(text)) {
        return Err(Fault::new("format", format!("a text in the format {format}")));
    }
    match &rules.pattern {
        Some(pattern) if !pattern.is_match(text) => {
            Err(Fault::new("pattern", format!("a text that matches {}", pattern.text)))
        }
        _ => Ok(()),
    }
}

/// What looks at the same value once more.
fn again(schema: &Schema, node: &Node, start: Cursor<'_>, end: Cursor<'_>, levels: usize) -> Fits {
    if let Some(values) = &node.values {
        let found = canonical_text(end.since(start));
        if !values.contains(&found) {
            return Err(not_one_of(values));
        }
    }
    let fits = |id: NodeId| value(schema, id, &mut start.clone(), levels);
    for rule in &node.in_place {
        match rule {
            InPlace::All(one) => fits(*one)?,
            InPlace::Any(many) => any(schema, many, start, &fits)?,
            InPlace::One(many) => {
                let count = many.iter().filter(|one| fits(**one).is_ok()).count();
                if count != 1 {
                    let expected =
                        format!("exactly one of {} alternatives, {count} fit", many.len());
                    return Err(Fault::new("oneOf", expected));
                }
            }
            InPlace::Not(one) => {
                if fits(*one).is_ok() {
                    let expected = "a value that the schema below does not admit".to_owned();
                    return Err(Fault::new("not", expected));
                }
            }
            InPlace::If { condition, then, otherwise } => {
                let branch = if fits(*condition).is_ok() { then } else { otherwise };
                branch.map_or(Ok(()), fits)?;
            }
        }
    }
    Ok(())
}

/// One alternative at least fits. Where the value is of a kind that a single one of them admits, it
/// is that one's violation that helps.
fn any(
    schema: &Schema,
    many: &[NodeId],
    start: Cursor<'_>,
    fits: &impl Fn(NodeId) -> Fits,
) -> Fits {
    let kinds = kinds_of(start);
    let mut of_kind = many.iter().filter(|one| schema.node(**one).kinds.meets(kinds));
    match (of_kind.next(), of_kind.next()) {
        (Some(only), None) => fits(*only),
        _ if many.iter().any(|one| fits(*one).is_ok()) => Ok(()),
        _ => Err(Fault::new("anyOf", format!("one of {} alternatives", many.len()))),
    }
}

/// The kinds that a value can be of, by its first byte.
fn kinds_of(cursor: Cursor<'_>) -> Kinds {
    match cursor.peek() {
        Some(b'"') => Kinds::TEXT,
        Some(b'{') => Kinds::OBJECT,
        Some(b'[') => Kinds::ARRAY,
        Some(b't' | b'f') => Kinds::BOOLEAN,
        Some(b'n') => Kinds::NULL,
        _ => Kinds::NUMBER,
    }
}

#[cold]
fn not_one_of(values: &[String]) -> Box<Fault> {
    match values {
        [only] => Fault::new("const", only.clone()),
        values => Fault::new("enum", format!("one of {}", values.join(", "))),
    }
}

// === What is inside objects and arrays ===

/// Checks an object and passes it.
fn object(schema: &Schema, rules: &ObjectRules, cursor: &mut Cursor<'_>, levels: usize) -> Fits {
    cursor.take(b'{');
    let (mut seen, mut count, mut likely) = (Bits::default(), 0, 0);
    while cursor.peek() == Some(b'"') {
        let name_start = *cursor;
        let (inner, has_escapes) = cursor.string();
        if let Some(names) = rules.names {
            let mut name = name_start;
            value(schema, names, &mut name, levels).map_err(|fault| fault.inside(Step::Other))?;
        }
        cursor.take(b':');
        let name = unescaped(inner, has_escapes);
        let place = rules.place(&name, likely);
        if let Some(place) = place {
            seen.set(place);
            likely = place + 1;
        }
        let property = place.map(|place| &rules.properties[place]);
        match property.and_then(|property| property.schema) {
            Some(id) if rules.patterns.is_empty() => value(schema, id, cursor, levels)
                .map_err(|fault| fault.inside(Step::Named((*name).into())))?,
            _ => other_member(schema, rules, &name, property, cursor, levels)?,
        }
        count += 1;
        cursor.take(b',');
    }
    cursor.take(b'}');
    if !seen.has_all(&rules.required) {
        return Err(missing(rules, &seen));
    }
    counts(count, rules.min_properties, rules.max_properties, &PROPERTIES)
}

/// Checks the value of a property that is not described by its name, or may be by a pattern too.
fn other_member(
    schema: &Schema,
    rules: &ObjectRules,
    name: &str,
    named: Option<&Property>,
    cursor: &mut Cursor<'_>,
    levels: usize,
) -> Fits {
    let matching = rules.patterns.iter().filter(|(pattern, _)| pattern.is_match(name));
    let described = named.and_then(|property| property.schema);
    let mut schemas: Vec<_> = matching.map(|(_, id)| *id).chain(described).collect();
    if schemas.is_empty() {
        schemas.extend(rules.additional);
    }
    let step = || if named.is_some() { Step::Named(name.into()) } else { Step::Other };
    let start = *cursor;
    cursor.skip();
    for id in schemas {
        if schema.node(id).kinds == Kinds::NONE && named.is_none() {
            return Err(Fault::new("additionalProperties", expected_names(rules)));
        }
        value(schema, id, &mut start.clone(), levels).map_err(|fault| fault.inside(step()))?;
    }
    Ok(())
}

#[cold]
fn expected_names(rules: &ObjectRules) -> String {
    let names: Vec<_> = rules.properties.iter().map(|property| &*property.name).collect();
    match &*names {
        [] => "no property".to_owned(),
        names => format!("no property but {}", names.join(", ")),
    }
}

#[cold]
fn missing(rules: &ObjectRules, seen: &Bits) -> Box<Fault> {
    let mut places = 0..rules.properties.len();
    let first = places.find(|place| rules.required.has(*place) && !seen.has(*place));
    let name = first.map_or("", |place| &*rules.properties[place].name);
    Fault::new("required", format!("a property {name}"))
}

/// Checks an array and passes it.
fn array(schema: &Schema, rules: &ArrayRules, cursor: &mut Cursor<'_>, levels: usize) -> Fits {
    cursor.take(b'[');
    let mut members = HashSet::new();
    let mut index = 0;
    while !matches!(cursor.peek(), Some(b']') | None) {
        let start = *cursor;
        match rules.member(index) {
            None => cursor.skip(),
            Some(id) => value(schema, id, cursor, levels)
                .map_err(|fault| fault.inside(Step::Index(index)))?,
        }
        if rules.is_unique && !members.insert(canonical_text(cursor.since(start))) {
            let expected = "a member that no other one equals".to_owned();
            return Err(Fault::new("uniqueItems", expected).inside(Step::Index(index)));
        }
        index += 1;
        if !cursor.take(b',') {
            break;
        }
    }
    cursor.take(b']');
    counts(index, rules.min_items, rules.max_items, &ITEMS)
}

/// How a count is told.
struct Counted {
    least: &'static str,
    most: &'static str,
    what: &'static str,
}

const PROPERTIES: Counted =
    Counted { least: "minProperties", most: "maxProperties", what: "properties" };
const ITEMS: Counted = Counted { least: "minItems", most: "maxItems", what: "members" };

fn counts(count: usize, least: usize, most: Option<usize>, told: &Counted) -> Fits {
    if count < least {
        return Err(Fault::new(told.least, format!("at least {least} {}", told.what)));
    }
    match most {
        Some(most) if count > most => {
            Err(Fault::new(told.most, format!("at most {most} {}", told.what)))
        }
        _ => Ok(()),
    }
}
