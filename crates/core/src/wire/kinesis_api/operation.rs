//! The operations of the Kinesis API, and which of them are answered here.

/// What stands before an operation's name in `x-amz-target`.
const TARGET_PREFIX: &str = "Kinesis_20131202.";

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    PutRecord,
    PutRecords,
    /// One that only asks what the stream is like: the service answers it.
    Describe(Describe),
    /// One that the service has, and this endpoint does not give.
    Denied,
    /// One that the service does not have.
    Unknown,
}

/// The operations that only ask what the stream is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Describe {
    ListShards,
    StreamSummary,
    Stream,
}

/// What the service has besides what is answered here (its model of 2026-11).
const DENIED: [&str; 40] = [
    "AddTagsToStream",
    "CreateChannel",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteChannel",
    "DeleteResourcePolicy",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeAccountSettings",
    "DescribeChannel",
    "DescribeLimits",
    "DescribeStreamConsumer",
    "DisableEnhancedMonitoring",
    "EnableEnhancedMonitoring",
    "GetRecords",
    "GetResourcePolicy",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListChannels",
    "ListStreamConsumers",
    "ListStreams",
    "ListTagsForResource",
    "ListTagsForStream",
    "MergeShards",
    "PutResourcePolicy",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "SplitShard",
    "StartStreamEncryption",
    "StopStreamEncryption",
    "SubscribeToShard",
    "TagResource",
    "UntagResource",
    "UpdateAccountSettings",
    "UpdateChannel",
    "UpdateMaxRecordSize",
    "UpdateShardCount",
    "UpdateStreamMode",
    "UpdateStreamRecordDistributionStrategy",
    "UpdateStreamWarmThroughput",
];

impl Operation {
    /// What an `x-amz-target` asks for.
    pub fn of(target: &str) -> Self {
        let Some(name) = target.strip_prefix(TARGET_PREFIX) else { return Self::Unknown };
        match name {
            "PutRecord" => Self::PutRecord,
            "PutRecords" => Self::PutRecords,
            "ListShards" => Self::Describe(Describe::ListShards),
            "DescribeStreamSummary" => Self::Describe(Describe::StreamSummary),
            "DescribeStream" => Self::Describe(Describe::Stream),
            _ if DENIED.contains(&name) => Self::Denied,
            _ => Self::Unknown,
        }
    }

    /// A name from a closed set, for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::PutRecord => "PutRecord",
            Self::PutRecords => "PutRecords",
            Self::Describe(describe) => describe.name(),
            Self::Denied | Self::Unknown => "other",
        }
    }
}

impl Describe {
    pub const ALL: [Self; 3] = [Self::ListShards, Self::StreamSummary, Self::Stream];

    /// The operation's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListShards => "ListShards",
            Self::StreamSummary => "DescribeStreamSummary",
            Self::Stream => "DescribeStream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_answered_denied_or_unknown() {
        for (target, operation) in [
            ("Kinesis_20131202.PutRecord", Operation::PutRecord),
            ("Kinesis_20131202.PutRecords", Operation::PutRecords),
            ("Kinesis_20131202.DescribeStream", Operation::Describe(Describe::Stream)),
            ("Kinesis_20131202.GetRecords", Operation::Denied),
            ("Kinesis_20131202.putRecord", Operation::Unknown),
            ("DynamoDB_20120810.PutItem", Operation::Unknown),
            ("PutRecord", Operation::Unknown),
            ("", Operation::Unknown),
        ] {
            assert_eq!(Operation::of(target), operation, "{target}");
        }
        for describe in Describe::ALL {
            let target = format!("{TARGET_PREFIX}{}", describe.name());
            assert_eq!(Operation::of(&target), Operation::Describe(describe));
        }
    }
}
