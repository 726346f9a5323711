//! What the tests of the lane's rooms share: a lane's buffer with a clock in milliseconds, events
//! with names, replies. It asserts nothing but that a helper is used as it is meant.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use uuid::Uuid;

use super::apply_verdicts::Settled;
use super::batch::Batch;
use super::buffer::{Buffer, Poll};
use super::item::BoxedItem;
use super::settings::{Aggregation, KeyOrder, Settings};
use crate::budget::Budget;
use crate::intake::{EventRequest, Intake, IntakeShared, Now, Offered, WayBack};
use crate::ticket::EventId;
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::shard_map::Shard;
use dispatchd_core::model::{
    Class, Fingerprints, HashKey, Outcome, PartitionKey, Record, Reference,
};
use dispatchd_core::model::{Distribution, PutError, ShardMap, StreamFacts, Verdict};

/// A buffer in a test's hands.
pub(super) struct Kit {
    pub buffer: Buffer,
    start: Instant,
    rng: SmallRng,
    /// What a test's helpers share, and they only look at the kit.
    intake: RefCell<Intake>,
    _back: WayBack,
    /// Events pushed so far.
    pushed: u128,
    fingerprints: Fingerprints,
}

/// Linger 10 ms, 4 records, 1000 bytes, 8 flights, strict, 1 s, back-off of exactly 100 ms.
pub(super) fn settings() -> Settings {
    Settings {
        linger: ms(10),
        max_records: 4,
        max_bytes: 1000,
        max_in_flight: 8,
        ordering: KeyOrder::Strict,
        aggregation: Aggregation::Off,
        aggregate_max_bytes: 500,
        timeout: ms(1000),
        backoff: Backoff { min: ms(100), max: ms(100) },
    }
}

