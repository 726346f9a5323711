//! Makes the text of one event. Pure.
//!
//! It never rewrites an event: numbers, names and their order stay as they were sent. Characters
//! that a terminal must not be sent are left to whoever writes there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;

use dispatchd_core::wire::forward::Outgoing;

/// Levels that are indented. Below them indentation would grow with the square of the nesting. It
/// is what bounds an event's text: of two bytes for a value, some 35.
const INDENTED_LEVELS_MAX: usize = 16;

/// A record whose data is not one line of text. The names are those of our replies.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped<'a> {
    shard_id: &'a str,
    sequence_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u64>,
    partition_key: Option<&'a str>,
    /// In base64.
    data: String,
}

/// Prints the data as it is, if that is one line; otherwise one line of JSON around it.
pub(super) fn line(event: &Outgoing<'_>, out: &mut Vec<u8>) {
    match as_line(event.data) {
        Some(line) => out.extend_from_slice(line.as_bytes()),
        None => to_json(&wrapped(event), out),
    }
    out.push(b'\n');
}

/// Prints the data as it is, whatever it is, and ends its line.
pub(super) fn data(event: &Outgoing<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(event.data);
    if !event.data.ends_with(b"\n") {
        out.push(b'\n');
    }
}

/// Prints a line that says where the record is, then its data (JSON indented, other text as it is),
/// and an empty line.
pub(super) fn pretty(event: &Outgoing<'_>, out: &mut Vec<u8>) {
    let member = event.sub_sequence_number.map(|index| format!(":{index}")).unwrap_or_default();
    out.extend_from_slice(format!("{} {}{member} ", event.shard, event.sequence_number).as_bytes());
    // Quoted: a partition key may hold spaces and line breaks. `null` where the record has none.
    to_json(&event.partition_key, out);
    out.push(b'\n');
    match as_json(event.data) {
        Some(json) => {
            indent(json, out);
            out.push(b'\n');
        }
        None => line(event, out),
    }
    out.push(b'\n');
}

/// The data, if it is JSON.
pub(super) fn as_json(data: &[u8]) -> Option<&str> {
    let text = str::from_utf8(data).ok()?;
    serde_json::from_str::<IgnoredAny>(text).is_ok().then_some(text)
}

fn as_line(data: &[u8]) -> Option<&str> {
    let text = str::from_utf8(data).ok()?;
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    // By bytes, of which those of longer characters are none of these. JSON may hold DEL as it is.
    let is_plain = line.bytes().all(|byte| byte >= b' ' || byte == b'\t');
    is_plain.then_some(line)
}

fn wrapped<'a>(event: &Outgoing<'a>) -> Wrapped<'a> {
    Wrapped {
        shard_id: event.shard,
        sequence_number: event.sequence_number,
        sub_sequence_number: event.sub_sequence_number,
        partition_key: event.partition_key,
        data: STANDARD.encode(event.data),
    }
}

pub(super) fn to_json(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("strings always are JSON, and a Vec takes them");
}

