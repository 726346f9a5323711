//! When the credentials expire, as the metrics show it.

mod support;

use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use support::daemon::{Start, event};
use support::kinesis::Ferro;
use support::stream::create_stream;
use support::{client, eventually};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const EXPIRY: &str = "dispatchd_credentials_expiry_timestamp_seconds";

/// An endpoint for credentials as ECS and EKS Pod Identity have one. Those it gives expire when it is told.
struct Agent {
    uri: String,
    expires: Arc<Mutex<DateTime<Utc>>>,
    _server: AbortOnDropHandle<()>,
}

impl Agent {
    async fn start(expires: DateTime<Utc>) -> Self {
        let expires = Arc::new(Mutex::new(expires));
        let told = Arc::clone(&expires);
        let credentials = async move || {
            let expires =
                told.lock().expect("nobody panics with it in hand").to_rfc3339_opts(SecondsFormat::Secs, true);
            Json(json!({"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": expires}))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let uri = format!("http://{}/credentials", listener.local_addr().expect("it is bound"));
        let app = Router::new().route("/credentials", get(credentials));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("axum::serve never returns") });
        Self { uri, expires, _server: AbortOnDropHandle::new(server) }
    }
}

#[tokio::test]
async fn the_metrics_show_when_the_credentials_expire_and_follow_when_new_ones_come() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let soon = Utc::now();
    let agent = Agent::start(soon).await;
    let daemon = Start::new(&ferro.endpoint(), "s")
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.uri)
        .without_env("AWS_ACCESS_KEY_ID")
        .without_env("AWS_SECRET_ACCESS_KEY")
        .start()
        .await;
    let shows = async |expiry: DateTime<Utc>| {
        let expiry = expiry.timestamp() as f64;
        eventually("it is shown", async || (daemon.metric(EXPIRY).await == expiry).then_some(())).await;
    };
    shows(soon).await;
    let later = soon + TimeDelta::hours(6);
    *agent.expires.lock().expect("nobody panics with it in hand") = later;
    // The SDK asks again when a request needs credentials and those it has are spent.
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(answer["ok"], true, "{answer}");
    shows(later).await;
}

#[tokio::test]
async fn credentials_that_never_expire_show_as_zero() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = Start::new(&ferro.endpoint(), "s").start().await;
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(daemon.metric(EXPIRY).await, 0.0);
}
