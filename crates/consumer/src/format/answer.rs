//! What an answer of HTTP says of a batch: by its status, and in the format `lambda` also by what
//! the function answered.
//!
//! | status | means |
//! |---|---|
//! | 2xx | done; in `lambda` as the header `X-Amz-Function-Error` and the body say |
//! | 408, 425, 429, 503 | there was no room: not an attempt |
//! | 400 without a body, in `lambda` | the runtime interface emulator is busy: the same |
//! | 3xx, 401, 403, 404, 405, 406, 407, 410, 415 | we are refused, whatever we send: an operator has to act |
//! | other 4xx (400, 413, 422 …) | these records are refused |
//! | anything else | the target failed: an attempt |
//!
//! 502 and 504 count as attempts: who answers in the target's place cannot tell a target that is
//! not there from one that a record has killed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use dispatchd_core::wire::dead_letter::BODY_BYTES_MAX;
use dispatchd_core::wire::forward::function_answer::{ERROR_TYPE_CHARS_MAX, failed_items};

use super::Format;
use crate::delivery::{Delivered, Failure, FailureKind, Response};

/// Characters of a redirect's `Location` that are told.
const LOCATION_CHARS_MAX: usize = 200;

/// An answer: its status, the headers that mean something, its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    pub status: u16,
    /// `X-Amz-Function-Error`.
    pub function_error: Option<&'a str>,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// `Date`: what a time in `Retry-After` is measured from.
    pub date: Option<&'a str>,
    /// `Location`.
    pub location: Option<&'a str>,
    /// `None` where it was longer than anybody wants to hold.
    pub body: Option<&'a [u8]>,
}

impl Answer<'_> {
    /// What the answer says of the records that were posted.
    pub fn response(&self, format: Format, records: &[Arc<Delivered>]) -> Response {
        let status = self.status;
        let failed = |kind, reason: String| Response::Failed(self.failure(kind, reason));
        match status {
            200..300 if format == Format::Lambda => self.of_function(records),
            200..300 => Response::Delivered,
            300..400 => failed(FailureKind::Unauthorized, self.redirected()),
            400 if format == Format::Lambda && self.body.is_some_and(<[u8]>::is_empty) => {
                let reason = "the target answers 400 with nothing: it has an invocation already";
                failed(FailureKind::Unavailable, reason.to_owned())
            }
            _ => failed(kind_of(status), format!("the target answers {status}")),
        }
    }

    fn of_function(&self, records: &[Arc<Delivered>]) -> Response {
        let failed = |reason: String| Response::Failed(self.failure(FailureKind::Failed, reason));
        if let Some(error) = self.function_error {
            let error: String =
                error.chars().filter(|c| !c.is_control()).take(ERROR_TYPE_CHARS_MAX).collect();
            return failed(format!("the function failed: {error}"));
        }
        if self.status == 204 {
            return Response::Delivered; // it says itself that there is nothing to read
        }
        let Some(body) = self.body else {
            return failed("the function's answer is too long to be read".to_owned());
        };
        let items = match failed_items(body) {
            Ok(items) => items,
            Err(error) => return failed(error.to_string()),
        };
        let place = |number: &Cow<'_, str>| {
            records.iter().position(|record| record.place.sequence_number == *number)
        };
        let places: Option<Vec<usize>> = items.iter().map(place).collect();
        match places.as_deref() {
            None => failed("batchItemFailures names a record that was not in the batch".to_owned()),
            Some([]) => Response::Delivered,
            Some(places) => Response::Until(*places.iter().min().expect("there is one at least")),
        }
    }

    fn redirected(&self) -> String {
        let shown = |c: &char| c.is_ascii_graphic() && *c != '?';
        let to: String = self.location.unwrap_or("").chars().take_while(shown).collect();
        let to: String = to.chars().take(LOCATION_CHARS_MAX).collect();
        format!(
            "the target answers {} and leads to {to:?}: no redirect is followed, set the URL that is meant",
            self.status
        )
    }

    fn failure(&self, kind: FailureKind, reason: String) -> Failure {
        let body = self.body.filter(|body| !body.is_empty());
        let body = body.map(|body| {
            String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned()
        });
        let retry_after = self.retry_after.and_then(|text| wait(text.trim(), self.date));
        Failure { kind, status: Some(self.status), reason, body, retry_after }
    }
}

fn kind_of(status: u16) -> FailureKind {
    match status {
        408 | 425 | 429 | 503 => FailureKind::Unavailable,
        401 | 403..=407 | 410 | 415 => FailureKind::Unauthorized,
        400..500 => FailureKind::Refused,
        _ => FailureKind::Failed,
    }
}

/// A wait in seconds, or until a time, which is measured by the target's own clock.
fn wait(text: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text: &str| chrono::DateTime::parse_from_rfc2822(text.trim()).ok();
    (time(text)? - time(date?)?).to_std().ok()
}
