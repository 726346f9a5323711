//! Tells the time by the service's clock, from the `Date` of its replies. This machine's clock may
//! be hours off.
//!
//! There is one clock for all calls to Kinesis. `put_records` lets it learn from its replies, and
//! an interceptor lets it learn from those of the SDK's calls. Other services (STS, the providers
//! of credentials) have clocks of their own, and their replies are not looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// The least difference of the clocks that matters to a signature. `Date` is exact to a second, and
/// a reply takes a while to arrive.
const SKEW_MIN: Duration = Duration::from_secs(30);

/// The value while no reply has told the time.
const NOT_TOLD: i64 = i64::MIN;

/// How far this host's clock is behind the service's. Clones share one clock.
#[derive(Debug, Clone)]
pub(super) struct ServiceClock {
    behind_millis: Arc<AtomicI64>,
}

impl Default for ServiceClock {
    fn default() -> Self {
        Self { behind_millis: Arc::new(AtomicI64::new(NOT_TOLD)) }
    }
}

impl ServiceClock {
    /// The service's time when this host's is `now`; `None` while no reply has told it. It is never
    /// later than the true one, and earlier by less than one second and the time that the last
    /// reply was on its way.
    pub(super) fn told_at(&self, now: SystemTime) -> Option<SystemTime> {
        let behind = self.behind_millis.load(Ordering::Relaxed);
        let by = Duration::from_millis(behind.unsigned_abs());
        match behind {
            NOT_TOLD => None,
            0.. => now.checked_add(by),
            _ => now.checked_sub(by),
        }
    }

    /// The time to sign a request with: this host's, unless its clock is off.
    pub(super) fn to_sign_at(&self, now: SystemTime) -> SystemTime {
        let told = self.told_at(now).unwrap_or(now);
        let skew = told.duration_since(now).unwrap_or_else(|ahead| ahead.duration());
        if skew < SKEW_MIN { now } else { told }
    }

    /// Compares the clocks by the `Date` of a reply that came `now`. Anything that is no date
    /// changes nothing.
    pub(super) fn learn(&self, date: Option<&str>, now: SystemTime) {
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
        let behind = match date.duration_since(now) {
            Ok(behind) => millis(behind),
            // Rounded up, so that the time told is never later than the service's.
            Err(ahead) => -millis(ahead.duration() + Duration::from_nanos(999_999)),
        };
        self.behind_millis.store(behind, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[dyn_dispatch_hint]
impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.learn(context.response().headers().get("date"), SystemTime::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: Option<&str> = Some("Thu, 01 Jan 1970 00:10:00 GMT");

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_is_off_is_put_right_by_the_services_date_and_a_second_is_not_worth_it() {
        let clock = ServiceClock::default();
        assert_eq!(clock.to_sign_at(at(5)), at(5));
        clock.learn(DATE, at(0));
        assert_eq!(clock.to_sign_at(at(7)), at(607));
        clock.learn(DATE, at(1000));
        assert_eq!(clock.to_sign_at(at(1000)), at(600));
        clock.learn(Some("no date"), at(0));
        assert_eq!(clock.to_sign_at(at(1000)), at(600), "what is no date changes nothing");
        clock.learn(DATE, at(602));
        assert_eq!(clock.to_sign_at(at(602)), at(602));
        let skewed = at(600) + SKEW_MIN;
        clock.learn(DATE, skewed);
        assert_eq!(clock.to_sign_at(skewed), at(600));
        clock.learn(DATE, skewed - Duration::from_millis(1));
        assert_eq!(clock.to_sign_at(at(700)), at(700));
    }

    #[test]
    fn the_time_is_told_as_it_was_told_and_never_later_however_little_the_clocks_differ() {
        let clock = ServiceClock::default();
        assert_eq!(clock.told_at(at(5)), None);
        clock.learn(DATE, at(602));
        assert_eq!(clock.told_at(at(610)), Some(at(608)));
        clock.learn(DATE, at(590));
        assert_eq!(clock.told_at(at(610)), Some(at(620)));
        let nano = Duration::from_nanos(1);
        for now in [at(602) + nano, at(590) + nano] {
            clock.learn(DATE, now);
            assert!(clock.told_at(now).is_some_and(|told| told <= at(600) && told > at(599)));
        }
    }
}
