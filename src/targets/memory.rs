//! The most memory that a forwarder takes, as a sum that an operator can hold against the pod's
//! limit. It counts what grows with traffic, and never the program itself or the programs of
//! `exec`.

use std::fmt;

use dispatchd_consumer::{delivery, window};
use dispatchd_core::limits::MIB;
use dispatchd_core::wire::gzip::INFLATED_BYTES_MAX;

use super::exec::MESSAGES_BYTES_MAX;
use super::http::ANSWER_BYTES_MAX;
use super::settings::{Forward, Target};

/// Bytes that an event takes while it is inflated: what it grows in may have twice the room.
const INFLATING_BYTES: usize = 2 * INFLATED_BYTES_MAX;

/// The parts of the sum, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MemorySum {
    /// What was read and is not done: each target reads for itself.
    pub pages_bytes: usize,
    /// What the records of shards that are not done take besides their pages.
    pub records_bytes: usize,
    /// The bodies of requests in flight, and what is read of their answers.
    pub requests_bytes: usize,
    /// What programs were told and have not taken.
    pub messages_bytes: usize,
    /// What gzip compressed and a filter looks at: one event at a time in each thread.
    pub inflated_bytes: usize,
    targets: usize,
    shards: usize,
}

/// The sum for a stream with so many shards, whose records are of up to so many bytes, and so many
/// threads.
pub(crate) fn sum(
    forward: &Forward,
    record_bytes: usize,
    shards: usize,
    threads: usize,
) -> MemorySum {
    let targets = &forward.targets;
    let looks_at_data = targets.iter().any(Target::looks_at_data);
    MemorySum {
        pages_bytes: targets.len() * window::bytes_max(shards),
        records_bytes: targets.iter().map(|target| records(target, shards)).sum(),
        requests_bytes: targets.iter().map(|target| requests(target, record_bytes, shards)).sum(),
        messages_bytes: targets.iter().filter(|target| target.exec.is_some()).count()
            * shards
            * MESSAGES_BYTES_MAX,
        inflated_bytes: if looks_at_data { threads * INFLATING_BYTES } else { 0 },
        targets: targets.len(),
        shards,
    }
}

/// A program is told of the records of a page as they lie there.
fn records(target: &Target, shards: usize) -> usize {
    if target.exec.is_some() {
        return 0;
    }
    let (records, strands) = (target.batch_records(), target.parallelization);
    shards.saturating_mul(delivery::bytes_beside_pages_max(records, strands))
}

fn requests(target: &Target, record_bytes: usize, shards: usize) -> usize {
    if target.exec.is_some() {
        return 0;
    }
    let strands = shards.saturating_mul(target.parallelization);
    let in_flight = target.max_in_flight.unwrap_or_else(|| target.format.in_flight_default());
    let in_base64 = record_bytes.div_ceil(3) * 4;
    let body = match target.batch_records() {
        1 => in_base64,
        _ => target.batch_bytes.max(in_base64),
    };
    in_flight.min(strands) * (body + ANSWER_BYTES_MAX)
}

impl MemorySum {
    pub(crate) fn total_bytes(&self) -> usize {
        self.pages_bytes
            + self.records_bytes
            + self.requests_bytes
            + self.messages_bytes
            + self.inflated_bytes
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let inflated = match self.inflated_bytes {
            0 => String::new(),
            bytes => format!(" + {:.1} MiB to look into gzip", mib(bytes)),
        };
        write!(
            f,
            "{:.1} MiB of pages + {:.1} MiB of records in them + {:.1} MiB of requests in flight + \
             {:.1} MiB of messages to programs{inflated} = {:.1} MiB, for {} target{} and {} shard{}",
            mib(self.pages_bytes),
            mib(self.records_bytes),
            mib(self.requests_bytes),
            mib(self.messages_bytes),
            mib(self.total_bytes()),
            self.targets,
            plural(self.targets),
            self.shards,
            plural(self.shards),
        )
    }
}
