//! What an error from Kinesis means: one table from codes to classes, for records and for requests.
//!
//! Codes are compared by name, modelled by the SDK or not: an error that the SDK does not know yet
//! is read the same way. Nothing here acts; `lane` decides what a class leads to.

use dispatchd_core::model::{Class, Reason};

/// Codes with a meaning of their own (AWS API reference: PutRecords, common errors; 2026-09), some
/// in the two spellings that AWS has for them. Any other code is read by its HTTP status.
pub const CODES: &[(&str, Class)] = &[
    ("ProvisionedThroughputExceededException", Class::Throttled),
    ("ThrottlingException", Class::Throttled),
    ("Throttling", Class::Throttled),
    ("LimitExceededException", Class::Throttled),
    ("RequestLimitExceeded", Class::Throttled),
    ("KMSThrottlingException", Class::Throttled),
    ("AccessDeniedException", Class::Blocked(Reason::AccessDenied)),
    ("AccessDenied", Class::Blocked(Reason::AccessDenied)),
    ("NotAuthorized", Class::Blocked(Reason::AccessDenied)),
    ("OptInRequired", Class::Blocked(Reason::AccessDenied)),
    ("ExpiredTokenException", Class::Blocked(Reason::Credentials)),
    ("ExpiredToken", Class::Blocked(Reason::Credentials)),
    ("UnrecognizedClientException", Class::Blocked(Reason::Credentials)),
    ("UnrecognizedClient", Class::Blocked(Reason::Credentials)),
    ("InvalidClientTokenId", Class::Blocked(Reason::Credentials)),
    ("InvalidSignatureException", Class::Blocked(Reason::Credentials)),
    ("InvalidSignature", Class::Blocked(Reason::Credentials)),
    ("IncompleteSignature", Class::Blocked(Reason::Credentials)),
    ("IncompleteSignatureException", Class::Blocked(Reason::Credentials)),
    ("MissingAuthenticationToken", Class::Blocked(Reason::Credentials)),
    ("MissingAuthenticationTokenException", Class::Blocked(Reason::Credentials)),
    // Signed at another time than the service's: the clock is wrong, and nothing passes until it is
    // set.
    ("RequestExpired", Class::Blocked(Reason::Credentials)),
    ("RequestTimeTooSkewed", Class::Blocked(Reason::Credentials)),
    ("ResourceNotFoundException", Class::Blocked(Reason::StreamNotFound)),
    ("KMSDisabledException", Class::Blocked(Reason::Kms)),
    ("KMSAccessDeniedException", Class::Blocked(Reason::Kms)),
    ("KMSInvalidStateException", Class::Blocked(Reason::Kms)),
    ("KMSNotFoundException", Class::Blocked(Reason::Kms)),
    ("KMSOptInRequired", Class::Blocked(Reason::Kms)),
    ("ValidationException", Class::Poison),
    ("ValidationError", Class::Poison),
    ("InvalidArgumentException", Class::Poison),
    ("SerializationException", Class::Poison),
    ("RequestEntityTooLargeException", Class::Poison),
];

/// The class of a request's error.
///
/// `status` is the HTTP status of the reply; a reply that carried no code is read by it alone.
pub fn request(code: Option<&str>, status: u16) -> Class {
    if let Some(class) = code.and_then(find) {
        return class;
    }
    match status {
        429 => Class::Throttled,
        413 => Class::Poison,
        401 | 403 => Class::Blocked(Reason::AccessDenied),
        // 5xx, 408 and whatever is not known: assumed to pass. delivery.timeout ends it if it does
        // not.
        _ => Class::Transient,
    }
}

/// The class of one record's error in a reply that was a success as a whole. Kinesis documents two
/// codes here; whatever else comes is assumed to pass.
pub fn record(code: &str) -> Class {
    match find(code) {
        Some(Class::Throttled) => Class::Throttled,
        Some(Class::Poison) => Class::Poison,
        _ => Class::Transient,
    }
}

fn find(code: &str) -> Option<Class> {
    CODES.iter().find(|(name, _)| *name == code).map(|(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_row() {
        for (i, (code, _)) in CODES.iter().enumerate() {
            assert!(CODES[..i].iter().all(|(earlier, _)| earlier != code), "{code} stands twice");
        }
    }

    #[test]
    fn a_request_is_read_by_its_code_before_its_status() {
        assert_eq!(request(Some("ProvisionedThroughputExceededException"), 400), Class::Throttled);
        assert_eq!(
            request(Some("ExpiredTokenException"), 400),
            Class::Blocked(Reason::Credentials)
        );
        assert_eq!(request(Some("KMSDisabledException"), 400), Class::Blocked(Reason::Kms));
        assert_eq!(request(Some("ValidationException"), 400), Class::Poison);
        assert_eq!(request(Some("ValidationException"), 500), Class::Poison);
    }

    #[test]
    fn a_reply_without_a_known_code_is_read_by_its_status() {
        assert_eq!(request(None, 429), Class::Throttled);
        assert_eq!(request(None, 413), Class::Poison);
        assert_eq!(request(None, 403), Class::Blocked(Reason::AccessDenied));
        assert_eq!(request(Some("InternalFailure"), 500), Class::Transient);
        assert_eq!(request(Some("ServiceUnavailable"), 503), Class::Transient);
        assert_eq!(request(None, 408), Class::Transient);
        assert_eq!(request(Some("SomethingNew"), 400), Class::Transient);
    }

    #[test]
    fn a_record_never_blocks_the_stream() {
        assert_eq!(record("ProvisionedThroughputExceededException"), Class::Throttled);
        assert_eq!(record("InternalFailure"), Class::Transient);
        assert_eq!(record("AccessDeniedException"), Class::Transient);
        assert_eq!(record("InvalidArgumentException"), Class::Poison);
    }
}
