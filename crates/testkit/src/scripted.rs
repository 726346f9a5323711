//! A Kinesis in the test's hands: what each call is answered, and what time it is there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::http::{JSON, TARGET};

/// Dropped, it stops listening.
pub struct Scripted {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Scripted {
    /// `answer` is told an operation, the how many-th call of it this is, and its question; it
    /// gives a status and a body. Every reply says that it is `date`.
    pub async fn start(
        date: SystemTime,
        answer: impl Fn(&str, usize, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
    ) -> Scripted {
        let calls = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        let app = Router::new().fallback(move |headers: HeaderMap, body: String| async move {
            let operation = headers["x-amz-target"]
                .to_str()
                .expect("a name")
                .trim_start_matches(TARGET)
                .to_owned();
            let number = {
                let mut calls = calls.lock().expect("nobody panics with it in hand");
                let number = calls.entry(operation.clone()).or_default();
                *number += 1;
                *number
            };
            let question = serde_json::from_str(&body).expect("a question in JSON");
            let (status, said) = answer(&operation, number, &question);
            let date = DateTime::from(date).fmt(DateTimeFormat::HttpDate).expect("a date");
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [("content-type", JSON.to_owned()), ("date", date)], said.to_string())
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("axum::serve never returns")
        });
        Scripted { address, _server: AbortOnDropHandle::new(server) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What ListShards answers where there are so many open shards, named by their numbers.
pub fn shard_list(count: usize) -> Value {
    let shard = |id: usize| {
        json!({
            "ShardId": id.to_string(),
            "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "1" },
            "SequenceNumberRange": { "StartingSequenceNumber": "1" },
        })
    };
    json!({ "Shards": (0..count).map(shard).collect::<Vec<_>>() })
}
