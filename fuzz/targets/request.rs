//! One line → one request → one record → one answer, for a connection's lines one after another.
//!
//! An input is what a caller writes: lines, each ended by `\n`. The checks say what
//! docs/protocol.md says, with other code: which lines are taken, what is published, and that an
//! answer is one line of JSON with the caller's `ref`.
#![no_main]

use dispatchd_core::limits::{PARTITION_KEY_CHARS_MAX, PRODUCER_ID_BYTES_MAX, REF_BYTES_MAX};
use dispatchd_core::model::envelope::{Draft, More, Timestamp};
use dispatchd_core::model::{
    Code, Context, Durable, Event, PartitionKey, Position, Profile, RawRecord, Record, Reference,
    Refusal, Shows,
};
use dispatchd_core::wire::ndjson::answer;
use dispatchd_core::wire::ndjson::request::{self, Member, Parsed, Request};
use dispatchd_fuzz::json;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const PRODUCER_ID: &str = "app@\"host\"\n";
const EVENT_BYTES_MAX: usize = 1_048_576;

fuzz_target!(|input: &[u8]| {
    let mut context = Context::default();
    for (number, line) in (1..).zip(input.split(|b| *b == b'\n')) {
        let wanted = Wanted::of(line, number);
        let Parsed { reference, op, tx, request } = request::parse(line, number);
        let reference_json = match &reference {
            Reference::Number(number) => number.to_string(),
            Reference::Text(json) => json.to_string(),
        };
        if let (Ok(Request::Batch(members)), None) = (&request, &wanted.request)
            && line.starts_with(br#"{"op":"batch""#)
        {
            // No JSON as a whole: each event is judged for itself.
            members.each(check_member).for_each(drop);
            continue;
        }
        assert_eq!(reference_json, wanted.reference, "the reference");
        assert_eq!(op, wanted.op, "the op");
        if request.is_ok() {
            assert_eq!(tx.as_deref(), wanted.tx.as_deref(), "the transaction");
        }
        match (request, wanted.request) {
            (Err(refusal), None) => check_refusal(&reference, &reference_json, op, &refusal, line),
            (Ok(Request::Event(event)), Some(WantedRequest::Event(wanted))) => {
                check_event(&event, &wanted);
                check_published(&reference, &reference_json, event, &context);
            }
            (Ok(Request::Record(record)), Some(WantedRequest::Record(wanted))) => {
                check_record(record, &wanted, &reference, &reference_json);
            }
            (Ok(Request::Batch(members)), Some(WantedRequest::Batch(wanted))) => {
                let found: Vec<_> = members.each(|member, _| member.json()).collect();
                assert_eq!(found, wanted);
                members.each(check_member).for_each(drop);
            }
            (Ok(Request::Begin(tx)), Some(WantedRequest::Transaction("begin", wanted)))
            | (Ok(Request::Commit(tx)), Some(WantedRequest::Transaction("commit", wanted)))
            | (Ok(Request::Rollback(tx)), Some(WantedRequest::Transaction("rollback", wanted))) => {
                assert_eq!(tx, wanted);
                check_transaction(&tx, &reference);
            }
            (Ok(Request::Hello(given)), Some(WantedRequest::Hello(wanted))) => {
                assert_eq!(given, wanted);
                context = given;
                check_control(
                    "hello",
                    &reference,
                    &[("version", "1"), ("maxEventBytes", "1048576"), ("producerId", PRODUCER)],
                );
            }
            (Ok(Request::Ping), Some(WantedRequest::Control("ping"))) => {
                check_control("ping", &reference, &[])
            }
            (Ok(Request::Flush), Some(WantedRequest::Control("flush"))) => {
                check_control("flush", &reference, &[])
            }
            (request, wanted) => panic!("{request:?}, but wanted {wanted:?}"),
        }
    }
});

// === What the protocol says ===

const LINE: [&str; 10] =
    ["ref", "op", "type", "data", "data_base64", "record", "options", "context", "events", "tx"];
const OPTIONS: [&str; 8] = [
    "partitionKey",
    "explicitHashKey",
    "sourceUserId",
    "id",
    "echo",
    "envelope",
    "traceparent",
    "tracestate",
];
const CONTEXT: [&str; 5] =
    ["sourceUserId", "producerId", "correlationId", "organisationId", "envelope"];
const FORMS: [&str; 4] = ["lk", "type-data", "eventbridge", "cloudevents"];
const BATCH_EVENTS_MAX: usize = 4096;

/// What docs/protocol.md makes of a line.
struct Wanted<'a> {
    /// The reference, as the answer prints it.
    reference: String,
    /// The operation as its refusal prints it.
    op: Option<&'a str>,
    /// The transaction of an event.
    tx: Option<String>,
    /// The request; `None` where it is refused.
    request: Option<WantedRequest<'a>>,
}

