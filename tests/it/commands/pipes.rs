//! What stands at the ends of a command: pipes that nobody reads, full disks, terminals, programs
//! that pause.

use std::fs::File;
use std::process::{Output, Stdio};
use std::time::SystemTime;

use aws_sdk_kinesis::Client;
use bytes::Bytes;
use dispatchd_core::model::{PartitionKey, Record};
use dispatchd_core::wire::packed::encode;
use serde_json::{Value, json};
use testkit::daemon::{Daemon, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::{Plan, Refusal};
use testkit::kinesis::Ferro;
use testkit::scripted::{Scripted, shard_list};
use testkit::stream::{create_stream, entry, put};
use testkit::terminal::Terminal;
use testkit::truth::numbered_lines;
use testkit::{DEADLINE, client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::DISPATCHD;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn ended(child: Child) -> Output {
    timeout(DEADLINE, child.wait_with_output())
        .await
        .expect("it ends")
        .expect("it can be waited for")
}

/// A standard output that nobody reads.
fn unread() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has one").into()
}

async fn stream() -> (Ferro, Client) {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", 1).await;
    (ferro, client)
}

async fn daemon() -> (Ferro, Daemon) {
    let (ferro, _) = stream().await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    (ferro, daemon)
}

fn send_to(daemon: &Daemon) -> Command {
    let mut send = DISPATCHD.command();
    send.arg("send").env("DISPATCHD_SOCKET", daemon.socket()).stderr(Stdio::piped());
    send
}

/// A `send`, and its connection, where the test is the daemon.
struct Sending {
    send: Child,
    connection: UnixStream,
    _dir: tempfile::TempDir,
}

async fn sending() -> Sending {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener = UnixListener::bind(dir.path().join("d.sock")).expect("it can be bound");
    let mut send = DISPATCHD.command();
    send.arg("send").arg("--socket").arg(dir.path().join("d.sock"));
    send.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let send = send.spawn().expect("it starts");
    let (connection, _) =
        timeout(DEADLINE, listener.accept()).await.expect("in time").expect("it connects");
    Sending { send, connection, _dir: dir }
}

/// What could go wrong: the daemon closes a connection whose line stays incomplete for 30 s, and
/// C's stdio writes blocks that end anywhere.
#[tokio::test]
async fn send_passes_a_line_on_when_it_is_whole() {
    let mut sending = sending().await;
    let mut stdin = sending.send.stdin.take().expect("it is piped");
    let mut read = [0; 64];
    for (written, sent) in [("{\"a\":1}\n{\"b\"", "{\"a\":1}\n"), (":2}\n{", "{\"b\":2}\n")] {
        stdin.write_all(written.as_bytes()).await.expect("it reads");
        let read_bytes = timeout(DEADLINE, sending.connection.read(&mut read))
            .await
            .expect("in time")
            .expect("it sends");
        assert_eq!(text(&read[..read_bytes]), sent);
    }
    drop(stdin);
    let mut rest = String::new();
    timeout(DEADLINE, sending.connection.read_to_string(&mut rest))
        .await
        .expect("in time")
        .expect("its half ends");
    assert_eq!(rest, "{\n", "a last line without an end is no torn write");
}

/// What could go wrong: answers are read no faster than they are printed, and the daemon, which
/// cannot write, closes.
#[tokio::test]
async fn send_reads_answers_that_nobody_takes_and_stops_sending() {
    const LINES: usize = 20_000;
    const WINDOW: usize = 4096;
    let mut sending = sending().await;
    let mut stdin = sending.send.stdin.take().expect("it is piped");
    let mut stdout = BufReader::new(sending.send.stdout.take().expect("it is piped"));
    let writing = tokio::spawn(async move {
        let _ = stdin.write_all(numbered_lines(LINES, 10).as_bytes()).await;
    });
    // A daemon that answers each line as it comes, and counts.
    let (read, mut write) = sending.connection.into_split();
    let (answered, counted) = tokio::sync::watch::channel(0);
    let answering = tokio::spawn(async move {
        let mut lines = BufReader::new(read).lines();
        let answer = format!("{{\"ok\":true,\"id\":\"{}\"}}\n", "x".repeat(230));
        while lines.next_line().await.expect("it sends").is_some() {
            write.write_all(answer.as_bytes()).await.expect("it reads");
            answered.send_modify(|answered| *answered += 1);
        }
    });
    // Nobody reads the answers: more than the pipe and both sockets hold are taken all the same.
    eventually("a window of answers is taken", async || {
        (*counted.borrow() >= WINDOW).then_some(())
    })
    .await;
    let held = *counted.borrow();
    assert!(held < LINES / 2, "{held} lines were sent though nobody takes their answers");
    let mut answers = String::new();
    timeout(DEADLINE, stdout.read_to_string(&mut answers))
        .await
        .expect("in time")
        .expect("it prints");
    assert_eq!(answers.lines().count(), LINES);
    writing.await.expect("no panic");
    answering.await.expect("no panic");
    assert_eq!(ended(sending.send).await.status.code(), Some(0));
}

#[tokio::test]
async fn send_says_why_its_input_cannot_be_read_and_prints_what_is_owed() {
    let (_ferro, daemon) = daemon().await;
    let directory = File::open("/").expect("it can be opened, and not read");
    let refused =
        ended(send_to(&daemon).stdin(directory).stdout(Stdio::piped()).spawn().expect("it starts"))
            .await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("cannot read the input: Is a directory"),
        "{}",
        text(&refused.stderr)
    );

    let mut terminal = Terminal::open();
    let mut send = send_to(&daemon)
        .stdin(terminal.stream())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    terminal.type_in(&format!("{}\n", event(7, "k", "{}")));
    let mut stdout = BufReader::new(send.stdout.take().expect("it is piped")).lines();
    let answer = timeout(DEADLINE, stdout.next_line())
        .await
        .expect("in time")
        .expect("it prints")
        .expect("an answer");
    assert!(answer.starts_with("{\"ref\":7,\"ok\":true"), "{answer}");
    drop(terminal);
    let hung_up = ended(send).await;
    assert_eq!(hung_up.status.code(), Some(1));
    assert!(text(&hung_up.stderr).contains("cannot read the input"), "{}", text(&hung_up.stderr));
}

