//! One request's way through the proxy: judged, forwarded, booked, answered.
//!
//! Does what the course says and decides nothing by itself. Books before it answers.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::ledger::{Booked, Done, Flight, Ledger, RequestFact};
use super::plan::{After, Before, Course, Fault, Plan, RecordError, Refusal, ShardLimits};
use super::shards::{Buckets, ShardMap};
use super::wire::{self, HalfBody, PutReply, PutRequest};
use crate::http::{self, AnyError, JSON, TARGET};
use crate::tasks::Tasks;

/// What goes back to the client: a whole body, half of one, or the upstream's as it comes.
type Reply = Response<UnsyncBoxBody<Bytes, AnyError>>;

/// One that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub peer: SocketAddr,
    /// Negotiated by ALPN.
    pub is_http2: bool,
}

/// What the proxy's tasks share. Its locks are held for one look or one change, never across an
/// await.
pub(super) struct Proxy {
    upstream: String,
    seed: u64,
    steering: Mutex<Steering>,
    shards: Mutex<Shards>,
    connections: Mutex<Vec<Connection>>,
    pub(super) ledger: Ledger,
    pub(super) tasks: Tasks,
    pub(super) releases: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct Steering {
    pub(super) plan: Plan,
    pub(super) script: VecDeque<Fault>,
    requests_count: u64,
}

#[derive(Default)]
struct Shards {
    maps: HashMap<String, ShardMap>,
    buckets: Buckets,
}

impl Proxy {
    pub(super) fn new(upstream: &str, seed: u64) -> Proxy {
        Proxy {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            seed,
            steering: Mutex::default(),
            shards: Mutex::default(),
            connections: Mutex::default(),
            ledger: Ledger::new(),
            tasks: Tasks::default(),
            releases: watch::Sender::new(()),
        }
    }

    /// One request of any kind. An error closes the connection without an answer.
    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Reply, AnyError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let target = text(&head.headers, "x-amz-target");
        let operation = target.strip_prefix(TARGET).unwrap_or_default();
        self.ledger.call(operation);
        if operation != "PutRecords" {
            let plan = self.steering().plan.clone();
            let refusal = plan.turn_away(text(&head.headers, "authorization"));
            let refusal = refusal.or_else(|| plan.denied.get(operation).cloned());
            return Ok(match (refusal, plan.record_limit_kib) {
                (Some(refusal), _) => reply(wire::refusal(&refusal), None),
                (None, Some(kib)) if operation == "DescribeStreamSummary" => {
                    let answer = self
                        .forward(&head, body)
                        .await
                        .map(|answer| answer.map(wire::with_limit(kib)));
                    reply(answer.unwrap_or_else(|error| unreachable_upstream(&error)), None)
                }
                (None, _) => self.pass(&head, body).await,
            });
        }
        if text(&head.headers, "content-type") != JSON {
            let message = "the fault server reads PutRecords as AWS JSON 1.1 only";
            return Ok(reply(
                wire::refusal(&Refusal::new(501, "FaultServerReadsJsonOnly", message)),
                None,
            ));
        }
        match PutRequest::parse(&body) {
            Some(request) => self.put_records(head, body, request).await,
            None => Ok(self.pass(&head, body).await),
        }
    }

    async fn put_records(
        self: Arc<Self>,
        head: Parts,
        body: Bytes,
        request: PutRequest,
    ) -> Result<Reply, AnyError> {
        // Before the arrival is booked: whoever sees it booked may release it.
        let mut released = self.releases.subscribe();
        let (flight, course) = self.arrive(&head, &request);
        match course.before {
            Some(Before::Refuse(refusal)) => {
                sleep(course.delay).await;
                return Ok(reply(wire::refusal(&refusal), None));
            }
            Some(Before::Close) => return Err("closed by plan".into()),
            Some(Before::Hang) => released.changed().await?,
            None => {}
        }
        // In a task of its own: when the client leaves, hyper drops this function, and what the
        // upstream stored must still be booked.
        let (tell, told) = oneshot::channel();
        let (proxy, number) = (self.clone(), flight.number);
        self.tasks.spawn(async move {
            sleep(course.delay).await;
            let answer = proxy.exchange(number, &head, body, request, course.records).await;
            let _ = tell.send(answer.unwrap_or_else(|error| unreachable_upstream(&error)));
        });
        let answer = told.await?;
        if course.after == Some(After::Hang) {
            released.changed().await?;
        }
        Ok(reply(answer, course.after))
    }

