//! One request's way through the intake, for an input whose requests hold many events and are
//! answered once: the events go in one after the other, the answers come out in the same order.
//!
//! It waits for what the intake is short of, and for the lanes, as the socket's reader does: never
//! with accepted items in its hands. It prints nothing and knows no protocol.
//!
//! Whoever drops it before its end is a caller that went away: what was accepted goes on its way
//! all the same, and is counted where it ends; what was not offered never was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Counter;
use tokio::sync::watch;
use uuid::Uuid;

use super::backpressure::Backpressure;
use super::callers::Callers;
use super::clock::Clock;
use super::metrics::ConnectionMetrics;
use super::shared::InputsShared;
use dispatchd_core::model::{
    Code, EventAnswer, Fingerprints, Input, Reference, Refusal, StreamFacts,
};
use dispatchd_core::wire::http::Names;
use dispatchd_producer::intake::{
    EventRequest, Intake, IntakeShared, Offered, Shortage, WayBack, answer_bytes,
};
use dispatchd_producer::lane::{Inlet, Lanes};
use dispatchd_producer::ticket::Answer;

/// How much longer than its patience a request waits for its answers: a lane gives up what is not
/// in flight when the patience ends, and the answer takes a moment.
const LANDING: Duration = Duration::from_millis(100);

/// What the exchanges of one input share.
#[derive(Debug)]
pub(crate) struct ExchangeShared {
    intake: Arc<IntakeShared>,
    lanes: Lanes,
    backpressure: Arc<Backpressure>,
    callers: Arc<Callers>,
    facts: watch::Receiver<StreamFacts>,
    fresh_id: fn() -> Uuid,
    /// Bytes of the events accepted: data and partition key.
    event_bytes_accepted: Counter,
}

/// How long a request may wait for room in the daemon's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as it takes.
    Endless,
    /// Until then; what has no room by then is refused as `DeliveryTimeout`.
    Until(Instant),
    /// Not at all; what has no room now is refused as `Overloaded`.
    None,
}

/// One request, from its first event to its answers.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Arc<ExchangeShared>,
    intake: Intake,
    way_back: WayBack,
    inlet: Inlet,
    clock: Clock,
    patience: Patience,
    /// How many events there were, and so how many answers there will be.
    events_count: usize,
    /// With a patience that ends: the references with names, for the answers to events that are in
    /// flight then. In the order of the events.
    names: Vec<Reference>,
    /// Bytes of accepted events that are not in the metrics yet.
    accepted_bytes: u64,
    /// Why every event from here on is refused: one without room would otherwise be overtaken by
    /// the next one of its key.
    is_closed: Option<Refusal>,
}

impl ExchangeShared {
    /// `events_max`: events that one request may hold.
    pub(crate) fn new(
        inputs: &InputsShared,
        input: Input,
        events_max: usize,
        metrics: &ConnectionMetrics,
    ) -> Self {
        let event_bytes_accepted = metrics.event_bytes_accepted(input).clone();
        // An event takes one for its answer, and may take one for the names that are kept of it.
        let credits = 2 * events_max;
        Self {
            intake: inputs.intake(input, credits),
            lanes: inputs.lanes.clone(),
            backpressure: Arc::clone(&inputs.backpressure),
            callers: Arc::clone(&inputs.callers),
            facts: inputs.facts.clone(),
            fresh_id: inputs.fresh_id,
            event_bytes_accepted,
        }
    }

    /// For events whose callers chose their ids.
    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.intake.fingerprints
    }

    /// Where ids come from that callers leave to us.
    pub(crate) fn fresh_id(&self) -> fn() -> Uuid {
        self.fresh_id
    }

    /// The largest record that is accepted now, data and partition key.
    pub(crate) fn record_bytes_max(&self) -> usize {
        let stream = self.facts.borrow().record_limit.unwrap_or(usize::MAX);
        stream.min(self.intake.record_bytes_carried)
    }
}

impl Exchange {
    /// Begins a request that is here in full.
    pub(crate) fn begin(shared: &Arc<ExchangeShared>, patience: Patience) -> Self {
        let record_limit = shared.facts.borrow().record_limit;
        let (intake, way_back) = shared.intake.open(record_limit);
        let clock = Clock::read();
        shared.callers.heard(clock.now.instant);
        Self {
            intake,
            way_back,
            inlet: shared.lanes.inlet(),
            clock,
            patience,
            events_count: 0,
            names: Vec::new(),
            accepted_bytes: 0,
            is_closed: None,
            shared: Arc::clone(shared),
        }
    }

