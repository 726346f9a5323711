//! What it costs to remember the ids that callers chose. In a process of its own, with the daemon's
//! allocator: what is resident is the window's.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dispatchd_core::limits::{ANSWERS_BYTES_MAX, DEDUPE_BYTES_PER_ID};
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{Fingerprints, Outcome, PartitionKey, Position, Record, Reference};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::credit::CreditTotal;
use dispatchd_producer::intake::{EventRequest, IntakeShared, Now, Offered};
use dispatchd_producer::lane::dedupe::{Admission, Dedupe, Window};
use dispatchd_producer::ticket::{Answer, EventId};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that are resident now, and the most since [`forget_the_most`].
fn resident_bytes(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).expect("so does every process");
    1024 * line
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse::<usize>()
        .expect("a number of KiB")
}

fn forget_the_most() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may look at itself");
}

/// Sends events with ids of their callers' through a window until it is full, and sends one of them
/// again.
fn fill(dedupe: &mut Dedupe, ids: usize) {
    let shared = Arc::new(IntakeShared {
        producer_id: "app@host".into(),
        envelopes: Default::default(),
        transaction: Default::default(),
        answers_max: 1,
        answer_bytes_max: ANSWERS_BYTES_MAX,
        record_bytes_carried: 1 << 20,
        budget: Budget::new(1 << 20),
        counters: Arc::default(),
        fingerprints: Fingerprints::default(),
        checks: Default::default(),
    });
    let (mut intake, mut way_back) = shared.open(None);
    let now = Instant::now();
    let mut admit = |n: usize, dedupe: &mut Dedupe| {
        let key = PartitionKey::new("customer-9").expect("it is short");
        let record = Record::new(key, None, Bytes::from_static(b"{}"));
        let id = EventId::Chosen { id: Uuid::new_v4(), said: shared.fingerprints.of(n) };
        let timestamp = Timestamp::from_unix_ms(n as u64);
        let mut request = EventRequest::sealed(record, Reference::Number(1), id);
        match intake.offer(&mut request, &Now { instant: now, timestamp }) {
            Offered::Accepted(item) => dedupe.admit(item, now),
            other => panic!("one is there at a time: {other:?}"),
        }
    };
    for n in 0..ids {
        let Admission::New(item) = admit(n, dedupe) else { panic!("its id is known") };
        let position = Position {
            shard_id: format!("shardId-{:012}", n % 4).into(),
            sequence_number: format!("49681234567890123456789012345678901234567890{n:012}").into(),
            sub_sequence_number: None,
        };
        assert!(dedupe.close(&item, &Outcome::Durable(position), now).is_none());
        drop(item);
        let mut written = CreditTotal::default();
        while let Ok(answers) = way_back.answers.try_recv() {
            for answer in answers {
                let Answer::Event { credit, .. } = answer else { panic!("{answer:?}") };
                written.add(credit);
            }
        }
        way_back.credits.give_back(written);
    }
}

#[test]
fn an_id_that_is_remembered_takes_no_more_memory_than_is_reckoned_while_the_window_grows_too() {
    // What the test itself takes.
    fill(&mut Dedupe::new(Window { ids_max: 1, keep_for: Duration::MAX }), 1000);
    // Tables that have just doubled: that is when an id costs most.
    for ids in [120_000, 60_000] {
        let (before, mut dedupe) = (
            resident_bytes("VmRSS:"),
            Dedupe::new(Window { ids_max: ids, keep_for: Duration::MAX }),
        );
        forget_the_most();
        fill(&mut dedupe, ids);
        let per_id = |bytes: usize| bytes.saturating_sub(before) as f64 / ids as f64;
        let (now, most) = (per_id(resident_bytes("VmRSS:")), per_id(resident_bytes("VmHWM:")));
        println!("{ids} ids: {now:.1} bytes each, {most:.1} at most");
        assert!(now > 80.0, "{now} bytes an id: they are not all remembered");
        assert!(most <= DEDUPE_BYTES_PER_ID as f64, "{most} bytes an id");
        fill(&mut dedupe, ids); // others in their place
        let again = per_id(resident_bytes("VmHWM:"));
        println!("{ids} others: {again:.1} at most");
        assert!(
            again <= DEDUPE_BYTES_PER_ID as f64,
            "{again} bytes an id, once the first are forgotten"
        );
        drop(dedupe);
        dispatchd::heap::give_back();
    }
}
