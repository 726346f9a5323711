//! CloudEvents 1.0.2 as they come over HTTP, and the record that is made of one: its structured
//! JSON form, with every attribute and extension, and its data byte for byte.
//!
//! Every mode ends in one list of attributes, which is checked once. There is no Kinesis binding of
//! CloudEvents: the record is what the structured mode of every other binding has, and its
//! partition key is the extension `partitionkey`, else the subject. Nothing is guessed and nothing
//! is dropped but attributes that are null, which means that they are not set.

use std::borrow::Cow;
use std::fmt;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::json::{json_str_len, push_json_str};
use crate::model::{Code, PartitionKey, Refusal, derived_id};

/// An event whose attributes were checked and whose data was not copied.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CloudEvent<'a> {
    /// The attributes in their order, none of them null.
    attributes: Vec<(Cow<'a, str>, Value<'a>)>,
    data: Option<Data<'a>>,
}

/// An attribute's value.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Value<'a> {
    /// A value as JSON, and what that says where it is a text.
    Json(&'a str, Option<Cow<'a, str>>),
    /// A text that is no JSON yet.
    Text(Cow<'a, str>),
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Data<'a> {
    /// The member `data`: JSON, verbatim.
    Json(&'a str),
    /// The member `data_base64`: a JSON string, verbatim.
    Base64(&'a str),
    /// The member `data`: text, to be written as a JSON string.
    Text(&'a str),
    /// The member `data_base64`: bytes, to be written in base64.
    Bytes(&'a [u8]),
}

/// The attributes that the specification names and that are texts which are not empty.
const TEXTS: [&str; 7] =
    ["id", "source", "specversion", "type", "subject", "datacontenttype", "dataschema"];

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Reads an event in structured mode: one JSON object.
///
/// # Errors
/// Names the attribute that is wrong, as it stands in the object.
pub fn structured(json: &str) -> Result<CloudEvent<'_>, Refusal> {
    if !json.trim_ascii_start().starts_with('{') {
        return Err(invalid("the event is not a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let members =
        reader.deserialize_map(Members).and_then(|members| reader.end().map(|()| members));
    let members = members.map_err(|error| invalid(format!("the event is not JSON: {error}")))?;
    let (mut attributes, mut data) = (Vec::with_capacity(members.len()), None);
    for (name, raw) in members {
        let json = raw.get();
        let found = match &*name {
            "data" => Data::Json(json),
            "data_base64" if json == "null" => continue,
            "data_base64" => {
                if !is_base64(json) {
                    return Err(invalid("data_base64 is not a string of base64"));
                }
                Data::Base64(json)
            }
            _ if json == "null" => continue, // the same as not set
            _ => {
                attributes.push((name, value(json)?));
                continue;
            }
        };
        if data.replace(found).is_some() {
            return Err(invalid("the event has both data and data_base64, or one of them twice"));
        }
    }
    checked(attributes, data, "")
}

/// Reads an event in binary mode: its attributes are headers `ce-…`, here without that prefix and
/// in lower case, its data is the body, and `Content-Type` is the data's.
///
/// # Errors
/// Names the header that is wrong.
pub fn binary<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&'a str>,
    body: &'a [u8],
) -> Result<CloudEvent<'a>, Refusal> {
    let mut attributes: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
    for (name, value) in headers {
        if name == "datacontenttype" {
            const TWICE: &str =
                "ce-datacontenttype has no meaning: Content-Type is the data's type";
            return Err(invalid(TWICE));
        }
        let text = decoded(value)
            .ok_or_else(|| invalid(format!("ce-{name} is not UTF-8 once it is decoded")))?;
        attributes.push((name.into(), Value::Text(text)));
    }
    if let Some(content_type) = content_type {
        attributes.push(("datacontenttype".into(), Value::Text(content_type.into())));
    }
    let data = if body.is_empty() { None } else { Some(data(content_type, body)?) };
    checked(attributes, data, "ce-")
}

impl<'a> CloudEvent<'a> {
    /// The event's own id, which its answer names.
    pub fn id(&self) -> &str {
        self.required("id")
    }

    pub fn event_type(&self) -> &str {
        self.required("type")
    }

    /// The event's data as JSON; `null` where it has no data that is JSON.
    pub fn json(&self) -> &str {
        match self.data {
            Some(Data::Json(json)) => json,
            _ => "null",
        }
    }

    /// The event's `traceparent` and its `tracestate`.
    pub fn trace(&self) -> [Option<&str>; 2] {
        ["traceparent", "tracestate"].map(|name| self.text(name))
    }

    /// Takes the trace that a request's own headers name, unless the event names one: its own began
    /// earlier.
    pub fn add_trace(&mut self, traceparent: &'a str, tracestate: Option<&'a str>) {
        if self.text("traceparent").is_none() {
            let state = tracestate.filter(|_| self.text("tracestate").is_none());
            let given = [("traceparent", Some(traceparent)), ("tracestate", state)];
            for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?)))
            {
                self.attributes.push((name.into(), Value::Text(value.into())));
            }
        }
    }

    /// What the event is known again by: its id where that is a uuid, else what the id and the
    /// source are together.
    pub fn dedupe_id(&self) -> Uuid {
        let id = self.id();
        let is_hyphenated = id.len() == uuid::fmt::Hyphenated::LENGTH;
        let uuid = if is_hyphenated { Uuid::try_parse(id).ok() } else { None };
        uuid.unwrap_or_else(|| derived_id(&[self.required("source"), id]))
    }

    /// The partition key: the extension `partitionkey`, else the subject, else one of the event's
    /// own.
    ///
    /// # Errors
    /// It is too long for a key.
    pub fn key(&self) -> Result<PartitionKey, Refusal> {
        for name in ["partitionkey", "subject"] {
            if let Some(text) = self.text(name).filter(|text| !text.is_empty()) {
                return PartitionKey::new(text).map_err(|error| {
                    invalid(format!("{name} is the event's partition key, and {error}"))
                });
            }
        }
        Ok(PartitionKey::of_id(self.dedupe_id()))
    }

    /// The data, if it is a JSON object: what an envelope of ours holds.
    pub fn object(&self) -> Option<&str> {
        match self.data {
            Some(Data::Json(json)) if json.starts_with('{') => Some(json),
            _ => None,
        }
    }

    /// Every attribute and extension, as text.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| match value {
            Value::Json(json, text) => (&**name, text.as_deref().unwrap_or(json)),
            Value::Text(text) => (&**name, &**text),
        })
    }

    /// The data as the body of the binary mode has it. Data of a type that is not JSON's is written
    /// as a JSON string where the structured mode holds it: then it is what that string says.
    pub fn content(&self) -> Cow<'_, [u8]> {
        let is_json =
            || self.text("datacontenttype").is_none_or(|named| is_json(&media_type(named).0));
        match self.data {
            None => Cow::Borrowed(&[]),
            Some(Data::Json(json)) if json.starts_with('"') && !is_json() => said(json),
            Some(Data::Json(json)) => Cow::Borrowed(json.as_bytes()),
            Some(Data::Text(text)) => Cow::Borrowed(text.as_bytes()),
            Some(Data::Bytes(bytes)) => Cow::Borrowed(bytes),
            Some(Data::Base64(json)) => {
                STANDARD.decode_to_vec(said(json)).expect("it was checked to be base64").into()
            }
        }
    }

    /// The structured form's length.
    pub fn sealed_len(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| {
            let value = match value {
                Value::Json(json, _) => json.len(),
                Value::Text(text) => json_str_len(text),
            };
            "\"\":,".len() + name.len() + value
        });
        let data = match self.data {
            None => 0,
            Some(Data::Json(json)) => "\"data\":,".len() + json.len(),
            Some(Data::Text(text)) => "\"data\":,".len() + json_str_len(text),
            Some(Data::Base64(json)) => "\"data_base64\":,".len() + json.len(),
            Some(Data::Bytes(bytes)) => {
                "\"data_base64\":\"\",".len() + STANDARD.encoded_length(bytes.len())
            }
        };
        // Every member has a comma but the last one.
        "{}".len() + attributes.sum::<usize>() + data - ",".len()
    }

    /// Writes the structured form, of the length that [`sealed_len`](Self::sealed_len) gives.
    pub fn seal(&self) -> Bytes {
        let sealed_len = self.sealed_len();
        let mut out = Vec::with_capacity(sealed_len);
        let mut separator = b'{';
        let mut begin = |out: &mut Vec<u8>, name: &str| {
            out.push(std::mem::replace(&mut separator, b','));
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
        };
        for (name, value) in &self.attributes {
            begin(&mut out, name);
            match value {
                Value::Json(json, _) => out.extend_from_slice(json.as_bytes()),
                Value::Text(text) => push_json_str(&mut out, text),
            }
        }
        match self.data {
            None => {}
            Some(Data::Json(json)) => {
                begin(&mut out, "data");
                out.extend_from_slice(json.as_bytes());
            }
            Some(Data::Text(text)) => {
                begin(&mut out, "data");
                push_json_str(&mut out, text);
            }
            Some(Data::Base64(json)) => {
                begin(&mut out, "data_base64");
                out.extend_from_slice(json.as_bytes());
            }
            Some(Data::Bytes(bytes)) => {
                begin(&mut out, "data_base64");
                out.push(b'"');
                STANDARD.encode_append(bytes, &mut out);
                out.push(b'"');
            }
        }
        out.push(b'}');
        debug_assert_eq!(out.len(), sealed_len, "one exact allocation");
        out.into()
    }

    fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(known, _)| known == name)?;
        match value {
            // A number or a boolean is its own text.
            Value::Json(json, text) => Some(text.as_deref().unwrap_or(json)),
            Value::Text(text) => Some(text),
        }
    }

    fn required(&self, name: &str) -> &str {
        self.text(name).expect("an event without it was refused")
    }
}

