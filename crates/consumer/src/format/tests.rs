use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use dispatchd_core::wire::forward::Misfit;
use dispatchd_core::wire::forward::lambda::Mapping;
use serde_json::Value;

use super::*;
use crate::delivery::{Failure, FailureKind, Place, Response};

fn record(number: &str, data: &'static [u8]) -> Arc<Delivered> {
    Arc::new(Delivered {
        shard: "shardId-0".into(),
        place: Place { sequence_number: number.to_owned(), sub_sequence_number: None },
        partition_key: Some("k".to_owned()),
        data: Bytes::from_static(data),
        arrived: Some(UNIX_EPOCH + Duration::from_secs(1)),
        misfit: None,
    })
}

fn encoder(format: Format) -> Encoder {
    let mapping = Mapping {
        stream_arn: "arn:aws:kinesis:eu-west-1:1:stream/s".to_owned(),
        region: "eu-west-1".to_owned(),
        role_arn: "arn:aws:iam::1:role/r".to_owned(),
    };
    Encoder::new(format, mapping)
}

const FORMATS: [Format; 5] =
    [Format::Record, Format::Lambda, Format::Event, Format::CloudEvents, Format::Batch];

/// The table of answers that all formats share: by status.
#[test]
fn a_status_says_whether_to_wait_to_give_up_or_to_call_an_operator() {
    // What could go wrong: 401 spins, 413 is sent for ever, 503 uses up the attempts of good
    // records.
    use FailureKind::{Failed, Refused, Unauthorized, Unavailable};
    let records = [record("1", b"{}")];
    for format in FORMATS {
        for (status, expected) in [
            (200, None),
            (201, None),
            (202, None),
            (204, None),
            (299, None),
            (301, Some(Unauthorized)),
            (302, Some(Unauthorized)),
            (304, Some(Unauthorized)),
            (307, Some(Unauthorized)),
            (308, Some(Unauthorized)),
            (400, Some(Refused)),
            (401, Some(Unauthorized)),
            (402, Some(Refused)),
            (403, Some(Unauthorized)),
            (404, Some(Unauthorized)),
            (405, Some(Unauthorized)),
            (406, Some(Unauthorized)),
            (407, Some(Unauthorized)),
            (408, Some(Unavailable)),
            (409, Some(Refused)),
            (410, Some(Unauthorized)),
            (411, Some(Refused)),
            (413, Some(Refused)),
            (414, Some(Refused)),
            (415, Some(Unauthorized)),
            (422, Some(Refused)),
            (425, Some(Unavailable)),
            (429, Some(Unavailable)),
            (431, Some(Refused)),
            (500, Some(Failed)),
            (501, Some(Failed)),
            (502, Some(Failed)),
            (503, Some(Unavailable)),
            (504, Some(Failed)),
            (599, Some(Failed)),
            (700, Some(Failed)),
        ] {
            let answer = Answer { status, body: Some(b"{}"), ..Answer::default() };
            let kind = match answer.response(format, &records) {
                Response::Delivered => None,
                Response::Failed(Failure { kind, status: told, reason, .. }) => {
                    assert_eq!(told, Some(status));
                    assert!(reason.contains(&status.to_string()), "{reason}");
                    Some(kind)
                }
                Response::Until(index) => panic!("{format:?} {status}: until {index}"),
            };
            assert_eq!(kind, expected, "{format:?} {status}");
        }
    }
}

/// How the places where a function runs on a developer's machine tell of success and failure.
/// Who runs the function, its status, its `X-Amz-Function-Error`, its body; and what it failed for.
type Row<'a> = (&'a str, u16, Option<&'a str>, &'a [u8], Option<FailureKind>);

