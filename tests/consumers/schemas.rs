//! Schemas as others read them: quicktype makes of the same samples what ours admit, and writes
//! code of our exports; validators and parsers of the other forms take them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::packages;

use crate::DISPATCHD;

/// Samples of the kinds that matter: formats, fractions, null, arrays of objects, maps, several
/// samples of one type.
const SAMPLES: [(&str, &str); 3] = [
    (
        "BusinessUnitsCreated",
        r#"{"correlationId": "09616966-9f74-4da9-b7f5-2f56770e4f71", "userId": "u-1",
            "organisationId": null, "at": "2026-11-20T21:34:09.335Z", "day": "2026-11-20",
            "site": "https://example.com/a", "mail": "a@example.com", "count": 3, "rate": 12.5,
            "active": true, "tags": [], "none": {},
            "units": [{"id": 1, "name": "x"}, {"id": 2, "name": "y", "parent": {"id": 1}}]}"#,
    ),
    (
        "OrderPlaced",
        r#"[{"id": 1, "note": "x", "total": 1, "mixed": [1, "a", null]},
            {"id": 2, "total": 1.5, "note": null, "coupon": {"code": "c", "percent": 5}, "mixed": []}]"#,
    ),
    (
        "PricesChanged",
        r#"{"byDay": {"2026-11-20": 1.5, "2026-11-21": 2}, "currencies": {"EUR": 1, "USD": 2}}"#,
    ),
];

/// A folder with the samples and what is generated of them.
fn generated(more: &[&str]) -> TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(home.path().join("schemas")).expect("it is new");
    for (name, sample) in SAMPLES {
        let path = home.path().join(format!("schemas/{name}.sample.json"));
        fs::write(path, sample).expect("there is room");
    }
    dispatchd(home.path(), &[&["schema", "generate"], more].concat());
    home
}

fn dispatchd(home: &Path, args: &[&str]) -> String {
    said(Command::new(DISPATCHD.path()).current_dir(home).args(args))
}

/// What a program prints that ends well.
fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

fn node(folder: &Path, script: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(folder.join(script));
    node
}

/// The samples of a type: an array is several.
fn samples(text: &str) -> Vec<Value> {
    match serde_json::from_str(text).expect("it is JSON") {
        Value::Array(samples) => samples,
        sample => vec![sample],
    }
}

#[test]
fn strict_schemas_and_those_of_quicktype_take_and_refuse_the_same_documents() {
    let Some(packages) = packages::node_schemas() else { return };
    let home = generated(&["--strict"]);
    let text = said(node(&packages, "parity.cjs").arg(home.path().join("schemas")));
    let asked: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON a line")).collect();
    let other: Vec<_> = asked.iter().filter(|asked| asked["ours"] != asked["theirs"]).collect();
    assert!(other.is_empty(), "{other:#?}");
    let samples: usize = SAMPLES.iter().map(|(_, text)| samples(text).len()).sum();
    assert_eq!(asked.len(), samples + 40 * SAMPLES.len());
    let taken = asked.iter().filter(|asked| asked["ours"] == true).count();
    assert!(taken >= samples && taken < asked.len() / 2, "{taken} of {}", asked.len());
}

#[test]
fn quicktype_writes_code_of_every_draft_that_is_exported() {
    let Some(packages) = packages::node_schemas() else { return };
    let home = generated(&[]);
    for (draft, language) in [
        ("6", "typescript"),
        ("6", "go"),
        ("6", "java"),
        ("6", "python"),
        ("2020-12", "typescript"),
    ] {
        dispatchd(home.path(), &["schema", "export", "--draft", draft, "--out", "out"]);
        let file = home.path().join("out/BusinessUnitsCreated.schema.json");
        let mut quicktype = node(&packages, "node_modules/quicktype/dist/index.js");
        quicktype.args(["--src-lang", "schema", "--lang", language, "--src"]).arg(file);
        let into: PathBuf = home.path().join("Code.java");
        quicktype.arg("--out").arg(&into);
        said(&mut quicktype);
        let code = if language == "java" {
            let java = home.path().join("BusinessUnitsCreated.java");
            fs::read_to_string(if java.exists() { java } else { into })
        } else {
            fs::read_to_string(into)
        };
        let code = code.expect("it was written").to_lowercase();
        assert!(code.contains("correlationid") || code.contains("correlation_id"), "{code}");
    }
}

#[test]
fn openapi_and_asyncapi_are_read_by_their_own_tools() {
    let Some(packages) = packages::node_schemas() else { return };
    let home = generated(&[]);
    let write = |args: &[&str]| {
        let path = home.path().join("document.json");
        let text = dispatchd(home.path(), &[&["schema", "export", "--draft"], args].concat());
        fs::write(&path, text).expect("there is room");
        path
    };
    said(node(&packages, "openapi.mjs").arg(write(&["openapi3"])));
    for profile in ["lk", "type-data", "eventbridge", "cloudevents"] {
        let document = write(&["asyncapi3", "--stream", "orders", "--profile", profile]);
        let messages = said(node(&packages, "asyncapi.cjs").arg(document));
        let messages: Value = serde_json::from_str(&messages).expect("an array");
        assert_eq!(messages, json!(SAMPLES.map(|(name, _)| name)), "{profile}");
    }
}

#[test]
fn a_reader_of_draft_4_takes_the_samples_and_refuses_others() {
    let Some(packages) = packages::node_schemas() else { return };
    let home = generated(&[]);
    for (name, text) in SAMPLES {
        let schema = home.path().join("four.json");
        let four = dispatchd(home.path(), &["schema", "export", "--draft", "4", "--type", name]);
        fs::write(&schema, four).expect("there is room");
        let values = home.path().join("values.json");
        let mut asked = samples(text);
        let right = asked.len();
        asked.extend([json!(null), json!({})]);
        fs::write(&values, Value::from(asked).to_string()).expect("there is room");
        let said = said(node(&packages, "draft4.cjs").args([schema, values]));
        let said: Vec<bool> = serde_json::from_str(&said).expect("an array");
        let expected: Vec<bool> = (0..said.len()).map(|at| at < right).collect();
        assert_eq!(said, expected, "{name}");
    }
}
