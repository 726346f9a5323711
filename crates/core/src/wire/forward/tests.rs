use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::function_answer::{FunctionFailed, failed_items};
use super::lambda::Mapping;
use super::*;

const NUMBER: &str = "49680409100000000000000000000000000000000000000000000002";

fn outgoing(data: &[u8]) -> Outgoing<'_> {
    Outgoing {
        shard: "shardId-000000000001",
        sequence_number: NUMBER,
        sub_sequence_number: None,
        partition_key: Some("member-registered"),
        data,
        arrived: Some(UNIX_EPOCH + Duration::from_millis(1_795_211_719_886)),
    }
}

fn mapping() -> Mapping {
    Mapping {
        stream_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/events".to_owned(),
        region: "eu-west-1".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/forward".to_owned(),
    }
}

fn pushed(record: &Outgoing<'_>) -> String {
    let mut out = Vec::new();
    kinesis::push(record, &mut out);
    assert_eq!(out.len(), kinesis::len(record));
    String::from_utf8(out).expect("JSON is text")
}

#[test]
fn a_record_is_lambda_s_object_kinesis_byte_for_byte() {
    // What could go wrong: consumers read the keys by name, but people compare what they see.
    let expected = concat!(
        r#"{"kinesisSchemaVersion":"1.0","partitionKey":"member-registered","sequenceNumber":""#,
        "49680409100000000000000000000000000000000000000000000002",
        r#"","data":"aGVsbG8gd29ybGQ=","approximateArrivalTimestamp":1795211719.886}"#
    );
    assert_eq!(pushed(&outgoing(b"hello world")), expected);
}

