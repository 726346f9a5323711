//! A daemon for the life of one command: its events are delivered, its signals reach it once, its
//! exit code comes out.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::daemon::{Caller, event, sheltered};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{create_stream, read_all};
use testkit::{DEADLINE, client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::DISPATCHD;

async fn stream() -> Ferro {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    ferro
}

/// `exec` of this script by a shell.
fn exec(endpoint: &str, flags: &[&str], script: &str) -> Command {
    let mut exec = DISPATCHD.command();
    exec.env("AWS_ENDPOINT_URL_KINESIS", endpoint).env("DISPATCHD_BINARY", DISPATCHD.path());
    exec.args(["exec", "--stream", "s"]).args(flags).args(["--", "sh", "-c", script]);
    exec
}

async fn code(mut exec: Command) -> Option<i32> {
    let mut running = exec.spawn().expect("it starts");
    timeout(DEADLINE, running.wait())
        .await
        .expect("it ends in time")
        .expect("it can be waited for")
        .code()
}

/// A command that says where its socket is and ends when its input does, with the code that it
/// reads there.
struct Asked {
    exec: Child,
    socket: String,
    lines: Lines<BufReader<ChildStdout>>,
}

async fn asked(mut exec: Command) -> Asked {
    let mut exec = exec
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(exec.stdout.take().expect("it is piped")).lines();
    let socket = timeout(DEADLINE, lines.next_line())
        .await
        .expect("in time")
        .expect("it prints")
        .expect("a line");
    Asked { exec, socket, lines }
}

const ASK: &str = "echo $DISPATCHD_SOCKET; read code; exit $code";

impl Asked {
    async fn end(&mut self, code: &str) {
        let mut stdin = self.exec.stdin.take().expect("it is piped");
        stdin.write_all(format!("{code}\n").as_bytes()).await.expect("it reads");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.exec.id().expect("it runs").cast_signed()).expect("not zero");
        kill_process(pid, signal).expect("it runs");
    }

    async fn code(&mut self) -> Option<i32> {
        timeout(DEADLINE, self.exec.wait())
            .await
            .expect("it ends in time")
            .expect("it can be waited for")
            .code()
    }
}

#[tokio::test]
async fn what_a_command_sent_is_delivered_before_its_code_comes_out() {
    let ferro = stream().await;
    // It does not wait for its answer: linger is a minute.
    let mut asked = asked(exec(&ferro.endpoint(), &["--set", "batch.linger=60s"], ASK)).await;
    let mut caller = Caller::connect(Path::new(&asked.socket)).await;
    caller.send(&event(1, "k", "{}")).await;
    caller.send("{\"op\":\"ping\"}").await;
    assert_eq!(caller.answer().await["op"], "ping", "the event before it was read");
    drop(caller);
    asked.end("0").await;
    assert_eq!(asked.code().await, Some(0));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), 1);
    let directory = Path::new(&asked.socket).parent().expect("it lay in a directory");
    assert!(!directory.exists(), "nothing is left behind");
}

#[tokio::test]
async fn a_command_uses_its_streams_as_if_it_ran_alone() {
    let ferro = stream().await;
    let script = "cat; echo to-stderr >&2; \"$DISPATCHD_BINARY\" send --type t";
    let mut exec = exec(&ferro.endpoint(), &[], script);
    let mut exec = exec
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    exec.stdin.take().expect("it is piped").write_all(b"from stdin\n").await.expect("it reads");
    let output = exec.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.starts_with("from stdin\n{\"ref\":1,\"ok\":true"), "{stdout}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "to-stderr\n",
        "the daemon has nothing to say by itself"
    );
}

