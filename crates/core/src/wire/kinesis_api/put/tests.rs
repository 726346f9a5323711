use super::*;

const KEY_CHARS: usize = 256;

fn orders() -> StreamId {
    StreamId::Name("orders".into())
}

fn served(stream: &StreamId) -> Served<'_> {
    Served { stream, places_records: false, record_bytes_max: 1 << 20 }
}

fn json(put: Put, body: &str) -> Result<Vec<PutRecord>, ApiError> {
    read(put, Format::Json, body.as_bytes(), &served(&orders()))
}

fn record(key: &str, data: &[u8], explicit_hash: Option<u128>) -> PutRecord {
    PutRecord {
        key: Some(PartitionKey::new(key).expect("a test's key is short")),
        explicit_hash: explicit_hash.map(HashKey),
        data: Bytes::copy_from_slice(data),
    }
}

/// CBOR as another writer makes it of JSON, with bytes where a text begins with `base64:`.
fn cbor_of(value: &serde_json::Value) -> Vec<u8> {
    fn convert(value: &serde_json::Value) -> ciborium::Value {
        match value {
            serde_json::Value::String(text) => match text.strip_prefix("bytes:") {
                Some(bytes) => ciborium::Value::Bytes(bytes.as_bytes().to_vec()),
                None => ciborium::Value::Text(text.clone()),
            },
            serde_json::Value::Array(values) => {
                ciborium::Value::Array(values.iter().map(convert).collect())
            }
            serde_json::Value::Object(members) => ciborium::Value::Map(
                members
                    .iter()
                    .map(|(name, value)| (ciborium::Value::Text(name.clone()), convert(value)))
                    .collect(),
            ),
            serde_json::Value::Bool(value) => ciborium::Value::Bool(*value),
            serde_json::Value::Number(number) => {
                ciborium::Value::Integer(number.as_i64().expect("a test's number").into())
            }
            serde_json::Value::Null => ciborium::Value::Null,
        }
    }
    let mut body = Vec::new();
    ciborium::into_writer(&convert(value), &mut body).expect("a Vec takes every write");
    body
}

#[test]
fn a_record_is_read_as_each_sdk_writes_it_the_stream_first_or_last() {
    // Boto, with spaces and escapes; JavaScript, with the data first; PHP, with escaped slashes.
    for body in [
        r#"{"StreamName": "orders", "Data": "aGVsbG8g/w==", "PartitionKey": "p\u00e9", "ExplicitHashKey": "5"}"#,
        r#"{"Data":"aGVsbG8g/w==","StreamName":"orders","PartitionKey":"pé","ExplicitHashKey":"5","StreamARN":null}"#,
        r#"{"PartitionKey":"pé","Data":"aGVsbG8g\/w==","ExplicitHashKey":"5","SequenceNumberForOrdering":"77","StreamName":"orders","New":[{}]}"#,
    ] {
        assert_eq!(
            json(Put::Record, body),
            Ok(vec![record("pé", b"hello \xff", Some(5))]),
            "{body}"
        );
    }
}

#[test]
fn records_come_in_their_order_and_data_may_be_empty() {
    let body = r#"{"Records":[{"Data":"eA==","PartitionKey":"a"},{"PartitionKey":"b","Data":""}],"StreamName":"orders"}"#;
    let read = json(Put::Records, body);
    assert_eq!(read, Ok(vec![record("a", b"x", None), record("b", b"", None)]));
}

#[test]
fn cbor_is_read_as_java_writes_it_and_as_others_may() {
    // PutRecord of the SDK for Java, seen on the wire: open maps, definite texts and bytes.
    let java = b"\xbf\x6aStreamName\x66orders\x64Data\x41x\x6cPartitionKey\x61k\xff";
    let one = read(Put::Record, Format::Cbor, java, &served(&orders()));
    assert_eq!(one, Ok(vec![record("k", b"x", None)]));
    let many = b"\xbf\x67Records\x9f\xbf\x64Data\x41x\x6cPartitionKey\x61k\xff\
                 \xbf\x64Data\x5f\x41y\x41z\xff\x6cPartitionKey\x7f\x61k\x611\xff\xff\xff\
                 \x6aStreamName\x66orders\xff";
    let read_many = read(Put::Records, Format::Cbor, many, &served(&orders()));
    assert_eq!(read_many, Ok(vec![record("k", b"x", None), record("k1", b"yz", None)]));
    let definite = serde_json::json!({
        "StreamName": "orders", "Data": "bytes:x", "PartitionKey": "k", "ExplicitHashKey": "5",
        "DryRun": false, "Other": {"deep": [1, null]}, "StreamARN": null,
    });
    let one = read(Put::Record, Format::Cbor, &cbor_of(&definite), &served(&orders()));
    assert_eq!(one, Ok(vec![record("k", b"x", Some(5))]));
}

