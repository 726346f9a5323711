//! What is known of every event of a case: what the application asked for, the line that the client
//! wrote, the daemon's last answer. Pure.
//!
//! Some things hold for every line of every client, so no case says them:
//! - A daemon takes it: the daemon's own reader finds nothing wrong.
//! - Its `ref` is an integer that no other event of its connection has, and its id is made before
//!   the first write.
//! - What is written again has the id and the bytes of `type`, `data` and `options` that it had.
//! - An event is told as the daemon answered it, and `Timeout` never before its time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::pattern::{difference, is_same, parse};
use super::transcript::Refused;
use dispatchd_core::model::Code;
use dispatchd_core::wire::ndjson::request;

/// What a client's clock may be early by: timers of some languages end in whole milliseconds.
const EARLY_MAX: Duration = Duration::from_millis(20);
/// How late a client may be to hear that an event is refused once more.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// What a client says besides the daemon's codes, all of them retryable.
const CLIENT_CODES: [&str; 3] = ["Timeout", "Closed", "BufferFull"];
/// What an event may say besides its type and data; the client hands it on as `options`.
const OPTIONS: [&str; 7] = [
    "partitionKey",
    "explicitHashKey",
    "sourceUserId",
    "id",
    "envelope",
    "traceparent",
    "tracestate",
];

/// A line of the client.
#[derive(Debug)]
pub(super) struct Line {
    pub connection: usize,
    /// Its place on the connection, from 1: the daemon's word for a line without a `ref`.
    pub number: u64,
    pub bytes: Vec<u8>,
    pub value: Value,
}

/// What the daemon said last of an event.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Ack(Value),
    Refusal { refused: Refused, message: String },
}

#[derive(Debug)]
pub(super) struct Event {
    /// As the application gave it.
    said: Value,
    asked: Asked,
    /// Known as soon as anybody has said it.
    pub id: Option<String>,
    /// Its last line.
    pub line: Option<Line>,
    answer: Option<Answer>,
    /// It is refused whenever it comes, so many times at most.
    pub refusing: Option<(Refused, usize)>,
    /// When it came last of those times.
    came_again: Option<Instant>,
}

/// When a call was made, and when it may end with `Timeout`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub at: Instant,
    pub timeout: Option<Duration>,
}

/// What a name of the case stands for in what the driver says.
#[derive(Debug)]
pub(super) enum Call {
    Event,
    /// Of these events, in this order.
    Many(Vec<String>, Asked),
    Check(Asked),
    Rollback,
    /// `flush`, `close`.
    End,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub events: BTreeMap<String, Event>,
    pub calls: BTreeMap<String, Call>,
    /// The client publishes nothing.
    pub is_disabled: bool,
    /// What `hello` was answered.
    pub producer: String,
    acks: u64,
}

/// The parts of a line whose bytes matter.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
}

impl Line {
    /// Reads a line as the daemon does.
    ///
    /// # Errors
    /// Why the daemon would refuse it.
    pub(super) fn read(connection: usize, number: u64, bytes: Vec<u8>) -> Result<Self, String> {
        if let Err(refusal) = request::parse(&bytes, number).request {
            return Err(format!("a line that the daemon refuses: {}", refusal.message));
        }
        let text = std::str::from_utf8(&bytes).expect("the daemon takes nothing else");
        let value = parse(text).map_err(|error| format!("a line that is no JSON: {error}"))?;
        Ok(Self { connection, number, bytes, value })
    }

    pub(super) fn op(&self) -> Option<&str> {
        self.value["op"].as_str()
    }

    /// What answers carry for it.
    pub(super) fn reference(&self) -> Value {
        self.value.get("ref").cloned().unwrap_or_else(|| self.number.into())
    }

