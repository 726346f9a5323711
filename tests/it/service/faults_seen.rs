//! What a bad reply of Kinesis becomes in our words: class, code, and whether the records may be
//! there all the same.
//!
//! The adapter alone, over HTTP. What the lanes do about it is held elsewhere (`poison`, `blocked`,
//! `timeouts`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dispatchd_aws::CODES;
use dispatchd_aws::Kinesis;
use dispatchd_aws::{Connection, Settings, Wire};
use dispatchd_core::model::StreamId;
use dispatchd_core::model::{Cause, Class, PartitionKey, Reason, Record};
use dispatchd_core::model::{Entries, PutError, PutRecords, Verdict};
use testkit::DEADLINE;
use testkit::bench::Bench;
use testkit::fault::ledger::Done;
use testkit::fault::plan::{Fault, RecordError, Refusal};
use testkit::stopwatch::Stopwatch;
use testkit::tasks::Tasks;
use testkit::tls::{Certificate, HTTP1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

const ACCESS: Class = Class::Blocked(Reason::AccessDenied);
const CREDENTIALS: Class = Class::Blocked(Reason::Credentials);
const MISSING: Class = Class::Blocked(Reason::StreamNotFound);
const KMS: Class = Class::Blocked(Reason::Kms);

/// Every code with the status that AWS sends it with, and its class. Written from AWS's pages, not
/// from our table.
const EXPECTED: &[(&str, u16, Class)] = &[
    ("ProvisionedThroughputExceededException", 400, Class::Throttled),
    ("ThrottlingException", 400, Class::Throttled),
    ("Throttling", 400, Class::Throttled),
    ("LimitExceededException", 400, Class::Throttled),
    ("RequestLimitExceeded", 503, Class::Throttled),
    ("KMSThrottlingException", 400, Class::Throttled),
    ("AccessDeniedException", 400, ACCESS),
    ("AccessDenied", 403, ACCESS),
    ("NotAuthorized", 400, ACCESS),
    ("OptInRequired", 403, ACCESS),
    ("ExpiredTokenException", 400, CREDENTIALS),
    ("ExpiredToken", 400, CREDENTIALS),
    ("UnrecognizedClientException", 400, CREDENTIALS),
    ("UnrecognizedClient", 400, CREDENTIALS),
    ("InvalidClientTokenId", 403, CREDENTIALS),
    ("InvalidSignatureException", 400, CREDENTIALS),
    ("InvalidSignature", 400, CREDENTIALS),
    ("IncompleteSignature", 400, CREDENTIALS),
    ("IncompleteSignatureException", 400, CREDENTIALS),
    ("MissingAuthenticationToken", 403, CREDENTIALS),
    ("MissingAuthenticationTokenException", 400, CREDENTIALS),
    ("RequestExpired", 400, CREDENTIALS),
    ("RequestTimeTooSkewed", 403, CREDENTIALS),
    ("ResourceNotFoundException", 400, MISSING),
    ("KMSDisabledException", 400, KMS),
    ("KMSAccessDeniedException", 400, KMS),
    ("KMSInvalidStateException", 400, KMS),
    ("KMSNotFoundException", 400, KMS),
    ("KMSOptInRequired", 400, KMS),
    ("ValidationException", 400, Class::Poison),
    ("ValidationError", 400, Class::Poison),
    ("InvalidArgumentException", 400, Class::Poison),
    ("SerializationException", 400, Class::Poison),
    ("RequestEntityTooLargeException", 413, Class::Poison),
];

/// Codes that pass by themselves, known to AWS or to nobody yet: no row of the table needs to name
/// them.
const PASSING: &[(&str, u16)] = &[
    ("InternalFailure", 500),
    ("InternalFailureException", 500),
    ("ServiceUnavailable", 503),
    ("RequestTimeoutException", 408),
    ("RequestAbortedException", 400),
    ("SomethingNewException", 400),
];

/// Bare statuses, as load balancers and proxies give them: class, and whether the records may be
/// stored.
const STATUSES: &[(u16, Class, bool)] = &[
    (429, Class::Throttled, false),
    (413, Class::Poison, false),
    (403, ACCESS, false),
    (401, ACCESS, false),
    (404, Class::Transient, false),
    (408, Class::Transient, true),
    (500, Class::Transient, true),
    (502, Class::Transient, true),
    (503, Class::Transient, true),
    (504, Class::Transient, true),
];

async fn kinesis(endpoint: &str) -> Kinesis {
    with_patience(endpoint, Duration::from_secs(20)).await
}

/// With so much time for an attempt, and half of it to connect.
async fn with_patience(endpoint: &str, attempt_timeout: Duration) -> Kinesis {
    let settings =
        Settings { connect_timeout: attempt_timeout / 2, attempt_timeout, wire: Wire::Json };
    let connection = Connection::to_emulator(StreamId::Name("s".into()), endpoint, settings);
    Kinesis::connect(connection).await.expect("a region is named")
}

/// Each record an entry of its own.
async fn put(kinesis: &Kinesis, records: Vec<Record>) -> Result<Vec<Verdict>, PutError> {
    let ends: Vec<_> = (1..=records.len()).collect();
    kinesis.put(Entries::new(records.iter().collect(), &ends)).await
}

fn records(count: usize) -> Vec<Record> {
    let record = |n: usize| {
        let key = PartitionKey::new(format!("key-{n}")).expect("it is short");
        Record::new(key, None, Bytes::from(format!("data-{n}")))
    };
    (0..count).map(record).collect()
}

/// What comes of a request of three records to which `fault` happens. It must have been one
/// request.
async fn seen(bench: &Bench, kinesis: &Kinesis, fault: Fault) -> Result<Vec<Verdict>, PutError> {
    let before = bench.server.ledger().calls("PutRecords");
    bench.server.next(fault);
    let reply = timeout(DEADLINE, put(kinesis, records(3))).await.expect("it ends by itself");
    assert_eq!(bench.server.ledger().calls("PutRecords"), before + 1, "the SDK retried: {reply:?}");
    reply
}

/// Class, code and maybe_stored of a refused request.
async fn refused(bench: &Bench, kinesis: &Kinesis, fault: Fault) -> (Class, String, bool) {
    let error = seen(bench, kinesis, fault).await.expect_err("no record was confirmed");
    assert!(!error.message.is_empty());
    (error.class, error.code, error.maybe_stored)
}

fn is_stored(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Stored { .. })
}

