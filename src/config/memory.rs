//! The most memory a configuration can take, as a sum that an operator can hold against the pod's
//! limit. It counts what grows with traffic; the program itself and the allocator's rounding come
//! on top.

use std::fmt;

use super::Config;
use crate::limits::{
    ANSWER_ROOM_BYTES, DEDUPE_BYTES_PER_ID, LINE_BUFFER_BYTES, LONG_LINES_MAX, MIB, RECORD_BYTES_DEFAULT,
    REQUEST_FRAME_BYTES, line_bytes_max,
};

/// The parts of the sum, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySum {
    /// Events from accept to outcome: the budget.
    pub events_bytes: usize,
    /// If every connection fills its line buffer (and what is being made of it) and reads none of its answers.
    pub connections_bytes: usize,
    /// Lines longer than a line buffer: what is read, the room it grew by, what is made of it.
    pub long_lines_bytes: usize,
    /// The encoded requests of all flights: the lanes keep their bytes together under `max_in_flight * max_bytes`, or
    /// send one larger record alone.
    pub requests_bytes: usize,
    /// The ids that callers chose, once they are settled.
    pub dedupe_bytes: usize,
}

pub fn memory_sum(config: &Config) -> MemorySum {
    let record_bytes_max = config.stream.max_record_bytes.unwrap_or(RECORD_BYTES_DEFAULT);
    let flying_bytes = (config.batch.max_in_flight * config.batch.max_bytes).max(record_bytes_max);
    MemorySum {
        events_bytes: config.memory.budget_bytes,
        connections_bytes: config.socket.max_connections * (2 * LINE_BUFFER_BYTES + ANSWER_ROOM_BYTES),
        long_lines_bytes: LONG_LINES_MAX * 3 * line_bytes_max(record_bytes_max),
        requests_bytes: flying_bytes.div_ceil(3) * 4 + config.batch.max_in_flight * REQUEST_FRAME_BYTES,
        dedupe_bytes: config.delivery.dedupe_ids * DEDUPE_BYTES_PER_ID,
    }
}

impl MemorySum {
    pub fn total_bytes(&self) -> usize {
        self.events_bytes + self.connections_bytes + self.long_lines_bytes + self.requests_bytes + self.dedupe_bytes
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        write!(
            f,
            "{:.1} MiB of events + {:.1} MiB of requests in flight + {:.1} MiB of long lines + {:.1} MiB of ids to deduplicate + {:.1} MiB if every connection stops reading its answers = {:.1} MiB",
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

    #[test]
    fn the_defaults_add_up() {
        let inputs = Inputs { local: true, ..Inputs::default() };
        let sum = memory_sum(&resolve(&inputs).expect("the defaults hold").config);
        assert_eq!(
            sum.to_string(),
            "64.0 MiB of events + 22.3 MiB of requests in flight + 25.5 MiB of long lines + 29.8 MiB of ids to deduplicate + 576.0 MiB if every connection stops reading its answers = 717.6 MiB"
        );
        let page = include_str!("../../docs/operations.md");
        assert!(page.contains(&format!("memory: at most {sum}\n")), "the page shows another sum");
    }
}
