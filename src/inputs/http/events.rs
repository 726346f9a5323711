//! `POST /v1/events`: a request's body → events → the intake → one answer.
//!
//! The body is read as a whole before any of its events is offered: a request that breaks off has
//! published nothing. What becomes of each event is the intake's and the lanes' to say.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use hyper::{Request, StatusCode};

use super::answer::{self, Answer, closing, json, problem, with};
use super::settings::CloudEventsAs;
use super::shared::HttpShared;
use crate::http_server::place::Place;
use crate::inputs::body::{BodyBounds, BodyError};
use crate::inputs::exchange::{Exchange, Patience};
use dispatchd_core::limits::line_bytes_max;
use dispatchd_core::model::event::Extras;
use dispatchd_core::model::{Code, Event, Profile, Record, Reference, Refusal};
use dispatchd_core::wire::cloudevents::{self, CloudEvent};
use dispatchd_core::wire::http::{
    Format, Lines, Problem, Results, events, format, members, wait_seconds,
};
use dispatchd_core::wire::ndjson::request::{self, Parsed};
use dispatchd_producer::intake::EventRequest;
use dispatchd_producer::ticket::EventId;

const CE_PREFIX: &str = "ce-";

/// What W3C's Trace Context and CloudEvents both call the headers of a trace.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// How long what is left of a body is read off before its connection ends. A caller that still
/// writes when its connection is closed would not see its answer.
const READ_OFF: Duration = Duration::from_millis(200);

/// Bytes that a CloudEvent takes for each of its own: itself and the record that is made of it, in
/// base64 perhaps.
const CLOUD_EVENT_ROOM: usize = 3;

/// What a request's headers ask for.
struct Asked {
    format: Format,
    wait_seconds: Option<u32>,
}

/// Publishes the events of a request, and answers when each has its outcome.
pub(super) async fn post(
    request: Request<Incoming>,
    shared: &Arc<HttpShared>,
    place: &Arc<Place>,
) -> Answer {
    let (head, mut body) = request.into_parts();
    let asked = match asked(&head.headers) {
        Ok(asked) => asked,
        Err(refused) => return refused_unread(&refused, &head.headers, body).await,
    };
    let bounds = bounds(asked.format, shared);
    match shared.bodies.read(&mut body, bounds, place).await {
        Err(error) => refused_unread(&unread(error), &head.headers, body).await,
        Ok((body, _answering)) => {
            let patience = patience(asked.wait_seconds);
            let [parent, state] = [TRACEPARENT, TRACESTATE].map(|name| trace(&head.headers, name));
            let trace = parent.map(|parent| (parent, state));
            let offer = Offer { shared, patience, headers: &head.headers, trace };
            let offered = offer.body(asked.format, &body.bytes).await;
            let is_alone = asked.format.is_alone(&body.bytes);
            drop(body); // others may wait for its room
            let answer = answers(offered, is_alone).await;
            match asked.wait_seconds {
                Some(seconds) => preference_applied(answer, seconds),
                None => answer,
            }
        }
    }
}

/// Waits for the answers to what was offered. One event alone is answered by itself.
async fn answers(offered: Result<Exchange, Problem>, is_alone: bool) -> Answer {
    let results = match offered {
        Ok(exchange) => Results::new(exchange.named_answers().await),
        Err(refused) => return problem(&refused),
    };
    if !is_alone {
        return answer::results(results);
    }
    match results.single() {
        Ok(ack) => json(StatusCode::OK, ack),
        Err(refused) => problem(&refused),
    }
}

fn asked(headers: &HeaderMap) -> Result<Asked, Problem> {
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Problem::new(
            415,
            "the body is read as it is: Content-Encoding has no meaning",
        ));
    }
    let has_attributes = headers.keys().any(|name| name.as_str().starts_with(CE_PREFIX));
    let format = format(text_of(headers, &CONTENT_TYPE)?, has_attributes)?;
    let tells_length =
        headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    if !tells_length && format != Format::CloudEventData {
        const LENGTH: &str = "the request has no body: neither Content-Length nor chunks";
        return Err(Problem::new(411, LENGTH));
    }
    let prefers = headers.get_all("prefer").iter().filter_map(|prefer| prefer.to_str().ok());
    Ok(Asked { format, wait_seconds: wait_seconds(prefers) })
}

fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let not_text = |_| Problem::new(400, format!("{name} is not ASCII"));
    headers.get(name).map(|value| value.to_str().map_err(not_text)).transpose()
}

fn bounds(format: Format, shared: &HttpShared) -> BodyBounds {
    let bytes_max = line_bytes_max(shared.exchange.record_bytes_max());
    let room_per_byte = match format {
        Format::Json | Format::Lines => 1,
        Format::CloudEvent | Format::CloudEvents | Format::CloudEventData => CLOUD_EVENT_ROOM,
    };
    BodyBounds { bytes_max, room_per_byte }
}

/// `wait=0` asks whether there is room, and not for an answer without waiting: there is none.
fn patience(wait_seconds: Option<u32>) -> Patience {
    match wait_seconds {
        None => Patience::Endless,
        Some(0) => Patience::None,
        Some(seconds) => {
            let until = Instant::now().checked_add(Duration::from_secs(seconds.into()));
            until.map_or(Patience::Endless, Patience::Until)
        }
    }
}

fn unread(error: BodyError) -> Problem {
    match error {
        BodyError::TooLarge { bytes_max } => {
            let message = format!("the body is over {bytes_max} bytes, the longest that is read");
            Refusal::new(Code::EventTooLarge, message).into()
        }
        BodyError::Late => Problem::new(408, "the body was not here in time"),
        BodyError::Broken => Problem::new(400, "the body broke off, or its chunks are no chunks"),
        BodyError::MadeRoom => {
            const ROOM: &str = "every connection was taken, and this one was the slowest to send";
            Refusal::unconfirmed(Code::Overloaded, false, ROOM).into()
        }
        BodyError::Stopping => {
            const STOPS: &str = "the daemon stops and reads no more";
            Refusal::unconfirmed(Code::ShuttingDown, false, STOPS).into()
        }
    }
}

/// Refuses a request whose body nobody reads. The connection ends with it.
async fn refused_unread(refused: &Problem, headers: &HeaderMap, mut body: Incoming) -> Answer {
    // Who waits to be told to go on has not begun to write.
    if !headers.contains_key(EXPECT) {
        let read_off = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(READ_OFF, read_off).await;
    }
    closing(problem(refused))
}

fn preference_applied(answer: Answer, seconds: u32) -> Answer {
    let value = HeaderValue::try_from(format!("wait={seconds}")).expect("digits are ASCII");
    with(answer, HeaderName::from_static("preference-applied"), value)
}

/// A request that is here in full, and its way to the intake.
struct Offer<'a> {
    shared: &'a Arc<HttpShared>,
    patience: Patience,
    headers: &'a HeaderMap,
    /// The `traceparent` that its headers name, and the `tracestate` beside it.
    trace: Option<(&'a str, Option<&'a str>)>,
}

