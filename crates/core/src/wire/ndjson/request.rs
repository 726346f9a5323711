//! Reads one line into one request. A line that is no request is told which field is wrong and what
//! that field takes; nothing is guessed.
//!
//! `data` stays raw JSON: it is checked to be a valid object and is never printed anew.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::fields::{self, Object, fields, is_spelt_alike};
use super::members::{self, Element, NoMembers};
use super::split;
use crate::json::has_escapes;
use crate::limits::{LINE_BUFFER_BYTES, PRODUCER_ID_BYTES_MAX, REF_BYTES_MAX, REQUEST_EVENTS_MAX};
use crate::model::{
    Base64, Code, Context, Event, Extras, HashKey, PartitionKey, Profile, RawData, RawRecord,
    Reference, Refusal,
};

/// A line that was read. Its reference is known even where the request is refused.
#[derive(Debug)]
pub struct Parsed<'a> {
    pub reference: Reference,
    /// The `op` of a control line, as JSON text: its refusal carries it as it came. `None` where it
    /// is missing, no string, or a long one.
    pub op: Option<&'a str>,
    /// The transaction that an event belongs to.
    pub tx: Option<Cow<'a, str>>,
    pub request: Result<Request<'a>, Refusal>,
}

/// What a line asks for.
#[derive(Debug)]
pub enum Request<'a> {
    Event(Event<'a>),
    Record(RawRecord<'a>),
    Hello(Context),
    Ping,
    Flush,
    /// Events that share an answer: each is read by [`Member::of_batch`].
    Batch(Members<'a>),
    /// What is done with the transaction of this name.
    Begin(Cow<'a, str>),
    Commit(Cow<'a, str>),
    Rollback(Cow<'a, str>),
}

fields!(RawLine {
    reference: "ref",
    op: "op",
    event_type: "type",
    data: "data",
    options: "options",
} rarely LineRarities {
    data_base64: "data_base64",
    record: "record",
    context: "context",
    events: "events",
    tx: "tx",
});

fields!(RawOptions {
    partition_key: "partitionKey",
    source_user_id: "sourceUserId",
    id: "id",
} rarely OptionRarities {
    explicit_hash_key: "explicitHashKey",
    echo: "echo",
    envelope: "envelope",
    traceparent: "traceparent",
    tracestate: "tracestate",
});

fields!(RawContext {
    source_user_id: "sourceUserId",
    producer_id: "producerId",
    correlation_id: "correlationId",
    organisation_id: "organisationId",
    envelope: "envelope",
});

/// Reads what a control line says besides its `op`.
type ReadControl = for<'a> fn(&RawLine<'a>) -> Result<Request<'a>, Refusal>;

/// Every control line: its `op` and what reads the rest of it.
const OPS: [(&str, ReadControl); 7] = [
    ("hello", |line| Ok(Request::Hello(context(line.context())?))),
    ("ping", |_| Ok(Request::Ping)),
    ("flush", |_| Ok(Request::Flush)),
    ("batch", |line| members(line.events()).map(Request::Batch)),
    ("begin", |line| transaction(line.tx()).map(Request::Begin)),
    ("commit", |line| transaction(line.tx()).map(Request::Commit)),
    ("rollback", |line| transaction(line.tx()).map(Request::Rollback)),
];

/// Reads one line. `number` counts the lines of the connection, and is the reference of a line that
/// gives none.
pub fn parse(line: &[u8], number: u64) -> Parsed<'_> {
    // The whole line at once: serde would look only at the fields it keeps.
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => {
            let column = error.valid_up_to() + 1;
            let refusal = invalid(format!("the line is not UTF-8 at column {column}"));
            return Parsed::refused(number, None, refusal);
        }
    };
    if text.starts_with(r#"{"op":"batch""#)
        && let Some(batch) = batch(text, number)
    {
        return batch;
    }
    match object::<RawLine<'_>>(text, "the line") {
        Ok(raw) => parsed(&raw, text, number),
        Err(refusal) => Parsed::refused(number, None, refusal),
    }
}

impl<'a> Parsed<'a> {
    /// A line whose reference is not known but by its number.
    #[cold]
    fn refused(number: u64, op: Option<&'a str>, refusal: Refusal) -> Self {
        Self { reference: Reference::Number(number), op, tx: None, request: Err(refusal) }
    }
}

fn parsed<'a>(raw: &RawLine<'a>, text: &'a str, number: u64) -> Parsed<'a> {
    let op =
        raw.op.map(RawValue::get).filter(|op| op.starts_with('"') && op.len() <= REF_BYTES_MAX);
    let reference = match reference(raw.reference) {
        Ok(given) => given.unwrap_or(Reference::Number(number)),
        Err(refusal) => return Parsed::refused(number, op, refusal),
    };
    match raw.tx().filter(|_| raw.op.is_none()).map(|tx| transaction(Some(tx))).transpose() {
        Ok(tx) => Parsed { reference, op, tx, request: request(raw, text) },
        Err(refusal) => Parsed { reference, op, tx: None, request: Err(refusal) },
    }
}

/// An event of an array, read where it stands.
#[derive(Debug)]
pub struct Member<'a> {
    json: &'a str,
    /// The object that was read; `None` where it is none that can be read.
    raw: Option<RawLine<'a>>,
}

/// The events of an array.
pub type Members<'a> = members::Members<'a, Member<'a>>;

const _: () = assert!(
    members::KEPT_MAX * size_of::<Member<'_>>() <= LINE_BUFFER_BYTES,
    "a connection has a line buffer's bytes for what is made of its line"
);

impl<'a> Element<'a> for Member<'a> {
    fn read(array: &'a str, from: usize) -> Option<(Self, usize)> {
        if split::byte_at(array, from) == Some(b'{') {
            let mut objects = serde_json::Deserializer::from_str(&array[from..]).into_iter();
            if let Some(Ok(raw)) = objects.next() {
                let end = from + objects.byte_offset();
                return Some((Self { json: &array[from..end], raw: Some(raw) }, end));
            }
        }
        let end = split::value_end(array, from)?;
        Some((Self { json: &array[from..end], raw: None }, end))
    }

    fn is_object(&self) -> bool {
        self.raw.is_some()
    }
}

