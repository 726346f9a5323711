//! What an operator asks of a running daemon, and tells it, where there is nothing but its own
//! binary.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::daemon::{Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use testkit::truth::numbered_lines;
use testkit::{client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::DISPATCHD;

async fn stream(limits: bool, shards: i32) -> Ferro {
    let ferro = Ferro::start(limits).await;
    create_stream(&client(&ferro.endpoint()), "s", shards).await;
    ferro
}

fn admin_path(daemon: &Daemon) -> PathBuf {
    let mut path = daemon.socket().as_os_str().to_owned();
    path.push(".admin");
    path.into()
}

/// Status line and body of what the daemon answers to this request.
async fn raw(daemon: &Daemon, request: &str) -> (String, Value) {
    let answer = answer(daemon, request).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.lines().next().expect("a status").to_owned();
    (status, serde_json::from_str(body).expect("JSON"))
}

async fn head(daemon: &Daemon, request: &str) -> String {
    let answer = answer(daemon, request).await;
    answer.split_once("\r\n\r\n").expect("a head").0.to_owned()
}

async fn answer(daemon: &Daemon, request: &str) -> String {
    let mut stream = UnixStream::connect(admin_path(daemon)).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test]
async fn status_tells_the_books_the_buffer_and_who_is_there() {
    let ferro = stream(false, 2).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").set("batch.linger", "60s").start().await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    caller.send("no JSON").await;
    caller.answer().await;
    let status = eventually("the event waits, the shards are known", async || {
        let status = daemon.status().await;
        (status["events"]["in_flight"] == 1 && status["stream"]["shards"] == 2).then_some(status)
    })
    .await;
    assert_eq!((&status["state"], &status["pid"]), (&"running".into(), &daemon.pid().into()));
    assert_eq!((&status["stream"]["name"], &status["connections"]), (&"s".into(), &1.into()));
    assert_eq!(
        (&status["events"]["accepted"], &status["events"]["refused"]["InvalidRequest"]),
        (&2.into(), &1.into())
    );
    let used = status["buffer"]["used_bytes"].as_u64().expect("a number");
    assert!(
        used > 0 && used < status["buffer"]["limit_bytes"].as_u64().expect("a number"),
        "{status}"
    );
    let lane = &status["lanes"][0]["ok"];
    let ready: u64 = lane["shards"]
        .as_array()
        .expect("two")
        .iter()
        .filter_map(|shard| shard["ready"].as_u64())
        .sum();
    assert_eq!((ready, &lane["keys"], &lane["blocked"]), (1, &1.into(), &Value::Null));
    assert_eq!((&status["errors"], &status["last_reload"]), (&serde_json::json!([]), &Value::Null));
    let text = daemon.run_admin(&["status"]).await;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("events    1 in flight") && text.contains("shardId-000000000001"),
        "{text}"
    );
}