/// A call that is wrong in one way, and what it is told: the same in both formats.
#[test]
fn what_is_wrong_is_told_by_name_and_limit_and_never_by_value() {
    let long_key = "k".repeat(KEY_CHARS + 1);
    let one = |data: &str, key: &str| {
        format!(r#"{{"StreamName":"orders","Data":{data},"PartitionKey":{key}}}"#)
    };
    let many = |records: &str| format!(r#"{{"StreamName":"orders","Records":{records}}}"#);
    let good = r#"{"Data":"eA==","PartitionKey":"secret"}"#;
    for (put, body, name, says) in [
        (Put::Record, one("null", "\"k\""), "ValidationException", "Data is missing"),
        (Put::Record, one("\"eA==\"", "null"), "ValidationException", "PartitionKey is missing"),
        (
            Put::Record,
            one("\"eA==\"", "\"\""),
            "ValidationException",
            "PartitionKey is empty, it takes 1 to 256",
        ),
        (
            Put::Record,
            one("\"eA==\"", &format!("\"{long_key}\"")),
            "ValidationException",
            "PartitionKey has 257 characters",
        ),
        (Put::Record, one("\"secret!\"", "\"k\""), "SerializationException", "line 1, column"),
        (Put::Record, one("\"eA\"", "\"k\""), "SerializationException", "line 1"),
        (Put::Record, one("5", "\"secret\""), "SerializationException", "line 1"),
        (Put::Record, one("\"eA==\"", "5"), "SerializationException", "line 1"),
        (
            Put::Record,
            one("\"eA==\"", "\"secret\",\"ExplicitHashKey\":\"-1\""),
            "ValidationException",
            "ExplicitHashKey is not a decimal",
        ),
        (
            Put::Record,
            one("\"eA==\"", "\"secret\",\"StreamId\":\"secret\""),
            "ValidationException",
            "StreamId is not taken",
        ),
        (
            Put::Record,
            one("\"eA==\"", "\"secret\",\"DryRun\":true"),
            "DryRunOperationException",
            "nothing is written",
        ),
        (
            Put::Record,
            one("\"eA==\"", "\"secret\",\"DryRun\":\"secret\""),
            "SerializationException",
            "line 1",
        ),
        (
            Put::Record,
            r#"{"Data":"eA==","PartitionKey":"k"}"#.into(),
            "ValidationException",
            "StreamName is missing",
        ),
        (
            Put::Record,
            r#"{"StreamName":"secret","Data":"eA==","PartitionKey":"k"}"#.into(),
            "ResourceNotFoundException",
            "one stream",
        ),
        (Put::Record, "[\"secret\"]".into(), "SerializationException", "no JSON object"),
        (Put::Record, String::new(), "SerializationException", "no JSON object"),
        (
            Put::Record,
            one("\"eA==\"", "\"secret\"") + "x",
            "SerializationException",
            "no JSON object",
        ),
        (Put::Records, many("null"), "ValidationException", "Records is missing"),
        (Put::Records, many("[]"), "ValidationException", "Records has 0, it takes 1 to 500"),
        (Put::Records, many("{}"), "SerializationException", "line 1"),
        (Put::Records, many("[[\"secret\"]]"), "SerializationException", "line 1"),
        (
            Put::Records,
            many(&format!("[{good},{{\"Data\":\"eA==\"}}]")),
            "ValidationException",
            "Records.2.PartitionKey is missing",
        ),
        (
            Put::Records,
            many(&format!("[{}]", vec![good; 501].join(","))),
            "ValidationException",
            "Records has 501",
        ),
        (
            Put::Records,
            many(&format!("[{}]", vec!["{}"; 100_000].join(","))),
            "ValidationException",
            "Records has 100000",
        ),
    ] {
        let told = json(put, &body).expect_err(&body);
        assert_eq!(told.name, name, "{body:.100}: {told:?}");
        assert!(told.message.contains(says), "{says}: {told:?}");
        assert!(!told.message.contains("secret"), "{told:?}");
    }
}

#[test]
fn cbor_that_is_wrong_is_told_the_same() {
    let of = |value: serde_json::Value| {
        read(Put::Records, Format::Cbor, &cbor_of(&value), &served(&orders())).map_err(|e| e.name)
    };
    let record = serde_json::json!({"Data": "bytes:x", "PartitionKey": "k"});
    assert!(of(serde_json::json!({"StreamName": "orders", "Records": [record]})).is_ok());
    for (value, name) in [
        (serde_json::json!({"StreamName": "orders", "Records": []}), "ValidationException"),
        (serde_json::json!({"StreamName": "orders", "Records": null}), "ValidationException"),
        (serde_json::json!({"StreamName": "orders"}), "ValidationException"),
        (
            serde_json::json!({"StreamName": "orders", "Records": vec![record.clone(); 501]}),
            "ValidationException",
        ),
        (
            serde_json::json!({"StreamName": "orders", "Records": [record], "DryRun": true}),
            "DryRunOperationException",
        ),
        (serde_json::json!({"StreamName": "orders", "Records": "many"}), "SerializationException"),
        (serde_json::json!({"StreamName": 5, "Records": [record]}), "SerializationException"),
        (
            serde_json::json!({"StreamName": "orders", "Records": [{"Data": "text", "PartitionKey": "k"}]}),
            "SerializationException",
        ),
        (
            serde_json::json!({"StreamName": "others", "Records": [record]}),
            "ResourceNotFoundException",
        ),
        (serde_json::json!([]), "SerializationException"),
    ] {
        assert_eq!(of(value.clone()), Err(name), "{value:.200}");
    }
    for body in [&b""[..], b"\xff", b"\xbf", b"\xa0\x00", &[0x9f; 100_000]] {
        let told = read(Put::Record, Format::Cbor, body, &served(&orders())).expect_err("no map");
        assert_eq!(told.name, "SerializationException", "{body:.20?}");
    }
}

/// Small records take far more room than their bytes.
#[test]
fn records_beyond_the_most_of_a_request_are_counted_and_not_looked_into() {
    let body = |data: &str, goods| {
        let good = format!(r#"{{"Data":"{data}","PartitionKey":"k"}}"#);
        let records = [vec![&*good; goods], vec![r#"{"Data":5}"#]].concat().join(",");
        format!(r#"{{"StreamName":"orders","Records":[{records}]}}"#)
    };
    for (goods, told) in [(499, "SerializationException"), (500, "ValidationException")] {
        let cbor = cbor_of(&serde_json::from_str(&body("bytes:", goods)).expect("it is JSON"));
        for (format, body) in [(Format::Json, body("", goods).into_bytes()), (Format::Cbor, cbor)] {
            let error = read(Put::Records, format, &body, &served(&orders()));
            let error = error.expect_err("the last one is wrong");
            assert_eq!(error.name, told, "{format:?} {goods}: {error:?}");
            assert_eq!(error.message.contains("Records has 501, it takes 1 to 500"), goods == 500);
        }
    }
}

#[test]
fn a_stream_that_places_records_itself_needs_no_key() {
    let stream = orders();
    let served = Served { places_records: true, ..served(&stream) };
    let body = r#"{"StreamName":"orders","Data":"eA=="}"#;
    let read = read(Put::Record, Format::Json, body.as_bytes(), &served).expect("it needs none");
    assert_eq!((&read[0].key, &read[0].data[..]), (&None, &b"x"[..]));
}

#[test]
fn a_record_and_a_request_may_be_as_large_as_they_may_be_and_no_larger() {
    let stream = orders();
    let size = |record_bytes_max, sizes: &[usize]| {
        let served = Served { record_bytes_max, ..served(&stream) };
        let records: Vec<_> = sizes
            .iter()
            .map(|size| {
                serde_json::json!({"Data": format!("bytes:{}", "x".repeat(size - 1)), "PartitionKey": "k"})
            })
            .collect();
        let body = cbor_of(&serde_json::json!({"StreamName": "orders", "Records": records}));
        read(Put::Records, Format::Cbor, &body, &served).map(|records| records.len()).map_err(|e| {
            assert_eq!(e.name, "ValidationException");
            e.message.into_owned()
        })
    };
    assert_eq!(size(1000, &[1000, 1]), Ok(2));
    let told = size(1000, &[1, 1001]).expect_err("it is too large");
    assert!(
        told.contains("Records.2.Data") && told.contains("1001") && told.contains("1000"),
        "{told}"
    );
    let half = REQUEST_BYTES_MAX / 2;
    assert_eq!(size(REQUEST_BYTES_MAX, &[half, half]), Ok(2));
    let told = size(REQUEST_BYTES_MAX, &[half, half, 1]).expect_err("they are too large together");
    assert!(told.contains(&REQUEST_BYTES_MAX.to_string()), "{told}");
}

proptest::proptest! {
    #[test]
    fn no_body_does_more_than_to_be_read_or_refused(body: Vec<u8>, is_cbor: bool, is_one: bool) {
        let format = if is_cbor { Format::Cbor } else { Format::Json };
        let put = if is_one { Put::Record } else { Put::Records };
        let _ = read(put, format, &body, &served(&orders()));
    }
}