#[derive(Debug)]
enum WantedRequest<'a> {
    Event(WantedEvent<'a>),
    Record(WantedRecord<'a>),
    Hello(Context),
    Control(&'static str),
    Batch(Vec<&'a str>),
    Transaction(&'static str, String),
}

#[derive(Debug)]
struct WantedRecord<'a> {
    /// The data in base64; `None` where it is what is in `json`.
    base64: Option<String>,
    json: Option<&'a str>,
    key: Option<String>,
    explicit_hash: Option<String>,
    id: Option<String>,
}

#[derive(Debug)]
struct WantedEvent<'a> {
    event_type: String,
    data: &'a str,
    key: Option<String>,
    explicit_hash: Option<String>,
    user_id: Option<String>,
    id: Option<String>,
    echo: bool,
    envelope: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

/// An object of the protocol: `null` means that a field is missing.
struct Object<'a>(Vec<(String, &'a str)>);

impl<'a> Wanted<'a> {
    fn of(line: &'a [u8], number: u64) -> Self {
        let refused = Self { reference: number.to_string(), op: None, tx: None, request: None };
        let Ok(line) = std::str::from_utf8(line) else { return refused };
        let Some(object) = Object::read(line, &LINE) else { return refused };
        let op =
            object.get("op").filter(|json| json.starts_with('"') && json.len() <= REF_BYTES_MAX);
        let reference = match object.get("ref") {
            Some(json) if is_reference(json) => json.to_owned(),
            Some(_) => return Self { op, ..refused },
            None => refused.reference,
        };
        let is_event = object.get("op").is_none();
        let tx = match object.get("tx").filter(|_| is_event) {
            None => None,
            Some(json) => match json::text(json).filter(|tx| is_tx(tx)) {
                Some(tx) => Some(tx),
                None => return Self { reference, op, tx: None, request: None },
            },
        };
        Self { reference, op, tx, request: WantedRequest::of(&object) }
    }
}

impl<'a> WantedRequest<'a> {
    fn of(line: &Object<'a>) -> Option<Self> {
        let op = line.text("op")?;
        let near = if op.is_none() { [&LINE[..], &OPTIONS[..]] } else { [&LINE[..], &CONTEXT[..]] };
        if line.has_near(near) {
            return None;
        }
        match op.as_deref() {
            None if line.get("data_base64").is_some() || line.get("record").is_some() => {
                WantedRecord::of(line).map(Self::Record)
            }
            None => WantedEvent::of(line).map(Self::Event),
            Some("hello") => {
                let context = Object::read(line.get("context").unwrap_or("{}"), &CONTEXT)?;
                if context.has_near([&CONTEXT, &LINE]) {
                    return None;
                }
                let field = |name| {
                    let text = context.text(name)?;
                    text.as_ref()
                        .is_none_or(|text| text.len() <= PRODUCER_ID_BYTES_MAX)
                        .then(|| not_empty(text))
                };
                let envelope = not_empty(context.text("envelope")?);
                if envelope.as_deref().is_some_and(|form| !FORMS.contains(&form)) {
                    return None;
                }
                Some(Self::Hello(Context {
                    user_id: field("sourceUserId")?,
                    producer_id: field("producerId")?,
                    correlation_id: field("correlationId")?,
                    organisation_id: field("organisationId")?,
                    envelope: envelope.map(|form| form.parse().expect("it is one of them")),
                }))
            }
            Some("ping") => Some(Self::Control("ping")),
            Some("flush") => Some(Self::Control("flush")),
            Some("batch") => {
                let members = json::elements(line.get("events")?)?;
                (members.len() <= BATCH_EVENTS_MAX).then_some(Self::Batch(members))
            }
            Some(op) => {
                let op = ["begin", "commit", "rollback"].into_iter().find(|known| *known == op)?;
                let tx = line.text("tx")?.filter(|tx| is_tx(tx))?;
                Some(Self::Transaction(op, tx))
            }
        }
    }
}

impl<'a> WantedRecord<'a> {
    fn of(line: &Object<'a>) -> Option<Self> {
        let (base64, json) = (line.text("data_base64")?, line.get("record"));
        if base64.is_some() == json.is_some()
            || json.is_some_and(|json| !json.starts_with('{'))
            || base64.as_deref().is_some_and(|text| !is_base64(text))
            || line.get("type").is_some()
            || line.get("data").is_some()
        {
            return None;
        }
        let options = Object::read(line.get("options").unwrap_or("{}"), &OPTIONS)?;
        let enveloped = ["sourceUserId", "echo", "envelope", "traceparent", "tracestate"];
        if options.has_near([&OPTIONS, &LINE])
            || enveloped.iter().any(|name| options.get(name).is_some())
        {
            return None;
        }
        let (key, explicit_hash, id) = addressed(&options)?;
        Some(Self { base64, json, key, explicit_hash, id })
    }
}

/// Where an event is to go and what it is called: what every event may say.
type Addressed = (Option<String>, Option<String>, Option<String>);

fn addressed(options: &Object<'_>) -> Option<Addressed> {
    let key = not_empty(options.text("partitionKey")?);
    let explicit_hash = not_empty(options.text("explicitHashKey")?);
    let id = options.text("id")?;
    let key_fits = key.as_ref().is_none_or(|key| key.chars().count() <= PARTITION_KEY_CHARS_MAX);
    (key_fits
        && explicit_hash.as_deref().is_none_or(is_hash_key)
        && id.as_deref().is_none_or(is_uuid))
    .then_some((key, explicit_hash, id))
}

/// Whether this is base64 as RFC 4648 has it, padded, without a bit that means nothing.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let last = digits.bytes().last().and_then(value).unwrap_or(0);
    let unused = match digits.len() % 4 {
        0 => 0,
        2 => 0b1111,
        3 => 0b11,
        _ => return false,
    };
    text.len().is_multiple_of(4)
        && text.len() - digits.len() < 3
        && digits.bytes().all(|byte| value(byte).is_some())
        && last & unused == 0
}

