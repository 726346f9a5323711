//! What the fault server does to whole requests: what it answers, and what it really stores.
//!
//! After each case the ledger is compared with the stream itself, read without the proxy.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::error::ProvideErrorMetadata;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::bench::{Bench, THROTTLED, codes};
use testkit::fault::FaultServer;
use testkit::fault::ledger::Done;
use testkit::fault::plan::{CallerRule, Fault, Plan, RecordError, Refusal};
use testkit::kinesis::Ferro;
use testkit::stream::{entries, entry};
use testkit::tls::Certificate;
use testkit::{eventually, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

#[tokio::test]
async fn a_refusal_has_its_status_code_and_message_and_stores_nothing() {
    let bench = Bench::start(1).await;
    let refusals = [
        Refusal::access_denied(),
        Refusal::expired_token(),
        Refusal::stream_missing("s"),
        Refusal::throttled(),
        Refusal::limit_exceeded(),
        Refusal::kms_throttled(),
        Refusal::internal(),
        Refusal::unavailable(),
    ];
    let body = r#"{"StreamName":"s","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#;
    for refusal in refusals {
        // Once as bytes, once as an SDK understands it.
        bench.server.next(Fault::Refuse(refusal.clone()));
        let answer =
            http::call(&bench.server.endpoint(), "PutRecords", body).await.expect("an answer");
        assert_eq!(answer.status, refusal.status);
        assert_eq!(answer.error_type, refusal.code);
        assert_eq!(answer.content_type.as_deref(), Some(http::JSON));
        assert_eq!(answer.json()["__type"].as_str(), refusal.code.as_deref());
        assert_eq!(answer.json()["message"], refusal.message);
        bench.server.next(Fault::Refuse(refusal.clone()));
        assert_eq!(bench.put_fails(3).await, refusal.code);
    }
    bench.server.next(Fault::Refuse(Refusal::empty(502)));
    let answer = http::call(&bench.server.endpoint(), "PutRecords", body).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.body.len(), answer.error_type), (502, 0, None));
    assert_eq!(bench.done().last(), Some(&Done::Refused { status: 502, code: None }));
    bench.stored(0).await;
}

#[tokio::test]
async fn a_cut_reply_breaks_in_the_middle_after_the_records_are_stored() {
    let bench = Bench::start(2).await;
    bench.server.next(Fault::Cut);
    assert_eq!(bench.put_fails(10).await, None);
    bench.stored(10).await;
    assert_eq!(bench.done(), [Done::Cut]);

    // As bytes: a full head that promises more than ever comes.
    bench.server.next(Fault::Cut);
    let body = r#"{"StreamName":"s","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#;
    let authority = bench.server.endpoint().replace("http://", "");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {authority}\r\ncontent-type: {}\r\nx-amz-target: {}PutRecords\r\n\
         authorization: AWS4 Credential=a, SignedHeaders=b, Signature=c\r\nx-amz-date: d\r\ncontent-length: {}\r\n\r\n",
        http::JSON,
        http::TARGET,
        body.len()
    );
    let mut stream = TcpStream::connect(authority).await.expect("the proxy listens");
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("the proxy reads");
    let mut answer = Vec::new();
    // How the connection ends, by FIN or by reset, is the kernel's business.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("the reply is text");
    let (head, got) = answer.split_once("\r\n\r\n").expect("the head is whole");
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    let promised = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .expect("it promises a length");
    let promised: usize = promised.parse().expect("a length is a number");
    assert_eq!(got.len(), promised / 2);
    bench.stored(11).await;
}

#[tokio::test]
async fn a_connection_closed_before_stores_nothing() {
    let bench = Bench::start(1).await;
    bench.server.next(Fault::CloseBefore);
    assert_eq!(bench.put_fails(4).await, None);
    assert_eq!(bench.done(), [Done::ClosedBefore]);
    bench.stored(0).await;
}

#[tokio::test]
async fn a_short_reply_lacks_its_last_record_and_all_are_stored() {
    let bench = Bench::start(1).await;
    bench.server.next(Fault::Short);
    let answer = bench.put(4).await;
    assert_eq!((answer.records().len(), answer.failed_record_count()), (3, Some(0)));
    assert_eq!(bench.done(), [Done::Short]);
    bench.stored(4).await;
}

#[tokio::test]
async fn a_hang_before_stores_nothing_when_the_client_leaves_and_everything_when_released() {
    let bench = Bench::start(1).await;
    let ledger = bench.server.ledger();
    bench.server.next(Fault::HangBefore);
    let leaver = bench.put_aside(3);
    eventually("the request hangs", async || (ledger.in_flight() == 1).then_some(())).await;
    leaver.abort();
    eventually("the proxy sees the client leave", async || (ledger.in_flight() == 0).then_some(()))
        .await;
    bench.stored(0).await;

    bench.server.next(Fault::HangBefore);
    let stayer = bench.put_aside(3);
    eventually("the request hangs", async || (ledger.in_flight() == 1).then_some(())).await;
    bench.server.release();
    let answer = stayer.await.expect("no panic").expect("released requests are answered");
    assert_eq!(answer.failed_record_count(), Some(0));
    assert_eq!(bench.done(), [Done::HungBefore, Done::HungBefore]);
    bench.stored(3).await;
}

