//! Credentials that are refused before they expire, and sources that rotate: the source is asked
//! anew, soon, seldom and by one at a time; what cannot be sent is named and ends nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::aws::serve;
use testkit::daemon::{Caller, Daemon, Start, event};
use testkit::{DEADLINE, eventually};
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::DISPATCHD;

/// A stream that stores nothing and says it does, for those whose session token it takes; and three
/// sources of credentials: an agent, an STS, and what a test writes to a file.
struct Aws {
    url: String,
    world: Arc<World>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct World {
    state: Mutex<Side>,
    /// PutRecords that are held back until so many have come.
    together: Mutex<Option<Arc<Barrier>>>,
}

#[derive(Default)]
struct Side {
    /// What the sources give.
    token: String,
    key_id: String,
    /// Tokens that the stream refuses, and with which code.
    refused: Vec<(String, &'static str)>,
    /// When a source was asked.
    asked: Vec<Instant>,
    /// The token of every PutRecords.
    puts: Vec<String>,
}

impl Aws {
    async fn start() -> Self {
        let world = Arc::<World>::default();
        world.side(|side| (side.token, side.key_id) = ("old".into(), "AKIDEXAMPLE".into()));
        let (url, _server) =
            serve(Router::new().fallback(answer).with_state(Arc::clone(&world))).await;
        Self { url, world, _server }
    }

    /// From now on the stream refuses the old token, and the sources give a new one.
    fn rotate(&self, code: &'static str) {
        self.world.side(|side| {
            side.refused.push(("old".into(), code));
            side.token = "new".into();
        });
    }

    fn asked(&self) -> usize {
        self.world.side(|side| side.asked.len())
    }

    /// A daemon without credentials of its own.
    fn daemon(&self) -> Start {
        DISPATCHD
            .daemon(&self.url, "s")
            .without_env("AWS_ACCESS_KEY_ID")
            .without_env("AWS_SECRET_ACCESS_KEY")
    }

    /// One that asks an agent, as ECS and EKS Pod Identity have it.
    fn with_agent(&self) -> Start {
        self.daemon().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/agent", self.url))
    }
}

impl World {
    fn side<T>(&self, see: impl FnOnce(&mut Side) -> T) -> T {
        see(&mut self.state.lock().expect("nobody panics with it in hand"))
    }
}

async fn answer(
    State(world): State<Arc<World>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let expires = "2099-01-01T00:00:00Z";
    let given = || {
        world.side(|side| {
            side.asked.push(Instant::now());
            (side.key_id.clone(), side.token.clone())
        })
    };
    if uri.path() == "/agent" {
        let (key, token) = given();
        let credentials = json!({"AccessKeyId": key, "SecretAccessKey": "s", "Token": token, "Expiration": expires});
        return Json(credentials).into_response();
    }
    match header("x-amz-target").rsplit('.').next() {
        Some("PutRecords") => put_records(&world, &header("x-amz-security-token"), &body).await,
        Some("ListShards" | "DescribeStreamSummary") => StatusCode::NOT_IMPLEMENTED.into_response(),
        _ => {
            let (key, token) = given();
            let text = format!(
                "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>{token}</SessionToken>\
                 <Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                 <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"
            );
            ([("content-type", "text/xml")], text).into_response()
        }
    }
}

async fn put_records(world: &World, token: &str, body: &Bytes) -> Response {
    let together = world.together.lock().expect("nobody panics with it in hand").clone();
    if let Some(together) = together {
        together.wait().await;
    }
    let refused = world.side(|side| {
        side.puts.push(token.to_owned());
        side.refused.iter().find(|(refused, _)| refused == token).map(|(_, code)| *code)
    });
    if let Some(code) = refused {
        let body = json!({"__type": code, "message": "The security token included in the request is not valid"});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let request: Value = serde_json::from_slice(body).expect("JSON");
    let count = request["Records"].as_array().expect("records").len();
    let record = json!({"SequenceNumber": "1", "ShardId": "shardId-000000000000"});
    Json(json!({"FailedRecordCount": 0, "Records": vec![record; count]})).into_response()
}

/// A home with credentials in it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("credentials")
    }

    /// As a program does that rotates: written beside, then moved over.
    fn write(&self, key: &str, token: &str) {
        let text = format!(
            "[default]\naws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = {token}\n"
        );
        let beside = self.0.path().join("new");
        std::fs::write(&beside, text).expect("it is writable");
        std::fs::rename(beside, self.file()).expect("it is writable");
    }

