//! The keywords of one schema → its node. The two lists here say of every keyword of the draft
//! whether it is checked, passed over because it demands nothing, or refused.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::equal::canonical;
use super::node::{
    ArrayRules, Bits, InPlace, Kinds, Node, NodeId, NumberRules, ObjectRules, Property, TextRules,
};
use super::number::Bound;
use super::pattern::Pattern;
use super::places::{Loader, Place, Step};
use crate::bounds::{ENUM_VALUES_MAX, PATTERNS_BYTES_MAX, PROPERTIES_MAX};
use crate::format::{self, Format};

/// The draft that schemas are written and loaded in.
pub const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords that events are checked by.
const CHECKED: &[&str] = &[
    "$ref",
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "required",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "$defs",
];

/// Keywords that demand nothing of an event. So do those that begin with `x-`.
const PASSED_OVER: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
];

/// Keywords of the draft, or of others, that are not checked here and would demand something.
const REFUSED: &[&str] = &[
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$vocabulary",
    "unevaluatedItems",
    "unevaluatedProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "contains",
    "minContains",
    "maxContains",
    "contentSchema",
    "additionalItems",
    "definitions",
    "id",
    "nullable",
    "discriminator",
];

/// One schema that is an object.
pub(super) struct Keywords<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) id: NodeId,
}

/// What was loaded, or in words why it is not: who loads knows where it stands.
type Loaded<T> = Result<T, String>;

/// Makes the node. Schemas inside are only named: the loader comes to them later.
pub(super) fn node<'a>(loader: &mut Loader<'a>, words: &Keywords<'a>) -> Loaded<Node> {
    words.check_names()?;
    let mut node = Node::anything();
    node.kinds = words.kinds()?;
    node.number = words.number_rules()?;
    node.text = words.text_rules(loader)?;
    node.array = words.array_rules(loader)?;
    node.object = words.object_rules(loader)?;
    node.values = words.values()?;
    node.in_place = words.in_place(loader)?;
    words.schemas_by_name(loader, "$defs")?;
    Ok(node)
}

impl<'a> Keywords<'a> {
    fn check_names(&self) -> Loaded<()> {
        for (name, value) in self.map {
            let name = name.as_str();
            if REFUSED.contains(&name) {
                return self.refuse(format!("{name} is not checked here, and is not passed over"));
            }
            if !(CHECKED.contains(&name) || PASSED_OVER.contains(&name) || name.starts_with("x-")) {
                return self.refuse(format!(
                    "{name} is no keyword of JSON Schema 2020-12; one of your own begins with x-"
                ));
            }
            if name == "$id" && self.id != NodeId::ROOT {
                return self.refuse("$id has a meaning here only at the root");
            }
            if name == "$schema"
                && value.as_str().map(|draft| draft.trim_end_matches('#')) != Some(DRAFT)
            {
                return self.refuse(format!("$schema is {value}, and only \"{DRAFT}\" is loaded"));
            }
        }
        Ok(())
    }

    fn kinds(&self) -> Loaded<Kinds> {
        let named = |value: &Value| value.as_str().and_then(Kinds::named);
        let kinds = match self.map.get("type") {
            None => Some(Kinds::ALL),
            Some(Value::Array(names)) => names
                .iter()
                .try_fold(Kinds::NONE, |kinds, name| Some(kinds.union(named(name)?)))
                .filter(|kinds| *kinds != Kinds::NONE),
            Some(name) => named(name),
        };
        match kinds {
            Some(kinds) => Ok(kinds),
            None => self.refuse(
                "type takes null, boolean, integer, number, string, array, object, or several of \
                 them in an array",
            ),
        }
    }

    fn number_rules(&self) -> Loaded<Option<Box<NumberRules>>> {
        let rules = NumberRules {
            minimum: self.bound("minimum", "exclusiveMinimum", Ordering::Greater)?,
            maximum: self.bound("maximum", "exclusiveMaximum", Ordering::Less)?,
            multiple_of: self.multiple_of()?,
        };
        let is_there =
            rules.minimum.is_some() || rules.maximum.is_some() || rules.multiple_of.is_some();
        Ok(is_there.then(|| Box::new(rules)))
    }

