//! Bytes → requests: reads one connection and brings what its lines ask for to the intake.
//!
//! A line is read once. What it asks for is offered to the intake; where the intake names a
//! shortage, the reader waits for that and offers the same request again. While it waits it reads
//! nothing, and the kernel makes the caller wait. It never waits with a group of items in its
//! hands.

use std::borrow::Cow;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, BufMut, BytesMut};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{SemaphorePermit, watch};
use tokio::task::yield_now;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use super::shared::ConnectionShared;
use crate::inputs::clock::{Clock, now};
use crate::inputs::long_lines::buffer_of;
use crate::inputs::presence::Visit;
use dispatchd_core::limits::{LINE_BUFFER_BYTES, PARTIAL_LINE_TIMEOUT, line_bytes_max};
use dispatchd_core::model::{Code, Input, Reference, Refusal, StreamFacts};
use dispatchd_core::wire::ndjson::answer;
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use dispatchd_core::wire::ndjson::request::{self, Members, Parsed, Request};
use dispatchd_producer::credit::Credit;
use dispatchd_producer::intake::{
    EventRequest, Intake, Member, Offered, OfferedTogether, Shortage, Staging, WayBack,
    answer_bytes,
};
use dispatchd_producer::lane::{BoxedItem, Inlet};

/// The read half of a connection, with its intake.
#[derive(Debug)]
pub(super) struct Reader {
    read: OwnedReadHalf,
    /// Cancelled by the writer when the peer takes nothing.
    gone: CancellationToken,
    buf: BytesMut,
    splitter: Splitter,
    patience: Patience,
    clock: Clock,
    facts: watch::Receiver<StreamFacts>,
    intake: Intake,
    inlet: Inlet,
    /// Bytes of accepted records that are not in the metrics yet.
    accepted_bytes: u64,
    shared: Arc<ConnectionShared>,
}

/// What came of waiting for bytes.
enum Filled {
    Bytes,
    /// The peer has ended or is gone: no input is left unread.
    End,
    /// We stop, or give the peer up: input may be left unread.
    Stop,
}

impl Reader {
    /// The reader of a connection, and the way back for its writer.
    pub(super) fn new(
        read: OwnedReadHalf,
        gone: CancellationToken,
        shared: Arc<ConnectionShared>,
    ) -> (Self, WayBack) {
        let mut facts = shared.facts.clone();
        let record_limit = facts.borrow_and_update().record_limit;
        let (intake, way_back) = shared.intake.open(record_limit);
        let reader = Self {
            read,
            gone,
            buf: BytesMut::new(),
            splitter: Splitter::new(line_bytes_max(intake.record_bytes_max())),
            patience: Patience::new(),
            clock: Clock::read(),
            facts,
            intake,
            inlet: shared.lanes.inlet(),
            accepted_bytes: 0,
            shared,
        };
        (reader, way_back)
    }

    /// Reads until the peer ends or we stop. Gives the read half back where input may be left in
    /// it, else `None`.
    pub(super) async fn run(mut self, visit: &mut Visit) -> Option<OwnedReadHalf> {
        let left = self.read_lines(visit).await;
        self.hand_over().await;
        left.then_some(self.read)
    }

