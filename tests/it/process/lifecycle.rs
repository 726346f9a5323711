//! Start and stop: what is accepted is answered, what is acked is in the stream, and exit codes
//! tell the truth.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::daemon::{Caller, Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::truth::{assert_acks_are_true, numbered_lines};
use testkit::{client, eventually};
use tokio::io::AsyncWriteExt;

use crate::DISPATCHD;

async fn stream(ferro: &Ferro) -> String {
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    ferro.endpoint()
}

async fn acked(daemon: &Daemon) -> f64 {
    daemon.metric("dispatchd_events_acked_total").await
}

/// A caller that sends for as long as the daemon takes anything, and what it was answered.
fn send_until_the_end(caller: Caller) -> tokio::task::JoinHandle<Vec<Value>> {
    tokio::spawn(async move {
        let Caller { mut read, mut write } = caller;
        let writing = tokio::spawn(async move {
            let mut n = 0;
            while write
                .write_all(format!("{}\n", event(n, &format!("k{}", n % 50), "{}")).as_bytes())
                .await
                .is_ok()
            {
                n += 1;
            }
        });
        let mut answers = Vec::new();
        let mut line = String::new();
        while tokio::io::AsyncBufReadExt::read_line(&mut read, &mut line)
            .await
            .is_ok_and(|read| read > 0)
        {
            // The last line of a daemon that was killed may be torn.
            answers.extend(serde_json::from_str::<Value>(&line).ok());
            line.clear();
        }
        writing.abort();
        answers
    })
}

#[tokio::test]
async fn sigterm_in_mid_traffic_answers_every_accepted_line_and_exits_0() {
    let ferro = Ferro::start(false).await;
    // A window that a loaded machine delivers within the second that is left when reading stops.
    let start = DISPATCHD
        .daemon(&stream(&ferro).await, "s")
        .set("shutdown.timeout", "6s")
        .set("socket.window", 200);
    let mut daemon = start.start().await;
    let sending = send_until_the_end(daemon.connect().await);
    eventually("events are acked", async || (acked(&daemon).await > 500.0).then_some(())).await;
    daemon.signal(Signal::TERM);
    let ready = eventually("it is not ready any more", async || {
        Some(daemon.get("/readyz").await).filter(|(status, _)| *status == 503)
    })
    .await;
    assert_eq!(ready.1, "draining\n");
    assert_eq!(daemon.get("/livez").await.0, 200);
    let answers = sending.await.expect("the caller does not panic");
    assert_eq!(daemon.exit_code().await, Some(0), "{}", daemon.log());
    let refs: Vec<u64> = {
        let mut refs: Vec<u64> =
            answers.iter().map(|answer| answer["ref"].as_u64().expect("ours")).collect();
        refs.sort_unstable();
        refs
    };
    assert_eq!(refs, (0..answers.len() as u64).collect::<Vec<_>>(), "no accepted line is left out");
    assert_eq!(assert_acks_are_true(&answers, &read_all(&client(&ferro.endpoint()), "s").await), 0);
    let last = daemon.logged("stopped: every event was answered");
    assert_eq!(last[0]["acked"], answers.len());
    assert!(!daemon.socket().exists(), "the socket is gone with the daemon");
}

