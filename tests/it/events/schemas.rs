//! Schemas on the way in: what does not fit is refused by whatever input it comes, nothing of it is
//! stored or told, and a folder that changes is taken over, or its old schemas hold.

use std::fs;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::daemon::{Caller, Daemon, Start};
use testkit::http::{JSON, TARGET, send};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::tasks::Tasks;
use testkit::{client, eventually};

use crate::DISPATCHD;

const REFUSED: &str = "the folder of schemas changed and is refused, the old schemas hold: mend it";
const RELOAD_REFUSED: &str = "the configuration was read again and is refused, the old one holds: mend it and reload once more";
const LOADED: &str = "dispatchd_schemas_last_load_successful";

struct Scene {
    ferro: Ferro,
    daemon: Daemon,
    folder: TempDir,
}

/// A daemon with a schema for the type `Order`: a number `id`, and no more.
async fn scene(start: impl FnOnce(Start) -> Start) -> Scene {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    write(&folder, "Order", "integer");
    let start_with = DISPATCHD
        .daemon(&ferro.endpoint(), "s")
        .set("schema.dir", folder.path().display())
        .set("schema.mode", "enforce")
        .set("http.listen", "127.0.0.1:0")
        .set("kinesis_api.listen", "127.0.0.1:0");
    let daemon = start(start_with).start().await;
    Scene { ferro, daemon, folder }
}

fn write(folder: &TempDir, name: &str, of_id: &str) {
    let schema = json!({
        "type": "object", "properties": {"id": {"type": of_id}}, "additionalProperties": false,
    });
    write_text(folder, name, &schema.to_string());
}

/// Whole at every moment, since the daemon may look at any.
fn write_text(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join(format!("{name}.schema.json"));
    let beside = folder.path().with_extension("new");
    fs::write(&beside, text).and_then(|()| fs::rename(beside, path)).expect("there is room");
}

