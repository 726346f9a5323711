//! Why a call failed, in our words: made from the SDK's errors and from what the providers of
//! credentials say.
//!
//! What a code or a status means is decided in `classify`.

use std::error::Error;
use std::fmt::Display;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use dispatchd_core::model::{CallError, Cause, Class, Reason};
use dispatchd_transport::NoReply;

use super::classify;

/// The code of a reply that does not answer what was asked.
pub(super) const BAD_REPLY: &str = "BadReply";
/// The code where no provider has credentials.
pub(super) const NO_CREDENTIALS: &str = "NoCredentials";

/// The error of a call that was not made for want of credentials.
pub(super) fn no_credentials(operation: &'static str, error: &CredentialsError) -> CallError {
    let reason = Reason::Credentials;
    CallError {
        operation,
        class: Class::Blocked(reason),
        cause: Cause::Blocked(reason),
        code: NO_CREDENTIALS.into(),
        // The chain of providers puts what each of them said on a line of its own.
        message: chain(error).lines().map(str::trim).collect::<Vec<_>>().join("; "),
    }
}

/// The error of a call whose reply was a success but cannot be used.
pub(super) fn odd_reply(operation: &'static str, what: impl Display) -> CallError {
    let (class, cause) = (Class::Transient, Cause::NotKinesis);
    CallError { operation, class, cause, code: BAD_REPLY.into(), message: what.to_string() }
}

/// The error of a call that the SDK made.
pub(super) fn call_error<E>(operation: &'static str, error: &SdkError<E>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let of =
        |class, cause, code: String, message| CallError { operation, class, cause, code, message };
    if let SdkError::ServiceError(reply) = error {
        let status = reply.raw().status().as_u16();
        let code = reply.err().code();
        let class = classify::request(code, status);
        let cause = classify::refusal(class, code, status);
        let message = reply.err().message().unwrap_or("the reply gave no reason");
        let code = code.map_or_else(|| format!("HTTP {status}"), str::to_owned);
        return of(class, cause, code, message.to_owned());
    }
    // An error status without an error in AWS's form: a proxy or a firewall answers with such
    // pages, or with less.
    if let (SdkError::ResponseError(_), Some(status @ 300..)) = (error, status(error)) {
        let class = classify::request(None, status);
        let cause = classify::refusal(class, None, status);
        return of(class, cause, format!("HTTP {status}"), chain(error));
    }
    if causes(error).any(|cause| cause.is::<CredentialsError>()) {
        let reason = Reason::Credentials;
        let (class, cause) = (Class::Blocked(reason), Cause::Blocked(reason));
        return of(class, cause, NO_CREDENTIALS.into(), chain(error));
    }
    let no_reply = causes(error).find_map(|cause| cause.downcast_ref::<NoReply>());
    let (code, cause) = match (error, no_reply) {
        (_, Some(no_reply)) => (no_reply.code(), classify::no_reply(no_reply)),
        (SdkError::ConstructionFailure(_), _) => ("NotSent", Cause::Service),
        (SdkError::TimeoutError(_), _) => ("Timeout", Cause::ReplyTimeout),
        _ => (BAD_REPLY, Cause::NotKinesis),
    };
    of(Class::Transient, cause, code.into(), chain(error))
}

/// The HTTP status of the reply; `None` if there was no reply.
fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|reply| reply.status().as_u16())
}

/// An error and everything that caused it, the nearest first.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The texts of an error and of its causes in one line. The SDK's own texts ("dispatch failure")
/// hide the cause.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
