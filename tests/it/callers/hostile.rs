//! Callers that misbehave cost the others nothing, and the daemon no more memory than it said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use testkit::daemon::{Caller, Daemon, Start, event};
use testkit::fault::FaultServer;
use testkit::fault::plan::Plan;
use testkit::kinesis::Ferro;
use testkit::stopwatch::Stopwatch;
use testkit::stream::create_stream;
use testkit::truth::numbered_lines;
use testkit::{client, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::DISPATCHD;

async fn daemon(start: impl FnOnce(Start) -> Start) -> (Ferro, Daemon) {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    let daemon = start(DISPATCHD.daemon(&ferro.endpoint(), "s")).start().await;
    (ferro, daemon)
}

async fn assert_others_are_served(daemon: &Daemon) {
    let answers = daemon.connect().await.pipeline(numbered_lines(200, 20)).await;
    assert_eq!(answers.iter().filter(|answer| answer["ok"] == true).count(), 200);
}

/// An event whose key is named wrongly would be stored, acked, and ordered with nothing.
#[tokio::test]
async fn a_mistyped_option_is_refused_with_what_was_meant_and_a_refused_control_line_has_its_op() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let mut caller = daemon.connect().await;
    caller.send(r#"{"ref":"a","type":"t","data":{},"options":{"partitionkey":"k"}}"#).await;
    let answer = caller.answer().await;
    let message = answer["error"]["message"].as_str().expect("it is refused");
    assert!(answer["ref"] == "a" && message.contains("write exactly that"), "{answer}");
    caller.send(r#"{"type":"t","data":{},"partitionKey":"k"}"#).await;
    let answer = caller.answer().await;
    let message = answer["error"]["message"].as_str().expect("it is refused");
    assert!(answer["ref"] == 2 && message.contains("write options.partitionKey"), "{answer}");
    caller.send(r#"{"op":"hello","context":{"sourceUserId":7}}"#).await;
    let answer = caller.answer().await;
    assert_eq!(
        (&answer["op"], &answer["ref"], &answer["ok"]),
        (&"hello".into(), &3.into(), &false.into()),
        "{answer}"
    );
    caller.send(r#"{"type":"t","data":{},"options":{"explicitHashKey":""},"traceId":1}"#).await;
    assert_eq!(caller.answer().await["ok"], true);
}

#[tokio::test]
async fn a_caller_that_never_reads_its_answers_holds_up_only_itself() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let Caller { read, mut write } = daemon.connect().await;
    let stuck = tokio::spawn(async move {
        let lines = numbered_lines(1_000, 100);
        while write.write_all(lines.as_bytes()).await.is_ok() {}
        drop(read);
    });
    let in_flight = async || daemon.metric("dispatchd_events_acked_total").await;
    // Its answers fill the socket and then the outbox: after that nothing more of it is read.
    let mut before = -1.0;
    eventually("it is not read any more", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = in_flight().await;
        (std::mem::replace(&mut before, now) == now && now > 0.0).then_some(())
    })
    .await;
    assert_others_are_served(&daemon).await;
    assert!(
        daemon.metric("dispatchd_buffer_bytes").await < 1_000_000.0,
        "its answers are not in the budget of the others"
    );
    stuck.abort();
}

#[tokio::test]
async fn garbage_is_answered_line_by_line_and_costs_nobody_else() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let garbage: String =
        (0..5_000).map(|n| format!("{{\"ref\":{n},\"type\":\u{0}\"}}\n")).collect();
    let hostile = tokio::spawn(daemon.connect().await.pipeline(garbage));
    assert_others_are_served(&daemon).await;
    let answers = hostile.await.expect("the caller does not panic");
    assert_eq!(answers.len(), 5_000);
    assert!(answers.iter().all(|answer| answer["error"]["code"] == "InvalidRequest"));
}

#[tokio::test]
async fn a_line_of_100_mb_is_refused_and_never_held() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let mut caller = daemon.connect_with_limit(1 << 20).await;
    let before = daemon.resident_bytes();
    let chunk = vec![b'x'; 1_000_000];
    caller.send_bytes(b"{\"a\":\"").await;
    for _ in 0..100 {
        caller.send_bytes(&chunk).await;
        let grown = daemon.resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "the daemon grew by {grown} bytes");
    }
    caller.send_bytes(b"\"}\n").await;
    assert_eq!(caller.answer().await["error"]["code"], "EventTooLarge");
    assert_eq!(caller.ask(&event(1, "k", "{}")).await["ok"], true, "the connection lives on");
    assert_others_are_served(&daemon).await;
}