/// What a JSON string says; its own JSON where that is half of a surrogate pair, which is no text.
fn said(json: &str) -> Cow<'_, [u8]> {
    match serde_json::from_str::<Name<'_>>(json) {
        Ok(Name(Cow::Borrowed(text))) => Cow::Borrowed(text.as_bytes()),
        Ok(Name(Cow::Owned(text))) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Borrowed(json.as_bytes()),
    }
}

// === Checks ===

/// Checks what every mode has to keep. `prefix`: how attributes are called there.
fn checked<'a>(
    attributes: Vec<(Cow<'a, str>, Value<'a>)>,
    data: Option<Data<'a>>,
    prefix: &str,
) -> Result<CloudEvent<'a>, Refusal> {
    for (at, (name, _)) in attributes.iter().enumerate() {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(invalid("an attribute's name is not made of a-z and 0-9"));
        }
        if name == "data" {
            return Err(invalid(format!("{prefix}data is no attribute")));
        }
        if attributes[..at].iter().any(|(other, _)| other == name) {
            return Err(invalid(format!("{prefix}{name} is there twice")));
        }
    }
    let event = CloudEvent { attributes, data };
    if let Some(missing) = REQUIRED.into_iter().find(|name| event.text(name).is_none()) {
        return Err(invalid(format!("{prefix}{missing} is missing")));
    }
    for name in TEXTS {
        let Some((_, value)) = event.attributes.iter().find(|(known, _)| known == name) else {
            continue;
        };
        if matches!(value, Value::Json(_, None)) {
            return Err(invalid(format!("{prefix}{name} is not a string")));
        }
        if event.text(name).is_some_and(str::is_empty) {
            return Err(invalid(format!("{prefix}{name} is empty")));
        }
    }
    if event.required("specversion") != "1.0" {
        return Err(invalid(format!("{prefix}specversion is not \"1.0\"")));
    }
    for name in ["source", "dataschema"] {
        if event.text(name).is_some_and(|text| !text.bytes().all(is_of_uri)) {
            return Err(invalid(format!("{prefix}{name} is not a URI-reference")));
        }
    }
    let is_time = |text| chrono::DateTime::parse_from_rfc3339(text).is_ok();
    if event.text("time").is_some_and(|text| !is_time(text)) {
        return Err(invalid(format!("{prefix}time is not a time as RFC 3339 has it")));
    }
    Ok(event)
}

