//! `tail --discover`: schemas of what passes in a stream.

use std::fs;
use std::path::Path;
use std::process::Output;

use aws_sdk_kinesis::Client;
use tempfile::TempDir;
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, entry, put};
use testkit::{DEADLINE, client};
use tokio::time::timeout;

use crate::DISPATCHD;

async fn stream() -> (Ferro, Client) {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", 1).await;
    (ferro, client)
}

async fn store(client: &Client, records: &[&str]) {
    put(client, "s", records.iter().map(|record| entry("k", record)).collect()).await;
}

/// Runs it until it has looked at so many events from the beginning of the stream.
async fn discover(ferro: &Ferro, folder: &Path, count: usize, arguments: &[&str]) -> Output {
    let mut tail = DISPATCHD.command();
    tail.args(["tail", "--stream", "s", "--endpoint-url", &ferro.endpoint(), "--discover"]);
    tail.arg(folder).args(["--from", "trim-horizon", "--count", &count.to_string()]);
    timeout(DEADLINE, tail.args(arguments).output()).await.expect("it ends").expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What could go wrong: the schema is another one than samples would make; a value of an event is
/// told to whoever reads along.
#[tokio::test]
async fn what_passes_in_a_stream_makes_the_schemas_that_samples_would() {
    let (ferro, client) = stream().await;
    store(
        &client,
        &[
            r#"{"id":"1","type":"Order","data":{"total":1,"note":"secret"},"source":{}}"#,
            r#"{"type":"Order","data":{"total":1.5,"note":null}}"#,
            r#"{"detail-type":"a/b","source":"app","detail":["secret"]}"#,
            "no JSON",
        ],
    )
    .await;
    let home = TempDir::new().expect("there is room");
    let (found, samples) = (home.path().join("found"), home.path().join("samples"));
    let output = discover(&ferro, &found, 4, &[]).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("/Order.schema.json: new\n+ {\n"), "{out}");
    assert!(err.contains("nothing was concluded from 1 event: they say no type"), "{err}");
    assert!(!(out + &err).contains("secret"));

    fs::create_dir(&samples).expect("there is room");
    let order = r#"[{"total":1,"note":"secret"},{"total":1.5,"note":null}]"#;
    fs::write(samples.join("Order.sample.json"), order).expect("there is room");
    fs::write(samples.join("a%2Fb.sample.json"), r#"[["x"]]"#).expect("there is room");
    let generated = DISPATCHD.command().args(["schema", "generate"]).arg(&samples).output();
    assert!(generated.await.expect("it runs").status.success());
    for name in ["Order.schema.json", "a%2Fb.schema.json"] {
        let read = |folder: &Path| fs::read_to_string(folder.join(name)).expect("it was written");
        assert_eq!(read(&found), read(&samples));
    }
}

#[tokio::test]
async fn a_shape_that_changes_is_shown_and_a_schema_of_somebody_s_own_is_left() {
    let (ferro, client) = stream().await;
    let home = TempDir::new().expect("there is room");
    let by_hand = r#"{"required": ["id"]}"#;
    fs::write(home.path().join("Own.schema.json"), by_hand).expect("there is room");
    store(&client, &[r#"{"type":"Order","data":{"total":1}}"#, r#"{"type":"Own","data":{}}"#])
        .await;
    let output = discover(&ferro, home.path(), 2, &["--strict"]).await;
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains("/Own.schema.json: left as it is") && out.contains("+   \"additional"));
    assert!(err.contains("from 1 event: the schema of their type is left as it is"), "{err}");

    let output = discover(&ferro, home.path(), 2, &["--strict"]).await;
    assert!(!text(&output.stdout).contains("Order"), "nothing changed: {output:?}");
    store(&client, &[r#"{"type":"Order","data":{"total":1.5}}"#]).await;
    let output = discover(&ferro, home.path(), 2, &["--strict", "--type", "Order"]).await;
    let out = text(&output.stdout);
    let changed = "-       \"type\": \"integer\"\n+       \"type\": \"number\"\n";
    assert!(out.contains("/Order.schema.json: changed\n") && out.contains(changed), "{out}");
    let left = fs::read_to_string(home.path().join("Own.schema.json")).expect("it is there");
    assert_eq!(left, by_hand);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_ends_it_with_its_name() {
    let (ferro, _client) = stream().await;
    let home = TempDir::new().expect("there is room");
    fs::write(home.path().join("A.schema.json"), "{").expect("there is room");
    let file = home.path().join("A.schema.json");
    for (folder, said) in [(home.path(), "A.schema.json: it is not JSON"), (&file, "cannot write")]
    {
        let output = discover(&ferro, folder, 1, &[]).await;
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(said), "{err}");
    }
    let output = discover(&ferro, home.path(), 1, &["--pretty"]).await;
    assert_eq!(output.status.code(), Some(64), "it prints no events");
}
