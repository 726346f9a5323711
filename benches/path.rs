//! The trip of an event through the pure parts as they ship, step by step, with the stream's word
//! made up: without sockets, tasks and the SDK.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use dispatchd_core::limits::ANSWERS_BYTES_MAX;
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{EventAnswer, Fingerprints, StreamFacts, Verdict};
use dispatchd_core::wire::ndjson::answer;
use dispatchd_core::wire::ndjson::lines::{Line, Splitter};
use dispatchd_core::wire::ndjson::request::{self, Request};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::credit::CreditTotal;
use dispatchd_producer::intake::{EventRequest, Intake, IntakeShared, Now, Offered, WayBack};
use dispatchd_producer::lane::dedupe::{Dedupe, Window};
use dispatchd_producer::lane::metrics::{LaneMetrics, OldestEvent};
use dispatchd_producer::lane::{
    Aggregation, Batch, Group, KeyOrder, Landed, Lane, LaneShared, Settings,
};
use dispatchd_producer::ticket::Answer;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use uuid::Uuid;

/// Events on the way at once: what a request holds.
pub(crate) const GROUP: usize = 500;

/// A sequence number as AWS writes them.
pub(crate) const SEQUENCE_NUMBER: &str = "49681234567890123456789012345678901234567890123456789012";

/// A connection and its lane, in the hands of one caller.
pub(crate) struct Path {
    splitter: Splitter,
    shared: Arc<IntakeShared>,
    intake: Intake,
    way_back: WayBack,
    lane: Lane,
    rng: SmallRng,
    now: Now,
    printed: Vec<u8>,
    callers_choose_ids: bool,
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
        let record_limit = Some(1 << 20);
        let shared = Arc::new(IntakeShared {
            producer_id: "orders@pod-7f9c".into(),
            envelopes: Default::default(),
            transaction: Default::default(),
            answers_max: 2 * GROUP,
            answer_bytes_max: ANSWERS_BYTES_MAX,
            record_bytes_carried: 10 << 20,
            budget: Budget::new(64 << 20),
            counters: Arc::default(),
            fingerprints: Fingerprints::default(),
            checks: Default::default(),
        });
        let (intake, way_back) = shared.open(record_limit);
        let instant = Instant::now();
        // As a lane is once the stream was described.
        let window = Window { ids_max: 300_000, keep_for: Duration::from_secs(300) };
        let lanes = LaneShared {
            dedupe: Arc::new(Mutex::new(Dedupe::new(window))),
            metrics: Arc::new(LaneMetrics::register()),
            budget: Arc::clone(&shared.budget),
            outage: Arc::default(),
        };
        let mut lane = Lane::new(settings, lanes, OldestEvent::new(instant));
        lane.learn(StreamFacts { record_limit, ..StreamFacts::unknown(None) }, instant);
        Self {
            splitter: Splitter::new(1 << 20),
            shared,
            intake,
            way_back,
            lane,
            rng: SmallRng::seed_from_u64(7),
            now: Now { instant, timestamp: Timestamp::from_unix_ms(1_795_210_449_335) },
            printed: Vec::new(),
            callers_choose_ids: false,
        }
    }

    /// A path as if callers had chosen the ids.
    #[allow(dead_code)] // not every bench has such callers
    pub(crate) fn with_chosen_ids() -> Self {
        Self { callers_choose_ids: true, ..Self::new() }
    }

    /// Lines → items: what the reader does with what one read brought.
    pub(crate) fn accept(&mut self, bytes: &mut BytesMut) -> Group {
        let mut items = Vec::new();
        while let Some(line) = self.splitter.next(bytes) {
            let Line::Complete { number, text } = line else { panic!("a line is too long") };
            let parsed = request::parse(text, number);
            let Ok(Request::Event(mut event)) = parsed.request else {
                panic!("a line is no event")
            };
            if self.callers_choose_ids {
                event.id = Some(Uuid::new_v4());
            }
            let fingerprints = &self.shared.fingerprints;
            let mut request =
                EventRequest::new(event, parsed.reference, fingerprints, Uuid::new_v4);
            match self.intake.offer(&mut request, &self.now) {
                Offered::Accepted(item) => items.push(item),
                other => panic!("an event fits: {other:?}"),
            }
        }
        bytes.advance(self.splitter.take_split());
        self.intake.give_back();
        items
    }

    /// Items → the lane's queues.
    pub(crate) fn take_in(&mut self, items: Group) {
        self.lane.take_in(items, self.now.instant);
    }

    /// Queues → a batch.
    pub(crate) fn send(&mut self) -> Batch {
        let mut sent = None;
        self.lane.turn(self.now.instant, |batch| sent = Some(batch));
        sent.expect("a full request is due")
    }

    /// A batch that is home, as if every record were stored → answers in the outbox.
    pub(crate) fn land(&mut self, batch: Batch, verdicts: Vec<Verdict>) {
        let landed = Landed { batch, reply: Ok(verdicts), took: Duration::ZERO };
        self.lane.land(landed, self.now.instant, &mut self.rng);
        self.lane.turn(self.now.instant, |batch| panic!("nothing else is due: {batch:?}"));
    }

    /// Answers → bytes. Says how many acks were printed.
    pub(crate) fn print(&mut self) -> usize {
        self.printed.clear();
        let (mut acks, mut written) = (0, CreditTotal::default());
        while let Ok(answers) = self.way_back.answers.try_recv() {
            for answer in &answers {
                let Answer::Event { reference, answer: told, credit, .. } = answer else {
                    panic!("no answer to an event: {answer:?}")
                };
                assert!(matches!(told, EventAnswer::Durable(_)), "no ack: {answer:?}");
                answer::event(&mut self.printed, reference, told);
                written.add(*credit);
                acks += 1;
            }
        }
        self.way_back.credits.give_back(written);
        acks
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
