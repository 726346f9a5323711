use super::*;
use crate::bounds::{FILE_BYTES_MAX, SAMPLES_MAX};
use crate::compiled::Schema;
use proptest::prelude::*;
use serde_json::{Map, json};

fn shape(samples: &[Value]) -> Shape {
    let mut shape = Shape::default();
    for sample in samples {
        shape.see(sample).expect("it is not deep");
    }
    shape
}

/// The schema without what every schema says of itself.
fn schema(samples: &[Value], rules: Rules) -> Value {
    let mut schema = shape(samples).to_schema("T", rules);
    for key in ["$schema", "$comment", "title"] {
        schema.as_object_mut().expect("it is one").remove(key).expect("it is said");
    }
    schema
}

fn open(samples: &[Value]) -> Value {
    schema(samples, Rules::Open)
}

#[test]
fn each_kind_of_value_is_admitted_where_a_sample_has_it() {
    for (samples, expected) in [
        (vec![json!(1)], json!({"type": "integer"})),
        (vec![json!(1), json!(1.5)], json!({"type": "number"})),
        (vec![json!(1.0)], json!({"type": "number"})),
        (vec![json!(18_446_744_073_709_551_615_u64)], json!({"type": "integer"})),
        (vec![json!("a"), json!(null)], json!({"type": ["string", "null"]})),
        (
            vec![json!(true), json!("a"), json!(1)],
            json!({"type": ["string", "integer", "boolean"]}),
        ),
        (vec![json!(null)], json!({})),
        (vec![json!([])], json!({"type": "array"})),
        (vec![json!([null])], json!({"type": "array"})),
        (vec![json!([1, "a"])], json!({"type": "array", "items": {"type": ["string", "integer"]}})),
        (vec![json!({})], json!({"type": "object"})),
    ] {
        assert_eq!(open(&samples), expected, "{samples:?}");
    }
}

#[test]
fn a_property_is_required_if_every_sample_has_it() {
    let samples = [json!({"a": 1, "b": null}), json!({"a": 2, "b": "x", "c": true})];
    assert_eq!(
        open(&samples),
        json!({
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "b": {"type": ["string", "null"]},
                "c": {"type": "boolean"},
            },
            "required": ["a", "b"],
        })
    );
}

#[test]
fn objects_in_arrays_are_merged_and_what_only_some_have_is_not_required() {
    let samples = [json!({"items": [{"id": 1, "note": "x"}, {"id": 2}]}), json!({"items": []})];
    assert_eq!(
        open(&samples)["properties"]["items"]["items"],
        json!({
            "type": "object",
            "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
            "required": ["id"],
        })
    );
}

#[test]
fn a_format_is_said_while_every_sample_agrees_in_it() {
    let id = "09616966-9f74-4da9-b7f5-2f56770e4f71";
    for (samples, format) in [
        (vec![json!(id), json!(id)], Some("uuid")),
        (vec![json!(id), json!("x")], None),
        (vec![json!("2026-11-20")], Some("date")),
        (vec![json!("2026-11-20T21:34:09.335Z")], Some("date-time")),
        (vec![json!("2026-11-20T21:34:09Z"), json!("2026-11-20")], None),
        (vec![json!("https://example.com/")], Some("uri")),
        (vec![json!("a@example.com"), json!(null)], Some("email")),
        (vec![json!("12345")], None),
    ] {
        assert_eq!(open(&samples).get("format").and_then(Value::as_str), format, "{samples:?}");
    }
}

