//! `stream create`, `describe`, `list` and `delete`, against independent servers and the embedded
//! stream.

use std::process::{Output, Stdio};

use serde_json::Value;
use testkit::daemon::sheltered;
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::{Ferro, Kinesalite, KinesisLocal};
use testkit::{DEADLINE, client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::DISPATCHD;

/// `dispatchd stream …` against the server at `endpoint`.
async fn stream(endpoint: &str, args: &[&str]) -> Output {
    DISPATCHD
        .command()
        .arg("stream")
        .args(args)
        .args(["--endpoint-url", endpoint, "--set", "kinesis.attempt_timeout=60s"])
        .output()
        .await
        .expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn done(endpoint: &str, args: &[&str]) -> String {
    let output = stream(endpoint, args).await;
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a failure says.
async fn refused(endpoint: &str, args: &[&str]) -> String {
    let output = stream(endpoint, args).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}");
    stderr(&output)
}

async fn described(endpoint: &str, name: &str) -> Value {
    serde_json::from_str(&done(endpoint, &["describe", name, "--json"]).await).expect("JSON")
}

/// What holds on every server.
async fn assert_a_life(endpoint: &str) {
    assert_eq!(
        done(endpoint, &["create", "orders", "--shards", "2", "--wait"]).await,
        "stream \"orders\" is ACTIVE\n"
    );
    assert_eq!(done(endpoint, &["list"]).await, "orders\n");
    let orders = described(endpoint, "orders").await;
    assert_eq!(
        (&orders["status"], &orders["openShards"]),
        (&"ACTIVE".into(), &2.into()),
        "{orders}"
    );
    assert_eq!(
        (&orders["mode"], &orders["kmsKey"]),
        (&"PROVISIONED".into(), &Value::Null),
        "{orders}"
    );
    assert!(
        refused(endpoint, &["create", "orders"])
            .await
            .starts_with("dispatchd: stream \"orders\" exists already in region us-east-1: ")
    );
    assert_eq!(
        done(endpoint, &["delete", "orders", "--wait"]).await,
        "stream \"orders\" is gone\n"
    );
    for verb in ["describe", "delete"] {
        let said = refused(endpoint, &[verb, "orders"]).await;
        assert!(
            said.starts_with(
                "dispatchd: there is no stream \"orders\" in region us-east-1: correct"
            ),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_stream_is_made_described_and_deleted_on_ferrokinesis() {
    let ferro = Ferro::start(false).await;
    assert_a_life(&ferro.endpoint()).await;
    done(&ferro.endpoint(), &["create", "orders", "--wait"]).await;
    assert_eq!(
        done(&ferro.endpoint(), &["describe", "orders"]).await,
        "name          orders\n\
         arn           arn:aws:kinesis:us-east-1:000000000000:stream/orders\n\
         status        ACTIVE\n\
         mode          PROVISIONED\n\
         open shards   1\n\
         record limit  not told\n\
         encryption    none\n\
         retention     24 h\n\
         keys          decide the shard\n"
    );
}

#[tokio::test]
async fn a_stream_is_made_described_and_deleted_on_kinesalite() {
    let Some(kinesalite) = Kinesalite::start().await else { return };
    assert_a_life(&kinesalite.endpoint()).await;
}

#[tokio::test]
async fn kinesis_local_tells_mode_and_record_limit_and_takes_an_arn() {
    let Some(local) = KinesisLocal::start().await else { return };
    assert_a_life(&local.endpoint()).await;
    let large = client(&local.endpoint()).create_stream().stream_name("large").shard_count(1);
    large.max_record_size_in_kib(2048).send().await.expect("it creates a stream");
    assert_eq!(described(&local.endpoint(), "large").await["recordBytesMax"], 2 << 20);
    // Another name: where this server refuses to delete a stream that is not there, it deletes what
    // has the name by half a second later.
    done(&local.endpoint(), &["create", "clicks", "--on-demand", "--wait"]).await;
    let clicks = described(&local.endpoint(), "clicks").await;
    assert_eq!(clicks["mode"], "ON_DEMAND", "{clicks}");
    let arn = clicks["arn"].as_str().expect("a text");
    // A named stream and an ARN exclude each other elsewhere; here the argument wins over what is
    // configured.
    let by_arn = ["describe", arn, "--json", "--set", "stream.name=other"];
    assert_eq!(
        serde_json::from_str::<Value>(&done(&local.endpoint(), &by_arn).await).expect("JSON"),
        clicks
    );
}

#[tokio::test]
async fn the_embedded_stream_has_streams_of_ones_own() {
    let mut server =
        DISPATCHD.command().args(["local"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("it prints").expect("where it is");
    let port = line.rsplit(':').next().expect("a port");
    let output = DISPATCHD
        .command()
        .args(["stream", "create", "orders", "--wait", "--local", "--local-port", port])
        .output();
    let output = output.await.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let nowhere = DISPATCHD
        .command()
        .args(["stream", "describe", "orders", "--local"])
        .output()
        .await
        .expect("it runs");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        stderr(&nowhere).contains("which embedded stream? Say --local-port"),
        "{}",
        stderr(&nowhere)
    );
}

/// A terminal in which `stream delete` asks, and this is typed. What it showed, and its exit code.
async fn asked_on_a_terminal(endpoint: &str, typed: &str) -> (Option<i32>, String) {
    let line = format!(
        "exec {} stream delete orders --set stream.allow_http=true --endpoint-url {endpoint}",
        DISPATCHD.path()
    );
    let mut script = sheltered(Command::new("script"));
    script.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().expect("bsdutils has script");
    let (mut stdin, mut stdout) =
        (script.stdin.take().expect("piped"), script.stdout.take().expect("piped"));
    let mut shown = String::new();
    let mut some = [0; 256];
    while !shown.contains("to go on: ") {
        let read = timeout(DEADLINE, stdout.read(&mut some))
            .await
            .expect("it asks in time")
            .expect("it prints");
        assert!(read > 0, "it ended without a question: {shown}");
        shown += &String::from_utf8_lossy(&some[..read]);
    }
    stdin.write_all(format!("{typed}\n").as_bytes()).await.expect("it reads");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.expect("it prints");
    (script.wait().await.expect("it ends").code(), shown + &rest)
}

#[tokio::test]
async fn a_delete_asks_unless_the_stream_is_on_this_host() {
    let ferro = Ferro::start(false).await;
    // An address that is not loopback, and leads here all the same.
    let elsewhere = ferro.endpoint().replace("127.0.0.1", "0.0.0.0");
    let there = ["--set", "stream.allow_http=true"];
    let delete = async |more: &[&str]| {
        stream(&elsewhere, &[&["delete", "orders"], &there[..], more].concat()).await
    };
    done(&ferro.endpoint(), &["create", "orders", "--wait"]).await;

    let refused = delete(&[]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(
        said.contains(&format!("deletes stream \"orders\" at {elsewhere}"))
            && said.contains("--yes"),
        "{said}"
    );
    let (code, shown) = asked_on_a_terminal(&elsewhere, "order").await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("nothing was deleted"), "{shown}");
    assert_eq!(described(&ferro.endpoint(), "orders").await["status"], "ACTIVE");

    let (code, shown) = asked_on_a_terminal(&elsewhere, "orders").await;
    assert_eq!(code, Some(0), "{shown}");
    eventually("it is gone", async || {
        let output = stream(&ferro.endpoint(), &["describe", "orders"]).await;
        (output.status.code() == Some(1)).then_some(())
    })
    .await;
    done(&ferro.endpoint(), &["create", "orders", "--wait"]).await;
    assert_eq!(delete(&["--yes", "--wait"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let endpoint = server.endpoint();
    let limit = refused(&endpoint, &["create", "orders", "--shards", "5000"]).await;
    assert!(limit.starts_with("dispatchd: a limit of the account is reached: "), "{limit}");
    assert!(
        limit.contains("Ask again later or for fewer shards, or have the quota raised"),
        "{limit}"
    );
    server.set(Plan {
        denied: [("CreateStream".to_owned(), Refusal::access_denied())].into(),
        ..Plan::default()
    });
    let denied = refused(&endpoint, &["create", "orders"]).await;
    assert!(
        denied.contains(
            "CreateStream: AccessDeniedException: User: arn:aws:iam::000000000000:user/test"
        ),
        "{denied}"
    );
    let arn =
        refused(&endpoint, &["create", "arn:aws:kinesis:us-east-1:000000000000:stream/orders"])
            .await;
    assert!(arn.contains("a new stream takes a name"), "{arn}");
}

#[tokio::test]
async fn bad_usage_exits_64() {
    for (args, says) in [
        (
            &["create", "a b"][..],
            "stream.name = \"a b\" (from the command line): expected 1 to 128 characters",
        ),
        (&["create", "orders", "--shards", "0"], "0 is not in 1..=10000"),
        (&["create", "orders", "--shards", "2", "--on-demand"], "cannot be used with"),
        (&["describe"], "<NAME|ARN>"),
        (
            &["describe", "orders", "--region", "Europe"],
            "stream.region = \"Europe\" (from --region)",
        ),
    ] {
        let output = stream("http://127.0.0.1:1", args).await;
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}
