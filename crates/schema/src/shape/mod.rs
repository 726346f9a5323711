//! What all samples of a type have in common, as a sum: adding a sample never depends on those
//! before it, so the same samples make the same schema in whatever order they come.
//!
//! - A kind of value (null, a text, …) is admitted where a sample has it.
//! - A format is kept while every text agrees in it.
//! - A property is required if every object that was seen at its place had it.
//! - The members of arrays are one shape, those of a map too.
//! - An enum is never guessed: that a sample has three values does not mean that there are three.
//!
//! `write` makes a schema of a shape, and `read` a shape of such a schema; `samples` reads samples
//! from text; `size` says what a shape takes.

mod read;
mod samples;
mod size;
mod write;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::samples::{SampleError, read_lines, read_values};
pub use self::write::Rules;

use crate::bounds::{DEPTH_MAX, SHAPE_PROPERTIES_MAX};
use crate::format::Format;

/// What was seen at one place of all samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    null: bool,
    boolean: bool,
    /// Numbers without a fraction or an exponent.
    integer: bool,
    /// Other numbers.
    number: bool,
    text: Option<Texts>,
    /// The members of all arrays.
    array: Option<Box<Shape>>,
    object: Option<Objects>,
}

/// The texts of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Texts {
    /// For each of [`Format::ALL`], whether every text is in it.
    agreed: [bool; Format::ALL.len()],
}

/// The objects of one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Objects {
    /// How many were seen.
    count: usize,
    /// Empty where they are a map.
    fields: BTreeMap<String, Field>,
    keys: Keys,
}

/// What is known of the keys of the objects of one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Keys {
    /// How many objects have each of them.
    #[default]
    Counted,
    /// Some are from a schema, which does not say how many objects had them.
    Uncounted,
    /// They name things: too many were seen, or a schema said so. All values are one shape.
    Map(Box<Shape>),
}

/// A property of the objects of one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Field {
    /// How many of the objects have it.
    count: usize,
    shape: Shape,
}

/// A sample goes deeper than a shape is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has more than {DEPTH_MAX} levels of objects and arrays")]
pub struct TooDeep;

impl Shape {
    /// Adds a sample.
    ///
    /// # Errors
    /// If it goes too deep. The shape is not to be used then.
    pub fn see(&mut self, value: &Value) -> Result<(), TooDeep> {
        self.see_below(value, DEPTH_MAX)
    }

    fn see_below(&mut self, value: &Value, levels: usize) -> Result<(), TooDeep> {
        match value {
            Value::Null => self.null = true,
            Value::Bool(_) => self.boolean = true,
            Value::Number(number) if number.is_f64() => self.number = true,
            Value::Number(_) => self.integer = true,
            Value::String(text) => {
                let agreed = Format::ALL.map(|format| format.is_seen_in(text));
                merge_texts(&mut self.text, &Texts { agreed });
            }
            Value::Array(members) => {
                let levels = levels.checked_sub(1).ok_or(TooDeep)?;
                let shape = self.array.get_or_insert_default();
                members.iter().try_for_each(|member| shape.see_below(member, levels))?;
            }
            Value::Object(fields) => {
                let levels = levels.checked_sub(1).ok_or(TooDeep)?;
                let objects = self.object.get_or_insert_default();
                objects.count += 1;
                for (name, value) in fields {
                    objects.counted(name, 1).see_below(value, levels)?;
                    objects.bound();
                }
            }
        }
        Ok(())
    }

    /// Adds what another shape has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.null |= other.null;
        self.boolean |= other.boolean;
        self.integer |= other.integer;
        self.number |= other.number;
        if let Some(texts) = &other.text {
            merge_texts(&mut self.text, texts);
        }
        if let Some(members) = &other.array {
            self.array.get_or_insert_default().merge(members);
        }
        if let Some(others) = &other.object {
            self.object.get_or_insert_default().merge(others);
        }
    }

    /// How many kinds of value were seen besides null; integers are numbers.
    fn kinds(&self) -> usize {
        [
            self.boolean,
            self.integer || self.number,
            self.text.is_some(),
            self.array.is_some(),
            self.object.is_some(),
        ]
        .into_iter()
        .filter(|seen| *seen)
        .count()
    }
}

fn merge_texts(texts: &mut Option<Texts>, other: &Texts) {
    match texts {
        None => *texts = Some(other.clone()),
        Some(texts) => {
            for (agreed, other) in texts.agreed.iter_mut().zip(other.agreed) {
                *agreed &= other;
            }
        }
    }
}

impl Texts {
    fn format(&self) -> Option<Format> {
        Format::ALL
            .into_iter()
            .zip(self.agreed)
            .find_map(|(format, agreed)| agreed.then_some(format))
    }
}

impl Objects {
    /// The shape of the values of one key, which so many more objects have.
    fn counted(&mut self, name: &str, more: usize) -> &mut Shape {
        if let Keys::Map(values) = &mut self.keys {
            return values;
        }
        let field = self.fields.entry(name.to_owned()).or_default();
        field.count += more;
        &mut field.shape
    }

    /// Makes a map of objects that have too many keys for anything else.
    fn bound(&mut self) {
        if self.fields.len() > SHAPE_PROPERTIES_MAX {
            self.make_map();
        }
    }

    /// From now on they are a map; returns the shape of its values.
    fn make_map(&mut self) -> &mut Shape {
        if !matches!(self.keys, Keys::Map(_)) {
            self.keys = Keys::Map(Box::new(self.values()));
            self.fields.clear();
        }
        match &mut self.keys {
            Keys::Map(values) => values,
            Keys::Counted | Keys::Uncounted => unreachable!("it was made one"),
        }
    }

    /// The shape of all values by name.
    fn values(&self) -> Shape {
        let mut values = Shape::default();
        self.fields.values().for_each(|field| values.merge(&field.shape));
        values
    }

    fn merge(&mut self, others: &Self) {
        self.count += others.count;
        match &others.keys {
            Keys::Counted => {}
            Keys::Uncounted if self.keys == Keys::Counted => self.keys = Keys::Uncounted,
            Keys::Uncounted => {}
            Keys::Map(values) => self.make_map().merge(values),
        }
        for (name, other) in &others.fields {
            self.counted(name, other.count).merge(&other.shape);
            self.bound();
        }
    }

    /// The one shape of all values, if the objects are maps: their keys name things, not fields.
    /// Either every key is an id (a uuid, a number, a date, an address), or there are many keys, no
    /// one of which is in more than half of the objects. And all values are of one kind.
    fn as_map(&self) -> Option<Shape> {
        /// Fewer ids may be there by chance.
        const IDS_MIN: usize = 2;
        /// Fewer words may be fields, each of which is optional.
        const WORDS_MIN: usize = 20;
        /// Objects that must have been seen before "not in most of them" means anything.
        const OBJECTS_MIN: usize = 3;
        if let Keys::Map(values) = &self.keys {
            return Some((**values).clone());
        }
        let keys = self.fields.len();
        let are_ids = || keys >= IDS_MIN && self.fields.keys().all(|key| is_id(key));
        let are_rare = || {
            self.keys == Keys::Counted
                && keys >= WORDS_MIN
                && self.count >= OBJECTS_MIN
                && self.fields.values().all(|field| field.count * 2 <= self.count)
        };
        if !(are_ids() || are_rare()) {
            return None;
        }
        Some(self.values()).filter(|values| values.kinds() <= 1)
    }
}

/// Whether a key names a thing rather than a field.
fn is_id(key: &str) -> bool {
    (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()))
        || Format::ALL.into_iter().any(|format| format.is_seen_in(key))
}

#[cfg(test)]
mod tests;
