//! The body of a PutRecord or PutRecords call → its records, or the error that the caller is told.
//!
//! The first byte of an input says which call it is and in which format, the rest is the body. What
//! is taken of JSON is judged by other code, and taken the same when it is written as CBOR; nothing
//! is taken that is over a limit, and no error is longer than its words.
#![no_main]

use dispatchd_core::limits::{PARTITION_KEY_CHARS_MAX, REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX};
use dispatchd_core::model::StreamId;
use dispatchd_core::wire::kinesis_api::describe;
use dispatchd_core::wire::kinesis_api::format::Format;
use dispatchd_core::wire::kinesis_api::operation::Describe;
use dispatchd_core::wire::kinesis_api::put::{self, Put, PutRecord, Served};
use dispatchd_fuzz::json;
use libfuzzer_sys::fuzz_target;

const STREAM: &str = "orders";
const RECORD_BYTES_MAX: usize = 1_048_576;

/// No error repeats what the caller wrote, so none is longer than this.
const MESSAGE_BYTES_MAX: usize = 300;

fuzz_target!(|input: &[u8]| {
    let Some((how, body)) = input.split_first() else { return };
    let put = if how & 1 == 0 { Put::Record } else { Put::Records };
    let format = if how & 2 == 0 { Format::Json } else { Format::Cbor };
    let stream = StreamId::Name(STREAM.into());
    let served = Served {
        stream: &stream,
        places_records: how & 4 != 0,
        record_bytes_max: RECORD_BYTES_MAX,
    };
    match put::read(put, format, body, &served) {
        Ok(records) => {
            check_limits(put, &records, &served);
            if format == Format::Json {
                check_json(put, body, &records);
            }
            let again = put::read(put, Format::Cbor, &cbor(put, &records), &served);
            assert_eq!(again, Ok(records), "the same in CBOR");
        }
        Err(error) => {
            assert!(error.message.len() <= MESSAGE_BYTES_MAX, "{error:?}");
            let names = [
                "ValidationException",
                "SerializationException",
                "ResourceNotFoundException",
                "AccessDeniedException",
                "DryRunOperationException",
            ];
            assert!(error.status == 400 && names.contains(&error.name), "{error:?}");
        }
    }
    for question in Describe::ALL {
        if let Ok(asked) = describe::read(question, format, body, &stream) {
            let asked = String::from_utf8(asked).expect("JSON is UTF-8");
            let members = json::members(&asked).expect("a question is an object");
            let named = members.iter().find(|(name, _)| name == "StreamName");
            let is_token = members.iter().any(|(name, _)| name == "NextToken");
            assert!(named.is_some_and(|(_, name)| *name == "\"orders\"") || is_token, "{asked}");
        }
    }
});

fn check_limits(put: Put, records: &[PutRecord], served: &Served<'_>) {
    let counts = if put == Put::Record { 1..=1 } else { 1..=REQUEST_RECORDS_MAX };
    assert!(counts.contains(&records.len()), "{} records", records.len());
    let mut sum = 0;
    for PutRecord { key, data, .. } in records {
        let key = key.as_ref().map(|key| key.as_str());
        assert!(key.is_some() || served.places_records, "a record has a key");
        let key = key.unwrap_or_default();
        assert!(key.chars().count() <= PARTITION_KEY_CHARS_MAX, "{key}");
        assert!(data.len() + key.len() <= RECORD_BYTES_MAX, "{}", data.len());
        sum += data.len() + key.len();
    }
    assert!(sum <= REQUEST_BYTES_MAX, "{sum}");
}

/// What was taken, read by hand.
fn check_json(put: Put, body: &[u8], records: &[PutRecord]) {
    // What nobody looks into may be no text.
    let Ok(body) = std::str::from_utf8(body) else { return };
    let Some(call) = json::members(body) else { return };
    let last = |members: &[(String, &str)], name: &str| {
        let met = members.iter().rev().find(|(met, _)| met == name);
        met.map(|(_, value)| value.to_string()).filter(|value| value != "null")
    };
    if last(&call, "StreamARN").is_none() {
        let name = last(&call, "StreamName").and_then(|name| json::text(&name));
        assert_eq!(name.as_deref(), Some(STREAM));
    }
    assert_ne!(last(&call, "DryRun").as_deref(), Some("true"));
    if put == Put::Records {
        return; // each of them is read as the one of the other call
    }
    let text = |name| last(&call, name).and_then(|value| json::text(&value));
    let record = &records[0];
    assert_eq!(text("Data"), Some(base64(&record.data)), "the data");
    assert_eq!(text("PartitionKey").as_deref(), record.key.as_ref().map(|key| key.as_str()));
    let hash = record.explicit_hash.map(|hash| hash.0.to_string());
    assert_eq!(text("ExplicitHashKey"), hash);
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in data.chunks(3) {
        let bits = [0, 1, 2].map(|at| u32::from(three.get(at).copied().unwrap_or(0)));
        let bits = bits[0] << 16 | bits[1] << 8 | bits[2];
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The call as Java's SDK writes it: open maps and arrays, the stream's name last.
fn cbor(put: Put, records: &[PutRecord]) -> Vec<u8> {
    const OPEN_ARRAY: u8 = 0x9f;
    const OPEN_MAP: u8 = 0xbf;
    const BREAK: u8 = 0xff;
    let mut body = vec![OPEN_MAP];
    if put == Put::Records {
        push(&mut body, 3, b"Records");
        body.push(OPEN_ARRAY);
    }
    for record in records {
        if put == Put::Records {
            body.push(OPEN_MAP);
        }
        push(&mut body, 3, b"Data");
        push(&mut body, 2, &record.data);
        if let Some(key) = &record.key {
            push(&mut body, 3, b"PartitionKey");
            push(&mut body, 3, key.as_str().as_bytes());
        }
        if let Some(hash) = record.explicit_hash {
            push(&mut body, 3, b"ExplicitHashKey");
            push(&mut body, 3, hash.0.to_string().as_bytes());
        }
        if put == Put::Records {
            body.push(BREAK);
        }
    }
    if put == Put::Records {
        body.push(BREAK);
    }
    push(&mut body, 3, b"StreamName");
    push(&mut body, 3, STREAM.as_bytes());
    body.push(BREAK);
    body
}

/// Bytes (major type 2) or a text (3), with a length of four bytes.
fn push(body: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    body.push(major << 5 | 26);
    body.extend((bytes.len() as u32).to_be_bytes());
    body.extend(bytes);
}
