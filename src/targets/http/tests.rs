use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use dispatchd_consumer::delivery::Place;
use dispatchd_core::wire::forward::lambda::Mapping;
use testkit::tls::{Certificate, HTTP1};
use testkit::{DEADLINE, eventually};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";

/// A server that keeps what it was sent, and answers what the test says.
struct Server {
    address: String,
    /// The number of the connection, and the request as it came.
    requests: mpsc::UnboundedReceiver<(usize, String)>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// `answer` is told the number of the request; `None`: it never comes.
    async fn start(answer: fn(usize) -> Option<String>) -> Self {
        Self::with(None, answer).await
    }

    async fn with(tls: Option<TlsAcceptor>, answer: fn(usize) -> Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (sender, requests) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("a loopback listener accepts");
                let (sender, tls) = (sender.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, number, answer, sender).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, number, answer, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    async fn request(&mut self) -> (usize, String) {
        let came = timeout(DEADLINE, self.requests.recv()).await.expect("it comes in time");
        came.expect("the server lives")
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    answer: fn(usize) -> Option<String>,
    sender: mpsc::UnboundedSender<(usize, String)>,
) {
    let mut came = Vec::new();
    for request in 0.. {
        let whole = loop {
            let text = String::from_utf8_lossy(&came).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.expect("it says").parse().expect("a number");
                if body.len() >= length {
                    break text;
                }
            }
            if stream.read_buf(&mut came).await.unwrap_or(0) == 0 {
                return;
            }
        };
        came.clear();
        let _ = sender.send((number, whole));
        let Some(answer) = answer(request) else { return std::future::pending().await };
        // A client that had enough of it has gone.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn settings(address: &str, format: Format) -> Settings {
    Settings {
        url: format!("http://{address}/events"),
        format,
        sequence: Sequence::Record,
        numbered_until: None,
        token: None,
        ca_file: None,
        connect_timeout: DEADLINE,
        timeout: DEADLINE,
        in_flight_max: format.in_flight_default(),
        mapping: Mapping {
            stream_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/events".to_owned(),
            region: "eu-west-1".to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/forward".to_owned(),
        },
    }
}

fn target(settings: Settings) -> HttpTarget {
    HttpTarget::new(settings, |_| None).expect("the settings are good")
}

fn record(shard: &str, number: &str, data: &'static str) -> [Arc<Delivered>; 1] {
    [Arc::new(Delivered {
        shard: shard.into(),
        place: Place { sequence_number: number.to_owned(), sub_sequence_number: None },
        partition_key: Some("member-registered".to_owned()),
        data: Bytes::from_static(data.as_bytes()),
        arrived: Some(UNIX_EPOCH + Duration::from_millis(1_795_211_719_886)),
        misfit: None,
    })]
}

fn event() -> [Arc<Delivered>; 1] {
    record("shardId-000000000000", "4968", r#"{"type":"t","data":{}}"#)
}

fn failure(word: Word) -> Failure {
    match word {
        Word::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn ok(_: usize) -> Option<String> {
    Some(OK.to_owned())
}

#[tokio::test]
async fn a_record_is_posted_as_rabble_rouser_s_forwarder_posts_it() {
    // What could go wrong: a server that is strict about the token, the type or the keys refuses
    // it.
    let mut server = Server::start(ok).await;
    let token = Some(TokenFrom::Text("secret".to_owned()));
    let target = target(Settings { token, ..settings(&server.address, Format::Record) });
    assert_eq!(target.deliver(&event()).await, Word::Delivered);
    let (_, came) = server.request().await;
    let body = concat!(
        r#"{"kinesisSchemaVersion":"1.0","partitionKey":"member-registered","sequenceNumber":"4968","#,
        r#""data":"eyJ0eXBlIjoidCIsImRhdGEiOnt9fQ==","approximateArrivalTimestamp":1795211719.886}"#
    );
    let expected = format!(
        "POST /events HTTP/1.1\r\nauthorization: secret\r\nhost: {}\r\naccept: application/json\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: keep-alive\r\n\r\n{body}",
        server.address,
        body.len()
    );
    assert_eq!(came, expected);
}

#[tokio::test]
async fn requests_share_a_connection() {
    // What could go wrong: a handshake for each event.
    let mut server = Server::start(ok).await;
    let target = target(settings(&server.address, Format::Event));
    for _ in 0..3 {
        assert_eq!(target.deliver(&event()).await, Word::Delivered);
        let (connection, came) = server.request().await;
        assert_eq!(connection, 0);
        let agent = format!("user-agent: dispatchd/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(came.contains(&agent), "{came}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    // What could go wrong: a token goes to whoever the target names.
    let mut other = Server::start(ok).await;
    let server = Server::start(|_| {
        Some("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".to_owned())
    })
    .await;
    let token = Some(TokenFrom::Text("secret".to_owned()));
    let target = target(Settings { token, ..settings(&server.address, Format::Event) });
    let failure = failure(target.deliver(&event()).await);
    assert_eq!((failure.kind, failure.status), (FailureKind::Unauthorized, Some(307)));
    assert!(failure.reason.contains("http://127.0.0.1/"), "{}", failure.reason);
    assert!(other.requests.try_recv().is_err());
}

#[tokio::test]
async fn everyone_who_waits_for_another_token_is_told_of_it() {
    // What could go wrong: one shard sends the new token, and the others take it for the old one.
    let mut server = Server::start(ok).await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "one").expect("it is writable");
    let token = Some(TokenFrom::File(file.path().to_owned()));
    let target = target(Settings { token, ..settings(&server.address, Format::Event) });
    let mut waits = std::pin::pin!(target.token_changed());
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err(), "it has begun to wait");
    std::fs::write(file.path(), "two").expect("it is writable");
    eventually("another sends the new token", async || {
        target.deliver(&event()).await;
        server.request().await.1.contains("authorization: two\r\n").then_some(())
    })
    .await;
    timeout(DEADLINE, waits).await.expect("it is told");
}

#[tokio::test]
async fn a_token_is_read_again_and_never_printed() {
    // What could go wrong: a new token needs a restart, or the old one stands in a log.
    let mut server = Server::start(ok).await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "token-one\n").expect("it is writable");
    let token = Some(TokenFrom::File(file.path().to_owned()));
    let target = target(Settings { token, ..settings(&server.address, Format::Event) });
    assert_eq!(target.deliver(&event()).await, Word::Delivered);
    assert!(server.request().await.1.contains("authorization: token-one\r\n"));
    assert!(!format!("{target:?}").contains("token-one"));
    std::fs::write(file.path(), "Bearer second").expect("it is writable");
    timeout(DEADLINE, target.token_changed()).await.expect("it is noticed");
    eventually("the new token is sent", async || {
        assert_eq!(target.deliver(&event()).await, Word::Delivered);
        server.request().await.1.contains("authorization: Bearer second\r\n").then_some(())
    })
    .await;
    std::fs::write(file.path(), "two\nlines").expect("it is writable");
    let reason = eventually("the file is bad", async || match target.deliver(&event()).await {
        Word::Failed(failure) => Some(failure),
        _ => None,
    });
    let failure = reason.await;
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    assert!(failure.reason.starts_with("token_file: "), "{}", failure.reason);
    assert!(!failure.reason.contains("two"), "{}", failure.reason);
}

#[tokio::test]
async fn a_target_that_never_answers_is_given_up_in_time() {
    // What could go wrong: one wedged consumer, and its shards stand still without a word.
    let server = Server::start(|_| None).await;
    let short = Duration::from_millis(50);
    let target = target(Settings { timeout: short, ..settings(&server.address, Format::Record) });
    let began = Instant::now();
    let failure = failure(target.deliver(&event()).await);
    assert!(began.elapsed() >= short);
    assert_eq!((failure.kind, failure.status), (FailureKind::Failed, None));
    assert_eq!(failure.reason, "no reply within 50ms");
}

#[tokio::test]
async fn a_target_that_is_not_there_costs_no_attempt_and_a_connection_that_breaks_does() {
    // What could go wrong: an application that starts later finds its first events dead-lettered.
    // A port that is kept, where nobody listens.
    let closed = TcpSocket::new_v4().expect("the system gives a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let address = closed.local_addr().expect("it is bound").to_string();
    let absent = failure(target(settings(&address, Format::Event)).deliver(&event()).await);
    assert_eq!(absent.kind, FailureKind::Unavailable);
    assert!(absent.reason.contains(&address), "{}", absent.reason);
    for broken in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "no HTTP\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server = async {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.expect("one connects");
            while !String::from_utf8_lossy(&{
                let mut came = [0; 4096];
                let read = stream.read(&mut came).await.expect("it comes");
                came[..read].to_vec()
            })
            .ends_with("{}}")
            {}
            stream.write_all(broken.as_bytes()).await.expect("it is read");
            stream.shutdown().await.expect("it is open");
        };
        let target = target(settings(&address, Format::Event));
        let records = event();
        let (word, ()) = tokio::join!(target.deliver(&records), server);
        assert_eq!(failure(word).kind, FailureKind::Failed, "{broken:?}");
    }
}

#[tokio::test]
async fn an_answer_is_held_up_to_a_bound_and_its_status_counts_all_the_same() {
    // What could go wrong: a target that answers without end takes the memory of all.
    const ENDLESS: fn(usize) -> Option<String> = |_| {
        let length = 2 * ANSWER_BYTES_MAX;
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", " ".repeat(length)))
    };
    let server = Server::start(ENDLESS).await;
    let event_target = target(settings(&server.address, Format::Event));
    assert_eq!(event_target.deliver(&event()).await, Word::Delivered);
    let function = target(settings(&server.address, Format::Lambda));
    let failure_of_function = failure(function.deliver(&event()).await);
    assert_eq!(failure_of_function.kind, FailureKind::Failed);
    let server = Server::start(|_| {
        let header = format!("x-{}: {}\r\n", "a".repeat(100), "b".repeat(8000));
        Some(format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", header.repeat(1000)))
    })
    .await;
    let target = target(settings(&server.address, Format::Event));
    assert_eq!(failure(target.deliver(&event()).await).kind, FailureKind::Failed);
}

#[tokio::test]
async fn one_request_at_a_time_means_one() {
    // What could go wrong: a stream client answers 503 to the second, an emulator 400.
    let mut server = Server::start(|_| None).await;
    let target = Arc::new(target(settings(&server.address, Format::Record)));
    let mut sending = JoinSet::new();
    for _ in 0..3 {
        let target = Arc::clone(&target);
        sending.spawn(async move { target.deliver(&event()).await });
    }
    server.request().await;
    assert!(timeout(Duration::from_millis(100), server.requests.recv()).await.is_err());
    sending.abort_all();
}

#[tokio::test]
async fn numbers_of_our_own_grow_over_all_shards_and_a_retry_keeps_its_number() {
    // What could go wrong: a consumer drops what has a lower number than the last.
    let mut server = Server::start(ok).await;
    let target = target(settings(&server.address, Format::Record));
    assert!(target.number_increasingly());
    assert!(!target.number_increasingly(), "twice is no news");
    let mut numbers = Vec::new();
    for (shard, own) in [("shardId-1", "9"), ("shardId-0", "1"), ("shardId-0", "1")] {
        let records = record(shard, own, r#"{"type":"t"}"#);
        assert_eq!(target.deliver(&records).await, Word::Delivered);
        let (_, came) = server.request().await;
        let number = came.split(r#""sequenceNumber":""#).nth(1).expect("there is one");
        numbers.push(number.split('"').next().expect("it ends").to_owned());
    }
    assert!(numbers.iter().all(|number| number.len() == 58), "{numbers:?}");
    assert!(numbers[0] < numbers[1] && numbers[1] == numbers[2], "{numbers:?}");
}

#[tokio::test]
async fn what_an_event_says_stays_inside_its_header() {
    // What could go wrong: an event's text ends a header and begins a request of its own.
    let mut server = Server::start(ok).await;
    let hostile = record(
        "shardId-0",
        "1",
        r#"{"type":"a\r\nx-evil: 1\r\n\r\nPOST / HTTP/1.1","traceparent":"00\r\nx-evil: 2","data":{}}"#,
    );
    for format in [Format::CloudEvents, Format::Event, Format::Batch, Format::Lambda] {
        let target = target(settings(&server.address, format));
        let _ = target.deliver(&hostile).await;
        let (_, came) = server.request().await;
        let head = came.split("\r\n\r\n").next().expect("a request has a head").to_owned();
        assert!(!head.contains("\r\nx-evil"), "{head}");
    }
}

#[tokio::test]
async fn a_certificate_is_believed_if_the_file_says_so_and_else_not() {
    // What could go wrong: TLS to a server of one's own cannot be had, or anybody's is taken.
    let certificate = Certificate::of(["localhost"]);
    let mut server = Server::with(Some(certificate.acceptor(HTTP1)), ok).await;
    let port = server.address.rsplit(':').next().expect("it has a port").to_owned();
    let url = format!("https://localhost:{port}/events");
    let with = |ca_file: Option<&Path>| {
        let ca_file = ca_file.map(Path::to_owned);
        target(Settings { url: url.clone(), ca_file, ..settings("", Format::Event) })
    };
    assert_eq!(with(Some(certificate.path())).deliver(&event()).await, Word::Delivered);
    assert!(server.request().await.1.starts_with("POST /events HTTP/1.1\r\n"));
    let other = Certificate::of(["localhost"]);
    for ca_file in [None, Some(other.path())] {
        let failure = failure(with(ca_file).deliver(&event()).await);
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.reason.contains("TLS with localhost"), "{}", failure.reason);
    }
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_named_and_no_secret_with_it() {
    // What could go wrong: `check` says good and the start fails, or an error prints a password.
    let refused = |settings: Settings| {
        let error = HttpTarget::new(settings, |_| None).expect_err("it cannot be used");
        error.to_string()
    };
    for url in ["", "events", "ftp://host/", "http://", "unix:path", "http://u:secret@host/"] {
        let told = refused(Settings { url: url.to_owned(), ..settings("", Format::Event) });
        assert!(told.starts_with("url: ") && !told.contains("secret"), "{told}");
    }
    for (text, field) in [("", "token"), ("se\ncret", "token"), ("s\u{e9}cret", "token")] {
        let token = Some(TokenFrom::Text(text.to_owned()));
        let told = refused(Settings { token, ..settings("h", Format::Event) });
        assert!(told.starts_with(field) && !told.contains("cret"), "{told}");
    }
    let token = Some(TokenFrom::File("/nowhere/token".into()));
    let told = refused(Settings { token, ..settings("h", Format::Event) });
    assert!(told.starts_with("token_file: /nowhere/token: "), "{told}");
    let ca_file = Some("/nowhere/ca.pem".into());
    let told = refused(Settings { ca_file, ..settings("h", Format::Event) });
    assert!(told.starts_with("ca_file: /nowhere/ca.pem: "), "{told}");
    for (format, in_flight_max) in [(Format::Event, 1), (Format::Record, 2)] {
        let sequence = Sequence::Monotonic;
        let told = refused(Settings { sequence, in_flight_max, ..settings("h", format) });
        assert!(told.starts_with("sequence: "), "{told}");
    }
    let proxies = |name: &str| (name == "HTTP_PROXY").then(|| "socks5://secret".to_owned());
    let error = HttpTarget::new(settings("h", Format::Event), proxies).expect_err("no such proxy");
    assert!(error.to_string().starts_with("HTTP_PROXY: "), "{error}");
}

#[tokio::test]
async fn a_function_s_answer_is_read_where_a_status_says_nothing() {
    // What could go wrong: the runtime interface emulator answers 200, and its failure is lost.
    const ANSWERS: fn(usize) -> Option<String> = |number| {
        let (more, body) = [
            ("", "null"),
            ("", r#"{"errorType":"Error","errorMessage":"boom"}"#),
            ("x-amz-function-error: Unhandled\r\n", "null"),
            ("", "Task timed out after 3.00 seconds"),
            ("", ""),
            ("", r#"{"batchItemFailures":[{"itemIdentifier":"4968"}]}"#),
        ][number];
        Some(format!("HTTP/1.1 200 OK\r\n{more}content-length: {}\r\n\r\n{body}", body.len()))
    };
    let server = Server::start(ANSWERS).await;
    let target = target(settings(&server.address, Format::Lambda));
    assert_eq!(target.deliver(&event()).await, Word::Delivered);
    for reason in [
        "the function failed: Error",
        "the function failed: Unhandled",
        "the function timed out",
        "the function's answer is empty: its process may have ended",
    ] {
        let failure = failure(target.deliver(&event()).await);
        assert_eq!((failure.kind, &*failure.reason), (FailureKind::Failed, reason));
    }
    assert_eq!(target.deliver(&event()).await, Word::Until(0));
}