#[test]
fn an_invocation_that_failed_is_told_from_one_that_is_done_wherever_the_function_runs() {
    // What could go wrong: the emulator's 200 counts as done, and what the function lost is lost.
    const DONE: Option<FailureKind> = None;
    const FAILED: Option<FailureKind> = Some(FailureKind::Failed);
    const BUSY: Option<FailureKind> = Some(FailureKind::Unavailable);
    let records = [record("1", b"{}")];
    let error = br#"{"errorType":"Error","errorMessage":"boom"}"#;
    let rows: [Row<'_>; 18] = [
        ("Lambda", 200, None, b"null", DONE),
        ("Lambda", 200, Some("Unhandled"), error, FAILED),
        ("Lambda", 200, Some("Handled"), b"null", FAILED),
        (
            "Lambda",
            429,
            None,
            b"{\"Reason\":\"ReservedFunctionConcurrentInvocationLimitExceeded\"}",
            BUSY,
        ),
        ("Lambda", 502, None, b"{}", FAILED),
        ("the emulator", 200, None, b"{}", DONE),
        ("the emulator", 200, None, b"\"\"", DONE),
        ("the emulator", 200, None, b"\"done\"", DONE),
        ("the emulator", 200, None, error, FAILED),
        ("the emulator", 200, None, b"Task timed out after 3.00 seconds", FAILED),
        ("the emulator", 200, None, b"", FAILED),
        ("the emulator", 400, None, b"", BUSY),
        ("the emulator", 502, None, error, FAILED),
        ("the emulator", 504, None, b"", FAILED),
        ("cargo-lambda", 200, None, b"{\"batchItemFailures\":[]}", DONE),
        ("cargo-lambda", 500, None, error, FAILED),
        ("a webhook", 204, None, b"", DONE),
        ("a webhook", 200, None, b"<html>", FAILED),
    ];
    for (server, status, function_error, body, expected) in rows {
        let answer = Answer { status, function_error, body: Some(body), ..Answer::default() };
        let kind = match answer.response(Format::Lambda, &records) {
            Response::Delivered => None,
            Response::Failed(failure) => Some(failure.kind),
            Response::Until(index) => panic!("{server} {status}: until {index}"),
        };
        assert_eq!(kind, expected, "{server} {status} {:?}", String::from_utf8_lossy(body));
    }
    let missing = Answer { status: 404, body: Some(b"{}"), ..Answer::default() };
    let Response::Failed(failure) = missing.response(Format::Lambda, &records) else {
        panic!("there is no such function")
    };
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    let long = Answer { status: 200, body: None, ..Answer::default() };
    assert!(matches!(long.response(Format::Lambda, &records), Response::Failed(_)));
    assert_eq!(long.response(Format::Event, &records), Response::Delivered);
}

