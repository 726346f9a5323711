use super::*;
use crate::bounds::PAIRS_MAX;
use crate::compiled::Schema;
use proptest::prelude::*;
use serde_json::json;

/// What `narrow` admits and `wide` does not, as pointers with keywords.
fn gaps(wide: &Value, narrow: &Value) -> Vec<String> {
    let (wide, narrow) = (Schema::load(wide), Schema::load(narrow));
    let gaps = covers::gaps(&wide.expect("it is loaded"), &narrow.expect("it is loaded"));
    gaps.iter()
        .map(|gap| {
            let undecided = if gap.is_undecided { " undecided" } else { "" };
            format!("{} {}{undecided}", gap.pointer, gap.keyword)
        })
        .collect()
}

#[test]
fn a_schema_covers_what_is_narrower_and_says_where_something_is_not() {
    for (wide, narrow, expected) in [
        (json!({}), json!({"type": "string"}), &[][..]),
        (json!({"type": "number"}), json!({"type": "integer"}), &[]),
        (json!({"type": "integer"}), json!({"type": "number"}), &[" type"]),
        (json!({"type": "string"}), json!({"type": ["string", "null"]}), &[" type"]),
        (json!({"minimum": 0}), json!({"minimum": 1, "maximum": 2}), &[]),
        (json!({"exclusiveMinimum": 0}), json!({"minimum": 0}), &[" minimum"]),
        (json!({"type": "string"}), json!({"minimum": 0}), &[" type"]),
        (json!({"multipleOf": 2}), json!({"multipleOf": 4}), &[]),
        (json!({"multipleOf": 4}), json!({"multipleOf": 2}), &[" multipleOf"]),
        (json!({"maxLength": 3}), json!({}), &[" maxLength"]),
        (json!({"format": "date"}), json!({"type": "string"}), &[" format"]),
        (json!({"format": "date"}), json!({"type": "integer"}), &[]),
        (json!({"pattern": "^a"}), json!({"pattern": "^a"}), &[]),
        (json!({"pattern": "^a"}), json!({"pattern": "^ab"}), &[" pattern undecided"]),
        (json!({"enum": [1, 2]}), json!({"const": 1.0}), &[]),
        (json!({"enum": [1, 2]}), json!({"enum": [1, 3]}), &[" enum"]),
        (json!({"type": "string"}), json!({"enum": ["a", "b"]}), &[]),
        (json!({"items": {"type": "integer"}}), json!({"items": {"type": "number"}}), &["/* type"]),
        (json!({"items": {"type": "integer"}}), json!({"maxItems": 0}), &[]),
        (json!({"items": false}), json!({"prefixItems": [true]}), &["/0 false", "/* false"]),
        (json!({"required": ["a"]}), json!({"required": ["a", "b"]}), &[]),
        (json!({"required": ["a"]}), json!({}), &["/a required"]),
        (
            json!({"properties": {"a": {"type": "string"}}}),
            json!({"properties": {"b": true}, "additionalProperties": false}),
            &[],
        ),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!({"properties": {"a": true, "b": true}, "additionalProperties": false}),
            &["/b additionalProperties"],
        ),
        (
            json!({"additionalProperties": {"type": "string"}}),
            json!({"properties": {"a": {"type": "integer"}}, "additionalProperties": false}),
            &["/a type"],
        ),
        (json!({"allOf": [{"minimum": 0}]}), json!({"minimum": 1}), &[]),
        (json!({"minimum": 0}), json!({"allOf": [{"minimum": 1}]}), &[]),
        (json!({"minimum": 2}), json!({"allOf": [{"minimum": 1}]}), &[" minimum"]),
        (
            json!({"minimum": 2}),
            json!({"allOf": [{"minimum": 1}, {"maximum": 5}]}),
            &[" minimum undecided"],
        ),
        (json!({"anyOf": [{"minimum": 5}, {"type": "string"}]}), json!({"type": "string"}), &[]),
        (
            json!({"type": ["integer", "string"]}),
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
            &[],
        ),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"type": ["integer", "string"]}),
            &[" anyOf undecided"],
        ),
        (json!({"not": {"type": "string"}}), json!({"type": "integer"}), &[]),
        (json!({"not": {"type": "string"}}), json!({"not": {"type": ["string", "null"]}}), &[]),
        (json!({"not": {"minimum": 5}}), json!({"type": "integer"}), &[" not undecided"]),
        (json!({"oneOf": [{"minimum": 5}]}), json!({"oneOf": [{"minimum": 5}]}), &[]),
        (
            json!({"patternProperties": {"^a": {"minimum": 1}}}),
            json!({"patternProperties": {"^a": {"minimum": 2}}}),
            &[],
        ),
        (
            json!({"patternProperties": {"^a": {"minimum": 1}}}),
            json!({}),
            &[" patternProperties undecided"],
        ),
        (
            json!({"propertyNames": {"maxLength": 3}}),
            json!({"propertyNames": {"maxLength": 2}}),
            &[],
        ),
        (
            json!({"propertyNames": {"maxLength": 3}}),
            json!({"propertyNames": {"maxLength": 4}}),
            &[" propertyNames"],
        ),
        (json!({"propertyNames": {"maxLength": 3}}), json!({}), &[" propertyNames"]),
        (json!({}), json!({"propertyNames": {"maxLength": 3}}), &[]),
        (json!(false), json!({"type": "null"}), &[" false"]),
        (json!({"type": "null"}), json!(false), &[]),
    ] {
        assert_eq!(gaps(&wide, &narrow), expected, "{wide} over {narrow}");
    }
}

