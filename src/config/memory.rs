//! The most memory that a configuration can take, as a sum that an operator can hold against the
//! pod's limit. It counts what grows with traffic, and never the program itself or what the
//! allocator rounds up.

use std::fmt;

use dispatchd_core::limits::{
    ANSWERS_BYTES_MAX, DEDUPE_BYTES_PER_ID, LINE_BUFFER_BYTES, MIB, PUT_BODY_BYTES_MAX,
    RECORD_BYTES_DEFAULT, REQUEST_FRAME_BYTES, budget_bytes_min, line_bytes_max, long_lines_bytes,
    record_bytes_carried,
};

use super::rule::show_size;
use super::settings::Config;
use crate::http_server::limits::H2_WINDOW_BYTES;
use crate::targets;

/// Bytes that the program takes by itself, for the question of what a cgroup has room for: idle,
/// they are some 13 MiB.
const PROGRAM_BYTES: usize = 16 * MIB;

/// The parts of the sum, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemorySum {
    /// Events from accept to outcome: the budget.
    pub events_bytes: usize,
    /// What connections take if each of them fills its line buffer (and what is being made of it)
    /// and reads none of its answers.
    pub connections_bytes: usize,
    /// Lines longer than a line buffer, and what each thread unescapes of one.
    pub long_lines_bytes: usize,
    /// The encoded requests of all flights: the lanes keep their bytes together under
    /// `max_in_flight * max_bytes`, or send one larger record alone.
    pub requests_bytes: usize,
    /// The ids that callers chose, once they are settled.
    pub dedupe_bytes: usize,
    /// The schemas of the folder and those that follow them at a swap. No configuration says how
    /// large they are: whoever looks into the folder adds them.
    pub schemas_bytes: usize,
}

/// The largest records that memory has room for. Where the stream takes larger ones, they are
/// refused for that reason: a daemon that took them would lose everything that it holds when it is
/// killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Bytes of the largest record, data and partition key together; where that is configured, the
    /// configured size.
    pub record_bytes: usize,
    pub(crate) budget_bytes: usize,
}

/// The most memory that a configuration takes, with the largest records that it carries.
pub(crate) fn memory_sum(config: &Config) -> MemorySum {
    sum_with(config, Carried::of(config).record_bytes)
}

/// The most memory that `forward` takes with this configuration and so many shards, with records of
/// the size that is configured, or that every stream takes.
pub(crate) fn forward_memory(config: &Config, shards: usize) -> targets::memory::MemorySum {
    let record_bytes = config.stream.max_record_bytes.unwrap_or(RECORD_BYTES_DEFAULT);
    targets::memory::sum(&config.forward, record_bytes, shards)
}

fn sum_with(config: &Config, record_bytes_max: usize) -> MemorySum {
    let budget_bytes = config.memory.budget_bytes;
    MemorySum {
        events_bytes: budget_bytes,
        connections_bytes: connections_max(config) * (2 * LINE_BUFFER_BYTES + ANSWERS_BYTES_MAX)
            + http2_bytes(config),
        long_lines_bytes: long_lines_bytes(budget_bytes)
            + config.runtime.threads * made_bytes_max(config, record_bytes_max),
        requests_bytes: flying_bytes(config).max(record_bytes_max).div_ceil(3) * 4
            + config.batch.max_in_flight * REQUEST_FRAME_BYTES,
        dedupe_bytes: config.delivery.dedupe_ids * DEDUPE_BYTES_PER_ID,
        schemas_bytes: 0,
    }
}

/// The callers of all inputs: each holds one line or body, and the answers to it.
fn connections_max(config: &Config) -> usize {
    config.socket.max_connections + config.loopback_connections().sum::<usize>()
}

/// The most that is made of one line or body at once, beside it.
fn made_bytes_max(config: &Config, record_bytes_max: usize) -> usize {
    let of_a_line = line_bytes_max(record_bytes_max);
    config.kinesis_api.listen.map_or(of_a_line, |_| of_a_line.max(PUT_BODY_BYTES_MAX))
}

