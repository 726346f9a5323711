//! PutRecords on the wire, AWS JSON 1.1: what the proxy reads in a request, takes out of it, and
//! puts into a reply. Pure; never decides what fails.

use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::plan::{Poison, RecordError, Refusal};
use crate::http::{AnyError, JSON};
use crate::stream::hash_of;

/// A PutRecords request, read as far as the proxy needs it; the rest is kept as it came.
pub(super) struct PutRequest {
    whole: Map<String, Value>,
    pub(super) stream: String,
    pub(super) records: Vec<PutRecord>,
}

pub(super) struct PutRecord {
    pub(super) partition_key: String,
    pub(super) explicit_hash_key: Option<String>,
    pub(super) data: Bytes,
    raw: Value,
}

impl PutRequest {
    /// `None` where the upstream should say what is wrong with it.
    pub(super) fn parse(body: &[u8]) -> Option<PutRequest> {
        let mut whole: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let Value::Array(records) = whole.remove("Records")? else {
            return None;
        };
        let text = |name: &str| whole.get(name).and_then(Value::as_str);
        // An ARN ends in `stream/NAME`.
        let stream =
            text("StreamName").or_else(|| text("StreamARN")?.rsplit('/').next())?.to_owned();
        let records = records.into_iter().map(PutRecord::parse).collect::<Option<_>>()?;
        Some(PutRequest { whole, stream, records })
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(PutRecord::bytes).sum()
    }

    /// The request with only those records that no error awaits.
    pub(super) fn without(&self, errors: &[Option<RecordError>]) -> Bytes {
        let kept = self.records.iter().zip(errors).filter(|(_, error)| error.is_none());
        let mut whole = self.whole.clone();
        whole.insert("Records".to_owned(), kept.map(|(record, _)| record.raw.clone()).collect());
        serde_json::to_vec(&whole).expect("a JSON value prints").into()
    }

    /// The refusal of this request if a record in it is over the limit.
    pub(super) fn poisoned(&self, poison: Poison) -> Option<Refusal> {
        let places = (0..self.records.len())
            .filter(|place| self.records[*place].bytes() > poison.max_record_bytes);
        let places: Vec<usize> = places.collect();
        if places.is_empty() {
            return None;
        }
        let limit = poison.max_record_bytes;
        let named = |place: &usize| {
            format!(
                "Value at 'records.{}.member.data' failed to satisfy constraint: \
                 Member must have length less than or equal to {limit}",
                place + 1
            )
        };
        let message = if poison.named {
            let errors = if places.len() == 1 { "error" } else { "errors" };
            let all: Vec<String> = places.iter().map(named).collect();
            format!("{} validation {errors} detected: {}", places.len(), all.join("; "))
        } else {
            "The request holds a record that is too large".to_owned()
        };
        Some(Refusal::new(400, "ValidationException", &message))
    }
}

impl PutRecord {
    fn parse(raw: Value) -> Option<PutRecord> {
        let text = |name: &str| raw.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(PutRecord {
            partition_key: text("PartitionKey")?,
            explicit_hash_key: text("ExplicitHashKey"),
            data: STANDARD.decode(text("Data")?).ok()?.into(),
            raw,
        })
    }

    /// As AWS counts a record: its data and its partition key.
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }

    /// `None` for an explicit key that is no number; the upstream will say so.
    pub(super) fn hash(&self) -> Option<u128> {
        match &self.explicit_hash_key {
            Some(number) => number.parse().ok(),
            None => Some(hash_of(&self.partition_key)),
        }
    }
}

/// A PutRecords reply: what the upstream answered, or an empty one.
#[derive(Default)]
pub(super) struct PutReply {
    whole: Map<String, Value>,
    pub(super) records: Vec<Value>,
}

impl PutReply {
    /// `None` where the upstream's answer is no PutRecords reply.
    pub(super) fn parse(body: &[u8]) -> Option<PutReply> {
        let mut whole: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let Value::Array(records) = whole.remove("Records")? else {
            return None;
        };
        Some(PutReply { whole, records })
    }

    /// Puts the proxy's own errors back in between, so that reply and request have one order.
    pub(super) fn merge(self, errors: Vec<Option<Value>>) -> PutReply {
        let mut answered = self.records.into_iter();
        let merged = errors.into_iter().filter_map(|error| error.or_else(|| answered.next()));
        PutReply { whole: self.whole, records: merged.collect() }
    }

    pub(super) fn failed(&self) -> usize {
        self.records.iter().filter(|record| !record["ErrorCode"].is_null()).count()
    }

    pub(super) fn into_body(mut self) -> Bytes {
        self.whole.insert("FailedRecordCount".to_owned(), self.failed().into());
        self.whole.insert("Records".to_owned(), Value::Array(self.records));
        serde_json::to_vec(&self.whole).expect("a JSON value prints").into()
    }
}

/// Makes the body of DescribeStreamSummary say that the stream takes records of so much. Errors
/// stay as they are.
pub(super) fn with_limit(kib: usize) -> impl FnOnce(Bytes) -> Bytes {
    move |body| match serde_json::from_slice::<Value>(&body) {
        Ok(mut answer) if answer["StreamDescriptionSummary"].is_object() => {
            answer["StreamDescriptionSummary"]["MaxRecordSizeInKiB"] = kib.into();
            answer.to_string().into()
        }
        _ => body,
    }
}

/// A record's error as AWS words it.
pub(super) fn record_error(error: &RecordError, stream: &str, shard: &str) -> Value {
    let (code, message) = match error {
        RecordError::Throttled => (
            "ProvisionedThroughputExceededException",
            format!(
                "Rate exceeded for shard {shard} in stream {stream} under account 000000000000."
            ),
        ),
        RecordError::Internal => ("InternalFailure", "Internal service failure.".to_owned()),
        RecordError::Other { code, message } => (code.as_str(), message.clone()),
    };
    json!({ "ErrorCode": code, "ErrorMessage": message })
}

/// An empty success that says what it is.
pub(super) fn json_answer() -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    answer
}

/// The error form of AWS JSON 1.1.
pub(super) fn refusal(refusal: &Refusal) -> Response<Bytes> {
    let mut answer = json_answer();
    *answer.status_mut() =
        StatusCode::from_u16(refusal.status).expect("a refusal has an HTTP status");
    let Some(code) = &refusal.code else {
        *answer.body_mut() = refusal.message.clone().into();
        return answer;
    };
    *answer.body_mut() = json!({ "__type": code, "message": refusal.message }).to_string().into();
    let error_type = code.parse().expect("an error code is a header value");
    answer.headers_mut().insert("x-amzn-errortype", error_type);
    answer
}

/// A body that promises all its bytes, gives half of them, and breaks the connection.
pub(super) struct HalfBody {
    half: Option<Bytes>,
    flushed: bool,
    promised: u64,
}

impl HalfBody {
    pub(super) fn of(body: &Bytes) -> HalfBody {
        HalfBody {
            half: Some(body.slice(..body.len() / 2)),
            flushed: false,
            promised: body.len() as u64,
        }
    }
}

impl Body for HalfBody {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !self.flushed {
            // hyper drops what it has buffered when a body fails. It flushes when a body has
            // nothing yet: so, once, nothing.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err("cut by plan".into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