    fn raw(&self) -> Raw<'_> {
        serde_json::from_slice(&self.bytes).expect("it was read before")
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { producer: "conformance@host".into(), ..Self::default() }
    }

    /// The application gives the client an event.
    pub(super) fn ask(&mut self, name: &str, said: Value, asked: Asked) {
        let id = said["id"].as_str().map(str::to_owned);
        let event =
            Event { said, asked, id, line: None, answer: None, refusing: None, came_again: None };
        self.events.insert(name.to_owned(), event);
    }

    /// Whether a line is this event's, in this transaction or in none.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn fits(&self, name: &str, line: &Line, tx: Option<&str>) -> Result<(), String> {
        let event = self.event(name)?;
        let value = &line.value;
        if let Some(op) = line.op() {
            return Err(format!("it is a {op}"));
        }
        if value["tx"].as_str() != tx {
            return Err(format!("its tx is {}", value["tx"]));
        }
        for member in ["type", "data"] {
            if !is_same(&event.said[member], &value[member]) {
                return Err(format!("its {member} is not the event's"));
            }
        }
        for option in OPTIONS.into_iter().filter(|option| *option != "id") {
            let (said, written) = (&event.said[option], &value["options"][option]);
            if said != written {
                return Err(format!("its options.{option} is {written}, the event says {said}"));
            }
        }
        let id = value["options"]["id"].as_str().unwrap_or_default();
        match &event.id {
            Some(known) if known != id => return Err(format!("its id is {id:?}, and was {known}")),
            None if Uuid::parse_str(id).is_err() => {
                return Err(format!("options.id is {}, and no UUID", value["options"]["id"]));
            }
            _ => {}
        }
        let mut others = self.events.iter().filter(|(other, _)| *other != name);
        if let Some((other, _)) = others.find(|(_, other)| other.id.as_deref() == Some(id)) {
            return Err(format!("its id is that of {other}"));
        }
        self.keeps_its_reference(name, line)?;
        self.keeps_its_bytes(event, line)
    }

    fn keeps_its_reference(&self, name: &str, line: &Line) -> Result<(), String> {
        let reference = &line.value["ref"];
        if !reference.is_u64() {
            return Err(format!("its ref is {reference}, and no integer"));
        }
        let has_it = |event: &Event| {
            let other = event.line.as_ref();
            other.is_some_and(|other| {
                other.connection == line.connection && other.value["ref"] == *reference
            })
        };
        let mut others = self.events.iter().filter(|(other, _)| *other != name);
        match others.find(|(_, event)| has_it(event)) {
            Some((other, _)) => Err(format!("its ref is that of {other}")),
            None => Ok(()),
        }
    }

    fn keeps_its_bytes(&self, event: &Event, line: &Line) -> Result<(), String> {
        let Some(before) = &event.line else { return Ok(()) };
        let (then, now) = (before.raw(), line.raw());
        for (member, then, now) in [
            ("type", then.event_type, now.event_type),
            ("data", then.data, now.data),
            ("options", then.options, now.options),
        ] {
            if then.map(RawValue::get) != now.map(RawValue::get) {
                return Err(format!("the bytes of its {member} are not those of its line before"));
            }
        }
        Ok(())
    }

    /// Whether a line has the very bytes that the event's last line had.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn comes_again(&self, name: &str, line: &Line) -> Result<(), String> {
        let before = self.line(name)?;
        (before.bytes == line.bytes).then_some(()).ok_or_else(|| {
            let then = String::from_utf8_lossy(&before.bytes);
            format!("it is not byte for byte what was written before: {}", shortened(&then))
        })
    }

    /// The client wrote this line for the event.
    pub(super) fn wrote(&mut self, name: &str, line: Line) {
        let event = self.events.get_mut(name).expect("it fits");
        event.id = line.value["options"]["id"].as_str().map(str::to_owned);
        event.line = Some(line);
    }

    /// The event that is refused whenever it comes, if this line is one.
    pub(super) fn refused_again(&mut self, line: &Line) -> Option<String> {
        let is_it = |event: &Event| {
            let before = event.line.as_ref().is_some_and(|before| before.bytes == line.bytes);
            event.refusing.is_some() && before
        };
        self.events.iter().find(|(_, event)| is_it(event)).map(|(name, _)| name.clone())
    }

    /// The client wrote this line for an event that is refused whenever it comes.
    pub(super) fn wrote_again(&mut self, name: &str, line: Line, at: Instant) {
        self.wrote(name, line);
        self.events.get_mut(name).expect("it fits").came_again = Some(at);
    }

    /// Events of a call that are refused whenever they come, in the order of its results.
    fn refusing(&self, call: &str) -> Vec<(usize, &Event)> {
        let names: Vec<&str> = match self.calls.get(call) {
            Some(Call::Event) => vec![call],
            Some(Call::Many(names, _)) => names.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let events = names.into_iter().map(|name| self.events.get(name)).enumerate();
        let refusing = events.filter_map(|(at, event)| Some((at, event?)));
        refusing.filter(|(_, event)| event.refusing.is_some()).collect()
    }

    /// Whether the call has an event that is refused whenever it comes.
    pub(super) fn is_refusing(&self, call: &str) -> bool {
        !self.refusing(call).is_empty()
    }

    /// Takes back that nothing of an event is stored, where it came again just before its call
    /// ended: a client that has not heard that refusal says `unknown`, and is right.
    pub(super) fn excuse(&self, call: &str, pattern: &mut Value, ended: Instant) {
        for (at, event) in self.refusing(call) {
            let is_under_way = event.came_again.is_some_and(|came| ended < came + HEARD_WITHIN);
            let wanted = match pattern.get_mut("results") {
                Some(results) => results.get_mut(at),
                None => Some(&mut *pattern),
            };
            if let Some(outcome) = wanted.and_then(|wanted| wanted.get_mut("outcome"))
                && is_under_way
                && outcome == "not_stored"
            {
                *outcome = "unknown".into();
            }
        }
    }

    /// The ack of an event, with these members in the place of its own.
    ///
    /// # Errors
    /// If it was not written yet.
    pub(super) fn ack(&mut self, name: &str, members: &Value) -> Result<Value, String> {
        self.acks += 1;
        let line = self.line(name)?;
        let id = &line.value["options"]["id"];
        let key = match &line.value["options"]["partitionKey"] {
            Value::Null => id.clone(),
            key => key.clone(),
        };
        let (number, milliseconds) = (self.acks, self.acks % 1000);
        let mut ack = json!({
            "ref": line.value["ref"],
            "ok": true,
            "id": id,
            "timestamp": format!("2026-01-01T00:00:00.{milliseconds:03}Z"),
            "partitionKey": key,
            "shardId": "shardId-000000000001",
            "sequenceNumber": format!("4968{number:052}"),
        });
        let own = ack.as_object_mut().expect("it is one");
        own.extend(members.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        let event = self.events.get_mut(name).expect("it has a line");
        (event.answer, event.refusing) = (Some(Answer::Ack(ack.clone())), None);
        Ok(ack)
    }

    /// The refusal of an event.
    ///
    /// # Errors
    /// If it was not written yet, or there is no such code.
    pub(super) fn refuse(&mut self, name: &str, refused: &Refused) -> Result<Value, String> {
        let mut refusal = error(refused)?;
        refusal["ref"] = self.line(name)?.value["ref"].clone();
        let message = refusal["error"]["message"].as_str().unwrap_or_default().to_owned();
        let event = self.events.get_mut(name).expect("it has a line");
        event.answer = Some(Answer::Refusal { refused: refused.clone(), message });
        Ok(refusal)
    }

    fn event(&self, name: &str) -> Result<&Event, String> {
        self.events.get(name).ok_or_else(|| format!("the case has no event {name}"))
    }

    /// The last line of an event.
    ///
    /// # Errors
    /// If it was not written yet.
    pub(super) fn line(&self, name: &str) -> Result<&Line, String> {
        let line = self.event(name)?.line.as_ref();
        line.ok_or_else(|| format!("the case has not seen {name} written"))
    }

    /// Judges what the driver says of a call.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn judge(&mut self, name: &str, outcome: &Value, at: Instant) -> Result<(), String> {
        match self.calls.get(name) {
            None => Err(format!("the case has no call {name}")),
            Some(Call::Event) => self.judge_event(name, outcome, at),
            Some(Call::Many(names, asked)) => self.judge_many(names, outcome, *asked, at),
            Some(Call::Check(_) | Call::Rollback) if outcome["ok"] == true => Ok(()),
            Some(Call::Check(asked)) => judge_failure(outcome, *asked, at),
            Some(Call::Rollback) => Err("a rollback never fails".to_owned()),
            Some(Call::End) => match &outcome["unconfirmed"] {
                Value::Number(_) => Ok(()),
                other => Err(format!("unconfirmed is {other}")),
            },
        }
    }

    fn judge_many(
        &self,
        names: &[String],
        outcome: &Value,
        asked: Asked,
        at: Instant,
    ) -> Result<(), String> {
        let Some(results) = outcome["results"].as_array() else {
            return match outcome["code"].as_str() {
                Some("Closed") => judge_failure(outcome, asked, at), // it never began
                _ => Err(format!("results are {}", outcome["results"])),
            };
        };
        if results.len() != names.len() {
            return Err(format!("{} results for {} events", results.len(), names.len()));
        }
        for (name, result) in names.iter().zip(results) {
            self.judge_result(name, result, asked, at).map_err(|why| format!("{name}: {why}"))?;
        }
        let all_ok = results.iter().all(|result| result["ok"] == true);
        if outcome["ok"] != all_ok {
            return Err(format!("ok is {}, and not what its results say", outcome["ok"]));
        }
        Ok(())
    }

    fn judge_event(&mut self, name: &str, outcome: &Value, at: Instant) -> Result<(), String> {
        let asked = self.event(name)?.asked;
        self.judge_result(name, outcome, asked, at)
    }

    fn judge_result(
        &self,
        name: &str,
        result: &Value,
        asked: Asked,
        at: Instant,
    ) -> Result<(), String> {
        let event = self.event(name)?;
        if result["ok"] != true {
            judge_failure(result, asked, at)?;
            return match &event.answer {
                Some(Answer::Refusal { refused, message }) if !is_retryable(&refused.code) => {
                    let code = &refused.code;
                    let wanted = json!({ "code": code, "message": message });
                    difference(&wanted, result).map_or(Ok(()), Err)
                }
                _ => Ok(()),
            };
        }
        let id = result["id"].as_str().unwrap_or_default();
        match &event.id {
            Some(known) if known != id => return Err(format!("id is {id:?}, and not {known}")),
            None if Uuid::parse_str(id).is_err() => return Err(format!("id is {id:?}")),
            _ => {}
        }
        match (&event.answer, self.is_disabled) {
            (_, true) => difference(&json!({ "shardId": null, "sequenceNumber": null }), result)
                .map_or(Ok(()), Err),
            (Some(Answer::Ack(ack)), false) => self.judge_ack(ack, result),
            (_, false) => Err("ok, and the daemon has not acked it".to_owned()),
        }
    }

    fn judge_ack(&self, ack: &Value, result: &Value) -> Result<(), String> {
        let mut wanted = json!({ "producerId": self.producer });
        for member in ["timestamp", "partitionKey", "shardId", "sequenceNumber"] {
            wanted[member] = ack[member].clone();
        }
        let is_copy = |value: &Value| value["deduplicated"] == true;
        if is_copy(ack) != is_copy(result) {
            return Err(format!("deduplicated is {}", result["deduplicated"]));
        }
        difference(&wanted, result).map_or(Ok(()), Err)
    }
}

