//! Callers of HTTP that misbehave cost the others nothing, and the daemon no more memory than it
//! said.

use testkit::daemon::{Daemon, Start};
use testkit::eventually;
use testkit::truth::numbered_lines;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::client::{Client, daemon, http_address, told};
use crate::DISPATCHD;

const EVENT: &str = r#"{"type":"t","data":{},"options":{"partitionKey":"k"}}"#;

async fn assert_others_are_served(daemon: &Daemon) {
    let answers = daemon.connect().await.pipeline(numbered_lines(200, 20)).await;
    assert_eq!(answers.iter().filter(|answer| answer["ok"] == true).count(), 200);
    let mut client = Client::connect(daemon.socket()).await;
    assert_eq!(client.post_as("application/json", EVENT).await.status, 200);
}

fn post(length: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: d\r\ncontent-type: application/x-ndjson\r\n{length}\r\n"
    )
}

#[tokio::test]
async fn callers_that_send_slowly_or_not_at_all_cost_the_others_nothing() {
    let (_ferro, daemon) = daemon(|start| start).await;
    let mut slow = Vec::new();
    for begun in [
        "POST /v1/ev".to_owned(),
        post("content-length: 100\r\n") + "{",
        post("content-length: 1000000\r\n"),
        post("transfer-encoding: chunked\r\n") + "ff\r\n{",
    ] {
        for _ in 0..16 {
            let mut stream = UnixStream::connect(daemon.socket()).await.expect("it listens");
            stream.write_all(begun.as_bytes()).await.expect("it is read");
            slow.push(stream);
        }
    }
    assert_others_are_served(&daemon).await;
    assert_eq!(daemon.metric("dispatchd_buffer_bytes").await, 0.0, "nothing of theirs is held");
}

#[tokio::test]
async fn a_body_without_an_end_is_refused_and_never_held() {
    let (_ferro, daemon) = daemon(|start| start).await;
    drop(daemon.connect_with_limit(1 << 20).await);
    let before = daemon.resident_bytes();
    let large = "x".repeat(2_000_000);
    let chunk = format!("1e8480\r\n{large}\r\n");
    for request in [
        post("content-length: 100000000\r\n") + &large,
        post("transfer-encoding: chunked\r\n") + &chunk + &chunk,
    ] {
        let stream = UnixStream::connect(daemon.socket()).await.expect("it listens");
        let told = told(stream, request.as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("connection: close"), "{told}");
        assert!(told.contains("\"code\":\"EventTooLarge\""), "{told}");
        let grown = daemon.resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "the daemon grew by {grown} bytes");
    }
    assert_others_are_served(&daemon).await;
}

#[tokio::test]
async fn idle_connections_on_loopback_keep_nobody_out_and_the_longest_idle_makes_room() {
    const PLACES: usize = 64;
    let (_ferro, daemon) =
        daemon(|start| start.set("http.listen", "127.0.0.1:0").set("http.max_connections", PLACES))
            .await;
    let address = http_address(&daemon);
    let health = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..PLACES {
        let mut stream = TcpStream::connect(&address).await.expect("it listens");
        stream.write_all(health).await.expect("it is read");
        let mut some = [0; 1024];
        assert!(stream.read(&mut some).await.expect("it is answered") > 0);
        idle.push(stream);
    }
    let mut newcomer = Client::connect_tcp(&address).await;
    assert_eq!(newcomer.post_as("application/json", EVENT).await.status, 200);
    let mut rest = Vec::new();
    let ended = idle[0].read_to_end(&mut rest).await;
    assert!(ended.is_ok() && rest.is_empty(), "the first one made room: {ended:?}");
    idle[1].write_all(health).await.expect("the second one is served still");
    assert!(idle[1].read(&mut [0; 1024]).await.expect("it is answered") > 0);
    assert!(daemon.metric("dispatchd_connections{input=\"http\"}").await <= PLACES as f64);
    assert_others_are_served(&daemon).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_stay_within_the_sum_that_check_prints() {
    let set = |start: Start| {
        let start = start.set("memory.budget", "4MiB").set("socket.max_connections", 8);
        start.set("batch.max_in_flight", 2)
    };
    let (_ferro, daemon) = daemon(set).await;
    let sum = set(DISPATCHD.daemon("", "s")).memory_sum().await;
    let idle = daemon.resident_bytes();
    let lines: String =
        (0..4096).map(|n| format!("{{\"type\":\"t\",\"data\":{{\"n\":{n}}}}}\n")).collect();
    let request = post(&format!("content-length: {}\r\n", lines.len())) + &lines;
    let mut unread = Vec::new();
    for _ in 0..7 {
        let mut stream = UnixStream::connect(daemon.socket()).await.expect("it listens");
        let request = request.clone();
        // The second one is written as far as it is read, which it is not.
        let twice = tokio::spawn(async move {
            let _ = stream.write_all(request.repeat(2).as_bytes()).await;
            std::future::pending::<()>().await;
        });
        unread.push(twice);
    }
    eventually("all of the first requests are answered", async || {
        (daemon.metric("dispatchd_events_acked_total").await >= 7.0 * 4096.0).then_some(())
    })
    .await;
    let grown = daemon.resident_bytes().saturating_sub(idle);
    assert!(grown < sum, "{grown} more than idle, the sum is {sum}");
    let mut caller = daemon.connect().await;
    assert_eq!(caller.ask(EVENT).await["ok"], true);
    unread.iter().for_each(tokio::task::JoinHandle::abort);
}