#[tokio::test]
async fn send_does_not_say_of_lines_that_nobody_read_that_they_may_be_stored() {
    let (ferro, _) = stream().await;
    let daemon =
        DISPATCHD.daemon(&ferro.endpoint(), "s").set("socket.max_connections", 1).start().await;
    let mut held = daemon.connect().await;
    held.ask("{\"op\":\"ping\"}").await;
    let mut send =
        send_to(&daemon).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = send.stdin.take().expect("it is piped");
    let _ = stdin.write_all(numbered_lines(100, 10).as_bytes()).await;
    drop(stdin);
    let turned_away = ended(send).await;
    assert_eq!(turned_away.status.code(), Some(1));
    let said = text(&turned_away.stderr);
    assert!(said.contains("no line is in the stream") && !said.contains("may"), "{said}");
}

/// What could go wrong: it goes on sending for as long as the daemon lets it.
#[tokio::test]
async fn send_ends_when_nobody_takes_its_answers() {
    let (_ferro, daemon) = daemon().await;
    // The input stays open: nothing else ends it.
    let mut send =
        send_to(&daemon).stdin(Stdio::piped()).stdout(unread()).spawn().expect("it starts");
    let _stdin = send.stdin.take();
    let unread = ended(send).await;
    assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(1), String::new()));

    let mut send =
        send_to(&daemon).stdin(Stdio::piped()).stdout(full_disk()).spawn().expect("it starts");
    let mut stdin = send.stdin.take().expect("it is piped");
    stdin.write_all(numbered_lines(1, 10).as_bytes()).await.expect("it reads");
    let full = ended(send).await;
    assert_eq!(full.status.code(), Some(1));
    assert!(
        text(&full.stderr).contains("cannot write to standard output: No space left"),
        "{}",
        text(&full.stderr)
    );
}