#[tokio::test]
async fn a_thousand_idle_connections_cost_little_and_the_next_one_is_told_why() {
    let (_ferro, daemon) = daemon(|start| start.set("socket.max_connections", 1_001)).await;
    let before = daemon.resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        let mut caller = daemon.connect().await;
        caller.ask("{\"op\":\"ping\",\"ref\":1}").await;
        idle.push(caller);
    }
    let each = daemon.resident_bytes().saturating_sub(before) / 1_000;
    // 12 KB measured in a debug build, 2026-11; a line buffer that stayed would be 64 KiB more.
    assert!(each < 20_000, "an idle connection holds {each} bytes");
    assert_others_are_served(&daemon).await;
    let mut last = eventually("there is one place", async || {
        let mut caller = daemon.connect().await;
        (caller.ask("{\"op\":\"ping\",\"ref\":1}").await["ok"] == true).then_some(caller)
    })
    .await;
    let mut turned_away = daemon.connect().await;
    assert_eq!(
        turned_away.line().await.as_deref(),
        Some(
            "{\"ok\":false,\"error\":{\"code\":\"Overloaded\",\"message\":\"too many connections are open: socket.max_connections is reached\",\"retryable\":true}}\n"
        )
    );
    assert_eq!(turned_away.line().await, None);
    assert_eq!(
        daemon.metric("dispatchd_connections_refused_total{reason=\"max_connections\"}").await,
        1.0
    );
    assert_eq!(last.ask(&event(1, "k", "{}")).await["ok"], true);
}

#[tokio::test]
async fn at_the_byte_budget_nothing_more_is_read_and_memory_stays_within_the_sum() {
    const EVENTS: u64 = 600;
    let ferro = Ferro::start(false).await;
    let server = FaultServer::start(&ferro.endpoint(), 7).await;
    create_stream(&client(&ferro.endpoint()), "s", 2).await;
    server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    let start = DISPATCHD
        .daemon(&server.endpoint(), "s")
        .set("memory.budget", "4MiB")
        .set("socket.max_connections", 4)
        .set("delivery.timeout", "1h")
        .set("batch.max_in_flight", 2);
    let daemon = start.clone().start().await;
    let idle = daemon.resident_bytes();
    let text = "x".repeat(10_000);
    let mut flooding = tokio::task::JoinSet::new();
    for _ in 0..3 {
        // Four budgets in all: more than sockets and line buffers hold beside it.
        let lines: String = (0..EVENTS)
            .map(|n| event(n, &format!("k{n}"), &format!("{{\"a\":\"{text}\"}}")) + "\n")
            .collect();
        flooding.spawn(daemon.connect().await.pipeline(lines));
    }
    let sum = start.memory_sum().await;
    eventually("the budget is full", async || {
        (daemon.metric("dispatchd_buffer_bytes").await > 4.0e6).then_some(())
    })
    .await;
    assert!(
        daemon.resident_bytes() - idle < sum,
        "{} more than idle, the sum is {sum}",
        daemon.resident_bytes() - idle
    );
    server.set(Plan::default());
    while let Some(answers) = flooding.join_next().await {
        let answers = answers.expect("the caller does not panic");
        assert_eq!(answers.iter().filter(|answer| answer["ok"] == true).count() as u64, EVENTS);
    }
    assert!(daemon.resident_bytes() - idle < sum);
    assert_eq!(daemon.metric("dispatchd_buffer_bytes").await, 0.0);
}

/// Callers that send batches and read none of their answers hold what answers may take, and nothing
/// of the budget: others are served at once.
#[tokio::test]
async fn callers_that_read_no_results_of_their_batches_cost_others_nothing() {
    let set = |start: Start| {
        let start = start.set("memory.budget", "4MiB").set("socket.max_connections", 12);
        start.set("batch.max_in_flight", 2)
    };
    let (_ferro, daemon) = daemon(set).await;
    let idle = daemon.resident_bytes();
    let events = vec![r#"{"type":"t","data":{}}"#; 1_000].join(",");
    let line = format!("{{\"op\":\"batch\",\"events\":[{events}]}}\n");
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let Caller { read, mut write } = daemon.connect().await;
        let line = line.clone();
        let writing =
            tokio::spawn(async move { while write.write_all(line.as_bytes()).await.is_ok() {} });
        deaf.push((read, writing));
    }
    eventually("all of them have what they can get", async || {
        let accepted = daemon.metric("dispatchd_events_accepted_total").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let later = daemon.metric("dispatchd_events_accepted_total").await;
        (accepted > 8_000.0 && later == accepted).then_some(())
    })
    .await;
    assert_others_are_served(&daemon).await;
    let grown = daemon.resident_bytes().saturating_sub(idle);
    let sum = set(DISPATCHD.daemon("", "s")).memory_sum().await;
    assert!(grown < sum, "{grown} more than idle, the sum is {sum}");
    deaf.iter().for_each(|(_, writing)| writing.abort());
}

