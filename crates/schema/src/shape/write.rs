//! A shape as a schema. What the samples do not say is not said: a place that was null or empty in
//! every sample takes anything.

use serde_json::{Map, Value, json};

use super::{Objects, Shape};

/// How much a schema concludes from samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rules {
    /// A sample shows what there is: more properties may come, and what was only null may be
    /// anything.
    #[default]
    Open,
    /// As quicktype concludes: a sample shows all there is. No other property, and null alone where
    /// only null was seen. Addresses are texts.
    Strict,
}

/// What a schema says of itself first, so that nobody writes into it.
const COMMENT: &str = "Made from samples by `dispatchd schema generate`. Change those, or the \
                       patch beside them.";

impl Shape {
    /// The schema of a type.
    pub fn to_schema(&self, event_type: &str, rules: Rules) -> Value {
        let mut schema = self.schema(rules);
        schema.insert("$schema".into(), crate::compiled::DRAFT.into());
        schema.insert("$comment".into(), COMMENT.into());
        schema.insert("title".into(), event_type.into());
        Value::Object(schema)
    }

    fn schema(&self, rules: Rules) -> Map<String, Value> {
        let mut schema = Map::new();
        if self.kinds() == 0 && (rules == Rules::Open || !self.null) {
            return schema;
        }
        schema.insert("type".into(), one_or_many(self.types()));
        if let Some(format) = self.text.as_ref().and_then(super::Texts::format)
            && !(rules == Rules::Strict && format == crate::format::Format::Email)
        {
            schema.insert("format".into(), format.as_str().into());
        }
        if let Some(members) = &self.array {
            let items = members.schema(rules);
            if !items.is_empty() {
                schema.insert("items".into(), Value::Object(items));
            }
        }
        if let Some(objects) = &self.object {
            objects.write(&mut schema, rules);
        }
        schema
    }

    fn types(&self) -> Vec<&'static str> {
        let seen = [
            ("object", self.object.is_some()),
            ("array", self.array.is_some()),
            ("string", self.text.is_some()),
            ("number", self.number),
            ("integer", self.integer && !self.number),
            ("boolean", self.boolean),
            ("null", self.null),
        ];
        seen.into_iter().filter_map(|(name, seen)| seen.then_some(name)).collect()
    }
}

impl Objects {
    fn write(&self, schema: &mut Map<String, Value>, rules: Rules) {
        if let Some(values) = self.as_map() {
            schema.insert("additionalProperties".into(), Value::Object(values.schema(rules)));
            return;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (name, field) in &self.fields {
            properties.insert(name.clone(), Value::Object(field.shape.schema(rules)));
            if field.count == self.count {
                required.push(name.as_str());
            }
        }
        if !properties.is_empty() {
            schema.insert("properties".into(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
        if rules == Rules::Strict {
            schema.insert("additionalProperties".into(), false.into());
        }
    }
}

fn one_or_many(mut names: Vec<&'static str>) -> Value {
    if names.len() == 1 { names.remove(0).into() } else { names.into() }
}