    fn bound(&self, at: &str, beyond: &str, side: Ordering) -> Loaded<Option<Bound>> {
        let read = |name: &str, is_exclusive| match self.map.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(Bound::new(number, is_exclusive))),
            Some(_) => self.refuse(format!("{name} takes a number")),
        };
        let (at, beyond) = (read(at, false)?, read(beyond, true)?);
        Ok(match at {
            Some(at) => Some(at.narrower(beyond, side)),
            None => beyond,
        })
    }

    fn multiple_of(&self) -> Loaded<Option<u64>> {
        match self.map.get("multipleOf").map(Value::as_u64) {
            None => Ok(None),
            Some(Some(unit)) if unit > 0 => Ok(Some(unit)),
            Some(_) => self.refuse(
                "multipleOf takes an integer above 0 here: whether a double is a multiple of a \
                 fraction has no exact answer",
            ),
        }
    }

    fn text_rules(&self, loader: &mut Loader<'a>) -> Loaded<Option<Box<TextRules>>> {
        let rules = TextRules {
            min_length: self.count("minLength")?.unwrap_or(0),
            max_length: self.count("maxLength")?,
            pattern: match self.map.get("pattern") {
                None => None,
                Some(Value::String(text)) => Some(self.pattern(loader, text)?),
                Some(_) => return self.refuse("pattern takes a text"),
            },
            format: self.format()?,
        };
        let is_there = rules.min_length > 0
            || rules.max_length.is_some()
            || rules.pattern.is_some()
            || rules.format.is_some();
        Ok(is_there.then(|| Box::new(rules)))
    }

    fn format(&self) -> Loaded<Option<Format>> {
        match self.map.get("format").map(Value::as_str) {
            None => Ok(None),
            Some(Some(name)) if Format::named(name).is_some() => Ok(Format::named(name)),
            Some(Some(name)) if format::is_annotation(name) => Ok(None),
            _ => self.refuse("format takes the name of one that JSON Schema has"),
        }
    }

    fn pattern(&self, loader: &mut Loader<'a>, text: &str) -> Loaded<Pattern> {
        let pattern = Pattern::new(text).or_else(|why| self.refuse(why))?;
        loader.pattern_bytes += pattern.bytes();
        if loader.pattern_bytes > PATTERNS_BYTES_MAX {
            return self.refuse(format!(
                "the patterns take more than {PATTERNS_BYTES_MAX} bytes compiled, up to the \
                 pattern {text}"
            ));
        }
        Ok(pattern)
    }

    fn array_rules(&self, loader: &mut Loader<'a>) -> Loaded<Option<Box<ArrayRules>>> {
        let is_unique = match self.map.get("uniqueItems") {
            None => false,
            Some(Value::Bool(is_unique)) => *is_unique,
            Some(_) => return self.refuse("uniqueItems takes true or false"),
        };
        let rules = ArrayRules {
            prefix: self.schemas(loader, "prefixItems")?,
            items: self.schema(loader, "items")?,
            min_items: self.count("minItems")?.unwrap_or(0),
            max_items: self.count("maxItems")?,
            is_unique,
        };
        let is_there = !rules.prefix.is_empty()
            || rules.items.is_some()
            || rules.min_items > 0
            || rules.max_items.is_some()
            || is_unique;
        Ok(is_there.then(|| Box::new(rules)))
    }

    fn object_rules(&self, loader: &mut Loader<'a>) -> Loaded<Option<Box<ObjectRules>>> {
        let properties = self.properties(loader)?;
        let mut required = Bits::default();
        for (place, property) in properties.iter().enumerate() {
            if property.is_required {
                required.set(place);
            }
        }
        let patterns = self.schemas_by_name(loader, "patternProperties")?.into_iter();
        let patterns = patterns.map(|(text, schema)| Ok((self.pattern(loader, text)?, schema)));
        let rules = ObjectRules {
            properties,
            required,
            patterns: patterns.collect::<Loaded<_>>()?,
            additional: self.schema(loader, "additionalProperties")?,
            names: self.schema(loader, "propertyNames")?,
            min_properties: self.count("minProperties")?.unwrap_or(0),
            max_properties: self.count("maxProperties")?,
        };
        let is_there = !rules.properties.is_empty()
            || !rules.patterns.is_empty()
            || rules.additional.is_some()
            || rules.names.is_some()
            || rules.min_properties > 0
            || rules.max_properties.is_some();
        Ok(is_there.then(|| Box::new(rules)))
    }

    /// The properties that are described or required, by name.
    fn properties(&self, loader: &mut Loader<'a>) -> Loaded<Vec<Property>> {
        let required = self.required()?;
        let mut described = self.schemas_by_name(loader, "properties")?;
        described.sort_unstable_by_key(|(name, _)| *name);
        let is_described = |name: &str| described.binary_search_by_key(&name, |(of, _)| of).is_ok();
        let others: Vec<&str> =
            required.iter().copied().filter(|name| !is_described(name)).collect();
        if described.len() + others.len() > PROPERTIES_MAX {
            return self.refuse(format!("an object names at most {PROPERTIES_MAX} properties"));
        }
        let described = described.into_iter().map(|(name, schema)| Property {
            name: name.into(),
            schema: Some(schema),
            is_required: required.binary_search(&name).is_ok(),
        });
        let others = others.into_iter().map(|name| Property {
            name: name.into(),
            schema: None,
            is_required: true,
        });
        let mut properties: Vec<Property> = described.chain(others).collect();
        properties.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(properties)
    }

    /// Names, each once and in their order.
    fn required(&self) -> Loaded<Vec<&'a str>> {
        let names = match self.map.get("required") {
            None => Some(Vec::new()),
            Some(Value::Array(names)) => names.iter().map(Value::as_str).collect(),
            Some(_) => None,
        };
        match names {
            Some(mut names) => {
                names.sort_unstable();
                names.dedup();
                Ok(names)
            }
            None => self.refuse("required takes an array of names"),
        }
    }

    fn values(&self) -> Loaded<Option<Box<[String]>>> {
        let listed = match self.map.get("enum") {
            None => None,
            Some(Value::Array(values)) if values.len() <= ENUM_VALUES_MAX => {
                Some(values.iter().map(canonical).collect::<Vec<_>>())
            }
            Some(_) => {
                return self
                    .refuse(format!("enum takes an array of at most {ENUM_VALUES_MAX} values"));
            }
        };
        let only = self.map.get("const").map(canonical);
        Ok(match (listed, only) {
            (None, None) => None,
            (Some(values), None) => Some(values.into()),
            (None, Some(only)) => Some([only].into()),
            (Some(values), Some(only)) => {
                Some(values.into_iter().filter(|value| *value == only).collect())
            }
        })
    }

    fn in_place(&self, loader: &mut Loader<'a>) -> Loaded<Vec<InPlace>> {
        let mut rules = Vec::new();
        match self.map.get("$ref") {
            None => {}
            Some(Value::String(reference)) => {
                rules.push(InPlace::All(loader.referred(reference)?));
            }
            Some(_) => return self.refuse("$ref takes a text"),
        }
        rules.extend(self.schemas(loader, "allOf")?.into_iter().map(InPlace::All));
        if self.map.contains_key("anyOf") {
            rules.push(InPlace::Any(self.schemas(loader, "anyOf")?));
        }
        if self.map.contains_key("oneOf") {
            rules.push(InPlace::One(self.schemas(loader, "oneOf")?));
        }
        rules.extend(self.schema(loader, "not")?.map(InPlace::Not));
        let (then, otherwise) = (self.schema(loader, "then")?, self.schema(loader, "else")?);
        if let Some(condition) = self.schema(loader, "if")? {
            rules.push(InPlace::If { condition, then, otherwise });
        }
        Ok(rules)
    }

    fn count(&self, name: &str) -> Loaded<Option<usize>> {
        match self.map.get(name).map(Value::as_u64) {
            None => Ok(None),
            Some(Some(count)) => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
            Some(None) => self.refuse(format!("{name} takes an integer of at least 0")),
        }
    }

    fn schema(&self, loader: &mut Loader<'a>, name: &'static str) -> Loaded<Option<NodeId>> {
        let value = self.map.get(name);
        value.map(|value| loader.schema(self.below(name, Step::None), value)).transpose()
    }

    fn below(&self, keyword: &'static str, step: Step<'a>) -> Place<'a> {
        Place::Below(self.id, keyword, step)
    }

    fn schemas(&self, loader: &mut Loader<'a>, name: &'static str) -> Loaded<Vec<NodeId>> {
        let values = match self.map.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) if !values.is_empty() => values.iter().enumerate(),
            Some(_) => return self.refuse(format!("{name} takes an array of schemas")),
        };
        values.map(|(at, value)| loader.schema(self.below(name, Step::Index(at)), value)).collect()
    }

    fn schemas_by_name(
        &self,
        loader: &mut Loader<'a>,
        keyword: &'static str,
    ) -> Loaded<Vec<(&'a str, NodeId)>> {
        let schemas = match self.map.get(keyword) {
            None => return Ok(Vec::new()),
            Some(Value::Object(schemas)) => schemas,
            Some(_) => return self.refuse(format!("{keyword} takes an object of schemas")),
        };
        let named = schemas.iter().map(|(name, value)| {
            let place = self.below(keyword, Step::Named(name));
            Ok((name.as_str(), loader.schema(place, value)?))
        });
        named.collect()
    }

    fn refuse<T>(&self, why: impl Into<String>) -> Loaded<T> {
        Err(why.into())
    }
}
