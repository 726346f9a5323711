//! By what way requests go: proxies, whom they are for and whom never, and the authorities that TLS
//! believes.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::{Json, Router};
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::aws::{Aws, serve};
use testkit::daemon::{Start, event};
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use testkit::{client, eventually};

use crate::DISPATCHD;

/// What PutRecords of one event is answered.
fn stored() -> Value {
    json!({"FailedRecordCount": 0, "Records": [{"SequenceNumber": "7", "ShardId": "shardId-000000000000"}]})
}

/// A daemon that sees no proxy but those of its test.
fn start(endpoint: &str) -> Start {
    ["https_proxy", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"]
        .into_iter()
        .fold(DISPATCHD.daemon(endpoint, "s"), Start::without_env)
}

#[tokio::test]
async fn events_reach_aws_through_a_tunnel_and_the_bundle_is_believed() {
    let aws = Aws::start((StatusCode::OK, stored())).await;
    let bundle = aws.certificate.path().to_str().expect("a path is text");
    let daemon = start("https://kinesis.us-east-1.amazonaws.com")
        .env("HTTPS_PROXY", &aws.proxy)
        .env("AWS_CA_BUNDLE", bundle)
        .start()
        .await;
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!((&answer["ok"], &answer["sequenceNumber"]), (&true.into(), &"7".into()), "{answer}");
    assert_eq!(aws.puts()[0]["StreamName"], "s");
}

#[tokio::test]
async fn plain_http_is_given_to_the_proxy_with_the_url_and_the_password() {
    let seen = Arc::<Mutex<Vec<(Uri, HeaderMap)>>>::default();
    let keep = Arc::clone(&seen);
    let proxy = Router::new().fallback(async move |uri: Uri, headers: HeaderMap| {
        let is_put = headers["x-amz-target"].as_bytes().ends_with(b".PutRecords");
        keep.lock().expect("nobody panics with it in hand").push((uri, headers));
        if is_put { Json(stored()).into_response() } else { StatusCode::NOT_FOUND.into_response() }
    });
    let (url, _proxy) = serve(proxy).await;
    let with_password = url.replace("http://", "http://user:secret@");
    let start = start("http://kinesis.invalid")
        .set("stream.allow_http", true)
        .env("HTTP_PROXY", &with_password);
    let answer = start.start().await.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(answer["ok"], true, "{answer}");
    for (uri, headers) in &*seen.lock().expect("nobody panics with it in hand") {
        assert_eq!(uri.to_string(), "http://kinesis.invalid/");
        assert_eq!(headers["host"], "kinesis.invalid");
        assert_eq!(headers["proxy-authorization"], "Basic dXNlcjpzZWNyZXQ=");
    }
}

#[tokio::test]
async fn a_proxy_that_lets_nobody_through_is_what_the_refusal_names() {
    let (url, _proxy) =
        serve(Router::new().fallback(StatusCode::PROXY_AUTHENTICATION_REQUIRED)).await;
    let daemon = start("https://kinesis.us-east-1.amazonaws.com")
        .env("HTTPS_PROXY", &url)
        .set("delivery.timeout", "1s")
        .start()
        .await;
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(
        (&answer["error"]["code"], &answer["error"]["outcome"]),
        (&"DeliveryTimeout".into(), &"not_stored".into())
    );
    let recent = eventually("the operator is told", async || {
        let status = daemon.status().await.to_string();
        status.contains("makes no tunnel").then_some(status)
    });
    assert!(recent.await.contains("407 Proxy Authentication Required"));
}

#[tokio::test]
async fn loopback_is_never_given_to_a_proxy() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    // Nobody listens there.
    let nowhere = "http://127.0.0.1:9";
    let proxied = |start: Start| {
        start.env("HTTP_PROXY", nowhere).env("http_proxy", nowhere).env("ALL_PROXY", nowhere)
    };
    for start in [proxied(start(&ferro.endpoint())), proxied(DISPATCHD.local())] {
        let answer = start.start().await.connect().await.ask(&event(1, "k", "{}")).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
}

#[tokio::test]
async fn a_proxy_or_a_bundle_that_cannot_be_used_ends_the_start_by_its_name() {
    let empty = tempfile::NamedTempFile::new().expect("a temporary file");
    let empty = empty.path().to_str().expect("a path is text");
    for (name, value, says) in [
        (
            "HTTPS_PROXY",
            "socks5://user:secret@proxy:1080",
            "HTTPS_PROXY: a proxy is reached by http:// or https://",
        ),
        ("AWS_CA_BUNDLE", "/nowhere/ca.pem", "AWS_CA_BUNDLE: /nowhere/ca.pem: "),
        ("AWS_CA_BUNDLE", empty, "holds no certificate"),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let run = DISPATCHD
            .command()
            .args(["run", "--stream", "s", "--admin-listen", "127.0.0.1:0", "--socket"])
            .arg(dir.path().join("d.sock"))
            .env(name, value)
            .output();
        let run = run.await.expect("the binary was built with the test");
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(64), "{said}");
        assert!(said.contains(says) && !said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_proxy_that_is_silent() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let mut daemon = start("https://kinesis.us-east-1.amazonaws.com")
        .env("HTTPS_PROXY", &url)
        .set("shutdown.timeout", "1s")
        .start()
        .await;
    let mut caller = daemon.connect().await;
    caller.send(&event(1, "k", "{}")).await;
    eventually("a request is out", async || {
        (daemon.metric("dispatchd_put_records_in_flight").await == 1.0).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    let answer = caller.answer().await;
    assert_eq!(answer["error"]["code"], "ShuttingDown", "{answer}");
    assert_eq!(daemon.exit_code().await, Some(75));
}