#[test]
fn the_table_of_codes_says_what_aws_says() {
    let mut table = CODES.to_vec();
    let mut expected: Vec<_> = EXPECTED.iter().map(|(code, _, class)| (*code, *class)).collect();
    table.sort_by_key(|(code, _)| *code);
    expected.sort_by_key(|(code, _)| *code);
    assert_eq!(table, expected);
}

#[tokio::test]
async fn every_code_of_a_request_has_its_class_and_a_client_error_stores_nothing() {
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    for (code, status, class) in EXPECTED {
        let refusal = Fault::Refuse(Refusal::new(*status, code, "words"));
        let seen = refused(&bench, &kinesis, refusal).await;
        assert_eq!(seen, (*class, (*code).to_owned(), *status >= 500), "{code}");
    }
    for (code, status) in PASSING {
        let refusal = Fault::Refuse(Refusal::new(*status, code, "words"));
        let seen = refused(&bench, &kinesis, refusal).await;
        let maybe_stored = *status >= 500 || *status == 408;
        assert_eq!(seen, (Class::Transient, (*code).to_owned(), maybe_stored), "{code}");
    }
    bench.stored(0).await;
}

#[tokio::test]
async fn a_code_is_read_without_its_name_space() {
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    for form in [
        "com.amazonaws.kinesis.v20131202#ResourceNotFoundException",
        "com.amazon.coral.service#AccessDeniedException:http://internal.amazon.com/coral/com.amazon.coral.service/",
    ] {
        let (class, code, _) =
            refused(&bench, &kinesis, Fault::Refuse(Refusal::new(400, form, "words"))).await;
        assert!(matches!(class, Class::Blocked(_)), "{form} became {code}, {class:?}");
    }
}

#[tokio::test]
async fn a_status_without_a_body_or_with_a_web_page_has_its_class() {
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    for (status, class, maybe_stored) in STATUSES {
        let page =
            Refusal { status: *status, code: None, message: "<html>Bad Gateway</html>".into() };
        for refusal in [Refusal::empty(*status), page] {
            let seen = refused(&bench, &kinesis, Fault::Refuse(refusal)).await;
            assert_eq!(seen, (*class, format!("HTTP {status}"), *maybe_stored));
        }
    }
}