    async fn read_lines(&mut self, visit: &mut Visit) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut room: Option<SemaphorePermit<'_>> = None;
        loop {
            if self.buf.len() > LINE_BUFFER_BYTES && room.is_none() {
                let line_bytes_max = line_bytes_max(self.intake.record_bytes_max());
                let _held_up = shared.callers.hold_up();
                room = Some(tokio::select! {
                    () = self.gone.cancelled() => return false,
                    () = shared.stop_reading.cancelled() => return true,
                    room = shared.long_lines.room(line_bytes_max) => room,
                });
                self.buf = buffer_of(line_bytes_max, &self.buf);
            }
            match self.fill().await {
                Filled::Bytes => {}
                Filled::End => return self.end().await,
                Filled::Stop => return true,
            }
            self.clock.refresh();
            shared.callers.heard(self.clock.now.instant);
            if room.is_none() {
                self.learn_limit(); // a line that has its room keeps the limit that it has it for
            }
            let mut buf = std::mem::take(&mut self.buf);
            while let Some(line) = self.splitter.next(&buf) {
                visit.sent_a_line();
                if self.take(line).await.is_none() {
                    return false;
                }
            }
            let read_to_the_brim = buf.len() == buf.capacity() || room.is_some();
            let split = self.splitter.take_split();
            if room.is_some() && split > 0 {
                buf = buf[split..].into();
                room = None;
            } else {
                buf.advance(split);
            }
            self.buf = buf;
            self.hand_over().await;
            if read_to_the_brim {
                yield_now().await; // there is more, and others have their turn first
            }
        }
    }

    /// Waits for bytes and reads them.
    async fn fill(&mut self) -> Filled {
        loop {
            let unfinished = self.splitter.unfinished(&self.buf);
            match unfinished {
                Some(number) => self.patience.with_line(number),
                None => self.buf = BytesMut::new(), // an idle connection holds no buffer
            }
            let (began, next_end) = (now(), self.intake.next_end());
            let readable = tokio::select! {
                biased; // bytes before the timer: after a pause of ours there are both
                () = self.shared.stop_reading.cancelled() => return Filled::Stop,
                () = self.gone.cancelled() => return Filled::End,
                readable = self.read.readable() => Some(readable),
                () = tokio::time::sleep(self.patience.next_look()), if unfinished.is_some() => None,
                () = at(next_end) => {
                    self.intake.expire(now());
                    continue;
                }
            };
            if unfinished.is_some() {
                self.patience.waited(now() - began);
            }
            match readable {
                Some(Ok(())) => {}
                Some(Err(_)) => return Filled::End,
                None if self.patience.is_over() => {
                    self.close_unfinished().await;
                    return Filled::Stop;
                }
                None => continue,
            }
            let read = if self.buf.len() <= LINE_BUFFER_BYTES {
                self.buf.reserve(LINE_BUFFER_BYTES);
                // Unlike `try_read` this takes a read that leaves room for proof that nothing is
                // left, and does not ask again.
                poll_fn(|cx| {
                    Poll::Ready(poll_read_buf(Pin::new(&mut self.read), cx, &mut self.buf))
                })
                .await
            } else {
                // What comes behind a long line waits for its turn in a line buffer.
                let mut some = (&mut self.buf).limit(LINE_BUFFER_BYTES);
                poll_fn(|cx| Poll::Ready(poll_read_buf(Pin::new(&mut self.read), cx, &mut some)))
                    .await
            };
            match read {
                Poll::Ready(Ok(1..)) => return Filled::Bytes,
                Poll::Ready(Ok(0) | Err(_)) => return Filled::End, // its end, or reset by the peer
                Poll::Pending => {}
            }
        }
    }

    /// Closes a connection whose peer left a line unfinished for too long. A line that was over the
    /// limit has its answer already.
    async fn close_unfinished(&mut self) {
        let seconds = PARTIAL_LINE_TIMEOUT.as_secs();
        let late = format!("the line was not ended within {seconds} s: the connection is closed");
        self.refuse_unfinished(Refusal::new(Code::InvalidRequest, late)).await;
    }

    async fn end(&mut self) -> bool {
        self.refuse_unfinished(request::torn()).await;
        false
    }

    async fn refuse_unfinished(&mut self, refusal: Refusal) {
        let Some(number) = self.splitter.torn(&self.buf) else { return };
        self.refuse(Reference::Number(number), refusal).await;
    }

    /// Takes the stream's record limit over if it was learnt since the last read.
    fn learn_limit(&mut self) {
        if self.facts.has_changed().unwrap_or(false) {
            self.intake.set_record_limit(self.facts.borrow_and_update().record_limit);
            self.splitter.set_line_bytes_max(line_bytes_max(self.intake.record_bytes_max()));
        }
    }

    /// Reads one line and brings what it asks for to the intake. Like all that it calls, `None`
    /// when the peer is given up and no line matters any more.
    async fn take(&mut self, line: Line<'_>) -> Option<()> {
        let (number, text) = match line {
            Line::Complete { number, text } => (number, text),
            Line::TooLong { number, head } => {
                let reference = request::reference_of(head, number);
                let line_bytes_max = line_bytes_max(self.intake.record_bytes_max());
                let too_long =
                    format!("the line is over {line_bytes_max} bytes, the longest that is read");
                let refusal = self.intake.too_large(too_long);
                return self.refuse(reference, refusal).await;
            }
        };
        let Parsed { reference, op, tx, request } = request::parse(text, number);
        match request {
            Ok(Request::Event(event)) => {
                let fingerprints = &self.shared.intake.fingerprints;
                let fresh_id = self.shared.fresh_id;
                let request = EventRequest::new(event, reference, fingerprints, fresh_id);
                self.publish(tx, request).await
            }
            Ok(Request::Record(record)) => {
                let fingerprints = &self.shared.intake.fingerprints;
                let fresh_id = self.shared.fresh_id;
                let request = EventRequest::raw(record, reference, fingerprints, fresh_id);
                self.publish(tx, request).await
            }
            Ok(Request::Batch(members)) => self.offer_batch(&members, reference).await,
            Ok(Request::Begin(tx)) => {
                let begun = self.intake.begin(&tx, &self.clock.now);
                self.answer_transaction("begin", &tx, reference, begun).await
            }
            Ok(Request::Rollback(tx)) => {
                let ended = self.intake.roll_back(&tx, &self.clock.now);
                self.answer_transaction("rollback", &tx, reference, ended).await
            }
            Ok(Request::Commit(tx)) => self.commit(&tx, reference).await,
            Err(refusal) => match op {
                Some(op) => self.refuse_control(op, &reference, &refusal).await,
                None => self.refuse(reference, refusal).await,
            },
            Ok(Request::Hello(context)) => {
                self.intake.set_context(context);
                let (bytes_max, producer_id) =
                    (self.intake.record_bytes_max(), self.intake.producer_id());
                let mut line = Vec::new();
                answer::hello(&mut line, &reference, bytes_max, producer_id);
                self.control(line).await
            }
            Ok(Request::Ping) => {
                let mut line = Vec::new();
                answer::done(&mut line, "ping", &reference);
                self.control(line).await
            }
            Ok(Request::Flush) => {
                let credit = self.credit(answer_bytes(&reference)).await?;
                self.intake.flush(credit, reference);
                Some(())
            }
        }
    }

    async fn offer(&mut self, mut request: EventRequest<'_>) -> Option<()> {
        loop {
            match self.intake.offer(&mut request, &self.clock.now) {
                Offered::Accepted(item) => {
                    self.send(item);
                    return Some(());
                }
                Offered::Refused(_) => return Some(()),
                Offered::Needs(shortage) => self.wait(shortage).await?,
            }
        }
    }

    fn send(&mut self, item: BoxedItem) {
        self.accepted_bytes += item.record.size() as u64;
        self.inlet.add(item);
    }

    /// Publishes an event, or holds it for the transaction that it names.
    async fn publish(&mut self, tx: Option<Cow<'_, str>>, request: EventRequest<'_>) -> Option<()> {
        match tx {
            None => self.offer(request).await,
            Some(tx) => self.stage(&tx, request).await,
        }
    }

    async fn stage(&mut self, tx: &str, mut request: EventRequest<'_>) -> Option<()> {
        loop {
            match self.intake.stage(tx, &mut request, &self.clock.now) {
                Staging::Staged { reference, id, credit } => {
                    let mut line = Vec::new();
                    answer::staged(&mut line, &reference, id);
                    self.intake.answer(credit, line);
                    return Some(());
                }
                Staging::Refused(_) => return Some(()),
                Staging::Needs(shortage) => self.wait(shortage).await?,
            }
        }
    }

    async fn offer_batch(&mut self, members: &Members<'_>, reference: Reference) -> Option<()> {
        let head = answer::head("batch", None, &reference);
        let shared = Arc::clone(&self.shared);
        loop {
            let members = members.each(|event, index| member(event, index + 1, &shared));
            let offered = self.intake.offer_together(&head, members, &self.clock.now);
            if self.is_done("batch", &reference, offered).await? {
                return Some(());
            }
        }
    }

    async fn commit(&mut self, tx: &str, reference: Reference) -> Option<()> {
        let head = answer::head("commit", Some(tx), &reference);
        loop {
            let offered = self.intake.commit(tx, &head, &self.clock.now);
            if self.is_done("commit", &reference, offered).await? {
                return Some(());
            }
        }
    }

    /// Whether events that share an answer need not be offered again.
    async fn is_done(
        &mut self,
        op: &'static str,
        reference: &Reference,
        offered: OfferedTogether,
    ) -> Option<bool> {
        match offered {
            OfferedTogether::Accepted(items) => items.into_iter().for_each(|item| self.send(item)),
            OfferedTogether::Refused(refusal) => {
                self.refuse_control(&format!("\"{op}\""), reference, &refusal).await?;
            }
            OfferedTogether::Needs(shortage) => {
                self.wait(shortage).await?;
                return Some(false);
            }
        }
        Some(true)
    }

    async fn answer_transaction(
        &mut self,
        op: &'static str,
        tx: &str,
        reference: Reference,
        done: Result<(), Refusal>,
    ) -> Option<()> {
        if let Err(refusal) = done {
            return self.refuse_control(&format!("\"{op}\""), &reference, &refusal).await;
        }
        let mut line = Vec::new();
        answer::transaction(&mut line, op, tx, &reference);
        self.control(line).await
    }

    async fn refuse_control(
        &mut self,
        op: &str,
        reference: &Reference,
        refusal: &Refusal,
    ) -> Option<()> {
        let mut line = Vec::new();
        answer::control_refusal(&mut line, op, reference, refusal);
        self.control(line).await
    }

    async fn refuse(&mut self, reference: Reference, refusal: Refusal) -> Option<()> {
        let credit = self.credit(answer_bytes(&reference)).await?;
        self.intake.refuse(credit, reference, refusal);
        Some(())
    }

    async fn control(&mut self, line: Vec<u8>) -> Option<()> {
        let credit = self.credit(line.len()).await?;
        self.intake.answer(credit, line);
        Some(())
    }

    async fn credit(&mut self, bytes: usize) -> Option<Credit> {
        loop {
            match self.intake.credit(bytes) {
                Ok(credit) => return Some(credit),
                Err(shortage) => self.wait(shortage).await?,
            }
        }
    }

    /// Waits for what the intake is short of: one of the two waits of an event's trip.
    async fn wait(&mut self, shortage: Shortage) -> Option<()> {
        self.hand_over().await;
        let _held_up = self.shared.callers.hold_up();
        let for_bytes = matches!(shortage, Shortage::Bytes(_));
        let _waiting = for_bytes.then(|| self.shared.backpressure.wait());
        loop {
            let next_end = self.intake.next_end();
            tokio::select! {
                () = self.gone.cancelled() => return None,
                () = self.intake.wait(shortage) => break,
                () = at(next_end) => self.intake.expire(now()),
            }
        }
        self.clock.refresh(); // accepted now, after the wait
        self.shared.callers.heard(self.clock.now.instant);
        Some(())
    }

    /// Hands the lanes their groups, since what we wait for may be in them, and gives back the
    /// bytes that were taken in advance. To be called before every wait and after every read.
    async fn hand_over(&mut self) {
        self.intake.give_back();
        let bytes = std::mem::take(&mut self.accepted_bytes);
        self.shared.metrics.event_bytes_accepted(Input::Ndjson).increment(bytes);
        self.inlet.flush().await;
    }
}

