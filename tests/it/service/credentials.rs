//! When the credentials expire, as the metrics show it.

use chrono::{DateTime, TimeDelta, Utc};
use testkit::aws::Agent;
use testkit::daemon::event;
use testkit::kinesis::Ferro;
use testkit::stream::create_stream;
use testkit::{client, eventually};

use crate::DISPATCHD;

const EXPIRY: &str = "dispatchd_credentials_expiry_timestamp_seconds";

#[tokio::test]
async fn the_metrics_show_when_the_credentials_expire_and_follow_when_new_ones_come() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let soon = Utc::now();
    let agent = Agent::start(soon).await;
    let daemon = DISPATCHD
        .daemon(&ferro.endpoint(), "s")
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.uri)
        .without_env("AWS_ACCESS_KEY_ID")
        .without_env("AWS_SECRET_ACCESS_KEY")
        .start()
        .await;
    let shows = async |expiry: DateTime<Utc>| {
        let expiry = expiry.timestamp() as f64;
        eventually("it is shown", async || (daemon.metric(EXPIRY).await == expiry).then_some(()))
            .await;
    };
    shows(soon).await;
    let later = soon + TimeDelta::hours(6);
    agent.set_expiry(later);
    // The source is asked again when a request needs credentials and those there are have expired,
    // once a second at most.
    let mut caller = daemon.connect().await;
    eventually("it is shown", async || {
        let answer = caller.ask(&event(1, "k", "{}")).await;
        assert_eq!(answer["ok"], true, "{answer}");
        (daemon.metric(EXPIRY).await == later.timestamp() as f64).then_some(())
    })
    .await;
    let told = daemon.status().await["credentials"].clone();
    assert_eq!(told["expire"], later.format("%Y-%m-%dT%H:%M:%S.000Z").to_string());
    assert!(told["in_seconds"].as_u64().is_some_and(|left| left > 5 * 3600), "{told}");
}

#[tokio::test]
async fn credentials_that_never_expire_show_as_zero() {
    let ferro = Ferro::start(false).await;
    create_stream(&client(&ferro.endpoint()), "s", 1).await;
    let daemon = DISPATCHD.daemon(&ferro.endpoint(), "s").start().await;
    let answer = daemon.connect().await.ask(&event(1, "k", "{}")).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(daemon.metric(EXPIRY).await, 0.0);
    assert!(daemon.status().await["credentials"].is_null());
}
