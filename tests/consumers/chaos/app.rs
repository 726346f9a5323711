//! A target as Lambda's functions are ones: it handles what it can, says what it did, and has
//! moods.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::aws::serve;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::KEYS;

/// An event, as the writer writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Event {
    pub round: u64,
    pub key: usize,
}

impl Event {
    /// Some events fail: always where they are given up, and half of the time where they block.
    pub(super) fn is_poisoned(self) -> bool {
        self.round % 40 == 11 && self.key == 3
    }
}

/// How a target is for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Works,
    /// 500.
    Fails,
    /// 503.
    IsBusy,
    /// 401.
    RefusesUs,
    /// 200, and the name of a record that it did not do.
    IsPartial,
    /// No answer in time, and nothing done.
    Hangs,
    /// No answer in time, and all done.
    HandlesAndHangs,
}

impl Mood {
    /// All that are a fault.
    pub(super) const ALL: [Self; 6] = [
        Self::Fails,
        Self::IsBusy,
        Self::RefusesUs,
        Self::IsPartial,
        Self::Hangs,
        Self::HandlesAndHangs,
    ];
}

pub(super) struct App {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
    _server: AbortOnDropHandle<()>,
}

struct Inner {
    mood: Mood,
    rng: StdRng,
    poison_fails: u32,
    /// In the order in which they were handled, as often as they were.
    handled: Vec<Event>,
}

impl App {
    /// `poison_fails`: of ten times, how often an event fails that is poisoned.
    pub(super) async fn start(seed: u64, poison_fails: u32) -> Arc<Self> {
        let rng = StdRng::seed_from_u64(seed);
        let inner = Inner { mood: Mood::Works, rng, poison_fails, handled: Vec::new() };
        let inner = Arc::new(Mutex::new(inner));
        let app = Router::new().route("/", post(take)).with_state(Arc::clone(&inner));
        let (url, server) = serve(app).await;
        Arc::new(Self { url, inner, _server: server })
    }

    pub(super) async fn is_for_a_while(&self, mood: Mood, time: Duration) {
        self.lock().mood = mood;
        sleep(time).await;
        self.lock().mood = Mood::Works;
    }

    pub(super) fn handled(&self) -> Vec<Event> {
        self.lock().handled.clone()
    }

    /// An event of so many rounds that was neither handled nor is among these.
    pub(super) fn lacks(&self, rounds: u64, dead: &[Event]) -> Option<Event> {
        let mut there: HashSet<Event> = self.lock().handled.iter().copied().collect();
        there.extend(dead);
        let mut all = (0..rounds).flat_map(|round| (0..KEYS).map(move |key| Event { round, key }));
        all.find(|event| !there.contains(event))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().expect("nobody panics with it in hand")
}

async fn take(State(inner): State<Arc<Mutex<Inner>>>, body: Bytes) -> Response {
    let records: Vec<(String, Event)> = records(&body);
    let mood = lock(&inner).mood;
    match mood {
        Mood::Works => {}
        Mood::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::IsBusy => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::RefusesUs => return StatusCode::UNAUTHORIZED.into_response(),
        Mood::IsPartial => {
            let done = lock(&inner).rng.random_range(0..records.len());
            return answer(&inner, &records, done);
        }
        Mood::Hangs | Mood::HandlesAndHangs => {
            if mood == Mood::HandlesAndHangs {
                answer(&inner, &records, records.len());
            }
            sleep(super::TIMEOUT * 2).await;
            return StatusCode::OK.into_response();
        }
    }
    answer(&inner, &records, records.len())
}

/// Handles so many of the records, or as many as are not poisoned, and says so.
fn answer(inner: &Mutex<Inner>, records: &[(String, Event)], done: usize) -> Response {
    let mut inner = lock(inner);
    let done = records[..done].iter().position(|(_, it)| inner.fails(*it)).unwrap_or(done);
    inner.handled.extend(records[..done].iter().map(|(_, event)| event));
    let failures: Vec<Value> = records[done..]
        .iter()
        .take(1)
        .map(|(number, _)| json!({"itemIdentifier": number}))
        .collect();
    axum::Json(json!({"batchItemFailures": failures})).into_response()
}

impl Inner {
    fn fails(&mut self, event: Event) -> bool {
        event.is_poisoned() && self.rng.random_ratio(self.poison_fails, 10)
    }
}

/// The events of a request in Lambda's form, with their sequence numbers.
fn records(body: &[u8]) -> Vec<(String, Event)> {
    let body: Value = serde_json::from_slice(body).expect("the body is JSON");
    let records = body["Records"].as_array().expect("it has records");
    records
        .iter()
        .map(|record| {
            let record = &record["kinesis"];
            let data = record["data"].as_str().expect("a record has data");
            let number = record["sequenceNumber"].as_str().expect("a record has a number");
            let data = BASE64_STANDARD.decode(data).expect("it is base64");
            (number.to_owned(), serde_json::from_slice(&data).expect("the writer's"))
        })
        .collect()
}