/// Counted, not timed: how much of the flood is answered before one event of another caller.
#[tokio::test]
async fn a_flood_on_one_connection_starves_no_other() {
    /// How many events of a connection are read and not answered, at most.
    const WINDOW: u64 = 4_096;
    let (_ferro, daemon) = daemon(|start| start).await;
    let Caller { mut read, mut write } = daemon.connect().await;
    let flood = tokio::spawn(async move {
        let lines = numbered_lines(10_000, 5_000);
        while write.write_all(lines.as_bytes()).await.is_ok() {}
    });
    let answered = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&answered);
    let answers = tokio::spawn(async move {
        let mut answer = String::new();
        while read.read_line(&mut answer).await.is_ok_and(|read_bytes| read_bytes > 0) {
            count.fetch_add(1, Ordering::Relaxed);
            answer.clear();
        }
    });
    eventually("the flood fills its window", async || {
        (daemon.metric("dispatchd_events_in_flight").await > 3_000.0).then_some(())
    })
    .await;
    let mut caller = daemon.connect().await;
    let mut before_it = Vec::new();
    for n in 0..11 {
        let before = answered.load(Ordering::Relaxed);
        assert_eq!(caller.ask(&event(n, "other", "{}")).await["ok"], true);
        before_it.push(answered.load(Ordering::Relaxed) - before);
    }
    before_it.sort_unstable();
    // What stands before it is at most the flood's window; what comes meanwhile may be another, and
    // a third is answered already and not read yet. The flood itself never ends.
    assert!(before_it[5] < 3 * WINDOW, "{before_it:?}");
    assert!(!flood.is_finished(), "it lasted to the end");
    flood.abort();
    answers.abort();
}

/// What the probes of `deploy/` have for `timeoutSeconds`.
const KUBELET_WAITS: Duration = Duration::from_secs(3);

/// A connection to the pages that asks this, and takes as little of the answer as the system
/// allows.
async fn ask_and_read_nothing(daemon: &Daemon, request: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1).expect("the system rounds it up");
    let mut stream =
        socket.connect(daemon.admin().parse().expect("an address")).await.expect("it listens");
    // Who was there too long is cut off, in the middle of a word.
    let _ = stream.write_all(request).await;
    stream
}

#[tokio::test]
async fn probes_are_answered_whatever_else_is_connected_to_their_port() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let before = daemon.resident_bytes();
    let mut head = b"GET /livez HTTP/1.1\r\nhost: d\r\nx: ".to_vec();
    head.resize(390_000, b'x');
    let mut held = Vec::new();
    for request in [&b""[..], b"GET /metrics HTTP/1.1\r\nhost: d\r\n\r\n", &head, b"GET /metr"] {
        for _ in 0..130 {
            held.push(ask_and_read_nothing(&daemon, request).await);
        }
        for probe in ["/livez", "/readyz", "/startupz"] {
            let mut watch = Stopwatch::start(&[&daemon]);
            assert_eq!(daemon.get(probe).await.0, 200, "{probe}");
            let took = watch.took();
            assert!(took.undelayed < KUBELET_WAITS, "{probe} took {took:?}");
        }
    }
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "the daemon grew by {grown} bytes");
    assert!(daemon.metric("dispatchd_events_acked_total").await >= 0.0, "a scrape is answered too");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_a_method_that_is_not_served_is_told_which_are() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let told = async |request: String| {
        let mut stream = TcpStream::connect(daemon.admin()).await.expect("it listens");
        let mut answer = Vec::new();
        stream.write_all(request.as_bytes()).await.expect("it reads");
        // It may be cut short: not all of the head is read.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("ASCII")
    };
    let long = told(format!("GET /livez HTTP/1.1\r\nhost: d\r\nx: {}", "x".repeat(20_000))).await;
    assert!(long.starts_with("HTTP/1.1 431 "), "{long}");
    let post = told("POST /metrics HTTP/1.1\r\nhost: d\r\n\r\n".into()).await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD\r\n"), "{post}");
}