/// An attribute's value in JSON: a string, a whole number or a boolean.
fn value(json: &str) -> Result<Value<'_>, Refusal> {
    match json.as_bytes()[0] {
        b'"' => {
            let inner = &json[1..json.len() - 1];
            let text = if inner.contains('\\') {
                let text = serde_json::from_str(json);
                Cow::Owned(text.map_err(|_| invalid("an attribute has half of a surrogate pair"))?)
            } else {
                Cow::Borrowed(inner)
            };
            Ok(Value::Json(json, Some(text)))
        }
        b't' | b'f' => Ok(Value::Json(json, None)),
        _ if json.parse().is_ok_and(is_whole) => Ok(Value::Json(json, None)),
        _ => Err(invalid("an attribute is no string, boolean or whole number of 32 bits")),
    }
}

/// However it is written: JSON knows one kind of number.
fn is_whole(number: f64) -> bool {
    (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) && number.fract() == 0.0
}

/// The body of the binary mode, as the member that keeps it best.
fn data<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<Data<'a>, Refusal> {
    let json = || {
        let text = std::str::from_utf8(body).ok()?;
        serde_json::from_str::<&RawValue>(text).ok().map(|json| Data::Json(json.get()))
    };
    // Without a type the JSON form means JSON, and so do SDKs that send none.
    let Some(content_type) = content_type else {
        return Ok(json().unwrap_or(Data::Bytes(body)));
    };
    let (media_type, charset) = media_type(content_type);
    if is_json(&media_type) {
        return json().ok_or_else(|| invalid("the data is not JSON, as its Content-Type says"));
    }
    let is_text = media_type.starts_with("text/")
        || media_type == "application/xml"
        || media_type.ends_with("+xml");
    let is_utf8 = charset.is_none_or(|charset| charset == "utf-8" || charset == "us-ascii");
    match std::str::from_utf8(body) {
        // A text of nothing but escapes is shorter in base64.
        Ok(text)
            if is_text
                && is_utf8
                && json_str_len(text) <= STANDARD.encoded_length(body.len()) + 2 =>
        {
            Ok(Data::Text(text))
        }
        _ => Ok(Data::Bytes(body)),
    }
}

