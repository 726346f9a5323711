//! The least that IAM must allow the daemon's identity, as a policy for one stream. Pure.
//!
//! The statement about KMS is bound to the stream by the encryption context that Kinesis passes
//! with every call to KMS (Kinesis Data Streams developer guide, "Permissions to use user-generated
//! KMS keys", 2026-09).

use dispatchd_core::model::StreamArn;
use serde::Serialize;

/// A policy document, which is printed as the JSON that it serialises to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    string_equals: Context,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Context {
    #[serde(rename = "kms:EncryptionContext:aws:kinesis:arn")]
    stream: String,
}

/// The ARN of a KMS key: `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArn(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "{0:?} is an alias, and IAM permits keys, not aliases: give the ARN of the key that it \
         stands for"
    )]
    Alias(String),
    #[error("{0:?} is not the ARN of a KMS key: expected arn:PARTITION:kms:REGION:ACCOUNT:key/ID")]
    NotAKey(String),
    #[error(
        "the key {key:?} is in another partition or region than the stream {stream:?}: it cannot \
         encrypt it"
    )]
    Elsewhere { key: String, stream: String },
}

impl KeyArn {
    /// Reads the ARN of a key for this stream.
    ///
    /// # Errors
    /// The text is not the ARN of a key, or the key cannot encrypt this stream.
    pub fn new(text: &str, stream: &StreamArn) -> Result<Self, KeyError> {
        let parts: Vec<&str> = text.split(':').collect();
        let &["arn", partition, "kms", region, account, resource] = parts.as_slice() else {
            return Err(KeyError::NotAKey(text.into()));
        };
        if resource.starts_with("alias/") {
            return Err(KeyError::Alias(text.into()));
        }
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = |id: &str| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !is_account || !resource.strip_prefix("key/").is_some_and(is_id) {
            return Err(KeyError::NotAKey(text.into()));
        }
        if (partition, region) != (stream.partition(), stream.region()) {
            return Err(KeyError::Elsewhere { key: text.into(), stream: stream.to_string() });
        }
        Ok(Self(text.to_owned()))
    }
}

/// The policy for `run`: to write, to learn the record limit and the shards, and to have records
/// encrypted with `kms_key`.
///
/// A stream that is encrypted with the service's own key (`alias/aws/kinesis`) needs no permission
/// for it.
pub fn producer(stream: &StreamArn, kms_key: Option<&KeyArn>) -> Policy {
    let write = vec!["kinesis:PutRecords", "kinesis:DescribeStreamSummary", "kinesis:ListShards"];
    Policy::of([
        Some(Statement::on_stream("WriteToTheStream", write, stream)),
        kms_key.map(|key| key.permits("EncryptForTheStream", "kms:GenerateDataKey", stream)),
    ])
}

/// The policy for `forward` and `tail`: to read, to learn the shards and the stream's ARN, and to
/// have records decrypted with `kms_key`.
pub fn consumer(stream: &StreamArn, kms_key: Option<&KeyArn>) -> Policy {
    let read = vec![
        "kinesis:GetRecords",
        "kinesis:GetShardIterator",
        "kinesis:ListShards",
        "kinesis:DescribeStreamSummary",
    ];
    Policy::of([
        Some(Statement::on_stream("ReadFromTheStream", read, stream)),
        kms_key.map(|key| key.permits("DecryptFromTheStream", "kms:Decrypt", stream)),
    ])
}

impl Policy {
    fn of(statements: [Option<Statement>; 2]) -> Self {
        Self { version: "2012-10-17", statement: statements.into_iter().flatten().collect() }
    }
}

impl Statement {
    fn on_stream(sid: &'static str, action: Vec<&'static str>, stream: &StreamArn) -> Self {
        Self { sid, effect: "Allow", action, resource: stream.to_string(), condition: None }
    }
}

impl KeyArn {
    /// A statement that Kinesis may use the key for this stream, on behalf of who calls it.
    fn permits(&self, sid: &'static str, action: &'static str, stream: &StreamArn) -> Statement {
        Statement {
            sid,
            effect: "Allow",
            action: vec![action],
            resource: self.0.clone(),
            condition: Some(Condition { string_equals: Context { stream: stream.to_string() } }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamArn {
        "arn:aws-us-gov:kinesis:us-gov-west-1:123456789012:stream/orders"
            .parse()
            .expect("it is one")
    }

    #[test]
    fn a_key_that_cannot_encrypt_the_stream_is_told_from_one_that_can() {
        let new = |text: &str| KeyArn::new(text, &stream());
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        // A key of another account can, if its key policy allows it.
        new(&format!("arn:aws-us-gov:kms:us-gov-west-1:210987654321:key/{id}")).expect("a key");
        new("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd")
            .expect("a multi-region key");
        let alias =
            new("arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/orders").expect_err("no key");
        assert!(matches!(alias, KeyError::Alias(_)), "{alias}");
        for elsewhere in ["aws:kms:us-gov-west-1", "aws-us-gov:kms:us-gov-east-1"] {
            let error =
                new(&format!("arn:{elsewhere}:123456789012:key/{id}")).expect_err("elsewhere");
            assert!(matches!(error, KeyError::Elsewhere { .. }), "{error}");
        }
        for text in [
            id,
            "",
            "arn:aws-us-gov:kms:us-gov-west-1:1:key/a",
            "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/*",
        ] {
            assert!(matches!(new(text), Err(KeyError::NotAKey(_))), "{text}");
        }
    }
}
