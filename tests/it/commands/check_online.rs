//! `check --online`: what it finds, what it says to do, its exit codes; that it writes nothing and
//! never waits for long.

use std::process::Output;
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Json, Router};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::aws::{Agent, Aws, StreamThatSays, Sts, description, serve};
use testkit::client;
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::{Emulators, Ferro};
use testkit::stream::{create_stream, read_all};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

use crate::DISPATCHD;

/// A check in JSON of stream `s` at `endpoint`, not run yet.
fn check(endpoint: &str) -> Command {
    let mut check = DISPATCHD.command();
    check.args(["check", "--online", "--json", "--stream", "s", "--endpoint-url", endpoint]);
    check
}

/// Its exit code and its findings.
struct Found {
    code: Option<i32>,
    checks: Vec<Value>,
}

async fn found(check: &mut Command) -> Found {
    let Output { status, stdout, stderr } = check.output().await.expect("it runs");
    let report: Value = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
    assert!(report["configuration"].as_array().is_some_and(|keys| keys.len() > 10), "{report}");
    Found {
        code: status.code(),
        checks: report["checks"].as_array().expect("the findings").clone(),
    }
}

impl Found {
    /// Level, finding and fix of one check.
    fn of(&self, name: &str) -> (&str, &str, &str) {
        let check = self.checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no check {name} in {:?}", self.checks));
        let [level, what, fix] =
            ["level", "what", "fix"].map(|key| check[key].as_str().unwrap_or_default());
        (level, what, fix)
    }

    #[track_caller]
    fn assert(&self, name: &str, level: &str, says: &str) {
        let (found, what, fix) = self.of(name);
        assert_eq!(found, level, "{name}: {what}");
        assert!(what.contains(says), "{name}: {what}");
        assert_eq!(level == "ok", fix.is_empty(), "what is not ok says what to do: {name}: {fix}");
    }
}

/// A server that lets connections in and never answers.
async fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, url)
}

#[tokio::test]
async fn a_stream_that_works_passes_and_nothing_is_written_to_it() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let sts = Sts::of_a_role().await;
    let agent = Agent::start(Utc::now() + TimeDelta::hours(1)).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("d.sock");
    let mut check = check(&server.endpoint());
    check
        .args(["--socket".as_ref(), socket.as_os_str()])
        .env("AWS_ENDPOINT_URL_STS", &sts.url)
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.uri)
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let found = found(&mut check).await;
    assert_eq!(found.code, Some(0), "{:?}", found.checks);
    found.assert(
        "credentials",
        "ok",
        "the container's endpoint (ECS or EKS Pod Identity), access key …a; they expire at 20",
    );
    found.assert("caller", "ok", "arn:aws:sts::123456789012:assumed-role/orders/pod");
    found.assert("endpoint", "ok", &format!("{}, region us-east-1", server.endpoint()));
    found.assert("addresses", "ok", "127.0.0.1: 127.0.0.1 (this host)");
    found.assert(
        "stream",
        "ok",
        "s is ACTIVE, PROVISIONED, 2 open shards, records of a size it does not tell, not encrypted",
    );
    found.assert("shards", "ok", "ListShards is permitted, 2 open");
    found.assert(
        "write",
        "warn",
        "is not AWS's own, and a server that knows no dry run would write",
    );
    found.assert("socket", "ok", &format!("{}, mode 0660, uid ", socket.display()));
    found.assert("shutdown", "ok", "shutdown.timeout 25s");
    assert_eq!(server.ledger().requests().len(), 0, "no PutRecords was sent, dry or not");
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await, []);
    assert!(!socket.exists());
}

/// The level and the text of `write`, where PutRecords of AWS's own endpoint answers so.
async fn write_at_aws(status: StatusCode, body: Value) -> (String, String) {
    let aws = Aws::start((status, body)).await;
    let mut check = DISPATCHD.command();
    check.args(["check", "--online", "--json", "--stream", "s"]);
    for name in ["https_proxy", "NO_PROXY", "no_proxy"] {
        check.env_remove(name);
    }
    let asked =
        found(check.env("HTTPS_PROXY", &aws.proxy).env("SSL_CERT_FILE", aws.certificate.path()))
            .await;
    asked.assert("endpoint", "ok", "https://kinesis.us-east-1.amazonaws.com, region us-east-1");
    asked.assert("caller", "ok", "arn:aws:sts::123456789012:assumed-role/orders/pod");
    asked.assert("stream", "ok", "s is ACTIVE");
    let puts = aws.puts();
    assert_eq!(puts.len(), 1);
    assert_eq!(
        (&puts[0]["DryRun"], &puts[0]["StreamName"]),
        (&true.into(), &"s".into()),
        "never without it"
    );
    let (level, what, _) = asked.of("write");
    assert_eq!(asked.code, Some(if level == "fail" { 69 } else { 0 }), "{:?}", asked.checks);
    (level.to_owned(), what.to_owned())
}

