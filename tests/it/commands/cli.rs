//! The command line as a person uses it: what it prints, and its exit codes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::daemon::{Daemon, sheltered};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::truth::numbered_lines;
use testkit::{client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::DISPATCHD;

async fn output(args: &[&str]) -> Output {
    DISPATCHD.command().args(args).output().await.expect("it runs")
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
    let mut daemon = DISPATCHD
        .command()
        .args(["run", "--local", "--admin-listen", "off", "--set", "producer_id=demo@host"])
        .arg("--socket")
        .arg(dir.path().join("d.sock"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(daemon.stdout.take().expect("it is piped")).lines();
    let mut welcome = Vec::new();
    while !welcome.iter().any(|line: &String| line.contains(" tail ")) {
        welcome.push(
            stdout.next_line().await.expect("it prints").expect("the last line is about tail"),
        );
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
    let [send, tail] = [" send ", " tail "].map(|verb| {
        demo.welcome.iter().find(|line| line.contains(verb)).expect("a line to paste").clone()
    });
    let sent = paste(&send).await;
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let ack: serde_json::Value = serde_json::from_slice(&sent.stdout).expect("the ack");
    assert_eq!((&ack["ok"], &ack["partitionKey"]), (&true.into(), &"customer-9".into()));

    // What an SDK needs, and nothing of it is set here.
    let export =
        demo.welcome.iter().find(|line| line.contains("export ")).expect("a line to paste");
    let bare = format!(
        "env -i PATH=\"$PATH\" sh -c '{export}; {} stream describe local'",
        DISPATCHD.path()
    );
    let described = paste(&bare).await;
    assert!(stdout(&described).contains("arn:aws:kinesis:us-east-1:"), "{}", stderr(&described));

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
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let socket = daemon.socket().to_str().expect("UTF-8");
    let multiline = output(&[
        "send",
        "--socket",
        socket,
        "--type",
        "t",
        "--data",
        "{\n  \"a\": 1\n}",
        "--echo",
    ])
    .await;
    assert_eq!(multiline.status.code(), Some(0), "{}", stderr(&multiline));
    assert!(stdout(&multiline).contains("\"data\":{   \"a\": 1 }"), "{}", stdout(&multiline));
    let refused = output(&["send", "--socket", socket, "--type", "t", "--data", "[]"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stdout(&refused)
            .contains("\"code\":\"InvalidRequest\",\"message\":\"data is not an object\"")
    );
    let no_json = output(&["send", "--socket", socket, "--type", "t", "--data", "{a:1}"]).await;
    assert_eq!(no_json.status.code(), Some(1));
    assert!(stderr(&no_json).contains("--data is not JSON"), "{}", stderr(&no_json));
}

#[tokio::test]
async fn send_pipelines_lines_from_stdin() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let mut send = DISPATCHD
        .command()
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

/// Sends what stands on its standard input, and gives the answers.
async fn send_with(daemon: &Daemon, args: &[&str], input: &[u8]) -> (Option<i32>, Vec<Value>) {
    let mut send = DISPATCHD
        .command()
        .arg("send")
        .args(args)
        .env("DISPATCHD_SOCKET", daemon.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut stdin, input) = (send.stdin.take().expect("it is piped"), input.to_vec());
    let writing = tokio::spawn(async move { stdin.write_all(&input).await });
    let sent = send.wait_with_output().await.expect("it ends");
    writing.await.expect("no panic").expect("it reads");
    let answers = stdout(&sent);
    let answers = answers.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    (sent.status.code(), answers.collect())
}

#[tokio::test]
async fn send_puts_events_together_and_sends_bytes_as_they_are() {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let lines = numbered_lines(1_200, 10);
    let (code, answers) = send_with(&daemon, &["--batch"], lines.as_bytes()).await;
    let counts: Vec<_> =
        answers.iter().map(|answer| answer["results"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!((code, counts), (Some(0), vec![500, 500, 200]));
    let (code, answers) = send_with(&daemon, &["--tx"], b"{\"type\":\"t\",\"data\":{}}\n").await;
    assert_eq!((code, answers.len()), (Some(0), 3));
    assert_eq!((&answers[1]["staged"], &answers[2]["op"]), (&true.into(), &"commit".into()));
    let (code, answers) = send_with(&daemon, &["--tx"], b"{\"type\":\"\"}\n").await;
    assert_eq!((code, answers.len()), (Some(1), 3), "one is refused: {answers:?}");
    let raw = ["--raw", "--data", "-", "--key", "k"];
    assert_eq!(send_with(&daemon, &raw, b"\xff\0\n").await.0, Some(0));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("data.json");
    std::fs::write(&file, "{\n\"from\": \"a file\"}\n").expect("the directory is ours");
    let data = format!("@{}", file.display());
    assert_eq!(send_with(&daemon, &["--type", "t", "--data", &data], b"").await.0, Some(0));
    let stored = read_all(&client, "s").await;
    assert_eq!(stored.len(), 1_203);
    assert_eq!(&*stored[1_201].data, b"\xff\0\n");
    assert!(String::from_utf8_lossy(&stored[1_202].data).contains("\"from\": \"a file\""));
}

#[tokio::test]
async fn send_says_so_when_there_is_no_daemon_or_it_goes_away() {
    let nobody = output(&["send", "--socket", "/nonexistent/d.sock", "--type", "t"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stderr(&nobody)
            .starts_with("dispatchd: no daemon answers at /nonexistent/d.sock: start one with"),
        "{}",
        stderr(&nobody)
    );

    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").set("batch.linger", "60s").start().await;
    let socket = daemon.socket().to_str().expect("UTF-8").to_owned();
    let waiting =
        tokio::spawn(async move { output(&["send", "--socket", &socket, "--type", "t"]).await });
    eventually("it is accepted", async || {
        (daemon.metric("dispatchd_events_in_flight").await == 1.0).then_some(())
    })
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
    let checked = DISPATCHD
        .command()
        .args(["check", "--config", file, "--stream", "orders", "--set", "batch.max_records=100"])
        .env("DISPATCHD__DELIVERY__TIMEOUT", "30s")
        .output()
        .await
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let words: Vec<String> = stdout(&checked)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
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
        let refused = output(&[
            verb,
            "--set",
            "batch.linger=5min",
            "--set",
            "batch.lingre=1s",
            "--socket-mode",
            "rw",
        ])
        .await;
        assert_eq!(refused.status.code(), Some(64), "{verb}");
        for part in ["batch.linger = \"5min\"", "batch.lingre", "socket.mode", "stream.name"] {
            assert!(stderr(&refused).contains(part), "{part} is not in\n{}", stderr(&refused));
        }
    }
    assert_eq!(output(&["frobnicate"]).await.status.code(), Some(64));
    assert_eq!(output(&["--help"]).await.status.code(), Some(0));
    let no_region = DISPATCHD
        .command()
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
    let [file, socket, served] =
        [&file, &socket, &served].map(|path| path.to_str().expect("UTF-8"));
    for (args, says) in [
        (
            ["--socket", file, "--admin-listen", "off"],
            "exists and is no socket: it is not replaced",
        ),
        (["--socket", served, "--admin-listen", "off"], "it is left alone"),
        (["--socket", socket, "--admin-socket", served], "it is left alone"),
        (["--socket", "/proc/no/such/d.sock", "--admin-listen", "off"], "/proc/no/such"),
        (
            ["--socket", socket, "--admin-listen", &address],
            "for metrics and probes: Address already in use",
        ),
    ] {
        // What stands where is the same for both; a port of the test's own, where none is named.
        let both = async |verb| {
            let mut command = DISPATCHD.command();
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
        (
            "true",
            "log.level=verbose",
            "log.level = \"verbose\" (from --set): expected error, warn, info",
        ),
        ("ulimit -n 300", "socket.max_connections=512", "the process may open 300 files"),
        ("ulimit -v 700000", "memory.budget=1GiB", "of address space"),
    ] {
        for verb in ["run", "check"] {
            let mut limited = sheltered(tokio::process::Command::new("sh"));
            limited.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), DISPATCHD.path(), verb]);
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
    let checked = DISPATCHD
        .command()
        .args(["check", "--local"])
        .env("XDG_RUNTIME_DIR", dir.path())
        .output()
        .await
        .expect("it runs");
    let text = stdout(&checked);
    let path =
        text.lines().find(|line| line.starts_with("socket.path")).expect("every key is printed");
    let expected = dir.path().join("dispatchd/dispatchd.sock");
    assert!(
        path.contains("/run/dispatchd/dispatchd.sock")
            || path.contains(expected.to_str().expect("UTF-8")),
        "{path}"
    );
}

const ARN: &str = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";

/// The rows that `check` prints of these keys, without their origins.
async fn checked(keys: &[&str], args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let checked = DISPATCHD
        .command()
        .arg("check")
        .args(args)
        .envs(env.iter().copied())
        .output()
        .await
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let rows = stdout(&checked);
    let words = rows.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|row| row.first().is_some_and(|key| keys.contains(key)))
        .map(|row| row.join(" "))
        .collect()
}

#[tokio::test]
async fn a_stream_is_typed_by_name_or_by_arn_whatever_file_and_environment_say() {
    let keys = ["stream.name", "stream.arn"];
    let by_arn = checked(&keys, &["--stream", ARN], &[("DISPATCHD__STREAM__NAME", "other")]).await;
    assert_eq!(by_arn, ["stream.name default", &format!("stream.arn {ARN} --stream")]);
    let by_name = checked(&keys, &["--stream", "orders"], &[("DISPATCHD__STREAM__ARN", ARN)]).await;
    assert_eq!(by_name, ["stream.name orders --stream", "stream.arn default"]);
    let unset = checked(&keys, &["--stream", ""], &[("DISPATCHD__STREAM__ARN", ARN)]).await;
    assert_eq!(unset, ["stream.name default", &format!("stream.arn {ARN} DISPATCHD__STREAM__ARN")]);
    let nameless = DISPATCHD
        .command()
        .args(["stream", "delete", ""])
        .env("DISPATCHD__STREAM__NAME", "other")
        .output()
        .await;
    assert_eq!(
        nameless.expect("it runs").status.code(),
        Some(64),
        "no other stream is deleted in its place"
    );
    let both =
        output(&["check", "--stream", "orders", "--set", &format!("stream.arn={ARN}")]).await;
    assert_eq!(both.status.code(), Some(64));
    assert!(
        stderr(&both).contains("expected nothing beside stream.name = \"orders\""),
        "{}",
        stderr(&both)
    );
    let misplaced = output(&["check", "--set", &format!("stream.name={ARN}")]).await;
    assert!(stderr(&misplaced).contains("an ARN goes into stream.arn"), "{}", stderr(&misplaced));
}

#[tokio::test]
async fn a_daemon_is_started_and_read_by_arn() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), arn).start().await;
    assert_eq!(daemon.connect().await.ask(&testkit::daemon::event(1, "k", "{}")).await["ok"], true);
    let mut tail = DISPATCHD.command();
    // The emulator lists no shards by ARN; of an embedded stream's only the name counts.
    let endpoint = ferro.endpoint();
    let port = endpoint.rsplit(':').next().expect("a port");
    tail.args(["tail", "--stream", arn, "--from", "trim-horizon", "--local", "--local-port", port]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().expect("it starts");
    let line = BufReader::new(tail.stdout.take().expect("it is piped")).lines().next_line().await;
    assert!(line.expect("it prints").expect("the event").contains("\"kinesisPartitionKey\":\"k\""));
}

#[tokio::test]
async fn a_daemon_listens_where_clients_look() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("clients.sock");
    let path = socket.to_str().expect("UTF-8");
    let mut daemon = DISPATCHD.command();
    daemon.args(["run", "--local", "--admin-listen", "off"]).env("DISPATCHD_SOCKET", path);
    let _daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    eventually("it listens", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
    let sent = DISPATCHD
        .command()
        .args(["send", "--type", "t"])
        .env("DISPATCHD_SOCKET", path)
        .output()
        .await
        .expect("it runs");
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    // What is said to the daemon itself is nearer.
    let set = [("DISPATCHD_SOCKET", path), ("DISPATCHD__SOCKET__PATH", "/nearer.sock")];
    let row = checked(&["socket.path"], &["--local"], &set).await;
    assert_eq!(row, ["socket.path /nearer.sock DISPATCHD__SOCKET__PATH"]);
    let row = checked(&["socket.path"], &["--local"], &[("DISPATCHD_SOCKET", "")]).await;
    assert!(
        row[0].ends_with("dispatchd.sock /run/dispatchd is writable")
            || row[0].contains("is not writable"),
        "{row:?}"
    );
}

#[tokio::test]
async fn who_may_not_connect_is_not_told_that_there_is_no_daemon() {
    let daemon = DISPATCHD.local().args(["--socket-mode", "0600"]).start().await;
    if rustix::process::geteuid().as_raw() != 0 {
        return eprintln!("not run, it needs root to be somebody else");
    }
    let directory = daemon.socket().parent().expect("it lies in one");
    let mut nobody = DISPATCHD.command_as_nobody(directory);
    nobody.args(["send", "--type", "t", "--socket"]).arg(daemon.socket());
    let told = nobody.output().await.expect("util-linux has setpriv");
    assert_eq!(told.status.code(), Some(1));
    let expected = format!(
        "user 65534 may not connect to {}: join the socket's group",
        daemon.socket().display()
    );
    assert!(stderr(&told).contains(&expected), "{}", stderr(&told));
}

#[tokio::test]
async fn a_mode_that_the_sockets_directory_undoes_is_told() {
    let private = || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700))
            .expect("it is ours");
        dir
    };
    let daemon = DISPATCHD.local().args(["--socket-mode", "0666"]).start_at(private()).await;
    let told = daemon.logged("socket.mode 0666 lets other users connect");
    assert_eq!((told.len(), &told[0]["level"]), (1, &"WARN".into()), "{}", daemon.log());
    assert!(told[0]["message"].as_str().expect("a text").contains("chmod o+x"), "{told:?}");
    let usual = DISPATCHD.local().start_at(private()).await;
    assert!(usual.logged("socket.mode").is_empty(), "{}", usual.log());
}

#[tokio::test]
async fn no_password_of_a_url_is_echoed() {
    for args in [
        &["check", "--stream", "s", "--endpoint-url", "https://user:s3cret@a.example"][..],
        &["run", "--stream", "s", "--set", "stream.endpoint_url=https://user:s3cret@a.example"],
        &["run", "--stream", "https://user:s3cret@a.example/s"],
    ] {
        let refused = output(args).await;
        assert_eq!(refused.status.code(), Some(64), "{args:?}");
        let said = stderr(&refused);
        assert!(
            said.contains("https://(not shown)@a.example") && !said.contains("s3cret"),
            "{said}"
        );
    }
    let refused = DISPATCHD
        .command()
        .args(["check", "--stream", "s"])
        .env("AWS_ENDPOINT_URL", "https://user:s3cret@a.example")
        .output()
        .await
        .expect("it runs");
    assert!(
        stderr(&refused).contains("AWS_ENDPOINT_URL = ") && !stderr(&refused).contains("s3cret")
    );
}

/// The flags that a command's help lists.
async fn flags(command: &[&str]) -> Vec<String> {
    let help = output(&[command, &["--help"]].concat()).await;
    let text = stdout(&help);
    let words = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flags = words
        .flat_map(|line| line.split([' ', ',', '=', ':', '`']))
        .filter(|word| word.starts_with("--"));
    flags.filter(|flag| *flag != "--help").map(str::to_owned).collect()
}

#[tokio::test]
async fn help_lists_the_flags_that_a_command_has_a_use_for() {
    let reach = ["--config", "--region", "--endpoint-url", "--local", "--local-port", "--set"];
    let daemon =
        ["--socket", "--socket-mode", "--admin-listen", "--admin-socket", "--local-shards"];
    let stream = [&reach[..], &["--stream", "--log-level"]].concat();
    let run = [&stream[..], &daemon].concat();
    let tail = [
        "--from",
        "--shard",
        "--filter",
        "--filter-record",
        "--type",
        "--key",
        "--format",
        "--pretty",
        "--count",
        "--until-idle",
        "--discover",
        "--strict",
    ];
    for (command, expected) in [
        (&["run"][..], [&run[..], &["--exit-after-last-client"]].concat()),
        (&["exec"], run.clone()),
        (&["check"], [&run[..], &["--online", "--json", "--forward"]].concat()),
        (&["tail"], [&stream[..], &tail].concat()),
        (
            &["local"],
            vec!["--config", "--stream", "--local-port", "--local-shards", "--log-level", "--set"],
        ),
        (&["stream", "describe"], [&reach[..], &["--json"]].concat()),
        (&["stream", "list"], reach.to_vec()),
        (&["stream", "delete"], [&reach[..], &["--yes", "--wait"]].concat()),
    ] {
        let (mut found, mut expected) = (flags(command).await, expected);
        found.sort();
        found.dedup(); // a line of a help may begin with a flag that it names
        expected.sort_unstable();
        assert_eq!(found, expected, "{command:?}");
    }
    assert_eq!(
        output(&["tail", "--stream", "s", "--socket", "/s"]).await.status.code(),
        Some(64),
        "it has no use for it"
    );
}

#[tokio::test]
async fn an_empty_variable_for_the_socket_is_not_set() {
    for command_line in [["send", "--type=t"], ["admin", "status"]] {
        let mut command = DISPATCHD.command();
        let output =
            command.args(command_line).env("DISPATCHD_SOCKET", "").output().await.expect("it runs");
        let said = stderr(&output);
        assert!(said.contains("dispatchd.sock"), "it looks where `run` puts it by default: {said}");
    }
}
