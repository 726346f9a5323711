//! Bodies in CBOR (RFC 8949), `application/x-amz-cbor-1.1`: what AWS's SDK for Java speaks to
//! Kinesis. The fields are those of the JSON. Data are bytes and need no base64. AWS does not
//! document this format.

use std::borrow::Cow;

use dispatchd_core::model::{Entries, HashKey, Record, StreamId, Verdict};
use dispatchd_core::wire::cbor::{each_field, more, rest, text};
use minicbor::decode;
use minicbor::{Decoder, Encoder};

use super::entry::{data, data_bytes_max, stream_field};
use super::reply::{BadReply, EntryResult, ErrorReply, ShardIds};

/// The most bytes of an item's head: one byte, and a length of eight.
const HEAD_BYTES_MAX: usize = 9;

const ENTRY_FRAME_BYTES_MAX: usize = "DataPartitionKey".len() + 5 * HEAD_BYTES_MAX;
const HASH_KEY_BYTES_MAX: usize =
    "ExplicitHashKey".len() + 2 * HEAD_BYTES_MAX + HashKey::DIGITS_MAX;

impl From<decode::Error> for BadReply {
    fn from(error: decode::Error) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn request(stream: &StreamId, entries: &Entries<'_>) -> Vec<u8> {
    let (field, name) = stream_field(stream);
    let mut encoder = Encoder::new(Vec::with_capacity(body_bytes_max(stream, entries)));
    write(&mut encoder, field, name, entries).expect("a Vec takes every write");
    encoder.into_writer()
}

/// The most bytes of the body, so that it is allocated once.
pub(super) fn body_bytes_max(stream: &StreamId, entries: &Entries<'_>) -> usize {
    let (field, name) = stream_field(stream);
    let frame_bytes = "Records".len() + field.len() + name.len() + 5 * HEAD_BYTES_MAX;
    frame_bytes + entries.iter().map(entry_bytes_max).sum::<usize>()
}

fn write(
    encoder: &mut Encoder<Vec<u8>>,
    field: &str,
    name: &str,
    entries: &Entries<'_>,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    encoder.map(2)?.str("Records")?.array(entries.len() as u64)?;
    for events in entries.iter() {
        // Events of one entry belong to one shard: the keys of the first one place them all.
        let (key, explicit_hash) = (&events[0].key, events[0].explicit_hash());
        encoder.map(2 + u64::from(explicit_hash.is_some()))?;
        encoder.str("Data")?.bytes(&data(events))?;
        encoder.str("PartitionKey")?.str(key.as_str())?;
        if let Some(HashKey(hash)) = explicit_hash {
            encoder.str("ExplicitHashKey")?.str(&hash.to_string())?;
        }
    }
    encoder.str(field)?.str(name)?.ok()
}

fn entry_bytes_max(events: &[&Record]) -> usize {
    let hash_key_bytes = events[0].explicit_hash().map_or(0, |_| HASH_KEY_BYTES_MAX);
    ENTRY_FRAME_BYTES_MAX + data_bytes_max(events) + events[0].key.as_str().len() + hash_key_bytes
}

pub(super) fn reply(body: &[u8]) -> Result<Vec<Verdict>, BadReply> {
    let mut decoder = Decoder::new(body);
    let mut verdicts = None;
    each_field(&mut decoder, |field, decoder| {
        match field {
            "Records" => verdicts = Some(records(decoder)?),
            _ => decoder.skip()?,
        }
        Ok(())
    })?;
    end(&decoder)?;
    verdicts.ok_or_else(|| BadReply("it has no Records".into()))
}

pub(super) fn error(body: &[u8]) -> Result<ErrorReply, BadReply> {
    let mut decoder = Decoder::new(body);
    let (mut code, mut message) = (None, None);
    each_field(&mut decoder, |field, decoder| {
        match field {
            "__type" => code = text(decoder)?,
            "message" | "Message" => message = text(decoder)?,
            _ => decoder.skip()?,
        }
        Ok(())
    })?;
    end(&decoder)?;
    Ok(ErrorReply { code: code.map(Cow::into_owned), message: message.map(Cow::into_owned) })
}

fn records(decoder: &mut Decoder<'_>) -> Result<Vec<Verdict>, decode::Error> {
    let (mut verdicts, mut shards) = (Vec::new(), ShardIds::default());
    let mut left = decoder.array()?;
    while more(decoder, &mut left)? {
        verdicts.push(entry(decoder)?.verdict(&mut shards));
    }
    Ok(verdicts)
}

fn entry<'a>(decoder: &mut Decoder<'a>) -> Result<EntryResult<'a>, decode::Error> {
    let mut result = EntryResult::default();
    each_field(decoder, |field, decoder| {
        match field {
            "ShardId" => result.shard_id = text(decoder)?,
            "SequenceNumber" => result.sequence_number = text(decoder)?,
            "ErrorCode" => result.error_code = text(decoder)?,
            "ErrorMessage" => result.error_message = text(decoder)?,
            _ => decoder.skip()?,
        }
        Ok(())
    })?;
    Ok(result)
}

/// Checks that nothing follows.
fn end(decoder: &Decoder<'_>) -> Result<(), BadReply> {
    let rest = rest(decoder);
    if rest == 0 { Ok(()) } else { Err(BadReply(format!("{rest} bytes follow it"))) }
}
