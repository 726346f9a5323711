//! An event as a CloudEvent 1.0.2 in binary mode: attributes in headers `ce-…`, the data as the
//! body.
//!
//! | the record holds | becomes |
//! |---|---|
//! | a CloudEvent in its JSON form | that event, with every attribute and extension |
//! | `{"id","type","data","timestamp","source":{…}}` | `source`: its producer; extensions `userid`, `correlationid`, `organisationid`, `partitionkey` |
//! | an event of EventBridge's (`detail-type`, `detail`) | `source`, `time` and `id` as they are; the data is `detail` |
//! | `{"type","data"}` | `id`: shard and number; `source`: the stream's ARN; `time`: its arrival |
//!
//! The names and the extensions are those of the daemon's own form `cloudevents`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::{Trace, is_cloudevent};
use super::members::{Members, text};
use super::{Misfit, Outgoing};
use crate::model::envelope::Timestamp;
use crate::wire::cloudevents::{is_of_uri, structured};

/// An event in binary mode.
#[derive(Debug, PartialEq, Eq)]
pub struct Binary<'a> {
    /// A header's value as it is.
    pub content_type: Cow<'a, str>,
    /// The headers of the attributes, `ce-` included; the values are printable ASCII.
    pub headers: Vec<(String, String)>,
    pub body: Cow<'a, [u8]>,
    pub trace: Trace<'a>,
}

/// The data's type where an event names none.
const JSON: &str = "application/json";

/// Makes one of a record. `stream_arn` is the source of an event that names none.
///
/// # Errors
/// The record holds no event that has a type.
pub fn binary<'a>(record: &Outgoing<'a>, stream_arn: &str) -> Result<Binary<'a>, Misfit> {
    let members = Members::of(record.data)?.ok_or(Misfit::NotACloudEvent)?;
    if is_cloudevent(&members) {
        return of_structured(record.data, Trace::of(&members));
    }
    let named = text(members.event_type).or_else(|| text(members.detail_type));
    let event_type = named.filter(|text| !text.is_empty()).ok_or(Misfit::NotACloudEvent)?;
    let source = members.source.and_then(|raw| serde_json::from_str::<Source<'_>>(raw.get()).ok());
    let source = source.unwrap_or_default();
    let said = |value: Option<&'a RawValue>| text(value).filter(|text| !text.is_empty());
    let origin = said(members.source).or_else(|| said(source.producer));
    let time = said(members.time).or_else(|| said(members.timestamp)).filter(|text| is_time(text));
    let arrived = || record.arrived.map(|at| Timestamp::from(at).as_str().to_owned().into());
    let key = record.partition_key.map(Cow::Borrowed);
    let attributes = [
        ("specversion", Some("1.0".into())),
        ("id", said(members.id).or_else(|| Some(record.id().to_string().into()))),
        ("source", Some(origin.map_or_else(|| stream_arn.into(), as_reference))),
        ("type", Some(event_type)),
        ("time", time.or_else(arrived)),
        ("partitionkey", key.filter(|key| !key.is_empty())),
        ("userid", said(source.user)),
        ("correlationid", said(source.correlation)),
        ("organisationid", said(source.organisation)),
        ("traceparent", said(members.traceparent)),
        ("tracestate", said(members.tracestate)),
    ];
    let set = attributes.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let data = members.data.or(members.detail);
    Ok(Binary {
        content_type: JSON.into(),
        headers: set.map(header).collect(),
        body: data.map_or(Cow::Borrowed(&[]), |data| data.get().as_bytes().into()),
        trace: Trace::of(&members),
    })
}

fn of_structured<'a>(data: &'a [u8], trace: Trace<'a>) -> Result<Binary<'a>, Misfit> {
    let json = std::str::from_utf8(data).map_err(|_| Misfit::NotJson)?;
    let event = structured(json).map_err(|_| Misfit::NotACloudEvent)?;
    let content_type = event.attributes().find(|(name, _)| *name == "datacontenttype");
    let content_type = content_type.map_or(JSON, |(_, value)| value);
    if !content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Misfit::NotACloudEvent);
    }
    let headers = event.attributes().filter(|(name, _)| *name != "datacontenttype");
    Ok(Binary {
        headers: headers.map(header).collect(),
        content_type: content_type.to_owned().into(),
        body: event.content().into_owned().into(),
        trace,
    })
}

/// What an envelope of ours says under `source`.
#[derive(Default, Deserialize)]
struct Source<'a> {
    #[serde(borrow, rename = "producerId")]
    producer: Option<&'a RawValue>,
    #[serde(borrow, rename = "userId")]
    user: Option<&'a RawValue>,
    #[serde(borrow, rename = "correlationId")]
    correlation: Option<&'a RawValue>,
    #[serde(borrow, rename = "organisationId")]
    organisation: Option<&'a RawValue>,
}

/// A header, its value as the HTTP binding has it: what is not printable ASCII, a space, a quote
/// and the percent sign in percents.
fn header((name, value): (&str, &str)) -> (String, String) {
    (
        format!("ce-{name}"),
        in_percents(value, |byte| !matches!(byte, b'!' | b'#'..=b'$' | b'&'..=b'~')),
    )
}

/// A producer's name as the URI-reference that a source is.
fn as_reference(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_odd = |byte| !is_of_uri(byte);
    if name.bytes().any(is_odd) { in_percents(&name, is_odd).into() } else { name }
}

fn in_percents(text: &str, is_odd: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_odd(byte) {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(byte.into());
        }
    }
    out
}

fn is_time(text: &str) -> bool {
    chrono::DateTime::parse_from_rfc3339(text).is_ok()
}
