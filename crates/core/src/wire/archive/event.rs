//! What an event says of itself, in any of the forms of an envelope: when it happened, its key, its
//! type. What is no JSON object says nothing.

use std::ops::Range;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A time, in microseconds since 1970.
pub type Micros = i64;

/// What was read of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// `timestamp`, or `time`.
    pub time: Option<Micros>,
    /// `source.kinesisPartitionKey`, or `partitionkey`.
    pub key: Option<String>,
    /// `type`, or `detail-type`.
    pub event_type: Option<String>,
}

/// Reads what an event says of itself.
pub fn said(data: &[u8]) -> Said {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(data) else { return Said::default() };
    let time = text(envelope.timestamp).or_else(|| text(envelope.time));
    let of_source = || {
        let source: Source<'_> = serde_json::from_str(envelope.source?.get()).ok()?;
        text(source.kinesis_partition_key)
    };
    Said {
        time: time.and_then(|time| parse_time(&time)),
        key: of_source().or_else(|| text(envelope.partition_key)),
        event_type: text(envelope.event_type).or_else(|| text(envelope.detail_type)),
    }
}

/// Reads a time as RFC 3339 has it; without an offset it is taken as UTC. `None` for anything else.
pub fn parse_time(text: &str) -> Option<Micros> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(time.and_utc().timestamp_micros())
}

/// Reads a day, `YYYY-MM-DD`, as its beginning in UTC.
pub fn parse_day(text: &str) -> Option<Micros> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

/// The hour that the name of a file of Rabble Rouser's archive says: `YYYY-MM-DD_HH`, whose month
/// counts from 00. `None` for any other name.
pub fn archive_hour(name: &str) -> Option<Micros> {
    const FORM: &[u8] = b"0000-00-00_00";
    let is_digit_where_one_is = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *form,
    };
    if name.len() != FORM.len() || !name.bytes().zip(FORM).all(is_digit_where_one_is) {
        return None;
    }
    let number = |digits: Range<usize>| name[digits].parse::<u32>().ok();
    let year = i32::try_from(number(0..4)?).ok()?;
    // 31 March is `-02-31`: the day is one of the month that is meant.
    let day = NaiveDate::from_ymd_opt(year, number(5..7)? + 1, number(8..10)?)?;
    Some(day.and_hms_opt(number(11..13)?, 0, 0)?.and_utc().timestamp_micros())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow, rename = "partitionkey")]
    partition_key: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "detail-type")]
    detail_type: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow, rename = "kinesisPartitionKey")]
    kinesis_partition_key: Option<&'a RawValue>,
}

/// A member's value, if it is a text that is not empty.
fn text(value: Option<&RawValue>) -> Option<String> {
    let text: String = serde_json::from_str(value?.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_envelope_says_when_by_which_key_and_what() {
        let lk = r#"{"id":"1","type":"t","data":{},"timestamp":"2026-11-20T21:34:09.335Z",
            "source":{"userId":null,"kinesisPartitionKey":"k"}}"#;
        let bridge = r#"{"detail-type":"t","source":"app","time":"2026-11-20T21:34:09.335Z"}"#;
        let cloud = r#"{"specversion":"1.0","type":"t","source":"app","partitionkey":"k",
            "time":"2026-11-20T22:34:09.335+01:00"}"#;
        let time = Some(1_795_210_449_335_000);
        let (event_type, key) = (Some("t".to_owned()), Some("k".to_owned()));
        for (json, key) in [(lk, key.clone()), (bridge, None), (cloud, key)] {
            let expected = Said { time, key, event_type: event_type.clone() };
            assert_eq!(said(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn what_an_event_does_not_say_is_none_and_other_data_says_nothing() {
        let strange = r#"{"type":5,"timestamp":"yesterday","source":{"kinesisPartitionKey":""}}"#;
        for data in [strange.as_bytes(), b"[]", b"hello", b"\xff\xfe", b"null", b"{}"] {
            assert_eq!(said(data), Said::default());
        }
    }

    #[test]
    fn the_name_of_an_archived_hour_counts_months_from_zero() {
        let march = parse_day("2017-03-31").expect("a day") + 3_600_000_000 * 5;
        assert_eq!(archive_hour("2017-02-31_05"), Some(march));
        assert_eq!(archive_hour("2017-11-31_23"), parse_time("2017-12-31T23:00:00"));
        for other in
            ["2017-12-01_05", "2017-02-31", "2017-02-31_5", "a-02-31_05", "2017-02-31_05_1"]
        {
            assert_eq!(archive_hour(other), None, "{other}");
        }
    }

    #[test]
    fn a_time_is_read_with_its_fraction_and_its_offset() {
        let expected = 1_795_210_449_335_123;
        for text in [
            "2026-11-20T21:34:09.335123Z",
            "2026-11-20T23:34:09.335123+02:00",
            "2026-11-20T21:34:09.335123",
        ] {
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        assert_eq!(parse_time("2026-11-20"), None);
    }
}
