//! What was kept of a stream, read back: a line of a file (or a file that is one JSON document)
//! becomes the events in it, with the very bytes that were in the stream.
//!
//! The form of each line is told by its members, so that one file may hold several:
//!
//! | form | told by | who writes it |
//! |---|---|---|
//! | an envelope | `type`, or `detail-type` | `tail`; a tree of lk-replay's |
//! | a record | `data` and `sequenceNumber` | `tail --format record`; Rabble Rouser's archiver; `tail`, for what is no line |
//! | an invocation | `Records`, or `kinesis` for a record alone | `tail --format lambda` |
//! | a dead letter | `requestContext`, with `record` or `payload` | `forward`; Lambda's destination in S3 |
//!
//! A record that packs several events is taken apart, one event at a time: all of them together may
//! take a hundred times the bytes of the line. What an event says of itself is read by [`event`].
//! Pure: nothing here opens a file or decides what is sent.

pub mod event;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::packed::Layout;
use event::{Micros, parse_time};

/// A line that was read: it holds the bytes of its records, and makes an event when it is asked for
/// one.
#[derive(Debug)]
pub struct Line {
    records: Vec<Kept>,
    events_count: usize,
}

/// A record of a line.
#[derive(Debug)]
struct Kept {
    data: Bytes,
    partition_key: Option<String>,
    arrived: Option<Micros>,
    /// Where the events stand in a packed record; `None` in another one.
    layout: Option<Box<Layout>>,
    /// Events of the records before it.
    events_before: usize,
}

/// One event as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The bytes that were in the stream.
    pub data: Bytes,
    /// The record's own; `None` where the line is the event alone, or the record had none.
    pub partition_key: Option<String>,
    /// When the stream took it; `None` where the line does not say.
    pub arrived: Option<Micros>,
}

/// Why a line is not read.
#[derive(Debug, thiserror::Error)]
pub enum NotArchived {
    #[error("is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error(
        "is of no form that is read: an envelope (with \"type\" or \"detail-type\"), a record \
         (with \"data\" and \"sequenceNumber\"), an invocation (with \"Records\") or a dead letter"
    )]
    NoForm,
    #[error("{field} {what}")]
    Field { field: &'static str, what: String },
    #[error(
        "is the failure record of a destination that keeps no records: read them from the stream, \
         from {from} to {to} of {shard}"
    )]
    WithoutRecords { shard: String, from: String, to: String },
}

impl NotArchived {
    /// Whether the JSON was whole but for its end: it may go on in the next line.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::NotJson(error) if error.is_eof())
    }

    fn field(field: &'static str, what: impl ToString) -> Self {
        Self::Field { field, what: what.to_string() }
    }
}

impl Line {
    fn of(records: impl IntoIterator<Item = Kept>) -> Self {
        let mut line = Self { records: Vec::new(), events_count: 0 };
        for record in records {
            let events_before = line.events_count;
            line.events_count += record.events_count();
            line.records.push(Kept { events_before, ..record });
        }
        line
    }

    /// How many events there are.
    pub fn events_count(&self) -> usize {
        self.events_count
    }

    /// The event of this number, from 0; `None` behind the last.
    pub fn event(&self, number: usize) -> Option<Archived> {
        let behind = self.records.partition_point(|record| record.events_before <= number);
        let record = self.records.get(behind.checked_sub(1)?)?;
        record.event(number - record.events_before)
    }

    pub fn events(&self) -> impl Iterator<Item = Archived> {
        (0..self.events_count).map_while(|number| self.event(number))
    }
}

impl Kept {
    /// A record that is one event.
    fn whole(data: Bytes, partition_key: Option<String>, arrived: Option<Micros>) -> Self {
        Self { data, partition_key, arrived, layout: None, events_before: 0 }
    }

    fn events_count(&self) -> usize {
        self.layout.as_ref().map_or(1, |layout| layout.count())
    }

    fn event(&self, number: usize) -> Option<Archived> {
        let Self { data, partition_key, arrived, layout, .. } = self;
        let Some(layout) = layout else {
            let (data, partition_key) = (data.clone(), partition_key.clone());
            return (number == 0).then_some(Archived { data, partition_key, arrived: *arrived });
        };
        let member = layout.member(data, number)?;
        Some(Archived {
            // A copy: an event on its way must not hold all others of its record.
            data: Bytes::copy_from_slice(member.data),
            partition_key: Some(member.partition_key.to_owned()),
            arrived: *arrived,
        })
    }
}

