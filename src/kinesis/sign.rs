//! Signature Version 4 for PutRecords, at the service's time.
//!
//! The service refuses what was signed five minutes off its own clock. So its clock is learnt from every reply's `Date`,
//! and where this host's is wrong the next request is signed at the right time. Never shows a secret.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{DATE, HeaderMap};

/// A difference of the clocks that does not matter. `Date` is exact to a second, and a reply takes its time.
const SKEW_MIN_SECONDS: i64 = 30;

/// How far this host's clock is behind the service's.
#[derive(Debug, Default)]
pub(super) struct ServiceClock {
    behind_seconds: AtomicI64,
}

/// A request that cannot be signed. It does not say with which credentials.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub(super) struct NotSigned(String);

impl ServiceClock {
    /// The service's time when this host's is `now`.
    pub(super) fn at(&self, now: SystemTime) -> SystemTime {
        let behind = self.behind_seconds.load(Ordering::Relaxed);
        if behind.abs() < SKEW_MIN_SECONDS {
            return now;
        }
        let by = Duration::from_secs(behind.unsigned_abs());
        let then = if behind > 0 { now.checked_add(by) } else { now.checked_sub(by) };
        then.unwrap_or(now)
    }

    /// Compares the clocks by a reply that came `now`.
    pub(super) fn learn(&self, headers: &HeaderMap, now: SystemTime) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
        let behind = date.duration_since(now).map_or_else(|ahead| -seconds(ahead.duration()), seconds);
        self.behind_seconds.store(behind, Ordering::Relaxed);
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Adds the headers that say whose request it is. Every header that is set by then is signed, as the service wants of
/// `Host` and its own.
///
/// # Errors
/// A header that is no text, or credentials that cannot stand in one.
pub(super) fn sign_request(
    request: &mut Request<Full<Bytes>>,
    body: &[u8],
    credentials: Credentials,
    region: &str,
    time: SystemTime,
) -> Result<(), NotSigned> {
    let failed = |error: &dyn std::fmt::Display| NotSigned(error.to_string());
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kinesis")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(&error))?;
    let headers = request.headers().iter().map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)));
    let headers = headers.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    let url = request.uri().to_string();
    let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body));
    let signable = signable.map_err(|error| failed(&error))?;
    let (signed, _) = sign(signable, &parameters.into()).map_err(|error| failed(&error))?.into_parts();
    for header in signed.into_parts().0 {
        let mut value = hyper::header::HeaderValue::from_str(header.value()).map_err(|error| failed(&error))?;
        value.set_sensitive(header.sensitive());
        request.headers_mut().insert(header.name(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn dated(date: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(DATE, date.parse().expect("it is a header's value"))])
    }

    #[test]
    fn a_clock_that_is_off_is_put_right_by_the_services_date_and_a_second_is_not_worth_it() {
        let clock = ServiceClock::default();
        assert_eq!(clock.at(at(5)), at(5));
        clock.learn(&dated("Thu, 01 Jan 1970 00:10:00 GMT"), at(0));
        assert_eq!(clock.at(at(7)), at(607));
        clock.learn(&dated("Thu, 01 Jan 1970 00:10:00 GMT"), at(1000));
        assert_eq!(clock.at(at(1000)), at(600));
        clock.learn(&dated("no date"), at(0));
        assert_eq!(clock.at(at(1000)), at(600), "what is no date changes nothing");
        clock.learn(&dated("Thu, 01 Jan 1970 00:10:00 GMT"), at(602));
        assert_eq!(clock.at(at(602)), at(602));
    }
}