#[tokio::test]
async fn without_callers_a_drain_takes_no_time() {
    let ferro = Ferro::start(false).await;
    let mut daemon =
        DISPATCHD.daemon(&stream(&ferro).await, "s").set("batch.linger", "60s").start().await;
    let caller = daemon.connect().await;
    let waiting = tokio::spawn(caller.pipeline(numbered_lines(100, 100)));
    eventually("they are accepted", async || {
        (daemon.metric("dispatchd_events_in_flight").await == 100.0).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    let answers = waiting.await.expect("the caller does not panic");
    assert!(answers.iter().all(|answer| answer["ok"] == true), "a stop does not linger");
    assert_eq!(daemon.exit_code().await, Some(0));
    let took_ms = daemon.logged("stopped")[0]["took_ms"].as_u64().expect("a number");
    // Linger is 60 s, and callers that are connected are waited for for 20 s.
    assert!(took_ms < 10_000, "the drain took {took_ms} ms");
    assert!(daemon.logged("nothing is in flight").is_empty(), "it waited for nobody");
}

#[tokio::test]
async fn after_kill_9_in_mid_traffic_every_acked_event_is_in_the_stream() {
    let ferro = Ferro::start(false).await;
    let endpoint = stream(&ferro).await;
    let mut daemon = DISPATCHD.daemon(&endpoint, "s").start().await;
    let sending = send_until_the_end(daemon.connect().await);
    eventually("events are acked", async || (acked(&daemon).await > 500.0).then_some(())).await;
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.exit_code().await, None);
    let answers = sending.await.expect("the caller does not panic");
    // Those that were still to be written died with the daemon.
    assert!(!answers.is_empty());
    assert_acks_are_true(&answers, &read_all(&client(&endpoint), "s").await);
}

#[tokio::test]
async fn a_killed_daemon_blocks_no_start_and_a_live_one_does() {
    let ferro = Ferro::start(false).await;
    let endpoint = stream(&ferro).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("d.sock");
    let mut first = DISPATCHD
        .daemon(&endpoint, "s")
        .start_at(tempfile::tempdir_in(dir.path()).expect("a directory"))
        .await;
    let path = first.socket().to_owned();
    let refused = DISPATCHD
        .command()
        .args(["run", "--stream", "s", "--admin-listen", "off", "--socket"])
        .arg(&path)
        .env("AWS_ENDPOINT_URL_KINESIS", &endpoint)
        .output()
        .await
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let serves = format!("another dispatchd (process {}, user ", first.pid());
    assert!(
        said.contains(&serves)
            && said.contains(&format!("serves {}: it is left alone", path.display())),
        "{said}"
    );
    first.signal(Signal::KILL);
    assert_eq!(first.exit_code().await, None);
    assert!(path.exists(), "a killed daemon leaves its file");
    let mut second = DISPATCHD
        .command()
        .args(["run", "--stream", "s", "--admin-listen", "off", "--socket"])
        .arg(&path)
        .env("AWS_ENDPOINT_URL_KINESIS", &endpoint)
        .spawn()
        .expect("it starts");
    let mut caller = eventually("the next one listens", async || {
        tokio::net::UnixStream::connect(&path).await.ok()
    })
    .await;
    caller.write_all(b"{}\n").await.expect("it reads");
    second.start_kill().expect("it runs");
    drop(socket);
}

#[tokio::test]
async fn at_the_deadline_what_is_left_is_told_so_and_the_exit_code_shouts() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&stream(&ferro).await, 7).await;
    server.set(Plan { hang_before_ratio: 1.0, ..Plan::default() });
    let mut daemon = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("shutdown.timeout", "1s")
        .set("batch.max_in_flight", 1)
        .set("batch.max_records", 2)
        .start()
        .await;
    let waiting = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(5, 5)));
    eventually("a request hangs", async || (server.ledger().in_flight() == 1).then_some(())).await;
    daemon.signal(Signal::TERM);
    let answers = waiting.await.expect("the caller does not panic");
    let outcomes: Vec<_> = answers
        .iter()
        .map(|answer| answer["error"]["outcome"].as_str().expect("unconfirmed"))
        .collect();
    assert!(
        answers.iter().all(|answer| answer["error"]["code"] == "ShuttingDown"
            && answer["error"]["retryable"] == true)
    );
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == "unknown").count(),
        2,
        "those that were out: {outcomes:?}"
    );
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == "not_stored").count(),
        3,
        "those that were not: {outcomes:?}"
    );
    assert_eq!(daemon.exit_code().await, Some(75));
    assert_eq!(daemon.logged("stopped with events unconfirmed")[0]["unconfirmed"], 5);
}

#[tokio::test]
async fn a_signal_during_the_start_is_a_stop_and_no_failure() {
    // The region is asked of a metadata service that never answers.
    let metadata = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = metadata.local_addr().expect("it is bound");
    let mark = tempfile::tempdir().expect("a temporary directory").path().join("mark");
    let mark = mark.to_str().expect("UTF-8");
    for (line, code) in [
        (&["run", "--stream", "s", "--admin-listen", "off"][..], 0),
        (&["exec", "--stream", "s", "--", "touch", mark], 143),
    ] {
        let mut daemon = DISPATCHD.command();
        daemon.env_remove("AWS_REGION").env("AWS_EC2_METADATA_DISABLED", "false");
        daemon.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}"));
        let mut daemon = daemon.args(line).spawn().expect("it starts");
        let _asked = metadata.accept().await.expect("it asks");
        let pid = Pid::from_raw(daemon.id().expect("it runs").cast_signed()).expect("not zero");
        kill_process(pid, Signal::TERM).expect("it runs");
        assert_eq!(daemon.wait().await.expect("it ends").code(), Some(code), "{line:?}");
    }
    assert!(!std::path::Path::new(mark).exists(), "the command was never started");
}

