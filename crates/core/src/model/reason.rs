//! Why a stream is blocked: for each reason its name, what it means, and what whoever writes to the
//! stream or reads from it does about it. Which error has which reason stands in
//! `dispatchd_aws::classify`; nothing here decides what a lane does about it.

closed_set! {
    /// Why a stream is blocked. The set is closed, since a metric has it as a label.
    pub enum Reason {
        AccessDenied = "access_denied",
        Credentials = "credentials",
        StreamNotFound = "stream_not_found",
        Kms = "kms",
        /// Every request is refused, whatever is in it. No code says so: the lane finds it out.
        RequestRefused = "request_refused",
    }
}

/// What is told of one reason.
struct Words {
    says: &'static str,
    advice: &'static str,
    advice_to_readers: &'static str,
}

impl Reason {
    /// What the reason means, to be read after "the last attempt:".
    pub fn says(self) -> &'static str {
        self.told().says
    }

    /// What the operator of a daemon does about it.
    pub fn advice(self) -> &'static str {
        self.told().advice
    }

    /// What a person does about it who reads the stream.
    pub fn advice_to_readers(self) -> &'static str {
        self.told().advice_to_readers
    }

    fn told(self) -> Words {
        match self {
            Reason::AccessDenied => Words {
                says: "the stream is blocked (access_denied)",
                advice: "allow kinesis:PutRecords on the stream to the identity the daemon runs as",
                advice_to_readers: "allow kinesis:ListShards, kinesis:GetShardIterator and \
                                    kinesis:GetRecords on the stream to this identity",
            },
            Reason::Credentials => Words {
                says: "the stream is blocked (credentials)",
                advice: "give the daemon valid credentials (environment, profile, IRSA, Pod \
                         Identity or instance role) and check the clock",
                advice_to_readers: "give valid credentials (environment, profile, IRSA, Pod \
                                    Identity or instance role) and check the clock",
            },
            Reason::StreamNotFound => Words {
                says: "the stream is blocked (stream_not_found)",
                advice: "create the stream, or correct stream.name, the region or the endpoint",
                advice_to_readers: "check the stream's name, the region and the endpoint",
            },
            Reason::Kms => Words {
                says: "the stream is blocked (kms)",
                advice: "enable the stream's KMS key and allow kms:GenerateDataKey on it to the \
                         daemon's identity",
                advice_to_readers: "enable the stream's KMS key and allow kms:Decrypt on it to \
                                    this identity",
            },
            Reason::RequestRefused => Words {
                says: "the stream is blocked (request_refused)",
                advice: "read the service's words, which are about no record: correct \
                         stream.name or stream.arn, the endpoint, or what stands between",
                advice_to_readers: "the service will not take this call, however often it is made",
            },
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
