//! Instructions of an event's trip, for callgrind: what wall time cannot say on a shared machine.
//!
//! `benches/check-instructions` runs it and compares with the committed counts. Each step is a
//! function that is never inlined, so that callgrind can name it; what they do is deterministic but
//! for the seeds of hash maps.

mod path;

use bytes::BytesMut;
use dispatchd_core::model::Verdict;
use dispatchd_producer::lane::{Batch, Group};
use testkit::orders;

use crate::path::{GROUP, Path, verdicts};

const KEYS: usize = 10_000;

/// `instructions DATA_BYTES GROUPS`: so many groups of 500 events.
fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let [data_bytes, groups] = numbers[..] else { return }; // not run by benches/check-instructions
    let data = orders::data(data_bytes);
    let lines = |group: usize| -> String {
        (0..GROUP).map(|n| orders::line(&data, (group * GROUP + n) % KEYS)).collect()
    };
    let mut path = Path::new();
    for group in 0..groups {
        let (mut bytes, verdicts) = (BytesMut::from(&*lines(group)), verdicts(GROUP));
        let items = accept(&mut path, &mut bytes);
        take_in(&mut path, items);
        let batch = send(&mut path);
        land(&mut path, batch, verdicts);
        assert_eq!(print(&mut path), GROUP, "every event is acked");
    }
}

#[inline(never)]
fn accept(path: &mut Path, bytes: &mut BytesMut) -> Group {
    path.accept(bytes)
}

#[inline(never)]
fn take_in(path: &mut Path, items: Group) {
    path.take_in(items);
}

#[inline(never)]
fn send(path: &mut Path) -> Batch {
    path.send()
}

#[inline(never)]
fn land(path: &mut Path, batch: Batch, verdicts: Vec<Verdict>) {
    path.land(batch, verdicts);
}

#[inline(never)]
fn print(path: &mut Path) -> usize {
    path.print()
}
