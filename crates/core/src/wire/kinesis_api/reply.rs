//! What a call is answered: positions and errors → the body of a reply, in the format of the call.
//!
//! A success always names a shard and a sequence number: every SDK takes a reply without them for
//! one.

use minicbor::Encoder;

use super::error::ApiError;
use super::format::Format;
use crate::json::push_json_str;
use crate::model::Position;

/// What became of one record.
pub type RecordReply = Result<Position, ApiError>;

/// The body of an answer to PutRecord.
pub fn put_record(format: Format, position: &Position) -> Vec<u8> {
    let mut body = Vec::new();
    match format {
        Format::Json => push_position(&mut body, position),
        Format::Cbor => encoded(&mut body, |cbor| {
            cbor.map(2)?;
            write_position(cbor, position)
        }),
    }
    body
}

/// The body of an answer to PutRecords: one reply a record, in their order.
pub fn put_records(format: Format, replies: &[RecordReply]) -> Vec<u8> {
    let failed = replies.iter().filter(|reply| reply.is_err()).count();
    let mut body = Vec::new();
    match format {
        Format::Json => {
            body.extend_from_slice(b"{\"FailedRecordCount\":");
            body.extend_from_slice(failed.to_string().as_bytes());
            body.extend_from_slice(b",\"Records\":[");
            for (index, reply) in replies.iter().enumerate() {
                if index > 0 {
                    body.push(b',');
                }
                match reply {
                    Ok(position) => push_position(&mut body, position),
                    Err(error) => push_pair(
                        &mut body,
                        ["{\"ErrorCode\":", ",\"ErrorMessage\":"],
                        [error.name, &error.message],
                    ),
                }
            }
            body.extend_from_slice(b"]}");
        }
        Format::Cbor => encoded(&mut body, |cbor| {
            cbor.map(2)?.str("FailedRecordCount")?.u64(failed as u64)?;
            cbor.str("Records")?.array(replies.len() as u64)?;
            for reply in replies {
                cbor.map(2)?;
                match reply {
                    Ok(position) => write_position(cbor, position)?,
                    Err(error) => {
                        cbor.str("ErrorCode")?.str(error.name)?;
                        cbor.str("ErrorMessage")?.str(&error.message)?;
                    }
                }
            }
            Ok(())
        }),
    }
    body
}

/// The body of an answer that is an error.
pub fn error(format: Format, error: &ApiError) -> Vec<u8> {
    let mut body = Vec::new();
    match format {
        Format::Json => {
            push_pair(&mut body, ["{\"__type\":", ",\"message\":"], [error.name, &error.message])
        }
        Format::Cbor => encoded(&mut body, |cbor| {
            cbor.map(2)?.str("__type")?.str(error.name)?;
            cbor.str("message")?.str(&error.message)?;
            Ok(())
        }),
    }
    body
}

fn push_position(body: &mut Vec<u8>, position: &Position) {
    let names = ["{\"SequenceNumber\":", ",\"ShardId\":"];
    push_pair(body, names, [&position.sequence_number, &position.shard_id]);
}

/// An object of two texts; the first name opens it.
fn push_pair(body: &mut Vec<u8>, names: [&str; 2], texts: [&str; 2]) {
    for (name, text) in names.into_iter().zip(texts) {
        body.extend_from_slice(name.as_bytes());
        push_json_str(body, text);
    }
    body.push(b'}');
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write_position(cbor: &mut Encoder<&mut Vec<u8>>, position: &Position) -> Written {
    cbor.str("SequenceNumber")?.str(&position.sequence_number)?;
    cbor.str("ShardId")?.str(&position.shard_id)?.ok()
}

fn encoded(body: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) {
    write(&mut Encoder::new(body)).expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: &str) -> Position {
        Position {
            shard_id: "shardId-000000000001".into(),
            sequence_number: number.into(),
            sub_sequence_number: None,
        }
    }

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).expect("JSON is UTF-8")
    }

    /// A second reader's view of CBOR, as JSON.
    fn cbor(body: &[u8]) -> serde_json::Value {
        let value: ciborium::Value = ciborium::from_reader(body).expect("it is CBOR");
        value.deserialized().expect("it has texts, numbers, maps and arrays alone")
    }

    #[test]
    fn each_record_has_its_place_or_its_error_in_both_formats() {
        let replies =
            [Ok(position("7")), Err(ApiError::throttled("no \"room\"")), Ok(position("8"))];
        let json = text(put_records(Format::Json, &replies));
        assert_eq!(
            json,
            "{\"FailedRecordCount\":1,\"Records\":[{\"SequenceNumber\":\"7\",\"ShardId\":\
             \"shardId-000000000001\"},{\"ErrorCode\":\"ProvisionedThroughputExceededException\",\
             \"ErrorMessage\":\"no \\\"room\\\"\"},{\"SequenceNumber\":\"8\",\"ShardId\":\
             \"shardId-000000000001\"}]}"
        );
        let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(cbor(&put_records(Format::Cbor, &replies)), json);
    }

    #[test]
    fn one_record_has_its_place_and_an_error_its_name_in_both_formats() {
        let place = position("495");
        let json = text(put_record(Format::Json, &place));
        assert_eq!(json, "{\"SequenceNumber\":\"495\",\"ShardId\":\"shardId-000000000001\"}");
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        assert_eq!(cbor(&put_record(Format::Cbor, &place)), read(&json));
        let wrong = ApiError::invalid("Data is missing");
        let json = text(error(Format::Json, &wrong));
        assert_eq!(json, "{\"__type\":\"ValidationException\",\"message\":\"Data is missing\"}");
        assert_eq!(cbor(&error(Format::Cbor, &wrong)), read(&json));
    }
}