impl<'a> Member<'a> {
    /// The event's JSON as it stands in the array.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// What it asks for as a line of its own.
    pub fn as_line(&self, number: u64) -> Parsed<'a> {
        match &self.raw {
            Some(raw) => parsed(raw, self.json, number),
            None => parse(self.json.as_bytes(), number),
        }
    }

    /// What it asks for as an event of a batch. `place` counts them from 1, and is the reference of
    /// one that gives none.
    ///
    /// # Errors
    /// What it is refused with, and its reference.
    pub fn of_batch(&self, place: u64) -> Result<(Reference, Request<'a>), (Reference, Refusal)> {
        let number = || Reference::Number(place);
        let again: RawLine<'a>;
        let raw = match &self.raw {
            Some(raw) => raw,
            None => {
                again = object(self.json, "the event").map_err(|refusal| (number(), refusal))?;
                &again
            }
        };
        let reference = match reference(raw.reference) {
            Ok(given) => given.unwrap_or_else(number),
            Err(refusal) => return Err((number(), refusal)),
        };
        let misplaced = [("op", raw.op), ("tx", raw.tx()), ("events", raw.events())];
        let request = match misplaced.iter().find(|(_, given)| given.is_some()) {
            Some((field, _)) => {
                Err(invalid(format!("{field} has no place in an event of a batch")))
            }
            None => request(raw, self.json),
        };
        match request {
            Ok(request) => Ok((reference, request)),
            Err(refusal) => Err((reference, refusal)),
        }
    }
}

/// The reference of a line of which only the `head` was read: its `ref`, if that stands before what
/// is missing. Callers number their lines themselves, so a number of ours could be another's.
#[cold]
pub fn reference_of(head: &[u8], number: u64) -> Reference {
    let text = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let raw = split::field(text, "ref").and_then(|from| {
        let end = split::value_end(text, from).filter(|end| *end < text.len())?;
        serde_json::from_str(&text[from..end]).ok()
    });
    reference(raw).ok().flatten().unwrap_or(Reference::Number(number))
}

/// The refusal of a last line that was never ended.
pub fn torn() -> Refusal {
    const TORN: &str = "the line has no line end: it was cut off before the connection closed, and \
                        is not published";
    invalid(TORN)
}

fn request<'a>(raw: &RawLine<'a>, line: &str) -> Result<Request<'a>, Refusal> {
    let Some(op) = raw.op else {
        refuse_near(raw.has_near, line, &LINE, &OPTIONS)?;
        return publish(raw);
    };
    let op = string(op, "op")?;
    refuse_near(raw.has_near, line, &LINE, &CONTEXT)?;
    match OPS.iter().find(|(name, _)| *name == op) {
        Some((_, read)) => read(raw),
        None => Err(invalid(format!("op is not one of {}", OPS.map(|(name, _)| name).join(", ")))),
    }
}

fn publish<'a>(raw: &RawLine<'a>) -> Result<Request<'a>, Refusal> {
    if raw.data_base64().is_none() && raw.record().is_none() {
        return event(raw);
    }
    record(raw).map(Request::Record)
}

/// Reads an event, and makes a request of it where it stands: it is large.
fn event<'a>(raw: &RawLine<'a>) -> Result<Request<'a>, Refusal> {
    let event_type = string(
        raw.event_type.ok_or_else(|| invalid("type is missing, it takes a string"))?,
        "type",
    )?;
    if event_type.is_empty() {
        return Err(invalid("type is empty, it takes a string of at least one character"));
    }
    let data = raw.data.ok_or_else(|| invalid("data is missing, it takes an object"))?.get();
    if !data.starts_with('{') {
        return Err(invalid("data is not an object"));
    }
    let options = options(raw.options)?;
    Ok(Request::Event(Event {
        event_type,
        data,
        key: options.partition_key.map(partition_key).transpose()?.flatten(),
        explicit_hash: options.explicit_hash_key().map(explicit_hash).transpose()?.flatten(),
        user_id: text(options.source_user_id, "options.sourceUserId")?,
        id: options.id.map(event_id).transpose()?,
        echo: options.echo().map(|raw| boolean(raw, "options.echo")).transpose()?.unwrap_or(false),
        extras: extras(&options)?,
    }))
}