/// What could go wrong: `head -n 5` of five answers leaves before the daemon has ended the
/// connection.
#[tokio::test]
async fn a_reader_that_leaves_after_the_last_answer_missed_nothing() {
    let mut sending = sending().await;
    let mut stdin = sending.send.stdin.take().expect("it is piped");
    stdin.write_all(b"{}\n").await.expect("it reads");
    drop(stdin);
    let mut sent = String::new();
    timeout(DEADLINE, sending.connection.read_to_string(&mut sent))
        .await
        .expect("in time")
        .expect("its half ends");
    sending.connection.write_all(b"{\"ok\":true}\n").await.expect("it reads");
    let mut stdout = BufReader::new(sending.send.stdout.take().expect("it is piped")).lines();
    let answer = timeout(DEADLINE, stdout.next_line()).await.expect("in time").expect("it prints");
    assert_eq!(answer.as_deref(), Some("{\"ok\":true}"));
    drop(stdout);
    let left = ended(sending.send).await;
    assert_eq!((left.status.code(), text(&left.stderr)), (Some(0), String::new()));
}

#[tokio::test]
async fn send_draws_no_progress_among_answers_on_a_terminal() {
    let (_ferro, daemon) = daemon().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let lines = dir.path().join("lines");
    std::fs::write(&lines, numbered_lines(3, 10)).expect("it is writable");
    for (answers_shown, progress_shown) in [(true, false), (false, true)] {
        let terminal = Terminal::open();
        let mut send = send_to(&daemon);
        send.stdin(File::open(&lines).expect("it is there")).stderr(terminal.stream());
        send.stdout(if answers_shown { terminal.stream() } else { Stdio::null() });
        let mut child = send.spawn().expect("it starts");
        drop(send);
        let shown = timeout(DEADLINE, terminal.shown()).await.expect("it ends");
        assert_eq!(child.wait().await.expect("it ends").code(), Some(0), "{shown}");
        assert_eq!(shown.contains("3 sent, 3 acked, 0 refused"), progress_shown, "{shown}");
        assert_eq!(
            shown.lines().filter(|line| line.starts_with("{\"ref\"")).count(),
            if answers_shown { 3 } else { 0 }
        );
    }
}

