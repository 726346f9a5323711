use super::*;
use crate::envelope::Envelope;
use serde_json::json;

fn schema() -> Value {
    json!({
        "$schema": crate::compiled::DRAFT,
        "$comment": "c",
        "title": "T",
        "type": "object",
        "properties": {
            "a": {"const": 1},
            "b": {"type": "number", "exclusiveMinimum": 0},
            "c": {"type": ["string", "null"], "format": "date"},
            "d": {"$ref": "#/$defs/d", "minimum": 1},
            "e": {"type": ["object", "integer"], "properties": {"x": true}},
            "f": {"type": "array", "prefixItems": [{"type": "integer"}], "items": false},
        },
        "$defs": {"d": {"type": "integer"}},
    })
}

#[test]
fn an_older_draft_says_the_same_in_its_own_words() {
    let four = Draft::Four.rewrite("T", &schema()).expect("it can be said");
    assert_eq!(
        four,
        json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "title": "T",
            "type": "object",
            "properties": {
                "a": {"enum": [1]},
                "b": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
                "c": {"type": ["string", "null"], "format": "date"},
                "d": {"allOf": [{"$ref": "#/definitions/d"}, {"minimum": 1}]},
                "e": {"type": ["object", "integer"], "properties": {"x": {}}},
                "f": {"type": "array", "items": [{"type": "integer"}], "additionalItems": false},
            },
            "definitions": {"d": {"type": "integer"}},
        })
    );
    let seven = Draft::Seven.rewrite("T", &schema()).expect("it can be said");
    assert_eq!(seven["$comment"], "c");
    assert_eq!(seven["properties"]["b"], json!({"type": "number", "exclusiveMinimum": 0}));
    assert_eq!(Draft::Latest.rewrite("T", &schema()), Ok(schema()));
}

/// An export that admits other events than the schema does would be worse than none.
#[test]
fn every_draft_admits_what_the_schema_does() {
    let others = [Draft::Four, Draft::Six, Draft::Seven].map(|draft| {
        let schema = draft.rewrite("T", &schema()).expect("it can be said");
        jsonschema::options().should_validate_formats(true).build(&schema).expect("it is one")
    });
    let ours = crate::compiled::Schema::load(&schema()).expect("it is loaded");
    for value in [
        json!({}),
        json!({"a": 1}),
        json!({"a": 2}),
        json!({"b": 0}),
        json!({"b": 0.5}),
        json!({"c": null}),
        json!({"c": "2026-11-20"}),
        json!({"c": "x"}),
        json!({"d": 0}),
        json!({"d": 1}),
        json!({"d": "x"}),
        json!({"e": {"x": 1}}),
        json!({"e": "x"}),
        json!({"f": [1]}),
        json!({"f": ["x"]}),
        json!({"f": [1, 2]}),
    ] {
        let fits = ours.validate(&value.to_string()).is_ok();
        for other in &others {
            assert_eq!(other.is_valid(&value), fits, "{value}");
        }
    }
}

#[test]
fn what_a_form_cannot_say_is_refused_by_its_keyword() {
    let conditional = json!({"properties": {"a": {"if": {}, "then": {}}}});
    let error = Draft::Six.rewrite("T", &conditional).expect_err("draft 7 has it first");
    assert!(
        error.to_string().starts_with("T, at /properties/a: if cannot be said in draft 6")
            || error.to_string().starts_with("T, at /properties/a: then cannot be said in draft 6")
    );
    let named = json!({"propertyNames": {"maxLength": 3}});
    let error = openapi(&Schemas::from([("T", named)])).expect_err("it has no such keyword");
    assert_eq!(error.to_string(), "T, at the root: propertyNames cannot be said in OpenAPI 3.0");
}

#[test]
fn openapi_has_a_component_for_each_type_and_each_of_its_parts() {
    let mut schema = schema();
    schema["properties"].as_object_mut().expect("it is one").remove("f");
    let document = openapi(&Schemas::from([("a b", schema)])).expect("it can be said");
    let components = document["components"]["schemas"].as_object().expect("they are named");
    assert_eq!(components.keys().collect::<Vec<_>>(), ["a_20b", "a_20b.d"]);
    assert_eq!(
        components["a_20b"]["properties"],
        json!({
            "a": {"enum": [1]},
            "b": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
            "c": {"type": "string", "format": "date", "nullable": true},
            "d": {"allOf": [{"$ref": "#/components/schemas/a_20b.d"}, {"minimum": 1}]},
            "e": {"anyOf": [
                {"type": "object", "properties": {"x": {}}},
                {"type": "integer"},
            ]},
        })
    );
}

#[test]
fn asyncapi_has_a_message_for_each_type_in_its_envelope() {
    let envelope = Envelope::named("lk").expect("there is one");
    let about = About { stream: "orders", title: "Orders", version: "1.2.0" };
    let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let schemas = Schemas::from([("T", schema()), ("tree", tree)]);
    let document = asyncapi(&schemas, envelope, about).expect("it can be said");
    let payload = &document["components"]["messages"]["T"]["payload"]["schema"];
    assert_eq!(payload["properties"]["type"], json!({"const": "T"}));
    assert_eq!(payload["properties"]["data"]["properties"]["a"], json!({"const": 1}));
    assert_eq!(payload["definitions"]["d"], json!({"type": "integer"}));
    let tree = &document["components"]["messages"]["tree"]["payload"]["schema"];
    assert_eq!(
        tree["properties"]["data"]["properties"]["next"],
        json!({"$ref": "#/properties/data"})
    );
    assert_eq!(document["channels"]["events"]["address"], "orders");
}