impl Offer<'_> {
    async fn body(&self, format: Format, body: &Bytes) -> Result<Exchange, Problem> {
        match format {
            Format::Json if format.is_alone(body) => self.one_event(body).await,
            Format::Json => self.array(body).await,
            Format::Lines => self.lines(body).await,
            Format::CloudEvent => {
                let event = utf8(body).and_then(|text| Ok(cloudevents::structured(text)?));
                self.one_cloud_event(event).await
            }
            Format::CloudEventData => self.one_cloud_event(self.binary(body)).await,
            Format::CloudEvents => self.cloud_events(body).await,
        }
    }

    async fn one_event(&self, body: &[u8]) -> Result<Exchange, Problem> {
        let mut exchange = self.begin();
        self.event(&mut exchange, request::parse(body, 0)).await;
        Ok(exchange)
    }

    async fn array(&self, body: &[u8]) -> Result<Exchange, Problem> {
        let events = events(utf8(body)?)?;
        let mut exchange = self.begin();
        for event in events.each(|event, _| event.as_line(0)) {
            self.event(&mut exchange, event).await;
        }
        Ok(exchange)
    }

    async fn lines(&self, body: &[u8]) -> Result<Exchange, Problem> {
        let lines = Lines::of(body)?;
        let mut exchange = self.begin();
        for line in lines {
            self.event(&mut exchange, request::parse(line, 0)).await;
        }
        Ok(exchange)
    }

    async fn cloud_events(&self, body: &[u8]) -> Result<Exchange, Problem> {
        let members = members(utf8(body)?)?;
        let mut exchange = self.begin();
        for member in members {
            match cloudevents::structured(member.get()) {
                Ok(event) => self.cloud_event(&mut exchange, event).await,
                Err(refusal) => exchange.refuse(refusal),
            }
        }
        Ok(exchange)
    }

    async fn one_cloud_event(
        &self,
        event: Result<CloudEvent<'_>, Problem>,
    ) -> Result<Exchange, Problem> {
        let mut exchange = self.begin();
        match event {
            Ok(event) => self.cloud_event(&mut exchange, event).await,
            Err(refused) => exchange.refuse(refused.refusal),
        }
        Ok(exchange)
    }

    fn binary<'a>(&'a self, body: &'a [u8]) -> Result<CloudEvent<'a>, Problem> {
        let attribute = |(name, value): (&'a HeaderName, &'a HeaderValue)| {
            Some((name.as_str().strip_prefix(CE_PREFIX)?, value.as_bytes()))
        };
        let attributes = self.headers.iter().filter_map(attribute);
        Ok(cloudevents::binary(attributes, text_of(self.headers, &CONTENT_TYPE)?, body)?)
    }

    fn begin(&self) -> Exchange {
        Exchange::begin(&self.shared.exchange, self.patience)
    }

    /// Offers an event as a line of the socket would have it.
    async fn event(&self, exchange: &mut Exchange, event: Parsed<'_>) {
        let Parsed { reference, tx, request, .. } = event;
        let given = match &reference {
            Reference::Text(json) => Some(&**json),
            Reference::Number(_) => None,
        };
        let reference = exchange.next_named(given, None);
        match request {
            Ok(_) if tx.is_some() => {
                const TX: &str =
                    "tx has no meaning in a request of HTTP, which holds no transaction";
                exchange.refuse_named(reference, Refusal::new(Code::InvalidRequest, TX));
            }
            Ok(request::Request::Event(mut event)) => {
                self.add_trace(&mut event);
                self.offer(exchange, event, reference).await;
            }
            Ok(request::Request::Record(record)) => {
                let shared = &self.shared.exchange;
                let (fingerprints, fresh_id) = (shared.fingerprints(), shared.fresh_id());
                let request = EventRequest::raw(record, reference, fingerprints, fresh_id);
                exchange.offer(request).await;
            }
            Ok(_) => {
                const OP: &str = "op has no meaning in a request of HTTP, which holds events";
                exchange.refuse_named(reference, Refusal::new(Code::InvalidRequest, OP));
            }
            Err(refusal) => exchange.refuse_named(reference, refusal),
        }
    }

    /// The trace that the request's headers name is that of each of its events, unless an event
    /// names its own.
    fn add_trace<'e>(&'e self, event: &mut Event<'e>) {
        let Some((parent, state)) = self.trace else { return };
        let extras = event.extras.get_or_insert_default();
        if extras.traceparent.is_none() {
            extras.traceparent = Some(parent.into());
            extras.tracestate = state.map(Into::into);
        }
    }

    async fn cloud_event<'e>(&'e self, exchange: &mut Exchange, mut event: CloudEvent<'e>) {
        // Of the event alone: when it is sent again, the request belongs to another trace.
        let said = self.shared.exchange.fingerprints().of(&event);
        if let Some((parent, state)) = self.trace {
            event.add_trace(parent, state);
        }
        let dedupe_id = event.dedupe_id();
        let own = event.id();
        let own = (own != dedupe_id.to_string()).then_some(own);
        let reference = exchange.next_named(None, own);
        let key = match event.key() {
            Ok(key) => key,
            Err(refusal) => return exchange.refuse_named(reference, refusal),
        };
        match self.shared.cloudevents {
            CloudEventsAs::TheyAre => {
                let record = Record::new(key, None, event.seal());
                let id = EventId::Chosen { id: dedupe_id, said };
                let request = EventRequest::sealed(record, reference, id);
                exchange.offer(request.saying(event.event_type(), event.json())).await;
            }
            CloudEventsAs::Lk => match event.object() {
                Some(data) => {
                    let [traceparent, tracestate] =
                        event.trace().map(|text| text.map(Cow::Borrowed));
                    let envelope = Some(Profile::Lk);
                    let extras = Extras { traceparent, tracestate, envelope };
                    let event = Event {
                        event_type: event.event_type().into(),
                        data,
                        key: Some(key),
                        explicit_hash: None,
                        user_id: None,
                        id: Some(dedupe_id),
                        echo: false,
                        extras: Some(Box::new(extras)),
                    };
                    self.offer(exchange, event, reference).await;
                }
                None => {
                    const OBJECT: &str = "data is not a JSON object, which the envelope holds \
                                          where http.cloudevents is lk";
                    exchange.refuse_named(reference, Refusal::new(Code::InvalidRequest, OBJECT));
                }
            },
        }
    }

    async fn offer(&self, exchange: &mut Exchange, event: Event<'_>, reference: Reference) {
        let shared = &self.shared.exchange;
        let request = EventRequest::new(event, reference, shared.fingerprints(), shared.fresh_id());
        exchange.offer(request).await;
    }
}