impl Scene {
    async fn post(&self, input: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let ready = self.daemon.logged("ready").pop().expect("it has started");
        let address = ready[input].as_str().expect("it listens").to_owned();
        let mut request = Request::post(path).header("host", &address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let tasks = Tasks::default();
        let answer = send(&address, request, &tasks).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        json!({"status": head.status.as_u16(), "body": body})
    }

    async fn http(&self, content_type: &str, body: &str) -> Value {
        self.post("http", "/v1/events", &[("content-type", content_type)], body).await
    }

    async fn stored(&self) -> Vec<String> {
        let records = read_all(&client(&self.ferro.endpoint()), "s").await;
        records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
    }
}

async fn code(caller: &mut Caller, line: &str) -> String {
    caller.ask(line).await["error"]["code"].as_str().unwrap_or("none").to_owned()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_every_input_and_nothing_of_it_is_stored_or_told() {
    let scene = scene(|start| start).await;
    let wrong = r#"{"type":"Order","data":{"id":"secret"}}"#;
    let mut caller = scene.daemon.connect().await;
    let refused = caller.ask(wrong).await;
    let expected = json!({
        "code": "SchemaViolation",
        "message": "type Order: data at /id: expected integer (type)",
        "retryable": false,
    });
    assert_eq!(refused["error"], expected);
    let together = format!(
        "{{\"op\":\"batch\",\"ref\":1,\"events\":[{wrong},{}]}}",
        r#"{"type":"Order","data":{"id":1}}"#
    );
    let answer = caller.ask(&together).await;
    assert_eq!(answer["results"][0]["error"]["code"], "SchemaViolation", "{answer}");
    assert_eq!(answer["results"][1]["ok"], true, "{answer}");
    assert_eq!(caller.ask(r#"{"op":"begin","tx":"t"}"#).await["ok"], true);
    let staged = wrong.replacen('{', r#"{"tx":"t","#, 1);
    assert_eq!(code(&mut caller, &staged).await, "SchemaViolation");

    let answer = scene.http("application/json", wrong).await;
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&json!(422), &expected["code"]));
    let cloud = |data: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/o","type":"Order"{data}}}"#)
    };
    for (data, status) in
        [(r#","data":{"id":"secret"}"#, 422), ("", 422), (r#","data":{"id":2}"#, 200)]
    {
        let answer = scene.http("application/cloudevents+json", &cloud(data)).await;
        assert_eq!(answer["status"], status, "{data} {answer}");
    }
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "2"),
        ("ce-source", "/o"),
        ("ce-type", "Order"),
    ];
    let answer = scene.post("http", "/v1/events", &binary, r#"{"id":"secret"}"#).await;
    assert_eq!(answer["status"], 422, "{answer}");

    let stored = scene.stored().await;
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert!(!stored.concat().contains("secret") && !scene.daemon.log().contains("secret"));
    let told = scene
        .daemon
        .told("an event does not fit its schema: type Order: data at /id: expected integer (type)")
        .await;
    assert_eq!(told.len(), 1, "one line for many");
    assert_eq!((&told[0]["event_type"], &told[0]["code"]), (&json!("Order"), &expected["code"]));
}

#[tokio::test]
async fn what_says_no_type_is_let_in_or_refused_as_configured() {
    for (raw, unknown, expected) in [("allow", "reject", "none"), ("reject", "allow", "NoSchema")] {
        let scene =
            scene(|start| start.set("schema.raw", raw).set("schema.unknown", unknown)).await;
        let mut caller = scene.daemon.connect().await;
        assert_eq!(code(&mut caller, r#"{"record":{"a":1}}"#).await, expected);
        let unknown_expected = if unknown == "reject" { "NoSchema" } else { "none" };
        assert_eq!(code(&mut caller, r#"{"type":"Other","data":{}}"#).await, unknown_expected);
        let target = format!("{TARGET}PutRecord");
        let headers = [("content-type", JSON), ("x-amz-target", &*target)];
        let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": "eA=="}).to_string();
        let answer = scene.post("kinesis_api", "/", &headers, &put).await;
        let status = if raw == "reject" { 400 } else { 200 };
        assert_eq!(answer["status"], status, "{answer}");
        let unchecked = scene.daemon.metric("dispatchd_events_schema_unchecked_total").await;
        assert_eq!(unchecked, if raw == "allow" { 2.0 } else { 1.0 });
    }
}

#[tokio::test]
async fn a_folder_that_changed_is_taken_over_by_itself_and_a_wrong_one_is_not() {
    let scene = scene(|start| start).await;
    let mut caller = scene.daemon.connect().await;
    let (number, text) =
        (r#"{"type":"Order","data":{"id":1}}"#, r#"{"type":"Order","data":{"id":"a"}}"#);
    // Wrong first: the old schema holds, and the log says why.
    write_text(&scene.folder, "Paid", "{\"requried\":[]}");
    eventually("it is refused", async || (scene.daemon.metric(LOADED).await == 0.0).then_some(()))
        .await;
    let told = scene.daemon.told(REFUSED).await;
    let error = told[0]["error"].as_str().expect("it says why");
    assert!(error.contains("Paid.schema.json") && error.contains("requried"), "{error}");
    let standing = scene.daemon.status().await["schemas"].clone();
    assert_eq!((&standing["refused"], &standing["types"]), (&json!(error), &json!(1)));
    assert_eq!(code(&mut caller, number).await, "none");
    assert_eq!(code(&mut caller, text).await, "SchemaViolation");
    write(&scene.folder, "Paid", "integer");
    write(&scene.folder, "Order", "string");
    eventually("it is taken over", async || {
        (code(&mut caller, text).await == "none").then_some(())
    })
    .await;
    assert_eq!(code(&mut caller, number).await, "SchemaViolation");
    assert_eq!(scene.daemon.metric(LOADED).await, 1.0);
    assert_eq!(scene.daemon.metric("dispatchd_schemas").await, 2.0);
    assert_eq!(scene.daemon.status().await["schemas"]["refused"], Value::Null);
}

#[tokio::test]
async fn a_reload_with_a_wrong_folder_changes_nothing_and_says_so() {
    let scene = scene(|start| start).await;
    let mut caller = scene.daemon.connect().await;
    write_text(&scene.folder, "Order", "{");
    scene.daemon.signal(Signal::HUP);
    let told = scene.daemon.told(RELOAD_REFUSED).await;
    let problems = told[0]["problems"].as_str().expect("it says why");
    assert!(problems.starts_with("schema.dir: Order.schema.json: it is not JSON"), "{problems}");
    assert_eq!(code(&mut caller, r#"{"type":"Order","data":{"id":"a"}}"#).await, "SchemaViolation");
    write(&scene.folder, "Order", "string");
    scene.daemon.signal(Signal::HUP);
    scene.daemon.told("configuration reloaded").await;
    assert_eq!(code(&mut caller, r#"{"type":"Order","data":{"id":"a"}}"#).await, "none");
}

#[tokio::test]
async fn a_daemon_does_not_start_with_a_wrong_folder_and_check_names_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::write(folder.path().join("Order.schema.json"), "{\"$ref\":\"http://a/b\"}").expect("room");
    let dir = format!("schema.dir={}", folder.path().display());
    let args = ["--local", "--set", &dir, "--set", "schema.mode=warn"];
    for command in ["check", "run"] {
        let output = DISPATCHD
            .command()
            .arg(command)
            .args(args)
            .args(["--set", "admin.listen=off"])
            .arg("--socket")
            .arg(folder.path().join("d.sock"))
            .output()
            .await
            .expect("it runs");
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("nothing is fetched"), "{command}: {text}");
    }
}

/// What could go wrong: an event that does not fit is on its way before anybody looked at it.
#[tokio::test]
async fn send_checks_events_by_a_folder_and_sends_none_that_does_not_fit() {
    // The daemon itself would let them in.
    let scene = scene(|start| start.set("schema.mode", "off")).await;
    let send = async |data: &str, event_type: &str| {
        let mut send = DISPATCHD.command();
        send.args(["send", "--type", event_type, "--data", data, "--schema"]);
        send.arg(scene.folder.path()).arg("--socket").arg(scene.daemon.socket());
        let output = send.output().await.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(send(r#"{"id":1}"#, "Order").await, (Some(0), String::new()));
    for (data, event_type, said) in [
        (r#"{"id":"secret"}"#, "Order", "nothing is sent: Order: data at /id: expected integer"),
        ("{}", "Odrer", "nothing is sent: there is no schema for the type Odrer"),
    ] {
        let (code, err) = send(data, event_type).await;
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(said) && !err.contains("secret"), "{err}");
    }
    assert_eq!(scene.stored().await.len(), 1);
}
