//! The classes of failure: whose fault, and so what is done. Which code is of which class stands in
//! `dispatchd_aws::classify`; what a class leads to, in `lane::apply_verdicts`.

/// Whose fault, and so what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The shard (or the stream, the API, the key service) takes less than it was sent. Slow down,
    /// send again.
    Throttled,
    /// A failure that passes. Wait, send again.
    Transient,
    /// Nothing can be written until an operator acts. Probe, refuse nothing.
    Blocked(Reason),
    /// The request as it is will never be taken: one of its records is at fault.
    Poison,
}

closed_set! {
    /// Why a stream is blocked; a closed set, for the metric's label and the log's advice.
    pub enum Reason {
        AccessDenied = "access_denied",
        Credentials = "credentials",
        StreamNotFound = "stream_not_found",
        Kms = "kms",
        /// Every request is refused, whatever is in it. No code says so: the lane finds it out.
        RequestRefused = "request_refused",
    }
}

impl Reason {
    /// What the operator does about it.
    pub fn advice(self) -> &'static str {
        match self {
            Reason::AccessDenied => {
                "allow kinesis:PutRecords on the stream to the identity the daemon runs as"
            }
            Reason::Credentials => {
                "give the daemon valid credentials (environment, profile, IRSA, Pod Identity or \
                 instance role) and check the clock"
            }
            Reason::StreamNotFound => {
                "create the stream, or correct stream.name, the region or the endpoint"
            }
            Reason::RequestRefused => {
                "read the service's words, which are about no record: correct stream.name or \
                 stream.arn, the endpoint, or what stands between"
            }
            Reason::Kms => {
                "enable the stream's KMS key and allow kms:GenerateDataKey on it to the daemon's \
                 identity"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runbook_has_every_reason() {
        let page = include_str!("../../../../docs/operations.md");
        let table = page.lines().skip_while(|line| *line != "| reason | |").skip(2);
        let mut rows: Vec<_> =
            table.map_while(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let mut reasons = Reason::ALL.map(Reason::as_str);
        rows.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(rows, reasons);
    }
}
