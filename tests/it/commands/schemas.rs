//! The commands on schemas as CI and a person use them: files, git, what is printed, exit codes.
//! What schemas mean is tested in their crate.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::DISPATCHD;

/// A folder with a folder `schemas`, in which a type has a sample.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(home.path().join("schemas")).expect("it is new");
    write(&home, "schemas/Order.sample.json", r#"{"id": 1, "note": "x", "at": "2026-11-20"}"#);
    home
}

fn write(home: &TempDir, name: &str, text: &str) {
    fs::write(home.path().join(name), text).expect("there is room");
}

async fn run(home: &Path, program: Option<&str>, args: &[&str]) -> (i32, String) {
    let mut command = match program {
        None => DISPATCHD.command(),
        Some(program) => tokio::process::Command::new(program),
    };
    let output = command.current_dir(home).args(args).output().await.expect("it runs");
    let Output { status, stdout, stderr } = output;
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().expect("it was not killed"), text)
}

async fn schema(home: &TempDir, args: &[&str]) -> (i32, String) {
    run(home.path(), None, &[&["schema"], args].concat()).await
}

async fn git(home: &TempDir, args: &[&str]) {
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
    let (code, text) = run(home.path(), Some("git"), &[&who[..], args].concat()).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn a_folder_is_right_once_it_was_generated_and_committed() {
    let home = home();
    let (code, text) = schema(&home, &["check"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("Order: there is no Order.schema.json"), "{text}");
    let (code, text) = schema(&home, &["generate"]).await;
    assert_eq!((code, &*text), (0, "wrote schemas/Order.schema.json\n"));
    assert_eq!(schema(&home, &["check"]).await, (0, "1 type, nothing is wrong\n".to_owned()));
    let (code, text) = schema(&home, &["generate", "schemas"]).await;
    assert_eq!((code, &*text), (0, "1 file is as it was\n"));
    let (code, text) = schema(&home, &["check", "--strict"]).await;
    assert!(code == 1 && text.contains("    +   \"additionalProperties\": false"), "{text}");
    let (code, text) = schema(&home, &["check", "--type", "Paid", "--json"]).await;
    let report: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!((code, &report["problems"][0]["kind"]), (1, &"no_sample".into()));
}

#[tokio::test]
async fn a_change_is_compared_with_a_revision_of_git_or_with_a_folder() {
    let home = home();
    schema(&home, &["generate"]).await;
    git(&home, &["init", "--quiet", "--initial-branch=main"]).await;
    git(&home, &["add", "."]).await;
    git(&home, &["commit", "--quiet", "--message=schemas"]).await;
    fs::create_dir(home.path().join("before")).expect("it is new");
    let before = home.path().join("before/Order.schema.json");
    fs::copy(home.path().join("schemas/Order.schema.json"), before).expect("there is room");
    let checked = async |against: &str, compat: &str| {
        schema(&home, &["check", "--against", against, "--compat", compat]).await
    };
    assert_eq!(checked("main", "full").await.0, 0);

    write(&home, "schemas/Order.sample.json", r#"{"id": "1", "at": "2026-11-20"}"#);
    schema(&home, &["generate"]).await;
    for against in ["main", "HEAD", "before"] {
        let (code, text) = checked(against, "forward").await;
        assert_eq!(code, 1, "{text}");
        assert!(
            text.contains("Order: /id: a new event may have string, the old schema takes integer"),
            "{text}"
        );
        assert!(text.contains("Order: /note: a new event may have no such property"), "{text}");
    }
    let (code, text) = checked("no-such-revision", "forward").await;
    assert!(code == 1 && text.contains("git knows no such revision"), "{text}");
    let (code, text) = checked("--help", "forward").await;
    assert!(code != 0 && !text.contains("usage: git"), "it is no option of git's: {text}");
}

#[tokio::test]
async fn data_is_checked_and_a_violation_names_its_place() {
    let home = home();
    schema(&home, &["generate"]).await;
    write(&home, "right.json", r#"{"id": 2, "note": "y", "at": "2026-11-21"}"#);
    write(
        &home,
        "wrong.ndjson",
        "{\"id\":1,\"note\":\"\",\"at\":\"2026-11-21\"}\n{\"id\":\"x\"}\n",
    );
    let validated =
        schema(&home, &["validate", "--type", "Order", "right.json", "wrong.ndjson"]).await;
    let expected =
        "right.json: fits\nwrong.ndjson: value 2: data at /id: expected integer (type)\n";
    assert_eq!(validated, (1, expected.to_owned()));
    let (code, text) = schema(&home, &["validate", "--type", "Paid", "right.json"]).await;
    assert!(code == 1 && text.contains("has no schema of the type Paid"), "{text}");
}

#[tokio::test]
async fn schemas_are_written_for_other_tools_and_for_people() {
    let home = home();
    schema(&home, &["generate"]).await;
    let (code, text) = schema(&home, &["export", "--draft", "4", "--type", "Order"]).await;
    let four: Value = serde_json::from_str(&text).expect("a schema");
    assert_eq!((code, &four["$schema"]), (0, &"http://json-schema.org/draft-04/schema#".into()));
    assert_eq!(schema(&home, &["export", "--draft", "7"]).await.0, 64, "where to?");
    let (code, text) = schema(&home, &["export", "--draft", "7", "--out", "out"]).await;
    assert_eq!((code, &*text), (0, "wrote out/Order.schema.json\n"));
    for (form, member) in [("openapi3", "openapi"), ("asyncapi3", "asyncapi")] {
        let (code, text) = schema(&home, &["export", "--draft", form]).await;
        let document: Value = serde_json::from_str(&text).expect("a document");
        assert!(code == 0 && document[member].is_string(), "{text}");
    }
    let (code, text) = schema(&home, &["docs", "--out", "pages", "--html"]).await;
    assert_eq!((code, &*text), (0, "wrote pages/Order.html\n"));
    let (code, text) = schema(&home, &["print", "envelope"]).await;
    let envelope: Value = serde_json::from_str(&text).expect("a schema");
    let user = &envelope["properties"]["source"]["properties"]["userId"]["type"];
    assert_eq!((code, user), (0, &serde_json::json!(["string", "null"])));
}

/// What could go wrong: somebody copies a client's recipe for samples, and CI refuses what it made.
#[tokio::test]
async fn the_recipes_of_the_clients_pass_the_check_of_ci() {
    for client in ["node", "python", "go", "java"] {
        let folder = format!("{}/clients/{client}/recipes/samples", env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(&folder);
        let (code, text) = run(folder, None, &["schema", "check", "schemas"]).await;
        assert_eq!((code, text.as_str()), (0, "2 types, nothing is wrong\n"), "{client}");
    }
}