/// What every failure says, whatever the call.
fn judge_failure(failure: &Value, asked: Asked, at: Instant) -> Result<(), String> {
    let text = |member: &str| failure[member].as_str().filter(|text| !text.is_empty());
    let (Some(code), Some(_)) = (text("code"), text("message")) else {
        return Err("a failure without a code, or without a message".to_owned());
    };
    if failure["ok"] != false {
        return Err(format!("ok is {}", failure["ok"]));
    }
    let retryable = is_retryable(code);
    if failure["retryable"] != retryable {
        return Err(format!("{code} has retryable {}", failure["retryable"]));
    }
    if !matches!(text("outcome"), Some("not_stored" | "unknown")) {
        return Err(format!("{code} has outcome {}", failure["outcome"]));
    }
    let took = at.saturating_duration_since(asked.at);
    match asked.timeout {
        Some(timeout) if code == "Timeout" && took + EARLY_MAX < timeout => {
            Err(format!("Timeout after {} ms of {}", took.as_millis(), timeout.as_millis()))
        }
        _ => Ok(()),
    }
}

/// Unknown codes are those of daemons to come: a client goes by what they say, and no case has one.
fn is_retryable(code: &str) -> bool {
    CLIENT_CODES.contains(&code)
        || Code::ALL.iter().any(|known| known.as_str() == code && known.retryable())
}