/// Reads a record that is published as it is. What belongs to an envelope has no place beside it.
#[cold]
fn record<'a>(raw: &RawLine<'a>) -> Result<RawRecord<'a>, Refusal> {
    let data = match (raw.data_base64(), raw.record()) {
        (Some(base64), None) => {
            let base64 = Base64::new(string(base64, "data_base64")?);
            RawData::Base64(base64.ok_or_else(|| invalid("data_base64 is not padded base64"))?)
        }
        (None, Some(record)) if record.get().starts_with('{') => RawData::Json(record.get()),
        (None, _) => return Err(invalid("record is not an object")),
        (Some(_), Some(_)) => {
            return Err(invalid("data_base64 and record stand on one line: write one of them"));
        }
    };
    let options = options(raw.options)?;
    let enveloped = [
        ("type", raw.event_type),
        ("data", raw.data),
        ("options.sourceUserId", options.source_user_id),
        ("options.echo", options.echo()),
        ("options.envelope", options.envelope()),
        ("options.traceparent", options.traceparent()),
        ("options.tracestate", options.tracestate()),
    ];
    if let Some((field, _)) = enveloped.iter().find(|(_, given)| given.is_some()) {
        let why = "has no place beside data_base64 or record, which are published as they are";
        return Err(invalid(format!("{field} {why}")));
    }
    Ok(RawRecord {
        data,
        key: options.partition_key.map(partition_key).transpose()?.flatten(),
        explicit_hash: options.explicit_hash_key().map(explicit_hash).transpose()?.flatten(),
        id: options.id.map(event_id).transpose()?,
    })
}

fn options<'a>(raw: Option<&'a RawValue>) -> Result<RawOptions<'a>, Refusal> {
    let Some(json) = raw else { return Ok(RawOptions::default()) };
    let options: RawOptions<'a> = object(json.get(), "options")?;
    refuse_near(options.has_near, json.get(), &OPTIONS, &LINE)?;
    Ok(options)
}

fn extras<'a>(options: &RawOptions<'a>) -> Result<Option<Box<Extras<'a>>>, Refusal> {
    if options.rarities.is_none() {
        return Ok(None);
    }
    let extras = Extras {
        traceparent: text(options.traceparent(), "options.traceparent")?,
        tracestate: text(options.tracestate(), "options.tracestate")?,
        envelope: profile(options.envelope(), "options.envelope")?,
    };
    Ok((extras != Extras::default()).then(|| Box::new(extras)))
}

fn profile(raw: Option<&RawValue>, field: &str) -> Result<Option<Profile>, Refusal> {
    let Some(name) = text(raw, field)? else { return Ok(None) };
    name.parse().map(Some).map_err(|error| invalid(format!("{field}: {error}")))
}

fn context(raw: Option<&RawValue>) -> Result<Context, Refusal> {
    let raw: RawContext<'_> = match raw {
        Some(json) => {
            let context: RawContext<'_> = object(json.get(), "context")?;
            refuse_near(context.has_near, json.get(), &CONTEXT, &LINE)?;
            context
        }
        None => RawContext::default(),
    };
    let own = |raw, field| -> Result<Option<String>, Refusal> {
        match text(raw, field)? {
            Some(text) if text.len() > PRODUCER_ID_BYTES_MAX => Err(invalid(format!(
                "{field} is {} bytes, it takes at most {PRODUCER_ID_BYTES_MAX}",
                text.len()
            ))),
            text => Ok(text.map(Cow::into_owned)),
        }
    };
    Ok(Context {
        user_id: own(raw.source_user_id, "context.sourceUserId")?,
        producer_id: own(raw.producer_id, "context.producerId")?,
        correlation_id: own(raw.correlation_id, "context.correlationId")?,
        organisation_id: own(raw.organisation_id, "context.organisationId")?,
        envelope: profile(raw.envelope, "context.envelope")?,
    })
}

fn transaction<'a>(raw: Option<&'a RawValue>) -> Result<Cow<'a, str>, Refusal> {
    let raw = raw.ok_or_else(|| invalid("tx is missing, it takes a string"))?;
    let name = string(raw, "tx")?;
    if !(1..=REF_BYTES_MAX).contains(&name.len()) {
        let bytes = name.len();
        return Err(invalid(format!("tx has {bytes} bytes, it takes 1 to {REF_BYTES_MAX}")));
    }
    Ok(name)
}

fn members<'a>(events: Option<&'a RawValue>) -> Result<Members<'a>, Refusal> {
    let events = events.ok_or_else(|| invalid("events is missing, it takes an array of events"))?;
    match Members::read(events.get(), 0) {
        Ok((members, _)) => Ok(members),
        Err(NoMembers::Broken) => Err(invalid("events is not an array")),
        Err(NoMembers::TooMany) => Err(too_many_members()),
    }
}