#[tokio::test]
async fn signals_that_come_together_are_one_wish() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&stream(&ferro).await, 7).await;
    server.set(Plan {
        denied: [("PutRecords".to_owned(), Refusal::access_denied())].into(),
        ..Plan::default()
    });
    let mut daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("shutdown.timeout", "1h").start().await;
    let waiting = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(3, 3)));
    eventually("they are accepted", async || {
        (daemon.metric("dispatchd_events_in_flight").await == 3.0).then_some(())
    })
    .await;
    daemon.signal(Signal::INT);
    daemon.signal(Signal::TERM);
    let said =
        eventually("it is said", async || daemon.logged("another signal came within 1 s").pop())
            .await;
    assert_eq!(said["level"], "WARN");
    server.set(Plan::default());
    let answers = waiting.await.expect("the caller does not panic");
    assert!(answers.len() == 3 && answers.iter().all(|answer| answer["ok"] == true), "{answers:?}");
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let daemon = DISPATCHD.local().ignoring("HUP INT").start().await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let mask = |field: &str| {
        let mask =
            status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel says it");
        u64::from_str_radix(mask.trim(), 16).expect("hexadecimal")
    };
    let of = [Signal::HUP, Signal::INT, Signal::TERM].map(|signal| 1 << (signal.as_raw() - 1));
    assert_eq!(of.map(|bit| mask("SigIgn:") & bit != 0), [true, true, false]);
    assert_eq!(of.map(|bit| mask("SigCgt:") & bit != 0), [false, false, true]);
}

#[tokio::test]
async fn a_later_signal_ends_it_at_once() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&stream(&ferro).await, 7).await;
    server.set(Plan { hang_before_ratio: 1.0, ..Plan::default() });
    let mut daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("shutdown.timeout", "1h").start().await;
    let waiting = tokio::spawn(daemon.connect().await.pipeline(numbered_lines(3, 3)));
    eventually("a request hangs", async || (server.ledger().in_flight() == 1).then_some(())).await;
    daemon.signal(Signal::INT);
    // Those of the first second are the same wish as the first.
    let mut code = None;
    eventually("it ends", async || {
        daemon.signal(Signal::INT);
        code = tokio::time::timeout(Duration::from_millis(50), daemon.exit_code()).await.ok();
        code.map(drop)
    })
    .await;
    assert_eq!(code, Some(Some(75)));
    assert_eq!(waiting.await.expect("the caller does not panic").len(), 3);
}

