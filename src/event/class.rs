//! The classes of failure: whose fault, and so what is done. Which code is of which class stands in
//! `kinesis::fault`; what a class leads to, in `lane::settle`.

/// Whose fault, and so what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The shard (or the stream, the API, the key service) takes less than it was sent. Slow down, send again.
    Throttled,
    /// A failure that passes. Wait, send again.
    Transient,
    /// Nothing can be written until an operator acts. Probe, refuse nothing.
    Blocked(Reason),
    /// The request as it is will never be taken: one of its records is at fault.
    Poison,
}

/// Why a stream is blocked; a closed set, for the metric's label and the log's advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    AccessDenied,
    Credentials,
    StreamNotFound,
    Kms,
    /// Every request is refused, whatever is in it. No code says so: the lane finds it out.
    RequestRefused,
}

impl Reason {
    pub const ALL: [Reason; 5] =
        [Reason::AccessDenied, Reason::Credentials, Reason::StreamNotFound, Reason::Kms, Reason::RequestRefused];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::AccessDenied => "access_denied",
            Reason::Credentials => "credentials",
            Reason::StreamNotFound => "stream_not_found",
            Reason::Kms => "kms",
            Reason::RequestRefused => "request_refused",
        }
    }

    /// What the operator does about it.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::AccessDenied => "allow kinesis:PutRecords on the stream to the identity the daemon runs as",
            Reason::Credentials => {
                "give the daemon valid credentials (environment, profile, IRSA, Pod Identity or instance role) and check the clock"
            }
            Reason::StreamNotFound => "create the stream, or correct stream.name, the region or the endpoint",
            Reason::RequestRefused => {
                "read the service's words, which are about no record: correct stream.name or stream.arn, the endpoint, or what stands between"
            }
            Reason::Kms => "enable the stream's KMS key and allow kms:GenerateDataKey on it to the daemon's identity",
        }
    }
}