/// Reads a batch as clients write it, with `op` first: its events are read where they stand, and
/// the rest of the line without them. `None` where something is wrong with the line, which is then
/// read in full to say what.
#[inline(never)]
fn batch(line: &str, number: u64) -> Option<Parsed<'_>> {
    let from = split::field(line, "events")?;
    let (members, end) = match Members::read(line, from) {
        Ok((members, end)) => (Ok(members), end),
        Err(NoMembers::Broken) => return None,
        Err(NoMembers::TooMany) => (Err(too_many_members()), split::value_end(line, from)?),
    };
    let without = [&line[..from], "0", &line[end..]].concat();
    let raw: RawLine<'_> = object(&without, "the line").ok()?;
    if raw.has_near {
        return None;
    }
    let reference = reference(raw.reference).ok()?.unwrap_or(Reference::Number(number));
    let request = members.map(Request::Batch);
    Some(Parsed { reference, op: Some(r#""batch""#), tx: None, request })
}

#[cold]
fn too_many_members() -> Refusal {
    let why = format!("events has over {REQUEST_EVENTS_MAX} events: send them in several parts");
    Refusal::new(Code::EventTooLarge, why)
}

fn reference(raw: Option<&RawValue>) -> Result<Option<Reference>, Refusal> {
    let Some(raw) = raw else { return Ok(None) };
    let text = raw.get();
    let fits = match text.as_bytes()[0] {
        b'"' => string(raw, "ref")?.len() <= REF_BYTES_MAX,
        b'-' | b'0'..=b'9' => {
            text.len() <= REF_BYTES_MAX && text.bytes().all(|b| b == b'-' || b.is_ascii_digit())
        }
        _ => false,
    };
    if !fits {
        return Err(invalid(format!(
            "ref is not an integer or a string of at most {REF_BYTES_MAX} bytes"
        )));
    }
    Ok(Some(Reference::Text(text.into())))
}

fn partition_key(raw: &RawValue) -> Result<Option<PartitionKey>, Refusal> {
    let text = string(raw, "options.partitionKey")?;
    if text.is_empty() {
        return Ok(None);
    }
    PartitionKey::new(text)
        .map(Some)
        .map_err(|error| invalid(format!("options.partitionKey {error}")))
}

fn explicit_hash(raw: &RawValue) -> Result<Option<HashKey>, Refusal> {
    let text = string(raw, "options.explicitHashKey")?;
    if text.is_empty() {
        return Ok(None);
    }
    HashKey::parse(&text)
        .map(Some)
        .map_err(|error| invalid(format!("options.explicitHashKey {error}")))
}

fn event_id(raw: &RawValue) -> Result<Uuid, Refusal> {
    let text = string(raw, "options.id")?;
    // Only the hyphenated form: the id is published as a uuid and must read back as it was given.
    let id = if text.len() == uuid::fmt::Hyphenated::LENGTH {
        Uuid::try_parse(&text).ok()
    } else {
        None
    };
    id.ok_or_else(|| invalid("options.id is not a uuid like 9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11"))
}

/// Reads a string field; `None` where it is missing, null or `""`, which mean the same.
fn text<'a>(raw: Option<&'a RawValue>, field: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    Ok(raw.map(|raw| string(raw, field)).transpose()?.filter(|text| !text.is_empty()))
}

fn string<'a>(raw: &'a RawValue, field: &str) -> Result<Cow<'a, str>, Refusal> {
    let json = raw.get();
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        None => Err(invalid(format!("{field} is not a string"))),
        // Of valid JSON: what would be escaped stands there as an escape, which has a backslash.
        Some(inner) if !has_escapes(inner) => Ok(Cow::Borrowed(inner)),
        // Valid JSON whose escapes make no text: half of a surrogate pair.
        Some(_) => serde_json::from_str(json).map(Cow::Owned).map_err(|_| {
            invalid(format!("{field} has half of a surrogate pair, it takes Unicode text"))
        }),
    }
}

fn boolean(raw: &RawValue, field: &str) -> Result<bool, Refusal> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(format!("{field} is not true or false"))),
    }
}

const LINE: Object = Object { within: "", fields: RawLine::NAMES };
const OPTIONS: Object = Object { within: "options", fields: RawOptions::NAMES };
const CONTEXT: Object = Object { within: "context", fields: RawContext::NAMES };

/// Whether a field's name is spelt almost as the name of a known one, here or in another object.
fn is_near(name: &str) -> bool {
    [LINE, OPTIONS, CONTEXT]
        .iter()
        .any(|object| object.fields.iter().any(|field| is_spelt_alike(field, name)))
}

/// Refuses an object with an unknown field that is most likely meant as a known one: the event
/// would be acked, and would not be what its caller believes. Any other unknown field is ignored.
fn refuse_near(has_near: bool, json: &str, object: &Object, other: &Object) -> Result<(), Refusal> {
    let meant = if has_near { object.meant(json, other) } else { None };
    meant.map_or(Ok(()), |says| Err(invalid(says)))
}