/// What could go wrong: `println!` panics.
#[tokio::test]
async fn a_command_whose_output_nobody_takes_ends_quietly_and_on_a_full_disk_with_an_error() {
    let (ferro, _) = stream().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("d.sock").display().to_string();
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/s";
    let endpoint = ferro.endpoint();
    for arguments in [
        vec!["--help"],
        vec!["check", "--local"],
        vec!["check", "--local", "--json"],
        vec!["iam", "producer", "--stream", arn],
        vec!["stream", "describe", "s", "--endpoint-url", &endpoint],
        vec!["stream", "create", "t", "--endpoint-url", &endpoint],
        vec!["stream", "create", "u", "--wait", "--endpoint-url", &endpoint],
        vec!["local"],
        vec![
            "run",
            "--local",
            "--socket",
            &socket,
            "--admin-listen",
            "off",
            "--log-level",
            "error",
        ],
    ] {
        // `create` of the second round finds what the first one made, and says so before it would
        // print.
        let full = !arguments.contains(&"create");
        for (stdout, code, says) in
            [(unread(), 0, ""), (full_disk(), 1, "cannot write to standard output: No space left")]
        {
            if code == 1 && !full {
                continue;
            }
            let child = DISPATCHD
                .command()
                .args(&arguments)
                .stdout(stdout)
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            let output = ended(child).await;
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
            let said = text(&output.stderr);
            assert!(
                if code == 0 { said.is_empty() } else { said.contains(says) },
                "{arguments:?}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn admin_status_ends_when_nobody_takes_it() {
    let (_ferro, daemon) = daemon().await;
    for arguments in [&["status"][..], &["status", "--watch"], &["status", "--watch", "--json"]] {
        for (stdout, code) in [(unread(), 0), (full_disk(), 1)] {
            let mut admin = DISPATCHD.command();
            admin
                .arg("admin")
                .args(arguments)
                .arg("--socket")
                .arg(daemon.socket())
                .stdout(stdout)
                .stderr(Stdio::piped());
            let output = ended(admin.spawn().expect("it starts")).await;
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
            assert_eq!(
                output.stderr.is_empty(),
                code == 0,
                "{arguments:?}: {}",
                text(&output.stderr)
            );
        }
    }
}

/// What a terminal would act on: DEL, a C1 control, a mark that turns the text around.
const HOSTILE: &str = "\u{7f}\u{9b}31m\u{202e}evil";
const SHOWN: &str = "\\u007f\\u009b31m\\u202eevil";

/// What a command shows on a terminal, on both streams.
async fn on_terminal(mut command: Command) -> String {
    let terminal = Terminal::open();
    let child =
        command.stdout(terminal.stream()).stderr(terminal.stream()).spawn().expect("it starts");
    drop(command); // it holds the terminal too
    let shown = timeout(DEADLINE, terminal.shown()).await.expect("it ends");
    drop(child);
    shown
}

fn assert_shown(what: &str, shown: &str) {
    assert!(shown.contains(SHOWN), "{what}: {shown:?}");
    assert!(!shown.contains(['\u{7f}', '\u{9b}', '\u{202e}']), "{what}: {shown:?}");
}

#[tokio::test]
async fn what_others_wrote_into_an_answer_is_written_out_on_a_terminal_and_piped_as_it_is() {
    let (_ferro, daemon) = daemon().await;
    let send = || {
        let mut send = send_to(&daemon);
        send.args(["--type", "t", "--key", HOSTILE]);
        send
    };
    assert_shown("send", &on_terminal(send()).await);
    let piped = send().stdout(Stdio::piped()).output().await.expect("it runs");
    assert!(text(&piped.stdout).contains(HOSTILE), "{}", text(&piped.stdout));
}

#[tokio::test]
async fn what_others_wrote_into_the_stream_is_written_out_on_a_terminal_and_piped_as_it_is() {
    let (ferro, client) = stream().await;
    let json = format!("{{\"a\":\"{HOSTILE}\"}}");
    put(&client, "s", vec![entry(HOSTILE, &json), entry("k", format!("{HOSTILE} text"))]).await;
    let tail = |arguments: &[&str]| {
        tail(&ferro.endpoint(), &[&["--from", "trim-horizon"], arguments].concat())
    };
    let mut piped = tail(&[]).spawn().expect("it starts");
    let mut lines = BufReader::new(piped.stdout.take().expect("it is piped")).lines();
    for expected in [json, format!("{HOSTILE} text")] {
        let line = timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("it prints");
        assert_eq!(line, Some(expected));
    }
    for arguments in [&[][..], &["--pretty"]] {
        let terminal = Terminal::open();
        let mut watched = tail(arguments);
        let mut child =
            watched.stdout(terminal.stream()).stderr(Stdio::null()).spawn().expect("it starts");
        drop(watched);
        let shown = tokio::spawn(terminal.shown_until(" text"));
        let shown = timeout(DEADLINE, shown).await.expect("in time").expect("no panic");
        child.kill().await.expect("it runs");
        assert_shown(&format!("tail {arguments:?}"), &shown);
        assert_eq!(shown.matches(SHOWN).count(), 2 + arguments.len(), "{shown:?}");
    }
}

#[tokio::test]
async fn what_a_service_says_is_written_out_on_a_terminal_whoever_repeats_it() {
    let (ferro, _) = stream().await;
    let server = FaultServer::start(&ferro.endpoint(), 1).await;
    let refusal = Refusal::new(400, "AccessDeniedException", HOSTILE);
    let operations = ["ListShards", "DescribeStreamSummary", "PutRecords", "GetRecords"];
    let denied = operations.map(|operation| (operation.to_owned(), refusal.clone())).into();
    server.set(Plan { denied, ..Plan::default() });
    let endpoint = server.endpoint();
    for arguments in [
        &["stream", "describe", "s"][..],
        &["check", "--online", "--stream", "s"],
        &["tail", "--stream", "s"],
    ] {
        let mut command = DISPATCHD.command();
        command.args(arguments).args(["--endpoint-url", &endpoint]);
        assert_shown(&format!("{arguments:?}"), &on_terminal(command).await);
    }
    let daemon = DISPATCHD.daemon(&endpoint, "s").start().await;
    eventually("the refusal is known", async || {
        daemon.status().await["errors"].get(0).is_some().then_some(())
    })
    .await;
    let mut admin = DISPATCHD.command();
    admin.args(["admin", "status", "--socket"]).arg(daemon.socket());
    assert_shown("admin status", &on_terminal(admin).await);
}

fn tail(endpoint: &str, arguments: &[&str]) -> Command {
    let mut tail = DISPATCHD.command();
    tail.args(["tail", "--stream", "s", "--endpoint-url", endpoint]).args(arguments);
    tail.stdout(Stdio::piped()).stderr(Stdio::piped());
    tail
}

/// What could go wrong: only a write tells that the reader is gone, and on a quiet stream there is
/// none.
#[tokio::test]
async fn tail_ends_when_its_reader_has_gone_though_nothing_comes() {
    let (ferro, client) = stream().await;
    put(&client, "s", vec![entry("k", "first")]).await;
    let mut tail = tail(&ferro.endpoint(), &["--from", "trim-horizon"]).spawn().expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("it is piped")).lines();
    assert_eq!(
        timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("a line").as_deref(),
        Some("first")
    );
    drop(lines);
    let left = ended(tail).await;
    assert_eq!(left.status.code(), Some(0), "{}", text(&left.stderr));
}

/// What could go wrong: a script that waits for the tail to be ready has nothing to wait for, or
/// its configuration silences it.
#[tokio::test]
async fn tail_says_when_what_is_stored_will_be_printed() {
    let (ferro, client) = stream().await;
    let mut tail = tail(&ferro.endpoint(), &["--from", "latest", "--log-level", "off"])
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(tail.stderr.take().expect("it is piped")).lines();
    let ready = timeout(DEADLINE, said.next_line())
        .await
        .expect("in time")
        .expect("a line")
        .expect("it says so");
    assert!(ready.starts_with("ready: "), "{ready}");
    put(&client, "s", vec![entry("k", "after")]).await;
    let mut lines = BufReader::new(tail.stdout.take().expect("it is piped")).lines();
    assert_eq!(
        timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("a line").as_deref(),
        Some("after")
    );
}

/// What could go wrong: throttling that comes and goes writes two lines each time, for each shard.
#[tokio::test]
async fn tail_tells_of_calls_that_fail_once_for_all_shards() {
    let ferro = Ferro::start(false).await;
    let client = client(&ferro.endpoint());
    create_stream(&client, "s", 4).await;
    let server = FaultServer::start(&ferro.endpoint(), 1).await;
    let mut tail =
        tail(&server.endpoint(), &["--from", "trim-horizon"]).spawn().expect("it starts");
    let calls = || server.ledger().calls("GetRecords");
    for round in 1..4 {
        for denied in [Some(Refusal::throttled()), None] {
            let before = calls();
            let denied =
                denied.map(|refusal| ("GetRecords".to_owned(), refusal)).into_iter().collect();
            server.set(Plan { denied, ..Plan::default() });
            eventually("every shard asks", async || (calls() >= before + 8).then_some(())).await;
        }
        put(&client, "s", vec![entry("k", format!("{round}"))]).await;
    }
    let mut lines = BufReader::new(tail.stdout.take().expect("it is piped")).lines();
    for round in 1..4 {
        let line = timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("a line");
        assert_eq!(line, Some(round.to_string()));
    }
    drop(lines);
    let said = text(&ended(tail).await.stderr);
    let is_of_calls =
        |line: &&str| line.contains("\"level\"") && !line.contains("\"message\":\"credentials\"");
    let told: Vec<&str> = said.lines().filter(is_of_calls).collect();
    assert!(
        matches!(told[..], [line] if line.contains("1 ProvisionedThroughputExceededException")),
        "{said}"
    );
}

/// The most memory that a tail had while it printed all of this; what it printed is counted in
/// bytes.
async fn peak_of(mut tail: Child, printed_bytes: usize) -> usize {
    let mut stdout = tail.stdout.take().expect("it is piped");
    let (mut piece, mut read_bytes) = (vec![0; 64 * 1024], 0);
    while read_bytes < printed_bytes {
        read_bytes +=
            timeout(DEADLINE, stdout.read(&mut piece)).await.expect("in time").expect("it prints");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", tail.id().expect("it runs")))
        .expect("it runs");
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<usize>().ok()).expect("Linux says it in kB") / 1024
}

/// What could go wrong: a key that every member names by its index is copied for each.
#[tokio::test]
async fn an_aggregate_of_a_hundred_thousand_members_takes_little_more_than_its_bytes() {
    const MEMBERS: usize = 100_000;
    let record = Record::new(
        PartitionKey::new("k".repeat(256)).expect("the longest"),
        None,
        Bytes::from_static(b"x"),
    );
    let aggregate = encode(&vec![&record; MEMBERS]);
    let (ferro, client) = stream().await;
    put(&client, "s", vec![entry("k", aggregate)]).await;
    let tail = tail(&ferro.endpoint(), &["--from", "trim-horizon"]).spawn().expect("it starts");
    let peak_mib = peak_of(tail, 2 * MEMBERS).await;
    assert!(peak_mib < 64, "{peak_mib} MiB");
}

/// What could go wrong: every shard holds a page of the largest size, however many shards there
/// are.
#[tokio::test]
async fn the_pages_of_many_shards_are_bounded_together() {
    const SHARDS: usize = 10;
    const RECORDS: usize = 9; // of 1 MB
    let server = backlog(SHARDS, RECORDS).await;
    let tail = tail(&server.endpoint(), &["--from", "trim-horizon"]).spawn().expect("it starts");
    let peak_mib = peak_of(tail, SHARDS * RECORDS * 1_000_001).await;
    assert!(peak_mib < 100, "{peak_mib} MiB");
}

/// A stream whose shards have a backlog each, which a GetRecords gives whole if it is let.
async fn backlog(shards: usize, records: usize) -> Scripted {
    let data = "eHh4".repeat(1_000_000 / 3) + "eA==";
    let answer = move |operation: &str, _: usize, question: &Value| match operation {
        "ListShards" => shard_list(shards),
        "GetShardIterator" => json!({ "ShardIterator": "0" }),
        _ => {
            let first: usize =
                question["ShardIterator"].as_str().and_then(|at| at.parse().ok()).expect("ours");
            let limit = question["Limit"].as_u64().expect("it says how many") as usize;
            let last = (first + limit).min(records);
            let record = |n: usize| json!({ "SequenceNumber": n.to_string(), "PartitionKey": "k", "Data": data });
            let page: Vec<_> = (first..last).map(record).collect();
            json!({ "Records": page, "NextShardIterator": last.to_string(), "MillisBehindLatest": records - last })
        }
    };
    Scripted::start(SystemTime::now(), move |operation, n, question| {
        (200, answer(operation, n, question))
    })
    .await
}
