//! Errors of the Kinesis API: by name and status, as an SDK's own logic of sending again
//! understands them.
//!
//! No message repeats a value of the caller's.

use std::borrow::Cow;

use crate::model::Refusal;

/// Asks every SDK to send the call again, whatever was stored.
const INTERNAL_FAILURE: &str = "InternalFailure";

const THROTTLED: &str = "ProvisionedThroughputExceededException";

const UNAVAILABLE: &str = "ServiceUnavailable";

/// An error as a reply names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub name: &'static str,
    /// The HTTP status of a reply that is this error.
    pub status: u16,
    pub message: Cow<'static, str>,
}

impl ApiError {
    /// A call that no sending again makes better: no SDK does.
    pub fn new(name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { name, status: 400, message: message.into() }
    }

    /// A member is missing or wrong.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("ValidationException", message)
    }

    /// The body is not in its format, or a member is of another type than it takes.
    pub fn unreadable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("SerializationException", message)
    }

    /// The call asks for what this endpoint does not give.
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("AccessDeniedException", message)
    }

    /// There is no room now: every SDK sends the call again after a while.
    pub fn throttled(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(THROTTLED, message)
    }

    /// What was asked for may have been done all the same: every SDK sends the call again.
    pub fn maybe_done(message: impl Into<Cow<'static, str>>) -> Self {
        Self { name: INTERNAL_FAILURE, status: 500, message: message.into() }
    }

    /// Nobody is there to take it now: every SDK sends the call again.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self { name: UNAVAILABLE, status: 503, message: message.into() }
    }

    /// Why a record was refused, in the service's own names.
    pub fn of(refusal: &Refusal) -> Self {
        let message = refusal.message.clone();
        match refusal.code.aws_name() {
            _ if refusal.maybe_stored == Some(true) => Self::maybe_done(message),
            UNAVAILABLE => Self::unavailable(message),
            name => Self::new(name, message),
        }
    }

    /// Whether an SDK sends a call again that it is the answer of.
    pub fn is_sent_again(&self) -> bool {
        self.status >= 500 || self.name == THROTTLED
    }

    /// Whether sending the call again at once would be in vain.
    pub fn asks_to_wait(&self) -> bool {
        [THROTTLED, UNAVAILABLE].contains(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Code;

    #[test]
    fn what_may_be_stored_is_sent_again_and_so_is_whatever_its_code_says_can_help() {
        for code in Code::ALL {
            let error = ApiError::of(&Refusal::new(code, "why"));
            assert_eq!(error.is_sent_again(), code.retryable(), "{error:?}");
            assert_eq!((error.name, &*error.message), (code.aws_name(), "why"));
            let unclear = ApiError::of(&Refusal::unconfirmed(code, true, "why"));
            assert_eq!((unclear.name, unclear.status), ("InternalFailure", 500));
            let not_stored = ApiError::of(&Refusal::unconfirmed(code, false, "why"));
            assert_eq!(not_stored, error);
        }
    }
}
