//! The layers above the defaults, flattened to dotted keys: presets < file < environment < flags,
//! the later ones last. It reads no meaning into any of them: an unknown key passes through with
//! its origin.

use std::env;
use std::fs;
use std::path::Path;

use ::config::{Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::inputs::{Flag, Inputs};
use super::problem::Problems;
use super::setting::{Origin, Setting};
use crate::targets::exec::{KclFile, Preset};

/// The prefix of our variables. Levels are parted by two underscores, and so is the prefix, so that
/// `DISPATCHD_SOCKET`, which clients read, is not taken for a key.
const ENV_PREFIX: &str = "DISPATCHD";
const ENV_SEPARATOR: &str = "__";
/// The end of the variable that Kubernetes makes for every Service with an address.
const SERVICE_HOST: &str = "_SERVICE_HOST";

/// All settings that were typed, in the order in which they apply.
pub(super) fn layers(inputs: &Inputs) -> Result<Vec<Setting>, Problems> {
    let mut settings = Vec::new();
    if let Some(path) = &inputs.file {
        settings.extend(file_layer(path)?);
    }
    let services = services(&inputs.env);
    let ours = inputs
        .env
        .iter()
        .filter(|(name, _)| !services.iter().any(|service| is_of_service(name, service)));
    settings.extend(ours.flat_map(env_layer));
    if inputs.is_stream_typed {
        settings.retain(|setting| !["stream.name", "stream.arn"].contains(&&*setting.key));
    }
    settings.extend(inputs.flags.iter().map(flag_layer));
    let of_the_kcl = inputs.kcl.iter().flat_map(|(_, presets)| presets);
    let below: Vec<Setting> = inputs
        .preset
        .iter()
        .chain(of_the_kcl)
        .map(flag_layer)
        .filter(|preset| !settings.iter().any(|typed| stands_for(typed, preset)))
        .collect();
    settings.splice(0..0, below);
    Ok(settings)
}

/// Whether what was typed leaves nothing for this preset to say, though it has another key: who
/// names the stream's ARN has named the stream, and who lists targets has listed them all.
fn stands_for(typed: &Setting, preset: &Setting) -> bool {
    let is_target = |key: &str| key.starts_with("forward.target[");
    !typed.value.is_empty()
        && match &*preset.key {
            "stream.name" => typed.key == "stream.arn",
            key if is_target(key) => is_target(&typed.key) && typed.key.ends_with("].url"),
            _ => false,
        }
}

/// The environment as text. `std::env::vars` would panic at anybody's variable that is not UTF-8;
/// here such a variable only loses the bytes that are not, and if it is ours its value is checked
/// like any other.
pub(crate) fn env_vars() -> Vec<(String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
}

fn file_layer(path: &Path) -> Result<Vec<Setting>, Problems> {
    let unreadable = |reason: String| Problems::File { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    toml_settings(&text, &Origin::File(path.to_owned())).map_err(unreadable)
}

/// What the KCL's own file says, each key with its line, and what of it has no meaning here.
///
/// # Errors
/// If it cannot be read, or does not hold.
pub(crate) fn kcl_presets(path: &Path) -> Result<(Vec<Flag>, Vec<String>), Problems> {
    let unreadable = |reason: String| Problems::File { path: path.to_owned(), reason };
    let text = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let KclFile { presets, notes } =
        KclFile::read(&text).map_err(|error| unreadable(error.to_string()))?;
    let flag = |Preset { key, value, from }| Flag {
        key: String::from(key),
        value,
        flag: format!("{from} of {}", path.display()),
    };
    Ok((presets.into_iter().map(flag).collect(), notes))
}

/// The inputs of a reload, for which the KCL's own file is read again here, and ours later.
///
/// # Errors
/// If a file is not there, or is not a regular one; links are followed. Or if the KCL's does not
/// hold.
pub(crate) fn read_again(mut inputs: Inputs) -> Result<Inputs, Problems> {
    inputs.file.as_deref().map_or(Ok(()), is_regular)?;
    if let Some((path, presets)) = &mut inputs.kcl {
        is_regular(path)?;
        (*presets, _) = kcl_presets(path)?;
    }
    Ok(inputs)
}

/// The first read of a pipe takes all that there is.
fn is_regular(path: &Path) -> Result<(), Problems> {
    let unreadable = |reason: String| Problems::File { path: path.to_owned(), reason };
    if fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.is_file() {
        return Ok(());
    }
    let reason = "it is no regular file (but a pipe, as of <(…), a device or a directory) and is \
                  not read again: a reload takes a file that can be read twice";
    Err(unreadable(reason.to_owned()))
}

/// What the parser says, without the lines of the file that it quotes: one may hold a secret.
fn without_quotes(error: &str) -> String {
    let is_quote = |line: &str| {
        let (margin, _) = line.split_once('|').unwrap_or((line, ""));
        margin.len() < line.len() && margin.trim().bytes().all(|byte| byte.is_ascii_digit())
    };
    let lines: Vec<&str> = error.lines().filter(|line| !is_quote(line)).collect();
    lines.join(": ")
}

fn toml_settings(text: &str, origin: &Origin) -> Result<Vec<Setting>, String> {
    let table = File::from_str(text, FileFormat::Toml)
        .collect()
        .map_err(|error| without_quotes(&error.to_string()))?;
    let mut settings = Vec::new();
    flatten("", table, origin, &mut settings);
    // The parsed file is a hash map, but problems should keep one order from run to run.
    settings.sort_by(|a, b| (&a.key, &a.value).cmp(&(&b.key, &b.value)));
    Ok(settings)
}

fn flatten(prefix: &str, table: Map<String, Value>, origin: &Origin, settings: &mut Vec<Setting>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value.kind {
            ValueKind::Table(table) => flatten(&format!("{key}."), table, origin, settings),
            ValueKind::Array(list) if is_of_tables(&list) => {
                for (number, table) in (1..).zip(list) {
                    let prefix = format!("{key}[{number}].");
                    let table = table.into_table().expect("it was just looked at");
                    if table.is_empty() {
                        let (key, value) = (prefix + "name", String::new());
                        settings.push(Setting { key, value, origin: origin.clone() });
                    } else {
                        flatten(&prefix, table, origin, settings);
                    }
                }
            }
            ValueKind::Array(list) => {
                let texts: Vec<String> = list.iter().map(Value::to_string).collect();
                let value = serde_json::to_string(&texts).expect("texts are JSON");
                settings.push(Setting { key, value, origin: origin.clone() });
            }
            kind => settings.push(Setting { key, value: kind.to_string(), origin: origin.clone() }),
        }
    }
}

/// Whether a list is one of tables, as of `[[forward.target]]`. Its tables are numbered from 1.
fn is_of_tables(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|item| matches!(item.kind, ValueKind::Table(_)))
}