#[tokio::test]
async fn a_hang_after_has_stored_everything_and_is_answered_when_released() {
    let bench = Bench::start(1).await;
    let ledger = bench.server.ledger();
    bench.server.next(Fault::HangAfter);
    let hanging = bench.put_aside(3);
    eventually("the records are stored", async || (ledger.records().len() == 3).then_some(()))
        .await;
    bench.stored(3).await;
    assert_eq!(ledger.in_flight(), 1);
    bench.server.release();
    assert!(hanging.await.expect("no panic").is_some());
    assert_eq!(bench.done(), [Done::HungAfter]);
}

#[tokio::test]
async fn dropping_the_server_ends_what_hangs() {
    let Bench { upstream: _upstream, server, client, .. } = Bench::start(1).await;
    let ledger = server.ledger();
    server.set(Plan { hang_after_ratio: 1.0, ..Plan::default() });
    let hanging =
        tokio::spawn(client.put_records().stream_name("s").set_records(Some(entries(1))).send());
    eventually("the request hangs", async || (ledger.records().len() == 1).then_some(())).await;
    drop(server);
    let ended = timeout(Duration::from_secs(15), hanging)
        .await
        .expect("long before the client's own timeout");
    ended.expect("no panic").expect_err("nobody answers any more");
    assert_eq!(ledger.in_flight(), 0);
}

#[tokio::test]
async fn latency_delays_every_request_and_a_scripted_delay_one() {
    let bench = Bench::start(1).await;
    bench.server.set(Plan { latency_ms: 40, jitter_ms: 20, ..Plan::default() });
    for longer in [0, 60] {
        if longer > 0 {
            bench.server.next(Fault::Delay(Duration::from_millis(longer)));
        }
        let started = Instant::now();
        bench.put(1).await;
        assert!(started.elapsed() >= Duration::from_millis(40 + longer), "{:?}", started.elapsed());
    }
    bench.stored(2).await;
}

#[tokio::test]
async fn a_request_whose_client_leaves_on_the_way_is_stored_and_booked() {
    // The ambiguous write: what was sent cannot be called back.
    let bench = Bench::start(1).await;
    let ledger = bench.server.ledger();
    bench.server.set(Plan { latency_ms: 2_000, ..Plan::default() });
    let leaver = bench.put_aside(3);
    eventually("the request is on its way", async || (ledger.in_flight() == 1).then_some(())).await;
    leaver.abort();
    eventually("the proxy sees the client leave", async || (ledger.in_flight() == 0).then_some(()))
        .await;
    eventually("it is stored", async || (ledger.records().len() == 3).then_some(())).await;
    bench.stored(3).await;
}

#[tokio::test]
async fn requests_in_flight_at_the_same_time_are_counted() {
    let bench = Bench::start(1).await;
    let ledger = bench.server.ledger();
    bench.server.set(Plan { hang_before_ratio: 1.0, ..Plan::default() });
    let hanging: Vec<_> = (0..5).map(|_| bench.put_aside(1)).collect();
    eventually("all five hang", async || (ledger.in_flight() == 5).then_some(())).await;
    bench.server.set(Plan::default());
    bench.server.release();
    for request in hanging {
        assert!(request.await.expect("no panic").is_some());
    }
    bench.put(1).await;
    assert_eq!(ledger.in_flight_max(), 5);
    bench.stored(6).await;
}

#[tokio::test]
async fn one_shot_faults_come_in_their_order_and_before_the_ratios() {
    let bench = Bench::start(1).await;
    bench.server.set(Plan { throttled_ratio: 1.0, ..Plan::default() });
    bench.server.next(Fault::Pass);
    bench.server.next(Fault::Refuse(Refusal::internal()));
    bench.server.next(Fault::FailRecords(vec![1], RecordError::Internal));
    assert_eq!(bench.server.scripted(), 3);
    assert_eq!(codes(&bench.put(2).await), [None, None]);
    assert_eq!(bench.put_fails(2).await.as_deref(), Some("InternalFailure"));
    assert_eq!(codes(&bench.put(2).await), [None, Some("InternalFailure")]);
    assert_eq!(bench.server.scripted(), 0);
    assert_eq!(codes(&bench.put(2).await), [Some(THROTTLED); 2]);
    bench.stored(3).await;
}

