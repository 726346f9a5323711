//! What a running daemon takes over from a configuration that was read again: the keys that the
//! table marks as reloaded. Pure. `programs::control` hands their values on.

use super::keys::KEYS;
use super::setting::{Resolved, Setting};
use super::settings::Config;
use super::used::{Besides, Values};

/// How two configurations differ, in the table's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Keys that a reload changes, as `key = value` with the new value, which holds now.
    pub applied: Vec<String>,
    /// Keys that keep their old values until a restart.
    pub needs_restart: Vec<String>,
}

/// What a reload makes of the differences between `old`, which runs, and `new`.
pub(crate) fn changes(old: &Resolved, new: &Resolved) -> Changes {
    let mut changes = Changes::default();
    for (key, (before, Setting { value, .. })) in
        KEYS.iter().zip(old.values.iter().zip(&new.values))
    {
        match (before.value == *value, key.reloaded_by.is_some()) {
            (true, _) => {}
            (false, true) => changes.applied.push(format!("{} = {value}", key.name)),
            (false, false) => changes.needs_restart.push(key.name.to_owned()),
        }
    }
    changes.applied.extend(changed_targets(&old.config, &new.config));
    changes
}

/// What changes of the targets, by their names. All of a target's keys are taken over.
fn changed_targets(old: &Config, new: &Config) -> Vec<String> {
    let find = |config: &Config, name: &str| {
        config.forward.targets.iter().find(|target| target.name == name).cloned()
    };
    let gone = old.forward.targets.iter().filter(|target| find(new, &target.name).is_none());
    let gone: Vec<_> = gone.map(|target| format!("target {} is gone", target.name)).collect();
    let there = new.forward.targets.iter().filter_map(|target| match find(old, &target.name) {
        None => Some(format!("target {} is new", target.name)),
        Some(before) if before != *target => Some(format!("target {} is another", target.name)),
        Some(_) => None,
    });
    gone.into_iter().chain(there).collect()
}

/// The configuration that runs after a reload: of `new` what a reload changes, of `old` the rest.
pub(crate) fn after(old: &Resolved, new: Resolved) -> Resolved {
    let both = KEYS.iter().zip(old.values.iter().cloned().zip(new.values));
    let values: Vec<_> =
        both.map(|(key, (old, new))| if key.reloaded_by.is_some() { new } else { old }).collect();
    let besides = Besides {
        local: old.config.local.is_some(),
        cgroup_bytes: old.config.memory.cgroup_bytes,
        sdk_env: old.config.sdk_env.clone(),
    };
    let config = Values::of(KEYS, &values).config(besides, new.config.forward.targets);
    Resolved { config, values, targets: new.targets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, ReloadedBy, resolve};
    use dispatchd_producer::lane::Settings as LaneSettings;

    /// A value other than the default for every key that a reload changes.
    const OTHER: [(&str, &str); 13] = [
        ("schema.dir", "/schemas"),
        ("schema.mode", "warn"),
        ("schema.unknown", "reject"),
        ("schema.raw", "reject"),
        ("schema.types", "Order=warn"),
        ("batch.linger", "1s"),
        ("batch.max_records", "7"),
        ("batch.max_bytes", "2KiB"),
        ("batch.max_in_flight", "7"),
        ("delivery.timeout", "7s"),
        ("delivery.backoff_min", "7ms"),
        ("delivery.backoff_max", "7s"),
        ("log.level", "warn"),
    ];

    fn reloaded() -> Vec<&'static str> {
        KEYS.iter().filter(|key| key.reloaded_by.is_some()).map(|key| key.name).collect()
    }

    fn resolved(set: &[(&str, &str)]) -> Resolved {
        resolve(&Inputs::set(set)).expect("the values hold")
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
    fn every_key_that_is_taken_over_is_in_the_configuration_afterwards() {
        assert_eq!(OTHER.map(|(key, _)| key).to_vec(), reloaded());
        let (old, new) = (resolved(&[]), resolved(&OTHER));
        assert_eq!(after(&old, new.clone()).config, new.config);
    }

    #[test]
    fn every_key_that_is_taken_over_is_in_what_is_handed_on_to_whom_the_table_names() {
        // As `programs::control` hands it on.
        let handed_on = |Config { batch, delivery, log, schema, .. }: &Config, by| match by {
            ReloadedBy::Lanes => format!("{:?}", LaneSettings::of(batch, delivery)),
            ReloadedBy::Log => log.level.clone(),
            ReloadedBy::Schemas => format!("{schema:?}"),
        };
        // Where events are checked there is a folder.
        let folder = ("schema.dir", "/others");
        let old = resolved(&[folder]);
        for (name, value) in OTHER {
            let key = KEYS.iter().find(|key| key.name == name).expect("a key");
            let by = key.reloaded_by.expect("a reload changes it");
            let new = resolved(&[folder, (name, value)]);
            assert_ne!(handed_on(&new.config, by), handed_on(&old.config, by), "{name}");
        }
    }

    #[test]
    fn the_documentation_names_every_key_that_is_taken_over() {
        let page = include_str!("../../docs/configuration.md");
        let (_, section) = page.split_once("## Reload").expect("the page has the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        for key in reloaded() {
            assert!(section.contains(&format!("`{key}`")), "{key} is missing in {section}");
        }
    }
}