    /// The reference of the event that comes next: its place in the request.
    pub(crate) fn next_reference(&self) -> Reference {
        Reference::Number(self.events_count as u64)
    }

    /// The reference of the event that comes next, with names that its answer has: the caller's own
    /// reference, as JSON, and an id.
    pub(crate) fn next_named(&self, reference: Option<&str>, id: Option<&str>) -> Reference {
        Names { place: self.events_count as u64, reference, id }.to_reference()
    }

    /// Offers the next event, which was made with [`next_reference`](Self::next_reference) or
    /// [`next_named`](Self::next_named).
    pub(crate) async fn offer(&mut self, mut request: EventRequest<'_>) {
        if let Patience::Until(deadline) = self.patience {
            request = request.until(deadline);
            self.keep_names(request.reference());
        }
        while self.is_closed.is_none() {
            match self.intake.offer(&mut request, &self.clock.now) {
                Offered::Accepted(item) => {
                    self.accepted_bytes += item.record.size() as u64;
                    self.inlet.add(item);
                    self.events_count += 1;
                    return;
                }
                Offered::Refused(_) => {
                    self.events_count += 1;
                    return;
                }
                // No credit comes back before the request is answered.
                Offered::Needs(Shortage::Credit(_)) => self.is_closed = Some(too_many_answers()),
                Offered::Needs(Shortage::Bytes(bytes)) => self.wait(bytes).await,
            }
        }
        if let Some(refusal) = self.is_closed.clone() {
            let reference = request.into_reference();
            self.refuse_named(reference, refusal);
        }
    }

    /// Keeps the names of an event that may be in flight when patience ends. They take memory
    /// beside those that its ticket holds, so they take a credit, until the exchange ends.
    fn keep_names(&mut self, reference: &Reference) {
        if self.is_closed.is_some() || matches!(reference, Reference::Number(_)) {
            return;
        }
        match self.intake.credit(reference.heap_bytes()) {
            Ok(_) => self.names.push(reference.clone()),
            Err(_) => self.is_closed = Some(too_many_answers()),
        }
    }