    /// Numbers the request, decides its course and books it, all at once: the order of arrival is
    /// the order of chance.
    fn arrive(&self, head: &Parts, request: &PutRequest) -> (Flight, Course) {
        let mut steering = self.steering();
        steering.requests_count += 1;
        let (number, scripted) = (steering.requests_count, steering.script.pop_front());
        let plan = &steering.plan;
        let mut course = plan.course(scripted, self.seed, number, request.records.len());
        let refusal = plan.turn_away(text(&head.headers, "authorization"));
        let refusal = refusal.or_else(|| plan.denied.get("PutRecords").cloned());
        if let Some(refusal) =
            refusal.or_else(|| plan.size_rules().find_map(|rule| request.poisoned(rule)))
        {
            course.before = Some(Before::Refuse(refusal));
        }
        let flight = self.ledger.arrive(RequestFact {
            number,
            stream: request.stream.clone(),
            keys: request.records.iter().map(|record| record.partition_key.clone()).collect(),
            bytes: request.bytes(),
            done: done(&course),
            stored: 0,
            failed: 0,
            at: self.ledger.elapsed(),
            ended: None,
        });
        (flight, course)
    }

    /// Forwards the records that are to be stored, books them, and answers for all of them in the
    /// request's order.
    async fn exchange(
        &self,
        number: u64,
        head: &Parts,
        body: Bytes,
        request: PutRequest,
        mut errors: Vec<Option<RecordError>>,
    ) -> Result<Response<Bytes>, AnyError> {
        let limits = self.steering().plan.shard_limits;
        let faulty = limits.is_some() || errors.iter().any(Option::is_some);
        let map = if faulty { self.shard_map(head, &request.stream).await } else { None };
        if let (Some(limits), Some(map)) = (limits, &map) {
            self.throttle(limits, map, &request, &mut errors);
        }
        let all_failed = !errors.is_empty() && errors.iter().all(Option::is_some);
        let (mut answer, stored) = if all_failed {
            (wire::json_answer(), PutReply::default())
        } else {
            let body =
                if errors.iter().any(Option::is_some) { request.without(&errors) } else { body };
            let answer = self.forward(head, body).await?;
            match PutReply::parse(answer.body()) {
                Some(stored) if answer.status() == StatusCode::OK => (answer, stored),
                _ => return Ok(answer),
            }
        };
        let own = errors.iter().zip(&request.records).map(|(error, record)| {
            let shard = map
                .as_ref()
                .and_then(|map| map.shard_of(record.hash()?))
                .unwrap_or("shardId-000000000000");
            error.as_ref().map(|error| wire::record_error(error, &request.stream, shard))
        });
        let merged = stored.merge(own.collect());
        self.book(number, &request, &merged);
        *answer.body_mut() = merged.into_body();
        Ok(answer)
    }

    fn throttle(
        &self,
        limits: ShardLimits,
        map: &ShardMap,
        request: &PutRequest,
        errors: &mut [Option<RecordError>],
    ) {
        let now = Instant::now();
        let buckets = &mut self.shards().buckets;
        for (record, error) in request.records.iter().zip(errors) {
            let Some(shard) = record.hash().and_then(|hash| map.shard_of(hash)) else {
                continue;
            };
            if error.is_none() && !buckets.take(limits, &request.stream, shard, record.bytes(), now)
            {
                *error = Some(RecordError::Throttled);
            }
        }
    }

    fn book(&self, number: u64, request: &PutRequest, reply: &PutReply) {
        let mut moved = false;
        let maps = self.shards().maps.get(&request.stream).cloned();
        let answered = request.records.iter().zip(&reply.records).enumerate();
        let records = answered.filter_map(|(place, (record, reply))| {
            let shard = reply["ShardId"].as_str()?.to_owned();
            let predicted = maps.as_ref().and_then(|map| map.shard_of(record.hash()?));
            moved |= predicted.is_some_and(|predicted| predicted != shard);
            Some(Booked {
                arrival: 0,
                request: number,
                place,
                stream: request.stream.clone(),
                partition_key: record.partition_key.clone(),
                explicit_hash_key: record.explicit_hash_key.clone(),
                shard,
                sequence: reply["SequenceNumber"].as_str()?.to_owned(),
                data: record.data.clone(),
            })
        });
        self.ledger.store(number, records, reply.failed());
        if moved {
            // A reshard: the next request that needs the map asks for a new one.
            self.shards().maps.remove(&request.stream);
        }
    }