    fn seen_by(&self, start: Start) -> Start {
        start.env("AWS_SHARED_CREDENTIALS_FILE", text(&self.file()))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn acked(caller: &mut Caller, id: u64) {
    let answer = caller.ask(&event(id, "k", "{}")).await;
    assert_eq!(answer["ok"], true, "{answer}");
}

/// What PutRecords are sent for two events with a session that ends between them: the second is
/// held up by the request that finds out, and the first attempt of a blocked lane is a good one.
const ONE_REFUSAL: [&str; 3] = ["old", "old", "new"];

#[tokio::test]
async fn a_rotated_file_is_read_when_what_it_held_before_is_refused() {
    let (aws, home) = (Aws::start().await, Home::new());
    home.write("AKIDOLD1", "old");
    let daemon = home.seen_by(aws.daemon()).start().await;
    assert_eq!(daemon.logged("ready")[0]["identity"], "a profile, access key …OLD1");
    let mut caller = daemon.connect().await;
    acked(&mut caller, 1).await;
    aws.rotate("ExpiredTokenException");
    home.write("AKIDNEW2", "new");
    acked(&mut caller, 2).await;
    assert_eq!(
        daemon.status().await["identity"],
        json!({"provider": "a profile", "key_id_end": "NEW2", "account": null})
    );
    assert_eq!(aws.world.side(|side| side.puts.clone()), ONE_REFUSAL);
}

#[tokio::test]
async fn a_reload_reads_files_anew_without_a_refusal() {
    let (aws, home) = (Aws::start().await, Home::new());
    home.write("AKIDOLD1", "old");
    let daemon = home.seen_by(aws.daemon()).start().await;
    let mut caller = daemon.connect().await;
    acked(&mut caller, 1).await;
    home.write("AKIDNEW2", "new");
    acked(&mut caller, 2).await;
    let told = daemon.run_admin(&["reload"]).await;
    assert!(told.status.success());
    acked(&mut caller, 3).await;
    assert_eq!(aws.world.side(|side| side.puts.clone()), ["old", "old", "new"]);
    // With the file gone, what it held serves on.
    std::fs::remove_file(home.file()).expect("it is there");
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    acked(&mut caller, 4).await;
}

#[tokio::test]
async fn a_session_that_is_revoked_long_before_it_expires_is_followed_by_a_new_one() {
    let token = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(token.path(), "jwt").expect("it is writable");
    for code in ["ExpiredTokenException", "UnrecognizedClientException", "AccessDeniedException"] {
        let aws = Aws::start().await;
        let irsa = aws
            .daemon()
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", text(token.path()))
            .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
            .env("AWS_ENDPOINT_URL_STS", &aws.url);
        for (start, new) in [(aws.with_agent(), 1), (irsa, 1)] {
            aws.world.side(|side| {
                *side =
                    Side { token: "old".into(), key_id: "AKIDEXAMPLE".into(), ..Side::default() }
            });
            let daemon = start.start().await;
            let mut caller = daemon.connect().await;
            acked(&mut caller, 1).await;
            let before = aws.asked();
            aws.rotate(code);
            acked(&mut caller, 2).await;
            assert_eq!(aws.world.side(|side| side.puts.clone()), ONE_REFUSAL, "{code}");
            assert_eq!(aws.asked() - before, new, "{code}: one new session is enough");
        }
    }
}

#[tokio::test]
async fn while_all_that_a_source_gives_is_refused_it_is_asked_ever_less_often() {
    let aws = Aws::start().await;
    aws.world.side(|side| side.refused.push(("old".into(), "UnrecognizedClientException")));
    let daemon = aws.with_agent().start().await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("it was asked three times", async || (aws.asked() >= 3).then_some(())).await;
    let asked = aws.world.side(|side| side.asked.clone());
    let gaps: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    let least = [1, 2].map(Duration::from_secs);
    assert!(
        gaps.iter().zip(least).all(|(gap, least)| *gap >= least - Duration::from_millis(50)),
        "{gaps:?}"
    );
    aws.rotate("UnrecognizedClientException");
    assert!(
        daemon.run_admin(&["reload"]).await.status.success(),
        "an operator need not wait for that"
    );
    assert_eq!(caller.answer().await["ok"], true);
}

#[tokio::test]
async fn sixteen_flights_that_are_refused_together_ask_once() {
    const FLIGHTS: usize = 16;
    let aws = Aws::start().await;
    let daemon =
        aws.with_agent().set("batch.max_records", 1).set("batch.linger", "0ms").start().await;
    let mut caller = daemon.connect().await;
    acked(&mut caller, 1).await;
    let before = aws.asked();
    aws.rotate("ExpiredTokenException");
    *aws.world.together.lock().expect("nobody panics with it in hand") =
        Some(Arc::new(Barrier::new(FLIGHTS)));
    let mut lines = String::new();
    for id in 0..FLIGHTS as u64 {
        writeln!(lines, "{}", event(10 + id, &format!("key-{id}"), "{}"))
            .expect("a String takes it");
    }
    caller.send_bytes(lines.as_bytes()).await;
    eventually("all were refused", async || {
        aws.world.side(|side| side.puts.len() == 1 + FLIGHTS).then_some(())
    })
    .await;
    *aws.world.together.lock().expect("nobody panics with it in hand") = None;
    for _ in 0..FLIGHTS {
        assert_eq!(caller.answer().await["ok"], true);
    }
    assert_eq!(aws.asked() - before, 1);
    assert_eq!(
        aws.world.side(|side| side.puts.iter().filter(|token| *token == "old").count()),
        1 + FLIGHTS
    );
}

async fn named_as_unfit(daemon: &Daemon, said: &str) {
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    let told =
        eventually("it is told", async || daemon.logged("the stream takes nothing").pop()).await;
    assert_eq!(told["cause"], "credentials");
    assert!(told["message_from_kinesis"].as_str().is_some_and(|why| why.contains(said)), "{told}");
    assert!(!daemon.log().contains("AKIDBAD"), "nothing of it is shown: {}", daemon.log());
}

#[tokio::test]
async fn a_key_that_no_header_can_hold_is_named_by_where_it_came_from_and_ends_nothing() {
    let aws = Aws::start().await;
    aws.world.side(|side| side.key_id = "AKIDBAD\n".into());
    let daemon = aws.with_agent().start().await;
    let said = "the access key id from the container's endpoint (ECS or EKS Pod Identity) holds a line end at its end";
    named_as_unfit(&daemon, said).await;
    aws.world.side(|side| side.key_id = "AKIDGOOD".into());
    acked(&mut daemon.connect().await, 2).await;

    let home = Home::new();
    home.write("AKIDBAD", "t\u{7}oken");
    let daemon = home.seen_by(aws.daemon()).start().await;
    named_as_unfit(&daemon, "the session token from a profile holds a control character").await;
    home.write("AKIDGOOD", "token");
    assert!(daemon.run_admin(&["reload"]).await.status.success());
    acked(&mut daemon.connect().await, 2).await;
}

#[tokio::test]
async fn a_process_gives_credentials_where_a_profile_says_so() {
    let (aws, home) = (Aws::start().await, Home::new());
    let config = home.0.path().join("config");
    let given = r#"{"Version": 1, "AccessKeyId": "AKIDPROC", "SecretAccessKey": "s", "SessionToken": "process"}"#;
    std::fs::write(&config, format!("[default]\ncredential_process = echo '{given}'\n"))
        .expect("it is writable");
    let daemon = aws.daemon().env("AWS_CONFIG_FILE", text(&config)).start().await;
    let took = timeout(DEADLINE, acked(&mut daemon.connect().await, 1)).await;
    assert!(took.is_ok());
    assert_eq!(daemon.status().await["identity"]["key_id_end"], "PROC");
    assert_eq!(aws.world.side(|side| side.puts.clone()), ["process"]);
}

#[tokio::test]
async fn a_login_that_is_not_built_in_says_what_to_use_instead() {
    let (aws, home) = (Aws::start().await, Home::new());
    let config = home.0.path().join("config");
    let sso = "[default]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n\
               sso_account_id = 123456789012\nsso_role_name = r\n";
    std::fs::write(&config, sso).expect("it is writable");
    let daemon = aws.daemon().env("AWS_CONFIG_FILE", text(&config)).start().await;
    let who = daemon.logged("ready")[0]["identity"].as_str().expect("a text").to_owned();
    assert!(who.contains("IAM Identity Center (SSO), which dispatchd does not speak"), "{who}");
    assert!(
        who.contains("credential_process = aws configure export-credentials --profile NAME"),
        "{who}"
    );
    assert!(!who.contains("cargo"), "{who}");
}