#[tokio::test]
async fn the_commands_own_code_comes_out() {
    let ferro = stream().await;
    for (script, expected) in
        [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        assert_eq!(code(exec(&ferro.endpoint(), &[], script)).await, Some(expected), "{script}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_started_ends_as_in_a_shell() {
    let ferro = stream().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "no program").expect("it is writable");
    for (program, expected) in [
        ("/nonexistent/program", 127),
        ("no-such-program", 127),
        (file.to_str().expect("UTF-8"), 126),
    ] {
        let mut exec = DISPATCHD.command();
        exec.env("AWS_ENDPOINT_URL_KINESIS", ferro.endpoint())
            .args(["exec", "--stream", "s", "--", program]);
        let output = exec.output().await.expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{told}");
        assert!(told.contains(program), "{told}");
    }
}

#[tokio::test]
async fn without_a_daemon_the_command_is_never_started() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, mark) = (dir.path().join("file"), dir.path().join("mark"));
    std::fs::write(&file, "no socket").expect("it is writable");
    let script = format!("touch {}", mark.display());
    let taken = file.to_str().expect("UTF-8");
    let of = |flags: &[&str]| code(exec("http://127.0.0.1:1", flags, &script));
    assert_eq!(of(&["--socket", taken]).await, Some(1));
    assert_eq!(of(&["--set", "batch.linger=5min"]).await, Some(64));
    let mut nothing = DISPATCHD.command();
    nothing.args(["exec", "--stream", "s"]);
    assert_eq!(code(nothing).await, Some(64), "a command has to be named");
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_command_finds_a_relative_socket_from_wherever_it_works() {
    let ferro = stream().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut relative = exec(
        &ferro.endpoint(),
        &["--socket", "d.sock"],
        "cd / && \"$DISPATCHD_BINARY\" send --type t",
    );
    relative.current_dir(dir.path());
    assert_eq!(code(relative).await, Some(0));
    // What it would be to the command has to fit too.
    let deep = dir.path().join("d".repeat(100));
    std::fs::create_dir(&deep).expect("it is ours");
    let mut long = exec(&ferro.endpoint(), &["--socket", "d.sock"], "true");
    let output = long.current_dir(&deep).output().await.expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.contains("bytes, a Unix socket takes at most 107"), "{told}");
}

#[tokio::test]
async fn an_exec_inside_another_ones_command_has_a_socket_of_its_own() {
    let ferro = stream().await;
    let script = "outer=$DISPATCHD_SOCKET; \"$DISPATCHD_BINARY\" exec --stream s -- \
        sh -c '\"$DISPATCHD_BINARY\" send --type t && test \"$DISPATCHD_SOCKET\" != '$outer";
    assert_eq!(code(exec(&ferro.endpoint(), &[], script)).await, Some(0));
}

#[tokio::test]
async fn events_that_are_left_show_only_where_the_command_succeeded() {
    let ferro = stream().await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let denied = [("PutRecords".to_owned(), Refusal::access_denied())].into();
    server.set(Plan { denied, ..Plan::default() });
    for (its, expected) in [("0", 75), ("3", 3)] {
        let mut asked =
            asked(exec(&server.endpoint(), &["--set", "shutdown.timeout=1s"], ASK)).await;
        let mut caller = Caller::connect(Path::new(&asked.socket)).await;
        caller.send(&event(1, "k", "{}")).await;
        caller.send("{\"op\":\"ping\"}").await;
        assert_eq!(caller.answer().await["op"], "ping", "the event before it was read");
        asked.end(its).await;
        assert_eq!(asked.code().await, Some(expected));
    }
}

#[tokio::test]
async fn signals_reach_the_command_and_it_decides() {
    let ferro = stream().await;
    let script = "for s in TERM INT HUP QUIT USR1 USR2; do trap \"echo $s\" $s; done; trap 'echo TERM; exit 5' TERM
        echo ready; while :; do sleep 0.05; done";
    let mut asked = asked(exec(&ferro.endpoint(), &[], script)).await;
    assert_eq!(asked.socket, "ready");
    for (signal, name) in [
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
    ] {
        asked.signal(signal);
        let line =
            timeout(DEADLINE, asked.lines.next_line()).await.expect("in time").expect("it prints");
        assert_eq!(line.as_deref(), Some(name));
    }
    assert_eq!(
        asked.code().await,
        Some(5),
        "the first SIGTERM was for the command, and it ended so"
    );
}

/// A terminal with `exec` of this command in its foreground. What it reads is typed, what it prints
/// is shown.
struct Terminal {
    script: Child,
    typed: ChildStdin,
    shows: ChildStdout,
    shown: String,
}

impl Terminal {
    fn open(endpoint: &str, command: &str) -> Self {
        // Who runs the tests in the background ignores SIGINT, and with it all that they start.
        let line = format!(
            "exec env --default-signal=INT {} exec --stream s -- {command}",
            DISPATCHD.path()
        );
        let mut script = sheltered(Command::new("script"));
        script.env("AWS_ENDPOINT_URL_KINESIS", endpoint).args(["-qefc", &line, "/dev/null"]);
        let mut script = script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bsdutils has script");
        let typed = script.stdin.take().expect("it is piped");
        let shows = script.stdout.take().expect("it is piped");
        Self { script, typed, shows, shown: String::new() }
    }

    async fn types(&mut self, text: &str) {
        self.typed.write_all(text.as_bytes()).await.expect("it reads");
    }

