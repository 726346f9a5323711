//! What a call asks for: who may ask at all, which operation it is, in which format, and which room
//! answers.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::{Method, Request};
use tokio::time::timeout_at;
use uuid::Uuid;

use super::answer::{self, Answer, Done};
use super::metrics::CallOutcome;
use super::put;
use super::shared::KinesisApiShared;
use crate::http_server::place::Place;
use crate::inputs::body::{BodyBounds, BodyError};
use dispatchd_core::wire::http;
use dispatchd_core::wire::kinesis_api::describe;
use dispatchd_core::wire::kinesis_api::error::ApiError;
use dispatchd_core::wire::kinesis_api::format::Format;
use dispatchd_core::wire::kinesis_api::operation::Operation;
use dispatchd_core::wire::kinesis_api::put::Put;

const TARGET: &str = "x-amz-target";

/// The header that every attempt of a call has alike; of the SDKs only that for JavaScript, version
/// 2, sends none.
const INVOCATION: &str = "amz-sdk-invocation-id";

/// Bytes of an invocation's id that is taken for one. SDKs send a uuid.
const INVOCATION_BYTES_MAX: usize = 128;

/// Answers one call.
pub(super) async fn answer(
    request: Request<Incoming>,
    shared: Arc<KinesisApiShared>,
    place: Arc<Place>,
) -> Answer {
    let began = tokio::time::Instant::now().into_std();
    let format = header(request.headers(), CONTENT_TYPE.as_str()).and_then(Format::of);
    let operation = Operation::of(header(request.headers(), TARGET).unwrap_or_default());
    let done = match (refused(&request), format) {
        (Some(error), _) => Err(error),
        (None, None) => Err(unknown_format()),
        (None, Some(format)) => {
            let call = Call { operation, format, deadline: began + shared.timeout };
            call.answered(request, &shared, &place).await
        }
    };
    let (request_id, format) = (Uuid::new_v4(), format.unwrap_or(Format::Json));
    match done {
        Ok(Done { body, outcome }) => {
            shared.metrics.count(operation, outcome);
            answer::success(format, body, request_id)
        }
        Err(error) => {
            shared.metrics.count(operation, CallOutcome::of(&error));
            answer::error(format, &error, request_id)
        }
    }
}

/// What a call's head says.
struct Call {
    operation: Operation,
    format: Format,
    /// The reply is held until then.
    deadline: Instant,
}

impl Call {
    async fn answered(
        &self,
        request: Request<Incoming>,
        shared: &Arc<KinesisApiShared>,
        place: &Arc<Place>,
    ) -> Result<Done, ApiError> {
        let Self { operation, format, deadline } = *self;
        let (head, body) = request.into_parts();
        let invocation = header(&head.headers, INVOCATION)
            .filter(|id| (1..=INVOCATION_BYTES_MAX).contains(&id.len()));
        let bytes_max = match operation {
            Operation::PutRecord | Operation::PutRecords => shared.put_bytes_max,
            Operation::Describe(_) | Operation::Denied | Operation::Unknown => {
                describe::CALL_BYTES_MAX
            }
        };
        // What is made of a body stands beside it only while it is read, which waits for nothing:
        // the memory sum has that once a thread.
        let bounds = BodyBounds { bytes_max, room_per_byte: 1 };
        let here = async {
            let _one = shared.at_once.acquire().await.expect("the semaphore is never closed");
            let (body, answering) =
                shared.bodies.read(body, bounds, place).await.map_err(unread)?;
            Ok((_one, body, answering))
        };
        let no_room = || {
            const FULL: &str = "there was no room for the call's body while its reply may be held";
            Err(ApiError::throttled(FULL))
        };
        let (_one, body, _answering) =
            timeout_at(deadline.into(), here).await.unwrap_or_else(|_| no_room())?;
        match operation {
            Operation::PutRecord => {
                put::answered(Put::Record, format, body, invocation, shared, deadline).await
            }
            Operation::PutRecords => {
                put::answered(Put::Records, format, body, invocation, shared, deadline).await
            }
            Operation::Describe(describe) => {
                let question = describe::read(describe, format, &body.bytes, &shared.stream)?;
                let reply = shared.questions.ask(describe, question, deadline).await?;
                let body = describe::reply(format, &reply).ok_or_else(|| {
                    ApiError::maybe_done("the service's reply to dispatchd cannot be read")
                })?;
                Ok(Done { body, outcome: CallOutcome::Ok })
            }
            Operation::Denied => Err(ApiError::denied(
                "dispatchd serves PutRecord, PutRecords, ListShards, DescribeStreamSummary and \
                 DescribeStream of its one stream: send other calls to AWS, by a client whose \
                 endpoint is not this one",
            )),
            Operation::Unknown => Err(ApiError::new(
                "UnknownOperationException",
                "x-amz-target names no operation of Kinesis Data Streams",
            )),
        }
    }
}

/// What is refused whatever it asks for: a page in a browser may send calls to loopback, and no SDK
/// sends anything but POST.
fn refused(request: &Request<Incoming>) -> Option<ApiError> {
    let host = request.headers().get(HOST).map(|host| host.as_bytes());
    let host = host.or_else(|| request.uri().authority().map(|host| host.as_str().as_bytes()));
    if let Err(problem) = http::admit(request.headers().contains_key(ORIGIN), host) {
        let denied = ApiError::denied(problem.refusal.message);
        return Some(ApiError { status: problem.status, ..denied });
    }
    let is_call = request.method() == Method::POST;
    let error = || {
        let error = ApiError::new("UnknownOperationException", "only POST is served here");
        ApiError { status: 405, ..error }
    };
    (!is_call).then(error)
}

fn unknown_format() -> ApiError {
    let [json, cbor] = [Format::Json, Format::Cbor].map(Format::name);
    let message = format!("content-type is neither {json} nor {cbor}");
    ApiError { status: 404, ..ApiError::new("UnknownOperationException", message) }
}

/// Why a call has no body.
fn unread(error: BodyError) -> ApiError {
    match error {
        BodyError::TooLarge { bytes_max } => {
            let message =
                format!("the body is larger than {bytes_max} bytes, the most that is read");
            ApiError { status: 413, ..ApiError::invalid(message) }
        }
        BodyError::Late => {
            let late = "the body was not here in time";
            ApiError { status: 408, ..ApiError::new("RequestTimeoutException", late) }
        }
        BodyError::Broken => ApiError::unreadable("the body broke off"),
        BodyError::MadeRoom => ApiError::unavailable("too many connections are open, try again"),
        BodyError::Stopping => ApiError::unavailable("dispatchd is stopping"),
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
