//! What keeps the readers from reading: told when it begins, then once a minute with a count, and
//! when it is over. Pure.
//!
//! Throttling comes and goes with every call, and many shards fail together: a line for each would
//! say nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::kinesis::error::CallError;

/// Between two lines. As long as nothing fails before it is said to be over.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The failures of all shards, and of their list.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Those that were not told of yet, by their codes: a closed set in effect, it is the
    /// service's.
    counts: BTreeMap<String, u64>,
    last: Option<CallError>,
    /// When it was told of; nothing while all is well.
    told_at: Option<Instant>,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Calls failed, so many by their codes; what the last one was told.
    Fails {
        failures: String,
        call: &'static str,
        reason: String,
    },
    Over,
}

impl Trouble {
    /// A call failed at `now`.
    pub(super) fn note(&mut self, call: &CallError, now: Instant) -> Option<News> {
        *self.counts.entry(call.code.clone()).or_default() += 1;
        self.last = Some(call.clone());
        if self.told_at.is_none() { self.tell(now) } else { None }
    }

    /// What is due at `now` though nothing happens.
    pub(super) fn due(&mut self, now: Instant) -> Option<News> {
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

impl News {
    pub(super) fn log(&self) {
        match self {
            Self::Fails { failures, call, reason } => {
                tracing::warn!(failures, call, reason, "{self}")
            }
            Self::Over => tracing::info!("{self}"),
        }
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
    use dispatchd_core::model::Class;
    use dispatchd_core::model::cause::Cause;

    fn call(code: &str) -> CallError {
        CallError {
            operation: "GetRecords",
            class: Class::Throttled,
            code: code.into(),
            message: "wait".into(),
            cause: Cause::Throttled,
        }
    }

    fn fails(failures: &str) -> Option<News> {
        Some(News::Fails { failures: failures.into(), call: "GetRecords", reason: "wait".into() })
    }

    #[test]
    fn the_first_failure_is_told_at_once_and_the_others_once_a_minute_with_a_count() {
        let (mut trouble, began) = (Trouble::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(trouble.note(&call("Throttled"), at(0)), fails("1 Throttled"));
        for second in 1..75 {
            assert_eq!(
                trouble
                    .note(&call(if second % 3 == 0 { "Expired" } else { "Throttled" }), at(second)),
                None
            );
            let due = trouble.due(at(second));
            assert_eq!(
                due,
                if second == 60 { fails("20 Expired, 40 Throttled") } else { None },
                "{second} s"
            );
        }
        assert_eq!(trouble.due(at(120)), fails("4 Expired, 10 Throttled"));
        assert_eq!(trouble.due(at(179)), None);
        assert_eq!(trouble.due(at(180)), Some(News::Over));
        assert_eq!(trouble.due(at(240)), None);
        assert_eq!(
            trouble.note(&call("Throttled"), at(241)),
            fails("1 Throttled"),
            "it begins anew"
        );
    }
}