    /// Refuses what stands where the next event should, and is none.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refuse_named(self.next_reference(), refusal);
    }

    /// Refuses what stands where the next event should, by the reference that was made for it.
    pub(crate) fn refuse_named(&mut self, reference: Reference, refusal: Refusal) {
        // Where the answers' bytes are used up, their number is not: a refusal is small, and goes
        // without its names.
        let (credit, reference) = match self.intake.credit(answer_bytes(&reference)) {
            Ok(credit) => (credit, reference),
            Err(_) => {
                const FEWER: &str = "a request holds no more events than there are credits for";
                (self.intake.credit(0).expect(FEWER), self.next_reference())
            }
        };
        self.intake.refuse(credit, reference, refusal);
        self.events_count += 1;
    }

    /// Waits until every event is answered, or the request's patience ends: the answers in the
    /// order of the events. `None`: the event is in flight, and may be stored.
    pub(crate) async fn answers(mut self) -> Vec<Option<EventAnswer>> {
        self.in_time().await.into_iter().map(|answer| Some(answer?.1)).collect()
    }

    /// Waits likewise, for answers that each have the reference of their event. An event that is in
    /// flight is refused as unconfirmed.
    pub(crate) async fn named_answers(mut self) -> Vec<(Reference, EventAnswer)> {
        let answers = self.in_time().await;
        let mut names = std::mem::take(&mut self.names).into_iter().peekable();
        let places = answers.into_iter().zip(0..);
        let named = places.map(|(answer, place)| {
            let kept = names.next_if(|reference| Names::of(reference).place == place);
            let reference = || kept.unwrap_or(Reference::Number(place));
            let late = || (reference(), EventAnswer::Refused(in_flight_still()));
            answer.unwrap_or_else(late)
        });
        named.collect()
    }

    async fn in_time(&mut self) -> Vec<Option<(Reference, EventAnswer)>> {
        let mut answers = Vec::new();
        if let Patience::Until(until) = self.patience {
            let until = until + LANDING;
            let _ = tokio::time::timeout_at(until.into(), self.collect(&mut answers)).await;
            answers.resize_with(self.events_count, || None);
        } else {
            self.collect(&mut answers).await;
        }
        answers
    }

    /// Puts each answer into its event's place, until all are there. Cancelled, it has lost none.
    async fn collect(&mut self, answers: &mut Vec<Option<(Reference, EventAnswer)>>) {
        self.hand_over().await;
        answers.resize_with(self.events_count, || None);
        let mut missing = self.events_count;
        while missing > 0 {
            const OPEN: &str = "the exchange's own intake holds the outbox open";
            for answer in self.way_back.answers.recv().await.expect(OPEN) {
                let Answer::Event { reference, answer, .. } = answer else {
                    unreachable!("an exchange asks for answers to events")
                };
                let place = Names::of(&reference).place as usize;
                answers[place] = Some((reference, answer));
                missing -= 1;
            }
        }
    }

    /// Waits for so many bytes of the budget, as long as the request's patience lasts.
    async fn wait(&mut self, bytes: usize) {
        let until = match self.patience {
            Patience::Endless => None,
            Patience::Until(until) => Some(until),
            Patience::None => return self.is_closed = Some(no_room_now()),
        };
        self.hand_over().await;
        let shared = Arc::clone(&self.shared);
        let _held_up = shared.callers.hold_up();
        let _waiting = shared.backpressure.wait();
        let taken = self.intake.wait(Shortage::Bytes(bytes));
        let in_time = match until {
            None => {
                taken.await;
                true
            }
            Some(until) => tokio::time::timeout_at(until.into(), taken).await.is_ok(),
        };
        if !in_time {
            self.is_closed = Some(no_room_in_time());
        }
        self.clock.refresh(); // accepted now, after the wait
        shared.callers.heard(self.clock.now.instant);
    }

    /// Hands the lanes what was accepted, since what we wait for may be in it, and gives back the
    /// bytes that were taken in advance. To be called before every wait.
    async fn hand_over(&mut self) {
        self.intake.give_back();
        self.count_accepted();
        self.inlet.flush().await;
    }

    fn count_accepted(&mut self) {
        self.shared.event_bytes_accepted.increment(std::mem::take(&mut self.accepted_bytes));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.count_accepted();
        if self.inlet.is_empty() {
            return;
        }
        // An inbox has no room at this very moment. The task lives as long as that: a lane waits
        // for nobody. Without a runtime the daemon is gone, and the items answer for themselves.
        let mut inlet = std::mem::replace(&mut self.inlet, self.shared.lanes.inlet());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { inlet.flush().await });
        }
    }
}

#[cold]
fn too_many_answers() -> Refusal {
    const FULL: &str = "the answers to this request take all the memory that one request has for \
                        them: send this event in another request";
    Refusal::new(Code::Overloaded, FULL)
}

#[cold]
fn no_room_now() -> Refusal {
    const FULL: &str = "the daemon's memory is full, and the request asked not to wait for room";
    Refusal::new(Code::Overloaded, FULL)
}

#[cold]
fn in_flight_still() -> Refusal {
    const LATE: &str = "the event was not durable within the time that the request was ready to \
                        wait, and may be soon";
    Refusal::unconfirmed(Code::DeliveryTimeout, true, LATE)
}

