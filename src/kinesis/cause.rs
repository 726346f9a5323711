//! Which cause a failure has: one table from what the transport and the service say to words for a
//! person. Pure.

use std::io;

use rustls::CertificateError as Bad;

use super::transport::{NoReply, NotConnected};
use dispatchd_core::model::{Cause, Class, Reason};

/// Of a request that got no reply.
pub(super) fn of_no_reply(error: &NoReply) -> Cause {
    match error {
        NoReply::NotConnected(error) => of_no_connection(error),
        NoReply::Lost(error) if error.is_parse() => Cause::NotKinesis,
        NoReply::Closed(_) | NoReply::Lost(_) => Cause::ConnectionLost,
        NoReply::Late(_) => Cause::ReplyTimeout,
        NoReply::TooLarge => Cause::NotKinesis,
    }
}

fn of_no_connection(error: &NotConnected) -> Cause {
    match error {
        NotConnected::Lookup { .. } => Cause::Lookup,
        NotConnected::Tcp { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Cause::ConnectionRefused,
            io::ErrorKind::TimedOut => Cause::ConnectTimeout,
            io::ErrorKind::NotFound => Cause::Lookup, // a name without an address
            _ => Cause::Unreachable,
        },
        NotConnected::Tls { source, .. } => of_tls(source),
        NotConnected::Tunnel { .. } => Cause::Proxy,
        NotConnected::Http { .. } => Cause::ConnectionLost,
        NotConnected::TimedOut { .. } => Cause::ConnectTimeout,
    }
}

fn of_tls(error: &io::Error) -> Cause {
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

/// Of a reply that is an error: what it is called there, if it is Kinesis' own.
pub(super) fn of_refusal(class: Class, code: Option<&str>, status: u16) -> Cause {
    match (class, code) {
        // A page without a code is nobody's word on permissions or streams that Kinesis has.
        (Class::Transient | Class::Blocked(Reason::AccessDenied), None) => match status {
            404 => Cause::NotFound,
            407 => Cause::Proxy,
            408 => Cause::ReplyTimeout,
            500.. => Cause::Gateway,
            _ => Cause::NotKinesis,
        },
        // Another service of AWS's, or its stand-in.
        (Class::Transient, Some("UnknownOperationException" | "UnknownOperation")) => {
            Cause::NotKinesis
        }
        _ => class.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let class = super::super::fault::request(code, status);
            assert_eq!(of_refusal(class, code, status), cause, "{code:?} {status}");
        }
    }

    #[test]
    fn tls_failures_are_told_apart() {
        let failed = |bad| {
            io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(bad))
        };
        assert_eq!(of_tls(&failed(Bad::UnknownIssuer)), Cause::TlsUnknownIssuer);
        assert_eq!(of_tls(&failed(Bad::Expired)), Cause::TlsExpired);
        assert_eq!(of_tls(&failed(Bad::NotValidForName)), Cause::TlsWrongName);
        assert_eq!(of_tls(&failed(Bad::BadSignature)), Cause::Tls);
        assert_eq!(of_tls(&io::ErrorKind::UnexpectedEof.into()), Cause::Tls);
    }
}
