//! How a stream is named: by its name in an account and a region, or by its ARN.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::limits::STREAM_NAME_CHARS_MAX;

/// A stream as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamId {
    Name(String),
    Arn(String),
}

/// The ARN of a stream in its parts: `arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamArn {
    partition: String,
    region: String,
    /// Twelve digits.
    account: String,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME")]
pub struct NotAStreamArn;

impl StreamId {
    /// The name or the ARN.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Arn(text) => text,
        }
    }

    /// The name; `None` if the stream is named by its ARN.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Arn(_) => None,
        }
    }

    /// The ARN; `None` if the stream is named by its name.
    pub fn arn(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Arn(arn) => Some(arn),
        }
    }
}

impl StreamArn {
    /// The partition: `aws`, or another one such as `aws-cn`, `aws-us-gov` or an isolated one.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for StreamArn {
    type Err = NotAStreamArn;

    fn from_str(text: &str) -> Result<Self, NotAStreamArn> {
        let parts: Vec<&str> = text.split(':').collect();
        let &["arn", partition, "kinesis", region, account, resource] = parts.as_slice() else {
            return Err(NotAStreamArn);
        };
        let name = resource.strip_prefix("stream/").ok_or(NotAStreamArn)?;
        let is_partition =
            partition == "aws" || (partition.starts_with("aws-") && is_region(partition));
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        if !(is_partition && is_region(region) && is_account && is_stream_name(name)) {
            return Err(NotAStreamArn);
        }
        let [partition, region, account, name] =
            [partition, region, account, name].map(str::to_owned);
        Ok(Self { partition, region, account, name })
    }
}

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, region, account, name } = self;
        write!(f, "arn:{partition}:kinesis:{region}:{account}:stream/{name}")
    }
}

/// Whether a text can be the name of a stream.
pub fn is_stream_name(text: &str) -> bool {
    (1..=STREAM_NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether a text can be a region. Strict enough to catch a value that belongs elsewhere, and loose
/// enough for regions that do not exist yet. A region becomes a label of a host's name.
pub fn is_region(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a stream that was typed is meant as an ARN: no name has a colon.
pub fn is_arn(text: &str) -> bool {
    text.starts_with("arn:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_a_stream_in_any_partition() {
        for (partition, region) in
            [("aws", "eu-west-1"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")]
        {
            let text = format!("arn:{partition}:kinesis:{region}:123456789012:stream/orders");
            let arn: StreamArn = text.parse().expect("it is well formed");
            assert_eq!((arn.partition(), arn.region(), arn.name()), (partition, region, "orders"));
            assert_eq!(arn.to_string(), text);
        }
        for text in [
            "orders",
            "arn:other:kinesis:eu-west-1:123456789012:stream/orders",
            "arn:aws:firehose:eu-west-1:123456789012:stream/orders",
            "arn:aws:kinesis::123456789012:stream/orders",
            "arn:aws:kinesis:eu-west-1:12345678901:stream/orders",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/c:1",
        ] {
            assert_eq!(text.parse::<StreamArn>(), Err(NotAStreamArn), "{text}");
        }
    }
}