/// Reads a line, or a whole document.
///
/// # Errors
/// If it is of none of the forms, or not whole.
pub fn read(text: &str) -> Result<Line, NotArchived> {
    let told: AnyForm<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        // A member that is no text where a form has one: then it is not of that form.
        serde_json::error::Category::Data => NotArchived::NoForm,
        _ => NotArchived::NotJson(error),
    })?;
    match told {
        AnyForm { request_context: Some(_), record: Some(record), .. } => {
            let record: Record = member("record", record)?;
            Ok(Line::of([record.kept("record.data")?]))
        }
        AnyForm { request_context: Some(_), payload: Some(payload), .. } => of_payload(payload),
        AnyForm { request_context: Some(_), batch_info: Some(info), .. } => {
            let info: BatchInfo = member("KinesisBatchInfo", info)?;
            let BatchInfo { shard_id, start_sequence_number, end_sequence_number } = info;
            let (from, to) = (start_sequence_number, end_sequence_number);
            Err(NotArchived::WithoutRecords { shard: shard_id, from, to })
        }
        AnyForm { records: Some(records), .. } => of_records("Records", records),
        AnyForm { kinesis: Some(record), .. } => {
            let record: Record = member("kinesis", record)?;
            Ok(Line::of([record.kept("kinesis.data")?]))
        }
        AnyForm { data: Some(data), sequence_number: Some(_), .. }
            if data.get().starts_with('"') =>
        {
            let record: Record = serde_json::from_str(text)
                .map_err(|error| NotArchived::field("a record", error))?;
            Ok(Line::of([record.kept("data")?]))
        }
        AnyForm { event_type: Some(kind), .. } | AnyForm { detail_type: Some(kind), .. }
            if kind.get().starts_with('"') =>
        {
            let data = Bytes::copy_from_slice(text.as_bytes());
            Ok(Line::of([Kept::whole(data, None, None)]))
        }
        _ => Err(NotArchived::NoForm),
    }
}

/// The members that tell a line's form, as they stand.
#[derive(Deserialize)]
struct AnyForm<'a> {
    #[serde(borrow, rename = "requestContext")]
    request_context: Option<&'a RawValue>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, rename = "KinesisBatchInfo")]
    batch_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
    #[serde(borrow)]
    kinesis: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow, rename = "sequenceNumber")]
    sequence_number: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "detail-type")]
    detail_type: Option<&'a RawValue>,
}

/// A record in any of the forms that have one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    data: String,
    partition_key: Option<String>,
    approximate_arrival_timestamp: Option<Arrival>,
    /// Said where the record was taken out of a packed one: then it is no packed one itself.
    sub_sequence_number: Option<u64>,
}

/// Lambda has seconds; the local runner of Rabble Rouser, and the SDK for JavaScript, a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Arrival {
    Seconds(f64),
    Text(String),
}

/// A record inside an invocation.
#[derive(Deserialize)]
struct Invoked {
    kinesis: Record,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo {
    shard_id: String,
    start_sequence_number: String,
    end_sequence_number: String,
}

#[derive(Deserialize)]
struct Invocation<'a> {
    #[serde(borrow, rename = "Records")]
    records: &'a RawValue,
}

fn member<'a, T: Deserialize<'a>>(
    field: &'static str,
    value: &'a RawValue,
) -> Result<T, NotArchived> {
    serde_json::from_str(value.get()).map_err(|error| NotArchived::field(field, error))
}

fn of_records(field: &'static str, records: &RawValue) -> Result<Line, NotArchived> {
    let records: Vec<Invoked> = member(field, records)?;
    let kept = records.into_iter().map(|Invoked { kinesis }| kinesis.kept("Records.kinesis.data"));
    Ok(Line::of(kept.collect::<Result<Vec<_>, _>>()?))
}

/// What Lambda was invoked with. In S3 it is an object; a text that holds the object is read too.
fn of_payload(payload: &RawValue) -> Result<Line, NotArchived> {
    const FIELD: &str = "payload";
    if payload.get().starts_with('"') {
        let text: String = member(FIELD, payload)?;
        let invocation: Invocation<'_> =
            serde_json::from_str(&text).map_err(|error| NotArchived::field(FIELD, error))?;
        return of_records(FIELD, invocation.records);
    }
    let invocation: Invocation<'_> = member(FIELD, payload)?;
    of_records(FIELD, invocation.records)
}

impl Record {
    /// The record as it is held: decoded, and looked at whether it is packed.
    fn kept(self, field: &'static str) -> Result<Kept, NotArchived> {
        let data = base64_simd::STANDARD
            .decode_to_vec(self.data.as_bytes())
            .map_err(|_| NotArchived::field(field, "is not base64"))?;
        let arrived = match self.approximate_arrival_timestamp {
            None => None,
            Some(Arrival::Seconds(seconds)) => Some((seconds * 1e6).round() as Micros),
            Some(Arrival::Text(text)) => Some(parse_time(&text).ok_or_else(|| {
                let what = format!("is not a time: {text:?}");
                NotArchived::field("approximateArrivalTimestamp", what)
            })?),
        };
        let layout = if self.sub_sequence_number.is_none() { Layout::of(&data) } else { None };
        let layout = layout.map(Box::new);
        Ok(Kept { layout, ..Kept::whole(data.into(), self.partition_key, arrived) })
    }
}

#[cfg(test)]
mod tests;
