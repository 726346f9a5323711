//! The most memory that a forwarder takes, as a sum that an operator can hold against the pod's
//! limit. It counts what grows with traffic, and never the program itself or the programs of
//! `exec`.

use std::fmt;

use dispatchd_consumer::window;
use dispatchd_core::limits::MIB;

use super::exec::MESSAGES_BYTES_MAX;
use super::http::ANSWER_BYTES_MAX;
use super::settings::{Forward, Target};

/// The parts of the sum, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MemorySum {
    /// What was read and is not done: each target reads for itself.
    pub pages_bytes: usize,
    /// The bodies of requests in flight, and what is read of their answers.
    pub requests_bytes: usize,
    /// What programs were told and have not taken.
    pub messages_bytes: usize,
    targets: usize,
    shards: usize,
}

/// The sum for a stream with so many shards, whose records are of up to so many bytes.
pub(crate) fn sum(forward: &Forward, record_bytes: usize, shards: usize) -> MemorySum {
    let targets = &forward.targets;
    MemorySum {
        pages_bytes: targets.len() * window::bytes_max(shards),
        requests_bytes: targets.iter().map(|target| requests(target, record_bytes, shards)).sum(),
        messages_bytes: targets.iter().filter(|target| target.exec.is_some()).count()
            * shards
            * MESSAGES_BYTES_MAX,
        targets: targets.len(),
        shards,
    }
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
        self.pages_bytes + self.requests_bytes + self.messages_bytes
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{:.1} MiB of pages + {:.1} MiB of requests in flight + {:.1} MiB of messages to programs \
             = {:.1} MiB, for {} target{} and {} shard{}",
            mib(self.pages_bytes),
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