/// What the connections of HTTP/2 may have sent besides, on calls that wait for their turn.
fn http2_bytes(config: &Config) -> usize {
    let bytes = config.kinesis_api.max_connections * H2_WINDOW_BYTES as usize;
    config.kinesis_api.listen.map_or(0, |_| bytes)
}

/// Bytes that the lanes have in flight at once, unless records are larger.
fn flying_bytes(config: &Config) -> usize {
    config.batch.max_in_flight * config.batch.max_bytes
}

impl Carried {
    pub(crate) fn of(config: &Config) -> Self {
        let budget_bytes = config.memory.budget_bytes;
        let by_memory = || record_bytes_carried(budget_bytes).min(carried_by_cgroup(config));
        Self {
            record_bytes: config.stream.max_record_bytes.unwrap_or_else(by_memory),
            budget_bytes,
        }
    }

    /// What an operator does so that records of this size are taken too.
    pub(crate) fn to_carry(self, record_bytes: usize) -> String {
        let needed = budget_bytes_min(record_bytes);
        let limit = "the container's memory limit above what `dispatchd check` adds up";
        if self.budget_bytes < needed {
            format!("set memory.budget to at least {}, and {limit} then", show_size(needed))
        } else {
            format!("set {limit} with stream.max_record_bytes = {}", show_size(record_bytes))
        }
    }
}

/// The largest record whose part of the sum the cgroup still has room for. What callers that stop
/// reading could take is left out: that is an attack, not a load. Records up to the size of what is
/// in flight anyway cost nothing more.
fn carried_by_cgroup(config: &Config) -> usize {
    let least = flying_bytes(config).max(RECORD_BYTES_DEFAULT);
    let Some(cgroup_bytes) = config.memory.cgroup_bytes else { return usize::MAX };
    let sum = sum_with(config, least);
    let taken = PROGRAM_BYTES + sum.total_bytes() - sum.connections_bytes;
    // One more byte of the record is four thirds of a byte in the request, and one byte for each
    // thread in a line that is unescaped.
    let per_three_bytes = 4 + 3 * config.runtime.threads;
    least + cgroup_bytes.saturating_sub(taken) / per_three_bytes * 3
}

/// The sum if records of this size are to be taken, and the budget that they need: for a stream
/// whose limit is raised.
pub(crate) fn memory_sum_for(config: &Config, record_bytes: usize) -> (usize, MemorySum) {
    let mut config = config.clone();
    config.memory.budget_bytes = config.memory.budget_bytes.max(budget_bytes_min(record_bytes));
    (config.memory.budget_bytes, sum_with(&config, record_bytes))
}

impl MemorySum {
    /// With schemas that take so many bytes.
    pub(crate) fn with_schemas(self, bytes: usize) -> Self {
        Self { schemas_bytes: 2 * bytes, ..self }
    }

