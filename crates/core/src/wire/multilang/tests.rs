use super::*;
use proptest::prelude::*;

const NUMBER: &str = "49590338271490256608559692538361571095921575989136588898";
const OTHER: &str = "49590338271490256608559692540925702759324208523137515618";

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("it is JSON")
}

fn answer(asked: &Asked, refusal: Option<Refusal>) -> String {
    written(|out| checkpoint_answer(out, asked, refusal))
}

/// The lines of the KCL's own daemon, byte for byte.
#[test]
fn every_line_to_a_child_is_the_one_that_the_kcl_writes() {
    assert_eq!(
        written(|out| initialize(out, "shardId-000000000000", "TRIM_HORIZON", 0)),
        concat!(
            r#"{"action":"initialize","shardId":"shardId-000000000000","#,
            r#""sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#,
            "\n"
        )
    );
    let mut message = RecordsMessage::default();
    message.push(&Record {
        data: b"cp",
        partition_key: Some("pk"),
        sequence_number: NUMBER,
        sub_sequence_number: 0,
        arrived_ms: 1_732_650_000_123,
    });
    let line = message.finish(1500);
    let expected = format!(
        "{{\"action\":\"processRecords\",\"records\":[{{\"data\":\"Y3A=\",\"partitionKey\":\"pk\",\
         \"sequenceNumber\":\"{NUMBER}\",\"approximateArrivalTimestamp\":1732650000123,\
         \"subSequenceNumber\":0,\"action\":\"record\"}}],\"millisBehindLatest\":1500}}\n"
    );
    assert_eq!(String::from_utf8(line).expect("it is JSON"), expected);
    for (action, line) in [
        (Action::ShutdownRequested, "{\"action\":\"shutdownRequested\"}\n"),
        (Action::ShardEnded, "{\"action\":\"shardEnded\"}\n"),
        (Action::LeaseLost, "{\"action\":\"leaseLost\"}\n"),
    ] {
        assert_eq!(written(|out| plain(out, action)), line);
    }
    assert_eq!(
        answer(&Asked::default(), None),
        concat!(
            r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"#,
            r#""error":null}"#,
            "\n"
        )
    );
    let asked = Asked { sequence_number: Some(OTHER.to_owned()), sub_sequence_number: Some(1) };
    assert_eq!(
        answer(&asked, Some(Refusal::Throttling)),
        format!(
            "{{\"action\":\"checkpoint\",\"sequenceNumber\":\"{OTHER}\",\"subSequenceNumber\":1,\
             \"error\":\"ThrottlingException\"}}\n"
        )
    );
}

fn status(action: Action) -> Result<Message, Skipped> {
    Ok(Message::Status(Some(action)))
}

fn asked(
    sequence_number: Option<&str>,
    sub_sequence_number: Option<i64>,
) -> Result<Message, Skipped> {
    let sequence_number = sequence_number.map(str::to_owned);
    Ok(Message::Checkpoint(Asked { sequence_number, sub_sequence_number }))
}

