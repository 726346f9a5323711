//! What an error means: one table from Kinesis' codes to classes, and from what the transport and
//! the service say to causes. Pure.
//!
//! A class says what the lanes do, a cause what a person does. Codes are compared by name: an error
//! that the SDK does not model is read the same way. Nothing here acts.

use std::io;

use dispatchd_core::model::{Cause, Class, Reason};
use dispatchd_transport::{NoReply, NotConnected};
use rustls::CertificateError;

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

// === Classes ===

/// The class of a failed request, by its code if that is known, else by the HTTP status of the
/// reply.
pub(super) fn request(code: Option<&str>, status: u16) -> Class {
    if let Some(class) = code.and_then(find) {
        return class;
    }
    match status {
        429 => Class::Throttled,
        413 => Class::Poison,
        401 | 403 => Class::Blocked(Reason::AccessDenied),
        // 5xx, 408 and whatever is not known is assumed to pass. delivery.timeout ends it if it
        // does not.
        _ => Class::Transient,
    }
}

/// The class of one record's error, in a reply that was a success as a whole. Kinesis documents two
/// codes here; any other is assumed to pass.
pub(super) fn record(code: &str) -> Class {
    match find(code) {
        Some(Class::Throttled) => Class::Throttled,
        Some(Class::Poison) => Class::Poison,
        _ => Class::Transient,
    }
}

fn find(code: &str) -> Option<Class> {
    CODES.iter().find(|(name, _)| *name == code).map(|(_, class)| *class)
}

// === Causes ===

/// Why a request got no reply.
pub(super) fn no_reply(error: &NoReply) -> Cause {
    match error {
        NoReply::NotConnected(error) => no_connection(error),
        NoReply::Lost(error) if error.is_parse() => Cause::NotKinesis,
        NoReply::Closed(_) | NoReply::Lost(_) => Cause::ConnectionLost,
        NoReply::Late(_) => Cause::ReplyTimeout,
        NoReply::TooLarge { .. } => Cause::NotKinesis,
    }
}

fn no_connection(error: &NotConnected) -> Cause {
    match error {
        NotConnected::Lookup { .. } => Cause::Lookup,
        NotConnected::Connect { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Cause::ConnectionRefused,
            io::ErrorKind::TimedOut => Cause::ConnectTimeout,
            io::ErrorKind::NotFound => Cause::Lookup, // a name without an address
            _ => Cause::Unreachable,
        },
        NotConnected::Tls { source, .. } => no_tls(source),
        NotConnected::Tunnel { .. } => Cause::Proxy,
        NotConnected::Http { .. } => Cause::ConnectionLost,
        NotConnected::TimedOut { .. } => Cause::ConnectTimeout,
    }
}

fn no_tls(error: &io::Error) -> Cause {
    use CertificateError as Bad;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::UnknownIssuer => Cause::TlsUnknownIssuer,
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => Cause::TlsExpired,
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Cause::TlsWrongName,
            _ => Cause::Tls,
        },
        _ => Cause::Tls,
    }
}

/// Why a reply is an error, of a request whose class is known. `code` is what Kinesis calls it, or
/// `None` if the reply is not in Kinesis' form.
pub(super) fn refusal(class: Class, code: Option<&str>, status: u16) -> Cause {
    match (class, code) {
        // A page without a code says nothing about permissions, or about streams that Kinesis has.
        (Class::Transient | Class::Blocked(Reason::AccessDenied), None) => match status {
            404 => Cause::NotFound,
            407 => Cause::Proxy,
            408 => Cause::ReplyTimeout,
            500.. => Cause::Gateway,
            _ => Cause::NotKinesis,
        },
        // Another service of AWS's, or a stand-in for one.
        (Class::Transient, Some("UnknownOperationException" | "UnknownOperation")) => {
            Cause::NotKinesis
        }
        _ => class.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::CertificateError as Bad;
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

    #[test]
    fn a_page_that_is_not_kinesis_is_told_from_kinesis_own_words() {
        for (code, status, cause) in [
            (None, 404, Cause::NotFound),
            (None, 403, Cause::NotKinesis),
            (None, 302, Cause::NotKinesis),
            (None, 407, Cause::Proxy),
            (None, 502, Cause::Gateway),
            (None, 429, Cause::Throttled),
            (Some("AccessDeniedException"), 400, Cause::Blocked(Reason::AccessDenied)),
            (Some("ResourceNotFoundException"), 404, Cause::Blocked(Reason::StreamNotFound)),
            (Some("InternalFailure"), 500, Cause::Service),
            (Some("UnknownOperationException"), 400, Cause::NotKinesis),
        ] {
            let class = request(code, status);
            assert_eq!(refusal(class, code, status), cause, "{code:?} {status}");
        }
    }

    #[test]
    fn tls_failures_are_told_apart() {
        let failed = |bad| {
            io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(bad))
        };
        assert_eq!(no_tls(&failed(Bad::UnknownIssuer)), Cause::TlsUnknownIssuer);
        assert_eq!(no_tls(&failed(Bad::Expired)), Cause::TlsExpired);
        assert_eq!(no_tls(&failed(Bad::NotValidForName)), Cause::TlsWrongName);
        assert_eq!(no_tls(&failed(Bad::BadSignature)), Cause::Tls);
        assert_eq!(no_tls(&io::ErrorKind::UnexpectedEof.into()), Cause::Tls);
    }
}
