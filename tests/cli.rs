//! The command line as a person uses it: what it prints, and its exit codes.

mod support;

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::daemon::{Start, binary, command, sheltered};
use support::kinesis::Ferro;
use support::stream::create_stream;
use support::truth::numbered_lines;
use support::{client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

async fn output(args: &[&str]) -> Output {
    command().args(args).output().await.expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `run --local` as a person starts it, with what it printed.
struct Demo {
    daemon: Child,
    welcome: Vec<String>,
    _stdout: Lines<BufReader<ChildStdout>>,
    _dir: tempfile::TempDir,
}

async fn demo() -> Demo {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut daemon = command()
        .args(["run", "--local", "--admin-listen", "off", "--set", "producer_id=demo@host"])
        .arg("--socket")
        .arg(dir.path().join("d.sock"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(daemon.stdout.take().expect("it is piped")).lines();
    let mut welcome = Vec::new();
    while welcome.len() < 7 {
        welcome.push(stdout.next_line().await.expect("it prints").expect("seven lines"));
    }
    let socket = dir.path().join("d.sock");
    eventually("it listens", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
    Demo { daemon, welcome, _stdout: stdout, _dir: dir }
}

/// A line of the welcome, run by a shell, as a person would paste it.
async fn paste(line: &str) -> Output {
    tokio::process::Command::new("sh").args(["-c", line]).output().await.expect("there is a shell")
}

#[tokio::test]
async fn run_local_prints_lines_that_work_when_pasted() {
    let mut demo = demo().await;
    let [send, tail] = [" send ", " tail "]
        .map(|verb| demo.welcome.iter().find(|line| line.contains(verb)).expect("a line to paste").clone());
    let sent = paste(&send).await;
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let ack: serde_json::Value = serde_json::from_slice(&sent.stdout).expect("the ack");
    assert_eq!((&ack["ok"], &ack["partitionKey"]), (&true.into(), &"customer-9".into()));

    let mut tail = tokio::process::Command::new("sh")
        .args(["-c", &format!("exec {}", tail.trim())])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("there is a shell");
    let line = BufReader::new(tail.stdout.take().expect("it is piped")).lines().next_line().await;
    let event: serde_json::Value =
        serde_json::from_str(&line.expect("it prints").expect("the event")).expect("its envelope");
    assert_eq!((&event["id"], &event["data"]["total"]), (&ack["id"], &12.5.into()));
    let pid = Pid::from_raw(tail.id().expect("it runs").cast_signed()).expect("not zero");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(tail.wait().await.expect("it ends").code(), Some(0), "SIGINT is a good end");
    demo.daemon.start_kill().expect("it runs");
}

#[tokio::test]
async fn send_prints_the_answers_and_fails_if_one_is_a_refusal() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = Start::new(&ferro.endpoint(), "s").start().await;
    let socket = daemon.socket().to_str().expect("UTF-8");
    let multiline = output(&["send", "--socket", socket, "--type", "t", "--data", "{\n  \"a\": 1\n}", "--echo"]).await;
    assert_eq!(multiline.status.code(), Some(0), "{}", stderr(&multiline));
    assert!(stdout(&multiline).contains("\"data\":{   \"a\": 1 }"), "{}", stdout(&multiline));
    let refused = output(&["send", "--socket", socket, "--type", "t", "--data", "[]"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stdout(&refused).contains("\"code\":\"InvalidRequest\",\"message\":\"data is not an object\""));
    let no_json = output(&["send", "--socket", socket, "--type", "t", "--data", "{a:1}"]).await;
    assert_eq!(no_json.status.code(), Some(1));
    assert!(stderr(&no_json).contains("--data is not JSON"), "{}", stderr(&no_json));
}

#[tokio::test]
async fn send_pipelines_lines_from_stdin() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = Start::new(&ferro.endpoint(), "s").start().await;
    let mut send = command()
        .arg("send")
        .env("DISPATCHD_SOCKET", daemon.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = send.stdin.take().expect("it is piped");
    // A file whose last line has no end is common, and no torn write.
    let lines = format!("{}\n\n{{\"op\":\"flush\"}}", numbered_lines(3_000, 100));
    let writing = tokio::spawn(async move { stdin.write_all(lines.as_bytes()).await });
    let sent = send.wait_with_output().await.expect("it ends");
    writing.await.expect("no panic").expect("it reads");
    assert_eq!(sent.status.code(), Some(0));
    assert_eq!(stdout(&sent).lines().count(), 3_001);
    assert!(stdout(&sent).ends_with("{\"op\":\"flush\",\"ok\":true}\n"));
    assert!(sent.stderr.is_empty(), "no progress line where nobody watches");
}

#[tokio::test]
async fn send_says_so_when_there_is_no_daemon_or_it_goes_away() {
    let nobody = output(&["send", "--socket", "/nonexistent/d.sock", "--type", "t"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stderr(&nobody).starts_with("dispatchd: no daemon answers at /nonexistent/d.sock: start one with"),
        "{}",
        stderr(&nobody)
    );

    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = Start::new(&ferro.endpoint(), "s").set("batch.linger", "60s").start().await;
    let socket = daemon.socket().to_str().expect("UTF-8").to_owned();
    let waiting = tokio::spawn(async move { output(&["send", "--socket", &socket, "--type", "t"]).await });
    eventually("it is accepted", async || (daemon.metric("dispatchd_events_in_flight").await == 1.0).then_some(()))
        .await;
    daemon.signal(Signal::KILL);
    let lost = waiting.await.expect("no panic");
    assert_eq!(lost.status.code(), Some(1));
    assert!(
        stderr(&lost).contains("1 of 1 lines unanswered: they may or may not be in the stream"),
        "{}",
        stderr(&lost)
    );
}

#[tokio::test]
async fn check_prints_every_value_with_its_origin() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "[batch]\nlinger = \"5ms\"\n").expect("it is writable");
    let file = file.to_str().expect("UTF-8");
    let checked = command()
        .args(["check", "--config", file, "--stream", "orders", "--set", "batch.max_records=100"])
        .env("DISPATCHD__DELIVERY__TIMEOUT", "30s")
        .output()
        .await
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let words: Vec<String> =
        stdout(&checked).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "stream.name orders --stream".to_owned(),
        format!("batch.linger 5ms {file}"),
        "batch.max_records 100 --set".to_owned(),
        "delivery.timeout 30s DISPATCHD__DELIVERY__TIMEOUT".to_owned(),
        "socket.window 4096 default".to_owned(),
    ] {
        assert!(words.contains(&line), "{line} is not in\n{}", words.join("\n"));
    }
    assert!(words.last().is_some_and(|line| line.starts_with("memory: at most")), "{words:?}");
}

#[tokio::test]
async fn a_bad_configuration_is_told_whole_and_exits_64() {
    for verb in ["check", "run"] {
        let refused =
            output(&[verb, "--set", "batch.linger=5min", "--set", "batch.lingre=1s", "--socket-mode", "rw"]).await;
        assert_eq!(refused.status.code(), Some(64), "{verb}");
        for part in ["batch.linger = \"5min\"", "batch.lingre", "socket.mode", "stream.name"] {
            assert!(stderr(&refused).contains(part), "{part} is not in\n{}", stderr(&refused));
        }
    }
    assert_eq!(output(&["frobnicate"]).await.status.code(), Some(64));
    assert_eq!(output(&["--help"]).await.status.code(), Some(0));
    let no_region = command()
        .args(["run", "--stream", "s", "--admin-listen", "off"])
        .env_remove("AWS_REGION")
        .output()
        .await
        .expect("it runs");
    assert_eq!(no_region.status.code(), Some(64), "{}", stderr(&no_region));
    assert!(stderr(&no_region).contains("no region: set AWS_REGION"), "{}", stderr(&no_region));
}

#[tokio::test]
async fn a_start_that_fails_exits_1_and_says_why_and_check_says_it_before() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, socket) = (dir.path().join("file"), dir.path().join("d.sock"));
    std::fs::write(&file, "not a socket").expect("it is writable");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let served = dir.path().join("served");
    let _other = std::os::unix::net::UnixListener::bind(&served).expect("a socket");
    let [file, socket, served] = [&file, &socket, &served].map(|path| path.to_str().expect("UTF-8"));
    for (args, says) in [
        (["--socket", file, "--admin-listen", "off"], "exists and is no socket: it is not replaced"),
        (["--socket", served, "--admin-listen", "off"], "it is left alone"),
        (["--socket", socket, "--admin-socket", served], "it is left alone"),
        (["--socket", "/proc/no/such/d.sock", "--admin-listen", "off"], "/proc/no/such"),
        (["--socket", socket, "--admin-listen", &address], "for metrics and probes: Address already in use"),
    ] {
        // What stands where is the same for both; a port of the test's own, where none is named.
        let both = async |verb| {
            let mut command = command();
            command.args([verb, "--stream", "s", "--set", "admin.listen=127.0.0.1:0"]).args(args);
            command.output().await.expect("it runs")
        };
        let refused = both("run").await;
        assert_eq!(refused.status.code(), Some(1), "{args:?} {}", stderr(&refused));
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
        let checked = both("check").await;
        assert_eq!(checked.status.code(), Some(69), "{args:?} {}", stdout(&checked));
        assert!(stdout(&checked).contains(says), "{}", stdout(&checked));
    }
    let long = format!("/tmp/{}", "d".repeat(103));
    let refused = output(&["run", "--stream", "s", "--socket", &long]).await;
    assert!(stderr(&refused).contains("107"), "{}", stderr(&refused));
    assert!(Path::new(&file).exists());
}

#[tokio::test]
async fn what_run_refuses_of_a_configuration_check_refuses_too() {
    for (limit, set, says) in [
        ("true", "log.level=verbose", "log.level = \"verbose\" (from --set): expected error, warn, info"),
        ("ulimit -n 300", "socket.max_connections=512", "the process may open 300 files"),
        ("ulimit -v 700000", "memory.budget=1GiB", "of address space"),
    ] {
        for verb in ["run", "check"] {
            let mut limited = sheltered(tokio::process::Command::new("sh"));
            limited.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), binary(), verb]);
            limited.args(["--stream", "s", "--admin-listen", "127.0.0.1:0", "--set", set]);
            let refused = limited.output().await.expect("it runs");
            assert_eq!(refused.status.code(), Some(64), "{verb} {set} {}", stderr(&refused));
            assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
        }
    }
}

#[tokio::test]
async fn without_privileges_the_socket_lies_where_one_may_write() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let checked =
        command().args(["check", "--local"]).env("XDG_RUNTIME_DIR", dir.path()).output().await.expect("it runs");
    let text = stdout(&checked);
    let path = text.lines().find(|line| line.starts_with("socket.path")).expect("every key is printed");
    let expected = dir.path().join("dispatchd/dispatchd.sock");
    assert!(
        path.contains("/run/dispatchd/dispatchd.sock") || path.contains(expected.to_str().expect("UTF-8")),
        "{path}"
    );
}

#[tokio::test]
async fn an_empty_variable_for_the_socket_is_not_set() {
    for command_line in [["send", "--type=t"], ["admin", "status"]] {
        let mut command = command();
        let output = command.args(command_line).env("DISPATCHD_SOCKET", "").output().await.expect("it runs");
        let said = stderr(&output);
        assert!(said.contains("dispatchd.sock"), "it looks where `run` puts it by default: {said}");
    }
}
