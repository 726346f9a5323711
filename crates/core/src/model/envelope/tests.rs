use super::*;

fn draft<'a>(
    key: &'a PartitionKey,
    event_type: &'a str,
    data: &'a str,
    user_id: Option<&'a str>,
) -> Draft<'a> {
    Draft {
        id: Uuid::from_u128(0x0961_6966_9f74_4da9_b7f5_2f56_770e_4f71),
        event_type,
        data,
        timestamp: Timestamp::from_unix_ms(1_795_210_449_335),
        user_id,
        producer_id: "server@hostname",
        key,
        more: None,
    }
}

fn key() -> PartitionKey {
    PartitionKey::new("partitionKey").expect("12 characters")
}

fn sealed(event_type: &str, data: &str, user_id: Option<&str>) -> String {
    let key = key();
    let draft = draft(&key, event_type, data, user_id);
    let sealed = draft.seal(draft.sealed_len());
    String::from_utf8(sealed.to_vec()).expect("JSON is UTF-8")
}

#[test]
fn the_envelope_has_exactly_the_published_keys_in_order() {
    let envelope = sealed("eventType", r#"{"key":"value"}"#, Some("userId"));
    let expected = concat!(
        r#"{"id":"09616966-9f74-4da9-b7f5-2f56770e4f71","type":"eventType","#,
        r#""data":{"key":"value"},"timestamp":"2026-11-20T21:34:09.335Z","#,
        r#""source":{"userId":"userId","producerId":"server@hostname","#,
        r#""kinesisPartitionKey":"partitionKey"}}"#
    );
    assert_eq!(envelope, expected);
}

#[test]
fn without_a_user_the_user_id_is_null() {
    let text = sealed("t", "{}", None);
    assert!(text.contains(r#""source":{"userId":null,"producerId""#), "{text}");
}

#[test]
fn data_is_copied_byte_for_byte_and_strings_are_escaped_as_json_stringify_does() {
    let data = "{ \"a\" : 1.50, \"b\":9007199254740993,\"\\u0041\":\"\\/\" }";
    let text = sealed("tab\tquote\"\u{1f}\u{2028}", data, None);
    assert!(text.contains(data), "{text}");
    assert!(text.contains("\"tab\\tquote\\\"\\u001f\u{2028}\""), "{text}");
}

#[test]
fn the_length_is_known_before_the_envelope_is_written_escapes_included() {
    let every_ascii: String = (0..0x80u8).map(char::from).collect();
    for (event_type, user_id) in [
        ("eventType", Some("u")),
        ("eventType", None),
        // Found by fuzzing: it was charged as 1000 bytes, not 6000.
        (&*"\u{1}".repeat(1000), Some("\"\n\u{7f}")),
        (&*every_ascii, Some("café\u{2028}")),
    ] {
        let key = key();
        let sealing = draft(&key, event_type, "{}", user_id);
        let claimed = sealing.sealed_len();
        assert_eq!(sealing.seal(claimed).len(), claimed, "{event_type:?} {user_id:?}");
    }
}

#[test]
fn a_timestamp_always_has_three_decimals_and_a_z() {
    assert_eq!(Timestamp::from_unix_ms(0).as_bytes(), b"1970-01-01T00:00:00.000Z");
    assert_eq!(Timestamp::from_unix_ms(u64::MAX).as_bytes(), b"9999-12-31T23:59:59.999Z");
}

#[test]
fn a_timestamp_in_one_number_is_the_same_again() {
    for unix_ms in [0, 1_795_210_449_335, u64::MAX] {
        let timestamp = Timestamp::from_unix_ms(unix_ms);
        assert_eq!(Timestamp::unpack(timestamp.pack()), timestamp);
    }
    assert_eq!(Timestamp::from_unix_ms(1_795_210_449_335).pack(), 20_261_120_213_409_335);
}

fn published(profile: Profile, data: &str, user_id: Option<&str>, is_full: bool) -> String {
    let key = key();
    let given = |text: &'static str| is_full.then_some(text);
    let more = More {
        profile,
        source: "orders",
        region: "eu-west-1",
        correlation_id: given("c-1"),
        organisation_id: given("o\"1"),
        traceparent: given("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        tracestate: given("a=1"),
    };
    let draft = Draft { more: Some(more), ..draft(&key, "t\tt", data, user_id) };
    let sealed = draft.seal(draft.sealed_len());
    assert_eq!(sealed.len(), draft.sealed_len(), "its length is known before");
    let text = String::from_utf8(sealed.to_vec()).expect("JSON is UTF-8");
    serde_json::from_str::<IgnoredAny>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    text
}

const ID: &str = r#""id":"09616966-9f74-4da9-b7f5-2f56770e4f71""#;
const TRACE: &str = concat!(
    r#","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#,
    r#","tracestate":"a=1""#
);

#[test]
fn a_trace_follows_the_source_of_an_lk_envelope_whose_last_keys_are_those_of_the_context() {
    assert_eq!(
        published(Profile::Lk, "{}", Some("u"), true),
        format!(
            r#"{{{ID},"type":"t\tt","data":{{}},"timestamp":"2026-11-20T21:34:09.335Z","source":{{"userId":"u","producerId":"server@hostname","kinesisPartitionKey":"partitionKey","correlationId":"c-1","organisationId":"o\"1"}}{TRACE}}}"#
        )
    );
    let plain = sealed("t\tt", "{}", Some("u"));
    assert_eq!(published(Profile::Lk, "{}", Some("u"), false), plain, "nothing is added unasked");
}

#[test]
fn the_other_forms_have_exactly_their_keys_in_order() {
    let plain = |profile| published(profile, r#"{"a": 1}"#, None, false);
    assert_eq!(plain(Profile::TypeData), r#"{"type":"t\tt","data":{"a": 1}}"#);
    assert_eq!(
        plain(Profile::EventBridge),
        format!(
            r#"{{"version":"0",{ID},"detail-type":"t\tt","source":"orders","account":"","time":"2026-11-20T21:34:09.335Z","region":"eu-west-1","resources":[],"detail":{{"a": 1}}}}"#
        )
    );
    assert_eq!(
        plain(Profile::CloudEvents),
        format!(
            r#"{{"specversion":"1.0",{ID},"source":"orders","type":"t\tt","time":"2026-11-20T21:34:09.335Z","datacontenttype":"application/json","partitionkey":"partitionKey","data":{{"a": 1}}}}"#
        )
    );
    let full = |profile| published(profile, "{}", Some("u"), true);
    assert_eq!(full(Profile::TypeData), format!(r#"{{"type":"t\tt","data":{{}}{TRACE}}}"#));
    assert!(full(Profile::CloudEvents).ends_with(&format!(
        r#","partitionkey":"partitionKey","userid":"u","correlationid":"c-1","organisationid":"o\"1"{TRACE},"data":{{}}}}"#
    )));
}

#[test]
fn the_detail_of_eventbridge_has_what_is_known_where_the_data_does_not_say_it() {
    let detail = |data: &str, user_id| {
        let text = published(Profile::EventBridge, data, user_id, true);
        let (_, detail) = text.split_once(r#""detail":"#).expect("it has a detail");
        detail.strip_suffix(&format!("{TRACE}}}")).expect("the trace follows").to_owned()
    };
    let organisation = r#""organisationId":"o\"1""#;
    assert_eq!(
        detail("{ }", Some("u")),
        format!(r#"{{"correlationId":"c-1","userId":"u",{organisation}}}"#)
    );
    assert_eq!(
        detail(r#"{"correlationId":null,"x":{"userId":1} }"#, Some("u")),
        format!(r#"{{"correlationId":null,"x":{{"userId":1}},"userId":"u",{organisation}}}"#)
    );
    assert_eq!(
        detail(r#"{"user\u0049d":2}"#, Some("u")),
        format!(r#"{{"user\u0049d":2,"correlationId":"c-1",{organisation}}}"#)
    );
    assert_eq!(
        detail(r#"{"\ud800":2}"#, None),
        format!(r#"{{"\ud800":2,"correlationId":"c-1",{organisation}}}"#)
    );
}