fn is_tx(tx: &str) -> bool {
    (1..=REF_BYTES_MAX).contains(&tx.len())
}

impl<'a> WantedEvent<'a> {
    fn of(line: &Object<'a>) -> Option<Self> {
        let options = Object::read(line.get("options").unwrap_or("{}"), &OPTIONS)?;
        if options.has_near([&OPTIONS, &LINE]) {
            return None;
        }
        let (key, explicit_hash, id) = addressed(&options)?;
        let wanted = Self {
            event_type: not_empty(line.text("type")?)?,
            data: line.get("data").filter(|json| json.starts_with('{'))?,
            key,
            explicit_hash,
            user_id: not_empty(options.text("sourceUserId")?),
            id,
            echo: match options.get("echo") {
                Some("true") => true,
                Some("false") | None => false,
                Some(_) => return None,
            },
            envelope: not_empty(options.text("envelope")?),
            traceparent: not_empty(options.text("traceparent")?),
            tracestate: not_empty(options.text("tracestate")?),
        };
        let is_form = wanted.envelope.as_deref().is_none_or(|form| FORMS.contains(&form));
        is_form.then_some(wanted)
    }
}

impl<'a> Object<'a> {
    /// The object that this is; `None` where it is none, or where one of the known fields stands in
    /// it twice.
    fn read(json: &'a str, known: &[&str]) -> Option<Self> {
        let members = json::members(json)?;
        let twice = |name: &&str| members.iter().filter(|(key, _)| key == name).count() > 1;
        (!known.iter().any(twice)).then_some(Self(members))
    }

