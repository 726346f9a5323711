use super::*;
use proptest::prelude::*;
use serde_json::json;

fn folder(files: &[(&str, &str)]) -> Folder {
    let mut folder = Folder::default();
    for (name, text) in files {
        folder.add(name, text.as_bytes().to_vec()).expect("its name is right");
    }
    folder
}

fn discovery(files: &[(&str, &str)]) -> Discovery {
    Discovery::new(&folder(files), Rules::Open).expect("the folder is right")
}

/// The changes, all of which are schemas.
fn changed(discovery: &mut Discovery) -> Vec<Change> {
    discovery.changes().into_iter().map(|change| change.expect("it is a schema")).collect()
}

#[test]
fn a_shape_is_told_when_it_is_new_or_changes_and_not_otherwise() {
    let mut found = discovery(&[]);
    found.see(Some("Order"), r#"{"total": 1, "id": "secret"}"#);
    found.see(Some("a/b"), "1");
    let changes = changed(&mut found);
    let names: Vec<_> = changes.iter().map(|one| (one.file.as_str(), one.is_new)).collect();
    assert_eq!(names, [("Order.schema.json", true), ("a%2Fb.schema.json", true)]);
    assert!(changes.iter().all(|one| !one.text.contains("secret")), "{changes:?}");
    found.see(Some("Order"), r#"{"total": 2, "id": "other"}"#);
    assert_eq!(changed(&mut found), []);
    found.see(Some("Order"), r#"{"total": 2.5, "id": "other"}"#);
    let changes = changed(&mut found);
    assert!(!changes[0].is_new && changes.len() == 1, "{changes:?}");
    assert!(changes[0].diff.contains("-       \"type\": \"integer\"\n"), "{}", changes[0].diff);
    assert!(changes[0].diff.contains("+       \"type\": \"number\"\n"), "{}", changes[0].diff);
}

/// What could go wrong: a second run forgets what the first one saw, and its schema refuses what
/// the first one admitted.
#[test]
fn a_later_discovery_goes_on_with_the_schema_of_an_earlier_one() {
    let mut first = discovery(&[]);
    first.see(Some("Order"), r#"{"total": 1.5, "coupon": null}"#);
    let text = changed(&mut first).remove(0).text;
    let mut second = discovery(&[("Order.schema.json", &text)]);
    second.see(Some("Order"), r#"{"total": 1, "coupon": null}"#);
    assert_eq!(changed(&mut second), [], "it fits what is known");
    second.see(Some("Order"), r#"{"total": 1}"#);
    let change = changed(&mut second).remove(0);
    assert!(!change.is_new && change.diff.contains("-     \"coupon\","), "{}", change.diff);
    assert!(change.text.contains("\"type\": \"number\""), "{}", change.text);
}

#[test]
fn it_begins_with_samples_and_a_patch_where_there_are_some() {
    let mut found = discovery(&[
        ("Order.sample.json", r#"{"state": "new", "total": 1}"#),
        ("Order.schema.patch.json", r#"{"properties": {"state": {"minLength": 1}}}"#),
    ]);
    assert_eq!(changed(&mut found), [], "nobody asked for what no event has");
    found.see(Some("Order"), r#"{"state": "paid"}"#);
    let schema: Value = serde_json::from_str(&changed(&mut found)[0].text).expect("it is JSON");
    assert_eq!(schema["required"], json!(["state"]));
    assert_eq!(schema["properties"]["state"], json!({"type": "string", "minLength": 1}));
}

#[test]
fn a_schema_that_was_written_by_hand_is_left_alone() {
    let mut found = discovery(&[("Order.schema.json", r#"{"required": ["id"], "minimum": 1}"#)]);
    assert_eq!(found.left_alone().collect::<Vec<_>>(), ["Order"]);
    found.see(Some("Order"), "{}");
    assert_eq!(changed(&mut found), []);
    assert_eq!(found.left_out().left_alone, 1);
    let wrong = Discovery::new(&folder(&[("A.schema.json", "{")]), Rules::Open);
    assert!(wrong.expect_err("it is no JSON")[0].to_string().starts_with("A.schema.json: "));
}

#[test]
fn what_is_beyond_a_bound_is_left_out_and_counted() {
    let mut found = discovery(&[]);
    found.see(None, "{}");
    found.see(Some(""), "{}");
    found.see(Some(&"é".repeat(60)), "{}");
    found.see(Some("T"), &format!("\"{}\"", "a".repeat(DISCOVERED_EVENT_BYTES_MAX - 1)));
    for levels in [DEPTH_MAX + 1, 1_000] {
        found.see(Some("T"), &("[".repeat(levels) + &"]".repeat(levels)));
    }
    assert_eq!(changed(&mut found), []);
    let expected = LeftOut { untyped: 3, too_large: 1, too_deep: 2, ..LeftOut::default() };
    assert_eq!(found.left_out(), expected);
    let text = expected.to_string();
    assert!(text.contains("from 3 events: they say no type") && text.contains("1 event: their"));
    assert_eq!(text.lines().count(), 3);
    assert_eq!(LeftOut::default().to_string(), "");
    found.see(Some("T"), &format!("\"{}\"", "a".repeat(DISCOVERED_EVENT_BYTES_MAX - 2)));
    assert_eq!((changed(&mut found).len(), found.left_out()), (1, expected), "just small enough");
}

#[test]
fn types_without_end_stop_at_their_bound_and_those_that_are_known_go_on() {
    let mut found = discovery(&[]);
    for number in 0..DISCOVERED_TYPES_MAX + 5 {
        found.see(Some(&format!("order {number} paid")), "{}");
    }
    assert_eq!(changed(&mut found).len(), DISCOVERED_TYPES_MAX);
    found.see(Some("order 1 paid"), "1");
    assert_eq!(changed(&mut found).len(), 1);
    assert_eq!(found.left_out(), LeftOut { types: 5, ..LeftOut::default() });
}

/// What could go wrong: somebody writes other names with every event, at every level, and the
/// memory of whoever watches is full.
#[test]
fn names_without_end_stop_at_the_bytes_of_all_shapes() {
    let mut found = discovery(&[]);
    let name = "n".repeat(1_000);
    found.see(Some("T"), r#"{"none of them": 1}"#);
    for number in 0..300 {
        let fields = (0..500).map(|field| (format!("{name}{field}"), json!(1)));
        let inside = Value::Object(fields.collect());
        found.see(Some("T"), &json!({format!("of {number}"): inside}).to_string());
    }
    let LeftOut { room, .. } = found.left_out();
    assert!(room > 0, "it is full");
    let used: usize = found
        .types
        .values()
        .map(|one| match one {
            Type::Seen(seen) => seen.shape.bytes(),
            Type::LeftAlone => 0,
        })
        .sum();
    assert!(used <= DISCOVERED_BYTES_MAX && used > DISCOVERED_BYTES_MAX / 2, "{used}");
    found.see(Some("T"), r#"{"of 0": {}}"#);
    assert_eq!(found.left_out().room, room, "what takes no room is still seen");
    let changes = found.changes();
    let Err(error) = &changes[0] else { panic!("it has too many places") };
    let error = error.to_string();
    assert!(error.contains("more than 10000 schemas inside"), "{error:.200}");
    found.see(Some("T"), "{}");
    assert_eq!((found.changes().len(), found.left_out().left_alone), (0, 1), "it is told once");
}

proptest! {
    /// Discovered or generated from the same values: the same bytes.
    #[test]
    fn a_discovery_writes_what_generate_would(
        values in prop::collection::vec("[1-9][0-9]{0,2}|null|\"[a-z]{0,3}\"|\\{\"[a-c]\":(1|\"x\"|null)\\}|\\[1,null\\]", 1..6),
    ) {
        let lines = values.join("\n");
        for rules in [Rules::Open, Rules::Strict] {
            let samples = folder(&[("T.samples.ndjson", &lines)]);
            let generated = samples.generate(rules).expect("they make a schema");
            let mut found = Discovery::new(&Folder::default(), rules).expect("it is empty");
            values.iter().for_each(|value| found.see(Some("T"), value));
            prop_assert_eq!(&changed(&mut found)[0].text, &generated["T"]);
        }
    }
}
