//! What a request's headers say: how its body is to be read, and how long its caller waits.

use super::problem::Problem;
use crate::wire::cloudevents::media_type;

/// How a body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One event, or an array of them.
    Json,
    /// An event a line.
    Lines,
    /// One CloudEvent in structured mode.
    CloudEvent,
    /// An array of CloudEvents.
    CloudEvents,
    /// The data of a CloudEvent, whose attributes are headers.
    CloudEventData,
}

impl Format {
    /// Whether such a body is one event, which is answered by itself.
    pub fn is_alone(self, body: &[u8]) -> bool {
        match self {
            Format::Json => !body.trim_ascii_start().starts_with(b"["),
            Format::CloudEvent | Format::CloudEventData => true,
            Format::Lines | Format::CloudEvents => false,
        }
    }
}

/// How a body of this content type is to be read. `has_attributes`: whether a header `ce-…` is
/// there; then whatever is no CloudEvent by itself is one's data.
///
/// # Errors
/// It is of no type that is read here.
pub fn format(content_type: Option<&str>, has_attributes: bool) -> Result<Format, Problem> {
    const SERVED: &str = "Content-Type is none of application/json, application/x-ndjson, \
                          application/cloudevents+json and application/cloudevents-batch+json, and \
                          there are no ce- headers";
    const UTF8: &str = "JSON is read in UTF-8, and the charset of Content-Type is another one";
    const AS_JSON: &str = "CloudEvents are read in JSON: application/cloudevents+json or \
                           application/cloudevents-batch+json";
    let (media_type, charset) = media_type(content_type.unwrap_or_default());
    let format = match &*media_type {
        "application/cloudevents" | "application/cloudevents+json" => Format::CloudEvent,
        "application/cloudevents-batch" | "application/cloudevents-batch+json" => {
            Format::CloudEvents
        }
        other if other.starts_with("application/cloudevents") => {
            return Err(Problem::new(415, AS_JSON));
        }
        _ if has_attributes => return Ok(Format::CloudEventData),
        "application/json" => Format::Json,
        "application/x-ndjson" | "application/ndjson" => Format::Lines,
        _ => return Err(Problem::new(415, SERVED)),
    };
    match charset.as_deref() {
        None | Some("utf-8" | "us-ascii") => Ok(format),
        Some(_) => Err(Problem::new(415, UTF8)),
    }
}

/// The seconds of `Prefer: wait=N` (RFC 7240); `None` where no such preference is there. The first
/// one holds, and one that is no number is none.
pub fn wait_seconds<'a>(prefers: impl Iterator<Item = &'a str>) -> Option<u32> {
    prefers.flat_map(|prefer| prefer.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        (is_wait && is_number).then(|| value.parse().unwrap_or(u32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_read_whatever_its_case_and_its_parameters() {
        for (content_type, read) in [
            ("application/json", Format::Json),
            ("Application/JSON; charset=UTF-8", Format::Json),
            ("application/x-ndjson", Format::Lines),
            ("application/ndjson", Format::Lines),
            ("application/cloudevents+json; charset=utf-8", Format::CloudEvent),
            ("APPLICATION/CLOUDEVENTS+JSON", Format::CloudEvent),
            ("application/cloudevents", Format::CloudEvent),
            ("Application/CloudEvents-Batch+JSON", Format::CloudEvents),
        ] {
            assert_eq!(format(Some(content_type), false), Ok(read), "{content_type}");
        }
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/cloudevents+avro"),
            Some("application/json; charset=utf-16"),
        ] {
            let refused = format(content_type, false).expect_err("it is not read");
            assert_eq!(refused.status, 415, "{content_type:?}");
        }
    }

    #[test]
    fn with_attributes_in_headers_any_content_is_an_events_data_but_another_event() {
        for content_type in [None, Some("application/json"), Some("text/plain"), Some("x/y")] {
            assert_eq!(format(content_type, true), Ok(Format::CloudEventData));
        }
        let structured = Some("application/cloudevents+json");
        assert_eq!(format(structured, true), Ok(Format::CloudEvent));
        assert!(format(Some("application/cloudevents+protobuf"), true).is_err());
    }

    #[test]
    fn a_body_is_one_event_unless_it_is_an_array_or_lines_of_them() {
        for (format, body, is_alone) in [
            (Format::Json, "{}", true),
            (Format::Json, " \r\n\t{\"a\":[1]}", true),
            (Format::Json, "", true),
            (Format::Json, "[]", false),
            (Format::Json, " \r\n\t[{}]", false),
            (Format::Lines, "{}", false),
            (Format::CloudEvents, "[]", false),
            (Format::CloudEvent, "{}", true),
            (Format::CloudEventData, "[]", true),
        ] {
            assert_eq!(format.is_alone(body.as_bytes()), is_alone, "{format:?} {body:?}");
        }
    }

    #[test]
    fn the_wait_that_is_preferred_is_found_among_other_preferences() {
        for (prefer, seconds) in [
            ("wait=10", Some(10)),
            ("respond-async, wait=\"7\"", Some(7)),
            ("Wait = 3; x=1", Some(3)),
            ("wait=99999999999", Some(u32::MAX)),
            ("wait", None),
            ("wait=", None),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("await=1", None),
            ("", None),
        ] {
            assert_eq!(wait_seconds([prefer].into_iter()), seconds, "{prefer}");
        }
        assert_eq!(wait_seconds(["return=minimal", "wait=0"].into_iter()), Some(0));
    }
}