pub(super) fn relaxed() -> Settings {
    Settings { ordering: KeyOrder::Relaxed, ..settings() }
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Kit {
    pub(super) fn new(settings: Settings) -> Self {
        let shared = IntakeShared {
            producer_id: "test".into(),
            envelopes: Default::default(),
            transaction: Default::default(),
            answers_max: usize::MAX,
            answer_bytes_max: 1 << 30,
            record_bytes_carried: usize::MAX,
            budget: Budget::new(1 << 30),
            counters: Arc::default(),
            fingerprints: Fingerprints::default(),
            checks: Default::default(),
        };
        let (intake, _back) = Arc::new(shared).open(None);
        Self {
            buffer: Buffer::new(settings),
            start: Instant::now(),
            rng: SmallRng::seed_from_u64(7),
            intake: RefCell::new(intake),
            _back,
            pushed: 0,
            fingerprints: Fingerprints::default(),
        }
    }

    /// A lane with two shards, 0 and 1: the lower and the upper half of the ring.
    pub(super) fn with_two_shards(settings: Settings) -> Self {
        let mut kit = Self::new(settings);
        let start = kit.start;
        kit.buffer.learn(facts(Some(shards(&[0, 1 << 127]))), start);
        kit
    }

    pub(super) fn at(&self, after_ms: u64) -> Instant {
        self.start + ms(after_ms)
    }

    /// Events of one key, accepted and pushed at this time.
    pub(super) fn push(&mut self, at_ms: u64, key: &str, names: &[&str]) {
        names.iter().for_each(|name| self.push_record(at_ms, key, name.as_bytes(), None));
    }

    /// An event that is to be given up at the deadline.
    pub(super) fn push_until(&mut self, at_ms: u64, key: &str, name: &str, deadline_ms: u64) {
        self.pushed += 1;
        let id = EventId::Made(Uuid::from_u128(self.pushed));
        let mut item = self.item(self.at(at_ms), key, name.as_bytes(), None, id);
        item.deadline = Some(self.at(deadline_ms));
        self.buffer.push(item);
    }

    /// An event for this shard of two.
    pub(super) fn push_to(&mut self, shard: u8, at_ms: u64, key: &str, name: &str) {
        self.push_record(at_ms, key, name.as_bytes(), Some(HashKey(u128::from(shard) << 127)));
    }

    /// An event that counts this many bytes, its name first.
    pub(super) fn push_bytes(&mut self, at_ms: u64, key: &str, name: &str, bytes: usize) {
        let mut data = vec![b' '; bytes - key.len()];
        data[..name.len()].copy_from_slice(name.as_bytes());
        self.push_record(at_ms, key, &data, None);
    }

    /// An event that is not pushed, with an id that its caller chose.
    pub(super) fn item_with_id(&self, id: u128) -> BoxedItem {
        self.item_that_says(id, "one event")
    }

    /// An event that is not pushed, with an id that its caller chose and what it said.
    pub(super) fn item_that_says(&self, id: u128, said: &str) -> BoxedItem {
        let id = EventId::Chosen { id: Uuid::from_u128(id), said: self.fingerprints.of(said) };
        self.item(self.start, "key", b"{}", None, id)
    }

    /// An event that is not pushed, of this key.
    pub(super) fn item_of(&self, id: u128, key: &str) -> BoxedItem {
        self.item(self.start, key, b"{}", None, EventId::Made(Uuid::from_u128(id)))
    }

    pub(super) fn item_without_id(&self) -> BoxedItem {
        self.item(self.start, "key", b"{}", None, EventId::Made(Uuid::nil()))
    }

    /// An event that is not pushed and counts this many bytes.
    pub(super) fn item_of_bytes(&self, key: &str, bytes: usize) -> BoxedItem {
        let id = EventId::Made(Uuid::nil());
        self.item(self.start, key, &vec![b' '; bytes - key.len()], None, id)
    }

    fn push_record(&mut self, at_ms: u64, key: &str, data: &[u8], explicit_hash: Option<HashKey>) {
        self.pushed += 1;
        let id = EventId::Made(Uuid::from_u128(self.pushed));
        let item = self.item(self.at(at_ms), key, data, explicit_hash, id);
        self.buffer.push(item);
    }

    fn item(
        &self,
        accepted: Instant,
        key: &str,
        data: &[u8],
        explicit_hash: Option<HashKey>,
        id: EventId,
    ) -> BoxedItem {
        let key = PartitionKey::new(key).expect("a test's key is short");
        let record = Record::new(key, explicit_hash, Bytes::copy_from_slice(data));
        let mut request = EventRequest::sealed(record, Reference::Number(1), id);
        let now = Now { instant: accepted, timestamp: Timestamp::from_unix_ms(0) };
        match self.intake.borrow_mut().offer(&mut request, &now) {
            Offered::Accepted(item) => item,
            other => panic!("a test has few and small events: {other:?}"),
        }
    }

    /// What is sent now; `None` where nothing is.
    pub(super) fn poll(&mut self, at_ms: u64) -> Option<Batch> {
        match self.buffer.poll(self.at(at_ms)) {
            Poll::Send(batch) => Some(batch),
            Poll::Wait(_) => None,
            Poll::Late(late) => panic!(
                "{:?} are late",
                late.iter().map(|item| name(&item.record)).collect::<Vec<_>>()
            ),
        }
    }

    /// The names of what is answered now, since it would be late if it were sent.
    pub(super) fn late(&mut self, at_ms: u64) -> Vec<String> {
        match self.buffer.poll(self.at(at_ms)) {
            Poll::Late(late) => late.iter().map(|item| name(&item.record)).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// What is sent now.
    pub(super) fn send(&mut self, at_ms: u64) -> Batch {
        self.poll(at_ms).expect("something is due")
    }

    /// Until when the lane waits, in milliseconds; `None` where it waits for an event.
    pub(super) fn waits_until(&mut self, at_ms: u64) -> Option<u64> {
        match self.buffer.poll(self.at(at_ms)) {
            Poll::Send(batch) => panic!("{:?} is sent", names(&batch)),
            Poll::Late(late) => panic!("{late:?} are late"),
            Poll::Wait(until) => until.map(|until| millis(until - self.start)),
        }
    }

    pub(super) fn land(&mut self, at_ms: u64, batch: Batch, verdicts: Vec<Verdict>) -> Settled {
        let now = self.at(at_ms);
        self.buffer.apply_verdicts(batch, Ok(verdicts), now, &mut self.rng)
    }

    pub(super) fn land_stored(&mut self, at_ms: u64, batch: Batch) -> Settled {
        let verdicts = vec![stored(); batch.len()];
        self.land(at_ms, batch, verdicts)
    }

    pub(super) fn land_error(
        &mut self,
        at_ms: u64,
        batch: Batch,
        class: Class,
        message: &str,
    ) -> Settled {
        let (code, message) = ("Code".to_owned(), message.to_owned());
        let error = PutError {
            class,
            cause: class.into(),
            code,
            message,
            maybe_stored: class == Class::Transient,
        };
        let now = self.at(at_ms);
        self.buffer.apply_verdicts(batch, Err(error), now, &mut self.rng)
    }

    /// The names of what a sweep finds overdue now.
    pub(super) fn expire(&mut self, at_ms: u64) -> Vec<String> {
        let mut expired: Vec<_> =
            self.expired(at_ms).iter().map(|item| name(&item.record)).collect();
        expired.sort(); // keys expire in no order
        expired
    }

    pub(super) fn expired(&mut self, at_ms: u64) -> Vec<BoxedItem> {
        let now = self.at(at_ms);
        self.buffer.expire(now)
    }
}

/// A stream with these shards.
pub(super) fn facts(shards: Option<Arc<ShardMap>>) -> StreamFacts {
    StreamFacts { shards, record_limit: Some(1000), distribution: Distribution::ByKey }
}

/// Shards named by their place in the map, which begin at these positions.
pub(super) fn shards(firsts: &[u128]) -> Arc<ShardMap> {
    let shards =
        firsts.iter().enumerate().map(|(n, &first)| Shard { id: n.to_string(), first }).collect();
    Arc::new(ShardMap::new(shards).expect("a test's stream has shards"))
}

pub(super) fn stored() -> Verdict {
    stored_in("0")
}

pub(super) fn stored_in(shard_id: &str) -> Verdict {
    Verdict::Stored { shard_id: shard_id.into(), sequence_number: "1".into() }
}

pub(super) fn failed(class: Class) -> Verdict {
    Verdict::Failed { class, code: "Code".to_owned(), message: "words".to_owned() }
}

pub(super) fn names(batch: &Batch) -> Vec<String> {
    batch.records().map(name).collect()
}

/// The names of what was answered, each with whether it was acked.
pub(super) fn answers(settled: &Settled) -> Vec<(String, bool)> {
    let answers = settled.answers.iter();
    answers.map(|a| (name(&a.item.record), matches!(a.outcome, Outcome::Durable { .. }))).collect()
}

fn name(record: &Record) -> String {
    String::from_utf8_lossy(&record.data).trim_end().to_owned()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a test is short")
}
