//! The envelope that is published for an event: its keys, their order and their defaults.
//!
//! Where nothing else is asked for it is byte for byte what `lk-dispatch` 1.1.0 writes for the same
//! id, timestamp and key. `data` is copied as it came, no white space is added, and the envelope is
//! written once, into one exact allocation. What few events ask for, another form or a trace, is in
//! [`More`]: the others pay nothing for it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use serde::de::IgnoredAny;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::{PartitionKey, Profile};
use crate::json::{json_str_len, push_json_str};

/// A time as text: RFC 3339 in UTC with three decimals, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp([u8; Timestamp::LEN]);

/// What an envelope is made of, before it is written.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    pub id: Uuid,
    pub event_type: &'a str,
    /// A JSON object, verbatim from the caller.
    pub data: &'a str,
    pub timestamp: Timestamp,
    pub user_id: Option<&'a str>,
    pub producer_id: &'a str,
    pub key: &'a PartitionKey,
    /// `None`: the `lk` form with no key that is optional.
    pub more: Option<More<'a>>,
}

/// What an envelope has besides.
#[derive(Debug, Clone, Copy)]
pub struct More<'a> {
    pub profile: Profile,
    /// Where the event comes from, in the words of the forms that have such a key.
    pub source: &'a str,
    /// The stream's region.
    pub region: &'a str,
    pub correlation_id: Option<&'a str>,
    pub organisation_id: Option<&'a str>,
    /// The trace that the event belongs to, as W3C's Trace Context has it.
    pub traceparent: Option<&'a str>,
    pub tracestate: Option<&'a str>,
}

/// Where an envelope is written to; or only its length, so that the two cannot differ.
trait Out {
    fn raw(&mut self, bytes: &[u8]);
    fn string(&mut self, text: &str);
}

/// An envelope none of whose strings has an escape: they are not looked at again.
struct Verbatim(Vec<u8>);

/// The length of what is written.
struct Length(usize);

impl Out for Vec<u8> {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn string(&mut self, text: &str) {
        push_json_str(self, text);
    }
}

impl Out for Verbatim {
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    #[inline]
    fn string(&mut self, text: &str) {
        self.raw(b"\"");
        self.raw(text.as_bytes());
        self.raw(b"\"");
    }
}

impl Out for Length {
    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn string(&mut self, text: &str) {
        self.0 += json_str_len(text);
    }
}

