//! The trip of an event through the pure parts, step by step, with the stream's word made up: as
//! the reader, the lane and the writer do it, without sockets, tasks and the SDK.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::envelope::{Draft, Timestamp};
use dispatchd_core::model::{Fingerprints, PartitionKey};
use dispatchd_core::model::{StreamFacts, Verdict};
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use dispatchd_core::wire::ndjson::reply;
use dispatchd_core::wire::ndjson::request::{self, Event, Request};
use dispatchd_producer::ack::{Answer, Body, Books, Duty, EventId, Outbox, Returning};
use dispatchd_producer::budget::{Ahead, Budget, Share};
use dispatchd_producer::lane::Batch;
use dispatchd_producer::lane::Settled;
use dispatchd_producer::lane::buffer::{Buffer, Poll};
use dispatchd_producer::lane::{Aggregation, KeyOrder};
use dispatchd_producer::lane::{Group, Item, Settings};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Events on the way at once: what a request holds.
pub(crate) const GROUP: usize = 500;

/// As AWS writes them.
pub(crate) const SEQUENCE_NUMBER: &str = "49681234567890123456789012345678901234567890123456789012";

/// A connection and its lane, in the hands of one caller.
pub(crate) struct Path {
    splitter: Splitter,
    outbox: Arc<Outbox>,
    answers: mpsc::UnboundedReceiver<Vec<Answer>>,
    share: Arc<Share>,
    ahead: Ahead,
    buffer: Buffer,
    rng: SmallRng,
    now: Instant,
    timestamp: Timestamp,
    printed: Vec<u8>,
    /// If callers choose ids.
    fingerprints: Option<Fingerprints>,
}

impl Path {
    pub(crate) fn new() -> Self {
        let settings = Settings {
            linger: Duration::ZERO,
            max_records: GROUP,
            max_bytes: 10 << 20,
            max_in_flight: 1,
            ordering: KeyOrder::Strict,
            aggregation: Aggregation::Off,
            aggregate_max_bytes: 50 << 10,
            timeout: Duration::from_secs(120),
            backoff: Backoff { min: Duration::from_millis(50), max: Duration::from_secs(5) },
        };
        let (outbox, answers) = Outbox::new(Arc::<Books>::default());
        // As a lane is once the stream was described.
        let mut buffer = Buffer::new(settings);
        buffer.learn(
            StreamFacts { record_limit: Some(1 << 20), ..StreamFacts::unknown(None) },
            Instant::now(),
        );
        Self {
            splitter: Splitter::new(1 << 20),
            outbox,
            answers,
            share: Budget::new(64 << 20).share(),
            ahead: Ahead::default(),
            buffer,
            rng: SmallRng::seed_from_u64(7),
            now: Instant::now(),
            timestamp: Timestamp::from_unix_ms(1_795_210_449_335),
            printed: Vec::new(),
            fingerprints: None,
        }
    }

    /// As if callers had chosen the ids.
    #[allow(dead_code)] // not every bench has such callers
    pub(crate) fn with_chosen_ids() -> Self {
        Self { fingerprints: Some(Fingerprints::default()), ..Self::new() }
    }

    /// Lines → items.
    pub(crate) fn accept(&mut self, bytes: &mut BytesMut) -> Group {
        let mut items = Vec::new();
        while let Some(line) = self.splitter.next(bytes) {
            let Line::Complete { number, text } = line else { panic!("a line is too long") };
            let parsed = request::parse(text, number);
            let Ok(Request::Event(event)) = parsed.request else { panic!("a line is no event") };
            let draft = draft(event, self.timestamp);
            let sealed_len = draft.sealed_len();
            let charge = self.ahead.try_take(&self.share, sealed_len).expect("an event fits");
            let id = match &self.fingerprints {
                None => EventId::Made(draft.id),
                Some(fingerprints) => {
                    EventId::Chosen { id: draft.id, said: fingerprints.of(draft.event_type) }
                }
            };
            let duty = Duty::new(Arc::clone(&self.outbox), parsed.reference, 0, 0);
            items.push(Item::new(
                draft.seal(sealed_len),
                duty.ticket(id, self.timestamp, false, charge),
                self.now,
            ));
        }
        bytes.advance(self.splitter.take_split());
        items
    }

    pub(crate) fn push(&mut self, items: Group) {
        items.into_iter().for_each(|item| self.buffer.push(item));
    }

    pub(crate) fn poll(&mut self) -> Batch {
        match self.buffer.poll(self.now) {
            Poll::Send(batch) => batch,
            Poll::Late(_) | Poll::Wait(_) => panic!("nothing is due"),
        }
    }

    /// As if every record were stored.
    pub(crate) fn settle(&mut self, batch: Batch, verdicts: Vec<Verdict>) -> Settled {
        self.buffer.apply_verdicts(batch, Ok(verdicts), self.now, &mut self.rng)
    }

    pub(crate) fn answer(&mut self, settled: Settled) {
        let mut returning = Returning::default();
        for done in settled.answers {
            returning.answer(done.item.ticket, done.item.record, done.outcome);
        }
    }

    /// Answers → bytes. Says how many acks were printed.
    pub(crate) fn print(&mut self) -> usize {
        self.printed.clear();
        let mut acks = 0;
        while let Ok(answers) = self.answers.try_recv() {
            for answer in answers {
                let Answer::Event { reference, body: Body::Durable(ack), .. } = answer else {
                    panic!("no ack: {answer:?}")
                };
                reply::ack(&mut self.printed, &reference, &ack);
                acks += 1;
            }
        }
        acks
    }
}

/// What the reader makes of an event before it is sealed.
pub(crate) fn draft(event: Event<'_>, timestamp: Timestamp) -> Draft<'_> {
    // The id of a draft outlives its event, its type does not: a benched event has a plain type.
    let std::borrow::Cow::Borrowed(event_type) = event.event_type else {
        panic!("the type has escapes")
    };
    Draft {
        id: Uuid::new_v4(),
        event_type,
        data: event.data,
        timestamp,
        user_id: None,
        producer_id: "orders@pod-7f9c",
        key: event.key.unwrap_or_else(PartitionKey::random),
        explicit_hash: event.explicit_hash,
    }
}

/// The stream's word on a whole request.
pub(crate) fn verdicts(count: usize) -> Vec<Verdict> {
    let stored = || Verdict::Stored {
        shard_id: "shardId-000000000000".into(),
        sequence_number: SEQUENCE_NUMBER.into(),
    };
    (0..count).map(|_| stored()).collect()
}
