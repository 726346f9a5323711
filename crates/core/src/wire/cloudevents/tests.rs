use super::*;

const HEADERS: [(&str, &str); 4] =
    [("specversion", "1.0"), ("id", "1"), ("source", "/orders"), ("type", "placed")];

/// An event in binary mode with these headers besides.
fn binary_of(
    more: &[(&str, &str)],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<String, String> {
    let replaced = |name: &str| more.iter().any(|(other, _)| *other == name);
    let headers = HEADERS.iter().filter(|(name, _)| !replaced(name)).chain(more);
    let headers = headers.map(|(name, value)| (*name, value.as_bytes()));
    let event = binary(headers, content_type, body).map_err(|refusal| refusal.message.to_string());
    event.map(|event| sealed(&event))
}

fn sealed(event: &CloudEvent<'_>) -> String {
    let sealed = event.seal();
    assert_eq!(sealed.len(), event.sealed_len(), "the length is known before");
    String::from_utf8(sealed.to_vec()).expect("JSON is UTF-8")
}

fn structured_of(json: &str) -> Result<String, String> {
    structured(json).map(|event| sealed(&event)).map_err(|refusal| refusal.message.to_string())
}

/// An event in structured mode with these members besides.
fn with(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        r#"{{"specversion":"1.0","id":"1","source":"/orders","type":"placed"{comma}{members}}}"#
    )
}

#[test]
fn a_structured_event_keeps_every_member_in_its_order_and_its_data_byte_for_byte() {
    let members = concat!(
        r#""time":"2026-11-20T21:34:09.335+01:00","comexampleext":"caf\u00e9","count":-7,"#,
        r#""whole":7.0,"flag":true,"data":{ "n": 1.50, "\u0041":9007199254740993 },"after":"x""#
    );
    let event = structured_of(&with(members)).expect("it holds");
    for kept in [
        r#""comexampleext":"caf\u00e9","count":-7,"whole":7.0,"flag":true,"after":"x""#,
        r#""time":"2026-11-20T21:34:09.335+01:00""#,
        r#""data":{ "n": 1.50, "\u0041":9007199254740993 }"#,
    ] {
        assert!(event.contains(kept), "{event}");
    }
    assert_eq!(structured_of(&event).as_ref(), Ok(&event), "it is what it was made of");
}

