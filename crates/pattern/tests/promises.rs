//! What holds for every pattern and every event: it ends, it is bounded, and what is written
//! otherwise means the same.

use dispatchd_pattern::{Member, NotAnEvent, Pattern, PatternError, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> PatternError {
    Pattern::parse(text).expect_err(text)
}

fn matches(pattern: &Value, event: &Value) -> bool {
    self::pattern(&pattern.to_string()).matches(event.to_string()).expect("it is an event")
}

#[test]
fn an_error_says_what_is_wrong_and_where() {
    let error = refused("{\n  \"detail\": {\n    \"é\": [{\"prefx\": \"a\"}]\n  }\n}");
    assert_eq!((error.line, error.column, error.offset), (3, 12, 28));
    assert_eq!(error.path, "detail.é");
    assert_eq!(error.to_string(), "line 3, column 12, in `detail.é`: there is no operator `prefx`");
    let error = refused(r#"{"$or": [{"a": [1]}]}"#).to_string();
    assert!(error.contains("`$or` takes a list of at least two objects"), "{error}");
}

#[test]
fn every_reason_names_what_it_is_about() {
    for (text, reason) in [
        ("5", "a pattern is a JSON object"),
        (r#"{"a": [1]} x"#, "expected the end"),
        (r#"{"a": {}}"#, "an object without fields"),
        (r#"{"a": []}"#, "a list without values"),
        (r#"{"a": 5}"#, "put the value in []"),
        (r#"{"a": [[1]]}"#, "a list holds texts"),
        (r#"{"a": [{}]}"#, "holds one operator, such as"),
        (r#"{"a": [{"prefix": "a", "suffix": "b"}]}"#, "`suffix` is a second"),
        (r#"{"a": [{"prefix": 5}]}"#, "`prefix` takes a text, or"),
        (r#"{"a": [{"exists": "true"}]}"#, "`exists` takes true or false"),
        (r#"{"a": [{"anything-but": [1, "a"]}]}"#, "not both"),
        (r#"{"a": [{"anything-but": {"numeric": ["=", 1]}}]}"#, "`anything-but: numeric`"),
        (r#"{"a": [{"anything-but": {"prefix": ""}}]}"#, "`prefix` of an empty text"),
        (r#"{"a": [{"numeric": ["<", 9, ">", 0]}]}"#, "a lower bound before an upper one"),
        (r#"{"a": [{"numeric": [">", 5, "<", 5]}]}"#, "must be above it"),
        (r#"{"a": [{"numeric": ["=", 9007199254740993]}]}"#, "no double holds"),
        (r#"{"a": [{"wildcard": "a**"}]}"#, "at character 2"),
        (r#"{"a": [{"wildcard": "\\a"}]}"#, "a backslash stands before"),
        (r#"{"a": [{"cidr": "10.0.0.1"}]}"#, "one `/`"),
        (r#"{"a": [{"cidr": "10.0.0.1/32"}]}"#, "a number below 32"),
        (r#"{"a": [{"cidr": "ten/8"}]}"#, "no IP address"),
    ] {
        let error = refused(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_pattern_is_bounded_whatever_it_says() {
    let long = format!(r#"{{"a": ["{}"]}}"#, "é".repeat(4096));
    assert!(matches!(refused(&long).reason, Reason::TooLong { chars: 4107, max: 4096 }));
    let deep = r#"{"a":"#.repeat(600);
    assert_eq!(refused(&deep).reason, Reason::TooDeep);
    let dots = format!(r#"{{"{}": [1]}}"#, ".".repeat(128));
    assert_eq!(refused(&dots).reason, Reason::TooDeep);
    // Twenty times one of two: a million combinations.
    let alternatives = |n| format!(r#""f{n}":{{"$or":[{{"a":[1]}},{{"b":[1]}}]}}"#);
    let ors: Vec<String> = (0..20).map(alternatives).collect();
    let many = refused(&format!("{{{}}}", ors.join(",")));
    assert_eq!(many.reason, Reason::TooManyCombinations { max: 1000 });
    // As many combinations as may be, of as many fields as there is room for.
    let ors: Vec<String> = (0..9).map(alternatives).collect();
    let fields: Vec<String> = (0..350).map(|n| format!(r#""{n}":[1]"#)).collect();
    let large = refused(&format!("{{{},{}}}", ors.join(","), fields.join(",")));
    assert!(matches!(large.reason, Reason::TooComplex { .. }), "{large}");
}

/// What could go wrong: a search that goes back, or a list whose facts are forgotten one by one,
/// costs the square of what somebody sends. Of so many bytes that would take hours; this ends.
#[test]
fn a_hostile_event_costs_its_length_times_what_is_asked_for() {
    const BYTES: usize = 250_000;
    let list = |count: usize, test: &str| vec![test; count].join(",");
    let a = |tests: &str| format!(r#"{{"a": [{tests}]}}"#);
    let text = |piece: &str| format!(r#"{{"a": "{}"}}"#, piece.repeat(BYTES / piece.len()));
    let number = |before: &str, digit: &str| format!(r#"{{"a": {before}{}}}"#, digit.repeat(BYTES));
    let stars = format!(r#"{{"wildcard": "{}"}}"#, "*a*aaaaab".repeat(100));
    let but_stars = format!(r#"{{"anything-but": {{"wildcard": "{}x"}}}}"#, "*a*ab".repeat(50));
    let or = |k: usize| {
        let alternatives: Vec<String> = (0..10).map(|n| format!(r#"{{"{k}{n}": [1]}}"#)).collect();
        format!(r#""$or": [{}]"#, alternatives.join(","))
    };
    let deepest = "[".repeat(126) + &"]".repeat(126);
    for (pattern, event, expected) in [
        (a(&stars), text("a"), false),
        (a(&stars), text(r"\u0061"), false),
        (a(&but_stars), text("ab"), true),
        (a(&list(20, r#"{"suffix": {"equals-ignore-case": "éx"}}"#)), text("É"), false),
        (a(&list(20, r#"{"cidr": "::/1"}"#)), text("0"), false),
        (a(&list(200, "5")), number("", "1"), false),
        (a(&list(200, "5")), number("0.", "0"), false),
        (a(&list(20, r#"{"numeric": [">", 5]}"#)), number("1e", "9"), true),
        (a(&list(20, r#"{"numeric": [">", 5]}"#)), number("1e-", "9"), false),
        (
            format!(r#"{{"a": {}}}"#, a("1")),
            format!(r#"{{"a": [{}]}}"#, list(1000, &deepest)),
            false,
        ),
        (
            format!(r#"{{"{}": [1]}}"#, "a.".repeat(100)),
            format!(r#"{{"{}": 1}}"#, "a.".repeat(BYTES)),
            false,
        ),
        (a("1"), format!(r#"{{"{}": 1}}"#, r"\u0061".repeat(BYTES / 6)), false),
        (
            format!(r#"{{"a": {{{}, {}, {}}}}}"#, or(1), or(2), or(3)),
            format!(r#"{{"a": [{}]}}"#, list(5000, r#"{"10": 1, "20": 1}"#)),
            false,
        ),
    ] {
        let verdict = self::pattern(&pattern).matches(event);
        assert_eq!(verdict, Ok(expected), "{}", &pattern[..pattern.len().min(80)]);
    }
}

/// What could go wrong: a double in between makes two numbers one, and those beyond it nothing.
#[test]
fn numbers_at_the_edges_of_doubles_are_in_order() {
    let above = |bound: &str, number: &str| {
        let pattern = pattern(&format!(r#"{{"a": [{{"numeric": [">", {bound}]}}]}}"#));
        pattern.matches(format!(r#"{{"a": {number}}}"#)).expect("it is an event")
    };
    let ascending = [
        "-1e309",
        "-1.7976931348623157e308",
        "-9007199254740993",
        "-9007199254740992",
        "-5e-324",
        "0",
        "1e-400",
        "5e-324",
        "2.2250738585072014e-308",
        "0.1",
        "0.1000000000000000055511151231257827",
        "9007199254740992",
        "9007199254740992.0000000000000001",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1e309",
    ];
    for (index, bound) in ascending.iter().enumerate() {
        let text = format!(r#"{{"a": [{{"numeric": [">", {bound}]}}]}}"#);
        if Pattern::parse(&text).is_err() {
            continue; // No double holds it, and EventBridge takes it for no bound.
        }
        for (other, number) in ascending.iter().enumerate() {
            assert_eq!(above(bound, number), other > index, "{number} > {bound}");
        }
    }
    assert!(!above("0", "-0.0") && !above("0", "0e999999999999"), "zero is zero");
}

#[test]
fn what_is_no_event_is_told_from_what_does_not_match() {
    let pattern = pattern(r#"{"a": ["x"]}"#);
    for (event, error) in [
        (&b"\xff"[..], NotAnEvent::NotUtf8),
        (b"hello world", NotAnEvent::NotJson { offset: 0, expected: "a value" }),
        (b"", NotAnEvent::NotJson { offset: 0, expected: "a value" }),
        (b"5", NotAnEvent::NotAnObject),
        (br#"{"a":"x"} {}"#, NotAnEvent::NotJson { offset: 10, expected: "the end" }),
    ] {
        assert_eq!(pattern.matches(event), Err(error));
    }
    let deep = format!(r#"{{"z": {}{}, "a": "x"}}"#, "[".repeat(1000), "]".repeat(1000));
    assert!(matches!(pattern.matches(&deep), Err(NotAnEvent::TooDeep { .. })));
}

/// What could go wrong: `true` is told from a text and not from `false`.
#[test]
fn a_value_in_a_list_takes_that_value_and_no_other() {
    let values =
        [json!(true), json!(false), json!(null), json!(0), json!(1), json!(""), json!("1")];
    for wanted in &values {
        for given in &values {
            let (pattern, event) = (json!({"a": [wanted]}), json!({"a": given}));
            assert_eq!(matches(&pattern, &event), given == wanted, "{pattern} {event}");
        }
    }
}

#[test]
fn what_is_asked_of_an_object_must_hold_for_one_element_of_a_list() {
    for (pattern, event, expected) in [
        (json!({"a": {"x": [1], "y": [2]}}), json!({"a": [{"x": 1}, {"y": 2}]}), false),
        (json!({"a": {"x": [1], "y": [2]}}), json!({"a": [{"x": 1}, {"y": 2, "x": 1}]}), true),
        // Lists in lists: every list has an element of its own.
        (
            json!({"a": {"b": {"x": [1]}, "c": {"y": [2]}}}),
            json!({"a": [{"b": [{"x": 1}], "c": [{"y": 2}]}]}),
            true,
        ),
        (
            json!({"a": {"b": {"x": [1], "y": [2]}}}),
            json!({"a": [{"b": [{"x": 1}, {"y": 2}]}, {"b": [{"x": 1}]}, {"b": {"y": 2}}]}),
            false,
        ),
        // Of an alternative and of what stands beside it, too.
        (
            json!({"$or": [{"a": {"x": [1]}}, {"c": [9]}], "a": {"y": [1]}}),
            json!({"a": [{"x": 1}, {"y": 1}]}),
            false,
        ),
    ] {
        assert_eq!(matches(&pattern, &event), expected, "{pattern} {event}");
    }
}

#[test]
fn a_missing_field_is_missing_from_the_element_that_was_chosen_or_from_all() {
    let absent = json!({"exists": false});
    for (pattern, event, expected) in [
        (json!({"a": {"x": [absent]}}), json!({"a": [{"x": 1}, {"y": 1}]}), false),
        (json!({"a": {"x": [absent]}}), json!({"a": [{"z": 1}, {"y": 1}]}), true),
        (json!({"a": {"x": [absent]}}), json!({"a": 5}), true),
        (json!({"a": {"b": [1], "x": [absent]}}), json!({"a": [{"b": 1}, {"b": 2, "x": 1}]}), true),
        (
            json!({"a": {"b": [1], "x": [absent]}}),
            json!({"a": [{"b": 1, "x": 2}, {"b": 2}]}),
            false,
        ),
        (json!({"a": {"b": [absent], "x": [1]}}), json!({"a": [{"b": 1}, {"x": 1}]}), false),
        (json!({"a": {"x": [absent, 5]}}), json!({"a": [{"x": 6}, {"y": 1}]}), false),
        (json!({"a": {"x": [absent, 5]}}), json!({"a": [{"x": 6}, {"x": 5}]}), true),
    ] {
        assert_eq!(matches(&pattern, &event), expected, "{pattern} {event}");
    }
}

#[test]
fn members_match_as_the_object_that_they_would_make() {
    let record = pattern(r#"{"data": {"type": ["a"]}, "partitionKey": [{"prefix": "k\\"}]}"#);
    let members = |data, key| [("data", Member::Json(data)), ("partitionKey", Member::Text(key))];
    assert_eq!(record.matches_members(&members(br#"{"type":"a"}"#, r"k\1")), Ok(true));
    assert_eq!(record.matches_members(&members(br#"{"type":"a"}"#, "other")), Ok(false));
    assert_eq!(record.matches_members(&members(br#"{"type":"a"}"#, r"k\1")[..1]), Ok(false));
    assert_eq!(record.matches_members(&members(b"5", r"k\1")), Ok(false));
    let broken = NotAnEvent::NotJson { offset: 1, expected: "the end" };
    assert_eq!(record.matches_members(&members(b"5x", r"k\1")), Err(broken));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3i64).prop_map(Value::from),
        "[abé\"\\\\\n]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abé.]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abé.]{0,2}", value(), 0..5)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Something like a pattern.
fn patternlike() -> impl Strategy<Value = Value> {
    let operator = prop_oneof![
        prop::sample::select(vec![
            json!({"exists": false}),
            json!({"exists": true}),
            json!({"prefix": "a"}),
            json!({"suffix": {"equals-ignore-case": "É"}}),
            json!({"wildcard": "a*b"}),
            json!({"anything-but": ["a", "b"]}),
            json!({"numeric": [">", -1, "<=", 2]}),
            json!({"anything-but": {"wildcard": "*a"}}),
        ]),
        value(),
    ];
    let list = prop::collection::vec(operator, 1..3).prop_map(Value::from);
    list.prop_recursive(3, 12, 3, |inner| {
        let fields = prop::collection::btree_map("[abé.]{0,2}", inner, 1..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        let or = prop::collection::vec(fields.clone(), 2..3).prop_map(|list| json!({"$or": list}));
        prop_oneof![3 => fields, 1 => or]
    })
}

/// The same JSON with every character of its strings escaped, and space around its tokens.
fn written_otherwise(value: &Value) -> String {
    let text = |text: &str| -> String {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        format!(" \"{}\" ", units.collect::<String>())
    };
    match value {
        Value::String(inner) => text(inner),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(written_otherwise).collect();
            format!("\t[ {} ]\n", elements.join(","))
        }
        Value::Object(members) => {
            let members = members.iter().rev();
            let members: Vec<String> = members
                .map(|(key, value)| format!("{}:{}", text(key), written_otherwise(value)))
                .collect();
            format!("\r{{ {} }} ", members.join(","))
        }
        Value::Number(number) => format!(" {number}.00e0 "),
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn no_text_breaks_it(
        text in r#"[\[\]{}:,"a0-9.\-\\*/$ ]{0,40}|\PC{0,20}"#,
        event in any::<Vec<u8>>(),
    ) {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.matches(&event);
        }
        let good = r#"{"a": [{"wildcard": "a*b"}], "$or": [{"b": [1]}, {"c": [1]}]}"#;
        let _ = pattern(good).matches(&event);
    }

    #[test]
    fn an_event_that_is_written_otherwise_matches_the_same(
        rule in patternlike(),
        event in object(),
    ) {
        if let Ok(pattern) = Pattern::parse(&rule.to_string()) {
            let verdict = pattern.matches(event.to_string());
            prop_assert!(verdict.is_ok());
            prop_assert_eq!(pattern.matches(written_otherwise(&event)), verdict);
        }
    }

    #[test]
    fn a_pattern_that_is_written_otherwise_means_the_same(
        rule in patternlike(),
        event in object(),
    ) {
        let one = Pattern::parse(&rule.to_string());
        let other = Pattern::parse(&written_otherwise(&rule));
        prop_assert_eq!(one.is_ok(), other.is_ok());
        if let (Ok(one), Ok(other)) = (one, other) {
            let event = event.to_string();
            prop_assert_eq!(one.matches(&event), other.matches(&event));
        }
    }

    #[test]
    fn more_fields_in_an_event_change_nothing(
        rule in patternlike(),
        event in object(),
        more in value(),
    ) {
        if let Ok(pattern) = Pattern::parse(&rule.to_string()) {
            let verdict = pattern.matches(event.to_string());
            let mut event = event;
            event["more"] = more;
            prop_assert_eq!(pattern.matches(event.to_string()), verdict);
        }
    }

    #[test]
    fn any_of_several_patterns_takes_what_one_of_them_takes(
        rules in prop::collection::vec(patternlike(), 0..5),
        event in object(),
    ) {
        let parsed = rules.iter().filter_map(|rule| Pattern::parse(&rule.to_string()).ok());
        let patterns: Vec<Pattern> = parsed.collect();
        let event = event.to_string();
        let expected = patterns.iter().any(|pattern| pattern.matches(&event) == Ok(true));
        prop_assert_eq!(Pattern::any_of(patterns).matches(&event), Ok(expected));
    }

    #[test]
    fn members_are_the_object_that_they_make(rule in patternlike(), event in object()) {
        if let Ok(pattern) = Pattern::parse(&rule.to_string()) {
            let members = event.as_object().expect("it is one");
            let texts: Vec<(&str, String)> =
                members.iter().map(|(key, value)| (&**key, value.to_string())).collect();
            let members: Vec<(&str, Member<'_>)> =
                texts.iter().map(|(key, json)| (*key, Member::Json(json.as_bytes()))).collect();
            prop_assert_eq!(pattern.matches_members(&members), pattern.matches(event.to_string()));
        }
    }
}
