//! The calls that tell whose requests they are: the credentials in use, and whom STS takes them
//! for.
//!
//! Never shows a secret, and never asks longer than it is told to wait.

use super::aws::{CallError, Kinesis, no_credentials, odd_reply};
use super::identity::Known;
use super::probe::{Stopped, stop};

impl Kinesis {
    /// What is used, asked for if it has to be; for half of the attempt timeout at most.
    ///
    /// # Errors
    /// No provider has any, or the one that should did not answer; blocked for its credentials.
    pub async fn credentials(&self) -> Result<Known, CallError> {
        let provided = self.identity.credentials().await;
        provided
            .map(|credentials| Known::of(&credentials))
            .map_err(|error| no_credentials("credentials", &error))
    }

    /// The ARN that STS knows the caller by (GetCallerIdentity, which needs no permission). Where
    /// the endpoint of STS is, is the SDK's to say: `AWS_ENDPOINT_URL_STS`, else the region's.
    ///
    /// # Errors
    /// Any failed call. It takes an attempt timeout at most.
    pub async fn caller_arn(&self) -> Result<String, CallError> {
        const OP: &str = "GetCallerIdentity";
        let reply = self.call(OP, self.sts().get_caller_identity().send()).await?;
        reply.arn.ok_or_else(|| odd_reply(OP, "it has no ARN"))
    }

    /// Where [`Self::caller_arn`] would ask. Sends nothing.
    pub async fn sts_endpoint(&self) -> Option<String> {
        let unsigned = aws_sdk_sts::Config::builder().credentials_provider(super::probe::nobody());
        let call = self
            .sts()
            .get_caller_identity()
            .customize()
            .config_override(unsigned)
            .map_request(stop);
        let url = call.send().await.err().and_then(|error| Stopped::find(&error))?;
        Some(url.trim_end_matches('/').to_owned())
    }

    fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.sdk)
    }
}
