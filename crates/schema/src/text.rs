//! The one way in which a schema is written as text: the same schema is the same bytes, whatever
//! order its keys were read in. Keywords stand in the order in which people read them, names in
//! that of the alphabet.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// Keywords in their order; those that are not here come last, by name.
const ORDER: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "openapi",
    "asyncapi",
    "info",
    "$ref",
    "title",
    "description",
    "deprecated",
    "type",
    "nullable",
    "format",
    "enum",
    "const",
    "properties",
    "required",
    "patternProperties",
    "propertyNames",
    "additionalProperties",
    "prefixItems",
    "items",
];

/// What a value is, which says how its keys are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Schema,
    /// Names, each with a schema.
    Names,
    /// Data, such as a default.
    Data,
}

struct Ordered<'a> {
    value: &'a Value,
    place: Place,
}

/// A schema as text, with two spaces a level and a newline at its end.
pub fn print(schema: &Value) -> String {
    let ordered = Ordered { value: schema, place: Place::Schema };
    serde_json::to_string_pretty(&ordered).expect("a JSON value always prints") + "\n"
}

/// The same on one line: two texts are equal where two values are.
pub(crate) fn print_data(value: &Value) -> String {
    let ordered = Ordered { value, place: Place::Data };
    serde_json::to_string(&ordered).expect("a JSON value always prints")
}

/// Data as text, with two spaces a level.
pub(crate) fn print_data_pretty(value: &Value) -> String {
    let ordered = Ordered { value, place: Place::Data };
    serde_json::to_string_pretty(&ordered).expect("a JSON value always prints")
}

impl Place {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Names, _) => Self::Schema,
            (Self::Data, _) | (_, "default" | "const" | "examples" | "example" | "enum") => {
                Self::Data
            }
            (
                _,
                "properties" | "patternProperties" | "$defs" | "definitions" | "schemas"
                | "messages" | "channels" | "operations",
            ) => Self::Names,
            _ => Self::Schema,
        }
    }

    fn rank(self, key: &str) -> usize {
        let known = ORDER.iter().position(|known| *known == key);
        if self == Self::Schema { known.unwrap_or(ORDER.len()) } else { 0 }
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { value, place } = *self;
        match value {
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(key, _)| (place.rank(key), *key));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, &Ordered { value, place: place.below(key) })?;
                }
                map.end()
            }
            Value::Array(values) => {
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    seq.serialize_element(&Ordered { value, place })?;
                }
                seq.end()
            }
            value => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keywords_come_in_reading_order_and_names_in_the_alphabets() {
        let schema = json!({
            "required": ["type"],
            "x-owner": "trading",
            "properties": {"type": {"format": "uuid", "type": "string"}, "items": {"minItems": 1}},
            "default": {"type": 1, "properties": 2, "a": 3},
            "title": "T",
        });
        let text = print(&schema);
        let order = ["title", "properties", "items", "type", "type", "format", "required"];
        let mut from = 0;
        for key in order {
            let at = text[from..].find(&format!("\"{key}\":")).expect("it stands after the last");
            from += at + 1;
        }
        assert!(text.contains("\"default\": {\n    \"a\": 3,\n    \"properties\": 2,\n"));
    }
}
