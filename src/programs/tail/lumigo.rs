//! Prints an event as `lumigo-cli tail-eventbridge-bus` does: its time, then the five members that
//! EventBridge's rules look at, indented. Pure.
//!
//! Our own envelopes and CloudEvents have these under other names. What is no event at all is
//! printed as it is, without a time.

use dispatchd_core::wire::forward::Outgoing;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::print::{indent, line};

/// The members of any envelope that are shown, by their names in EventBridge's, and in ours or in
/// CloudEvents where those differ.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, alias = "timestamp")]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    region: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow, rename = "detail-type", alias = "type")]
    detail_type: Option<&'a RawValue>,
    #[serde(borrow, alias = "data")]
    detail: Option<&'a RawValue>,
}

/// What lumigo-cli prints, in its order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a RawValue>,
    #[serde(rename = "Detail-Type")]
    detail_type: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a RawValue>,
}

pub(super) fn push(event: &Outgoing<'_>, out: &mut Vec<u8>) {
    let members: Option<Members<'_>> = serde_json::from_slice(event.data).ok();
    let Some((members, detail_type)) = members.and_then(|m| m.detail_type.map(|of| (m, of))) else {
        line(event, out);
        return;
    };
    if let Some(time) = members.time {
        out.extend_from_slice(time.get().trim_matches('"').as_bytes());
        out.push(b'\n');
    }
    let Members { region, source, resources, detail, .. } = members;
    let shown = Shown { region, source, resources, detail_type, detail };
    let json = serde_json::to_string(&shown).expect("what was read as JSON can be written");
    indent(&json, out);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(data: &str) -> String {
        let event = Outgoing {
            shard: "shardId-0",
            arrived: None,
            sequence_number: "49",
            sub_sequence_number: None,
            partition_key: Some("k"),
            data: data.as_bytes(),
        };
        let mut out = Vec::new();
        push(&event, &mut out);
        String::from_utf8(out).expect("it is text")
    }

    #[test]
    fn an_event_of_eventbridge_is_printed_as_lumigo_cli_prints_it() {
        let event = r#"{"version":"0","id":"1","detail-type":"TradeInventoryAllocated","source":"trading","account":"","time":"2026-11-20T21:34:09.335Z","region":"eu-central-1","resources":[],"detail":{"qty":5.0,"lots":[1]}}"#;
        let expected = r#"2026-11-20T21:34:09.335Z
{
  "Region": "eu-central-1",
  "Source": "trading",
  "Resources": [],
  "Detail-Type": "TradeInventoryAllocated",
  "Detail": {
    "qty": 5.0,
    "lots": [
      1
    ]
  }
}
"#;
        assert_eq!(printed(event), expected);
    }

    #[test]
    fn our_envelopes_and_cloudevents_have_the_same_under_other_names() {
        let ours = r#"{"id":"1","type":"t","data":{},"timestamp":"2026-11-20T21:34:09.335Z","source":{"userId":null}}"#;
        assert_eq!(
            printed(ours),
            "2026-11-20T21:34:09.335Z\n{\n  \"Source\": {\n    \"userId\": null\n  },\n  \
             \"Detail-Type\": \"t\",\n  \"Detail\": {}\n}\n"
        );
        let cloudevent = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-11-20T21:34:09Z"}"#;
        assert_eq!(
            printed(cloudevent),
            "2026-11-20T21:34:09Z\n{\n  \"Source\": \"/s\",\n  \"Detail-Type\": \"t\"\n}\n"
        );
    }

    #[test]
    fn what_is_no_event_is_printed_as_it_is() {
        for data in ["hello world", "5", "{}", r#"{"type":"a","type":"b"}"#] {
            assert_eq!(printed(data), format!("{data}\n"));
        }
    }
}
