//! From values that hold to the configuration as used: each key finds the field of its name.
//!
//! It cannot fail. A key without a field, a field without a key, and a field of another kind than
//! its key's rule gives are slips in this crate, and any test that resolves a configuration finds
//! them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use dispatchd_aws::SdkEnv;
use dispatchd_core::model::StreamArn;
use serde_json::{Map, Value as Json, json};

use super::keys::Key;
use super::rule::Value;
use super::setting::Setting;
use super::settings::Config;
use crate::targets::settings::Target;

/// A value for every key of a table.
pub(super) struct Values(pub HashMap<&'static str, Value>);

/// What a configuration has besides its keys.
#[derive(Debug)]
pub(super) struct Besides {
    /// Whether an embedded stream stands in for Kinesis.
    pub local: bool,
    /// The memory limit that the machine sets; `None` where there is none.
    pub cgroup_bytes: Option<usize>,
    pub sdk_env: SdkEnv,
}

impl Values {
    /// The values of settings that hold, in the order of their table.
    pub(super) fn of(keys: &'static [Key], settings: &[Setting]) -> Self {
        let values = keys.iter().zip(settings).map(|(key, setting)| {
            let value = key.rule.read(&setting.value);
            (key.name, value.unwrap_or_else(|| panic!("{} was checked before", key.name)))
        });
        Self(values.collect())
    }

    pub(super) fn config(&self, besides: Besides, targets: Vec<Target>) -> Config {
        let Besides { local, cgroup_bytes, sdk_env } = besides;
        let mut tree = self.tree();
        name_stream(&mut tree["stream"], local);
        if !local {
            tree["local"] = Json::Null;
        }
        let mut config: Config = serde_json::from_value(tree)
            .unwrap_or_else(|error| unreachable!("the table and the settings differ: {error}"));
        config.memory.cgroup_bytes = cgroup_bytes;
        config.forward.targets = targets;
        config.sdk_env = sdk_env;
        config
    }

    /// Sections and what they hold.
    pub(super) fn tree(&self) -> Json {
        let mut tree = Map::new();
        for (key, value) in &self.0 {
            let (section, name) = key.split_once('.').unwrap_or(("", key));
            let section = match section {
                "" => &mut tree,
                section => tree
                    .entry(section)
                    .or_insert_with(|| json!({}))
                    .as_object_mut()
                    .expect("no key is the name of a section"),
            };
            section.insert(name.to_owned(), value.to_json());
        }
        tree.into()
    }
}

/// The stream has two keys and one name. The embedded stream has an account and a region of its
/// own, so an ARN would not be its.
fn name_stream(stream: &mut Json, local: bool) {
    let stream = stream.as_object_mut().expect("it is a section");
    let [name, arn] = ["name", "arn"].map(|key| stream.remove(key).unwrap_or_default());
    let id = match arn.as_str() {
        None => json!({ "name": name }),
        Some(arn) => match arn.parse::<StreamArn>() {
            Ok(parts) if local => json!({ "name": parts.name() }),
            _ => json!({ "arn": arn }),
        },
    };
    stream.insert("id".to_owned(), id);
}

impl Value {
    /// As the settings read it.
    fn to_json(&self) -> Json {
        match self {
            Self::Duration(time) => json!({ "secs": time.as_secs(), "nanos": time.subsec_nanos() }),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Switch(is_on) => json!(is_on),
            Self::Mode(mode) => json!(mode),
            Self::Address(address) => json!(address),
            Self::Unset => Json::Null,
        }
    }
}

// === One kind each, for what is related to another value ===

impl Values {
    pub(super) fn text_if_set(&self, key: &str) -> Option<&str> {
        match &self.0[key] {
            Value::Unset => None,
            Value::Text(text) => Some(text),
            other => other_kind(key, other),
        }
    }

    pub(super) fn number_if_set(&self, key: &str) -> Option<usize> {
        match self.0[key] {
            Value::Unset => None,
            Value::Number(number) => Some(number),
            ref other => other_kind(key, other),
        }
    }

    pub(super) fn address_if_set(&self, key: &str) -> Option<SocketAddr> {
        match self.0[key] {
            Value::Unset => None,
            Value::Address(address) => Some(address),
            ref other => other_kind(key, other),
        }
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        match self.0[key] {
            Value::Duration(duration) => duration,
            ref other => other_kind(key, other),
        }
    }

    pub(super) fn switch(&self, key: &str) -> bool {
        match self.0[key] {
            Value::Switch(is_on) => is_on,
            ref other => other_kind(key, other),
        }
    }
}

fn other_kind(key: &str, value: &Value) -> ! {
    unreachable!("the rule of {key} gives another kind: {value:?}")
}
