//! Responses: an answer's bytes with the headers that they need. Nothing is decided here.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use dispatchd_core::wire::http::Problem;

/// Seconds after which what is refused for now may be sent again: as long as a burst lasts.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_body(status, HeaderValue::from_static("application/json"), body.into())
}

/// The answer to a request that is refused as a whole.
pub(super) fn problem(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).expect("the statuses are those of RFC 9110");
    let mut body = Vec::new();
    problem.print(&mut body);
    let kind = HeaderValue::from_static("application/problem+json");
    let mut answer = with_body(status, kind, body.into());
    if problem.refusal.code.retryable() {
        answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    answer
}

pub(super) fn allowing(answer: Answer, methods: &'static str) -> Answer {
    with(answer, ALLOW, HeaderValue::from_static(methods))
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}

fn with_body(status: StatusCode, kind: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, kind)
}