/// A refusal as the daemon writes it, without what it answers.
///
/// # Errors
/// If there is no such code.
pub(super) fn error(refused: &Refused) -> Result<Value, String> {
    let Refused { code, outcome } = refused;
    let known = Code::ALL.into_iter().find(|known| known.as_str() == code);
    let known = known.ok_or_else(|| format!("the daemon has no code {code}"))?;
    let message = format!("{} (the reason of a scripted {code})", known.text());
    let mut error = json!({ "code": code, "message": message, "retryable": known.retryable() });
    if let Some(outcome) = outcome {
        error["outcome"] = outcome.as_str().into();
    }
    Ok(json!({ "ok": false, "error": error }))
}

/// The sums that hold at every moment.
///
/// # Errors
/// Which of them does not.
pub(super) fn judge_counters(counters: &Value) -> Result<(), String> {
    let number =
        |name: &str| counters[name].as_u64().ok_or_else(|| format!("{name} is {}", counters[name]));
    let refused: Option<u64> = match &counters["refused"] {
        Value::Object(codes) => codes.values().map(Value::as_u64).sum(),
        _ => None,
    };
    let refused = refused.ok_or_else(|| format!("refused is {}", counters["refused"]))?;
    let (sent, buffered) = (number("sent")?, number("buffered")?);
    let parts = number("acked")? + refused + number("rolledBack")? + buffered;
    if sent != parts {
        return Err(format!("sent is {sent}, and acked + refused + rolledBack + buffered {parts}"));
    }
    if (buffered == 0) != (number("bufferedBytes")? == 0) {
        return Err(format!("{buffered} buffered in {} bytes", counters["bufferedBytes"]));
    }
    number("resent")?;
    number("reconnects").map(drop)
}

/// A text that a person can look over.
pub(super) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 240;
    match text.char_indices().nth(CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