/// An event of a batch, as the intake takes it.
fn member<'a>(event: &request::Member<'a>, place: u64, shared: &ConnectionShared) -> Member<'a> {
    let (reference, request) = event.of_batch(place)?;
    let (fingerprints, fresh_id) = (&shared.intake.fingerprints, shared.fresh_id);
    Ok(match request {
        Request::Record(record) => EventRequest::raw(record, reference, fingerprints, fresh_id),
        Request::Event(event) => EventRequest::new(event, reference, fingerprints, fresh_id),
        other => unreachable!("no control line is an event of a batch: {other:?}"),
    })
}

/// Ends then; never without a time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::inputs::http::{CloudEventsAs, HttpShared, Settings};
    use crate::inputs::metrics::ConnectionMetrics;
    use crate::inputs::shared::for_tests;
    use crate::inputs::socket::writer::Writer;
    use crate::telemetry::exporter::{Exporter, Sources};
    use dispatchd_producer::lane::Lanes;

    /// A connection with both its halves, its peer and its lane.
    struct Scene {
        reader: Reader,
        writer: Writer,
        visit: Visit,
        peer: UnixStream,
        inbox: mpsc::Receiver<Vec<BoxedItem>>,
        exporter: Exporter,
    }

    impl Scene {
        /// With room for so many unanswered requests.
        fn new(window: usize) -> Self {
            let (inbox_in, inbox) = mpsc::channel(8);
            let inputs = for_tests(Lanes::new(vec![inbox_in]));
            let exporter = Exporter::default();
            let metrics = Arc::new(exporter.register(ConnectionMetrics::register));
            let settings =
                Settings { listen: None, max_connections: 1, cloudevents: CloudEventsAs::TheyAre };
            let http = HttpShared::new(&settings, &inputs, &metrics);
            let visit = Visit::new(inputs.presence.clone());
            let shared = ConnectionShared::new(window, inputs, http, metrics);
            let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
            let (read, write) = ours.into_split();
            let gone = CancellationToken::new();
            let (reader, way_back) = Reader::new(read, gone.clone(), shared);
            let writer = Writer::new(write, way_back, gone);
            Self { reader, writer, visit, peer, inbox, exporter }
        }
    }

    #[tokio::test]
    async fn the_bytes_of_accepted_events_are_counted_and_those_of_refused_ones_are_not() {
        const LINES: &[u8] = b"{\"type\":\"t\",\"data\":{\"n\":1}}\n{\"data\":{}}\n\
                               {\"data_base64\":\"AAE=\",\"options\":{\"partitionKey\":\"k\"}}\n";
        let Scene { reader, writer: _writer, mut visit, mut peer, mut inbox, exporter } =
            Scene::new(8);
        peer.write_all(LINES).await.expect("there is room");
        drop(peer);
        reader.run(&mut visit).await;
        let mut items = Vec::new();
        while let Ok(group) = inbox.try_recv() {
            items.extend(group);
        }
        let bytes: usize = items.iter().map(|item| item.record.size()).sum();
        assert_eq!((items.len(), bytes > 100), (2, true), "two are accepted, in {bytes} bytes");
        let text = exporter.expose(Sources::idle()).render();
        let counted = format!("dispatchd_event_bytes_accepted_total{{input=\"ndjson\"}} {bytes}\n");
        assert!(text.contains(&counted), "{counted} is missing in\n{text}");
    }

    /// What could go wrong: a request that waits for a credit is forgotten or taken twice, or one
    /// that is refused ends the connection.
    #[tokio::test]
    async fn each_request_is_taken_and_answered_once_and_in_order_however_often_it_has_to_wait() {
        const REQUESTS: [(&str, &str); 12] = [
            (r#"{"type":"1","data":{}}"#, r#"{"ref":1,"ok":false"#),
            (
                r#"{"op":"batch","events":[{"type":"2","data":{}},{"type":"3","data":{}}]}"#,
                r#"{"op":"batch","ok":false"#,
            ),
            (r#"{"op":"commit","tx":"none"}"#, r#"{"op":"commit","ref":3,"ok":false"#),
            (r#"{"op":"begin","tx":"a"}"#, r#"{"op":"begin","tx":"a","ok":true"#),
            (r#"{"tx":"a","type":"4","data":{}}"#, r#"{"ref":5,"ok":true,"staged":true"#),
            (r#"{"tx":"a","type":"5","data":{}}"#, r#"{"ref":6,"ok":true,"staged":true"#),
            (r#"{"op":"commit","tx":"a"}"#, r#"{"op":"commit","tx":"a","ok":false"#),
            (r#"{"op":"rollback","tx":"none"}"#, r#"{"op":"rollback","ref":8,"ok":false"#),
            (r#"{"op":"hello"}"#, r#"{"op":"hello","ok":true"#),
            (r#"{"op":"flush"}"#, r#"{"op":"flush","ok":true"#),
            ("no JSON", r#"{"ref":11,"ok":false"#),
            (r#"{"type":"6","data":{}}"#, r#"{"ref":12,"ok":false"#),
        ];
        let Scene { reader, writer, mut visit, mut peer, mut inbox, .. } = Scene::new(1);
        for (line, _) in REQUESTS {
            peer.write_all(format!("{line}\n").as_bytes()).await.expect("there is room");
        }
        peer.shutdown().await.expect("it is connected");
        let mut types = Vec::new();
        // An item that is dropped is answered: nobody knows what became of it.
        let lane = async {
            while let Some(group) = inbox.recv().await {
                for item in group {
                    let event: Value =
                        serde_json::from_slice(&item.record.data).expect("it is JSON");
                    types.push(event["type"].clone());
                }
            }
        };
        tokio::join!(reader.run(&mut visit), writer.run(), lane);
        assert_eq!(types, ["1", "2", "3", "4", "5", "6"]);
        let mut answers = String::new();
        peer.read_to_string(&mut answers).await.expect("the writer has ended");
        assert_eq!(answers.lines().count(), REQUESTS.len(), "{answers}");
        for (answer, (line, begins)) in answers.lines().zip(REQUESTS) {
            assert!(answer.starts_with(begins), "{line} is answered {answer}");
        }
    }
}
