//! What a running daemon takes over from a configuration that was read again. Pure.
//!
//! Safe is what says how fast and how much at once; where things are and what was promised to
//! callers is not.

use super::{Resolved, Setting};

/// The keys that a reload changes; every other one needs a restart.
const RELOADED: &[&str] = &[
    "batch.linger",
    "batch.max_records",
    "batch.max_bytes",
    "batch.max_in_flight",
    "delivery.timeout",
    "delivery.backoff_min",
    "delivery.backoff_max",
    "log.level",
];

/// What is different, in the table's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// As `key = value`, with the new values: they hold now.
    pub applied: Vec<String>,
    /// Keys that keep their old values until a restart.
    pub needs_restart: Vec<String>,
}

/// What became of `old`, as it runs, with `new`.
pub fn changes(old: &Resolved, new: &Resolved) -> Changes {
    let mut changes = Changes::default();
    for (Setting { value: before, .. }, Setting { key, value, .. }) in
        old.values.iter().zip(&new.values)
    {
        if before == value {
            continue;
        }
        if RELOADED.contains(&key.as_str()) {
            changes.applied.push(format!("{key} = {value}"));
        } else {
            changes.needs_restart.push(key.clone());
        }
    }
    changes
}

/// The configuration that runs after a reload: `new`, where it is taken over, and `old` where it is
/// not.
pub fn after(old: &Resolved, new: Resolved) -> Resolved {
    let mut after = old.clone();
    after.config.batch = new.config.batch;
    after.config.log.level = new.config.log.level;
    let (running, read) = (&mut after.config.delivery, new.config.delivery);
    (running.timeout, running.backoff_min, running.backoff_max) =
        (read.timeout, read.backoff_min, read.backoff_max);
    for (setting, read) in after.values.iter_mut().zip(new.values) {
        if RELOADED.contains(&read.key.as_str()) {
            *setting = read;
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flag, Inputs, KEYS, resolve};

    fn resolved(set: &[(&str, &str)]) -> Resolved {
        let flag = |(key, value): &(&str, &str)| Flag {
            key: (*key).into(),
            value: (*value).into(),
            flag: "--set".into(),
        };
        let flags = set.iter().map(flag).collect();
        resolve(&Inputs { local: true, flags, ..Inputs::default() }).expect("the values hold")
    }

    #[test]
    fn what_may_change_is_taken_over_and_the_rest_is_named() {
        let old = resolved(&[]);
        let new =
            resolved(&[("log.level", "debug"), ("batch.linger", "1s"), ("socket.window", "7")]);
        let found = changes(&old, &new);
        assert_eq!(found.applied, ["batch.linger = 1s", "log.level = debug"]);
        assert_eq!(found.needs_restart, ["socket.window"]);
        let after = after(&old, new.clone());
        assert_eq!(after.config.batch, new.config.batch);
        assert_eq!(after.config.log, new.config.log);
        assert_eq!(after.config.socket, old.config.socket);
        assert_eq!(changes(&after, &new).applied, [""; 0], "it is taken over once");
        assert_eq!(
            changes(&after, &new).needs_restart,
            ["socket.window"],
            "and what is not is named each time"
        );
    }

    #[test]
    fn every_key_that_is_taken_over_is_in_the_table_and_in_the_configuration() {
        let other = [
            ("batch.linger", "1s"),
            ("batch.max_records", "7"),
            ("batch.max_bytes", "2KiB"),
            ("batch.max_in_flight", "7"),
            ("delivery.timeout", "7s"),
            ("delivery.backoff_min", "7ms"),
            ("delivery.backoff_max", "7s"),
            ("log.level", "warn"),
        ];
        assert_eq!(other.map(|(key, _)| key), RELOADED);
        let (old, new) = (resolved(&[]), resolved(&other));
        assert_eq!(after(&old, new.clone()).config, new.config);
        assert!(RELOADED.iter().all(|name| KEYS.iter().any(|key| key.name == *name)));
    }

    #[test]
    fn the_documentation_names_every_key_that_is_taken_over() {
        let page = include_str!("../../docs/configuration.md");
        let (_, section) = page.split_once("## Reload").expect("the page has the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        for key in RELOADED {
            assert!(section.contains(&format!("`{key}`")), "{key} is missing in {section}");
        }
    }
}
