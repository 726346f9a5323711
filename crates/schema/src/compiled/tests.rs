use super::node::Kinds;
use super::*;
use crate::bounds::{
    DEPTH_MAX, IN_PLACE_DEPTH_MAX, LOOKS_MAX, NODES_MAX, PATTERN_BYTES_MAX, PROPERTIES_MAX,
};
use serde_json::json;

fn load(schema: &Value) -> Schema {
    Schema::load(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// What is wrong with a value, in one line.
fn said(schema: &Value, value: &Value) -> String {
    load(schema).validate(&value.to_string()).err().map_or_else(String::new, |v| v.to_string())
}

#[test]
fn a_violation_says_where_by_which_keyword_and_what_was_expected() {
    for (schema, value, expected) in [
        (json!({"type": "string"}), json!(1), "data itself: expected string (type)"),
        (
            json!({"type": ["string", "null"]}),
            json!(1),
            "data itself: expected string or null (type)",
        ),
        (json!({"type": "integer"}), json!(1.5), "data itself: expected integer (type)"),
        (
            json!({"properties": {"a/b": {"items": {"minimum": 3}}}}),
            json!({"a/b": [4, 2]}),
            "data at /a~1b/1: expected a number of at least 3 (minimum)",
        ),
        (json!({"required": ["a"]}), json!({}), "data itself: expected a property a (required)"),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!({"secret": 1}),
            "data itself: expected no property but a (additionalProperties)",
        ),
        (
            json!({"additionalProperties": {"type": "integer"}}),
            json!({"secret": "secret"}),
            "data at /*: expected integer (type)",
        ),
        (json!({"enum": [1, "a"]}), json!(2), "data itself: expected one of 1, \"a\" (enum)"),
        (json!({"const": {"a": 1}}), json!({}), "data itself: expected {\"a\":1} (const)"),
        (
            json!({"format": "uuid"}),
            json!("secret"),
            "data itself: expected a text in the format uuid (format)",
        ),
        (
            json!({"anyOf": [{"type": "null"}, {"required": ["a"], "type": "object"}]}),
            json!({}),
            "data itself: expected a property a (required)",
        ),
        (json!(false), json!(1), "data itself: expected no value here (false)"),
    ] {
        assert_eq!(said(&schema, &value), expected);
    }
}

/// Every keyword, with values that fit and values that do not; a second reader agrees.
#[test]
fn every_keyword_is_checked_as_another_reader_checks_it() {
    let huge: Value = serde_json::from_str("18446744073709551615").expect("it is a number");
    for (schema, values) in [
        (json!({"type": "integer"}), vec![json!(1.0), json!(1e3), json!(0.5), huge, json!("1")]),
        (json!({"minimum": 1, "exclusiveMaximum": 2}), vec![json!(1), json!(2), json!(1.99)]),
        (json!({"minimum": 1, "exclusiveMinimum": 1}), vec![json!(1), json!(1.01)]),
        (json!({"multipleOf": 3}), vec![json!(3), json!(4), json!(6.0), json!(-9)]),
        (json!({"minLength": 2, "maxLength": 3}), vec![json!("é"), json!("éé"), json!("abcd")]),
        (json!({"pattern": "^a+$"}), vec![json!("aa"), json!("b"), json!("xa")]),
        (
            json!({"prefixItems": [{"type": "null"}], "items": {"type": "string"}}),
            vec![json!([null, "a"]), json!([1]), json!([null, 1]), json!([])],
        ),
        (json!({"minItems": 1, "maxItems": 2}), vec![json!([]), json!([1]), json!([1, 2, 3])]),
        (
            json!({"uniqueItems": true}),
            vec![
                json!([1, 2]),
                json!([1, 1.0]),
                json!([{"a": 1, "b": 2}, {"b": 2, "a": 1}]),
                json!(["a", "\u{61}"]),
                json!([[], [[]]]),
            ],
        ),
        (
            json!({"patternProperties": {"^x": {"type": "integer"}}, "properties": {"xa": {"minimum": 5}}, "additionalProperties": false}),
            vec![
                json!({"x": 1}),
                json!({"x": "a"}),
                json!({"xa": 1}),
                json!({"xa": 6}),
                json!({"y": 1}),
            ],
        ),
        (json!({"propertyNames": {"maxLength": 1}}), vec![json!({"a": 1}), json!({"ab": 1})]),
        (
            json!({"minProperties": 1, "maxProperties": 1}),
            vec![json!({}), json!({"a": 1}), json!({"a": 1, "b": 2})],
        ),
        (
            json!({"required": ["a", "b"], "additionalProperties": {"type": "integer"}}),
            vec![json!({"a": 1}), json!({"a": 1, "b": 1}), json!({"a": 1, "b": "x"})],
        ),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), vec![json!(0), json!(1), json!(3)]),
        (
            json!({"anyOf": [{"type": "string"}, {"minimum": 5}]}),
            vec![json!("a"), json!(1), json!(6), json!(null)],
        ),
        (json!({"oneOf": [{"minimum": 1}, {"maximum": 2}]}), vec![json!(0), json!(1), json!(3)]),
        (json!({"not": {"type": "string"}}), vec![json!("a"), json!(1)]),
        (
            json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
            vec![json!({"a": 1}), json!({"a": 1, "b": 1}), json!({"c": 1}), json!({}), json!(1)],
        ),
        (
            json!({"$ref": "#/$defs/a%25b~1c", "$defs": {"a%b/c": {"type": "integer"}}}),
            vec![json!(1), json!("a")],
        ),
        (
            json!({"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "v": {"type": "integer"}}}),
            vec![json!({"next": {"next": null, "v": 1}}), json!({"next": {"next": {"v": "x"}}})],
        ),
        (
            json!({"enum": [{"a": [1, 2.0]}, null]}),
            vec![json!({"a": [1.0, 2]}), json!(null), json!({"a": [2, 1]})],
        ),
        (json!({"$defs": {"unused": true}, "x-owner": "trading", "default": 3}), vec![json!(1)]),
    ] {
        let ours = load(&schema);
        let other = jsonschema::validator_for(&schema).expect("it is a schema to others too");
        for value in values {
            let fits = ours.validate(&value.to_string()).is_ok();
            assert_eq!(fits, other.is_valid(&value), "{schema} {value}");
        }
    }
}

/// What could go wrong: an id of 64 bits is taken for its neighbour, which is the same double.
#[test]
fn integers_are_told_apart_exactly_however_large_they_are() {
    const FIRST_INEXACT: u64 = (1 << 53) + 1; // a multiple of 3; the double is one less
    let (id, other) = (json!(FIRST_INEXACT), json!(FIRST_INEXACT - 1));
    for schema in [json!({"minimum": id}), json!({"const": id}), json!({"multipleOf": 3})] {
        assert_eq!(said(&schema, &id), "", "{schema}");
        assert_ne!(said(&schema, &other), "", "{schema}");
    }
}

#[test]
fn kinds_are_told_in_the_words_of_type_and_none_twice() {
    let text_or_null = Kinds::TEXT.union(Kinds::NULL);
    for (kinds, words) in [
        (Kinds::ALL, "anything"),
        (Kinds::NONE, "nothing"),
        (Kinds::INTEGER, "integer"),
        (Kinds::NUMBER, "number"),
        (Kinds::NUMBER.union(Kinds::INTEGER), "number"),
        (Kinds::FRACTION, "number that is no integer"),
        (text_or_null, "string or null"),
        (text_or_null.union(Kinds::NUMBER), "string, number or null"),
        (text_or_null.union(Kinds::FRACTION), "string, null or number that is no integer"),
        (Kinds::ALL.without(Kinds::NULL), "object, array, string, number or boolean"),
    ] {
        assert_eq!(kinds.words(), words);
    }
}

#[test]
fn a_reference_is_followed_where_nothing_else_is_demanded_beside_it() {
    let followed = |beside: Value| {
        let mut schema = json!({"$ref": "#/$defs/a", "$defs": {"a": {"minimum": 1}}});
        let Value::Object(beside) = beside else { panic!("{beside} is no object") };
        schema.as_object_mut().expect("it is one").extend(beside);
        load(&schema).followed(Some(NodeId::ROOT)) != Some(NodeId::ROOT)
    };
    assert!(followed(json!({})));
    for demand in [
        json!({"type": "number"}),
        json!({"maximum": 5}),
        json!({"maxLength": 5}),
        json!({"maxItems": 5}),
        json!({"required": ["a"]}),
        json!({"enum": [1, 2]}),
        json!({"not": {"const": 1}}),
    ] {
        assert!(!followed(demand.clone()), "{demand}");
    }
}

#[test]
fn a_name_or_text_that_is_escaped_is_the_same_name_or_text() {
    let schema = load(&json!({
        "properties": {"a\"b": {"const": "é"}}, "required": ["a\"b"], "additionalProperties": false,
    }));
    assert_eq!(schema.validate(" { \"\\u0061\\\"b\" : \"\\u00e9\" } "), Ok(()));
    assert!(schema.validate("{\"\\ud800\":1}").is_err(), "half a surrogate pair is a name too");
}

#[test]
fn a_text_that_is_no_json_ends_and_does_not_panic() {
    let schema = load(&json!({
        "properties": {"a": {"items": {"type": "string"}, "uniqueItems": true}},
        "additionalProperties": {"enum": [1]},
        "anyOf": [{"minProperties": 1}, {"type": "array"}],
    }));
    let whole = r#"{"a":["x\"y","é"],"b":1,"c":[{"d":-1.5e3}]}"#;
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let _ = schema.validate(&whole[..end]);
        let _ = schema.validate(&whole[end..]);
    }
    for text in ["", "{", "[", "[,,]", "{\"", "{\"a\"", "{\"a\":", "\\", "\"\\", "{\"a\" 1}", "]"] {
        let _ = schema.validate(text);
    }
}

