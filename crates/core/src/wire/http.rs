//! HTTP's words around events: what a request that is refused as a whole is told, and whom a
//! loopback port serves. Bytes in, bytes out: no connection and no header map is known here.

use std::net::IpAddr;

use crate::json::push_json_str;
use crate::model::{Code, Refusal};

/// Why a request is refused as a whole (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    pub refusal: Refusal,
}

impl Problem {
    /// A fault of HTTP's, which the codes of events have no status for.
    pub fn new(status: u16, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { status, refusal: Refusal::new(Code::InvalidRequest, message) }
    }

    pub fn not_found() -> Self {
        Self::new(404, "served are POST /v1/events, GET /v1/health and GET /v1/openapi.json")
    }

    pub fn method(allowed: &str) -> Self {
        Self::new(405, format!("only {allowed} is served here"))
    }

    /// Prints it as `application/problem+json`.
    pub fn print(&self, out: &mut Vec<u8>) {
        let Self { status, refusal } = self;
        out.extend_from_slice(b"{\"status\":");
        out.extend_from_slice(itoa::Buffer::new().format(*status).as_bytes());
        out.extend_from_slice(b",\"title\":");
        push_json_str(out, refusal.code.text());
        out.extend_from_slice(b",\"detail\":");
        push_json_str(out, &refusal.message);
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(refusal.code.as_str().as_bytes());
        out.extend_from_slice(b"\",\"retryable\":");
        out.extend_from_slice(if refusal.code.retryable() { b"true" } else { b"false" });
        match refusal.maybe_stored {
            Some(true) => out.extend_from_slice(b",\"outcome\":\"unknown\""),
            Some(false) => out.extend_from_slice(b",\"outcome\":\"not_stored\""),
            None => {}
        }
        out.extend_from_slice(b"}\n");
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.code.http_status(), refusal }
    }
}

/// Whether a loopback port serves a request: not one that a browser sent, nor one that was meant
/// for another host's name.
///
/// # Errors
/// What it is refused with.
pub fn admit(has_origin: bool, host: Option<&[u8]>) -> Result<(), Problem> {
    if has_origin {
        return Err(Problem::new(
            403,
            "a request with an Origin comes from a browser: it is not served",
        ));
    }
    match host {
        Some(host) if !is_loopback(host) => {
            Err(Problem::new(403, "Host is no name of loopback: use localhost, 127.0.0.1 or [::1]"))
        }
        _ => Ok(()),
    }
}

/// Whether a `Host` is `localhost` or an address of loopback, with or without a port.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_and_a_name_that_was_pointed_at_loopback_are_not_served() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:4567", "127.9.9.9", "[::1]", "[::1]:1"]
        {
            assert_eq!(admit(false, Some(host.as_bytes())), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]", "::1", "\u{e9}"]
        {
            let refused = admit(false, Some(host.as_bytes())).expect_err(host);
            assert_eq!(refused.status, 403, "{host}");
        }
        assert_eq!(
            admit(false, None),
            Ok(()),
            "HTTP/1.0 has no Host, and browsers do not speak it"
        );
        assert!(admit(true, Some(b"localhost")).is_err());
    }

    #[test]
    fn a_problem_says_the_status_the_code_and_whether_to_send_it_again() {
        let mut out = Vec::new();
        Problem::from(Refusal::unconfirmed(Code::DeliveryTimeout, true, "late")).print(&mut out);
        assert_eq!(
            String::from_utf8(out).expect("it is UTF-8"),
            concat!(
                r#"{"status":503,"title":"the event was not durable within delivery.timeout","#,
                r#""detail":"late","code":"DeliveryTimeout","retryable":true,"outcome":"unknown"}"#,
                "\n"
            )
        );
    }
}
