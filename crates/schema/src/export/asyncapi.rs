//! The stream as an AsyncAPI 3 document: a channel with a message for each type, in the form that
//! events are published in.

use serde_json::{Map, Value, json};

use super::openapi::component;
use super::{Draft, Schemas, Unsayable};
use crate::envelope::Envelope;

/// What the document says besides the schemas.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The stream's name.
    pub stream: &'a str,
    pub title: &'a str,
    pub version: &'a str,
}

/// The document.
///
/// # Errors
/// If a schema has what draft 7 cannot say, which is the one that AsyncAPI reads.
pub fn asyncapi(
    schemas: &Schemas<'_>,
    envelope: Envelope,
    about: About<'_>,
) -> Result<Value, Unsayable> {
    const CHANNEL: &str = "events";
    let (mut messages, mut references) = (Map::new(), Map::new());
    for (event_type, schema) in schemas {
        let name = component(event_type);
        let mut payload =
            Draft::Seven.rewrite(event_type, &around(envelope, event_type, schema))?;
        if let Value::Object(keywords) = &mut payload {
            keywords.remove("$schema"); // the format says it
        }
        let message = json!({
            "name": event_type,
            "title": event_type,
            "contentType": "application/json",
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-07",
                "schema": payload,
            },
        });
        messages.insert(name.clone(), message);
        let reference = json!({"$ref": format!("#/components/messages/{name}")});
        references.insert(name, reference);
    }
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {"title": about.title, "version": about.version},
        "defaultContentType": "application/json",
        "channels": {CHANNEL: {
            "address": about.stream,
            "description": "A stream of Amazon Kinesis Data Streams, one event a record.",
            "messages": references,
        }},
        "operations": {"receiveEvents": {
            "action": "receive",
            "channel": {"$ref": format!("#/channels/{CHANNEL}")},
        }},
        "components": {"messages": messages},
    }))
}

/// A type's schema with its envelope. Its parts move to the outermost schema, where references look
/// for them.
fn around(envelope: Envelope, event_type: &str, schema: &Value) -> Value {
    let mut data = schema.clone();
    let mut parts = Value::Null;
    if let Value::Object(keywords) = &mut data {
        keywords.remove("$schema");
        keywords.remove("$id");
        parts = keywords.remove("$defs").unwrap_or_default();
    }
    let data_at = format!("#/properties/{}", envelope.data_key);
    moved(&mut data, &data_at);
    moved(&mut parts, &data_at);
    let mut whole = envelope.around(event_type, data);
    if !parts.is_null() {
        whole["$defs"] = parts;
    }
    whole
}

/// References to places in the data's schema itself find it where it is now.
fn moved(schema: &mut Value, data_at: &str) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match value {
                    Value::String(reference) if keyword == "$ref" => {
                        let fragment = reference.strip_prefix('#').unwrap_or(reference);
                        if !fragment.starts_with("/$defs/") {
                            *reference = format!("{data_at}{fragment}");
                        }
                    }
                    Value::Object(_) | Value::Array(_) => moved(value, data_at),
                    _ => {}
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(|member| moved(member, data_at)),
        _ => {}
    }
}
