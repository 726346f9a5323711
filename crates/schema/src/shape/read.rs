//! A schema that was made from samples, as the shape it was made of: so that a later discovery adds
//! to it. How many samples there were is gone; a schema with anything that samples do not make is
//! somebody's own, and no shape.

use serde_json::{Map, Value};

use super::{Field, Keys, Objects, Shape, Texts};
use crate::format::Format;

/// What a schema says of itself, and not of values.
const ABOUT: [&str; 3] = ["$schema", "$comment", "title"];

impl Shape {
    /// The shape that a schema was made of; `None` if samples do not make such a schema.
    pub(crate) fn of_schema(schema: &Value) -> Option<Self> {
        let mut keywords = schema.as_object()?.clone();
        keywords.retain(|keyword, _| !ABOUT.contains(&keyword.as_str()));
        read(&keywords)
    }
}

fn read(keywords: &Map<String, Value>) -> Option<Shape> {
    let mut shape = Shape::default();
    if keywords.is_empty() {
        shape.null = true; // nothing else was seen, or it would be said
        return Some(shape);
    }
    for name in names(keywords.get("type")?)? {
        match name {
            "null" => shape.null = true,
            "boolean" => shape.boolean = true,
            "integer" => shape.integer = true,
            "number" => shape.number = true,
            "string" => shape.text = Some(texts(keywords.get("format"))?),
            "array" => shape.array = Some(Box::new(members(keywords.get("items"))?)),
            "object" => shape.object = Some(objects(keywords)?),
            _ => return None,
        }
    }
    let is_said = |keyword: &String| match keyword.as_str() {
        "type" => true,
        "format" => shape.text.is_some(),
        "items" => shape.array.is_some(),
        "properties" | "required" | "additionalProperties" => shape.object.is_some(),
        _ => false,
    };
    keywords.keys().all(is_said).then_some(shape)
}

fn names(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        name => Some(vec![name.as_str()?]),
    }
}

fn texts(format: Option<&Value>) -> Option<Texts> {
    let format = match format {
        None => None,
        Some(name) => Some(Format::named(name.as_str()?)?),
    };
    Some(Texts { agreed: Format::ALL.map(|one| Some(one) == format) })
}

fn members(items: Option<&Value>) -> Option<Shape> {
    items.map_or_else(|| Some(Shape::default()), |items| read(items.as_object()?))
}

fn objects(keywords: &Map<String, Value>) -> Option<Objects> {
    let (named, required) = (keywords.get("properties"), keywords.get("required"));
    let mut objects = Objects { count: 1, ..Objects::default() };
    match keywords.get("additionalProperties") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Object(values)) if named.is_none() && required.is_none() => {
            objects.keys = Keys::Map(Box::new(read(values)?));
        }
        Some(_) => return None,
    }
    if let Some(named) = named {
        objects.keys = Keys::Uncounted;
        for (name, schema) in named.as_object()? {
            let field = Field { count: 0, shape: read(schema.as_object()?)? };
            objects.fields.insert(name.clone(), field);
        }
    }
    for name in required.map_or(Some(Vec::new()), names)? {
        objects.fields.get_mut(name)?.count = objects.count;
    }
    Some(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_with_anything_that_samples_do_not_make_is_no_shape() {
        for schema in [
            json!(true),
            json!({"type": "string", "minLength": 1}),
            json!({"type": "string", "items": {"type": "string"}}),
            json!({"type": "text"}),
            json!({"type": "string", "format": "ipv4"}),
            json!({"enum": [1]}),
            json!({"type": "object", "required": ["a"]}),
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "properties": {"a": true}}),
            json!({
                "type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "null"},
            }),
            json!({"type": "array", "items": {"pattern": "a"}}),
            json!({"type": "object", "properties": {}, "$defs": {}}),
        ] {
            assert_eq!(Shape::of_schema(&schema), None, "{schema}");
        }
    }

    #[test]
    fn what_comes_later_adds_to_a_shape_that_was_read() {
        let schema = json!({
            "title": "T",
            "type": "object",
            "properties": {"at": {"type": "string", "format": "date"}, "n": {"type": "integer"}},
            "required": ["at", "n"],
        });
        let mut shape = Shape::of_schema(&schema).expect("samples make it");
        shape.see(&json!({"at": "2026-11-28", "more": null})).expect("it is not deep");
        let added = shape.to_schema("T", super::super::Rules::Open);
        assert_eq!(added["required"], json!(["at"]));
        assert_eq!(added["properties"]["at"]["format"], "date");
        assert_eq!(added["properties"]["more"], json!({}));
    }

    /// What could go wrong: a schema does not say how often a field was there, and a few events
    /// without most of many fields would make a map of them.
    #[test]
    fn fields_that_a_schema_names_stay_fields_while_few_events_have_them() {
        let fields = (0..30).map(|n| (format!("field{n}"), json!({"type": "integer"})));
        let schema = json!({"type": "object", "properties": Value::Object(fields.collect())});
        let mut shape = Shape::of_schema(&schema).expect("samples make it");
        for _ in 0..10 {
            shape.see(&json!({"field1": 1})).expect("it is not deep");
        }
        let added = shape.to_schema("T", super::super::Rules::Open);
        assert_eq!(added["properties"].as_object().map(Map::len), Some(30));
    }
}