    /// Waits until it shows this, and gives what it showed before.
    async fn until(&mut self, text: &str) -> String {
        let mut some = [0; 256];
        loop {
            if let Some((before, after)) = self.shown.split_once(text) {
                let before = before.to_owned();
                self.shown = after.to_owned();
                return before;
            }
            let read = timeout(DEADLINE, self.shows.read(&mut some))
                .await
                .expect("in time")
                .expect("it prints");
            assert!(read > 0, "it ended without {text}: {}", self.shown);
            self.shown += &String::from_utf8_lossy(&some[..read]);
        }
    }
}

#[tokio::test]
async fn a_terminals_ctrl_c_reaches_the_command_as_if_it_ran_alone() {
    // The terminal sends it to every process of its foreground. A second one from us would come so
    // soon after that a shell takes both for one; so one of the two commands has left the
    // foreground, and must hear nothing.
    let ferro = stream().await;
    for (leaves, hears) in [("", "got-int"), ("setsid ", "")] {
        let script = "for s in INT USR1; do trap \"echo got-$s\" $s; done; trap 'echo got-int' INT; trap 'exit 4' TERM
            echo pid $PPID.; while :; do sleep 0.05; done";
        let mut terminal =
            Terminal::open(&ferro.endpoint(), &format!("{leaves}sh -c {}", shell_quote(script)));
        terminal.until("pid ").await;
        let exec = terminal
            .until(".")
            .await
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("its parent is exec");
        terminal.types("\x03").await;
        // The terminal sends it and then shows it: who heard it may have spoken before.
        let heard = if terminal.until("^C").await.contains("got-int") {
            "got-int"
        } else {
            terminal.until(hears).await;
            hears
        };
        assert_eq!(heard, hears, "{leaves}");
        kill_process(exec, Signal::USR1).expect("it runs");
        let between = terminal.until("got-USR1").await;
        assert!(!between.contains("got-int"), "{leaves}{between}");
        kill_process(exec, Signal::TERM).expect("it runs");
        assert_eq!(terminal.script.wait().await.expect("it ends").code(), Some(4));
    }
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[tokio::test]
async fn two_side_by_side_do_not_meet() {
    let ferro = stream().await;
    let (mut one, mut other) = (
        asked(exec(&ferro.endpoint(), &[], ASK)).await,
        asked(exec(&ferro.endpoint(), &[], ASK)).await,
    );
    assert_ne!(one.socket, other.socket);
    for asked in [&mut one, &mut other] {
        assert_eq!(
            Caller::connect(Path::new(&asked.socket)).await.ask(&event(1, "k", "{}")).await["ok"],
            true
        );
        asked.end("0").await;
        assert_eq!(asked.code().await, Some(0));
    }
}

#[tokio::test]
async fn a_command_whose_daemon_is_gone_is_ended_too() {
    let ferro = stream().await;
    let script = "echo $$; \"$DISPATCHD_BINARY\" admin quit & while :; do sleep 0.05; done";
    let mut asked = asked(exec(&ferro.endpoint(), &[], script)).await;
    let child = Pid::from_raw(asked.socket.parse().expect("its id")).expect("not zero");
    assert_eq!(asked.code().await, Some(1));
    eventually("no process is left", async || {
        rustix::process::test_kill_process(child).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_end_with_its_daemon_is_killed() {
    let ferro = stream().await;
    let script =
        "trap '' TERM; echo $$; \"$DISPATCHD_BINARY\" admin quit & while :; do sleep 0.05; done";
    let mut asked = asked(exec(&ferro.endpoint(), &[], script)).await;
    let child = Pid::from_raw(asked.socket.parse().expect("its id")).expect("not zero");
    assert_eq!(asked.code().await, Some(1), "some ten seconds later");
    eventually("no process is left", async || {
        rustix::process::test_kill_process(child).is_err().then_some(())
    })
    .await;
}

/// A stream that takes nothing until it is told otherwise.
async fn closed(ferro: &Ferro) -> FaultServer {
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    let denied = [("PutRecords".to_owned(), Refusal::access_denied())].into();
    server.set(Plan { denied, ..Plan::default() });
    server
}

/// More than a reader takes at once and than `WINDOW` lets it accept; the kernel has room for the
/// rest.
const LINES: usize = 1_500;
const WINDOW: [&str; 2] = ["--set", "socket.window=10"];

/// Writes all lines, reads no answer, and closes.
async fn write_and_close(socket: &str) {
    let mut caller = Caller::connect(Path::new(socket)).await;
    let lines: String =
        (0..LINES).map(|n| event(n as u64, &format!("k{n}"), "{}") + "\n").collect();
    caller.send_bytes(lines.as_bytes()).await;
}

#[tokio::test]
async fn what_a_command_wrote_is_delivered_though_it_read_no_answer_and_closed() {
    let ferro = stream().await;
    let server = closed(&ferro).await;
    let mut asked = asked(exec(&server.endpoint(), &WINDOW, ASK)).await;
    write_and_close(&asked.socket).await;
    asked.end("0").await;
    server.set(Plan::default());
    assert_eq!(asked.code().await, Some(0));
    assert_eq!(read_all(&client(&ferro.endpoint()), "s").await.len(), LINES);
}

#[tokio::test]
async fn what_a_command_wrote_and_nobody_could_read_in_time_is_counted() {
    let ferro = stream().await;
    let server = closed(&ferro).await;
    let flags = [&WINDOW[..], &["--set", "shutdown.timeout=6s"]].concat();
    let mut asked = asked(exec(&server.endpoint(), &flags, ASK)).await;
    write_and_close(&asked.socket).await;
    asked.end("0").await;
    assert_eq!(asked.code().await, Some(75));
    let mut log = String::new();
    asked.exec.stderr.take().expect("it is piped").read_to_string(&mut log).await.expect("UTF-8");
    let last: serde_json::Value =
        serde_json::from_str(log.lines().last().expect("it logs")).expect("JSON");
    assert_eq!(last["unconfirmed"], LINES, "{log}");
    assert!(last["unread"].as_u64().is_some_and(|unread| unread > 0), "{log}");
}

#[tokio::test]
async fn a_signal_that_comes_together_with_the_commands_end_gives_nothing_up() {
    let ferro = stream().await;
    let server = closed(&ferro).await;
    // As an entrypoint's `trap 'kill 0' EXIT`: the signal is sent once the command has been waited
    // for.
    let script = format!("(while kill -0 $$ 2>/dev/null; do :; done; kill -TERM $PPID) & {ASK}");
    let mut asked =
        asked(exec(&server.endpoint(), &["--set", "shutdown.timeout=1h"], &script)).await;
    let mut caller = Caller::connect(Path::new(&asked.socket)).await;
    caller.send(&event(1, "k", "{}")).await;
    assert_eq!(caller.ask("{\"op\":\"ping\"}").await["op"], "ping", "the event before it was read");
    asked.end("0").await;
    let mut log = BufReader::new(asked.exec.stderr.take().expect("it is piped")).lines();
    loop {
        let line = timeout(DEADLINE, log.next_line())
            .await
            .expect("in time")
            .expect("UTF-8")
            .expect("it is said");
        if line.contains("another signal came within 1 s of the first") {
            break;
        }
    }
    server.set(Plan::default());
    assert_eq!(caller.answer().await["ok"], true, "it is still delivered");
    drop(caller);
    assert_eq!(asked.code().await, Some(0));
}

#[tokio::test]
async fn signals_that_were_ignored_at_the_start_are_ignored_by_the_command_too() {
    let ferro = stream().await;
    let script = "kill -HUP $$ && kill -INT $$ && echo still here; read code; exit $code";
    let mut exec = sheltered(Command::new("sh"));
    exec.env("AWS_ENDPOINT_URL_KINESIS", ferro.endpoint());
    exec.args([
        "-c",
        "trap '' HUP INT; exec \"$0\" \"$@\"",
        DISPATCHD.path(),
        "exec",
        "--stream",
        "s",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let mut asked = asked(exec).await;
    assert_eq!(asked.socket, "still here");
    for signal in [Signal::HUP, Signal::INT] {
        asked.signal(signal);
    }
    asked.end("3").await;
    assert_eq!(asked.code().await, Some(3));
}

#[tokio::test]
async fn a_later_signal_while_the_rest_is_delivered_gives_it_up() {
    let ferro = stream().await;
    let server = closed(&ferro).await;
    let mut asked = asked(exec(&server.endpoint(), &["--set", "shutdown.timeout=1h"], ASK)).await;
    let mut caller = Caller::connect(Path::new(&asked.socket)).await;
    caller.send(&event(1, "k", "{}")).await;
    caller.send("{\"op\":\"ping\"}").await;
    caller.answer().await;
    drop(caller);
    asked.end("0").await;
    eventually("the command has ended", async || {
        let status = DISPATCHD
            .command()
            .args(["admin", "--socket", &asked.socket, "status"])
            .output()
            .await
            .expect("it runs");
        String::from_utf8_lossy(&status.stdout).contains("draining").then_some(())
    })
    .await;
    // Those that come within a second of its end may be what ended it.
    let code = eventually("an hour is not waited for", async || {
        asked.signal(Signal::TERM);
        timeout(Duration::from_millis(50), asked.code()).await.ok()
    })
    .await;
    assert_eq!(code, Some(75));
}