#[tokio::test]
async fn every_code_of_a_record_has_its_class_and_its_neighbours_are_stored() {
    let bench = Bench::start(2).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    let passing = PASSING.iter().map(|(code, _)| (*code, Class::Transient));
    let rows: Vec<_> =
        EXPECTED.iter().map(|(code, _, class)| (*code, *class)).chain(passing).collect();
    let count = rows.len();
    for (code, class) in rows {
        let fault = Fault::FailRecords(
            vec![1],
            RecordError::Other { code: code.into(), message: format!("{code} it is") },
        );
        let verdicts = seen(&bench, &kinesis, fault).await.expect("the request was answered");
        // One record's word says nothing about the stream.
        let class = if matches!(class, Class::Blocked(_)) { Class::Transient } else { class };
        let failed = Verdict::Failed { class, code: code.into(), message: format!("{code} it is") };
        assert_eq!(verdicts[1], failed);
        assert!(is_stored(&verdicts[0]) && is_stored(&verdicts[2]), "{verdicts:?}");
    }
    bench.stored(2 * count).await;
}

#[tokio::test]
async fn a_reply_of_another_length_confirms_no_record_and_may_have_stored_all() {
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    let bad = (Class::Transient, "BadReply".to_owned(), true);
    assert_eq!(refused(&bench, &kinesis, Fault::Short).await, bad);
    let one = r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#;
    for body in [
        r#"{"FailedRecordCount":0,"Records":[]}"#.to_owned(),
        r#"{"FailedRecordCount":0}"#.to_owned(),
        "{}".to_owned(),
        format!(r#"{{"Records":[{one},{one},{one},{one}]}}"#),
        format!(r#"{{"Records":[{one},null,{one}]}}"#),
    ] {
        assert_eq!(refused(&bench, &kinesis, Fault::Say(body.clone())).await, bad, "{body}");
    }
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_may_have_stored_all() {
    // A success that is no JSON: a proxy's page, a body cut by a gateway that corrects the length.
    // The records may be in.
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    for body in [
        "<html>welcome to the hotel</html>",
        r#"{"Records":[{"SequenceNumber":"4"#,
        r#"{"Records":7}"#,
        "\0",
        "",
    ] {
        let (class, code, maybe_stored) = refused(&bench, &kinesis, Fault::Say(body.into())).await;
        assert_eq!(
            (class, code.as_str(), maybe_stored),
            (Class::Transient, "BadReply", true),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn each_record_speaks_for_itself_whatever_failed_record_count_says() {
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    let stored = r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#;
    let failed = r#"{"ErrorCode":"InternalFailure","ErrorMessage":"no"}"#;
    for count in ["0", "1", "3", "null"] {
        let body = format!(r#"{{"FailedRecordCount":{count},"Records":[{stored},{failed},{{}}]}}"#);
        let verdicts = seen(&bench, &kinesis, Fault::Say(body)).await.expect("it can be read");
        let codes: Vec<_> = verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Stored { .. } => "stored",
                Verdict::Failed { code, .. } => code,
                Verdict::Unclear => "unclear",
            })
            .collect();
        assert_eq!(codes, ["stored", "InternalFailure", "unclear"], "FailedRecordCount {count}");
    }
}

#[tokio::test]
async fn a_reply_that_is_lost_on_the_way_may_have_stored_all() {
    let bench = Bench::start(1).await;
    let kinesis = kinesis(&bench.server.endpoint()).await;
    for (fault, done) in [(Fault::Cut, Done::Cut), (Fault::CloseBefore, Done::ClosedBefore)] {
        let (class, code, maybe_stored) = refused(&bench, &kinesis, fault).await;
        assert_eq!((class, maybe_stored), (Class::Transient, true), "{done:?}: {code}");
        assert_eq!(bench.done().last(), Some(&done));
    }
    bench.stored(3).await;
}

#[tokio::test]
async fn a_request_that_hangs_ends_at_the_attempt_timeout_and_may_have_stored_all() {
    let bench = Bench::start(1).await;
    let kinesis = with_patience(&bench.server.endpoint(), Duration::from_secs(3)).await;
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        let mut watch = Stopwatch::start(&[]);
        let seen = refused(&bench, &kinesis, fault).await;
        assert_eq!(seen, (Class::Transient, "Timeout".to_owned(), true));
        let took = watch.took();
        let (attempt, two) = (Duration::from_secs(3), Duration::from_secs(6));
        assert!(
            took.elapsed >= attempt && took.undelayed < two,
            "one attempt of 3 s took {took:?}"
        );
    }
}

#[tokio::test]
async fn what_never_reached_a_server_stored_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let closed = nobody.local_addr().expect("it is bound");
    drop(nobody);
    // A queue of connections that is full: the kernel answers no more, and connecting takes for
    // ever.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    let full = socket.listen(1).expect("it listens");
    let address = full.local_addr().expect("it is bound");
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
        waiting.push(connected.expect("it is let in or waits"));
    }
    let (mistrusted, tasks) = (Certificate::of(["127.0.0.1"]), Tasks::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let secured = listener.local_addr().expect("it is bound");
    let acceptor = mistrusted.acceptor(HTTP1);
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await; // who connects does not trust it
        }
    });
    // Those that wait for the limit have a short one; what is answered has time to be.
    let (short, long) = (Duration::from_secs(2), Duration::from_secs(60));
    for (endpoint, patience, wanted) in [
        (format!("http://{closed}"), long, Cause::ConnectionRefused),
        (format!("http://{address}"), short, Cause::ConnectTimeout),
        // Also where the name server is silent.
        ("https://nobody.invalid".to_owned(), short, Cause::Lookup),
        (format!("https://{secured}"), long, Cause::TlsUnknownIssuer),
    ] {
        let kinesis = with_patience(&endpoint, patience).await;
        let error = put(&kinesis, records(1)).await.expect_err("nobody answers");
        let PutError { class, cause, code, message, maybe_stored } = error;
        assert_eq!(
            (class, code.as_str(), maybe_stored),
            (Class::Transient, "NotConnected", false),
            "{message}"
        );
        assert_eq!(cause, wanted, "{endpoint}: {message}");
    }
    tasks.abort();
}

