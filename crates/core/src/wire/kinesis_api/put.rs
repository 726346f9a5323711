//! A PutRecord or PutRecords call → its records. Every member is checked, as SDKs do not; what is
//! wrong is told by its name and its limit, and never by its value.
//!
//! Either the whole call is taken, or nothing of it: so does the service.

use std::borrow::Cow;

use bytes::Bytes;

use super::error::ApiError;
use super::format::Format;
use super::members::{Members, RecordMembers, Records};
use super::served::{self, Named};
use super::{cbor, json};
use crate::limits::{REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX};
use crate::model::{HashKey, PartitionKey, StreamId};

/// One record of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct PutRecord {
    /// `None` where the stream places records itself and the caller gave none.
    pub key: Option<PartitionKey>,
    pub explicit_hash: Option<HashKey>,
    /// The data as it is to be stored.
    pub data: Bytes,
}

/// What a call has to fit.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    pub stream: &'a StreamId,
    /// Whether the stream places records itself, so that a record needs no key.
    pub places_records: bool,
    /// The largest record that is taken, data and partition key.
    pub record_bytes_max: usize,
}

/// Which of the two calls it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Record,
    Records,
}

/// Reads a call. A `DryRun` is told as an error, as the service tells it: nothing is to be written.
///
/// # Errors
/// The body cannot be read, a member is missing or wrong, or the call is about another stream.
pub fn read(
    put: Put,
    format: Format,
    body: &[u8],
    served: &Served<'_>,
) -> Result<Vec<PutRecord>, ApiError> {
    let mut members = match format {
        Format::Json => json::read(body)?,
        Format::Cbor => cbor::read(body)?,
    };
    let records = match put {
        Put::Record => {
            vec![record(std::mem::take(&mut members.record), &Place::Alone, served)?]
        }
        Put::Records => all_records(members.records.take(), served)?,
    };
    let Members { stream_name, stream_arn, has_stream_id, dry_run, .. } = &members;
    let named = Named {
        name: stream_name.as_deref(),
        arn: stream_arn.as_deref(),
        has_stream_id: *has_stream_id,
    };
    served::check(named, served.stream)?;
    if *dry_run == Some(true) {
        const DRY: &str = "the call would have been taken; DryRun is true, so nothing is written";
        return Err(ApiError::new("DryRunOperationException", DRY));
    }
    Ok(records)
}

/// Where a record stands in its call, for the name of a member.
enum Place {
    Alone,
    /// Counted from 1, as the service counts.
    Number(usize),
}

impl Place {
    fn member(&self, name: &str) -> Cow<'static, str> {
        match self {
            Self::Alone => name.to_owned().into(),
            Self::Number(number) => format!("Records.{number}.{name}").into(),
        }
    }
}

fn all_records(
    records: Option<Records<'_>>,
    served: &Served<'_>,
) -> Result<Vec<PutRecord>, ApiError> {
    let Some(Records { first, count }) = records else {
        return Err(ApiError::invalid("Records is missing"));
    };
    if !(1..=REQUEST_RECORDS_MAX).contains(&count) {
        return Err(ApiError::invalid(format!(
            "Records has {count}, it takes 1 to {REQUEST_RECORDS_MAX}"
        )));
    }
    let numbered = first.into_iter().zip(1..);
    let records: Vec<_> = numbered
        .map(|(members, number)| record(members, &Place::Number(number), served))
        .collect::<Result<_, _>>()?;
    let bytes: usize = records.iter().map(PutRecord::size).sum();
    if bytes > REQUEST_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "Records have {bytes} bytes of data and partition keys, a request takes \
             {REQUEST_BYTES_MAX}"
        )));
    }
    Ok(records)
}

fn record(
    members: RecordMembers<'_>,
    place: &Place,
    served: &Served<'_>,
) -> Result<PutRecord, ApiError> {
    let RecordMembers { data, partition_key, explicit_hash_key } = members;
    let missing = |name| ApiError::invalid(format!("{} is missing", place.member(name)));
    let data = data.ok_or_else(|| missing("Data"))?;
    let key = match partition_key {
        Some(text) => Some(PartitionKey::new(text).map_err(|error| {
            ApiError::invalid(format!("{} {error}", place.member("PartitionKey")))
        })?),
        None if served.places_records => None,
        None => return Err(missing("PartitionKey")),
    };
    let explicit_hash = explicit_hash_key.map(|text| HashKey::parse(&text)).transpose();
    let explicit_hash = explicit_hash.map_err(|error| {
        ApiError::invalid(format!("{} {error}", place.member("ExplicitHashKey")))
    })?;
    let record = PutRecord { key, explicit_hash, data };
    let (bytes, bytes_max) = (record.size(), served.record_bytes_max);
    if bytes > bytes_max {
        return Err(ApiError::invalid(format!(
            "{} and the partition key are {bytes} bytes, a record takes {bytes_max}",
            place.member("Data")
        )));
    }
    Ok(record)
}

impl PutRecord {
    /// Bytes of data and partition key, as the service counts them.
    fn size(&self) -> usize {
        self.data.len() + self.key.as_ref().map_or(0, |key| key.as_str().len())
    }
}

#[cfg(test)]
mod tests;