#[test]
fn an_arrival_has_milliseconds_and_a_record_without_key_or_arrival_is_told_all_the_same() {
    // What could go wrong: zeros behind the point are lost, or a consumer refuses what lacks a
    // field.
    for (ms, expected) in [(0, "0.000"), (1, "0.001"), (9_090, "9.090"), (10_000, "10.000")] {
        let arrived = Some(UNIX_EPOCH + Duration::from_millis(ms));
        let text = pushed(&Outgoing { arrived, ..outgoing(b"") });
        assert!(
            text.ends_with(&format!(r#""approximateArrivalTimestamp":{expected}}}"#)),
            "{text}"
        );
    }
    let before = Some(UNIX_EPOCH - Duration::from_secs(1));
    for arrived in [None, before] {
        let text = pushed(&Outgoing { arrived, partition_key: None, ..outgoing(b"") });
        assert!(text.contains(r#""partitionKey":null"#) && text.ends_with(":0.000}"), "{text}");
    }
    let odd = pushed(&Outgoing { partition_key: Some("a\"b\n\u{e9}"), ..outgoing(b"") });
    assert!(odd.contains(r#""partitionKey":"a\"b\né""#), "{odd}");
}

#[test]
fn an_invocation_has_every_field_of_lambda_s_in_its_order() {
    // What could go wrong: models of these events refuse one that lacks a field.
    let body = mapping().body([outgoing(b"a"), outgoing(b"b")].into_iter());
    let text = String::from_utf8(body).expect("JSON is text");
    let record = |data: &str| {
        format!(
            concat!(
                r#"{{"kinesis":{{"kinesisSchemaVersion":"1.0","partitionKey":"member-registered","#,
                r#""sequenceNumber":"{number}","data":"{data}","#,
                r#""approximateArrivalTimestamp":1795211719.886}},"eventSource":"aws:kinesis","#,
                r#""eventVersion":"1.0","eventID":"shardId-000000000001:{number}","#,
                r#""eventName":"aws:kinesis:record","#,
                r#""invokeIdentityArn":"arn:aws:iam::123456789012:role/forward","#,
                r#""awsRegion":"eu-west-1","#,
                r#""eventSourceARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/events"}}"#
            ),
            number = NUMBER,
            data = data
        )
    };
    assert_eq!(text, format!(r#"{{"Records":[{},{}]}}"#, record("YQ=="), record("Yg==")));
}

#[test]
fn events_of_one_packed_record_have_ids_of_their_own() {
    // What could go wrong: a function that drops what it has seen drops all but the first.
    let ids = [0, 1].map(|index| {
        let record = Outgoing { sub_sequence_number: Some(index), ..outgoing(b"{}") };
        let body: Value =
            serde_json::from_slice(&mapping().body([record].into_iter())).expect("it is JSON");
        body["Records"][0]["eventID"].as_str().expect("a text").to_owned()
    });
    assert_eq!(ids, [0, 1].map(|index| format!("shardId-000000000001:{NUMBER}:{index}")));
}

#[test]
fn every_length_is_the_length_of_what_is_written() {
    // What could go wrong: a batch is cut too late, and its target refuses it.
    let long = "k\"\u{1}".repeat(40);
    for (key, index, arrived) in [
        (Some("k"), None, Some(UNIX_EPOCH)),
        (Some(&*long), Some(12), None),
        (None, Some(0), Some(UNIX_EPOCH + Duration::from_secs(99_999_999_999))),
    ] {
        let record = Outgoing {
            partition_key: key,
            sub_sequence_number: index,
            arrived,
            ..outgoing(br#"{"a":1}"#)
        };
        let two = [record, record];
        let around = r#"{"Records":["#.len() + "]}".len();
        // The last record has no comma.
        let expected = around + 2 * mapping().record_len(&record) - 1;
        assert_eq!(mapping().body(two.into_iter()).len(), expected);
        let expected = "[]".len() + 2 * batch::element_len(&record) - 1;
        assert_eq!(batch::body(two.into_iter()).len(), expected);
        pushed(&record);
    }
}

#[test]
fn a_batch_is_an_array_of_events_as_they_are_with_where_each_stood() {
    // What could go wrong: an event's numbers or white space are rewritten on the way.
    let data = br#"{"n":1.50, "big":12345678901234567890}"#;
    let packed = Outgoing { sub_sequence_number: Some(3), ..outgoing(data) };
    let text = String::from_utf8(batch::body([outgoing(b" [1] "), packed].into_iter()));
    let text = text.expect("JSON is text");
    let meta = |sub: &str| {
        format!(
            concat!(
                r#""meta":{{"shardId":"shardId-000000000001","sequenceNumber":"{}"{},"#,
                r#""partitionKey":"member-registered","approximateArrivalTimestamp":1795211719.886}}"#
            ),
            NUMBER, sub
        )
    };
    let expected = format!(
        r#"[{{"event": [1] ,{}}},{{"event":{{"n":1.50, "big":12345678901234567890}},{}}}]"#,
        meta(""),
        meta(r#","subSequenceNumber":3"#)
    );
    assert_eq!(text, expected);
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}

#[test]
fn what_wedges_a_stream_client_never_fits_a_record() {
    // What could go wrong: one such event, and the client answers 503 until its process is
    // restarted.
    let reason = |data: &[u8]| kinesis::fits(&outgoing(data)).err();
    for name in ["toString", "__proto__", "constructor", "valueOf", "hasOwnProperty"] {
        let data = format!(r#"{{"type":"{name}","data":{{}}}}"#);
        assert_eq!(reason(data.as_bytes()), Some(Misfit::ReservedType), "{name}");
    }
    // Escapes, and a name that is there twice: JavaScript takes the last.
    for hidden in [r#"{"type":"to\u0053tring"}"#, r#"{"type":"ok","data":{},"type":"constructor"}"#]
    {
        assert_eq!(reason(hidden.as_bytes()), Some(Misfit::ReservedType), "{hidden}");
    }
    for none in ["null", "5", "[]", r#""text""#, "{}", r#"{"type":5}"#, r#"{"type":null}"#] {
        assert_eq!(reason(none.as_bytes()), Some(Misfit::NoType), "{none}");
    }
    for odd in [&b"hello world"[..], b"", b"{\"type\":\"a\"", b"{\"type\":\"\xff\"}", b"{} {}"] {
        assert_eq!(reason(odd), Some(Misfit::NotJson), "{odd:?}");
    }
    for good in [r#"{"type":"member-registered","data":{}}"#, r#"{"type":"","data":{"a":1e999}}"#] {
        assert_eq!(reason(good.as_bytes()), None, "{good}");
    }
    let deep = format!(r#"{{"type":"t","data":{}{}}}"#, "[".repeat(9_999), "]".repeat(9_999));
    assert_eq!(reason(deep.as_bytes()), None, "depth is no reason");
}

#[test]
fn an_event_s_headers_say_its_trace_and_whether_it_is_a_cloudevent() {
    // What could go wrong: text from an event breaks a request in two.
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = format!(r#"{{"type":"t","traceparent":"{PARENT}","tracestate":"a=1"}}"#);
    let record = outgoing(traced.as_bytes());
    let read = event::read(&record).expect("it is JSON");
    assert_eq!(read.content_type, "application/json");
    assert_eq!(
        (read.trace.parent.as_deref(), read.trace.state.as_deref()),
        (Some(PARENT), Some("a=1"))
    );
    let injected = format!(r#"{{"traceparent":"{PARENT}\r\nx: y","tracestate":"a=1"}}"#);
    let record = outgoing(injected.as_bytes());
    assert_eq!(event::read(&record).expect("it is JSON").trace, event::Trace::default());
    let cloud = outgoing(br#"{"specversion":"1.0","id":"1","source":"/a","type":"t"}"#);
    let read = event::read(&cloud).expect("it is JSON");
    assert_eq!(read.content_type, "application/cloudevents+json; charset=utf-8");
    for json in [&b"null"[..], b"[1]", b"5"] {
        assert_eq!(
            event::read(&outgoing(json)).expect("it is JSON").content_type,
            "application/json"
        );
    }
    assert_eq!(event::read(&outgoing(b"hello")), Err(Misfit::NotJson));
}

#[test]
fn a_record_fits_an_event_and_a_batch_if_it_is_json_and_only_then() {
    // What could go wrong: a record that is no JSON makes a body that no target reads, and the
    // events beside it are never delivered.
    let fits = |data: &[u8]| {
        let record = outgoing(data);
        let fits = event::fits(&record);
        assert_eq!(batch::fits(&record), fits, "{data:?}");
        assert_eq!(event::read(&record).map(|_| ()), fits, "{data:?}");
        fits
    };
    for json in [&b"null"[..], b" 5\n", b"[1]", b"\"text\"", b"{}", br#"{"type":"t","type":5}"#] {
        assert_eq!(fits(json), Ok(()), "{json:?}");
    }
    for odd in [&b"hello"[..], b"", b"{\"type\":\"a\"", b"\"\xff\"", b"{} {}", b"[1,]"] {
        assert_eq!(fits(odd), Err(Misfit::NotJson), "{odd:?}");
    }
}

/// A request of the binary mode, read by the reader of the daemon's own input.
fn reread(record: &Outgoing<'_>) -> Value {
    let made = cloudevents::binary(record, "arn:the-stream").expect("it is an event");
    let headers = made.headers.iter();
    let headers = headers.map(|(name, value)| (&name["ce-".len()..], value.as_bytes()));
    let read = crate::wire::cloudevents::binary(headers, Some(&made.content_type), &made.body);
    serde_json::from_slice(&read.expect("it is a CloudEvent").seal()).expect("it is JSON")
}

#[test]
fn each_form_of_an_envelope_becomes_a_cloudevent() {
    // What could go wrong: an attribute is lost or its text changed on the way.
    let lk = r#"{"id":"1","type":"t","data":{"n":1.50},"timestamp":"2026-11-20T21:34:09.335Z",
        "source":{"userId":"u","producerId":"an app@host","kinesisPartitionKey":"k"}}"#;
    let expected = json!({
        "specversion": "1.0", "id": "1", "source": "an%20app@host", "type": "t",
        "time": "2026-11-20T21:34:09.335Z", "partitionkey": "member-registered", "userid": "u",
        "datacontenttype": "application/json", "data": {"n": 1.5}
    });
    assert_eq!(reread(&outgoing(lk.as_bytes())), expected);
    let bridge = br#"{"version":"0","id":"2","detail-type":"T","source":"s","time":"2026-11-20T21:34:09Z","detail":[]}"#;
    let expected = json!({
        "specversion": "1.0", "id": "2", "source": "s", "type": "T", "time": "2026-11-20T21:34:09Z",
        "partitionkey": "member-registered", "datacontenttype": "application/json", "data": []
    });
    assert_eq!(reread(&outgoing(bridge)), expected);
    let pair = br#"{"type":"t \u00e9\"%","data":1}"#;
    let expected = json!({
        "specversion": "1.0", "id": format!("shardId-000000000001:{NUMBER}"),
        "source": "arn:the-stream", "type": "t \u{e9}\"%", "time": "2026-11-20T21:55:19.886Z",
        "partitionkey": "member-registered", "datacontenttype": "application/json", "data": 1
    });
    assert_eq!(reread(&outgoing(pair)), expected);
}

#[test]
fn a_cloudevent_goes_out_with_all_that_it_had() {
    // What could go wrong: an extension is dropped, or text and bytes change their form.
    for cloud in [
        json!({"specversion":"1.0","id":"1","source":"/a","type":"t","count":"7","on":"true","subject":"a b",
            "datacontenttype":"application/json","data":{"a":1}}),
        json!({"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":"plain"}),
        json!({"specversion":"1.0","id":"1","source":"/a","type":"t",
            "datacontenttype":"application/octet-stream","data_base64":"/wA="}),
        json!({"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"application/json","data":"text"}),
    ] {
        let text = cloud.to_string();
        assert_eq!(reread(&outgoing(text.as_bytes())), cloud);
    }
}

#[test]
fn what_is_no_event_is_no_cloudevent_and_no_text_leaves_its_header() {
    // What could go wrong: an event's text ends a header and begins another.
    for other in [&b"null"[..], b"{}", br#"{"type":""}"#, br#"{"type":5}"#] {
        let made = cloudevents::binary(&outgoing(other), "arn");
        assert_eq!(made, Err(Misfit::NotACloudEvent), "{other:?}");
    }
    let hostile =
        br#"{"type":"t\r\nx-evil: 1","id":"\u0000","source":{"userId":"\u00ff\r"},"data":{}}"#;
    let made = cloudevents::binary(&outgoing(hostile), "arn").expect("it has a type");
    for (name, value) in &made.headers {
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {value}");
    }
    let typed =
        br#"{"specversion":"1.0","id":"1","source":"/","type":"t","datacontenttype":"a\r\nb"}"#;
    assert_eq!(cloudevents::binary(&outgoing(typed), "arn"), Err(Misfit::NotACloudEvent));
}

#[test]
fn a_function_s_answer_is_read_as_lambda_and_the_emulators_mean_it() {
    // What could go wrong: a failure that is answered with 200 counts as done, and its records are
    // lost.
    use FunctionFailed::{BadItems, Empty, NotJson, TimedOut};
    for done in [
        "null",
        "\"\"",
        "{}",
        "\"OK\"",
        "[]",
        "42",
        r#"{"statusCode":200}"#,
        " {} \n",
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
        r#"{"errorType":"a word of the function's own"}"#,
        r#"{"errorMessage":"no type"}"#,
    ] {
        assert_eq!(failed_items(done.as_bytes()), Ok(Vec::new()), "{done}");
    }
    for (failed, reason) in [
        ("", Empty),
        (" \n", Empty),
        ("Task timed out after 3.00 seconds", TimedOut),
        ("<html>", NotJson),
        ("{", NotJson),
        (
            r#"{"errorType":"E","errorMessage":"m"}"#,
            FunctionFailed::Error { error_type: "E".into() },
        ),
        (
            r#"{"errorMessage":null,"errorType":null}"#,
            FunctionFailed::Error { error_type: "null".into() },
        ),
        (r#"{"batchItemFailures":"1"}"#, BadItems),
        (r#"{"batchItemFailures":{}}"#, BadItems),
        (r#"{"batchItemFailures":["1"]}"#, BadItems),
        (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, BadItems),
        (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, BadItems),
        (r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#, BadItems),
        (r#"{"batchItemFailures":[{"itemId":"1"}]}"#, BadItems),
        (r#"{"batchItemFailures":[{"itemIdentifier":"1"},{}]}"#, BadItems),
    ] {
        assert_eq!(failed_items(failed.as_bytes()), Err(reason), "{failed}");
    }
    let two = br#"{"batchItemFailures":[{"itemIdentifier":"2"},{"itemIdentifier":"1","more":0}]}"#;
    assert_eq!(failed_items(two), Ok(vec!["2".into(), "1".into()]));
    let long = format!(r#"{{"errorType":"{}\r\n","errorMessage":""}}"#, "x".repeat(999));
    let error = failed_items(long.as_bytes()).expect_err("it failed").to_string();
    assert!(error.len() < 200 && !error.contains('\n'), "{error}");
}

#[test]
fn an_invocation_is_the_event_that_functions_in_rust_take() {
    // What could go wrong: their type refuses a field that is missing, or of another form.
    let records = [outgoing(b"hello world"), Outgoing { arrived: None, ..outgoing(b"{}") }];
    let body = mapping().body(records.into_iter());
    let event: aws_lambda_events::kinesis::KinesisEvent =
        serde_json::from_slice(&body).expect("it is their event");
    let [first, second] = event.records.as_slice() else { panic!("there are two") };
    assert_eq!(first.kinesis.data.0, b"hello world");
    assert_eq!(first.kinesis.sequence_number, NUMBER);
    assert_eq!(first.kinesis.partition_key, "member-registered");
    let arrived = first.kinesis.approximate_arrival_timestamp.0.timestamp_millis();
    assert_eq!(arrived, 1_795_211_719_886);
    assert_eq!(second.kinesis.data.0, b"{}");
}

#[test]
fn an_event_has_its_type_and_data_in_whatever_envelope() {
    for (record, event_type, data) in [
        (r#"{"id":"1","type":"T","data":{"a": 1},"source":{}}"#, "T", r#"{"a": 1}"#),
        (r#"{"type":"T","data":[1]}"#, "T", "[1]"),
        (r#"{"detail-type":"T","source":"app","detail":{"a":1}}"#, "T", r#"{"a":1}"#),
        (
            r#"{"specversion":"1.0","id":"1","type":"a \"b\"","data_base64":"AA=="}"#,
            "a \"b\"",
            "null",
        ),
    ] {
        let found = content::read(record.as_bytes()).expect("it says its type");
        assert_eq!((&*found.event_type, found.data), (event_type, data), "{record}");
    }
    for record in ["{}", r#"{"type":""}"#, r#"{"type":1}"#, r#"["T"]"#, "text", "{\"type\":\"T\""] {
        assert_eq!(content::read(record.as_bytes()), None, "{record}");
    }
}

#[test]
fn every_misfit_is_counted_under_the_name_that_the_page_of_targets_tells() {
    let page = include_str!("../../../../../docs/targets.md");
    for misfit in Misfit::ALL {
        let row = format!("\n| `{}` |", misfit.as_str());
        assert_eq!(page.matches(&row).count(), 1, "{misfit}");
    }
}