/// Times before 1970 become 1970, years past 9999 the end of 9999.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Timestamp {
    const LEN: usize = 24;

    /// Prints a Unix time in milliseconds. A time past the year 9999, which the form cannot hold,
    /// is printed as the last one that it can.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        const LAST_MS: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
        let ms = i64::try_from(unix_ms).unwrap_or(LAST_MS).min(LAST_MS);
        let text = chrono::DateTime::from_timestamp_millis(ms)
            .expect("0 to LAST_MS is inside chrono's range")
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        Self(text.into_bytes().try_into().expect("four-digit years print as 24 bytes"))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made from a str")
    }

    /// The 17 digits as one number, for those who keep many timestamps.
    pub fn pack(&self) -> u64 {
        let digits = self.0.iter().filter(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }

    /// The timestamp that [`pack`](Self::pack) made a number of.
    pub fn unpack(mut number: u64) -> Self {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for byte in text.iter_mut().rev().filter(|byte| byte.is_ascii_digit()) {
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
        }
        Self(text)
    }

    /// The text as bytes, for those who print many timestamps: no check that they are UTF-8.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl Draft<'_> {
    /// Writes the envelope, of the length that [`sealed_len`](Self::sealed_len) gives.
    pub fn seal(&self, sealed_len: usize) -> Bytes {
        let mut data = Vec::with_capacity(sealed_len);
        match &self.more {
            // An escape is longer than what it stands for, so the length tells that there is none.
            None if sealed_len == self.lk_len(|text| text.len() + "\"\"".len()) => {
                let mut verbatim = Verbatim(data);
                self.write_lk(None, &mut verbatim);
                data = verbatim.0;
            }
            None => self.write_lk(None, &mut data),
            Some(more) => self.write_with(more, &mut data),
        }
        debug_assert_eq!(data.len(), sealed_len, "one exact allocation");
        Bytes::from(data)
    }

    #[cold]
    fn write_with(&self, more: &More<'_>, out: &mut impl Out) {
        match more.profile {
            Profile::Lk => self.write_lk(Some(more), out),
            Profile::TypeData => self.write_type_data(more, out),
            Profile::EventBridge => self.write_eventbridge(more, out),
            Profile::CloudEvents => self.write_cloudevents(more, out),
        }
    }

    fn write_type_data(&self, more: &More<'_>, out: &mut impl Out) {
        field(out, b"{\"type\":", self.event_type);
        out.raw(b",\"data\":");
        out.raw(self.data.as_bytes());
        more.write_trace(out);
        out.raw(b"}");
    }

    fn write_lk(&self, more: Option<&More<'_>>, out: &mut impl Out) {
        out.raw(b"{\"id\":\"");
        out.raw(self.id.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).as_bytes());
        field(out, b"\",\"type\":", self.event_type);
        out.raw(b",\"data\":");
        out.raw(self.data.as_bytes());
        out.raw(b",\"timestamp\":\"");
        out.raw(self.timestamp.as_bytes());
        out.raw(b"\",\"source\":{\"userId\":");
        match self.user_id {
            Some(user) => out.string(user),
            None => out.raw(b"null"),
        }
        field(out, b",\"producerId\":", self.producer_id);
        field(out, b",\"kinesisPartitionKey\":", self.key.as_str());
        if let Some(more) = more {
            field_if(out, b",\"correlationId\":", more.correlation_id);
            field_if(out, b",\"organisationId\":", more.organisation_id);
            out.raw(b"}");
            more.write_trace(out);
            out.raw(b"}");
        } else {
            out.raw(b"}}");
        }
    }

    fn write_eventbridge(&self, more: &More<'_>, out: &mut impl Out) {
        out.raw(b"{\"version\":\"0\",\"id\":\"");
        out.raw(self.id.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).as_bytes());
        field(out, b"\",\"detail-type\":", self.event_type);
        field(out, b",\"source\":", more.source);
        out.raw(b",\"account\":\"\",\"time\":\"");
        out.raw(self.timestamp.as_bytes());
        field(out, b"\",\"region\":", more.region);
        out.raw(b",\"resources\":[],\"detail\":");
        self.write_detail(more, out);
        more.write_trace(out);
        out.raw(b"}");
    }

    /// The data, with what is known of the event's surroundings where the data does not say it.
    fn write_detail(&self, more: &More<'_>, out: &mut impl Out) {
        let known: [(&str, &[u8], _); 3] = [
            ("correlationId", b"\"correlationId\":", more.correlation_id),
            ("userId", b"\"userId\":", self.user_id),
            ("organisationId", b"\"organisationId\":", more.organisation_id),
        ];
        if known.iter().all(|(.., value)| value.is_none()) {
            return out.raw(self.data.as_bytes());
        }
        let said = top_level_names(self.data);
        let open = self.data.strip_suffix('}').expect("data is an object").trim_ascii_end();
        out.raw(open.as_bytes());
        let mut is_first = open == "{";
        for (name, field_name, value) in known {
            if let Some(value) = value.filter(|_| !said.contains_key(name)) {
                if !std::mem::take(&mut is_first) {
                    out.raw(b",");
                }
                field(out, field_name, value);
            }
        }
        out.raw(b"}");
    }

    fn write_cloudevents(&self, more: &More<'_>, out: &mut impl Out) {
        out.raw(b"{\"specversion\":\"1.0\",\"id\":\"");
        out.raw(self.id.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).as_bytes());
        field(out, b"\",\"source\":", more.source);
        field(out, b",\"type\":", self.event_type);
        out.raw(b",\"time\":\"");
        out.raw(self.timestamp.as_bytes());
        out.raw(b"\",\"datacontenttype\":\"application/json\"");
        field(out, b",\"partitionkey\":", self.key.as_str());
        field_if(out, b",\"userid\":", self.user_id);
        field_if(out, b",\"correlationid\":", more.correlation_id);
        field_if(out, b",\"organisationid\":", more.organisation_id);
        more.write_trace(out);
        out.raw(b",\"data\":");
        out.raw(self.data.as_bytes());
        out.raw(b"}");
    }

    /// The exact length of the envelope, before it is written: the budget is charged by it. An
    /// escape makes up to six bytes of one, so a length without escapes would let a caller hold six
    /// times the bytes that were taken for it.
    #[inline]
    pub fn sealed_len(&self) -> usize {
        match self.more {
            None => self.lk_len(json_str_len),
            Some(more) => self.len_with(more),
        }
    }

    /// Takes a copy: so most drafts, which do not come here, are never put together in memory.
    #[cold]
    fn len_with(self, more: More<'_>) -> usize {
        let mut length = Length(0);
        self.write_with(&more, &mut length);
        length.0
    }

    /// The length of what `write_lk` writes with no key that is optional. `str_len` is that of a
    /// JSON string.
    #[inline]
    fn lk_len(&self, str_len: impl Fn(&str) -> usize) -> usize {
        const FRAME: usize = 158; // the fixed texts above, with id and timestamp
        FRAME
            + str_len(self.event_type)
            + self.data.len()
            + self.user_id.map_or("null".len(), &str_len)
            + str_len(self.producer_id)
            + str_len(self.key.as_str())
    }
}

impl More<'_> {
    fn write_trace(&self, out: &mut impl Out) {
        field_if(out, b",\"traceparent\":", self.traceparent);
        field_if(out, b",\"tracestate\":", self.tracestate);
    }
}

fn field(out: &mut impl Out, name: &[u8], value: &str) {
    out.raw(name);
    out.string(value);
}

fn field_if(out: &mut impl Out, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        field(out, name, value);
    }
}

/// The names at the top level of an object. One that holds half of a surrogate pair, which is no
/// text, leaves them unknown.
fn top_level_names(object: &str) -> BTreeMap<String, IgnoredAny> {
    serde_json::from_str(object).unwrap_or_default()
}

#[cfg(test)]
mod tests;