/// Indents valid JSON by changing the white space between its tokens, without reading it into
/// values.
pub(super) fn indent(json: &str, out: &mut Vec<u8>) {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut is_escaped = false;
    // A bracket that may be closed at once: then what follows gets no line of its own.
    let mut just_opened = false;
    for byte in json.bytes() {
        if in_string {
            out.push(byte);
            in_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if just_opened != closes {
            new_line(depth, out);
        }
        just_opened = matches!(byte, b'{' | b'[');
        depth += usize::from(just_opened);
        in_string = byte == b'"';
        out.push(byte);
        match byte {
            b',' => new_line(depth, out),
            b':' => out.push(b' '),
            _ => {}
        }
    }
}

fn new_line(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b"  ", depth.min(INDENTED_LEVELS_MAX)).flatten());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn event(data: &[u8]) -> Outgoing<'_> {
        Outgoing {
            shard: "shardId-0",
            arrived: None,
            sequence_number: "49",
            sub_sequence_number: None,
            partition_key: Some("a \"b\""),
            data,
        }
    }

    fn printed(print: impl Fn(&Outgoing<'_>, &mut Vec<u8>), data: impl AsRef<[u8]>) -> String {
        let mut out = Vec::new();
        print(&event(data.as_ref()), &mut out);
        text(out)
    }

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).expect("what is printed of text is text")
    }

    #[test]
    fn one_line_of_text_is_printed_as_it_is() {
        for data in [
            r#"{"a":1.50,"b":"ü\n"}"#,
            "plain\ttext",
            "",
            " spaces ",
            "{\"a\":\"\u{7f}\u{9b}\u{202e}\"}",
        ] {
            assert_eq!(printed(line, data), format!("{data}\n"));
        }
    }

    #[test]
    fn a_line_break_at_the_end_is_the_line_s_own() {
        assert_eq!(printed(line, "a\n"), "a\n");
        assert_eq!(printed(line, "a\r\n"), "a\n");
    }

    #[test]
    fn what_is_not_one_line_of_text_is_wrapped_in_json() {
        for data in [&b"\xff\x00"[..], b"a\nb", b"a\n\n", b"a\rb", b"\x1b[31mred"] {
            let text = printed(line, data);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            let json: Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(json["data"], STANDARD.encode(data));
            assert_eq!(json["partitionKey"], "a \"b\"");
            assert_eq!(
                (&json["shardId"], &json["sequenceNumber"]),
                (&"shardId-0".into(), &"49".into())
            );
        }
    }

    #[test]
    fn data_is_printed_as_it_is_and_its_line_is_ended() {
        for (stored, expected) in [
            (&b"a"[..], &b"a\n"[..]),
            (b"a\nb\n", b"a\nb\n"),
            (b"\xff\0", b"\xff\0\n"),
            (b"", b"\n"),
        ] {
            let mut out = Vec::new();
            data(&event(stored), &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn pretty_indents_json_below_where_it_is() {
        let text = printed(pretty, r#"{"z":[1.50,{}, [ ]],"a":{"k":"{,:\\\"}"}}"#);
        let expected = r#"shardId-0 49 "a \"b\""
{
  "z": [
    1.50,
    {},
    []
  ],
  "a": {
    "k": "{,:\\\"}"
  }
}

"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn pretty_prints_other_data_as_lines_are_printed() {
        assert_eq!(printed(pretty, "just text"), "shardId-0 49 \"a \\\"b\\\"\"\njust text\n\n");
        let text = printed(pretty, "two\nlines");
        assert!(text.contains(r#""data":"dHdvCmxpbmVz""#), "{text}");
    }

    #[test]
    fn a_member_of_an_aggregate_is_named_by_its_index() {
        let member = Outgoing { sub_sequence_number: Some(3), ..event(b"{}") };
        let mut out = Vec::new();
        pretty(&member, &mut out);
        line(&Outgoing { data: &[0], ..member }, &mut out);
        let wrapped = concat!(
            r#"{"shardId":"shardId-0","sequenceNumber":"49","subSequenceNumber":3,"#,
            r#""partitionKey":"a \"b\"","data":"AA=="}"#
        );
        assert_eq!(text(out), format!("shardId-0 49:3 \"a \\\"b\\\"\"\n{{}}\n\n{wrapped}\n"));
    }

    #[test]
    fn a_record_without_a_key_says_null() {
        let keyless = Outgoing { partition_key: None, ..event(b"\0") };
        let mut out = Vec::new();
        line(&keyless, &mut out);
        pretty(&Outgoing { data: b"{}", ..keyless }, &mut out);
        let wrapped =
            r#"{"shardId":"shardId-0","sequenceNumber":"49","partitionKey":null,"data":"AA=="}"#;
        assert_eq!(text(out), format!("{wrapped}\nshardId-0 49 null\n{{}}\n\n"));
    }

    #[test]
    fn deep_nesting_costs_no_more_than_its_length_times_the_levels_that_are_indented() {
        let depth = 10_000;
        let text = printed(pretty, "[".repeat(depth) + &"]".repeat(depth));
        assert!(text.len() < 2 * depth * (2 * INDENTED_LEVELS_MAX + 2) + 100);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn indenting_changes_white_space_alone(value in json()) {
            let mut out = Vec::new();
            indent(&value.to_string(), &mut out);
            prop_assert_eq!(text(out), serde_json::to_string_pretty(&value).expect("a value is JSON"));
        }

        #[test]
        fn whatever_a_record_holds_is_one_line_without_the_controls_of_ascii(
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let text = printed(line, data);
            prop_assert!(text.ends_with('\n'));
            prop_assert!(!text[..text.len() - 1].contains(|c| c < ' ' && c != '\t'));
        }
    }
}
