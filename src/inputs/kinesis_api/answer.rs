//! Responses: an answer's bytes with the headers that SDKs look at. Whole, with their length, since
//! an SDK may take half of a reply for a success. The date is hyper's own: one that is not ours
//! would shift the caller's clock.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use uuid::Uuid;

use super::metrics::CallOutcome;
use dispatchd_core::wire::kinesis_api::error::ApiError;
use dispatchd_core::wire::kinesis_api::format::Format;
use dispatchd_core::wire::kinesis_api::reply;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// In milliseconds. The SDKs that know it wait for as long before they send the call again.
const RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");

/// What is refused for want of room was held for as long as it may be; a second lets a burst pass.
const RETRY_AFTER_MS: HeaderValue = HeaderValue::from_static("1000");

pub(super) type Answer = Response<Full<Bytes>>;

/// What a call comes to, unless it is an error: the body of its answer.
pub(super) struct Done {
    pub body: Vec<u8>,
    pub outcome: CallOutcome,
}

/// The answer to a call that was done, or done in part.
pub(super) fn success(format: Format, body: Vec<u8>, request_id: Uuid) -> Answer {
    with_body(StatusCode::OK, format, body, request_id)
}

/// The answer to a call that is refused as a whole.
pub(super) fn error(format: Format, error: &ApiError, request_id: Uuid) -> Answer {
    let status = StatusCode::from_u16(error.status).expect("the statuses are those of RFC 9110");
    let mut answer = with_body(status, format, reply::error(format, error), request_id);
    answer.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error.name));
    if error.asks_to_wait() {
        answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_MS);
    }
    answer
}

fn with_body(status: StatusCode, format: Format, body: Vec<u8>, request_id: Uuid) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let request_id = HeaderValue::try_from(request_id.to_string()).expect("a uuid is ASCII");
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.name()));
    answer.headers_mut().insert(REQUEST_ID, request_id);
    answer
}
