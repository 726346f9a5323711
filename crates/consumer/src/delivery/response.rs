//! A target's word on one batch.

use std::time::Duration;

/// What came of one batch, as the format of the target reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Every record of the batch is done.
    Delivered,
    /// The records before this index are done; from there on they are not, though the target was
    /// there. Lambda's `batchItemFailures`.
    Until(usize),
    /// No record of the batch counts as done.
    Failed(Failure),
}

/// Why a batch is not done, for the rules of retrying and for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// The status of the HTTP response, if there was one.
    pub status: Option<u16>,
    /// What happened, in words for the log; never the record, never a token.
    pub reason: String,
    /// The beginning of the response's body, for the dead letter.
    pub body: Option<String>,
    /// The least wait before the next attempt, where the target named one. However long that is, it
    /// is believed for five minutes.
    pub retry_after: Option<Duration>,
}

/// What a failure means for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The target was not there, or had no room (no connection, 429, 503): the records were not
    /// looked at, and no attempt is counted.
    Unavailable,
    /// The target looked at the batch and failed (5xx, a function's error, a time-out).
    Failed,
    /// The target refuses these records, and will again (400, 413): the same bytes need not be sent
    /// a second time.
    Refused,
    /// The target refuses us, whatever we send (401, 403, a redirect): an operator has to act.
    Unauthorized,
}