/// `batchItemFailures`, as Lambda reads it.
#[test]
fn the_records_from_the_first_that_failed_on_come_again_and_an_odd_report_fails_the_whole_batch() {
    // What could go wrong: a record behind the failed one is skipped, or one before it comes again.
    let batch = ["10", "9", "11", "11", "12"].map(|number| record(number, b"{}"));
    let said = |body: &str| {
        let answer = Answer { status: 200, body: Some(body.as_bytes()), ..Answer::default() };
        answer.response(Format::Lambda, &batch)
    };
    let items = |items: &str| said(&format!(r#"{{"batchItemFailures":{items}}}"#));
    for done in ["[]", "null"] {
        assert_eq!(items(done), Response::Delivered, "{done}");
    }
    assert_eq!(said("{}"), Response::Delivered, "missing");
    for (named, index) in [
        (r#"[{"itemIdentifier":"10"}]"#, 0),
        (r#"[{"itemIdentifier":"12"}]"#, 4),
        // The lowest of two, which the function names in any order.
        (r#"[{"itemIdentifier":"12"},{"itemIdentifier":"9"}]"#, 1),
        // Events of one packed record share its number: all of them come again.
        (r#"[{"itemIdentifier":"11"}]"#, 2),
    ] {
        assert_eq!(items(named), Response::Until(index), "{named}");
    }
    for odd in [
        r#"[{"itemIdentifier":""}]"#,
        r#"[{"itemIdentifier":null}]"#,
        r#"[{"itemIdentifier":10}]"#,
        r#"[{"item":"10"}]"#,
        r#"[{"itemIdentifier":"8"}]"#,
        r#"[{"itemIdentifier":"10"},{"itemIdentifier":"8"}]"#,
        r#""10""#,
    ] {
        let Response::Failed(failure) = items(odd) else { panic!("{odd} is no report") };
        assert_eq!(failure.kind, FailureKind::Failed, "{odd}");
    }
    // What the other formats' targets answer is their own.
    let answer =
        Answer { status: 200, body: Some(br#"{"batchItemFailures":[{}]}"#), ..Answer::default() };
    assert_eq!(answer.response(Format::Batch, &batch), Response::Delivered);
}

#[test]
fn a_failure_tells_the_wait_that_was_asked_for_and_the_beginning_of_the_body() {
    // What could go wrong: a wait is measured by our clock and not by the target's, or a body fills
    // the log.
    let records = [record("1", b"{}")];
    let failure = |answer: Answer<'_>| match answer.response(Format::Event, &records) {
        Response::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    for (text, expected) in [
        ("7", Some(7)),
        (" 0 ", Some(0)),
        ("99999999999", Some(99_999_999_999)),
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
        ("Sun, 06 Nov 1994 08:49:27 GMT", None),
        ("soon", None),
        ("-1", None),
    ] {
        let told =
            failure(Answer { status: 503, retry_after: Some(text), date, ..Answer::default() });
        assert_eq!(told.retry_after, expected.map(Duration::from_secs), "{text}");
    }
    let long = vec![b'x'; 5000];
    let told = failure(Answer { status: 500, body: Some(&long), ..Answer::default() });
    assert_eq!(told.body.expect("there is one").len(), 1024);
    let location = Some("https://elsewhere/path?token=secret");
    let told = failure(Answer { status: 302, location, ..Answer::default() });
    assert!(told.reason.contains("https://elsewhere/path") && !told.reason.contains("secret"));
}

#[test]
fn a_request_takes_what_its_format_takes_and_says_what_it_is() {
    // What could go wrong: a body and its length or its type differ.
    for format in FORMATS {
        let encoder = encoder(format);
        let one = record("1", br#"{"type":"t","data":{}}"#);
        assert_eq!(format.misfit(&one), None);
        let request = encoder.request(&[Arc::clone(&one)], None).expect("it fits");
        assert_eq!(request.content_type, "application/json", "{format:?}");
        assert!(serde_json::from_slice::<Value>(&request.body).is_ok(), "{format:?}");
        assert_eq!(
            format.batch_records_max() > 1,
            matches!(format, Format::Lambda | Format::Batch)
        );
        assert!(format.batch_records_default() <= format.batch_records_max());
        let reckoned = format.bytes_of()(&one);
        let more = if format == Format::Lambda { 512 } else { 16 };
        if format != Format::CloudEvents {
            assert!(reckoned.abs_diff(request.body.len()) <= more, "{format:?}: {reckoned}");
        }
        let odd = record("2", b"hello world");
        let misfit = (format != Format::Lambda).then_some(Misfit::NotJson);
        assert_eq!(format.misfit(&odd), misfit, "{format:?}");
        let odd = Arc::new(Delivered { misfit, ..Delivered::clone(&odd) });
        assert_eq!(encoder.request(&[odd], None).err(), misfit, "{format:?}");
    }
}

#[test]
fn a_number_of_our_own_takes_the_place_of_the_record_s_in_the_format_record_alone() {
    // What could go wrong: a function reports a number that is not in its batch.
    for format in FORMATS {
        let records = [record("1234", br#"{"type":"t"}"#)];
        let request = encoder(format).request(&records, Some("99")).expect("it fits");
        let body = String::from_utf8(request.body.to_vec()).expect("it is text");
        assert_eq!(body.contains("\"99\""), format == Format::Record, "{body}");
    }
}
