//! EventBridge's own matcher, event-ruler from Maven, beside ours: what is a pattern to one is one
//! to the other, and takes the same events. Where both differ on purpose it is written down, here
//! and in docs/patterns.md.

use std::path::Path;
use std::process::Stdio;

use dispatchd_pattern::Pattern;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use testkit::packages;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const SEED: u64 = 16;
const PATTERNS: usize = 1500;
const EVENTS_EACH: usize = 3;
/// Longer ones match next to nothing, and may come to more combinations than we and EventBridge
/// take; event-ruler itself takes any number.
const PATTERN_BYTES_MAX: usize = 200;

/// A pattern and an event.
type Pair = (String, String);

/// What event-ruler says of each pair; nothing, aloud, without a JDK and Maven.
async fn theirs(pairs: &[Pair]) -> Option<Vec<String>> {
    let installed = tokio::task::spawn_blocking(packages::event_ruler);
    let jars = installed.await.expect("Maven ends")?;
    let lines: String = pairs.iter().map(|pair| format!("{}\n", json!(pair))).collect();
    let mut java = java(&jars).spawn().expect("a JDK has java");
    let mut input = java.stdin.take().expect("it is piped");
    // It prints at its end, so that neither waits for the other.
    input.write_all(lines.as_bytes()).await.expect("it reads");
    drop(input);
    let output = java.wait_with_output().await.expect("it can be read");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts = String::from_utf8(output.stdout).expect("it prints UTF-8");
    Some(verdicts.lines().map(str::to_owned).collect())
}