    /// Whether a field that is not known here (the first names) is a known one but for capitals,
    /// `_` and `-`, or is one of the object one level off (the other names).
    fn has_near(&self, [own, others]: [&[&str]; 2]) -> bool {
        let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
        let is_near =
            |name: &str| own.iter().chain(others).any(|known| plain(known) == plain(name));
        self.0.iter().any(|(name, _)| !own.contains(&name.as_str()) && is_near(name))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, json)| key == name && *json != "null").map(|(_, json)| *json)
    }

    /// The text of a field; `None` where the field is no text, `Some(None)` where it is missing.
    fn text(&self, name: &str) -> Option<Option<String>> {
        match self.get(name) {
            None => Some(None),
            Some(json) => json::text(json).map(Some),
        }
    }
}

fn not_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn is_reference(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    let integer = digits.bytes().all(|b| b.is_ascii_digit()) && json.len() <= REF_BYTES_MAX;
    integer || json::text(json).is_some_and(|text| text.len() <= REF_BYTES_MAX)
}

fn is_hash_key(text: &str) -> bool {
    text.parse::<u128>().is_ok_and(|value| value.to_string() == text)
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

// === What came of the line ===

fn check_event(event: &Event<'_>, wanted: &WantedEvent<'_>) {
    assert_eq!(event.event_type, wanted.event_type);
    assert!(
        std::ptr::eq(event.data, wanted.data),
        "data is the caller's own bytes, not a copy of them"
    );
    assert_eq!(event.key.as_ref().map(PartitionKey::as_str), wanted.key.as_deref());
    assert_eq!(event.explicit_hash.map(|hash| hash.0.to_string()), wanted.explicit_hash);
    assert_eq!(event.user_id.as_deref(), wanted.user_id.as_deref());
    assert_eq!(
        event.id.map(|id| id.to_string()),
        wanted.id.as_ref().map(|id| id.to_ascii_lowercase())
    );
    assert_eq!(event.echo, wanted.echo);
    let extras = event.extras.as_deref();
    let given = |field: &Option<std::borrow::Cow<'_, str>>| field.as_deref().map(str::to_owned);
    assert_eq!(extras.and_then(|extras| given(&extras.traceparent)), wanted.traceparent);
    assert_eq!(extras.and_then(|extras| given(&extras.tracestate)), wanted.tracestate);
    let form = wanted.envelope.as_ref().map(|form| form.parse::<Profile>().expect("it is one"));
    assert_eq!(extras.and_then(|extras| extras.envelope), form);
}

fn check_record(
    record: RawRecord<'_>,
    wanted: &WantedRecord<'_>,
    reference: &Reference,
    reference_json: &str,
) {
    let bytes = record.data.to_bytes();
    assert_eq!(bytes.len(), record.data.byte_len(), "what the budget is asked for");
    match (&wanted.base64, wanted.json) {
        (None, Some(json)) => assert_eq!(bytes, json.as_bytes()),
        (Some(text), None) => assert_eq!(bytes.len(), text.trim_end_matches('=').len() * 3 / 4),
        other => panic!("{other:?}"),
    }
    assert_eq!(record.key.as_ref().map(PartitionKey::as_str), wanted.key.as_deref());
    assert_eq!(record.explicit_hash.map(|hash| hash.0.to_string()), wanted.explicit_hash);
    let id = record.id.map(|id| id.to_string());
    assert_eq!(id, wanted.id.as_ref().map(|id| id.to_ascii_lowercase()));
    let mut out = Vec::new();
    answer::staged(&mut out, reference, record.id);
    let fields = json::members(one_line(&out)).expect("an answer is an object");
    assert_eq!(fields[0].1, reference_json);
    assert_eq!(fields.len(), if record.id.is_some() { 4 } else { 3 });
}

/// An event of a batch is read where it stands as the line of its own would be.
fn check_member(member: &Member<'_>, index: u64) {
    let place = index + 1;
    let alone = request::parse(member.json().as_bytes(), place);
    let as_line = member.as_line(place);
    assert_eq!((&as_line.reference, as_line.op), (&alone.reference, alone.op));
    assert_eq!((&as_line.tx, as_line.request.is_ok()), (&alone.tx, alone.request.is_ok()));
    let (reference, refused) = match member.of_batch(place) {
        Ok((reference, request)) => {
            assert!(matches!(request, Request::Event(_) | Request::Record(_)), "{request:?}");
            assert!(alone.request.is_ok() && alone.tx.is_none() && alone.op.is_none());
            (reference, false)
        }
        Err((reference, refusal)) => {
            assert_eq!(refusal.code, Code::InvalidRequest);
            (reference, true)
        }
    };
    assert_eq!(reference, alone.reference);
    let is_event = matches!(alone.request, Ok(Request::Event(_) | Request::Record(_)));
    assert!(refused || is_event);
}

fn check_transaction(tx: &str, reference: &Reference) {
    let mut out = Vec::new();
    answer::transaction(&mut out, "begin", tx, reference);
    let fields = json::members(one_line(&out)).expect("an answer is an object");
    assert_eq!(json::text(fields[1].1).as_deref(), Some(tx));
}

/// Seals the event as the connection's reader does, and answers it.
fn check_published(
    reference: &Reference,
    reference_json: &str,
    event: Event<'_>,
    context: &Context,
) {
    let id = event.id.unwrap_or(Uuid::nil());
    let timestamp = Timestamp::from_unix_ms(event.data.len() as u64);
    let user_id = event.user_id.as_deref().or(context.user_id.as_deref());
    let producer_id = context.producer_id.as_deref().unwrap_or(PRODUCER_ID);
    let key = event.key.clone().unwrap_or_else(|| PartitionKey::new("k").expect("one character"));
    let extras = event.extras.as_deref();
    let profile = extras.and_then(|extras| extras.envelope).or(context.envelope);
    let more = More {
        profile: profile.unwrap_or(Profile::Lk),
        source: producer_id,
        region: "eu-west-1",
        correlation_id: context.correlation_id.as_deref(),
        organisation_id: context.organisation_id.as_deref(),
        traceparent: extras.and_then(|extras| extras.traceparent.as_deref()),
        tracestate: extras.and_then(|extras| extras.tracestate.as_deref()),
    };
    let is_plain = more.profile == Profile::Lk
        && more.correlation_id.is_none()
        && more.organisation_id.is_none()
        && extras.is_none();
    let more = (!is_plain).then_some(more);
    let draft = Draft {
        id,
        event_type: &event.event_type,
        data: event.data,
        timestamp,
        user_id,
        producer_id,
        key: &key,
        more,
    };
    let len_claimed = draft.sealed_len();
    let data = draft.seal(len_claimed);
    let record = Record::new(key.clone(), event.explicit_hash, data);

    assert_eq!(record.size(), record.data.len() + key.as_str().len());
    assert_eq!(record.ring_position, event.explicit_hash.map_or(key.hash(), |hash| hash.0));
    assert_eq!(record.data.len(), len_claimed, "what the budget was asked for");

    if !is_plain {
        return check_form(envelope(&record), more.expect("it is asked for"), event.data);
    }
    let names = ["id", "type", "data", "timestamp", "source"];
    let [id_json, type_json, data, timestamp_json, source] = values(envelope(&record), names);
    assert_eq!(data.as_bytes(), event.data.as_bytes());
    assert_eq!(id_json, format!("\"{id}\""));
    assert_eq!(timestamp_json, format!("\"{}\"", timestamp.as_str()));
    assert_eq!(json::text(type_json).as_deref(), Some(&*event.event_type));
    let [user_json, producer_json, key_json] =
        values(source, ["userId", "producerId", "kinesisPartitionKey"]);
    assert_eq!((user_json == "null").then_some(()), user_id.is_none().then_some(()));
    assert_eq!(json::text(producer_json).as_deref(), Some(producer_id));
    assert_eq!(json::text(key_json).as_deref(), Some(key.as_str()));
    if let Some(user_id) = user_id {
        assert_eq!(json::text(user_json).as_deref(), Some(user_id));
    }
    // Nothing stands between the values but what the protocol prints.
    let printed = format!(
        r#"{{"id":{id_json},"type":{type_json},"data":{data},"timestamp":{timestamp_json},"source":{{"userId":{user_json},"producerId":{producer_json},"kinesisPartitionKey":{key_json}}}}}"#
    );
    assert_eq!(envelope(&record), printed);

    check_ack(
        reference,
        reference_json,
        &record,
        Durable {
            id,
            timestamp,
            key,
            position: Position {
                shard_id: "shardId-000000000001".into(),
                sequence_number: "4968".into(),
                sub_sequence_number: (id.as_u128() % 3 == 1).then_some(7),
            },
            deduplicated: id.as_u128() % 2 == 1,
            shows: Shows::ALL,
            echo: event.echo.then(|| record.data.clone()),
        },
    );
}

/// Another form, or keys that are added: one object with the keys of its form, in order, and the
/// data in it as it came.
fn check_form(envelope: &str, more: More<'_>, data: &str) {
    let members = json::members(envelope).unwrap_or_else(|| panic!("not an object: {envelope}"));
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let mut trace = Vec::new();
    trace.extend(more.traceparent.map(|_| "traceparent"));
    trace.extend(more.tracestate.map(|_| "tracestate"));
    let (first, last): (&[&str], &[&str]) = match more.profile {
        Profile::Lk => (&["id", "type", "data", "timestamp", "source"], &[]),
        Profile::TypeData => (&["type", "data"], &[]),
        Profile::EventBridge => (
            &[
                "version",
                "id",
                "detail-type",
                "source",
                "account",
                "time",
                "region",
                "resources",
                "detail",
            ],
            &[],
        ),
        Profile::CloudEvents => {
            assert_eq!(names.first(), Some(&"specversion"));
            assert!(names.ends_with(&[&trace[..], &["data"]].concat()), "{names:?}");
            (&[], &[])
        }
    };
    if more.profile != Profile::CloudEvents {
        assert_eq!(names, [first, &trace, last].concat());
    }
    let within = members.iter().find(|(name, _)| name == "data" || name == "detail");
    let (name, json) = within.expect("it holds the data");
    match name.as_str() {
        "data" => assert_eq!(*json, data),
        _ => {
            let kept = data.trim_end_matches('}').trim_ascii_end();
            assert!(json.starts_with(kept), "{json} must begin as {data}");
        }
    }
}

fn check_ack(reference: &Reference, reference_json: &str, record: &Record, ack: Durable) {
    let mut out = Vec::new();
    answer::durable(&mut out, reference, &ack);
    let fields = json::members(one_line(&out)).expect("an ack is an object");
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected =
        vec!["ref", "ok", "id", "timestamp", "partitionKey", "shardId", "sequenceNumber"];
    expected.extend(ack.position.sub_sequence_number.map(|_| "subSequenceNumber"));
    expected.extend(ack.deduplicated.then_some("deduplicated"));
    expected.extend(ack.echo.as_ref().map(|_| "event"));
    assert_eq!(names, expected);
    assert_eq!((fields[0].1, fields[1].1), (reference_json, "true"));
    assert_eq!(json::text(fields[4].1).as_deref(), Some(ack.key.as_str()));
    if let (Some(_), Some((_, event))) = (&ack.echo, fields.last()) {
        assert_eq!(*event, envelope(record));
    }
}

fn check_refusal(
    reference: &Reference,
    reference_json: &str,
    op: Option<&str>,
    refusal: &Refusal,
    line: &[u8],
) {
    assert_eq!(refusal.code, Code::InvalidRequest);
    assert_eq!(refusal.maybe_stored, None);
    // Our own words use these letters only and are short. A message that repeated the caller's text
    // would soon hold another letter: the fuzzer writes any.
    let ours = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || " .,:;^()[]{}`\\-_EFHIJKNOSTU".contains(c)
    };
    assert!(
        refusal.message.chars().all(ours) && refusal.message.len() <= 160,
        "{}",
        refusal.message
    );
    assert!(
        !refusal.message.contains("line 1"),
        "its number is the reference, not serde's: {}",
        refusal.message
    );
    let column = refusal.message.rsplit_once("column ").map(|(_, column)| column.parse::<usize>());
    assert!(
        column.is_none_or(|column| column.is_ok_and(|column| column <= line.len())),
        "{}",
        refusal.message
    );

    let mut out = Vec::new();
    let answer = match op {
        None => {
            answer::refusal(&mut out, reference, refusal);
            values(one_line(&out), ["ref", "ok", "error"])
        }
        Some(op_json) => {
            answer::control_refusal(&mut out, op_json, reference, refusal);
            let [op, answer @ ..] = values(one_line(&out), ["op", "ref", "ok", "error"]);
            assert_eq!(op, op_json);
            answer
        }
    };
    let [reference, ok, error] = answer;
    let [code, message, retryable] = values(error, ["code", "message", "retryable"]);
    assert_eq!(
        (reference, ok, code, retryable),
        (reference_json, "false", "\"InvalidRequest\"", "false")
    );
    assert_eq!(json::text(message).as_deref(), Some(&*refusal.message));
}