#[test]
fn an_object_whose_keys_are_ids_is_a_map_and_one_with_many_fields_is_not() {
    let prices = json!({"2026-11-20": 1.5, "2026-11-21": 2});
    assert_eq!(
        open(&[prices]),
        json!({"type": "object", "additionalProperties": {"type": "number"}})
    );
    let words = |from: usize| (from..from + 10).map(|n| (format!("w{n}"), json!(n))).collect();
    let apart: Vec<Value> = [0, 10, 20].map(|from| Value::Object(words(from))).into();
    assert_eq!(
        open(&apart),
        json!({"type": "object", "additionalProperties": {"type": "integer"}})
    );
    let one: Map<String, Value> = (0..30).map(|n| (format!("w{n}"), json!(n))).collect();
    assert_eq!(open(&[Value::Object(one)])["required"].as_array().map(Vec::len), Some(30));
    let mixed = json!({"1": 1, "2": "x"});
    assert!(open(&[mixed])["properties"].is_object(), "their values are not of one kind");
}

/// What could go wrong: fields that few samples have are taken for the names of things, or a map
/// for an object without fields, because a schema and samples met in the other order.
#[test]
fn what_a_schema_says_of_keys_holds_whichever_shape_is_merged_into_the_other() {
    let fields: Map<String, Value> =
        (0..30).map(|n| (format!("w{n}"), json!({"type": "integer"}))).collect();
    let read = |schema: Value| Shape::of_schema(&schema).expect("samples make it");
    let optional = read(json!({"type": "object", "properties": fields}));
    let map = read(json!({"type": "object", "additionalProperties": {"type": "integer"}}));
    let seen = shape(&[json!({"w1": 1}), json!({"w2": 1}), json!({"w3": 1})]);
    for (says, other) in [(&optional, &seen), (&map, &seen), (&map, &optional)] {
        for (into, merged) in [(says, other), (other, says)] {
            let mut both = into.clone();
            both.merge(merged);
            assert_eq!(both.to_schema("T", Rules::Open), says.to_schema("T", Rules::Open));
        }
    }
}