fn trace<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

fn utf8(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        let message = format!("the body is not UTF-8 at byte {}", error.valid_up_to() + 1);
        Refusal::new(Code::InvalidRequest, message).into()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;
    use crate::inputs::http::{Listener, Settings, serve};
    use crate::inputs::metrics::ConnectionMetrics;
    use crate::inputs::presence::Visit;
    use crate::inputs::shared::for_tests;
    use dispatchd_core::model::{Outcome, Position};
    use dispatchd_producer::lane::{Group, Lanes};
    use dispatchd_producer::ticket::AnswerGroup;

    /// Stores whatever comes.
    async fn store(mut inbox: mpsc::Receiver<Group>) {
        while let Some(group) = inbox.recv().await {
            let mut answers = AnswerGroup::default();
            for item in group {
                let (shard_id, sequence_number) = ("s".into(), "1".into());
                let position = Position { shard_id, sequence_number, sub_sequence_number: None };
                answers.answer(item.ticket, item.record, Outcome::Durable(position));
            }
        }
    }

    /// What a request with these events is answered, by lanes that store whatever comes.
    async fn answered(events: &Value) -> Value {
        let (inbox_in, inbox) = mpsc::channel(1);
        let inputs = for_tests(Lanes::new(vec![inbox_in]));
        let settings =
            Settings { listen: None, max_connections: 1, cloudevents: CloudEventsAs::TheyAre };
        let shared = HttpShared::new(&settings, &inputs, &ConnectionMetrics::register());
        let place = Place::new(inputs.stop_reading.child_token());
        let visit = Visit::new(inputs.presence.clone());
        let (mut peer, stream) = tokio::io::duplex(64 * 1024);
        let body = events.to_string();
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        peer.write_all(request.as_bytes()).await.expect("there is room");
        tokio::select! {
            () = serve(stream, Listener::Socket, shared, place, visit) => {}
            () = store(inbox) => unreachable!("the inputs hold its other end"),
        }
        let mut told = String::new();
        peer.read_to_string(&mut told).await.expect("it is closed");
        let (head, body) = told.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{told}");
        serde_json::from_str(body).expect("it is JSON")
    }

    #[tokio::test]
    async fn each_event_of_a_request_has_its_own_answer_in_its_place() {
        let answer = answered(&json!([
            {"ref": "stored", "type": "t", "data": {}},
            {"ref": "control", "op": "ping"},
            {"ref": "staged", "tx": "t1", "type": "t", "data": {}},
            {"ref": "raw", "data_base64": "AAE="},
            {"ref": "nameless", "data": {}},
        ]))
        .await;
        let results = answer["results"].as_array().expect("a list");
        let told: Vec<_> = results.iter().map(|result| (&result["ref"], &result["ok"])).collect();
        let is_ok = [true, false, false, true, false].map(Value::Bool);
        let references = ["stored", "control", "staged", "raw", "nameless"].map(Value::from);
        assert_eq!(told, references.iter().zip(&is_ok).collect::<Vec<_>>(), "{answer}");
        for (place, why) in [(1, "op has no meaning"), (2, "tx has no meaning"), (4, "type")] {
            let message = results[place]["error"]["message"].as_str().expect("a text");
            assert!(message.contains(why), "{message}");
        }
    }
}
