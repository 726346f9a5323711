//! Schemas as the components of an OpenAPI 3.0 document, which is what EventBridge's registry and
//! generators of code take. 3.0 has a dialect of its own: no list of types, `nullable`, no `const`.

use serde_json::{Map, Value, json};

use super::walk::{Form, Written};
use super::{Schemas, Unsayable};
use crate::compiled::violation::escaped;

/// Keywords that it does not have, and nothing that says the same.
const UNKNOWN: &[&str] =
    &["patternProperties", "propertyNames", "prefixItems", "if", "then", "else"];

/// Keywords that only tell, and have no place.
const LEFT_OUT: &[&str] =
    &["$schema", "$id", "$comment", "$defs", "contentEncoding", "contentMediaType"];

/// The document. A type whose name a component cannot have is one by another name; its title is the
/// type.
///
/// # Errors
/// If a schema has what the form cannot say.
pub fn openapi(schemas: &Schemas<'_>) -> Result<Value, Unsayable> {
    let mut components = Map::new();
    for (event_type, schema) in schemas {
        let name = component(event_type);
        let writing = Writing { event_type, prefix: format!("{name}.") };
        for (part, part_schema) in parts(schema) {
            let at = format!("/$defs/{}", escaped(part));
            components.insert(writing.part(part), writing.schema(part_schema, &at)?);
        }
        components.insert(name, writing.schema(schema, "")?);
    }
    Ok(json!({
        "openapi": "3.0.3",
        "info": {"title": "Events", "version": "1.0.0"},
        "paths": {},
        "components": {"schemas": components},
    }))
}

/// The name of a type's component: letters, digits, dots, dashes and underscores. Another byte is
/// written as `_` and its two digits, so that two types stay two.
pub(super) fn component(event_type: &str) -> String {
    let mut name = String::new();
    for byte in event_type.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
            byte => name.push_str(&format!("_{byte:02X}")),
        }
    }
    name
}

fn parts(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("$defs").and_then(Value::as_object).into_iter().flatten()
}

/// One type's schema on its way.
struct Writing<'a> {
    event_type: &'a str,
    /// Of the names of its parts.
    prefix: String,
}

impl Form for Writing<'_> {
    fn name(&self) -> &'static str {
        "OpenAPI 3.0"
    }

    fn event_type(&self) -> &str {
        self.event_type
    }

    fn schema(&self, schema: &Value, at: &str) -> Written {
        match schema {
            Value::Bool(true) => Ok(json!({})),
            Value::Bool(false) => Ok(json!({"not": {}})),
            Value::Object(keywords) => self.object(keywords, at),
            schema => Ok(schema.clone()),
        }
    }
}

impl Writing<'_> {
    fn part(&self, name: &str) -> String {
        format!("{}{}", self.prefix, component(name))
    }

    fn object(&self, keywords: &Map<String, Value>, at: &str) -> Written {
        let mut written = Map::new();
        for (keyword, value) in keywords {
            if UNKNOWN.contains(&keyword.as_str()) {
                return self.refuse(keyword, at);
            }
            self.keyword(keyword, value, keywords, at, &mut written)?;
        }
        if let Some(reference) = written.remove("$ref") {
            return Ok(beside_others(reference, written));
        }
        match keywords.get("type") {
            Some(types) => Ok(with_types(types, written)),
            None => Ok(Value::Object(written)),
        }
    }

    fn keyword(
        &self,
        keyword: &str,
        value: &Value,
        keywords: &Map<String, Value>,
        at: &str,
        written: &mut Map<String, Value>,
    ) -> Result<(), Unsayable> {
        let mut put = |name: &str, value: Value| drop(written.insert(name.to_owned(), value));
        match (keyword, value) {
            ("type", _) => {} // once the others are there
            (keyword, _) if LEFT_OUT.contains(&keyword) => {}
            ("$ref", Value::String(reference)) => put("$ref", self.reference(reference, at)?),
            ("const", value) => put("enum", json!([value])),
            ("examples", Value::Array(examples)) => {
                put("example", examples.first().cloned().unwrap_or(Value::Null));
            }
            ("exclusiveMinimum" | "exclusiveMaximum", _) => {
                self.exclusive_bound(keyword, keywords, at, written)?;
            }
            (keyword, value) => put(keyword, self.inside(keyword, value, at)?),
        }
        Ok(())
    }

    fn reference(&self, reference: &str, at: &str) -> Written {
        let component = match reference.strip_prefix("#/$defs/") {
            Some(part) if !part.contains(['/', '%', '~']) => self.part(part),
            _ if reference == "#" => self.prefix.trim_end_matches('.').to_owned(),
            _ => return self.refuse("$ref", at),
        };
        Ok(format!("#/components/schemas/{component}").into())
    }
}

/// Beside a `$ref` nothing counts.
fn beside_others(reference: Value, others: Map<String, Value>) -> Value {
    match others.is_empty() {
        true => json!({"$ref": reference}),
        false => json!({"allOf": [{"$ref": reference}, others]}),
    }
}

/// One type stays one; null is `nullable`; several are alternatives, each with what it is demanded.
fn with_types(types: &Value, mut written: Map<String, Value>) -> Value {
    let names: Vec<&str> = match types {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_nullable = names.contains(&"null");
    let others: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
    match *others {
        [] => {
            written.insert("nullable".into(), true.into());
            written.insert("enum".into(), json!([null]));
        }
        [only] => {
            written.insert("type".into(), only.into());
            if only == "array" && !written.contains_key("items") {
                written.insert("items".into(), json!({})); // it must be there
            }
            if is_nullable {
                written.insert("nullable".into(), true.into());
                if let Some(Value::Array(values)) = written.get_mut("enum")
                    && !values.contains(&Value::Null)
                {
                    written.insert("nullable".into(), false.into());
                }
            }
        }
        _ => return alternatives(&others, is_nullable, written),
    }
    Value::Object(written)
}

/// Keywords of one kind of value go to its alternative, the others stay.
fn alternatives(names: &[&str], is_nullable: bool, mut written: Map<String, Value>) -> Value {
    let each = names.iter().map(|name| {
        let mut one = Map::new();
        one.insert("type".into(), (*name).into());
        for keyword in of_kind(name) {
            if let Some(value) = written.get(*keyword) {
                one.insert((*keyword).into(), value.clone());
            }
        }
        if *name == "array" {
            one.entry("items").or_insert_with(|| json!({}));
        }
        if is_nullable {
            one.insert("nullable".into(), true.into());
        }
        Value::Object(one)
    });
    let each: Vec<Value> = each.collect();
    for keyword in names.iter().flat_map(|name| of_kind(name)) {
        written.remove(*keyword);
    }
    match written.remove("anyOf") {
        None => written.insert("anyOf".into(), each.into()),
        Some(before) => written.insert("allOf".into(), json!([{"anyOf": before}, {"anyOf": each}])),
    };
    Value::Object(written)
}

fn of_kind(name: &str) -> &'static [&'static str] {
    match name {
        "object" => {
            &["properties", "required", "additionalProperties", "minProperties", "maxProperties"]
        }
        "array" => &["items", "minItems", "maxItems", "uniqueItems"],
        "string" => &["format", "pattern", "minLength", "maxLength"],
        "number" | "integer" => {
            &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
        }
        _ => &[],
    }
}
