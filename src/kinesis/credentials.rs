//! Whose requests they are: the credentials, where they came from, when they expire, and whom STS takes them for.
//!
//! Never shows a secret, and never asks longer than it is told to wait.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kinesis::config::Credentials;

use super::aws::{CallError, Kinesis, call_error, chain, odd_reply};
use super::probe::{Stopped, stop};
use crate::event::{Class, Reason};
use crate::telemetry::metrics::Expiry;

/// What the SDK's chain of providers came up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// In words, e.g. `environment variables`; where one provider led to another, both.
    pub provider: String,
    /// Nothing: they do not expire.
    pub expiry: Option<SystemTime>,
}

/// The SDK's chain of credentials, given up when it takes too long: a metadata service or an STS that hangs. The SDK's
/// own limit ends in an error without a type, at the very time when the attempt ends. Notes when they expire.
#[derive(Debug)]
pub(super) struct Timely {
    pub chain: SharedCredentialsProvider,
    pub within: Duration,
    pub expiry: Arc<Expiry>,
}

impl ProvideCredentials for Timely {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let provided = tokio::time::timeout(self.within, self.chain.provide_credentials()).await;
            let credentials = provided.unwrap_or_else(|_| {
                // As the SDK does: old credentials of the instance outlive an outage of its metadata service.
                self.chain.fallback_on_interrupt().ok_or(CredentialsError::provider_timed_out(self.within))
            })?;
            self.expiry.set(credentials.expiry());
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.chain.fallback_on_interrupt()
    }
}

impl Kinesis {
    /// Asks the chain of providers anew, for half of the attempt timeout at most.
    ///
    /// # Errors
    /// No provider has any, or the one that should did not answer; blocked for its credentials.
    pub async fn credentials(&self) -> Result<Provided, CallError> {
        let failed = |message: String| CallError {
            operation: "credentials",
            class: Class::Blocked(Reason::Credentials),
            code: "NoCredentials".into(),
            // The chain of providers tells what each of them said on a line of its own.
            message: message.lines().map(str::trim).collect::<Vec<_>>().join("; "),
        };
        let chain_of_providers = self.sdk.credentials_provider().ok_or_else(|| failed("none is set up".into()))?;
        let credentials = chain_of_providers.provide_credentials().await.map_err(|error| failed(chain(&error)))?;
        let features = credentials.get_property::<Vec<AwsCredentialFeature>>().map_or(&[][..], Vec::as_slice);
        Ok(Provided { provider: provider(features), expiry: credentials.expiry() })
    }

    /// The ARN that STS knows the caller by (GetCallerIdentity, which needs no permission). Where the endpoint of STS is,
    /// is the SDK's to say: `AWS_ENDPOINT_URL_STS`, else the region's.
    ///
    /// # Errors
    /// Any failed call. It takes an attempt timeout at most.
    pub async fn caller_arn(&self) -> Result<String, CallError> {
        const OP: &str = "GetCallerIdentity";
        let reply = self.sts().get_caller_identity().send().await.map_err(|error| call_error(OP, &error))?;
        reply.arn.ok_or_else(|| odd_reply(OP, "it has no ARN"))
    }

    /// Where [`Self::caller_arn`] would ask. Sends nothing.
    pub async fn sts_endpoint(&self) -> Option<String> {
        let unsigned = aws_sdk_sts::Config::builder().credentials_provider(super::probe::nobody());
        let call = self.sts().get_caller_identity().customize().config_override(unsigned).map_request(stop);
        let url = call.send().await.err().and_then(|error| Stopped::find(&error))?;
        Some(url.trim_end_matches('/').to_owned())
    }

    fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.sdk)
    }
}

/// The providers that had a part in it, first to last.
fn provider(features: &[AwsCredentialFeature]) -> String {
    if features.is_empty() {
        return "a provider without a name".to_owned();
    }
    features.iter().map(in_words).collect::<Vec<_>>().join(", ")
}

fn in_words(feature: &AwsCredentialFeature) -> String {
    let words = match feature {
        AwsCredentialFeature::CredentialsEnvVars => "environment variables",
        AwsCredentialFeature::CredentialsEnvVarsStsWebIdToken => "a web identity token (IRSA)",
        AwsCredentialFeature::CredentialsProfileStsWebIdToken => "a web identity token",
        AwsCredentialFeature::CredentialsStsAssumeRole | AwsCredentialFeature::CredentialsStsAssumeRoleWebId => {
            "a role assumed at STS"
        }
        AwsCredentialFeature::CredentialsProfile => "a profile",
        AwsCredentialFeature::CredentialsProfileSourceProfile => "a profile's source profile",
        AwsCredentialFeature::CredentialsProfileNamedProvider => "a profile's credential source",
        AwsCredentialFeature::CredentialsProfileSso | AwsCredentialFeature::CredentialsSso => {
            "IAM Identity Center (SSO)"
        }
        AwsCredentialFeature::CredentialsProfileProcess | AwsCredentialFeature::CredentialsProcess => "a process",
        AwsCredentialFeature::CredentialsHttp => "the container's endpoint (ECS or EKS Pod Identity)",
        AwsCredentialFeature::CredentialsImds => "the instance's metadata service (IMDS)",
        // The SDK may add more, and has some that cannot happen here.
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