#[test]
fn null_is_the_same_as_not_set_and_white_space_between_members_is_not_kept() {
    let spaced = with(r#" "subject" : null , "data_base64":null, "x" : "1" "#);
    assert_eq!(structured_of(&spaced), Ok(with(r#""x":"1""#)));
    assert_eq!(structured_of(&with(r#""data":null"#)), Ok(with(r#""data":null"#)));
    let unset = with("").replace("\"placed\"", "null");
    assert_eq!(structured_of(&unset), Err("type is missing".into()));
}

#[test]
fn data_is_any_json_or_base64_and_never_both() {
    for data in ["\"data\":[1]", "\"data\":\"text\"", "\"data\":0", "\"data_base64\":\"AAE=\"", ""]
    {
        assert_eq!(structured_of(&with(data)), Ok(with(data)), "{data}");
    }
    let escaped = r#""data_base64":"ab\/c""#;
    assert_eq!(structured_of(&with(escaped)), Ok(with(escaped)));
    let both = r#""data":1,"data_base64":"AAE=""#;
    assert!(structured_of(&with(both)).is_err());
    for data in ["\"AAE\"", "\"A A=\"", "7", "\"=\""] {
        let refused = structured_of(&with(&format!("\"data_base64\":{data}")));
        assert_eq!(refused, Err("data_base64 is not a string of base64".into()), "{data}");
    }
}

#[test]
fn an_attribute_that_is_wrong_is_named() {
    for (members, says) in [
        (r#""id":"2""#, "id is there twice"),
        (r#""subject":"""#, "subject is empty"),
        (r#""subject":7"#, "subject is not a string"),
        (r#""time":"yesterday""#, "time is not a time as RFC 3339 has it"),
        (r#""dataschema":"a b""#, "dataschema is not a URI-reference"),
        (r#""myExt":"x""#, "an attribute's name is not made of a-z and 0-9"),
        (r#""my_ext":"x""#, "an attribute's name is not made of a-z and 0-9"),
        (r#""ext":{}"#, "an attribute is no string, boolean or whole number of 32 bits"),
        (r#""ext":1.5"#, "an attribute is no string, boolean or whole number of 32 bits"),
        (r#""ext":2147483648"#, "an attribute is no string, boolean or whole number of 32 bits"),
        (r#""ext":"\ud800""#, "an attribute has half of a surrogate pair"),
    ] {
        assert_eq!(structured_of(&with(members)), Err(says.into()), "{members}");
    }
    for (from, to, says) in [
        ("\"1.0\"", "\"0.3\"", "specversion is not \"1.0\""),
        ("\"1.0\"", "1.0", "specversion is not a string"),
        ("\"id\":\"1\"", "\"id\":\"\"", "id is empty"),
        ("\"/orders\"", "\"caf\u{e9} bar\"", "source is not a URI-reference"),
    ] {
        assert_eq!(structured_of(&with("").replace(from, to)), Err(says.into()), "{to}");
    }
    for missing in REQUIRED {
        let json = with("").replace(&format!("\"{missing}\":"), "\"other\":");
        assert_eq!(structured_of(&json), Err(format!("{missing} is missing")));
    }
    for text in ["[]", "", "7", "{", "{}x"] {
        assert!(structured_of(text).is_err(), "{text}");
    }
    let many = (0..300).map(|n| format!("\"a{n}\":1")).collect::<Vec<_>>().join(",");
    assert!(structured_of(&with(&many)).is_err());
}

#[test]
fn headers_are_attributes_and_the_content_type_is_the_datas() {
    let event = binary_of(
        &[("subject", "s 1"), ("partitionkey", "k")],
        Some("application/JSON; charset=UTF-8"),
        b"{ \"n\": 1.50 }",
    );
    let says = with(concat!(
        r#""subject":"s 1","partitionkey":"k","#,
        r#""datacontenttype":"application/JSON; charset=UTF-8","data":{ "n": 1.50 }"#
    ));
    assert_eq!(event, Ok(says));
    let twice = binary_of(&[("datacontenttype", "text/plain")], None, b"");
    assert!(twice.expect_err("it must not appear").starts_with("ce-datacontenttype"));
    assert_eq!(binary_of(&[("id", "")], None, b""), Err("ce-id is empty".into()));
    assert_eq!(binary_of(&[("data", "x")], None, b""), Err("ce-data is no attribute".into()));
    assert!(binary_of(&[("my-ext", "x")], None, b"").is_err());
}

#[test]
fn the_body_is_kept_as_the_member_that_its_content_type_allows() {
    for (content_type, body, member) in [
        ("application/json", &b" [1, 2] "[..], r#""data":[1, 2]"#),
        ("application/vnd.a+json", b"\"x\"", r#""data":"x""#),
        ("text/plain; charset=us-ascii", b"Hello\n", r#""data":"Hello\n""#),
        ("text/plain; charset=\"UTF-8\"", "h\u{e9}".as_bytes(), "\"data\":\"h\u{e9}\""),
        ("application/xml", b"<a b=\"1\"/>", r#""data":"<a b=\"1\"/>""#),
        ("text/plain; charset=iso-8859-1", b"h\xe9", r#""data_base64":"aOk=""#),
        ("text/plain", b"\xff", r#""data_base64":"/w==""#),
        ("text/plain", &[1; 6], r#""data_base64":"AQEBAQEB""#),
        ("application/octet-stream", b"abc", r#""data_base64":"YWJj""#),
        ("application/avro", b"", ""),
        ("application/json", b"", ""),
    ] {
        let kept = serde_json::to_string(content_type).expect("a text is JSON");
        let comma = if member.is_empty() { "" } else { "," };
        let expected = with(&format!("\"datacontenttype\":{kept}{comma}{member}"));
        assert_eq!(binary_of(&[], Some(content_type), body), Ok(expected), "{content_type}");
    }
    assert_eq!(binary_of(&[], None, b"x"), Ok(with(r#""data_base64":"eA==""#)));
    assert_eq!(
        binary_of(&[], None, b"{ }"),
        Ok(with(r#""data":{ }"#)),
        "as the JSON form means it"
    );
    assert!(binary_of(&[], Some("application/json"), b"{").is_err());
    assert!(binary_of(&[], Some("application/json"), b"\"\xff\"").is_err());
}

#[test]
fn header_values_are_decoded_once_after_their_quotes_are_gone() {
    for (header, text) in [
        ("Euro%20%E2%82%AC", "Euro \u{20ac}"),
        ("%e2%82%ac", "\u{20ac}"),
        ("%2520", "%20"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("\"a b\"", "a b"),
        (r#""say \"hi\" \\ there""#, r#"say "hi" \ there"#),
        (r#""%22""#, "\""),
        ("h\u{e9}", "h\u{e9}"),
        ("%F0%9F%98%80", "\u{1f600}"),
        ("", ""),
    ] {
        let event = binary_of(&[("ext", header)], None, b"").expect(header);
        let kept = serde_json::to_string(text).expect("a text is JSON");
        assert!(event.ends_with(&format!("\"ext\":{kept}}}")), "{header}: {event}");
    }
    for header in ["%C0%A0", "%FF", "%E2%82"] {
        let refused = binary_of(&[("ext", header)], None, b"");
        assert_eq!(refused, Err("ce-ext is not UTF-8 once it is decoded".into()), "{header}");
    }
    let raw = binary([("id", &b"\xff"[..])].into_iter(), None, b"");
    assert_eq!(raw.expect_err("not UTF-8").code, Code::InvalidRequest);
}

#[test]
fn the_key_is_the_extension_else_the_subject_else_the_events_own() {
    let key = |members: &str| {
        let json = with(members);
        let key = structured(&json).expect("it holds").key();
        key.map(|key| key.as_str().to_owned()).map_err(|refusal| refusal.message.to_string())
    };
    assert_eq!(key(r#""subject":"s","partitionkey":"k""#), Ok("k".into()));
    assert_eq!(key(r#""subject":"s","partitionkey":"""#), Ok("s".into()));
    assert_eq!(key(r#""partitionkey":7"#), Ok("7".into()));
    let own = key("").expect("its own");
    assert_eq!(key(r#""other":1"#), Ok(own), "the same when it is sent again");
    let long = format!(r#""subject":"{}""#, "s".repeat(257));
    assert_eq!(
        key(&long),
        Err("subject is the event's partition key, and has 257 characters, it takes 1 to 256"
            .into())
    );
}

#[test]
fn an_event_is_known_again_by_its_uuid_or_by_its_id_and_its_source() {
    let id = |from: &str, to: &str| {
        let json = with("").replace(from, to);
        structured(&json).expect("it holds").dedupe_id()
    };
    let uuid = "9c0c1d52-5c2b-4d9c-9f5c-0a4c3a5a7d11";
    assert_eq!(id("\"1\"", &format!("\"{uuid}\"")).to_string(), uuid);
    let own = id("", "");
    assert_eq!(own, derived_id(&["/orders", "1"]));
    assert_ne!(id("\"/orders\"", "\"/other\""), own);
    assert_ne!(id("\"1\"", &format!("\"{}\"", uuid.replace('-', ""))), own);
}

#[test]
fn a_trace_from_outside_is_taken_where_the_event_has_none_of_its_own() {
    let own = with(r#""traceparent":"00-own""#);
    let added = with(r#""traceparent":"00-1","tracestate":"a=1""#);
    for (json, expected) in [(with(""), added), (own.clone(), own)] {
        let mut event = structured(&json).expect("it holds");
        event.add_trace("00-1", Some("a=1"));
        assert_eq!(sealed(&event), expected);
    }
}