    /// The open shards, asked for once with the caller's own headers. `None` where the upstream has
    /// no such stream.
    async fn shard_map(&self, head: &Parts, stream: &str) -> Option<ShardMap> {
        let known = self.shards().maps.get(stream).cloned();
        if known.is_some() {
            return known;
        }
        let mut head = head.clone();
        head.headers
            .insert("x-amz-target", HeaderValue::from_str(&format!("{TARGET}ListShards")).ok()?);
        let question = json!({ "StreamName": stream }).to_string();
        let answer = self.forward(&head, question.into()).await.ok()?;
        let answer: Value = serde_json::from_slice(answer.body()).ok()?;
        let map = ShardMap::parse(&answer)?;
        self.shards().maps.insert(stream.to_owned(), map.clone());
        Some(map)
    }

    /// The upstream's whole answer.
    async fn forward(&self, head: &Parts, body: Bytes) -> Result<Response<Bytes>, AnyError> {
        let (head, body) = self.send(head, body).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// The upstream's answer as it comes: some never end (SubscribeToShard).
    async fn pass(&self, head: &Parts, body: Bytes) -> Reply {
        match self.send(head, body).await {
            Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(error) => reply(unreachable_upstream(&error), None),
        }
    }

    async fn send(&self, head: &Parts, body: Bytes) -> Result<Response<Incoming>, AnyError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        unframe(request.headers_mut());
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&self.upstream)?);
        let mut answer = http::send(&self.upstream, request, &self.tasks).await?;
        unframe(answer.headers_mut());
        Ok(answer)
    }

    pub(super) fn steering(&self) -> MutexGuard<'_, Steering> {
        self.steering.lock().expect("no holder of this lock panics")
    }

    pub(super) fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().expect("no holder of this lock panics")
    }

    fn shards(&self) -> MutexGuard<'_, Shards> {
        self.shards.lock().expect("no holder of this lock panics")
    }
}

/// The answer as the course wants it written.
fn reply(answer: Response<Bytes>, after: Option<After>) -> Reply {
    let (head, mut body) = answer.into_parts();
    if after == Some(After::Short)
        && let Some(mut short) = PutReply::parse(&body)
    {
        short.records.pop();
        body = short.into_body();
    }
    if let Some(After::Say(said)) = &after {
        body = said.clone().into();
    }
    let body = match after {
        Some(After::Cut) => HalfBody::of(&body).boxed_unsync(),
        _ => Full::new(body).map_err(Into::into).boxed_unsync(),
    };
    Response::from_parts(head, body)
}

fn done(course: &Course) -> Done {
    match (&course.before, &course.after) {
        (Some(Before::Refuse(refusal)), _) => {
            Done::Refused { status: refusal.status, code: refusal.code.clone() }
        }
        (Some(Before::Close), _) => Done::ClosedBefore,
        (Some(Before::Hang), _) => Done::HungBefore,
        (None, Some(After::Hang)) => Done::HungAfter,
        (None, Some(After::Cut)) => Done::Cut,
        (None, Some(After::Short)) => Done::Short,
        (None, Some(After::Say(_))) => Done::Said,
        (None, None) => Done::Passed,
    }
}

/// The emulator is gone or broke off: what a client would hear from a gateway in front of it.
fn unreachable_upstream(error: &AnyError) -> Response<Bytes> {
    let mut answer = wire::json_answer();
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    *answer.body_mut() =
        json!({ "__type": "ServiceUnavailable", "message": format!("upstream: {error}") })
            .to_string()
            .into();
    answer
}

/// Takes out what belongs to one connection and not to the message: hyper writes its own.
fn unframe(headers: &mut HeaderMap) {
    for name in
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::EXPECT]
    {
        headers.remove(name);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
