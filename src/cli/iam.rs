//! `iam`: prints what an identity must be allowed, as a policy to paste.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::common::{exit, fail, said};
use super::out;
use dispatchd_aws::iam_policy::{KeyArn, consumer, producer};
use dispatchd_core::model::StreamArn;

#[derive(Debug, Args)]
pub(super) struct Iam {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The least policy for `run`, as JSON
    #[command(after_help = "For example: dispatchd iam producer --stream \
                            arn:aws:kinesis:eu-central-1:123456789012:stream/orders")]
    Producer(Stream),
    /// The least policy for `forward` and `tail`, as JSON
    #[command(after_help = "For example: dispatchd iam consumer --stream \
                            arn:aws:kinesis:eu-central-1:123456789012:stream/orders")]
    Consumer(Stream),
}

#[derive(Debug, Args)]
struct Stream {
    /// The stream, as `dispatchd stream describe` prints it
    #[arg(long, value_name = "ARN")]
    stream: StreamArn,
    /// The KMS key that it is encrypted with, if that is a key of your own
    #[arg(long, value_name = "ARN")]
    kms_key: Option<String>,
}

impl Iam {
    pub(super) fn main(self) -> ExitCode {
        let (policy, Stream { stream, kms_key }): (fn(&_, Option<&_>) -> _, _) = match self.role {
            Role::Producer(stream) => (producer, stream),
            Role::Consumer(stream) => (consumer, stream),
        };
        let kms_key = match kms_key.map(|key| KeyArn::new(&key, &stream)).transpose() {
            Ok(key) => key,
            Err(error) => return fail(format_args!("--kms-key: {error}"), exit::USAGE),
        };
        let policy = policy(&stream, kms_key.as_ref());
        let policy = serde_json::to_string_pretty(&policy).expect("texts can be written as JSON");
        said(out::print(&(policy + "\n")), 0)
    }
}
