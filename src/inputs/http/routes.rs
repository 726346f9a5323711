//! What a request asks for: who may ask at all, and which room answers.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HOST, ORIGIN};
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, allowing, closing, json, problem};
use super::events::post;
use super::shared::HttpShared;
use crate::http_server::place::Place;
use dispatchd_core::wire::http::{self, Problem};

/// What is served, for programs that read such descriptions.
const OPENAPI: &str = include_str!("openapi.json");

/// Where a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The file's permissions say who may connect.
    Socket,
    /// Whoever runs on this host may, a browser among them.
    Loopback,
}

/// Answers one request.
pub(super) async fn answer(
    request: Request<Incoming>,
    listener: Listener,
    shared: Arc<HttpShared>,
    place: Arc<Place>,
) -> Answer {
    let answering = place.answer();
    if let Err(refused) = admit(&request, listener) {
        return closing(problem(&refused));
    }
    match (request.uri().path(), request.method()) {
        ("/v1/events", &Method::POST) => {
            drop(answering); // its body may not be here yet
            post(request, &shared, &place).await
        }
        ("/v1/events", _) => allowing(problem(&Problem::method("POST")), "POST"),
        ("/v1/health", &Method::GET) => json(StatusCode::OK, "{\"ok\":true}\n"),
        ("/v1/openapi.json", &Method::GET) => json(StatusCode::OK, OPENAPI),
        ("/v1/health" | "/v1/openapi.json", _) => allowing(problem(&Problem::method("GET")), "GET"),
        _ => problem(&Problem::not_found()),
    }
}

/// A page in a browser on this host may send requests to loopback, to its own name if it points
/// that name here. It cannot send them without an `Origin`, or with a `Host` that is loopback's.
fn admit(request: &Request<Incoming>, listener: Listener) -> Result<(), Problem> {
    if listener == Listener::Socket {
        return Ok(());
    }
    let host = request.headers().get(HOST).map(|host| host.as_bytes());
    http::admit(request.headers().contains_key(ORIGIN), host)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use dispatchd_core::limits::REQUEST_EVENTS_MAX;
    use dispatchd_core::model::Code;
    use serde_json::Value;

    #[test]
    fn the_description_has_every_code_and_every_status_that_a_code_has() {
        let read: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let codes = read["components"]["schemas"]["Code"]["enum"].as_array().expect("a list");
        let codes: Vec<_> = codes.iter().map(|code| code.as_str().expect("a name")).collect();
        assert_eq!(codes, Code::ALL.map(Code::as_str));
        let post = &read["paths"]["/v1/events"]["post"];
        let told: BTreeSet<_> =
            post["responses"].as_object().expect("statuses").keys().map(String::as_str).collect();
        for code in Code::ALL {
            let status = code.http_status().to_string();
            assert!(told.contains(status.as_str()), "{status} of {}", code.as_str());
        }
        assert!(OPENAPI.contains(&format!("At most {REQUEST_EVENTS_MAX}, each")));
    }
}
