//! What a request that is refused as a whole is told: `application/problem+json` (RFC 9457), with
//! the code that an event would have been refused with.

use std::borrow::Cow;

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
    pub fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, refusal: Refusal::new(Code::InvalidRequest, message) }
    }

    pub fn not_found() -> Self {
        Self::new(404, "served are POST /v1/events, GET /v1/health and GET /v1/openapi.json")
    }

    pub fn method(allowed: &str) -> Self {
        Self::new(405, format!("only {allowed} is served here"))
    }

    /// What kind of problem it is: HTTP's own word where the fault is one of HTTP's, else what the
    /// code means.
    fn title(&self) -> &'static str {
        match self.status {
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            411 => "Length Required",
            415 => "Unsupported Media Type",
            _ => self.refusal.code.text(),
        }
    }

    /// Prints it as `application/problem+json`.
    pub fn print(&self, out: &mut Vec<u8>) {
        let Self { status, refusal } = self;
        out.extend_from_slice(b"{\"status\":");
        out.extend_from_slice(itoa::Buffer::new().format(*status).as_bytes());
        out.extend_from_slice(b",\"title\":");
        push_json_str(out, self.title());
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_fault_of_https_has_https_own_title() {
        let mut out = Vec::new();
        Problem::method("POST").print(&mut out);
        assert_eq!(
            String::from_utf8(out).expect("it is UTF-8"),
            concat!(
                r#"{"status":405,"title":"Method Not Allowed","detail":"only POST is served here","#,
                r#""code":"InvalidRequest","retryable":false}"#,
                "\n"
            )
        );
    }
}