#[test]
fn a_bound_covers_itself_and_what_is_inside_it_and_nothing_beyond() {
    for (keyword, inside) in [
        ("minimum", 6),
        ("exclusiveMinimum", 6),
        ("maximum", 4),
        ("exclusiveMaximum", 4),
        ("minLength", 6),
        ("maxLength", 4),
        ("minItems", 6),
        ("maxItems", 4),
        ("minProperties", 6),
        ("maxProperties", 4),
        ("multipleOf", 10),
    ] {
        let said = |bound: i32| json!({keyword: bound});
        let told = format!(" {}", keyword.replace("exclusiveM", "m"));
        assert_eq!(gaps(&said(5), &said(5)), [""; 0], "{keyword}");
        assert_eq!(gaps(&said(5), &said(inside)), [""; 0], "{keyword}");
        assert_eq!(gaps(&said(inside), &said(5)), [&*told], "{keyword}");
        assert_eq!(gaps(&said(5), &json!({})), [&*told], "{keyword}");
        assert_eq!(gaps(&json!({}), &said(5)), [""; 0], "{keyword}");
    }
    let unique = json!({"uniqueItems": true});
    assert_eq!(gaps(&unique, &unique), [""; 0]);
    assert_eq!(gaps(&unique, &json!({})), [" uniqueItems"]);
    assert_eq!(gaps(&json!({}), &unique), [""; 0]);
}

#[test]
fn schemas_that_hold_themselves_are_compared_to_their_ends() {
    let tree = |leaf: &str| {
        json!({
            "type": "object",
            "properties": {"next": {"$ref": "#"}, "value": {"type": leaf}},
        })
    };
    assert_eq!(gaps(&tree("integer"), &tree("integer")), [""; 0]);
    assert_eq!(gaps(&tree("integer"), &tree("number")), ["/value type"]);
}

/// A schema with so many properties, each of which is a list.
fn lists(properties: usize) -> Value {
    let properties: serde_json::Map<_, _> = (0..properties)
        .map(|number| (format!("p{number}"), json!({"items": {"type": "null"}})))
        .collect();
    json!({"properties": properties, "additionalProperties": false})
}

#[test]
fn what_would_take_more_comparisons_than_are_made_is_undecided() {
    // Two pairs for each alternative, of which the last one has it, and one for all of them.
    let mut alternatives = vec![json!({"items": {"type": "string"}}); 59];
    alternatives.push(json!({"items": {"type": "null"}}));
    let wide = json!({"additionalProperties": {"anyOf": alternatives}});
    assert_eq!(gaps(&wide, &lists(PAIRS_MAX / 121 - 10)), [""; 0]);
    let undecided = gaps(&wide, &lists(PAIRS_MAX / 121 + 10));
    assert!(!undecided.is_empty() && undecided.iter().all(|gap| gap.ends_with(" undecided")));
}

