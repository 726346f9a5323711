//! What is looked at in the end: that each target has everything, in its order.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

use super::KEYS;
use super::app::{App, Event};

/// Judges what a target handled of so many rounds. `dead` is what was given up, where that is
/// allowed.
pub(super) fn judge(app: &App, dead: Option<&[Event]>, rounds: u64) {
    let (handled, dead) = (app.handled(), dead.unwrap_or_default());
    assert_eq!(app.lacks(rounds, dead), None, "nothing is skipped");
    assert!(handled.len() as u64 > rounds, "a run that judges nothing proves nothing");
    let dead: HashSet<&Event> = dead.iter().collect();
    let poisoned = handled.iter().filter(|event| event.is_poisoned()).count();
    assert!(dead.is_empty() || poisoned == 0, "what always fails is given up");
    let mut next: HashMap<usize, u64> = (0..KEYS).map(|key| (key, 0)).collect();
    for event in &handled {
        let next = next.get_mut(&event.key).expect("it has every key");
        while *next < event.round && dead.contains(&Event { round: *next, key: event.key }) {
            *next += 1;
        }
        assert!(event.round <= *next, "{event:?} came before round {next} of its key");
        *next = (*next).max(event.round + 1);
    }
    let again = handled.len() - handled.iter().collect::<HashSet<_>>().len();
    println!("{} events, {again} of them again, {} given up", handled.len(), dead.len());
}

/// The events in a file of dead letters.
pub(super) fn dead_letters(path: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        // The last line may be half written by a process that was killed.
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| {
            let data = line["record"]["data"].as_str().expect("a letter holds its record");
            let data = BASE64_STANDARD.decode(data).expect("it is base64");
            serde_json::from_slice(&data).expect("the writer's")
        })
        .collect()
}
