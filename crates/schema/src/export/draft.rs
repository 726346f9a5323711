//! JSON Schema 2020-12 → older drafts, keyword by keyword.

use serde_json::{Map, Value, json};

use super::Unsayable;
use super::walk::{Form, Written};
use crate::compiled::DRAFT;

/// A draft of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draft {
    Four,
    Six,
    Seven,
    Latest,
}

/// A schema on its way, with what a message needs.
struct Rewriting<'a> {
    draft: Draft,
    event_type: &'a str,
}

impl Draft {
    fn name(self) -> &'static str {
        match self {
            Self::Four => "draft 4",
            Self::Six => "draft 6",
            Self::Seven => "draft 7",
            Self::Latest => "2020-12",
        }
    }

    fn uri(self) -> &'static str {
        match self {
            Self::Four => "http://json-schema.org/draft-04/schema#",
            Self::Six => "http://json-schema.org/draft-06/schema#",
            Self::Seven => "http://json-schema.org/draft-07/schema#",
            Self::Latest => DRAFT,
        }
    }

    /// The draft in which a keyword came, where that is not the fourth.
    fn of_keyword(keyword: &str) -> Self {
        match keyword {
            "propertyNames" => Self::Six,
            "if" | "then" | "else" | "contentEncoding" | "contentMediaType" => Self::Seven,
            _ => Self::Four,
        }
    }

    /// A schema in this draft.
    ///
    /// # Errors
    /// If the draft cannot say it.
    pub fn rewrite(self, event_type: &str, schema: &Value) -> Written {
        Rewriting { draft: self, event_type }.schema(schema, "")
    }
}

impl Form for Rewriting<'_> {
    fn name(&self) -> &'static str {
        self.draft.name()
    }

    fn event_type(&self) -> &str {
        self.event_type
    }

    fn schema(&self, schema: &Value, at: &str) -> Written {
        match schema {
            // Draft 4 has no schemas that are true or false.
            Value::Bool(true) if self.draft == Draft::Four => Ok(json!({})),
            Value::Bool(false) if self.draft == Draft::Four => Ok(json!({"not": {}})),
            Value::Object(keywords) if self.draft < Draft::Latest => self.object(keywords, at),
            schema => Ok(schema.clone()),
        }
    }
}

impl Rewriting<'_> {
    fn object(&self, keywords: &Map<String, Value>, at: &str) -> Written {
        // Beside a $ref nothing counts in these drafts.
        if let Some(reference) = keywords.get("$ref")
            && keywords.keys().any(|keyword| demands(keyword))
        {
            let mut others = keywords.clone();
            others.remove("$ref");
            let all_of = [json!({"$ref": reference}), Value::Object(others)];
            let parts = all_of.iter().map(|part| self.schema(part, at));
            return Ok(json!({"allOf": parts.collect::<Result<Vec<_>, _>>()?}));
        }
        let mut written = Map::new();
        for (keyword, value) in keywords {
            if self.draft < Draft::of_keyword(keyword) {
                return self.refuse(keyword, at);
            }
            self.keyword(keyword, value, keywords, at, &mut written)?;
        }
        Ok(Value::Object(written))
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
            ("$schema", _) => put("$schema", self.draft.uri().into()),
            ("$id", id) if self.draft == Draft::Four => put("id", id.clone()),
            ("$comment" | "readOnly" | "writeOnly", _) if self.draft < Draft::Seven => {}
            ("deprecated", value) => put("x-deprecated", value.clone()),
            ("examples", _) if self.draft == Draft::Four => {}
            ("$ref", Value::String(reference)) => {
                put("$ref", reference.replace("/$defs/", "/definitions/").into());
            }
            ("const", value) if self.draft == Draft::Four => put("enum", json!([value])),
            ("exclusiveMinimum" | "exclusiveMaximum", _) if self.draft == Draft::Four => {
                self.exclusive_bound(keyword, keywords, at, written)?;
            }
            // Drafts before 2020-12 take true and false here.
            ("items", Value::Bool(_)) if keywords.contains_key("prefixItems") => {
                put("additionalItems", value.clone());
            }
            (keyword, value) => {
                let name = match keyword {
                    "$defs" => "definitions",
                    "prefixItems" => "items",
                    "items" if keywords.contains_key("prefixItems") => "additionalItems",
                    keyword => keyword,
                };
                put(name, self.inside(keyword, value, at)?);
            }
        }
        Ok(())
    }
}

/// Whether a keyword demands something, and so is lost beside a `$ref`.
fn demands(keyword: &str) -> bool {
    !matches!(
        keyword,
        "$ref" | "$schema" | "$id" | "$comment" | "$defs" | "title" | "description" | "deprecated"
    )
}