#[test]
fn comparisons_that_are_made_the_other_way_round_count_too() {
    // Each alternative must be the same as its counterpart, with two pairs for each property.
    for (alternatives, expected) in [(45, &[][..]), (55, &[" oneOf undecided"])] {
        let one_of = vec![json!({"$ref": "#/$defs/lists"}); alternatives];
        let schema = json!({"oneOf": one_of, "$defs": {"lists": lists(1_000)}});
        assert_eq!(gaps(&schema, &schema), expected, "{alternatives}");
    }
}

/// A pair that was assumed to have no gap inside an alternative that failed must not count later.
#[test]
fn what_was_assumed_on_a_way_that_failed_is_forgotten() {
    let wide = json!({
        "properties": {
            "first": {"anyOf": [
                {"$ref": "#/$defs/a"},
                {"type": ["object", "integer"]},
            ]},
            "second": {"$ref": "#/$defs/b"},
        },
        "$defs": {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}, "x": {"type": "null"}}},
            "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}},
        },
    });
    let mut narrow = wide.clone();
    narrow["$defs"]["a"]["properties"]["x"] = json!({"type": "string"});
    narrow["properties"]["first"] = json!({"$ref": "#/$defs/a"});
    assert_eq!(gaps(&wide, &narrow), ["/second/a/x type"]);
}

#[test]
fn a_break_is_told_with_whom_it_breaks() {
    let old = json!({"properties": {"a": {"type": "string"}}, "required": ["a"]});
    let new = json!({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]});
    let breaks = Compat::Full.breaks(&old, &new).expect("both are loaded");
    let texts: Vec<String> = breaks.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["/a: a new event may have string or null, the old schema takes string"]);
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(false)),
        Just(json!({"type": "integer", "minimum": 1})),
        Just(json!({"type": ["number", "null"]})),
        Just(json!({"type": "string", "maxLength": 1})),
        Just(json!({"type": "string"})),
        Just(json!({"enum": [1, "a", null]})),
        Just(json!({"const": 2})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (inner.clone(), 0..3_usize)
                .prop_map(|(items, least)| json!({"items": items, "minItems": least})),
            (inner.clone(), inner.clone(), any::<bool>(), any::<bool>()).prop_map(
                |(a, b, is_required, is_closed)| {
                    let mut schema = json!({"type": "object", "properties": {"a": a, "b": b}});
                    if is_required {
                        schema["required"] = json!(["a"]);
                    }
                    if is_closed {
                        schema["additionalProperties"] = json!(false);
                    }
                    schema
                }
            ),
            pair.clone().prop_map(|(a, b)| json!({"anyOf": [a, b]})),
            pair.clone().prop_map(|(a, b)| json!({"allOf": [a, b]})),
            pair.prop_map(|(a, b)| json!({"oneOf": [a, b]})),
            inner.prop_map(|a| json!({"not": a})),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        (0..3).prop_map(Value::from),
        Just(json!(1.5)),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No gap means that there is none: what fits the narrow schema fits the wide one.
    #[test]
    fn where_no_gap_is_found_every_value_of_the_one_fits_the_other(
        wide in any_schema(),
        narrow in any_schema(),
        values in prop::collection::vec(any_value(), 1..20),
    ) {
        let (wide_loaded, narrow_loaded) = (Schema::load(&wide), Schema::load(&narrow));
        let (wide_loaded, narrow_loaded) =
            (wide_loaded.expect("it is loaded"), narrow_loaded.expect("it is loaded"));
        if covers::gaps(&wide_loaded, &narrow_loaded).is_empty() {
            for value in values {
                let text = value.to_string();
                if narrow_loaded.validate(&text).is_ok() {
                    prop_assert_eq!(wide_loaded.validate(&text), Ok(()), "{} {}", wide, narrow);
                }
            }
        }
    }

    /// A second reader of schemas, which decides more, never says the opposite.
    #[test]
    fn another_reader_does_not_say_the_opposite(
        values in prop::collection::vec(any_value(), 1..8),
        schema in any_schema(),
    ) {
        let ours = Schema::load(&schema).expect("it is loaded");
        let other = jsonschema::validator_for(&schema).expect("it is a schema");
        for value in values {
            let fits = ours.validate(&value.to_string()).is_ok();
            prop_assert_eq!(fits, other.is_valid(&value), "{} {}", schema, value);
        }
    }
}
