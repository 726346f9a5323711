//! The failure of a call to the service other than PutRecords, in our words.

use super::{Cause, Class, Reason};

/// The failure of a call other than PutRecords.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub struct CallError {
    pub operation: &'static str,
    pub class: Class,
    /// Why, for whoever has to act.
    pub cause: Cause,
    pub code: String,
    pub message: String,
}

impl CallError {
    /// Whether the stream of the call does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == "ResourceNotFoundException"
    }

    /// Whether the stream exists already, where it was to be made, or is being changed.
    pub fn is_in_use(&self) -> bool {
        self.code == "ResourceInUseException"
    }

    /// Whether the iterator expired: nobody used it for five minutes. The position that it stood
    /// for is still right; a new iterator for it is needed.
    pub fn is_expired_iterator(&self) -> bool {
        self.code == "ExpiredIteratorException"
    }

    /// What the operator does about a failed call that needs the permission `action`.
    pub fn advice(&self, action: &str) -> String {
        match self.class {
            Class::Blocked(Reason::AccessDenied) if self.cause.is_blocked() => {
                format!(
                    "allow {action} on the stream to this identity; `dispatchd iam producer` \
                     prints the policy"
                )
            }
            Class::Throttled => {
                "ask again in a minute; if it stays, somebody else uses up the account's calls"
                    .to_owned()
            }
            Class::Blocked(_) | Class::Transient => self.cause.advice().to_owned(),
            Class::Poison => "correct stream.name or stream.arn".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_missing_one_that_is_in_use_and_an_expired_iterator_are_told_apart() {
        for (code, said) in [
            ("ResourceNotFoundException", [true, false, false]),
            ("ResourceInUseException", [false, true, false]),
            ("ExpiredIteratorException", [false, false, true]),
            ("LimitExceededException", [false, false, false]),
        ] {
            let error = CallError {
                operation: "CreateStream",
                class: Class::Transient,
                cause: Cause::Service,
                code: code.to_owned(),
                message: String::new(),
            };
            let told = [error.is_not_found(), error.is_in_use(), error.is_expired_iterator()];
            assert_eq!(told, said, "{code}");
        }
    }

    #[test]
    fn advice_is_about_the_permission_the_rate_the_name_or_the_cause() {
        let advice = |class, cause| {
            let (code, message) = (String::new(), String::new());
            CallError { operation: "ListShards", class, cause, code, message }
                .advice("kinesis:ListShards")
        };
        let denied = Cause::Blocked(Reason::AccessDenied);
        let class = Class::Blocked(Reason::AccessDenied);
        assert!(advice(class, denied).starts_with("allow kinesis:ListShards on the stream"));
        // A proxy that says so is no policy of AWS's.
        assert_eq!(advice(class, Cause::Service), Cause::Service.advice());
        assert!(advice(Class::Throttled, Cause::Throttled).starts_with("ask again in a minute"));
        assert_eq!(advice(Class::Transient, Cause::Service), Cause::Service.advice());
        assert_eq!(advice(Class::Poison, Cause::Service), "correct stream.name or stream.arn");
    }
}