#[cold]
fn no_room_in_time() -> Refusal {
    const LATE: &str = "the daemon's memory was full for as long as the request was ready to wait";
    Refusal::unconfirmed(Code::DeliveryTimeout, false, LATE)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::inputs::shared::for_tests;
    use crate::telemetry::exporter::{Exporter, Sources};
    use dispatchd_core::model::{Outcome, PartitionKey, Position, Record};
    use dispatchd_producer::lane::Group;
    use dispatchd_producer::ticket::{AnswerGroup, EventId};

    fn exchange(inbox: mpsc::Sender<Group>, events_max: usize) -> Exchange {
        counted_exchange(inbox, events_max, &ConnectionMetrics::register())
    }

    fn counted_exchange(
        inbox: mpsc::Sender<Group>,
        events_max: usize,
        metrics: &ConnectionMetrics,
    ) -> Exchange {
        let inputs = for_tests(Lanes::new(vec![inbox]));
        let shared = ExchangeShared::new(&inputs, Input::Http, events_max, metrics);
        Exchange::begin(&Arc::new(shared), Patience::Endless)
    }

    async fn offer(exchange: &mut Exchange, key: &str) {
        let reference = exchange.next_reference();
        offer_as(exchange, key, reference).await;
    }

    async fn offer_as(exchange: &mut Exchange, key: &str, reference: Reference) {
        let key = PartitionKey::new(key).expect("a short one");
        let record = Record::new(key, None, "{}".into());
        let id = EventId::Made(Uuid::nil());
        exchange.offer(EventRequest::sealed(record, reference, id)).await;
    }

    /// What could go wrong: a caller that waits for so long is told of an event that may be stored,
    /// and cannot tell which of its events it is.
    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_in_flight_when_patience_ends_is_answered_by_its_own_name() {
        let (inbox_in, mut inbox) = mpsc::channel(1);
        let mut exchange = exchange(inbox_in, 3);
        let now = tokio::time::Instant::now().into_std();
        exchange.patience = Patience::Until(now + Duration::from_secs(1));
        let [first, last] = ["\"first\"", "\"last\""];
        let first = exchange.next_named(Some(first), None);
        offer_as(&mut exchange, "a", first.clone()).await;
        offer(&mut exchange, "b").await;
        let last = exchange.next_named(Some(last), None);
        offer_as(&mut exchange, "c", last.clone()).await;
        let (answers, _in_flight) = tokio::join!(exchange.named_answers(), inbox.recv());
        let (references, answers): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        assert_eq!(references, [first, Reference::Number(1), last]);
        for answer in answers {
            let EventAnswer::Refused(refusal) = answer else { panic!("nobody stores it") };
            assert_eq!((refusal.code, refusal.maybe_stored), (Code::DeliveryTimeout, Some(true)));
        }
    }

    #[tokio::test]
    async fn what_was_accepted_goes_on_its_way_when_its_caller_goes_before_it_was_handed_over() {
        let (inbox_in, mut inbox) = mpsc::channel(1);
        inbox_in.try_send(Vec::new()).expect("it is empty");
        let mut exchange = exchange(inbox_in, 10);
        offer(&mut exchange, "k").await;
        let gone = tokio::time::timeout(Duration::ZERO, exchange.named_answers()).await;
        assert!(gone.is_err(), "the inbox has no room");
        assert_eq!(inbox.recv().await.map(|group| group.len()), Some(0));
        assert_eq!(inbox.recv().await.map(|group| group.len()), Some(1));
    }

    #[tokio::test]
    async fn bytes_of_accepted_events_count_when_they_are_handed_over_or_their_caller_goes() {
        let (inbox_in, _inbox) = mpsc::channel(8);
        let exporter = Exporter::default();
        let metrics = exporter.register(ConnectionMetrics::register);
        let exposition = exporter.expose(Sources::idle());
        let counted = |bytes: usize| {
            let text = exposition.render();
            let line = format!("dispatchd_event_bytes_accepted_total{{input=\"http\"}} {bytes}\n");
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        };
        let mut exchange = counted_exchange(inbox_in, 10, &metrics);
        offer(&mut exchange, "eleven long").await; // 13 bytes with its data
        exchange.refuse(Refusal::new(Code::InvalidRequest, "no"));
        exchange.hand_over().await;
        counted(13);
        offer(&mut exchange, "k").await; // 3 bytes
        drop(exchange);
        counted(16);
    }

    #[tokio::test]
    async fn answers_stand_in_the_order_of_the_events_however_they_come() {
        let (inbox_in, mut inbox) = mpsc::channel(1);
        let mut exchange = exchange(inbox_in, 10);
        for key in ["a", "b", "c"] {
            offer(&mut exchange, key).await;
        }
        exchange.refuse(Refusal::new(Code::InvalidRequest, "no"));
        let settle = async {
            let mut group = AnswerGroup::default();
            for item in inbox.recv().await.expect("it is handed over").into_iter().rev() {
                let (shard_id, sequence_number) = ("s".into(), item.record.key.as_str().into());
                let position = Position { shard_id, sequence_number, sub_sequence_number: None };
                group.answer(item.ticket, item.record, Outcome::Durable(position));
            }
        };
        let (answers, ()) = tokio::join!(exchange.named_answers(), settle);
        let keys: Vec<_> = answers
            .iter()
            .map(|(_, answer)| match answer {
                EventAnswer::Durable(durable) => durable.key.as_str(),
                EventAnswer::Refused(refusal) => refusal.code.as_str(),
            })
            .collect();
        assert_eq!(keys, ["a", "b", "c", "InvalidRequest"]);
    }
}