fn java(jars: &Path) -> Command {
    let mut java = Command::new("java");
    // As much of a compiler as so short a run has use for.
    java.args(["-Xmx200m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(jars.join("*"))
        .arg(packages::file("java/event-ruler/Verdicts.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    java
}

fn ours((pattern, event): &Pair) -> &'static str {
    match Pattern::parse(pattern).map(|pattern| pattern.matches(event)) {
        Err(_) => "RULE_ERR",
        Ok(Ok(true)) => "true",
        Ok(Ok(false)) => "false",
        Ok(Err(_)) => "EVENT_ERR",
    }
}

#[tokio::test]
async fn every_verdict_on_patterns_and_events_by_chance_is_event_ruler_s() {
    // What could go wrong: two rules of the language that each hold alone, and not together.
    let mut chance = StdRng::seed_from_u64(SEED);
    let pairs: Vec<Pair> = (0..PATTERNS)
        .flat_map(|_| {
            let drawn = std::iter::repeat_with(|| pattern(&mut chance, 2).to_string());
            let pattern = { drawn }.find(|drawn| drawn.len() <= PATTERN_BYTES_MAX);
            let pattern = pattern.expect("most are shorter");
            std::array::from_fn::<Pair, EVENTS_EACH, _>(|_| (pattern.clone(), event(&mut chance)))
        })
        .collect();
    let Some(theirs) = theirs(&pairs).await else { return };
    assert_eq!(theirs.len(), pairs.len());
    let verdicts = pairs.iter().zip(&theirs);
    let differ: Vec<String> = verdicts
        .filter(|(pair, theirs)| ours(pair) != *theirs)
        .map(|(pair, theirs)| format!("{} {}: {theirs}, ours {}", pair.0, pair.1, ours(pair)))
        .collect();
    assert!(
        differ.is_empty(),
        "{} differ, such as {:#?}",
        differ.len(),
        &differ[..differ.len().min(9)]
    );
    for verdict in ["true", "false"] {
        let count = theirs.iter().filter(|theirs| *theirs == verdict).count();
        assert!(count > pairs.len() / 20, "{count} are {verdict}: they tell little apart");
    }
}

#[tokio::test]
async fn both_differ_where_the_documentation_says_so_and_as_it_says() {
    // What could go wrong: a deviation that is none any more, or is another one.
    let deep = format!(r#"{{"z": {}{}, "a": 1}}"#, "[".repeat(200), "]".repeat(200));
    let cases = [
        // A number of an event is compared exactly, however many digits it has.
        (r#"{"a": [{"numeric": [">", 5]}]}"#, r#"{"a": 9007199254740993}"#, "false", "true"),
        (r#"{"a": [9007199254740993]}"#, r#"{"a": 9007199254740993.0}"#, "false", "true"),
        // Case is ignored character by character.
        (r#"{"a": [{"equals-ignore-case": "ß"}]}"#, r#"{"a": "SS"}"#, "true", "false"),
        (
            r#"{"a": [{"anything-but": {"equals-ignore-case": "ß"}}]}"#,
            r#"{"a": "SS"}"#,
            "false",
            "true",
        ),
        // An address with zeros in front is none.
        (r#"{"a": [{"cidr": "10.0.0.0/8"}]}"#, r#"{"a": "010.0.0.1"}"#, "true", "false"),
        // Nothing may follow the pattern or the event.
        (r#"{"a": [1]} x"#, r#"{"a": 1}"#, "true", "RULE_ERR"),
        (r#"{"a": [1]}"#, r#"{"a": 1} x"#, "true", "EVENT_ERR"),
        // Both lists of a field beside an `$or` and in it must take a value.
        (r#"{"a": [1], "$or": [{"a": [2]}, {"b": [1]}]}"#, r#"{"a": 2}"#, "true", "false"),
        // Behind a wildcard that begins with `*`, ignoring the case of a character takes that one.
        (
            r#"{"a": [{"wildcard": "*y"}, {"equals-ignore-case": "X"}]}"#,
            r#"{"a": "z"}"#,
            "true",
            "false",
        ),
        // 128 deep at most.
        (r#"{"a": [1]}"#, &deep, "true", "EVENT_ERR"),
    ];
    let pairs = cases.map(|(pattern, event, _, _)| (pattern.to_owned(), event.to_owned()));
    let Some(theirs) = theirs(&pairs).await else { return };
    for ((case, pair), said) in cases.iter().zip(&pairs).zip(&theirs) {
        assert_eq!((&**said, ours(pair)), (case.2, case.3), "theirs and ours of {pair:?}");
    }
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// So few keys and values that one and the other often meet, and a key often comes twice.
fn event(chance: &mut StdRng) -> String {
    object(chance, 3, 1)
}

fn object(chance: &mut StdRng, depth: usize, members_min: usize) -> String {
    let count = chance.random_range(members_min..=3);
    let member = |_| {
        let keys = ["a", "b", "c", "d", "a", "b", "c", "d", "a.b"];
        let key = keys.choose(chance).expect("there are some");
        format!(r#""{key}":{}"#, value(chance, depth))
    };
    let members: Vec<String> = (0..count).map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn value(chance: &mut StdRng, depth: usize) -> String {
    if depth == 0 || chance.random_bool(0.4) {
        let leaves = [
            "1",
            "2",
            "1.0",
            "-0.5",
            "5e-1",
            r#""x""#,
            r#""y""#,
            r#""xy""#,
            r#""Xé""#,
            r#""X\u00e9""#,
            r#""""#,
            r#""1""#,
            r#""10.0.0.1""#,
            r#""2001:db8::1""#,
            "null",
            "true",
            "false",
        ];
        return (*leaves.choose(chance).expect("there are some")).to_owned();
    }
    if chance.random_bool(0.4) {
        let count = chance.random_range(0..4);
        let elements: Vec<String> = (0..count).map(|_| value(chance, depth - 1)).collect();
        return format!("[{}]", elements.join(","));
    }
    object(chance, depth - 1, 0)
}

fn pattern(chance: &mut StdRng, depth: usize) -> Value {
    let mut keys = KEYS.to_vec();
    let mut pattern = fields(chance, depth, &mut keys, 2);
    // Its keys stand nowhere else. Beside it they are a deviation; and where two alternatives have
    // lists for one field that share a value, event-ruler says one thing or another.
    if keys.len() >= 2 && chance.random_bool(0.4) {
        let one_is_left = keys.len() - 1;
        let one = fields(chance, depth, &mut keys, one_is_left);
        let all = keys.len();
        let other = fields(chance, depth, &mut keys, all);
        pattern.insert("$or".to_owned(), json!([one, other]));
    }
    Value::Object(pattern)
}

/// One field or two, but no more than this, of keys that are left.
fn fields(
    chance: &mut StdRng,
    depth: usize,
    keys: &mut Vec<&str>,
    count_max: usize,
) -> Map<String, Value> {
    let count = chance.random_range(1..=count_max.min(2));
    let field = |_| {
        let key = keys.swap_remove(chance.random_range(0..keys.len()));
        let is_list = depth == 0 || chance.random_bool(0.7);
        (key.to_owned(), if is_list { tests(chance) } else { pattern(chance, depth - 1) })
    };
    (0..count).map(field).collect()
}

fn tests(chance: &mut StdRng) -> Value {
    let tests = [
        json!(1),
        json!(2),
        json!("x"),
        json!("y"),
        json!(null),
        json!(true),
        json!({"exists": true}),
        json!({"exists": false}),
        json!({"exists": false}),
        json!({"prefix": "x"}),
        json!({"prefix": {"equals-ignore-case": "x\u{c9}"}}),
        json!({"suffix": "y"}),
        json!({"suffix": {"equals-ignore-case": "\u{c9}"}}),
        json!({"equals-ignore-case": "xY"}),
        json!({"wildcard": "*y"}),
        json!({"wildcard": "x*"}),
        json!({"numeric": ["=", 1]}),
        json!({"numeric": [">", 0, "<", 2]}),
        json!({"numeric": ["<=", -0.5]}),
        json!({"cidr": "10.0.0.0/8"}),
        json!({"cidr": "2001:db8::/32"}),
        json!({"anything-but": "x"}),
        json!({"anything-but": [1, 2]}),
        json!({"anything-but": {"prefix": "x"}}),
        json!({"anything-but": {"suffix": ["y", "1"]}}),
        json!({"anything-but": {"wildcard": "*x*"}}),
        json!({"anything-but": {"equals-ignore-case": "XY"}}),
    ];
    let count = chance.random_range(1..=2);
    tests.sample(chance, count).cloned().collect()
}
