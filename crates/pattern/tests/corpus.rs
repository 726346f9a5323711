//! The verdicts of event-ruler 2.0.1, AWS's own matcher, case by case.

use dispatchd_pattern::Pattern;
use serde_json::Value;

const CORPUS: &str = include_str!("data/event-ruler-2.0.1.jsonl");

/// A string is text to read; anything else stands for its own text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn verdict(rule: &str, event: &str) -> &'static str {
    let Ok(pattern) = Pattern::parse(rule) else { return "RULE_ERR" };
    match pattern.matches(event) {
        Ok(true) => "true",
        Ok(false) => "false",
        Err(_) => "EVENT_ERR",
    }
}

#[test]
fn every_verdict_is_the_one_of_event_ruler() {
    let cases: Vec<Value> =
        CORPUS.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(cases.len(), 322);
    let differ: Vec<String> = cases
        .iter()
        .filter(|case| verdict(&text(&case["rule"]), &text(&case["event"])) != case["verdict"])
        .map(|case| format!("{}: {} {}", case["name"], case["rule"], case["verdict"]))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}