/// What `amazon_kclpy` and `aws-kcl` write, and what stands between their lines.
#[test]
fn the_lines_of_both_libraries_are_read() {
    let python = format!(
        r#"{{"action": "checkpoint", "sequenceNumber": "{OTHER}", "subSequenceNumber": 1}}"#
    );
    let node = format!(r#"{{"action":"checkpoint","sequenceNumber":"{OTHER}"}}"#);
    let table: &[(&str, Result<Message, Skipped>)] = &[
        (r#"{"action": "status", "responseFor": "initialize"}"#, status(Action::Initialize)),
        (r#"{"action":"status","responseFor":"processRecords"}"#, status(Action::ProcessRecords)),
        ("{\"action\":\"status\",\"responseFor\":\"leaseLost\"}\r\n", status(Action::LeaseLost)),
        (r#"{"action": "status", "responseFor": "shardEnded"}"#, status(Action::ShardEnded)),
        (
            r#"{"action": "checkpoint", "sequenceNumber": null, "subSequenceNumber": null}"#,
            asked(None, None),
        ),
        (r#"{"action":"checkpoint"}"#, asked(None, None)),
        (r#"{"action":"checkpoint","sequenceNumber":null}"#, asked(None, None)),
        (&python, asked(Some(OTHER), Some(1))),
        (&node, asked(Some(OTHER), None)),
        ("", Err(Skipped::Blank)),
        (" \t\r\n", Err(Skipped::Blank)),
        ("hello on stdout", Err(Skipped::NotJson)),
        (r#""status""#, Err(Skipped::NotJson)),
        ("[]", Err(Skipped::NotJson)),
        ("7", Err(Skipped::NotJson)),
    ];
    for (line, expected) in table {
        assert_eq!(&read(line.as_bytes()), expected, "{line}");
    }
    assert_eq!(read(b"\xff\xfe"), Err(Skipped::NotJson));
}

/// What the KCL takes though no library writes it, and what it skips though it looks like a
/// message.
#[test]
fn a_line_is_taken_or_skipped_as_the_kcl_does() {
    let table: &[(&str, Result<Message, Skipped>)] = &[
        // A number of 56 digits keeps all of them.
        (
            r#"{"action":"checkpoint","sequenceNumber":49590338271490256608559692538361571095}"#,
            asked(Some("49590338271490256608559692538361571095"), None),
        ),
        (r#"{"action":"checkpoint","subSequenceNumber":"3"}"#, asked(None, Some(3))),
        (r#"{"action":"checkpoint","subSequenceNumber":""}"#, asked(None, None)),
        (r#"{"action":"checkpoint","sequenceNumber":"1","error":null}"#, asked(Some("1"), None)),
        (
            r#"{"action":"checkpoint","sequenceNumber":"1","sequenceNumber":"2"}"#,
            asked(Some("2"), None),
        ),
        (r#"{"action":"checkpoint","sequenceNumber":""}"#, asked(Some(""), None)),
        (r#"{"action":"checkpoint","sequenceNumber":"\u0034"}"#, asked(Some("4"), None)),
        (r#"{"action":"status"}"#, Ok(Message::Status(None))),
        (r#"{"action":"status","responseFor":"shutdown"}"#, Ok(Message::Status(None))),
        (r#"{"action":"checkpoint","checkpoint":"7"}"#, Err(Skipped::UnknownMember)),
        (r#"{"action":"status","responseFor":"initialize","took":3}"#, Err(Skipped::UnknownMember)),
        (r#"{"action":"checkpoint","sequenceNumber":{}}"#, Err(Skipped::UnknownMember)),
        (r#"{"action":"checkpoint","subSequenceNumber":"x"}"#, Err(Skipped::UnknownMember)),
        (r#"{"action":"initialize","shardId":"s"}"#, Err(Skipped::OtherAction)),
        (r#"{"action":"dance"}"#, Err(Skipped::OtherAction)),
        (r#"{"action":null}"#, Err(Skipped::OtherAction)),
        (r#"{"level":"info","msg":"started"}"#, Err(Skipped::OtherAction)),
    ];
    for (line, expected) in table {
        assert_eq!(&read(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn a_name_is_that_of_one_action() {
    for action in Action::ALL {
        let line = format!(r#"{{"action":"status","responseFor":"{action}"}}"#);
        assert_eq!(read(line.as_bytes()), status(action));
    }
}

proptest! {
    /// A line feed inside a line would end it, and the child would read half a message.
    #[test]
    fn whatever_a_record_holds_its_line_is_one_and_is_json(
        data in prop::collection::vec(any::<u8>(), 0..100),
        key in any::<Option<String>>(),
        count in 0usize..3,
    ) {
        let record = Record {
            data: &data,
            partition_key: key.as_deref(),
            sequence_number: NUMBER,
            sub_sequence_number: 7,
            arrived_ms: 0,
        };
        let mut message = RecordsMessage::default();
        for _ in 0..count {
            message.push(&record);
        }
        prop_assert_eq!(message.records_count(), count);
        let line = message.finish(0);
        prop_assert_eq!(memchr::memchr(b'\n', &line), Some(line.len() - 1));
        let json: serde_json::Value = serde_json::from_slice(&line).expect("it is JSON");
        let records = json["records"].as_array().expect("it is an array");
        prop_assert_eq!(records.len(), count);
        for read in records {
            let decoded = base64_simd::STANDARD
                .decode_to_vec(read["data"].as_str().expect("it is text"))
                .expect("it is base64");
            prop_assert_eq!(&decoded, &data);
            prop_assert_eq!(read["partitionKey"].as_str(), key.as_deref());
        }
    }

    #[test]
    fn whatever_was_asked_its_answer_repeats_it_and_can_be_read(
        number in any::<Option<String>>(),
        sub in any::<Option<i64>>(),
    ) {
        let asked = Asked { sequence_number: number, sub_sequence_number: sub };
        let line = answer(&asked, Some(Refusal::IllegalArgument));
        prop_assert_eq!(read(line.as_bytes()), Ok(Message::Checkpoint(asked)));
    }

    #[test]
    fn no_line_makes_the_reader_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&line);
    }
}