/// The producer of a daemon, as an answer has it.
const PRODUCER: &str = r#""p\"d""#;

fn check_control(op: &'static str, reference: &Reference, more: &[(&str, &str)]) {
    let mut out = Vec::new();
    match op {
        "hello" => answer::hello(&mut out, reference, EVENT_BYTES_MAX, "p\"d"),
        _ => answer::done(&mut out, op, reference),
    }
    let op_json = format!("\"{op}\"");
    let mut wanted = vec![("op", &*op_json)];
    if let Reference::Text(json) = reference {
        wanted.push(("ref", json));
    }
    wanted.push(("ok", "true"));
    wanted.extend_from_slice(more);
    let fields = json::members(one_line(&out)).expect("an answer is an object");
    assert!(fields.iter().map(|(name, json)| (name.as_str(), *json)).eq(wanted), "{fields:?}");
}

fn envelope(record: &Record) -> &str {
    std::str::from_utf8(&record.data).expect("a record is UTF-8")
}

/// The answer without its line end, the only one it has.
fn one_line(out: &[u8]) -> &str {
    let text = std::str::from_utf8(out).expect("an answer is UTF-8");
    let line = text.strip_suffix('\n').expect("an answer ends its line");
    assert!(!line.contains('\n'), "an answer is one line");
    line
}

/// The values of an object that has exactly these keys, in this order.
fn values<'a, const N: usize>(json: &'a str, names: [&str; N]) -> [&'a str; N] {
    let members = json::members(json).unwrap_or_else(|| panic!("not an object: {json}"));
    assert!(members.iter().map(|(name, _)| name.as_str()).eq(names), "{json} must have {names:?}");
    std::array::from_fn(|at| members[at].1)
}