#[tokio::test]
async fn a_denied_operation_is_refused_and_counted_and_others_pass() {
    let bench = Bench::start(1).await;
    let denied =
        [("ListShards", Refusal::access_denied()), ("PutRecords", Refusal::expired_token())];
    let denied = denied.map(|(operation, refusal)| (operation.to_owned(), refusal)).into();
    bench.server.set(Plan { denied, ..Plan::default() });
    let error = bench.client.list_shards().stream_name("s").send().await.expect_err("it is denied");
    assert_eq!(error.code(), Some("AccessDeniedException"));
    assert_eq!(bench.put_fails(1).await.as_deref(), Some("ExpiredTokenException"));
    bench.client.describe_stream_summary().stream_name("s").send().await.expect("it is not denied");
    let calls = ["ListShards", "PutRecords", "DescribeStreamSummary", "GetRecords"];
    assert_eq!(calls.map(|operation| bench.server.ledger().calls(operation)), [1, 1, 1, 0]);
    bench.stored(0).await;
}

#[tokio::test]
async fn a_gone_upstream_is_answered_503() {
    let Bench { upstream, server, client, .. } = Bench::start(1).await;
    drop(upstream);
    let answer = eventually("the emulator stops listening", async || {
        let request = client.put_records().stream_name("s").set_records(Some(entries(1)));
        request.send().await.err()
    })
    .await;
    assert_eq!(answer.code(), Some("ServiceUnavailable"));
    assert_eq!(answer.raw_response().map(|raw| raw.status().as_u16()), Some(503));
    assert_eq!(server.ledger().in_flight(), 0);
}

#[tokio::test]
async fn a_put_that_is_not_json_is_refused_aloud() {
    // Passed through, it would escape every fault and the ledger.
    let bench = Bench::start(1).await;
    let cbor = Bytes::from_static(&[0xa0]);
    let answer =
        http::post(&bench.server.endpoint(), "PutRecords", "application/x-amz-cbor-1.1", cbor)
            .await
            .expect("an answer");
    assert_eq!(
        (answer.status.as_u16(), answer.error_type.as_deref()),
        (501, Some("FaultServerReadsJsonOnly"))
    );
    bench.stored(0).await;
}

#[tokio::test]
async fn a_request_of_another_key_is_turned_away_whatever_it_asks() {
    let bench = Bench::start(1).await;
    let rule = |key_id: &str| CallerRule { key_id: key_id.into(), refusal: Refusal::unknown_key() };
    // The clients here sign as `test`.
    bench.server.set(Plan { caller: Some(rule("other")), ..Plan::default() });
    assert_eq!(bench.put_fails(1).await, Refusal::unknown_key().code);
    let told =
        bench.client.list_shards().stream_name("s").send().await.expect_err("it is turned away");
    assert_eq!(told.code(), Refusal::unknown_key().code.as_deref());
    bench.server.set(Plan { caller: Some(rule("test")), ..Plan::default() });
    bench.put(1).await;
    bench.client.list_shards().stream_name("s").send().await.expect("it is let in");
    bench.stored(1).await;
}

#[tokio::test]
async fn a_record_limit_is_told_and_held() {
    let bench = Bench::start(1).await;
    bench.server.set(Plan { record_limit_kib: Some(2), ..Plan::default() });
    let summary = bench
        .client
        .describe_stream_summary()
        .stream_name("s")
        .send()
        .await
        .expect("it is described");
    let summary = summary.stream_description_summary.expect("a summary");
    assert_eq!((summary.max_record_size_in_kib, summary.open_shard_count), (Some(2), 1));
    for (bytes, fails) in [(2047, false), (2048, true)] {
        let entries = vec![entry("k", vec![b'x'; bytes])];
        let put =
            bench.client.put_records().stream_name("s").set_records(Some(entries)).send().await;
        assert_eq!(
            put.err().and_then(|error| error.code().map(str::to_owned)).is_some(),
            fails,
            "{bytes}"
        );
    }
    bench.stored(1).await;
}

#[tokio::test]
async fn who_takes_http2_is_served_and_found_out() {
    let certificate = Certificate::of(["localhost"]);
    let upstream = Ferro::start(false).await;
    let server = FaultServer::start_tls(&upstream.endpoint(), 1, &certificate).await;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate.path()).expect("it is in PEM"))
        .expect("it is whole");
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().expect("the provider knows them");
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let tcp = TcpStream::connect(server.endpoint().trim_start_matches("https://"))
        .await
        .expect("it listens");
    let name = ServerName::try_from("localhost").expect("it is a name");
    let stream =
        TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.expect("they trust each other");
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("they speak HTTP/2");
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::post("https://localhost/")
        .header("content-type", http::JSON)
        .header("x-amz-target", format!("{}PutRecords", http::TARGET))
        .body(Full::new(Bytes::from_static(b"{}")))
        .expect("it is whole");
    let answer = sender.send_request(request).await.expect("it is answered");
    assert!(answer.headers().contains_key("content-type"), "{answer:?}");
    assert!(server.connections().iter().all(|connection| connection.is_http2));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.assert_http1()));
    assert!(found.is_err(), "it is not HTTP/1.1");
}