#[tokio::test]
async fn the_permission_to_write_is_asked_of_aws_by_a_dry_run() {
    let refusal = |code: &str, message: &str| json!({"__type": code, "message": message});
    let (level, what) = write_at_aws(
        StatusCode::BAD_REQUEST,
        refusal("DryRunOperationException", "it would have succeeded"),
    )
    .await;
    assert_eq!(
        (&*level, &*what),
        ("ok", "PutRecords is permitted, by a dry run: nothing was written")
    );
    for (code, message) in
        [("AccessDeniedException", "not authorized"), ("KMSAccessDeniedException", "no key")]
    {
        let (level, what) = write_at_aws(StatusCode::BAD_REQUEST, refusal(code, message)).await;
        assert_eq!((level, what), ("fail".to_owned(), format!("PutRecords: {code}: {message}")));
    }
    let record = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
    let (level, what) =
        write_at_aws(StatusCode::OK, json!({"FailedRecordCount": 0, "Records": [record]})).await;
    assert_eq!(level, "warn");
    assert!(what.ends_with("one event of type dispatchd.check was written"), "{what}");
}

#[tokio::test]
async fn where_put_records_are_cbor_it_is_asked_whether_the_server_reads_that() {
    let emulators = Emulators::start().await;
    for endpoint in emulators.endpoints() {
        create_stream(&client(&endpoint), "s", 1).await;
        let said = found(check(&endpoint).args(["--set", "kinesis.wire=cbor"])).await;
        said.assert("wire", "ok", "the server reads CBOR");
        assert_eq!(read_all(&client(&endpoint), "s").await, [], "nothing is written by asking");
        let said = found(&mut check(&endpoint)).await;
        assert!(
            said.checks.iter().all(|check| check["name"] != "wire"),
            "JSON is not asked after: {:?}",
            said.checks
        );
    }
    // It refuses what is not JSON.
    let server = FaultServer::start(&emulators.ferro.endpoint(), 7).await;
    let said = found(check(&server.endpoint()).args(["--set", "kinesis.wire=cbor"])).await;
    said.assert(
        "wire",
        "fail",
        "the server does not read CBOR, it would refuse every event: PutRecords: FaultServer",
    );
    assert!(said.of("wire").2.contains("kinesis.wire = \"json\""), "{:?}", said.of("wire"));
    assert_eq!(said.code, Some(69));
    // So does this one, in the words of the JSON protocol.
    let refusal = Json(json!({"__type": "SerializationException", "message": "it is no JSON"}));
    let (url, _server) =
        serve(Router::new().fallback(async || (StatusCode::BAD_REQUEST, refusal))).await;
    let said = found(check(&url).args(["--set", "kinesis.wire=cbor"])).await;
    said.assert(
        "wire",
        "fail",
        "the server does not read CBOR, it would refuse every event: PutRecords: Serialization",
    );
    let (_mute, mute) = mute().await;
    let said = found(check(&mute).args([
        "--set",
        "kinesis.wire=cbor",
        "--set",
        "kinesis.attempt_timeout=1s",
    ]))
    .await;
    said.assert(
        "wire",
        "warn",
        "not known, a PutRecords in CBOR failed for something else: PutRecords: Timeout",
    );
}

#[tokio::test]
async fn what_run_can_do_without_is_a_warning() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let denied = ["DescribeStreamSummary", "ListShards"]
        .map(|name| (name.to_owned(), Refusal::access_denied()));
    server.set(Plan { denied: denied.into(), ..Plan::default() });
    let sts = Sts::that_refuses().await;
    let found = found(check(&server.endpoint()).env("AWS_ENDPOINT_URL_STS", &sts.url)).await;
    assert_eq!(found.code, Some(0), "{:?}", found.checks);
    found.assert(
        "stream",
        "warn",
        "DescribeStreamSummary: AccessDeniedException: User: arn:aws:iam::000000000000:user/test",
    );
    assert!(
        found
            .of("stream")
            .2
            .starts_with("allow kinesis:DescribeStreamSummary on the stream to this identity")
    );
    found.assert("order", "warn", "not known whether the stream goes by partition keys");
    assert_eq!(found.of("order").2, found.of("stream").2);
    found.assert("shards", "warn", "ListShards: AccessDeniedException");
    found.assert("caller", "warn", "InvalidClientTokenId");
    assert!(found.of("caller").2.starts_with("give the daemon valid credentials"));
}