/// A media type without its parameters, in lower case, and its charset in lower case.
pub(super) fn media_type(content_type: &str) -> (String, Option<String>) {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    (media_type, charset)
}

fn is_json(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "text/json") || media_type.ends_with("+json")
}

/// A header's value as text: quotes and their backslashes taken away, then percent-decoded once.
/// `None`: that is not UTF-8. A percent sign without two digits stands for itself.
fn decoded(value: &[u8]) -> Option<Cow<'_, str>> {
    let plain = |value: &[u8]| !value.iter().any(|byte| matches!(byte, b'%' | b'"'));
    if plain(value) {
        return std::str::from_utf8(value).ok().map(Cow::Borrowed);
    }
    let (mut bytes, mut quoted) = (Vec::with_capacity(value.len()), false);
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'"', _) => quoted = !quoted,
            (b'\\', [escaped, after @ ..]) if quoted => {
                bytes.push(*escaped);
                rest = after;
            }
            _ => bytes.push(*byte),
        }
    }
    let (mut text, mut rest) = (Vec::with_capacity(bytes.len()), &*bytes);
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    while let [byte, after @ ..] = rest {
        rest = after;
        let pair = match (byte, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                text.push(high << 4 | low);
                rest = &after[2..];
            }
            None => text.push(*byte),
        }
    }
    String::from_utf8(text).ok().map(Cow::Owned)
}

/// Whether a byte may stand in a URI-reference (RFC 3986).
pub(super) fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

/// Whether a JSON text is a string of base64, padded. Some encoders escape every slash.
fn is_base64(json: &str) -> bool {
    let is_string = json.starts_with('"');
    let text = if is_string { serde_json::from_str::<Cow<'_, str>>(json).ok() } else { None };
    text.is_some_and(|text| STANDARD.check(text.as_bytes()).is_ok())
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

/// Reads the members of an object in their order.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format_args!("more than {MEMBERS_MAX} members")));
            }
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

/// Members of one event: each is looked for among those before it.
const MEMBERS_MAX: usize = 256;

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
