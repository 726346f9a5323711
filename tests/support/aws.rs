//! The parts of AWS around Kinesis, as far as a test needs them: an agent that gives credentials, an STS, and a stream that
//! says of itself what no emulator says.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// An endpoint for credentials as ECS and EKS Pod Identity have one. Those it gives expire when it is told.
pub struct Agent {
    pub uri: String,
    expires: Arc<Mutex<DateTime<Utc>>>,
    _server: AbortOnDropHandle<()>,
}

impl Agent {
    pub async fn start(expires: DateTime<Utc>) -> Self {
        let expires = Arc::new(Mutex::new(expires));
        let told = Arc::clone(&expires);
        let credentials = async move || {
            let expires =
                told.lock().expect("nobody panics with it in hand").to_rfc3339_opts(SecondsFormat::Secs, true);
            Json(json!({"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": expires}))
        };
        let (url, server) = serve(Router::new().route("/credentials", get(credentials))).await;
        Self { uri: format!("{url}/credentials"), expires, _server: server }
    }

    /// From the next request on.
    pub fn set_expiry(&self, expires: DateTime<Utc>) {
        *self.expires.lock().expect("nobody panics with it in hand") = expires;
    }
}

/// An STS that knows its caller, or refuses it.
pub struct Sts {
    pub url: String,
    _server: AbortOnDropHandle<()>,
}

impl Sts {
    pub async fn start(status: StatusCode, body: &'static str) -> Self {
        let answer = async move || (status, [("content-type", "text/xml")], body);
        let (url, _server) = serve(Router::new().route("/", post(answer))).await;
        Self { url, _server }
    }

    /// Knows everybody as this role.
    pub async fn of_a_role() -> Self {
        const BODY: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
            <GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/orders/pod</Arn>\
            <UserId>AROA:pod</UserId><Account>123456789012</Account></GetCallerIdentityResult>\
            <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>";
        Self::start(StatusCode::OK, BODY).await
    }

    pub async fn that_refuses() -> Self {
        const BODY: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
            <Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid.</Message>\
            </Error><RequestId>1</RequestId></ErrorResponse>";
        Self::start(StatusCode::FORBIDDEN, BODY).await
    }
}

/// Answers DescribeStreamSummary and ListShards with what it is given, and nothing else.
pub struct StreamThatSays {
    pub url: String,
    _server: AbortOnDropHandle<()>,
}

impl StreamThatSays {
    /// `says` goes over what a plain ACTIVE stream of one shard says.
    pub async fn start(says: Value) -> Self {
        let mut summary = json!({
            "StreamName": "s", "StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s", "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24, "StreamCreationTimestamp": 0, "EnhancedMonitoring": [], "OpenShardCount": 1,
        });
        for (name, value) in says.as_object().expect("an object") {
            summary[name] = value.clone();
        }
        let answer = async move |headers: HeaderMap| {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
            match target.rsplit('.').next() {
                Some("DescribeStreamSummary") => Json(json!({"StreamDescriptionSummary": summary})).into_response(),
                Some("ListShards") => Json(json!({"Shards": [{
                    "ShardId": "shardId-000000000000",
                    "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
                    "SequenceNumberRange": {"StartingSequenceNumber": "1"},
                }]}))
                .into_response(),
                _ => StatusCode::NOT_IMPLEMENTED.into_response(),
            }
        };
        let (url, _server) = serve(Router::new().route("/", post(answer))).await;
        Self { url, _server }
    }
}

async fn serve(app: Router) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("axum::serve never returns") });
    (url, AbortOnDropHandle::new(server))
}
