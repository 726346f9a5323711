//! Decides what is told of calls that fail: the first failure at once, then a count once a minute,
//! and when it is over.
//!
//! Throttling comes and goes with every call, and many shards fail together: a line for each
//! failure would say nothing more.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use dispatchd_core::model::CallError;

/// The time between two lines, and how long no call must fail before the failures are said to be
/// over.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The failed calls of all readers, and of the list of shards.
#[derive(Debug, Default)]
pub struct FailureReport {
    /// The failures that were not told yet, by their codes. Few: the codes are the service's.
    counts: BTreeMap<String, u64>,
    last: Option<CallError>,
    /// When something was told last; `None` while all is well.
    told_at: Option<Instant>,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Calls failed: how many with each code, and what the last one was told.
    Fails {
        failures: String,
        call: &'static str,
        reason: String,
    },
    Over,
}

impl FailureReport {
    /// Counts a call that failed at `now`. Returns what is to be told at once.
    pub fn note(&mut self, call: &CallError, now: Instant) -> Option<News> {
        *self.counts.entry(call.code.clone()).or_default() += 1;
        self.last = Some(call.clone());
        if self.told_at.is_none() { self.tell(now) } else { None }
    }

    /// What is to be told at `now` though nothing happened.
    pub fn due(&mut self, now: Instant) -> Option<News> {
        if now < self.told_at? + TELL_EVERY {
            return None;
        }
        if self.counts.is_empty() {
            self.told_at = None;
            return Some(News::Over);
        }
        self.tell(now)
    }

    fn tell(&mut self, now: Instant) -> Option<News> {
        self.told_at = Some(now);
        let counts: Vec<_> = std::mem::take(&mut self.counts)
            .into_iter()
            .map(|(code, n)| format!("{n} {code}"))
            .collect();
        let last = self.last.take()?;
        Some(News::Fails {
            failures: counts.join(", "),
            call: last.operation,
            reason: last.message,
        })
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fails { .. } => {
                "the stream cannot be read everywhere now: trying on, nothing is lost"
            }
            Self::Over => "the stream is read again: no call has failed for a minute",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::model::{Cause, Class};

    fn call(code: &str) -> CallError {
        CallError {
            operation: "GetRecords",
            class: Class::Throttled,
            code: code.into(),
            message: "wait".into(),
            cause: Cause::Throttled,
        }
    }

    #[test]
    fn what_fails_is_told_with_what_becomes_of_it() {
        let news = fails("1 Throttled").expect("it is news").to_string();
        assert!(news.ends_with("trying on, nothing is lost"), "{news}");
    }

    fn fails(failures: &str) -> Option<News> {
        Some(News::Fails { failures: failures.into(), call: "GetRecords", reason: "wait".into() })
    }

    #[test]
    fn the_first_failure_is_told_at_once_and_the_others_once_a_minute_with_a_count() {
        let (mut report, began) = (FailureReport::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(report.note(&call("Throttled"), at(0)), fails("1 Throttled"));
        for second in 1..75 {
            assert_eq!(
                report
                    .note(&call(if second % 3 == 0 { "Expired" } else { "Throttled" }), at(second)),
                None
            );
            let due = report.due(at(second));
            assert_eq!(
                due,
                if second == 60 { fails("20 Expired, 40 Throttled") } else { None },
                "{second} s"
            );
        }
        assert_eq!(report.due(at(120)), fails("4 Expired, 10 Throttled"));
        assert_eq!(report.due(at(179)), None);
        assert_eq!(report.due(at(180)), Some(News::Over));
        assert!(News::Over.to_string().starts_with("the stream is read again"));
        assert_eq!(report.due(at(240)), None);
        assert_eq!(
            report.note(&call("Throttled"), at(241)),
            fails("1 Throttled"),
            "it begins anew"
        );
    }
}
