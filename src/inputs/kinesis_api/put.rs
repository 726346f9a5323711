//! PutRecord and PutRecords: a call's records take the way of every event, and its reply is held
//! until they are durable.
//!
//! Copies of one call, which SDKs send when a reply is late, are known by the call's invocation and
//! the record's place in it: they join the first one and make no second record.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use uuid::Uuid;

use super::answer::Done;
use super::metrics::CallOutcome;
use super::shared::KinesisApiShared;
use crate::inputs::body::Body;
use crate::inputs::exchange::{Exchange, Patience};
use dispatchd_core::model::{Distribution, EventAnswer, PartitionKey, Record, derived_id};
use dispatchd_core::wire::kinesis_api::error::ApiError;
use dispatchd_core::wire::kinesis_api::format::Format;
use dispatchd_core::wire::kinesis_api::put::{self, Put, PutRecord, Served};
use dispatchd_core::wire::kinesis_api::reply::{self, RecordReply};
use dispatchd_producer::intake::EventRequest;
use dispatchd_producer::ticket::EventId;

/// Takes a call's records in and answers once each is settled, or at the deadline.
///
/// # Errors
/// The call is refused as a whole, or none of its records is known to be stored and the caller's
/// SDK is to send it again.
pub(super) async fn answered(
    put: Put,
    format: Format,
    mut body: Body<'_>,
    invocation: Option<&str>,
    shared: &Arc<KinesisApiShared>,
    deadline: Instant,
) -> Result<Done, ApiError> {
    let served = Served {
        stream: &shared.stream,
        places_records: shared.facts.borrow().distribution == Distribution::Auto,
        record_bytes_max: shared.exchange.record_bytes_max(),
    };
    let records = put::read(put, format, &body.bytes, &served)?;
    body.bytes = Bytes::new(); // its room is the records' now, until the budget has taken them
    let mut exchange = Exchange::begin(&shared.exchange, Patience::Until(deadline));
    let call = invocation.map(|invocation| derived_id(&["amz-sdk-invocation-id", invocation]));
    for (record, index) in records.into_iter().zip(0..) {
        let request = request(record, index, call, shared, &exchange);
        exchange.offer(request).await;
    }
    drop(body);
    let replies = exchange.answers().await.into_iter().map(reply).collect();
    match put {
        Put::Record => one(format, replies),
        Put::Records => many(format, replies),
    }
}

/// What the intake is offered for one record of a call. `call`: the id of the call, if it may come
/// again.
fn request(
    record: PutRecord,
    index: u128,
    call: Option<Uuid>,
    shared: &KinesisApiShared,
    exchange: &Exchange,
) -> EventRequest<'static> {
    let PutRecord { key, explicit_hash, data } = record;
    let id = match call {
        Some(call) => {
            // Two calls' ids differ in more bits than those that an index takes.
            let id = Uuid::from_u128(call.as_u128() ^ index);
            let said = (&key, explicit_hash, &*data);
            EventId::Chosen { id, said: shared.exchange.fingerprints().of(said) }
        }
        None => EventId::Made(Uuid::new_v4()),
    };
    let key = key.unwrap_or_else(|| PartitionKey::of_id(id.id()));
    EventRequest::sealed(Record::new(key, explicit_hash, data), exchange.next_reference(), id)
}

/// What a record's answer is in the service's words. `None`: it is in flight.
fn reply(answer: Option<EventAnswer>) -> RecordReply {
    match answer {
        Some(EventAnswer::Durable(durable)) => Ok(durable.position),
        Some(EventAnswer::Refused(refusal)) => Err(ApiError::of(&refusal)),
        None => Err(ApiError::maybe_done(
            "not confirmed by Kinesis while the reply may be held (kinesis_api.timeout): the record \
             may be stored",
        )),
    }
}

fn one(format: Format, replies: Vec<RecordReply>) -> Result<Done, ApiError> {
    let position = replies.into_iter().next().expect("there was one record")?;
    Ok(Done { body: reply::put_record(format, &position), outcome: CallOutcome::Ok })
}

/// Where no record is known to be stored, and sending them again can help, the whole call is an
/// error: SDKs send such a call again, and none of them looks into a success for records that
/// failed.
fn many(format: Format, replies: Vec<RecordReply>) -> Result<Done, ApiError> {
    let again = |reply: &RecordReply| reply.as_ref().is_err_and(ApiError::is_sent_again);
    if replies.iter().all(again) {
        let errors = replies.into_iter().filter_map(Result::err);
        return Err(errors.max_by_key(|error| error.status).expect("a call has a record"));
    }
    let is_partial = replies.iter().any(Result::is_err);
    let outcome = if is_partial { CallOutcome::Partial } else { CallOutcome::Ok };
    Ok(Done { body: reply::put_records(format, &replies), outcome })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::model::Position;

    fn stored() -> RecordReply {
        let (shard_id, sequence_number) = ("shardId-000000000000".into(), "1".into());
        Ok(Position { shard_id, sequence_number, sub_sequence_number: None })
    }

    fn told(replies: &[RecordReply]) -> Result<CallOutcome, (&'static str, u16)> {
        let done = many(Format::Json, replies.to_vec());
        done.map(|done| done.outcome).map_err(|error| (error.name, error.status))
    }

    #[test]
    fn a_call_fails_as_a_whole_only_where_nothing_is_known_to_be_stored_and_again_can_help() {
        let throttled = || Err(ApiError::throttled("full"));
        let unclear = || Err(ApiError::maybe_done("in flight"));
        let rejected = || Err(ApiError::new("InvalidArgumentException", "poison"));
        assert_eq!(told(&[stored(), stored()]), Ok(CallOutcome::Ok));
        assert_eq!(told(&[stored(), throttled()]), Ok(CallOutcome::Partial));
        assert_eq!(told(&[rejected(), throttled()]), Ok(CallOutcome::Partial));
        assert_eq!(told(&[rejected()]), Ok(CallOutcome::Partial), "never again, by nobody");
        let full = Err(("ProvisionedThroughputExceededException", 400));
        assert_eq!(told(&[throttled(), throttled()]), full);
        let failed = Err(("InternalFailure", 500));
        assert_eq!(told(&[throttled(), unclear(), throttled()]), failed, "the careful word");
    }
}