#[tokio::test]
async fn a_stream_that_is_not_there_fails_and_the_other_checks_are_made() {
    let ferro = Ferro::start(false).await;
    let found = found(&mut check(&ferro.endpoint())).await;
    assert_eq!(found.code, Some(69));
    found.assert("stream", "fail", "ResourceNotFoundException");
    assert!(found.of("stream").2.starts_with("create the stream, or correct stream.name"));
    found.assert("shards", "fail", "ResourceNotFoundException");
    found.assert(
        "credentials",
        "ok",
        "environment variables, access key …test; they do not expire",
    );
    found.assert("caller", "warn", "not asked: the stream's endpoint is not AWS's, and STS's is");
    for name in ["socket", "admin", "memory", "shutdown"] {
        found.of(name);
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_asked_and_the_rest_is_checked() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let mut check = check(&server.endpoint());
    let found =
        found(check.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY")).await;
    assert_eq!(found.code, Some(69));
    found.assert("credentials", "fail", "Ec2InstanceMetadata: ");
    assert!(!found.of("credentials").1.contains('\n'), "one line");
    for name in ["caller", "stream", "shards", "write"] {
        found.assert(name, "warn", "not asked: there are no credentials");
    }
    found.assert("endpoint", "ok", &server.endpoint());
    found.of("socket");
    assert_eq!(server.ledger().calls("DescribeStreamSummary"), 0);
}

#[tokio::test]
async fn credentials_that_have_expired_fail() {
    let ferro = Ferro::start(false).await;
    let agent = Agent::start(Utc::now() - TimeDelta::hours(1)).await;
    let mut check = check(&ferro.endpoint());
    check.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.uri);
    let found =
        found(check.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY")).await;
    assert_eq!(found.code, Some(69));
    found.assert("credentials", "fail", "they expired at ");
}

#[tokio::test]
async fn servers_that_never_answer_are_not_waited_for() {
    let (_kinesis, kinesis) = mute().await;
    let (_sts, sts) = mute().await;
    let began = Instant::now();
    let mut check = check(&kinesis);
    check.env("AWS_ENDPOINT_URL_STS", &sts).args(["--set", "kinesis.attempt_timeout=1s"]);
    let asked = found(&mut check).await;
    // One attempt, all of them at once; the rest is for a loaded machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(asked.code, Some(69));
    asked.assert(
        "caller",
        "warn",
        &format!("not known, STS at {sts} does not say: GetCallerIdentity: Timeout"),
    );
    asked.assert("stream", "fail", "DescribeStreamSummary: Timeout");
    assert!(asked.of("stream").2.starts_with("see to the way to the endpoint"));

    let began = Instant::now();
    check.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &sts);
    let asked =
        found(check.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY")).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    asked.assert("credentials", "fail", "timed out");
}

#[tokio::test]
async fn what_the_stream_says_of_itself_is_told_and_held_against_the_configuration() {
    let says = json!({
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RecordDistributionStrategy": "AUTO",
        "MaxRecordSizeInKiB": 2048, "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis",
    });
    let stream = StreamThatSays::start(says).await;
    let mut check = check(&stream.url);
    let asked = found(check.args(["--set", "stream.max_record_bytes=4MiB"])).await;
    assert_eq!(asked.code, Some(0), "{:?}", asked.checks);
    asked.assert(
        "stream",
        "ok",
        "s is ACTIVE, ON_DEMAND, 1 open shard, records of up to 2MiB, encrypted with alias/aws/kinesis",
    );
    asked.assert("order", "warn", "AUTO: per-key order is the service's to keep, not ours");
    assert!(!asked.of("order").1.contains("aggregation"), "{:?}", asked.of("order"));
    asked.assert("record", "warn", "stream.max_record_bytes is 4MiB, the stream takes 2MiB");

    let asked = found(check.args(["--set", "delivery.aggregation=key"])).await;
    asked.assert(
        "order",
        "warn",
        "delivery.aggregation is off there, since readers drop such records silently",
    );

    for kib in [0, -1, 1_000_000_000] {
        let stream = StreamThatSays::start(json!({"MaxRecordSizeInKiB": kib})).await;
        let asked = found(&mut self::check(&stream.url)).await;
        let says =
            format!("the stream tells a record limit of {kib} KiB, and streams have 1KiB to 10MiB");
        asked.assert("record", "warn", &says);
        assert_eq!(asked.code, Some(0));
    }
    let large = StreamThatSays::start(json!({"MaxRecordSizeInKiB": 10 * 1024})).await;
    let asked = found(self::check(&large.url).args(["--set", "memory.budget=16MiB"])).await;
    asked.assert(
        "record",
        "warn",
        "the stream takes 10MiB, memory carries 8128KiB: larger events are refused",
    );
    assert!(
        asked.of("record").2.starts_with("to take them, set memory.budget to at least 20608KiB")
    );

    for (status, fix) in
        [("CREATING", "wait until the stream is ACTIVE"), ("DELETING", "create the stream again")]
    {
        let stream = StreamThatSays::start(json!({"StreamStatus": status})).await;
        let asked = found(&mut self::check(&stream.url)).await;
        assert_eq!(asked.code, Some(69));
        asked.assert("stream", "fail", &format!("s is {status}"));
        assert!(asked.of("stream").2.starts_with(fix));
    }
}

#[tokio::test]
async fn a_list_that_does_not_end_fails_and_is_not_waited_for() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let endless = Refusal::answer(json!({"Shards": [], "NextToken": "again"}));
    server.set(Plan { denied: [("ListShards".to_owned(), endless)].into(), ..Plan::default() });
    let asked = found(&mut check(&server.endpoint())).await;
    assert_eq!(asked.code, Some(69));
    asked.assert(
        "shards",
        "fail",
        "ListShards: BadReply: page 2 leads to one that was there before",
    );
    assert!(
        asked.of("shards").2.starts_with("see what answers at the endpoint"),
        "{:?}",
        asked.of("shards")
    );
    assert_eq!(server.ledger().calls("ListShards"), 2);
}

#[tokio::test]
async fn a_reply_that_is_longer_than_any_is_not_read_to_its_end() {
    let long = |reply: Value| " ".repeat(32 << 20) + &reply.to_string();
    let answer = async move |headers: axum::http::HeaderMap| match headers["x-amz-target"].to_str()
    {
        Ok("Kinesis_20131202.ListShards") => long(json!({"Shards": []})),
        _ => long(description(&json!({}))),
    };
    let (url, _server) = serve(Router::new().fallback(answer)).await;
    let asked = found(&mut check(&url)).await;
    asked.assert("stream", "fail", "DescribeStreamSummary: BadReply: ");
    asked.assert("shards", "fail", "larger than 33554432 bytes");
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_and_a_missing_region_fail() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let asked = found(check(&ferro.endpoint()).args(["--socket", "/dev/null/d.sock"])).await;
    assert_eq!(asked.code, Some(69));
    asked.assert("socket", "fail", "cannot make files in /dev/null: not a directory");
    asked.assert("stream", "ok", "s is ACTIVE");
    let asked = found(check(&ferro.endpoint()).env_remove("AWS_REGION")).await;
    assert_eq!(asked.code, Some(69));
    asked.assert("endpoint", "fail", "no region: set AWS_REGION, stream.region or stream.arn");
    asked.of("socket");
}

#[tokio::test]
async fn with_local_it_is_the_embedded_stream_that_is_asked() {
    let checked = DISPATCHD
        .command()
        .args(["check", "--online", "--local", "--set", "memory.budget=64MiB"])
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8(checked.stdout).expect("UTF-8");
    assert_eq!(checked.status.code(), Some(0), "{text}");
    let (_, checks) = text.split_once("= 734.2 MiB\n\n").expect("after the configuration");
    assert!(
        checks.starts_with(
            "ok    endpoint  an embedded stream, as `run --local` starts it\n\
             ok    stream    local is ACTIVE, PROVISIONED, 4 open shards, records of a size it does not tell, not encrypted\n\
             ok    shards    ListShards is permitted, 4 open\n\
             ok    socket    /"
        ),
        "{checks}"
    );
}

#[tokio::test]
async fn a_configuration_that_does_not_hold_exits_64_before_anything_is_asked() {
    let refused = check("http://127.0.0.1:1")
        .args(["--set", "batch.linger=5min"])
        .output()
        .await
        .expect("it runs");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(64), 0));
    let offline = DISPATCHD
        .command()
        .args(["check", "--stream", "s", "--json"])
        .output()
        .await
        .expect("it runs");
    let report: Value = serde_json::from_slice(&offline.stdout).expect("JSON");
    assert_eq!((report.get("checks"), offline.status.code()), (None, Some(0)));
    assert!(report["memoryBytesMax"].as_u64().is_some_and(|bytes| bytes > 64 << 20), "{report}");
}