#[tokio::test]
async fn only_the_daemons_own_user_and_root_may_ask() {
    let ferro = stream(false, 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let path = admin_path(&daemon);
    let mode = || path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    if path.metadata().expect("it is there").uid() != 0 {
        eprintln!("not root: nobody else to ask as");
        return;
    }
    let directory = path.parent().expect("it lies in a directory");
    let as_nobody = async || {
        let mut setpriv = DISPATCHD.command_as_nobody(directory);
        setpriv.args(["admin", "--admin-socket"]).arg(&path).arg("quit");
        let output = setpriv.output().await.expect("util-linux has setpriv");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = as_nobody().await;
    assert!(
        told.contains("not permitted to ask") && told.contains("as the daemon's own user"),
        "{told}"
    );
    // Even where somebody opened the file to all.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let told = as_nobody().await;
    assert!(told.contains("only the daemon's own user and root may ask"), "{told}");
    assert_eq!(daemon.status().await["state"], "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_shard_shows_its_pace_and_its_refused_share_and_its_neighbours_none() {
    let ferro = stream(true, 2).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let mut tasks = JoinSet::new();
    for shard in 0..2u64 {
        let testkit::daemon::Caller { mut read, mut write } = daemon.connect().await;
        tasks.spawn(async move {
            tokio::io::copy(&mut read, &mut tokio::io::sink()).await.map(drop).unwrap_or_default()
        });
        tasks.spawn(async move {
            // The first one gets all it takes, the second one a line now and then.
            let hash = u128::from(shard) << 127;
            for n in 0u64.. {
                let line = format!(
                    "{{\"type\":\"t\",\"data\":{{}},\"options\":{{\"partitionKey\":\"{shard}-{}\",\"explicitHashKey\":\"{hash}\"}}}}\n",
                    n % 2_000
                );
                if write.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
                if shard == 1 {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        });
    }
    let shards = eventually(
        "the hot shard is paced, some of it refused and more of it waits, and the other one was sent \
         something",
        async || {
            let status = daemon.status().await;
            let shards = status["lanes"][0]["ok"]["shards"].as_array()?.clone();
            let other = shards.get(1)?["throttled_share"].as_f64();
            let waits = shards[0]["ready"].as_u64()? > 0;
            // All of it, as long as the first requests are all that it was sent.
            let share = shards[0]["throttled_share"].as_f64()?;
            let is_paced = shards[0]["pace"].is_number() && share > 0.0 && share < 1.0;
            (is_paced && waits && other.is_some()).then_some(shards)
        },
    )
    .await;
    let (hot, other) = (&shards[0], &shards[1]);
    assert!(hot["id"] == "shardId-000000000000" && other["id"] == "shardId-000000000001");
    assert_eq!((&other["pace"], &other["throttled_share"]), (&Value::Null, &0.0.into()), "{other}");
    eventually("now and then the hot shard cools", async || {
        let status = daemon.status().await;
        status["lanes"][0]["ok"]["shards"][0]["rests_seconds"].as_f64()
    })
    .await;
}

#[tokio::test]
async fn a_blocked_stream_says_why_and_what_to_do_and_the_last_errors_are_kept() {
    let ferro = stream(false, 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let denied =
        |refusal| Plan { denied: [("PutRecords".to_owned(), refusal)].into(), ..Plan::default() };
    server.set(denied(Refusal::access_denied()));
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "secret-key", "{\"secret\":\"payload\"}")).await;
    let status = eventually("it is blocked", async || {
        let status = daemon.status().await;
        status["lanes"][0]["ok"]["blocked"].is_object().then_some(status)
    })
    .await;
    let blocked = &status["lanes"][0]["ok"]["blocked"];
    assert_eq!(blocked["reason"], "access_denied");
    assert!(
        blocked["advice"].as_str().expect("a text").contains("allow kinesis:PutRecords"),
        "{blocked}"
    );
    assert_eq!(status["errors"][0]["code"], "AccessDeniedException", "{status}");
    assert_eq!(status["errors"][0]["call"], "PutRecords");
    let text = String::from_utf8_lossy(&daemon.run_admin(&["status"]).await.stdout).into_owned();
    assert!(text.contains("!! the stream takes nothing: access_denied"), "{text}");
    assert!(
        !text.contains("secret") && !status.to_string().contains("secret"),
        "never a payload, never a key"
    );

    server.set(Plan::default());
    assert_eq!(caller.answer().await["ok"], true);
    let status = daemon.status().await;
    assert_eq!(status["lanes"][0]["ok"]["blocked"], Value::Null);
    assert_eq!(status["errors"][0]["code"], "AccessDeniedException", "it is over, and still told");
}

#[tokio::test]
async fn a_level_of_the_log_that_is_set_for_a_time_reverts_by_itself() {
    let ferro = stream(false, 1).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let daemon = DISPATCHD.daemon(&server.endpoint(), "s").start().await;
    let refused = daemon.run_admin(&["log-level", "verbose"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("expected error, warn, info"));

    assert!(daemon.run_admin(&["log-level", "debug"]).await.status.success());
    let denied = [("PutRecords".to_owned(), Refusal::new(500, "InternalFailure", "no"))].into();
    server.set(Plan { denied, ..Plan::default() });
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("a line of that level", async || daemon.logged("PutRecords failed").pop()).await;
    server.set(Plan::default());
    assert_eq!(caller.answer().await["ok"], true);

    assert!(daemon.run_admin(&["log-level", "trace", "--for", "700ms"]).await.status.success());
    eventually("the configured level holds again", async || {
        let log = daemon.status().await["log"].clone();
        (log == serde_json::json!({"level": "info", "reverts_seconds": null})).then_some(())
    })
    .await;
    assert_eq!(
        daemon.told("the log's level is the configured one again").await[0]["level"],
        "info"
    );
    assert_eq!(
        daemon.run_admin(&["log-level", "debug", "--for", "25h"]).await.status.code(),
        Some(64)
    );
}

#[tokio::test]
async fn drain_makes_ready_to_stop_and_serves_on() {
    let ferro = stream(false, 1).await;
    let mut daemon =
        DISPATCHD.daemon(&ferro.endpoint(), "s").set("batch.linger", "60s").start().await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("it is accepted", async || {
        (daemon.status().await["events"]["in_flight"] == 1).then_some(())
    })
    .await;
    assert!(daemon.run_admin(&["drain"]).await.status.success());
    assert_eq!(caller.answer().await["ok"], true, "nothing lingers");
    assert_eq!(daemon.get("/readyz").await, (503, "draining\n".into()));
    assert_eq!(daemon.status().await["state"], "draining");
    drop(caller);
    let answers = daemon.connect().await.pipeline(numbered_lines(100, 10)).await;
    assert!(
        answers.len() == 100 && answers.iter().all(|answer| answer["ok"] == true),
        "it serves on"
    );
    assert!(!daemon.has_ended());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn quit_stops_as_sigterm_does_and_returns_when_the_daemon_is_gone() {
    let ferro = stream(false, 1).await;
    let mut daemon =
        DISPATCHD.daemon(&ferro.endpoint(), "s").set("batch.linger", "60s").start().await;
    let waiting = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(100, 100)));
    eventually("they are accepted", async || {
        (daemon.status().await["events"]["in_flight"] == 100).then_some(())
    })
    .await;
    let quit = daemon.run_admin(&["quit"]).await;
    assert!(quit.status.success(), "{quit:?}\n{}", daemon.log());
    assert!(!admin_path(&daemon).exists(), "its file went along");
    assert!(waiting.await.expect("it does not panic").iter().all(|answer| answer["ok"] == true));
    assert_eq!(daemon.exit_code().await, Some(0));
    assert_eq!(daemon.logged("draining")[0]["why"], "an operator");
    let nobody = daemon.run_admin(&["quit"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no daemon answers at"));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_and_idle_connections_hold_nobody_up() {
    let ferro = stream(false, 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let (status, body) = raw(&daemon, "GET /env HTTP/1.1\r\nhost: d\r\n\r\n").await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert!(
        body["error"].as_str().expect("a text").starts_with("served are GET /status"),
        "{body}"
    );
    // What changes something is no GET: nothing that follows links can do it.
    for (wrong, allowed) in [
        ("GET /quit", "POST"),
        ("PUT /reload", "POST"),
        ("POST /status", "GET"),
        ("GET /log-level", "PUT"),
    ] {
        let head = head(&daemon, &format!("{wrong} HTTP/1.1\r\nhost: d\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{wrong}: {head}");
        assert!(head.lines().any(|line| line == format!("allow: {allowed}")), "{wrong}: {head}");
    }
    for body in [
        "",
        "{}",
        "{\"level\":\"info\",\"for\":1}",
        &format!("{{\"level\":\"{}\"}}", "x".repeat(5_000)),
    ] {
        let request = format!(
            "PUT /log-level HTTP/1.1\r\nhost: d\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(raw(&daemon, &request).await.0, "HTTP/1.1 400 Bad Request", "{body}");
    }
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(UnixStream::connect(admin_path(&daemon)).await.expect("it listens"));
    }
    assert_eq!(
        daemon.status().await["state"],
        "running",
        "eight that say nothing make room in time"
    );
}

#[tokio::test]
async fn watch_shows_the_status_again_and_again_until_it_is_interrupted() {
    let ferro = stream(false, 1).await;
    let mut daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let watch = |extra: &[&str]| {
        let mut watch = DISPATCHD.command();
        watch
            .args(["admin", "--socket"])
            .arg(daemon.socket())
            .args(["status", "--watch"])
            .args(extra);
        watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let mut json = watch(&["--json"]);
    let mut lines = BufReader::new(json.stdout.take().expect("it is piped")).lines();
    for _ in 0..2 {
        let line = lines.next_line().await.expect("it prints").expect("a line a second");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["state"], "running");
    }
    let pid = Pid::from_raw(json.id().expect("it runs").cast_signed()).expect("not zero");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(json.wait().await.expect("it ends").code(), Some(0), "Ctrl-C is a good end");

    let mut text = watch(&[]);
    let mut lines = BufReader::new(text.stdout.take().expect("it is piped")).lines();
    let first = lines.next_line().await.expect("it prints").expect("a line");
    assert!(first.starts_with("dispatchd ") && first.contains("running"), "{first}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code().await, Some(0));
    while lines.next_line().await.is_ok_and(|line| line.is_some()) {}
    let ended = text.wait_with_output().await.expect("it ends");
    assert_eq!(ended.status.code(), Some(1), "there is nothing more to watch");
}

#[tokio::test]
async fn turned_off_there_is_no_admin_socket() {
    let ferro = stream(false, 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").set("admin.socket", "off").start().await;
    assert!(!admin_path(&daemon).exists());
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
}
