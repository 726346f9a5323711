//! Reads the members of a call in CBOR.

use bytes::Bytes;
use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

use super::error::ApiError;
use super::members::{Members, RecordMembers, Records};
use crate::wire::cbor::{bytes, each_field, more, rest, text};

/// Reads the members of a body.
pub(super) fn read(body: &[u8]) -> Result<Members<'_>, ApiError> {
    let mut decoder = Decoder::new(body);
    match members(&mut decoder) {
        Ok(members) if rest(&decoder) == 0 => Ok(members),
        _ => Err(ApiError::unreadable(format!(
            "the body is no CBOR map with the members of this operation: byte {}",
            decoder.position()
        ))),
    }
}

fn members<'a>(decoder: &mut Decoder<'a>) -> Result<Members<'a>, Error> {
    let mut members = Members::default();
    each_field(decoder, |name, decoder| {
        match name {
            "StreamName" => members.stream_name = text(decoder)?,
            "StreamARN" => members.stream_arn = text(decoder)?,
            "StreamId" => members.has_stream_id = text(decoder)?.is_some(),
            "DryRun" => members.dry_run = switch(decoder)?,
            "Records" => members.records = records(decoder)?,
            name => record_member(&mut members.record, name, decoder)?,
        }
        Ok(())
    })?;
    Ok(members)
}

/// Reads a member of a record, or passes over one that is none.
fn record_member<'a>(
    record: &mut RecordMembers<'a>,
    name: &str,
    decoder: &mut Decoder<'a>,
) -> Result<(), Error> {
    match name {
        "Data" => record.data = bytes(decoder)?.map(|data| Bytes::from(data.into_owned())),
        "PartitionKey" => record.partition_key = text(decoder)?,
        "ExplicitHashKey" => record.explicit_hash_key = text(decoder)?,
        _ => decoder.skip()?,
    }
    Ok(())
}

fn records<'a>(decoder: &mut Decoder<'a>) -> Result<Option<Records<'a>>, Error> {
    if decoder.datatype()? == Type::Null {
        return decoder.null().map(|()| None);
    }
    let (mut records, mut left) = (Records::default(), decoder.array()?);
    while more(decoder, &mut left)? {
        if records.has_room() {
            let mut record = RecordMembers::default();
            each_field(decoder, |name, decoder| record_member(&mut record, name, decoder))?;
            records.first.push(record);
        } else {
            decoder.skip()?;
        }
        records.count += 1;
    }
    Ok(Some(records))
}

fn switch(decoder: &mut Decoder<'_>) -> Result<Option<bool>, Error> {
    if decoder.datatype()? == Type::Null {
        return decoder.null().map(|()| None);
    }
    decoder.bool().map(Some)
}
