//! A call that only asks what the stream is like, on its way to the service and back: its members
//! are checked and printed anew for the service, which speaks JSON with us, and the service's reply
//! is printed in the format of the call.
//!
//! A time is a number of seconds in JSON and, against the RFC, one of milliseconds in CBOR.

use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::format::Format;
use super::operation::Describe;
use super::served::{self, Named};
use crate::model::StreamId;
use crate::wire::cbor::{each_field, more, rest, text};

/// Bytes of the largest call that is read. The members of such a call are names and numbers, and a
/// token of at most 1 MiB that nobody has seen longer than some hundred bytes.
pub const CALL_BYTES_MAX: usize = 16 * 1024;

/// How deep a call or a reply may be nested. The service's own are four deep.
const DEPTH_MAX: usize = 8;

/// A time in CBOR (RFC 8949, 3.4.2), which Kinesis' SDKs count in milliseconds.
const TIME: Tag = Tag::new(1);

/// The members of each call besides those that name the stream.
fn members(describe: Describe) -> &'static [&'static str] {
    match describe {
        Describe::ListShards => &[
            "NextToken",
            "ExclusiveStartShardId",
            "MaxResults",
            "StreamCreationTimestamp",
            "ShardFilter",
        ],
        Describe::StreamSummary => &[],
        Describe::Stream => &["Limit", "ExclusiveStartShardId"],
    }
}

/// Reads a call, and gives the body that asks the service for the same. Two calls for the same give
/// the same body.
///
/// # Errors
/// The body cannot be read, or the call is about another stream.
pub fn read(
    describe: Describe,
    format: Format,
    body: &[u8],
    stream: &StreamId,
) -> Result<Vec<u8>, ApiError> {
    if body.len() > CALL_BYTES_MAX {
        return Err(ApiError::invalid(format!("the call is larger than {CALL_BYTES_MAX} bytes")));
    }
    let asked = match format {
        Format::Json => serde_json::from_slice(body).ok(),
        Format::Cbor => whole_value(body),
    };
    let Some(Value::Object(mut asked)) = asked else {
        return Err(ApiError::unreadable(format!(
            "the body is no {} with the members of this operation",
            match format {
                Format::Json => "JSON object",
                Format::Cbor => "CBOR map",
            }
        )));
    };
    asked.retain(|_, value| !value.is_null());
    let token = asked.contains_key("NextToken");
    let said = |name| asked.get(name).map(|value| value.as_str().unwrap_or_default());
    let (name, arn) = (said("StreamName"), said("StreamARN"));
    // A token stands for its stream: the service takes it without a name.
    if !(describe == Describe::ListShards && token && name.is_none() && arn.is_none()) {
        served::check(Named { name, arn, has_stream_id: said("StreamId").is_some() }, stream)?;
    }
    let mut sent = Map::new();
    if !(describe == Describe::ListShards && token) {
        let (field, named) = match stream {
            StreamId::Name(name) => ("StreamName", name),
            StreamId::Arn(arn) => ("StreamARN", arn),
        };
        sent.insert(field.into(), named.as_str().into());
    }
    for member in members(describe) {
        if let Some(value) = asked.remove(*member) {
            sent.insert((*member).into(), value);
        }
    }
    Ok(Value::Object(sent).to_string().into_bytes())
}

/// Prints a reply of the service's, which is JSON, in the format of the call; `None` where it is
/// none.
pub fn reply(format: Format, body: &[u8]) -> Option<Vec<u8>> {
    let reply: Value = serde_json::from_slice(body).ok()?;
    match format {
        Format::Json => Some(body.to_vec()),
        Format::Cbor => {
            let mut printed = Encoder::new(Vec::new());
            write(&mut printed, "", &reply).expect("a Vec takes every write");
            Some(printed.into_writer())
        }
    }
}

fn whole_value(body: &[u8]) -> Option<Value> {
    let mut decoder = Decoder::new(body);
    value(&mut decoder, DEPTH_MAX).ok().filter(|_| rest(&decoder) == 0)
}

