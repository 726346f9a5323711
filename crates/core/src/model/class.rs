//! The classes of failure: what the lanes do about a call that failed. Which code of Kinesis' is of
//! which class stands in `dispatchd_aws::classify`; what a class leads to, in
//! `lane::apply_verdicts`. What a person does about it is `cause`, and for a blocked stream
//! `reason`.

use super::reason::Reason;

/// Whose fault, and so what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The shard (or the stream, the API, the key service) takes less than it was sent. Slow down,
    /// send again.
    Throttled,
    /// A failure that passes. Wait, send again.
    Transient,
    /// The stream is blocked: nothing can be written until an operator acts. Probe, refuse nothing.
    Blocked(Reason),
    /// The request as it is will never be taken: one of its records is at fault.
    Poison,
}
