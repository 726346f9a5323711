//! Bytes → items: reads one connection, turns lines into events on their way, or turns them round.
//!
//! The two waits of an event's whole trip are here: for an answer's slot (with its room) and for
//! bytes of the budget. A line is offered without waiting; where it says what it lacks, the reader
//! waits for that and offers it again. While it waits it reads nothing, and the kernel makes the
//! caller wait. It never waits with a group of items in its hands.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, BufMut, BytesMut};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{SemaphorePermit, watch};
use tokio::task::yield_now;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Door;
use super::allowance::{Allowance, Lack};
use super::clock::{Clock, now};
use super::listener::Visit;
use super::long_lines::buffer_of;
use super::patience::Patience;
use super::slots::Slots;
use dispatchd_core::limits::{
    ANSWER_BYTES, ANSWER_ROOM_BYTES, ITEM_BYTES, LINE_BUFFER_BYTES, PARTIAL_LINE_TIMEOUT,
    line_bytes_max,
};
use dispatchd_core::model::StreamFacts;
use dispatchd_core::model::envelope::Draft;
use dispatchd_core::model::{Code, PartitionKey, Refusal};
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use dispatchd_core::wire::ndjson::reply;
use dispatchd_core::wire::ndjson::request::{self, Context, Event, Parsed, Ref, Request};
use dispatchd_producer::ack::{Answer, Duty, EventId, Outbox};
use dispatchd_producer::lane::{Inlet, Item};

/// What a connection gets that speaks HTTP.
const NO_HTTP: &[u8] =
    b"HTTP/1.1 501 Not Implemented\r\ncontent-type: text/plain\r\ncontent-length: 93\r\nconnection: close\r\n\r\n\
This version of dispatchd speaks newline-delimited JSON on this socket, see docs/protocol.md\n";

/// The read half of a connection, with all that an event needs to be accepted.
#[derive(Debug)]
pub(super) struct Reader {
    read: OwnedReadHalf,
    /// Told by the writer when the peer takes nothing.
    gone: CancellationToken,
    buf: BytesMut,
    splitter: Splitter,
    patience: Patience,
    clock: Clock,
    facts: watch::Receiver<StreamFacts>,
    /// What the stream takes and our memory carries, and whether the latter is less.
    record_bytes_max: usize,
    is_bound_by_memory: bool,
    context: Context,
    outbox: Arc<Outbox>,
    allowance: Allowance,
    /// The events since the last flush, and the number of that flush.
    epoch: u32,
    epoch_events: u64,
    /// Bytes of the records that the metrics have not heard of.
    accepted_bytes: u64,
    inlet: Inlet,
    door: Arc<Door>,
}

/// What came of waiting for bytes.
enum Input {
    Bytes,
    /// The peer has ended, or is gone: no input is left behind.
    End,
    /// We stop, or give the peer up: input may be left behind.
    Stop,
}

impl Reader {
    pub(super) fn new(
        read: OwnedReadHalf,
        outbox: Arc<Outbox>,
        slots: Slots,
        gone: CancellationToken,
        door: Arc<Door>,
    ) -> Self {
        let mut reader = Self {
            read,
            gone,
            buf: BytesMut::new(),
            splitter: Splitter::new(0),
            patience: Patience::new(),
            clock: Clock::read(),
            facts: door.facts.clone(),
            record_bytes_max: 0,
            is_bound_by_memory: false,
            context: Context::default(),
            outbox,
            allowance: Allowance::new(slots, door.budget.share()),
            epoch: 0,
            epoch_events: 0,
            accepted_bytes: 0,
            inlet: door.lanes.inlet(),
            door,
        };
        reader.set_limits();
        reader
    }

    /// Runs until the peer's end or ours. Gives the read half back where input may be left in it.
    pub(super) async fn run(mut self, visit: &mut Visit) -> Option<OwnedReadHalf> {
        let left = self.read_lines(visit).await;
        self.hand_over().await;
        left.then_some(self.read)
    }