/// Reads what a call's member may be. A number with the tag of a time is one of milliseconds.
fn value(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, minicbor::decode::Error> {
    let refused = || minicbor::decode::Error::message("no member of a call");
    if depth == 0 {
        return Err(refused());
    }
    Ok(match decoder.datatype()? {
        Type::Null => decoder.null().map(|()| Value::Null)?,
        Type::Bool => decoder.bool()?.into(),
        Type::String | Type::StringIndef => text(decoder)?.map_or(Value::Null, |text| text.into()),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64()?.into(),
        Type::F16 | Type::F32 | Type::F64 => decoder.f64()?.into(),
        Type::Tag if decoder.tag()? == TIME => match value(decoder, depth - 1)?.as_f64() {
            Some(ms) => (ms / 1000.0).into(),
            None => return Err(refused()),
        },
        Type::Map | Type::MapIndef => {
            let mut object = Map::new();
            each_field(decoder, |name, decoder| {
                object.insert(name.to_owned(), value(decoder, depth - 1)?);
                Ok(())
            })?;
            Value::Object(object)
        }
        Type::Array | Type::ArrayIndef => {
            let (mut array, mut left) = (Vec::new(), decoder.array()?);
            while more(decoder, &mut left)? {
                array.push(value(decoder, depth - 1)?);
            }
            Value::Array(array)
        }
        _ => return Err(refused()),
    })
}

/// Prints a value of the member of this name.
fn write(
    cbor: &mut Encoder<Vec<u8>>,
    name: &str,
    value: &Value,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    match value {
        Value::Null => cbor.null()?,
        Value::Bool(value) => cbor.bool(*value)?,
        Value::String(text) => cbor.str(text)?,
        Value::Number(number) => match (number.as_f64(), number.as_i64()) {
            (Some(seconds), _) if name.ends_with("Timestamp") => {
                cbor.tag(TIME)?.i64((seconds * 1000.0).round() as i64)?
            }
            (_, Some(whole)) => cbor.i64(whole)?,
            (seconds, None) => cbor.f64(seconds.unwrap_or_default())?,
        },
        Value::Array(values) => {
            cbor.array(values.len() as u64)?;
            for value in values {
                write(cbor, name, value)?;
            }
            cbor
        }
        Value::Object(members) => {
            cbor.map(members.len() as u64)?;
            for (name, value) in members {
                write(cbor.str(name)?, name, value)?;
            }
            cbor
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> StreamId {
        StreamId::Name("orders".into())
    }

    fn sent(describe: Describe, body: &str) -> Result<String, &'static str> {
        let sent = read(describe, Format::Json, body.as_bytes(), &orders());
        sent.map(|body| String::from_utf8(body).expect("JSON")).map_err(|error| error.name)
    }

    #[test]
    fn a_call_is_passed_on_with_its_members_and_with_the_configured_stream_alone() {
        use Describe::{ListShards, Stream, StreamSummary};
        for (describe, body, passed_on) in [
            (
                StreamSummary,
                r#"{"StreamName":"orders","Other":1}"#,
                Ok(r#"{"StreamName":"orders"}"#),
            ),
            (
                StreamSummary,
                r#"{"StreamARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders"}"#,
                Ok(r#"{"StreamName":"orders"}"#),
            ),
            (
                Stream,
                r#"{"Limit":5,"StreamName":"orders","ExclusiveStartShardId":null}"#,
                Ok(r#"{"Limit":5,"StreamName":"orders"}"#),
            ),
            (ListShards, r#"{"NextToken":"abc"}"#, Ok(r#"{"NextToken":"abc"}"#)),
            (ListShards, r#"{"NextToken":null}"#, Err("ValidationException")),
            (Stream, r#"{"NextToken":"abc"}"#, Err("ValidationException")),
            (StreamSummary, r#"{"StreamName":"others"}"#, Err("ResourceNotFoundException")),
            (StreamSummary, r#"{"StreamName":["orders"]}"#, Err("ResourceNotFoundException")),
            (StreamSummary, "[]", Err("SerializationException")),
            (StreamSummary, "{", Err("SerializationException")),
        ] {
            assert_eq!(sent(describe, body), passed_on.map(str::to_owned), "{body}");
        }
        let long = format!("{{\"NextToken\":\"{}\"}}", "a".repeat(CALL_BYTES_MAX));
        assert_eq!(sent(ListShards, &long), Err("ValidationException"));
    }

    #[test]
    fn times_are_milliseconds_in_cbor_and_seconds_in_json() {
        // {"StreamName": "orders", "StreamCreationTimestamp": 1(1700000000500)}, as Java sends it.
        let mut cbor = Encoder::new(Vec::new());
        cbor.begin_map().and_then(|cbor| cbor.str("StreamName")?.str("orders")).expect("a Vec");
        cbor.str("StreamCreationTimestamp")
            .and_then(|cbor| cbor.tag(TIME)?.u64(1_700_000_000_500)?.end())
            .expect("a Vec");
        let call = cbor.into_writer();
        let sent = read(Describe::ListShards, Format::Cbor, &call, &orders()).expect("it holds");
        let sent: Value = serde_json::from_slice(&sent).expect("JSON");
        assert_eq!(sent["StreamCreationTimestamp"], 1_700_000_000.5);

        let told = br#"{"Shards":[{"ShardId":"s"}],"StreamCreationTimestamp":1700000000.5,"N":24}"#;
        assert_eq!(reply(Format::Json, told).expect("it is JSON"), told);
        let printed = reply(Format::Cbor, told).expect("it is JSON");
        let read: ciborium::Value = ciborium::from_reader(&printed[..]).expect("it is CBOR");
        let member = |name: &str| {
            let members = read.as_map().expect("a map");
            &members.iter().find(|(key, _)| key.as_text() == Some(name)).expect("it is there").1
        };
        let time = member("StreamCreationTimestamp").as_tag().expect("a tag");
        assert_eq!((time.0, time.1.as_integer()), (1, Some(1_700_000_000_500_i64.into())));
        assert_eq!(member("N").as_integer(), Some(24.into()));
        assert_eq!(reply(Format::Cbor, b"<html>"), None);
    }

    #[test]
    fn a_call_that_is_nested_deeper_than_any_of_the_services_is_not_read() {
        let deep = |depth: usize| {
            let mut body = [0xa1, 0x61, b'a'].repeat(depth);
            body.push(0xf6);
            whole_value(&body).is_some()
        };
        assert!(deep(DEPTH_MAX - 1) && !deep(DEPTH_MAX) && !deep(5000));
    }
}
