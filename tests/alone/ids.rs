//! What it costs to remember the ids that callers chose. In a process of its own, with the daemon's
//! allocator: what is resident is the window's.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dispatchd_core::limits::DEDUPE_BYTES_PER_ID;
use dispatchd_core::model::envelope::Timestamp;
use dispatchd_core::model::{Fingerprints, Outcome, PartitionKey, Place, Record};
use dispatchd_core::wire::ndjson::request::Ref;
use dispatchd_producer::ack::{Books, Duty, EventId, Outbox};
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::Item;
use dispatchd_producer::lane::dedupe::{Dedupe, Met, Window};
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
    let (outbox, mut answers) = Outbox::new(Arc::<Books>::default());
    let (share, fingerprints, now) =
        (Budget::new(1 << 20).share(), Fingerprints::default(), Instant::now());
    let meet = |n: usize, dedupe: &mut Dedupe| {
        let record = Record::new(
            PartitionKey::new("customer-9").expect("it is short"),
            None,
            Bytes::from_static(b"{}"),
        );
        let duty = Duty::new(Arc::clone(&outbox), Ref::Line(1), 0, 0);
        let id = EventId::Chosen { id: Uuid::new_v4(), said: fingerprints.of(n) };
        let charge = share.try_take(100).expect("one is there at a time");
        dedupe.meet(
            Item::new(
                record,
                duty.ticket(id, Timestamp::from_unix_ms(n as u64), false, charge),
                now,
            ),
            now,
        )
    };
    for n in 0..ids {
        let Met::New(item) = meet(n, dedupe) else { panic!("its id is known") };
        let place = Place {
            shard_id: format!("shardId-{:012}", n % 4).into(),
            sequence_number: format!("49681234567890123456789012345678901234567890{n:012}").into(),
            sub_sequence_number: None,
        };
        assert!(dedupe.settle(&item, &Outcome::Durable(place), now).is_none());
        drop(item);
        while answers.try_recv().is_ok() {}
    }
}

#[test]
fn an_id_that_is_remembered_takes_no_more_memory_than_is_reckoned_while_the_window_grows_too() {
    fill(&mut Dedupe::new(Window { ids_max: 1, keep_for: Duration::MAX }), 1000); // what the test itself takes
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