    pub(crate) fn total_bytes(&self) -> usize {
        self.events_bytes
            + self.connections_bytes
            + self.long_lines_bytes
            + self.requests_bytes
            + self.dedupe_bytes
            + self.schemas_bytes
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let schemas = match self.schemas_bytes {
            0 => String::new(),
            bytes => format!(" + {:.1} MiB of schemas", mib(bytes)),
        };
        write!(
            f,
            "{:.1} MiB of events + {:.1} MiB of requests in flight + {:.1} MiB of long lines + \
             {:.1} MiB of ids to deduplicate{schemas} + {:.1} MiB if every connection stops reading its \
             answers = {:.1} MiB",
            mib(self.events_bytes),
            mib(self.requests_bytes),
            mib(self.long_lines_bytes),
            mib(self.dedupe_bytes),
            mib(self.connections_bytes),
            mib(self.total_bytes()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, resolve};
    use dispatchd_core::limits::{KIB, RECORD_BYTES_MAX};

    fn config(set: &[(&str, &str)], cgroup_bytes: Option<usize>) -> Config {
        let mut config = resolve(&Inputs::set(set)).expect("it holds").config;
        config.memory.cgroup_bytes = cgroup_bytes;
        config
    }

    /// The sidecar's settings in `deploy/`.
    const SIDECAR: &[(&str, &str)] = &[
        ("memory.budget", "16MiB"),
        ("socket.max_connections", "32"),
        ("batch.max_in_flight", "4"),
        ("delivery.dedupe_ids", "30000"),
    ];

    fn carried(set: &[(&str, &str)], cgroup_bytes: Option<usize>) -> usize {
        Carried::of(&config(set, cgroup_bytes)).record_bytes
    }

    #[test]
    fn what_the_budget_carries_is_the_inverse_of_what_a_configured_record_needs() {
        assert_eq!(carried(&[], None), RECORD_BYTES_MAX);
        assert_eq!(carried(SIDECAR, None), 8 * MIB - 64 * KIB);
        assert_eq!(carried(&[("memory.budget", "4MiB")], None), 2 * MIB - 64 * KIB);
        let set = [("memory.budget", "21MiB"), ("stream.max_record_bytes", "10MiB")];
        assert_eq!(carried(&set, Some(MIB)), 10 * MIB, "what is configured is the operator's word");
    }

    #[test]
    fn a_cgroup_carries_what_is_in_flight_anyway_and_beyond_it_what_it_has_room_for() {
        assert_eq!(
            carried(SIDECAR, Some(128 * MIB)),
            8 * MIB - 64 * KIB,
            "here the budget is the bound"
        );
        let set: Vec<_> = SIDECAR.iter().copied().chain([("memory.budget", "32MiB")]).collect();
        for limit in [64 * MIB, 90 * MIB, 94 * MIB, 100 * MIB] {
            let config = config(&set, Some(limit));
            let bytes = Carried::of(&config).record_bytes;
            let sum = memory_sum(&config);
            let load = PROGRAM_BYTES + sum.total_bytes() - sum.connections_bytes;
            assert!(
                bytes >= 4 * MIB && (bytes == 4 * MIB || load <= limit),
                "{bytes} of {limit}, {load}"
            );
            assert!(
                bytes == 10 * MIB || limit < load + 8,
                "{bytes} of {limit}: it has room for more"
            );
        }
        assert_eq!(carried(&[], Some(64 * MIB)), 10 * MIB, "16 MiB are in flight anyway");
    }

    #[test]
    fn the_sum_is_the_same_whatever_a_stream_says_and_tells_what_more_would_take() {
        let sidecar = config(SIDECAR, None);
        assert_eq!(memory_sum(&sidecar).total_bytes() / MIB, 81);
        let (budget, sum) = memory_sum_for(&sidecar, RECORD_BYTES_MAX);
        assert_eq!((budget, sum.total_bytes() / MIB), (20_608 * KIB, 92));
        let to_carry = Carried::of(&sidecar).to_carry(RECORD_BYTES_MAX);
        assert!(
            to_carry.starts_with("set memory.budget to at least 20608KiB, and the container's"),
            "{to_carry}"
        );
    }

    #[test]
    fn the_kinesis_api_adds_its_connections_and_what_is_made_of_the_longest_body() {
        let bytes = |set: &[(&str, &str)]| memory_sum(&config(set, None));
        let set = [("kinesis_api.listen", "127.0.0.1:4568"), ("kinesis_api.max_connections", "64")];
        let (without, with) = (bytes(&set[1..]), bytes(&set));
        let each = 2 * LINE_BUFFER_BYTES + ANSWERS_BYTES_MAX + H2_WINDOW_BYTES as usize;
        assert_eq!(with.connections_bytes - without.connections_bytes, 64 * each);
        let made = |record_bytes_max| PUT_BODY_BYTES_MAX - line_bytes_max(record_bytes_max);
        assert_eq!(with.long_lines_bytes - without.long_lines_bytes, made(RECORD_BYTES_MAX));
    }

    #[test]
    fn the_defaults_add_up() {
        let sum = memory_sum(&config(&[], None));
        assert_eq!(
            sum.to_string(),
            "64.0 MiB of events + 22.3 MiB of requests in flight + 42.1 MiB of long lines + 29.8 \
             MiB of ids to deduplicate + 576.0 MiB if every connection stops reading its answers \
             = 734.2 MiB"
        );
        let page = include_str!("../../docs/operations.md");
        assert!(page.contains(&format!("memory: at most {sum}\n")), "the page shows another sum");
    }
}