#[test]
fn what_is_not_known_is_refused_at_load_by_its_name() {
    for (schema, said) in [
        (
            json!({"properties": {"a": {"$ref": "https://example.com/a.json"}}}),
            "at /properties/a: $ref to https://example.com/a.json: it is another document. Only what begins with # is followed, and nothing is fetched: copy it into $defs",
        ),
        (
            json!({"$ref": "other.json#/a"}),
            "at the root: $ref to other.json#/a: it is another document",
        ),
        (json!({"$ref": "#/$defs/a"}), "at the root: $ref to #/$defs/a: there is nothing"),
        (json!({"requried": []}), "at the root: requried is no keyword of JSON Schema 2020-12"),
        (
            json!({"unevaluatedProperties": false}),
            "at the root: unevaluatedProperties is not checked here",
        ),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            "at the root: $schema is \"http://json-schema.org/draft-07/schema#\"",
        ),
        (json!({"type": "text"}), "at the root: type takes null, boolean"),
        (json!({"format": "date_time"}), "at the root: format takes the name"),
        (json!({"pattern": "(?=a)"}), "at the root: pattern (?=a): "),
        (
            json!({"pattern": "a".repeat(PATTERN_BYTES_MAX + 1)}),
            "at the root: a pattern of 1025 bytes",
        ),
        (json!({"pattern": "((a{100}){100}){100}"}), "at the root: pattern ((a{100}){100}){100}: "),
        (json!({"multipleOf": 0.1}), "at the root: multipleOf takes an integer"),
        (json!({"multipleOf": 0}), "at the root: multipleOf takes an integer above 0"),
        (json!({"properties": {"a": 1}}), "at /properties/a: a schema is an object, true or false"),
        (
            json!({"properties": {"a": {"$id": "b"}}}),
            "at /properties/a: $id has a meaning here only at the root",
        ),
        (json!({"$defs": {"a": {"minimun": 1}}}), "at /$defs/a: minimun is no keyword"),
    ] {
        let error = Schema::load(&schema).expect_err("it is refused").to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn a_bomb_is_refused_at_load_and_quickly() {
    let doubled = |name: usize| {
        let next = format!("#/$defs/{}", name + 1);
        json!({"properties": {"a": {"allOf": [{"$ref": &next}, {"$ref": &next}]}}})
    };
    let levels: serde_json::Map<String, Value> = (0..40)
        .map(|name| (name.to_string(), doubled(name)))
        .chain([("40".into(), json!({}))])
        .collect();
    let doubles_inside = json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    let chain: serde_json::Map<String, Value> = (0..1000)
        .map(|name| (name.to_string(), json!({"$ref": format!("#/$defs/{}", name + 1)})))
        .chain([("1000".into(), json!({}))])
        .collect();
    let wide: Vec<Value> = (0..NODES_MAX).map(|n| json!({"minimum": n})).collect();
    let many = vec![json!({"properties": {"a": true}}); LOOKS_MAX as usize + 1];
    let tried = vec![json!({"pattern": "a"}); LOOKS_MAX as usize + 1];
    let by_name: serde_json::Map<String, Value> =
        (0..=LOOKS_MAX).map(|number| (format!("^{number}"), json!(true))).collect();
    let half = json!({"allOf": vec![json!({"pattern": "a"}); LOOKS_MAX as usize / 2 + 1]});
    let both = |inside: Value| json!({"allOf": [inside.clone(), inside]});
    let too_often = format!("more than {LOOKS_MAX} times");
    let too_far = format!("more than {IN_PLACE_DEPTH_MAX} schemas");
    for (schema, said) in [
        (json!({"$ref": "#/$defs/0", "$defs": levels}), &*too_often),
        (doubles_inside, &too_often),
        (json!({"allOf": many}), &too_often),
        (json!({"$ref": "#/$defs/0", "$defs": chain}), &too_far),
        (json!({"$ref": "#"}), &too_far),
        (json!({"anyOf": wide}), "more than 10000 schemas"),
        (json!({"propertyNames": {"anyOf": tried}}), &too_often),
        (json!({"patternProperties": by_name}), &too_often),
        (both(json!({"type": "array", "items": half})), &too_often),
        (both(json!({"type": "object", "additionalProperties": half})), &too_often),
    ] {
        let error = Schema::load(&schema).expect_err("it is a bomb").to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn an_event_that_goes_deeper_than_is_looked_at_does_not_fit_a_schema_that_holds_itself() {
    let schema = load(&json!({"items": {"$ref": "#"}}));
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(schema.validate(&nested(DEPTH_MAX)), Ok(()));
    let violation = schema.validate(&nested(DEPTH_MAX + 1)).expect_err("it is too deep");
    assert_eq!(violation.expected, format!("at most {DEPTH_MAX} levels of objects and arrays"));
    let shallow = load(&json!({"type": "array"}));
    assert_eq!(shallow.validate(&nested(100_000)), Ok(()), "what is not looked into may be deep");
}

#[test]
fn patterns_as_people_write_them_are_within_their_bounds() {
    for (pattern, text) in [
        ("^[A-Za-z0-9_-]{1,64}$", "order_1"),
        (
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            "09616966-9f74-4da9-b7f5-2f56770e4f71",
        ),
        (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$", "2026-11-28T07:00:00.5Z"),
        ("^arn:aws:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$", "arn:aws:kinesis:eu-1:123456789012:a"),
    ] {
        let schema = load(&json!({ "pattern": pattern }));
        assert_eq!(schema.validate(&json!(text).to_string()), Ok(()), "{pattern}");
    }
}

#[test]
fn patterns_mean_what_they_do_in_ecma_262() {
    for (pattern, fits, does_not) in [
        (r"^\d$", "7", "\u{663}"),
        (r"^\D$", "\u{663}", "7"),
        (r"^[\w-]+$", "a_B-9", "\u{e9}"),
        (r"^[^\W_]$", "b", "_"),
        (r"^\W$", "\u{e9}", "e"),
        (r"^\s$", "\u{2003}", "a"),
        (r"^\S+$", "\u{e9}", "a\u{feff}"),
        (r"\bcat\b", "a cat.", "concat"),
        (r"\Bcat", "concat", "cat"),
        (r"^a\/b\-c\u0041$", "a/b-cA", "a/b-c"),
        ("^.{2}$", "\u{e9}\u{1f600}", "\u{e9}"),
        ("b", "abc", "ac"),
        ("", "", "nothing does not fit it"),
        ("(?i)^order$", "OrDeR", "orders"),
    ] {
        let schema = load(&json!({ "pattern": pattern }));
        assert_eq!(schema.validate(&json!(fits).to_string()), Ok(()), "{pattern} {fits}");
        let is_wrong = schema.validate(&json!(does_not).to_string()).is_err();
        assert!(is_wrong || pattern.is_empty(), "{pattern} {does_not}");
    }
}

/// What could go wrong: a pattern or a text that somebody made for it holds up every event. Each of
/// these takes a reader that goes back, or one that follows all branches, minutes or seconds.
#[test]
fn no_pattern_is_slow_on_any_text_and_a_text_may_be_long() {
    let text = "a".repeat(1024 * 1024);
    let (own, other) = (json!(text).to_string(), json!(text + "\u{1f600}").to_string());
    for pattern in [
        "^(a+)+$",
        "^(a|aa)+$",
        "^(.*.*.*.*.*.*.*.*)*$",
        "^(a|b|c|ab|bc|a?a?a?a?a?a?a?)*[^\u{1f600}]$",
        "(a{0,15}){0,15}[ab]$",
    ] {
        let schema = load(&json!({ "pattern": pattern }));
        assert_eq!(schema.validate(&own), Ok(()), "{pattern}");
        let _ = schema.validate(&other);
    }
}

#[test]
fn a_pattern_that_becomes_large_is_refused_and_so_are_many_that_do_together() {
    for pattern in ["[ab]*a[ab]{24}", ".{5000}", "((a{100}){100}){100}", r"(\w{1,50}\s){50}.{90}"] {
        let error = Schema::load(&json!({ "pattern": pattern })).expect_err("it is large");
        let told = "bytes compiled. A length is bounded by maxLength";
        assert!(error.to_string().contains(told), "{error}");
    }
    let many = |count: usize| {
        let pattern = |number: usize| json!({"pattern": format!("^.{{1,200}}{number}$")});
        json!({"prefixItems": (0..count).map(pattern).collect::<Vec<_>>()})
    };
    assert!(load(&many(1)).bytes() > 50_000);
    let error = Schema::load(&many(100)).expect_err("they are large together").to_string();
    assert!(error.contains("the patterns take more than 1048576 bytes compiled"), "{error}");
}

#[test]
fn a_violation_is_never_long() {
    let values: Vec<Value> = (0..1000).map(|n| json!(format!("value {n}"))).collect();
    let violation = load(&json!({"enum": values})).validate("1").expect_err("it is none of them");
    assert!(violation.expected.len() < 300 && violation.expected.ends_with('…'));
}

/// What could go wrong: somebody's file holds up the daemon's start, or takes its memory. Each of
/// these is within the bounds of a file; what they would take without others is said beside them.
#[test]
fn a_schema_that_would_take_much_to_load_is_refused_or_takes_little() {
    let many = |count: usize| (0..count).map(|n| format!("name {n}")).collect::<Vec<_>>();
    let named = |names: Vec<String>| {
        Value::Object(names.into_iter().map(|name| (name, json!(true))).collect())
    };
    let long = "n".repeat(1_000_000);
    // A pointer a schema, with that name in each: a gigabyte.
    let inside = json!({"properties": {&long: {"properties": named(many(1_000))}}});
    assert!(load(&inside).bytes() < 2_000_000);
    load(&json!({"properties": named(many(PROPERTIES_MAX))}));
    let deepest = json!({"properties": {&long: {"properties": {"a": {"type": "text"}}}}});
    let error = Schema::load(&deepest).expect_err("it is no type").to_string();
    assert!(error.len() < 1_200 && error.contains('…'), "{}", error.len());
    for (schema, said) in [
        // Each name compared with each other one: minutes.
        (json!({"required": many(200_000), "properties": named(many(1_000))}), "at most 1024"),
        (json!({"properties": named(many(9_000))}), "at most 1024"),
        (json!({"enum": many(200_000)}), "at most 1000 values"),
        (json!({"anyOf": vec![true; 200_000]}), "more than 10000 schemas"),
        (json!({"pattern": "(a|b)*c".repeat(10_000)}), "a pattern of 70000 bytes"),
        (json!({"pattern": ".{9000}"}), "pattern .{9000}: "),
    ] {
        let error = Schema::load(&schema).expect_err("it is refused").to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_goes_deeper_than_the_reader_is_refused_as_a_text() {
    let nested = r#"{"items":"#.repeat(10_000) + "true" + &"}".repeat(10_000);
    let mut catalog = crate::catalog::Catalog::default();
    let error = catalog.add("A.schema.json", nested.as_bytes()).expect_err("it is too deep");
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

#[test]
fn the_memory_of_a_schema_grows_with_what_it_has() {
    let bytes = |schema: Value| load(&schema).bytes();
    let plain = bytes(json!({}));
    for schema in [
        json!({"minimum": 1}),
        json!({"minLength": 1}),
        json!({"maxItems": 1}),
        json!({"properties": {"a": true}}),
        json!({"enum": ["a"]}),
        json!({"allOf": [true]}),
    ] {
        assert!(bytes(schema.clone()) > plain, "{schema}");
    }
    for schema in [json!({"minLength": 0}), json!({"minItems": 0}), json!({"minProperties": 0})] {
        assert_eq!(bytes(schema.clone()), plain, "it demands nothing: {schema}");
    }
    let wide = |schemas: usize| bytes(json!({"anyOf": vec![json!({"type": "null"}); schemas]}));
    assert!(wide(20) - wide(10) >= 10 * (plain + size_of::<usize>()));
    let pattern = |pattern: &str| bytes(json!({"patternProperties": {pattern: true}}));
    assert!(pattern("^a") > plain + 500, "{}", pattern("^a"));
    assert!(pattern("^a[ab]{20}") > pattern("^a") + 500, "{}", pattern("^a[ab]{20}"));
    assert!(bytes(json!({"const": "a".repeat(500)})) > plain + 500);
    assert!(bytes(json!({"properties": {"a".repeat(500): true}})) > 2 * plain + 500);
    assert!(bytes(json!({"prefixItems": [true, true]})) > bytes(json!({"prefixItems": [true]})));
}
