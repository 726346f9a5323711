//! Responses: an answer's bytes with the headers that they need. Nothing is decided here.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use dispatchd_core::wire::http::{Problem, Results};

/// Seconds after which what is refused for now may be sent again: as long as a burst lasts.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) type Answer = Response<AnswerBody>;

/// What is written after the head: a piece that is there already, and what is yet to be printed.
#[derive(Debug)]
pub(super) struct AnswerBody {
    piece: Option<Bytes>,
    rest: Option<Results>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = |rest: &mut Results| rest.next_piece().map(Bytes::from);
        let piece = self.piece.take().or_else(|| self.rest.as_mut().and_then(next));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            None => SizeHint::with_exact(self.piece.as_ref().map_or(0, Bytes::len) as u64),
            Some(_) => SizeHint::default(),
        }
    }
}

pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_body(status, JSON, AnswerBody { piece: Some(body.into()), rest: None })
}

/// The answers to several events. Short ones tell their length.
pub(super) fn results(mut results: Results) -> Answer {
    let piece = results.next_piece().map(Bytes::from);
    let rest = (!results.is_ended()).then_some(results);
    with_body(StatusCode::OK, JSON, AnswerBody { piece, rest })
}

/// The answer to a request that is refused as a whole.
pub(super) fn problem(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).expect("the statuses are those of RFC 9110");
    let mut body = Vec::new();
    problem.print(&mut body);
    let kind = HeaderValue::from_static("application/problem+json");
    let answer = with_body(status, kind, AnswerBody { piece: Some(body.into()), rest: None });
    if problem.refusal.code.retryable() {
        with(answer, RETRY_AFTER, RETRY_AFTER_SECONDS)
    } else {
        answer
    }
}

pub(super) fn allowing(answer: Answer, methods: &'static str) -> Answer {
    with(answer, ALLOW, HeaderValue::from_static(methods))
}

/// The connection ends with this answer.
pub(super) fn closing(answer: Answer) -> Answer {
    with(answer, CONNECTION, HeaderValue::from_static("close"))
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}

fn with_body(status: StatusCode, kind: HeaderValue, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, kind)
}