/// What an operator is advised follows from it.
#[tokio::test]
async fn a_reply_that_is_not_kinesis_has_another_cause_than_one_that_is() {
    let bench = Bench::start(1).await;
    let patient = kinesis(&bench.server.endpoint()).await;
    let impatient = with_patience(&bench.server.endpoint(), Duration::from_secs(3)).await;
    let page = |status| {
        Fault::Refuse(Refusal { status, code: None, message: "<html>hello</html>".into() })
    };
    for (fault, wanted) in [
        (page(404), Cause::NotFound),
        (page(403), Cause::NotKinesis),
        (page(502), Cause::Gateway),
        (Fault::Say("<html>hello</html>".into()), Cause::NotKinesis),
        (Fault::Refuse(Refusal::access_denied()), Cause::Blocked(Reason::AccessDenied)),
        (Fault::Refuse(Refusal::internal()), Cause::Service),
        (Fault::Refuse(Refusal::throttled()), Cause::Throttled),
        (Fault::CloseBefore, Cause::ConnectionLost),
        (Fault::HangBefore, Cause::ReplyTimeout),
    ] {
        let told = format!("{fault:?}");
        let kinesis = if wanted == Cause::ReplyTimeout { &impatient } else { &patient };
        let error = seen(&bench, kinesis, fault).await.expect_err("nothing is confirmed");
        assert_eq!(error.cause, wanted, "{told}: {error}");
    }
}

#[tokio::test]
async fn a_reply_from_another_time_is_one_attempt_and_so_is_the_next() {
    // SDKs learn the server's clock from the Date of a refusal, and may try again with it unasked.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (requests, tasks) = (Arc::new(AtomicUsize::new(0)), Tasks::default());
    let counted = Arc::clone(&requests);
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 65_536];
            let _ = stream.read(&mut request).await.expect("the client writes");
            counted.fetch_add(1, Ordering::SeqCst);
            let body = r#"{"__type":"RequestTimeTooSkewed","message":"the difference is too large"}"#;
            let reply = format!(
                "HTTP/1.1 403 Forbidden\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\n\
                 date: Thu, 01 Jan 2015 00:00:00 GMT\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(reply.as_bytes()).await.expect("the client reads");
        }
    });
    let kinesis = kinesis(&endpoint).await;
    for attempts in 1..=3 {
        let error = put(&kinesis, records(1)).await.expect_err("it is refused");
        assert_eq!((error.class, error.maybe_stored), (CREDENTIALS, false), "{error}");
        assert_eq!(requests.load(Ordering::SeqCst), attempts);
    }
    tasks.abort();
}