/// The prefixes of variables that Kubernetes makes for Services named `dispatchd--…`: they look
/// like keys.
fn services(env: &[(String, String)]) -> Vec<&str> {
    env.iter()
        .filter_map(|(name, _)| name.strip_suffix(SERVICE_HOST))
        .filter(|of| of.starts_with(ENV_PREFIX))
        .collect()
}

/// Whether Kubernetes made this variable for that Service: `…_SERVICE_HOST`, `…_SERVICE_PORT_HTTP`,
/// `…_PORT`, `…_PORT_80_TCP_ADDR`. No key of ours begins so.
fn is_of_service(name: &str, service: &str) -> bool {
    let is_port = |rest: &str| rest == "_PORT" || rest.starts_with("_PORT_");
    name.strip_prefix(service).is_some_and(|rest| rest.starts_with("_SERVICE_") || is_port(rest))
}

/// The setting that a variable makes; `None` if it is not ours. Variables are read one at a time,
/// because a problem has to name the variable as it is spelled.
fn env_layer((name, value): &(String, String)) -> Option<Setting> {
    let alone = Map::from_iter([(name.clone(), value.clone())]);
    let keys = Environment::with_prefix(ENV_PREFIX)
        .prefix_separator(ENV_SEPARATOR)
        .separator(ENV_SEPARATOR)
        .source(Some(alone))
        .collect()
        .expect("only text that is not unicode fails, and ours is a string");
    let (key, value) = keys.into_iter().next()?;
    Some(Setting { key, value: value.to_string(), origin: Origin::Env(name.clone()) })
}

