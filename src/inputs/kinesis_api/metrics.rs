//! The metrics of calls: handles that are made once at the start.
//!
//! Names and labels stand here; what a metric means and how it is exported is `telemetry`'s to say.

use metrics::{Counter, counter};

use dispatchd_core::wire::kinesis_api::error::ApiError;
use dispatchd_core::wire::kinesis_api::operation::{Describe, Operation};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// All that was asked for was done.
    Ok,
    /// Some of its records were stored, some were not.
    Partial,
    /// There was no room, or no time: the caller's SDK sends it again.
    Throttled,
    /// What was asked for may have been done: the caller's SDK sends it again.
    Unconfirmed,
    /// Something is wrong with it.
    Refused,
    /// The daemon stops, or had no place: the caller's SDK sends it again.
    Unavailable,
}

/// Handles of what the Kinesis API counts.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    /// By operation and outcome, in the order of `OPERATIONS` and of `CallOutcome::ALL`.
    calls: [[Counter; CallOutcome::ALL.len()]; OPERATIONS.len()],
}

/// One of each name that an operation is counted by.
const OPERATIONS: [Operation; 6] = [
    Operation::PutRecord,
    Operation::PutRecords,
    Operation::Describe(Describe::ListShards),
    Operation::Describe(Describe::StreamSummary),
    Operation::Describe(Describe::Stream),
    Operation::Unknown,
];

impl CallOutcome {
    const ALL: [Self; 6] = [
        Self::Ok,
        Self::Partial,
        Self::Throttled,
        Self::Unconfirmed,
        Self::Refused,
        Self::Unavailable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Throttled => "throttled",
            Self::Unconfirmed => "unconfirmed",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    /// How a call ended that is answered by this error.
    pub(super) fn of(error: &ApiError) -> Self {
        match error.status {
            503 => Self::Unavailable,
            500.. => Self::Unconfirmed,
            _ if error.is_sent_again() => Self::Throttled,
            _ => Self::Refused,
        }
    }
}

impl CallMetrics {
    /// Registers every series, at 0, with the recorder that is in force here.
    pub(crate) fn register() -> Self {
        let of = |operation: Operation, outcome: CallOutcome| {
            counter!(
                "dispatchd_kinesis_api_calls_total",
                "operation" => operation.label(),
                "outcome" => outcome.as_str()
            )
        };
        let calls =
            OPERATIONS.map(|operation| CallOutcome::ALL.map(|outcome| of(operation, outcome)));
        Self { calls }
    }

    pub(super) fn count(&self, operation: Operation, outcome: CallOutcome) {
        self.calls[place(operation)][outcome as usize].increment(1);
    }
}

/// Where in `OPERATIONS` an operation is counted.
fn place(operation: Operation) -> usize {
    match operation {
        Operation::PutRecord => 0,
        Operation::PutRecords => 1,
        Operation::Describe(Describe::ListShards) => 2,
        Operation::Describe(Describe::StreamSummary) => 3,
        Operation::Describe(Describe::Stream) => 4,
        Operation::Denied | Operation::Unknown => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_outcome_has_its_place_in_the_lists() {
        for (index, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(place(operation), index);
        }
        assert_eq!(OPERATIONS[place(Operation::Denied)].label(), Operation::Denied.label());
        for (index, outcome) in CallOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }

    #[test]
    fn an_error_counts_by_what_its_callers_sdk_does_about_it() {
        for (error, outcome) in [
            (ApiError::throttled(""), CallOutcome::Throttled),
            (ApiError::maybe_done(""), CallOutcome::Unconfirmed),
            (ApiError::invalid(""), CallOutcome::Refused),
            (ApiError::denied(""), CallOutcome::Refused),
            (ApiError::unavailable(""), CallOutcome::Unavailable),
        ] {
            assert_eq!(CallOutcome::of(&error), outcome, "{error:?}");
        }
    }
}