    async fn read_lines(&mut self, visit: &mut Visit) -> bool {
        let door = Arc::clone(&self.door);
        let mut room: Option<SemaphorePermit<'_>> = None;
        let mut first = true;
        loop {
            if self.buf.len() > LINE_BUFFER_BYTES && room.is_none() {
                let line_bytes_max = line_bytes_max(self.record_bytes_max);
                let _held_up = door.callers.hold_up();
                room = Some(tokio::select! {
                    () = self.gone.cancelled() => return false,
                    () = door.stop_reading.cancelled() => return true,
                    room = door.long_lines.room(line_bytes_max) => room,
                });
                self.buf = buffer_of(line_bytes_max, &self.buf);
            }
            match self.fill().await {
                Input::Bytes => {}
                Input::End => return self.end().await,
                Input::Stop => return true,
            }
            if std::mem::take(&mut first) && self.buf[0].is_ascii_uppercase() {
                self.insist(|reader| reader.control(NO_HTTP.to_vec())).await;
                return true;
            }
            self.clock.refresh();
            door.callers.heard(self.clock.now);
            if room.is_none() {
                self.learn_limits(); // a line that has its room keeps the limit that it has it for
            }
            let mut buf = std::mem::take(&mut self.buf);
            while let Some(line) = self.splitter.next(&buf) {
                visit.sent_a_line();
                if self.insist(|reader| reader.take(line)).await.is_none() {
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
    async fn fill(&mut self) -> Input {
        loop {
            let unfinished = self.splitter.unfinished(&self.buf);
            match unfinished {
                Some(number) => self.patience.with_line(number),
                None => self.buf = BytesMut::new(), // an idle connection holds no buffer
            }
            let began = now();
            let readable = tokio::select! {
                biased; // bytes before the timer: after a pause of ours there are both
                () = self.door.stop_reading.cancelled() => return Input::Stop,
                () = self.gone.cancelled() => return Input::End,
                readable = self.read.readable() => Some(readable),
                () = tokio::time::sleep(self.patience.next_look()), if unfinished.is_some() => None,
            };
            if unfinished.is_some() {
                self.patience.waited(now() - began);
            }
            match readable {
                Some(Ok(())) => {}
                Some(Err(_)) => return Input::End,
                None if self.patience.is_over() => {
                    self.close_unfinished().await;
                    return Input::Stop;
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
                Poll::Ready(Ok(1..)) => return Input::Bytes,
                Poll::Ready(Ok(0) | Err(_)) => return Input::End, // its end, or reset by the peer
                Poll::Pending => {}
            }
        }
    }

    /// The peer let a line wait for too long. One that was too long has its answer already.
    async fn close_unfinished(&mut self) {
        let seconds = PARTIAL_LINE_TIMEOUT.as_secs();
        let late = format!("the line was not ended within {seconds} s: the connection is closed");
        self.refuse_unfinished(&Refusal::new(Code::InvalidRequest, late)).await;
    }

    async fn end(&mut self) -> bool {
        self.refuse_unfinished(&request::torn()).await;
        false
    }

    async fn refuse_unfinished(&mut self, refusal: &Refusal) {
        let Some(number) = self.splitter.torn(&self.buf) else { return };
        self.insist(|reader| reader.refuse(Ref::Line(number), refusal.clone())).await;
    }

    /// The stream's record limit may have been learnt since the last read.
    fn learn_limits(&mut self) {
        if self.facts.has_changed().unwrap_or(false) {
            self.set_limits();
        }
    }

    fn set_limits(&mut self) {
        // Of a stream that has not told its limit an event is tried that memory carries.
        let stream = self.facts.borrow_and_update().record_limit.unwrap_or(usize::MAX);
        let carried = self.door.record_bytes_carried;
        self.record_bytes_max = stream.min(carried);
        self.is_bound_by_memory = carried < stream;
        self.splitter.set_line_bytes_max(line_bytes_max(self.record_bytes_max));
    }

    /// Deals with one line, unless something lacks: then it is to be offered again.
    fn take(&mut self, line: Line<'_>) -> Result<(), Lack> {
        let (number, text) = match line {
            Line::Complete { number, text } => (number, text),
            Line::TooLong { number } => {
                let line_bytes_max = line_bytes_max(self.record_bytes_max);
                let too_long =
                    format!("the line is over {line_bytes_max} bytes, the longest that is read");
                let too_long = self.too_large(too_long);
                return self.refuse(Ref::Line(number), too_long);
            }
        };
        let Parsed { reference, op, request } = request::parse(text, number);
        match request {
            Ok(Request::Event(event)) => self.accept(reference, event),
            Err(refusal) => match op {
                Some(op) => {
                    let mut line = Vec::new();
                    reply::control_refusal(&mut line, op, &reference, &refusal);
                    self.control(line)
                }
                None => self.refuse(reference, refusal),
            },
            Ok(Request::Hello(context)) => {
                let mut line = Vec::new();
                reply::hello(&mut line, &reference, self.record_bytes_max);
                self.control(line)?;
                self.context = context;
                Ok(())
            }
            Ok(Request::Ping) => {
                let mut line = Vec::new();
                reply::done(&mut line, "ping", &reference);
                self.control(line)
            }
            Ok(Request::Flush) => {
                let room = self.allowance.slot(ANSWER_BYTES + reference.heap_bytes())?;
                self.outbox.send(Answer::Flush {
                    reference,
                    epoch: self.epoch,
                    events: self.epoch_events,
                    room,
                });
                self.epoch = self.epoch.wrapping_add(1);
                self.epoch_events = 0;
                Ok(())
            }
        }
    }

    fn accept(&mut self, reference: Ref, event: Event<'_>) -> Result<(), Lack> {
        let (id, event_id) = match event.id {
            Some(id) => (id, EventId::Chosen { id, said: self.door.fingerprints.of(event.said()) }),
            None => {
                let id = Uuid::new_v4();
                (id, EventId::Made(id))
            }
        };
        let own_key = || event.id.map_or_else(PartitionKey::random, PartitionKey::of_id);
        let draft = Draft {
            id,
            event_type: &event.event_type,
            data: event.data,
            timestamp: self.clock.timestamp,
            user_id: event.user_id.as_deref().or(self.context.user_id.as_deref()),
            producer_id: self.context.producer_id.as_deref().unwrap_or(&self.door.producer_id),
            key: event.key.unwrap_or_else(own_key),
            explicit_hash: event.explicit_hash,
        };
        let (sealed_bytes, key_bytes) = (draft.sealed_len(), draft.key.as_str().len());
        let (record_bytes, record_bytes_max) = (sealed_bytes + key_bytes, self.record_bytes_max);
        if record_bytes > record_bytes_max {
            let whose = if self.is_bound_by_memory {
                "this daemon's memory carries"
            } else {
                "the stream takes"
            };
            let too_large = self
                .too_large(format!("record is {record_bytes} bytes, {whose} {record_bytes_max}"));
            return self.refuse(reference, too_large);
        }
        if event.echo && sealed_bytes > ANSWER_ROOM_BYTES {
            return self.refuse(reference, echo_too_large(sealed_bytes));
        }
        let echo_bytes = if event.echo { sealed_bytes } else { 0 };
        let answer_bytes = ANSWER_BYTES + reference.heap_bytes() + key_bytes + echo_bytes;
        let (room, charge) =
            self.allowance.slot_and_bytes(answer_bytes, record_bytes + ITEM_BYTES)?;
        let record = draft.seal(sealed_bytes);
        self.accepted_bytes += record_bytes as u64;
        let ticket =
            self.duty(room, reference).ticket(event_id, self.clock.timestamp, event.echo, charge);
        self.inlet.add(Item::new(record, ticket, self.clock.now));
        Ok(())
    }

    /// Says whether it is the stream that takes no more, or what to raise here.
    fn too_large(&self, mut message: String) -> Refusal {
        if self.is_bound_by_memory {
            message += "; if the stream takes more, raise memory.budget and the container's memory limit of dispatchd";
        }
        Refusal::new(Code::EventTooLarge, message)
    }

    fn refuse(&mut self, reference: Ref, refusal: Refusal) -> Result<(), Lack> {
        let room = self.allowance.slot(ANSWER_BYTES + reference.heap_bytes())?;
        self.duty(room, reference).refuse(refusal);
        Ok(())
    }

    fn control(&mut self, line: Vec<u8>) -> Result<(), Lack> {
        let room = self.allowance.slot(line.len())?;
        self.outbox.send(Answer::Control { line, room });
        Ok(())
    }

    fn duty(&mut self, room: u32, reference: Ref) -> Duty {
        self.epoch_events += 1;
        Duty::new(Arc::clone(&self.outbox), reference, self.epoch, room)
    }

    /// Offers a line until nothing lacks. Nothing when the peer is given up and no line matters any
    /// more.
    async fn insist(&mut self, mut offer: impl FnMut(&mut Self) -> Result<(), Lack>) -> Option<()> {
        while let Err(lack) = offer(self) {
            self.hand_over().await;
            let held_up = self.door.callers.hold_up();
            tokio::select! {
                () = self.gone.cancelled() => return None,
                () = self.allowance.wait(lack) => {}
            }
            self.clock.refresh(); // accepted now, after the wait
            self.door.callers.heard(self.clock.now);
            drop(held_up);
        }
        Some(())
    }

    /// Before every wait, and after every read: the lanes get their groups, since what we wait for
    /// may be in them, and what was taken ahead goes back.
    async fn hand_over(&mut self) {
        self.allowance.give_back();
        let bytes = std::mem::take(&mut self.accepted_bytes);
        if bytes > 0 {
            self.door.metrics.event_bytes_accepted.increment(bytes);
        }
        self.inlet.flush().await;
    }
}

/// Answers have a room of their own, whatever the stream takes: an echo would hold as much again
/// until it is read.
fn echo_too_large(bytes: usize) -> Refusal {
    let message = format!(
        "options.echo of an envelope of {bytes} bytes: it takes at most {ANSWER_ROOM_BYTES}. Send it without echo"
    );
    Refusal::new(Code::InvalidRequest, message)
}
