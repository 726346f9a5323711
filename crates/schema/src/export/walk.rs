//! What the older forms have in common on the way through a schema: which keywords hold schemas,
//! and where each of them stands. What becomes of a keyword is the form's.

use serde_json::{Map, Value};

use super::Unsayable;
use crate::compiled::violation::escaped;

/// A schema, or a part of one, in another form.
pub(super) type Written = Result<Value, Unsayable>;

/// A form that schemas of one type are written in.
pub(super) trait Form {
    /// Its name, in messages.
    fn name(&self) -> &'static str;

    fn event_type(&self) -> &str;

    /// One schema in this form; `at`: where it stands.
    fn schema(&self, schema: &Value, at: &str) -> Written;

    /// The value of a keyword, with each schema in it in this form.
    fn inside(&self, keyword: &str, value: &Value, at: &str) -> Written {
        let below = format!("{at}/{}", escaped(keyword));
        match (keyword, value) {
            // Every form takes true and false here.
            ("additionalProperties", Value::Bool(_)) => Ok(value.clone()),
            ("$defs" | "properties" | "patternProperties", Value::Object(schemas)) => {
                let each = schemas.iter().map(|(name, schema)| {
                    Ok((name.clone(), self.schema(schema, &format!("{below}/{}", escaped(name)))?))
                });
                each.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
            ("prefixItems" | "allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                let each = schemas.iter().enumerate();
                each.map(|(at, schema)| self.schema(schema, &format!("{below}/{at}"))).collect()
            }
            (
                "items" | "additionalProperties" | "propertyNames" | "not" | "if" | "then" | "else",
                schema,
            ) => self.schema(schema, &below),
            (_, value) => Ok(value.clone()),
        }
    }

    /// Writes `exclusiveMinimum` or `exclusiveMaximum` as they were first: `true` beside the bound.
    /// So there is no place for two bounds.
    fn exclusive_bound(
        &self,
        keyword: &str,
        keywords: &Map<String, Value>,
        at: &str,
        written: &mut Map<String, Value>,
    ) -> Result<(), Unsayable> {
        let plain = if keyword == "exclusiveMinimum" { "minimum" } else { "maximum" };
        if keywords.contains_key(plain) {
            return self.refuse(keyword, at);
        }
        written.insert(plain.to_owned(), keywords[keyword].clone());
        written.insert(keyword.to_owned(), true.into());
        Ok(())
    }

    fn refuse<T>(&self, keyword: &str, at: &str) -> Result<T, Unsayable> {
        Err(Unsayable {
            event_type: self.event_type().to_owned(),
            pointer: at.to_owned(),
            keyword: keyword.to_owned(),
            form: self.name(),
        })
    }
}
