//! The members of an event that its way to a target depends on, read where they lie. Of a member
//! that is there twice the last one counts, as in JavaScript.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Misfit;

/// What is read of a JSON object.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) specversion: Option<&'a RawValue>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) event_type: Option<&'a RawValue>,
    pub(super) detail_type: Option<&'a RawValue>,
    pub(super) source: Option<&'a RawValue>,
    pub(super) timestamp: Option<&'a RawValue>,
    pub(super) time: Option<&'a RawValue>,
    pub(super) data: Option<&'a RawValue>,
    pub(super) detail: Option<&'a RawValue>,
    pub(super) traceparent: Option<&'a RawValue>,
    pub(super) tracestate: Option<&'a RawValue>,
}

/// Whether this is JSON, without looking for members.
///
/// # Errors
/// It is not.
pub(super) fn check(data: &[u8]) -> Result<(), Misfit> {
    let json = std::str::from_utf8(data).map_err(|_| Misfit::NotJson)?;
    serde_json::from_str(json).map(|IgnoredAny| ()).map_err(|_| Misfit::NotJson)
}

impl<'a> Members<'a> {
    /// Reads JSON as a whole. `None`: it is no object.
    ///
    /// # Errors
    /// It is not JSON.
    pub(super) fn of(data: &'a [u8]) -> Result<Option<Self>, Misfit> {
        let json = std::str::from_utf8(data).map_err(|_| Misfit::NotJson)?;
        let mut reader = serde_json::Deserializer::from_str(json);
        let read = if json.trim_ascii_start().starts_with('{') {
            reader.deserialize_map(Object).map(Some)
        } else {
            reader.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| None)
        };
        read.and_then(|read| reader.end().map(|()| read)).map_err(|_| Misfit::NotJson)
    }
}

/// A member's value, if it is a text.
pub(super) fn text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(value?.get()).ok()?;
    Some(text)
}

/// A text, borrowed where there is nothing to unescape.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(Text(name)) = map.next_key()? {
            let member = match &*name {
                "specversion" => &mut members.specversion,
                "id" => &mut members.id,
                "type" => &mut members.event_type,
                "detail-type" => &mut members.detail_type,
                "source" => &mut members.source,
                "timestamp" => &mut members.timestamp,
                "time" => &mut members.time,
                "data" => &mut members.data,
                "detail" => &mut members.detail,
                "traceparent" => &mut members.traceparent,
                "tracestate" => &mut members.tracestate,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *member = Some(map.next_value()?);
        }
        Ok(members)
    }
}