/// Reads a JSON object. The brace is looked for first, since serde would take an array for a struct
/// too.
fn object<'a, T: Deserialize<'a>>(json: &'a str, what: &str) -> Result<T, Refusal> {
    if !json.trim_ascii_start().starts_with('{') {
        return Err(invalid(format!("{what} is not a JSON object")));
    }
    serde_json::from_str(json).map_err(|error| {
        // serde's own words name the place in the line, never the text that was found there.
        let says = error.to_string().replace("line 1 column", "column");
        match error.classify() {
            serde_json::error::Category::Data => {
                invalid(format!("{what} has a field twice or wrong: {says}"))
            }
            _ => invalid(format!("{what} is not JSON: {says}")),
        }
    })
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event_of(line: &str) -> Event<'_> {
        match parse(line.as_bytes(), 1).request {
            Ok(Request::Event(event)) => event,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refusal_of(line: &str) -> String {
        match parse(line.as_bytes(), 1).request {
            Err(refusal) => {
                assert_eq!(refusal.code, Code::InvalidRequest);
                refusal.message.into_owned()
            }
            Ok(request) => panic!("{line}: {request:?}"),
        }
    }

    #[test]
    fn an_event_keeps_its_data_verbatim() {
        let event = event_of(
            r#" {"type":"t","data": {"n":1.50, "big":9007199254740993,"n":1} ,"other":[1]} "#,
        );
        assert_eq!(event.data, r#"{"n":1.50, "big":9007199254740993,"n":1}"#);
    }

    #[test]
    fn missing_null_and_empty_options_mean_the_default() {
        for options in [
            "",
            r#","options":null"#,
            r#","options":{}"#,
            concat!(
                r#","options":{"partitionKey":null,"sourceUserId":null,"id":null,"#,
                r#""echo":null,"explicitHashKey":null,"envelope":null,"traceparent":null}"#
            ),
            r#","options":{"partitionKey":"","sourceUserId":"","explicitHashKey":""}"#,
        ] {
            let line = format!(r#"{{"type":"t","data":{{}}{options}}}"#);
            let event = event_of(&line);
            assert_eq!(
                (event.key, event.user_id, event.id, event.explicit_hash, event.echo),
                (None, None, None, None, false)
            );
        }
    }

    #[test]
    fn an_echo_that_is_declined_is_none() {
        assert!(!event_of(r#"{"type":"t","data":{},"options":{"echo":false}}"#).echo);
    }

    #[test]
    fn a_text_is_copied_only_where_it_has_escapes() {
        let event = event_of(r#"{"type":"café","data":{},"options":{"sourceUserId":"u\u002d3"}}"#);
        assert!(matches!(event.event_type, Cow::Borrowed("café")), "{event:?}");
        assert!(matches!(&event.user_id, Some(Cow::Owned(id)) if id == "u-3"), "{event:?}");
    }

    #[test]
    fn every_option_is_read() {
        let event = event_of(concat!(
            r#"{"type":"caf\u00e9","data":{},"options":{"partitionKey":"k","#,
            r#""explicitHashKey":"7","sourceUserId":"u-3","#,
            r#""id":"9C0C1D52-5c2b-4d9c-9f5c-0a4c3a5a7d11","echo":true}}"#
        ));
        assert_eq!(event.event_type, "café");
        assert_eq!(event.key.map(|key| key.as_str().to_owned()).as_deref(), Some("k"));
        assert_eq!(event.explicit_hash, Some(HashKey(7)));
        assert_eq!(event.user_id.as_deref(), Some("u-3"));
        assert_eq!(
            event.id.map(|id| id.to_string()).as_deref(),
            Some("9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11")
        );
        assert!(event.echo);
    }

    #[test]
    fn the_events_of_a_batch_are_read_one_by_one_and_each_has_a_reference() {
        let line = r#"{"op":"batch","events":[{"type":"t","data":{}},{"ref":"a","type":""}, 7 ,
            {"ref":8,"record":{}},{"ref":9,"op":"ping"},{"tx":"t","type":"t","data":{}}]}"#
            .replace('\n', "");
        let Ok(Request::Batch(members)) = parse(line.as_bytes(), 1).request else {
            panic!("it is a batch");
        };
        let read: Vec<_> = members.each(|member, index| member.of_batch(index + 1)).collect();
        let text = |json: &str| Reference::Text(json.into());
        assert!(matches!(&read[0], Ok((Reference::Number(1), Request::Event(_)))), "{read:?}");
        assert!(matches!(&read[3], Ok((eight, Request::Record(_))) if *eight == text("8")));
        let refused = |at: usize| read[at].as_ref().expect_err("it is refused");
        let (reference, refusal) = refused(1);
        assert_eq!(*reference, text(r#""a""#));
        assert_eq!(refusal.message, "type is empty, it takes a string of at least one character");
        assert_eq!(refused(2).1.message, "the event is not a JSON object");
        assert_eq!(refused(4).1.message, "op has no place in an event of a batch");
        assert_eq!(refused(5).1.message, "tx has no place in an event of a batch");
    }

    #[test]
    fn a_batch_is_read_alike_wherever_its_op_stands() {
        for fields in [
            r#""ref":7,"events":[{"type":"t","data":{}}]"#,
            r#""events":[],"ref":"\ud800""#,
            r#""events":{}"#,
            r#""events":h""#,
            r#""events":[],"events":[]"#,
            r#""Events":[]"#,
            r#""events":[1"#,
            r#""x":{"events":[1]}"#,
        ] {
            let first = format!(r#"{{"op":"batch",{fields}}}"#);
            let last = format!(r#"{{{fields},"op":"batch"}}"#);
            let [first, last] = [&first, &last].map(|line| parse(line.as_bytes(), 1));
            assert_eq!(first.reference, last.reference, "{fields}");
            assert_eq!(first.op, last.op, "{fields}");
            assert_eq!(first.request.is_ok(), last.request.is_ok(), "{fields}: {first:?}");
        }
    }

    #[test]
    fn a_batch_of_too_many_events_is_refused_as_too_large() {
        let batch = |events: usize| {
            let line = format!(r#"{{"op":"batch","events":[0{}]}}"#, ",0".repeat(events - 1));
            match parse(line.as_bytes(), 1).request {
                Ok(Request::Batch(members)) => Ok(members.len()),
                Err(refusal) => Err(refusal.code),
                Ok(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(batch(REQUEST_EVENTS_MAX), Ok(REQUEST_EVENTS_MAX));
        assert_eq!(batch(REQUEST_EVENTS_MAX + 1), Err(Code::EventTooLarge));
        assert_eq!(batch(9 * REQUEST_EVENTS_MAX), Err(Code::EventTooLarge));
    }

    #[test]
    fn an_event_names_its_transaction_and_a_control_line_the_one_it_is_about() {
        let parsed = parse(br#"{"tx":"t1","type":"t","data":{}}"#, 1);
        assert_eq!(parsed.tx.as_deref(), Some("t1"));
        let parsed = parse(br#"{"op":"commit","tx":"t\u0031"}"#, 1);
        assert!(
            matches!(&parsed.request, Ok(Request::Commit(tx)) if tx == "t1" && parsed.tx.is_none()),
            "{parsed:?}"
        );
        assert_eq!(parse(br#"{"type":"t","data":{}}"#, 1).tx, None);
    }

    #[test]
    fn what_few_events_say_is_kept_apart() {
        let event = event_of(
            r#"{"type":"t","data":{},"options":{"traceparent":"00-1","tracestate":"a=1","envelope":"cloudevents"}}"#,
        );
        let extras = Extras {
            traceparent: Some("00-1".into()),
            tracestate: Some("a=1".into()),
            envelope: Some(Profile::CloudEvents),
        };
        assert_eq!(event.extras.as_deref(), Some(&extras));
        assert_eq!(event_of(r#"{"type":"t","data":{},"options":{"echo":true}}"#).extras, None);
    }

    #[test]
    fn a_raw_record_is_told_from_an_event_and_keeps_its_bytes() {
        let record_of = |line: &'static str| match parse(line.as_bytes(), 1).request {
            Ok(Request::Record(record)) => record,
            other => panic!("{line}: {other:?}"),
        };
        let record = record_of(r#"{"record":{"a": 1.50},"options":{"partitionKey":"k"}}"#);
        assert_eq!(record.data, RawData::Json(r#"{"a": 1.50}"#));
        assert_eq!(record.key.map(|key| key.as_str().to_owned()).as_deref(), Some("k"));
        let record = record_of(r#"{"data_base64":"\/\/79","options":{"explicitHashKey":"7"}}"#);
        assert_eq!(record.data.to_bytes(), &b"\xff\xfe\xfd"[..]);
        assert_eq!((record.key, record.explicit_hash, record.id), (None, Some(HashKey(7)), None));
    }

    #[test]
    fn a_refusal_names_the_field_and_what_it_takes() {
        let long = "k".repeat(257);
        for (line, says) in [
            ("nonsense", "the line is not a JSON object"),
            ("[1]", "the line is not a JSON object"),
            (r#"{"type":"t""#, "the line is not JSON: EOF while parsing an object at column 11"),
            (
                r#"{"type":"t","data":{}} x"#,
                "the line is not JSON: trailing characters at column 24",
            ),
            (
                r#"{"type":"t","type":"u","data":{}}"#,
                "the line has a field twice or wrong: duplicate field `type` at column 18",
            ),
            (r#"{"data":{}}"#, "type is missing, it takes a string"),
            (r#"{"type":null,"data":{}}"#, "type is missing, it takes a string"),
            (r#"{"type":5,"data":{}}"#, "type is not a string"),
            (
                r#"{"type":"","data":{}}"#,
                "type is empty, it takes a string of at least one character",
            ),
            (
                r#"{"type":"\ud800","data":{}}"#,
                "type has half of a surrogate pair, it takes Unicode text",
            ),
            (r#"{"type":"t"}"#, "data is missing, it takes an object"),
            (r#"{"type":"t","data":[]}"#, "data is not an object"),
            (r#"{"type":"t","data":{},"options":[]}"#, "options is not a JSON object"),
            (
                r#"{"type":"t","data":{},"options":{"partitionKey":7}}"#,
                "options.partitionKey is not a string",
            ),
            (
                r#"{"type":"t","data":{},"options":{"explicitHashKey":"007"}}"#,
                "options.explicitHashKey is not a decimal number from 0 to \
                 340282366920938463463374607431768211455 (2^128 - 1) without leading zeros",
            ),
            (
                r#"{"type":"t","data":{},"options":{"id":"x"}}"#,
                "options.id is not a uuid like 9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11",
            ),
            (r#"{"type":"t","data":{},"options":{"echo":1}}"#, "options.echo is not true or false"),
            (
                r#"{"type":"t","data":{},"options":{"envelope":"avro"}}"#,
                "options.envelope: expected lk, type-data, eventbridge or cloudevents",
            ),
            (r#"{"data_base64":"__79"}"#, "data_base64 is not padded base64"),
            (r#"{"data_base64":7}"#, "data_base64 is not a string"),
            (r#"{"record":[]}"#, "record is not an object"),
            (
                r#"{"record":{},"data_base64":""}"#,
                "data_base64 and record stand on one line: write one of them",
            ),
            (
                r#"{"record":{},"type":"t"}"#,
                "type has no place beside data_base64 or record, which are published as they are",
            ),
            (
                r#"{"data_base64":"","options":{"echo":false}}"#,
                "options.echo has no place beside data_base64 or record, which are published as \
                 they are",
            ),
            (
                r#"{"op":"dance"}"#,
                "op is not one of hello, ping, flush, batch, begin, commit, rollback",
            ),
            (r#"{"op":"batch"}"#, "events is missing, it takes an array of events"),
            (r#"{"op":"batch","events":{}}"#, "events is not an array"),
            (r#"{"op":"begin"}"#, "tx is missing, it takes a string"),
            (r#"{"op":"commit","tx":7}"#, "tx is not a string"),
            (r#"{"tx":"","type":"t","data":{}}"#, "tx has 0 bytes, it takes 1 to 128"),
            (
                r#"{"ref":1.5,"op":"ping"}"#,
                "ref is not an integer or a string of at most 128 bytes",
            ),
        ] {
            assert_eq!(refusal_of(line), says, "{line}");
        }
        let line = format!(r#"{{"type":"t","data":{{}},"options":{{"partitionKey":"{long}"}}}}"#);
        assert_eq!(refusal_of(&line), "options.partitionKey has 257 characters, it takes 1 to 256");
    }

    #[test]
    fn a_field_that_is_most_likely_meant_as_a_known_one_is_refused_and_any_other_ignored() {
        let event = |more: &str| format!(r#"{{"type":"t","data":{{}},{more}}}"#);
        let almost = |field: &str| {
            format!("a field is spelt almost as {field}: write exactly that, or another name")
        };
        let stands = |field: &str, here: &str, there: &str| {
            format!(
                "{field} stands {here}, where it has no meaning: write {there}, or another name"
            )
        };
        for (line, says) in [
            (event(r#""options":{"partitionkey":"k"}"#), almost("options.partitionKey")),
            (event(r#""options":{"PARTITION_KEY":"k"}"#), almost("options.partitionKey")),
            (
                event(r#""options":{"partition\u004bey":"k","partition-key":null}"#),
                almost("options.partitionKey"),
            ),
            (
                event(r#""options":{"n":1,"explicitHashkey":"7"}"#),
                almost("options.explicitHashKey"),
            ),
            (event(r#""Options":{"partitionKey":"k"}"#), almost("options")),
            (event(r#""Ref":7"#), almost("ref")),
            (
                event(r#""partitionKey":"k""#),
                stands("partitionKey", "at the top level", "options.partitionKey"),
            ),
            (
                event(r#""partition_key":"k""#),
                stands("partitionKey", "at the top level", "options.partitionKey"),
            ),
            (event(r#""id":null"#), stands("id", "at the top level", "options.id")),
            (event(r#""options":{"ref":7}"#), stands("ref", "in options", "ref at the top level")),
            (
                r#"{"op":"hello","producerId":"p"}"#.to_owned(),
                stands("producerId", "at the top level", "context.producerId"),
            ),
            (
                r#"{"op":"hello","context":{"producerID":"p"}}"#.to_owned(),
                almost("context.producerId"),
            ),
            (r#"{"op":"flush","REF":1}"#.to_owned(), almost("ref")),
        ] {
            assert_eq!(refusal_of(&line), says, "{line}");
        }
        for ignored in [
            r#""traceId":1,"idempotencyKey":2,"options":{"key":1,"partitionKeys":2,"":3}"#,
            r#""source":{"partitionKey":"k"},"producerId":"of no event's line""#,
            r#""options":{"producerId":"p","x":{"ref":1}},"x":{"partitionkey":1}"#,
        ] {
            event_of(&event(ignored));
        }
        assert!(
            parse(br#"{"op":"ping","id":1,"partitionKey":"of no control line"}"#, 1)
                .request
                .is_ok()
        );
    }

    #[test]
    fn only_a_name_that_is_near_to_a_field_has_its_line_read_once_more() {
        for near in ["partitionkey", "producer_id", "REF"] {
            assert!(is_near(near), "{near}");
        }
        for other in ["traceId", "key", ""] {
            assert!(!is_near(other), "{other}");
        }
    }

    #[test]
    fn the_page_has_every_field_and_no_other() {
        let page = include_str!("../../../../../docs/protocol.md");
        let table = page.lines().skip_while(|line| *line != "| field | | meaning |").skip(2);
        let rows = table.map_while(|line| line.strip_prefix("| `")?.split('`').next());
        let (mut of_options, mut of_line): (Vec<_>, Vec<_>) =
            rows.partition(|field| field.starts_with("options."));
        of_options.iter_mut().for_each(|field| *field = field.trim_start_matches("options."));
        // These are told of by their fields, and among the control lines.
        of_line.extend(["op", "options", "context", "events"]);
        let sorted = |names: &[&'static str]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(&of_options), sorted(RawOptions::NAMES));
        assert_eq!(sorted(&of_line), sorted(RawLine::NAMES));
        let hello =
            page.lines().find(|line| line.starts_with("| `{\"op\":\"hello\"")).expect("its row");
        let context = hello
            .split("\"context\":{")
            .nth(1)
            .and_then(|rest| rest.split('}').next())
            .expect("its context");
        let told: Vec<_> =
            context.split(',').map(|pair| pair.split('"').nth(1).expect("a name")).collect();
        assert_eq!(told, RawContext::NAMES);
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `{\"op\":\""));
        let told: Vec<_> = rows.filter_map(|row| row.split('"').next()).collect();
        assert_eq!(told, OPS.map(|(name, _)| name), "the control lines, in their order");
    }

    #[test]
    fn a_refused_control_line_keeps_its_op_as_it_came() {
        let long = format!(r#"{{"op":"{}"}}"#, "o".repeat(127));
        for (line, op) in [
            (r#"{"op":"hello","context":7}"#, Some(r#""hello""#)),
            (r#"{"op":"d\u0061nce"}"#, Some(r#""d\u0061nce""#)),
            (r#"{"ref":{},"op":"ping"}"#, Some(r#""ping""#)),
            (r#"{"op":7}"#, None),
            (&long, None),
            (r#"{"op":null,"type":"t"}"#, None),
        ] {
            let parsed = parse(line.as_bytes(), 1);
            assert!(parsed.request.is_err(), "{line}");
            assert_eq!(parsed.op, op, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_not_utf8_is_refused_even_where_the_field_would_be_ignored() {
        let line = b"{\"type\":\"t\",\"data\":{},\"x\":\"\xff\"}"; // found by fuzzing
        let refusal = parse(line, 1).request.expect_err("not UTF-8");
        assert_eq!(refusal.message, "the line is not UTF-8 at column 28");
    }

    #[test]
    fn the_reference_is_echoed_as_it_came_even_when_the_event_is_refused() {
        for (line, reference) in [
            (r#"{"ref":7}"#, Reference::Text("7".into())),
            (r#"{"ref":"a\u0041"}"#, Reference::Text(r#""a\u0041""#.into())),
            (
                r#"{"ref":123456789012345678901234567890}"#,
                Reference::Text("123456789012345678901234567890".into()),
            ),
            (r#"{"ref":null}"#, Reference::Number(4)),
            (r#"{"ref":{}}"#, Reference::Number(4)),
            ("{", Reference::Number(4)),
        ] {
            assert_eq!(parse(line.as_bytes(), 4).reference, reference, "{line}");
        }
    }

    #[test]
    fn of_a_line_that_is_cut_off_the_ref_is_known_if_it_was_read() {
        let text = |json: &str| Reference::Text(json.into());
        for (head, expected) in [
            (&br#"{"ref":7,"type":"t","data":{"long":"xx"#[..], text("7")),
            (br#" {"type":"t","ref":"a","data":{"#, text("\"a\"")),
            (b"{\"ref\":7,\"data\":\"\xc3", text("7")),
            (br#"{"data":{"ref":7},"ref"#, Reference::Number(3)),
            (br#"{"data":{"ref":7"#, Reference::Number(3)),
            (br#"{"ref":12"#, Reference::Number(3)),
            (br#"{"ref":{},"data":{"#, Reference::Number(3)),
            (b"\xff", Reference::Number(3)),
        ] {
            assert_eq!(reference_of(head, 3), expected, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn hello_carries_defaults_for_the_connection() {
        let parsed =
            parse(br#"{"op":"hello","context":{"sourceUserId":"u","producerId":"app@pod"}}"#, 1);
        let context = Context {
            user_id: Some("u".into()),
            producer_id: Some("app@pod".into()),
            ..Context::default()
        };
        assert!(
            matches!(&parsed.request, Ok(Request::Hello(told)) if *told == context),
            "{parsed:?}"
        );
    }

    #[test]
    fn what_hello_says_may_be_as_long_as_its_bound_and_no_longer() {
        for field in ["sourceUserId", "producerId", "correlationId", "organisationId"] {
            let hello = |bytes: usize| {
                format!(r#"{{"op":"hello","context":{{"{field}":"{}"}}}}"#, "x".repeat(bytes))
            };
            assert!(parse(hello(PRODUCER_ID_BYTES_MAX).as_bytes(), 1).request.is_ok(), "{field}");
            for bytes in [PRODUCER_ID_BYTES_MAX + 1, 9 * PRODUCER_ID_BYTES_MAX] {
                let says = format!(
                    "context.{field} is {bytes} bytes, it takes at most {PRODUCER_ID_BYTES_MAX}"
                );
                assert_eq!(refusal_of(&hello(bytes)), says);
            }
        }
    }

    #[test]
    fn a_reference_may_be_as_long_as_its_bound_and_no_longer() {
        let line = |reference: &str| format!(r#"{{"ref":{reference},"op":"ping"}}"#);
        let (digits, text) = ("7".repeat(REF_BYTES_MAX), "x".repeat(REF_BYTES_MAX));
        for fits in ["-7", &digits, &format!("\"{text}\"")] {
            let line = line(fits);
            let parsed = parse(line.as_bytes(), 1);
            assert!(parsed.request.is_ok(), "{parsed:?}");
            assert_eq!(parsed.reference, Reference::Text(fits.into()));
        }
        for too_long in [&format!("{digits}7"), &format!("\"{text}x\"")] {
            let says = "ref is not an integer or a string of at most 128 bytes";
            assert_eq!(refusal_of(&line(too_long)), says, "{too_long}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_refusal_repeats_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = parse(&bytes, 1);
        }

        #[test]
        fn any_json_object_passes_as_data_untouched(
            text in "[^\"\\\\\\x00-\\x1f]{0,40}",
            number in any::<f64>(),
        ) {
            let line = format!(r#"{{"data":{{"{text}":[{number:?},null]}},"type":"t"}}"#);
            if number.is_finite() {
                let from = line.find(":{").expect("data's brace") + 1;
                let to = line.rfind(",\"type\"").expect("the type follows");
                prop_assert_eq!(event_of(&line).data, &line[from..to]);
            }
        }
    }
}