#[test]
fn strict_rules_close_what_was_seen() {
    assert_eq!(
        schema(&[json!({"a": null, "b": {}, "mail": "a@example.com"})], Rules::Strict),
        json!({
            "type": "object",
            "properties": {
                "a": {"type": "null"},
                "b": {"type": "object", "additionalProperties": false},
                "mail": {"type": "string"},
            },
            "required": ["a", "b", "mail"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn a_sample_that_goes_too_deep_is_refused() {
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(Shape::default().see(&nested(DEPTH_MAX)), Ok(()));
    assert_eq!(Shape::default().see(&nested(DEPTH_MAX + 1)), Err(TooDeep));
}

#[test]
fn files_of_samples_say_what_is_wrong_with_them() {
    assert_eq!(read_values(b"{\"a\":1}").expect("one value").len(), 1);
    assert_eq!(read_values(b"[{}, {}]").expect("two values").len(), 2);
    assert_eq!(read_values(b"[[1]]").expect("an array in one"), [json!([1])]);
    assert_eq!(read_lines(b"{}\n\n{}\r\n").expect("two lines").len(), 2);
    for (error, said) in [
        (read_values(b"[]"), "it has no sample: write one value, or an array of several"),
        (read_lines(b"\n"), "it has no sample: write one value, or an array of several"),
        (
            read_lines(b"{}\n{"),
            "line 2 is not JSON: EOF while parsing an object at line 1 column 1",
        ),
    ] {
        assert_eq!(error.expect_err("it is wrong").to_string(), said);
    }
}

#[test]
fn a_file_of_samples_is_read_to_its_bounds_and_not_beyond() {
    let of_bytes = |bytes: usize| format!("1{}", " ".repeat(bytes - 1)).into_bytes();
    let lines = |samples: usize| "1\n".repeat(samples).into_bytes();
    let array = |samples: usize| format!("[0{}]", ",1".repeat(samples - 1)).into_bytes();
    assert_eq!(read_values(&of_bytes(FILE_BYTES_MAX)).expect("it is not too large").len(), 1);
    assert_eq!(read_lines(&of_bytes(FILE_BYTES_MAX)).expect("it is not too large").len(), 1);
    assert_eq!(read_values(&array(SAMPLES_MAX)).expect("not too many").len(), SAMPLES_MAX);
    assert_eq!(read_lines(&lines(SAMPLES_MAX)).expect("not too many").len(), SAMPLES_MAX);
    let too_large = of_bytes(FILE_BYTES_MAX + 1);
    for (read, said) in [
        (read_values(&too_large), "it is 4194305 bytes, and a file may have 4194304"),
        (read_lines(&too_large), "it is 4194305 bytes, and a file may have 4194304"),
        (read_values(&array(SAMPLES_MAX + 1)), "it has more than 10000 samples"),
        (read_lines(&lines(SAMPLES_MAX + 1)), "it has more than 10000 samples"),
    ] {
        assert_eq!(read.expect_err("it is beyond").to_string(), said);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "[a-c]{0,2}|2026-11-2[0-9]|https://[a-c]{1,3}\\.de/|[a-c]@[a-c]\\.de".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]|[0-9]{1,2}", inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// A schema that refuses one of its own samples would refuse the events of its owner.
    #[test]
    fn every_sample_fits_the_schema_that_is_made_of_it(
        samples in prop::collection::vec(any_value(), 1..6),
    ) {
        for rules in [Rules::Open, Rules::Strict] {
            let schema = shape(&samples).to_schema("T", rules);
            let ours = Schema::load(&schema).expect("what we write we load");
            let other = jsonschema::options().should_validate_formats(true).build(&schema);
            let other = other.expect("it is a schema to others too");
            for sample in &samples {
                prop_assert_eq!(ours.validate(&sample.to_string()), Ok(()), "{}", schema);
                prop_assert!(other.is_valid(sample), "{}", schema);
            }
        }
    }

    #[test]
    fn the_order_of_samples_makes_no_difference(
        samples in prop::collection::vec(any_value(), 1..6),
    ) {
        let reversed: Vec<Value> = samples.iter().rev().cloned().collect();
        for rules in [Rules::Open, Rules::Strict] {
            let text = |samples: &[Value]| crate::text::print(&shape(samples).to_schema("T", rules));
            prop_assert_eq!(text(&samples), text(&reversed));
        }
    }

    /// Ours says of any other value what another reader of the same schema says of it.
    #[test]
    fn another_reader_says_the_same_of_other_values(
        samples in prop::collection::vec(any_value(), 1..4),
        other_values in prop::collection::vec(any_value(), 1..8),
    ) {
        for rules in [Rules::Open, Rules::Strict] {
            let schema = shape(&samples).to_schema("T", rules);
            let ours = Schema::load(&schema).expect("what we write we load");
            let other = jsonschema::options().should_validate_formats(true).build(&schema);
            let other = other.expect("it is a schema to others too");
            for value in &other_values {
                prop_assert_eq!(
                    ours.validate(&value.to_string()).is_ok(),
                    other.is_valid(value),
                    "{} {}",
                    schema,
                    value
                );
            }
        }
    }
}

proptest! {
    /// What could go wrong: a discovery that goes on with the schema of an earlier one forgets, or
    /// makes up, what that had seen.
    #[test]
    fn a_schema_that_is_read_makes_the_same_schema(
        samples in prop::collection::vec(any_value(), 1..6),
    ) {
        for rules in [Rules::Open, Rules::Strict] {
            let schema = shape(&samples).to_schema("T", rules);
            let read = Shape::of_schema(&schema).expect("samples make it");
            prop_assert_eq!(read.to_schema("T", rules), schema);
        }
    }

    #[test]
    fn shapes_that_are_merged_are_those_of_all_samples(
        samples in prop::collection::vec(any_value(), 1..6),
        from in 0..6_usize,
    ) {
        let (first, rest) = samples.split_at(from.min(samples.len()));
        let mut merged = shape(first);
        let (before, rest) = (merged.bytes(), shape(rest));
        let grown = merged.growth(&rest);
        merged.merge(&rest);
        prop_assert_eq!(&merged, &shape(&samples));
        prop_assert!(merged.bytes() <= before + grown, "{} {before} {grown}", merged.bytes());
    }
}
