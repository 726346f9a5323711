//! What a request asks for: who may ask at all, and which room answers.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, ORIGIN};
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, allowing, json, problem};
use super::events::post;
use super::shared::HttpShared;
use crate::http_server::place::Place;
use dispatchd_core::wire::http::{self, Problem};

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The file's permissions say who may connect.
    Socket,
    /// Whoever runs on this host may, a browser among them.
    Loopback,
}

/// Answers one request.
pub(super) async fn answer(
    request: Request<Incoming>,
    door: Door,
    shared: Arc<HttpShared>,
    place: Arc<Place>,
) -> Answer {
    if let Err(refused) = admit(&request, door) {
        return problem(&refused);
    }
    match (request.uri().path(), request.method()) {
        ("/v1/events", &Method::POST) => post(request, &shared, &place).await,
        ("/v1/events", _) => allowing(problem(&Problem::method("POST")), "POST"),
        ("/v1/health", &Method::GET) => json(StatusCode::OK, "{\"ok\":true}\n"),
        ("/v1/health", _) => allowing(problem(&Problem::method("GET")), "GET"),
        _ => problem(&Problem::not_found()),
    }
}

/// A page in a browser on this host may send requests to loopback, to its own name if it points
/// that name here. It cannot send them without an `Origin`, or with a `Host` that is loopback's.
fn admit(request: &Request<Incoming>, door: Door) -> Result<(), Problem> {
    if door == Door::Socket {
        return Ok(());
    }
    let host = request.headers().get(HOST).map(|host| host.as_bytes());
    http::admit(request.headers().contains_key(ORIGIN), host)
}
