//! One request of HTTP → its events: headers and a body → what is read of them, and the records of
//! CloudEvents.
//!
//! An input is what a caller sends: lines `name: value`, a blank line, a body. The checks say what
//! docs/http.md says: what is published is one JSON object that is read back as the same event, and
//! its length was known before; an answer to what is refused is JSON.
#![no_main]

use dispatchd_core::limits::{PARTITION_KEY_CHARS_MAX, REQUEST_EVENTS_MAX};
use dispatchd_core::model::{Code, Refusal};
use dispatchd_core::wire::cloudevents::{self, CloudEvent};
use dispatchd_core::wire::http::{
    Format, Lines, Names, Problem, admit, events, format, members, wait_seconds,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

struct Request<'a> {
    headers: Vec<(String, &'a [u8])>,
    body: &'a [u8],
}

fuzz_target!(|input: &[u8]| {
    let request = Request::of(input);
    let text = |name: &str| request.get(name).and_then(|value| std::str::from_utf8(value).ok());
    let _ = admit(request.get("origin").is_some(), request.get("host"));
    if let Some(seconds) = wait_seconds(text("prefer").into_iter()) {
        assert!(text("prefer").is_some_and(|prefer| prefer.contains('=')), "{seconds}");
    }
    let has_attributes = request.headers.iter().any(|(name, _)| name.starts_with("ce-"));
    match format(text("content-type"), has_attributes) {
        Err(problem) => check_problem(&problem, 415),
        Ok(Format::CloudEventData) => check_event(request.binary(text("content-type"))),
        Ok(Format::CloudEvent) => {
            if let Ok(json) = std::str::from_utf8(request.body) {
                check_event(cloudevents::structured(json));
            }
        }
        Ok(Format::Json | Format::CloudEvents) => {
            let Ok(json) = std::str::from_utf8(request.body) else { return };
            match (members(json), events(json)) {
                (Err(problem), Err(same)) => {
                    assert_eq!(problem, same);
                    check_problem(&problem, problem.status)
                }
                (Ok(members), Ok(events)) => {
                    let texts = members.iter().map(|raw| raw.get());
                    assert!(events.each(|event, _| event.json()).eq(texts));
                    assert!(members.len() <= REQUEST_EVENTS_MAX);
                    members.iter().for_each(|raw| check_event(cloudevents::structured(raw.get())));
                }
                (members, events) => panic!("{members:?}, {events:?}"),
            }
        }
        Ok(Format::Lines) => {
            if let Ok(lines) = Lines::of(request.body) {
                assert!(
                    lines.inspect(|line| assert!(!line.is_empty())).count() <= REQUEST_EVENTS_MAX
                );
            }
        }
    }
});

impl<'a> Request<'a> {
    fn of(input: &'a [u8]) -> Self {
        let (mut headers, mut rest) = (Vec::new(), input);
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return Self { headers, body: rest };
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            headers.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
        }
    }

    fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    fn binary<'r>(&'r self, content_type: Option<&'r str>) -> Result<CloudEvent<'r>, Refusal> {
        let attributes = self
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("ce-")?, *value)));
        cloudevents::binary(attributes, content_type, self.body)
    }
}

fn check_event(event: Result<CloudEvent<'_>, Refusal>) {
    let event = match event {
        Ok(event) => event,
        Err(refusal) => return check_problem(&refusal.into(), 400),
    };
    let sealed = event.seal();
    assert_eq!(sealed.len(), event.sealed_len(), "the length is known before");
    let text = std::str::from_utf8(&sealed).expect("JSON is UTF-8");
    let again = cloudevents::structured(text).expect("what is published is an event");
    assert_eq!(again.seal(), sealed, "it is read back as it is");
    assert_eq!((again.id(), again.dedupe_id()), (event.id(), event.dedupe_id()));
    match (event.key(), again.key()) {
        (Ok(key), Ok(same)) => {
            assert_eq!(key, same);
            let chars = key.as_str().chars().count();
            assert!((1..=PARTITION_KEY_CHARS_MAX).contains(&chars), "{chars}");
        }
        (Err(refusal), Err(_)) => check_problem(&refusal.into(), 400),
        (one, other) => panic!("{one:?}, {other:?}"),
    }
    let names = Names { place: 7, reference: None, id: Some(event.id()) };
    assert_eq!(Names::of(&names.to_reference()), names);
}

fn check_problem(problem: &Problem, status: u16) {
    assert_eq!(problem.status, status, "{problem:?}");
    let mut out = Vec::new();
    problem.print(&mut out);
    let read: Value = serde_json::from_slice(&out).expect("a problem is JSON");
    assert_eq!(read["status"], status);
    let code = read["code"].as_str().expect("a code");
    assert!(Code::ALL.iter().any(|known| known.as_str() == code), "{code}");
}