fn flag_layer(Flag { key, value, flag }: &Flag) -> Setting {
    Setting { key: key.clone(), value: value.clone(), origin: Origin::Flag(flag.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, TARGET_KEYS};

    fn toml(text: &str) -> Vec<(String, String)> {
        let settings = toml_settings(text, &Origin::Default).expect("it is toml");
        settings.into_iter().map(|setting| (setting.key, setting.value)).collect()
    }

    fn env(name: &str) -> Option<Setting> {
        env_layer(&(name.to_owned(), "1".to_owned()))
    }

    #[test]
    fn toml_is_flattened_to_dotted_keys() {
        let text = "producer_id = 'p'\n[batch]\nmax_records = 7\n[stream]\nallow_http = true\n";
        let expected =
            [("batch.max_records", "7"), ("producer_id", "p"), ("stream.allow_http", "true")];
        assert_eq!(toml(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_variable_with_single_underscores_is_not_ours() {
        for name in [
            "DISPATCHD_SOCKET",
            "DISPATCHD_LOG",
            "DISPATCHD_PORT_80_TCP",
            "DISPATCHD",
            "AWS_REGION",
            "PATH",
        ] {
            assert_eq!(env(name), None, "{name}");
        }
    }

    #[test]
    fn a_variable_becomes_a_key_and_keeps_its_name() {
        let setting = env("DISPATCHD__DELIVERY__BACKOFF_MIN").expect("it is ours");
        assert_eq!(setting.key, "delivery.backoff_min");
        assert_eq!(setting.origin, Origin::Env("DISPATCHD__DELIVERY__BACKOFF_MIN".to_owned()));
    }

    #[test]
    fn the_shipped_file_holds_every_key_at_its_default() {
        let mut defaults: Vec<_> =
            KEYS.iter().map(|key| (key.name.to_owned(), key.default.to_owned())).collect();
        defaults.sort();
        let shipped = include_str!("../../config.toml");
        assert_eq!(toml(shipped), defaults);
        let (_, target) = shipped.split_once("# [[forward.target]]\n").expect("it has a target");
        let (target, _) = target.split_once("\n\n").expect("other sections follow");
        let lines = target.lines().filter_map(|line| line.strip_prefix("# "));
        let keys: Vec<&str> = lines.filter(|line| line.contains(" = ")).collect();
        let mut defaults: Vec<_> =
            TARGET_KEYS.iter().map(|key| (key.name.to_owned(), key.default.to_owned())).collect();
        defaults.sort();
        assert_eq!(toml(&keys.join("\n")), defaults);
    }

    #[test]
    fn a_file_that_is_missing_or_broken_is_named() {
        let missing =
            file_layer(Path::new("/nonexistent/config.toml")).expect_err("there is no such file");
        assert_eq!(
            missing.to_string(),
            "cannot read /nonexistent/config.toml: No such file or directory (os error 2)"
        );
        let dir = tempfile::tempdir().expect("the temporary directory is writable");
        let path = dir.path().join("config.toml");
        fs::write(&path, "[socket]\nmode = 0660\n").expect("the directory is writable");
        let broken = file_layer(&path).expect_err("toml has no leading zeros").to_string();
        assert!(
            broken.starts_with(&format!("cannot read {}: ", path.display()))
                && broken.contains("line 2"),
            "{broken}"
        );
        assert!(!broken.contains("0660"), "the line may hold a secret: {broken}");
    }
}