#[tokio::test]
async fn a_drain_goes_on_serving_callers_that_are_connected() {
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&stream(&ferro).await, 7).await;
    server.set(Plan {
        denied: [("PutRecords".to_owned(), Refusal::access_denied())].into(),
        ..Plan::default()
    });
    let mut daemon =
        DISPATCHD.daemon(&server.endpoint(), "s").set("shutdown.timeout", "1h").start().await;
    let (mut caller, mut late) = (daemon.connect().await, daemon.connect().await);
    caller.send(&event(1, "k", "{}")).await; // while it is in flight nobody is idle
    caller.ask("{\"op\":\"ping\"}").await;
    daemon.signal(Signal::TERM);
    eventually("it drains", async || (daemon.get("/readyz").await.0 == 503).then_some(())).await;
    late.send(&event(2, "l", "{}")).await; // an app's last lines come after its own SIGTERM
    let mut new = daemon.connect().await; // on a new connection too
    new.send(&event(3, "m", "{}")).await;
    for caller in [&mut late, &mut new] {
        assert_eq!(
            caller.ask("{\"op\":\"ping\"}").await["op"],
            "ping",
            "the event before it was read"
        );
    }
    server.set(Plan::default());
    for mut caller in [caller, late, new] {
        assert_eq!(caller.answer().await["ok"], true);
        assert!(caller.finish().await.is_empty());
    }
    assert_eq!(daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn probes_do_not_ask_kinesis_and_the_socket_opens_without_it() {
    let nobody = "http://127.0.0.1:9";
    let daemon = DISPATCHD.daemon(nobody, "s").set("delivery.timeout", "1s").start().await;
    for probe in ["/startupz", "/readyz", "/livez"] {
        assert_eq!(daemon.get(probe).await.0, 200, "{probe}");
    }
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(answer["error"]["code"], "DeliveryTimeout");
    assert_eq!(
        answer["error"]["outcome"], "not_stored",
        "a connection that is refused stores nothing"
    );
    assert_eq!(daemon.get("/nothing").await.0, 404);
    assert_eq!(daemon.get("/metrics").await.0, 200);
}

#[tokio::test]
async fn sockets_that_vanished_are_there_again_within_seconds_and_nobody_who_is_connected_notices()
{
    let ferro = Ferro::start(false).await;
    let daemon = DISPATCHD.daemon(&stream(&ferro).await, "s").start().await;
    let mut old = daemon.connect().await;
    let directory = daemon.socket().parent().expect("it lies in a directory");
    let entries: Vec<_> = std::fs::read_dir(directory).expect("it is there").collect();
    assert_eq!(entries.len(), 4, "two sockets, two locks: {entries:?}");
    for entry in entries {
        std::fs::remove_file(entry.expect("it is listed").path()).expect("it is there");
    }
    eventually("both are bound again", async || {
        (daemon.logged("the socket's path led").len() == 2).then_some(())
    })
    .await;
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
    assert_eq!(old.ask(&event(1, "k", "{}")).await["ok"], true);
    assert_eq!(daemon.status().await["state"], "running");
    assert_eq!(daemon.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn where_another_program_took_the_sockets_path_it_is_not_ready_and_says_who() {
    let ferro = Ferro::start(false).await;
    let daemon = DISPATCHD.daemon(&stream(&ferro).await, "s").start().await;
    // As a program does that replaces whatever it finds.
    let (path, beside) = (daemon.socket(), daemon.socket().with_extension("new"));
    let other = std::os::unix::net::UnixListener::bind(&beside).expect("a socket");
    std::fs::rename(&beside, path).expect("it is ours");
    let told = eventually("it is not ready", async || {
        let (status, told) = daemon.get("/readyz").await;
        (status == 503).then_some(told)
    })
    .await;
    assert!(told.starts_with("nobody can connect"), "{told}");
    assert_eq!(
        (daemon.get("/livez").await.0, daemon.get("/startupz").await.0),
        (200, 200),
        "it serves who is connected"
    );
    let lost = daemon.told("the socket's path leads to this daemon no more").await;
    let owner = format!("(process {}, user ", std::process::id());
    assert!(
        lost.len() == 1 && lost[0]["error"].as_str().is_some_and(|error| error.contains(&owner)),
        "{lost:?}"
    );
    drop(other);
    eventually("it is ready again", async || (daemon.get("/readyz").await.0 == 200).then_some(()))
        .await;
    assert_eq!(daemon.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
}

#[tokio::test]
async fn nobody_but_the_daemons_own_user_can_hold_the_lock_that_a_restart_needs() {
    let ferro = Ferro::start(false).await;
    let endpoint = stream(&ferro).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut first = DISPATCHD.daemon(&endpoint, "s").start_in(dir.path()).await;
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code().await, Some(0));
    let lock = dir.path().join("d.sock.lock");
    if rustix::process::geteuid().is_root() {
        // As the application's container sees it, which may enter the directory.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("it is ours");
        let mut neighbour = testkit::daemon::as_nobody("flock");
        neighbour.arg("--nonblock");
        let held = neighbour.arg(&lock).arg("true").output().await.expect("util-linux has both");
        assert!(!held.status.success(), "who may only connect has locked it");
    }
    // A process of the daemon's own user that holds it all the same keeps no daemon from starting.
    let held = std::fs::File::open(&lock).expect("it stays");
    held.try_lock().expect("nobody has it");
    let second = DISPATCHD.daemon(&endpoint, "s").start_in(dir.path()).await;
    assert_eq!(second.connect().await.ask(&event(1, "k", "{}")).await["ok"], true);
    assert_eq!(second.logged("the socket's lock was held").len(), 1);
}
