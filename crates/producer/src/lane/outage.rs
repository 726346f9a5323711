//! How PutRecords requests fare as a whole: whether nothing has been stored for a while, why, and
//! what of that the log tells.
//!
//! The log tells transitions, and few of them: an outage once it has lasted, a blocked stream at
//! once, and the end of what was told when a record is stored again. An outage that comes and goes
//! gets a line now and then, with a count. Pure, but for the lock at the end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use dispatchd_core::model::Cause;

/// An outage is worth a line once it has lasted so long. What passes sooner is what retries are
/// for.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// One outage a minute is told, and `AHEAD` more at once: the first ones are news, the hundredth is
/// not.
const TELL_EVERY: Duration = Duration::from_secs(60);
const AHEAD: u32 = 2;

/// What the log is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An outage: nothing was stored for `lasts`, or something blocks the stream; or the cause of
    /// that is another one now.
    Fails { cause: Cause, lasts: Duration, requests: u64, untold: u64 },
    /// A record was stored again, after an outage that was told.
    Ended { lasted: Duration, requests: u64 },
}

/// An outage that goes on, for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The cause that the last request failed for.
    pub cause: Cause,
    pub lasts: Duration,
    /// Requests that failed since it began.
    pub requests: u64,
}

/// What is remembered of the requests of all lanes.
#[derive(Debug, Default)]
struct Watch {
    /// The failures since the last record that was stored; `None` where there are none.
    run: Option<Run>,
    last_stored: Option<Instant>,
    /// The cause of this run that the log has told; `None` if it has told nothing of it.
    told: Option<Cause>,
    /// Runs that ended untold since the log's last line.
    untold: u64,
    /// When the allowance of lines is full again; `None` before the first line.
    paid_until: Option<Instant>,
}

/// Requests that failed one after the other, with nothing stored between them.
#[derive(Debug)]
struct Run {
    since: Instant,
    requests: u64,
    cause: Cause,
}

impl Watch {
    /// Notes that a request which was sent at `sent` stored nothing.
    fn failed(&mut self, cause: Cause, sent: Instant, now: Instant) -> Option<News> {
        let since = self.last_stored.map_or(sent, |stored| stored.max(sent));
        let run = self.run.get_or_insert(Run { since, requests: 0, cause });
        run.requests += 1;
        run.cause = cause;
        let (lasts, requests) = (now.saturating_duration_since(run.since), run.requests);
        let is_due = cause.is_blocked() || lasts >= TELL_AFTER;
        if !is_due || self.told == Some(cause) || !self.may_tell(now) {
            return None;
        }
        self.told = Some(cause);
        Some(News::Fails { cause, lasts, requests, untold: std::mem::take(&mut self.untold) })
    }

    /// Notes that a request stored a record, or was refused for its records alone.
    fn stored(&mut self, now: Instant) -> Option<News> {
        self.last_stored = Some(now);
        let run = self.run.take()?;
        let Some(_) = self.told.take() else {
            self.untold += 1;
            return None;
        };
        Some(News::Ended {
            lasted: now.saturating_duration_since(run.since),
            requests: run.requests,
        })
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        let paid_until = self.paid_until.map_or(now, |paid_until| paid_until.max(now));
        let may = paid_until <= now + TELL_EVERY * AHEAD;
        if may {
            self.paid_until = Some(paid_until + TELL_EVERY);
        }
        may
    }

    fn standing(&self, now: Instant) -> Option<Standing> {
        let Run { since, requests, cause } = *self.run.as_ref()?;
        Some(Standing { cause, lasts: now.saturating_duration_since(since), requests })
    }
}

/// How the requests of a daemon's lanes fare.
///
/// There is a lock, since every lane writes it and the admin thread reads it, also while the lanes
/// are busy. It guards a few numbers, is taken once a request, not once an event, and is never held
/// across a wait. A channel would need a task that owns it, and the news would come after the
/// answers.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Watch>);

impl Outage {
    /// Notes at `now` that a request which was sent at `sent` stored nothing. Returns what the log
    /// is to tell; `None` where that is nothing new.
    pub fn failed(&self, cause: Cause, sent: Instant, now: Instant) -> Option<News> {
        self.watch(|watch| watch.failed(cause, sent, now))
    }

    /// Notes that a request stored a record, or was refused for its records alone. Returns what the
    /// log is to tell; `None` where that is nothing new.
    pub fn stored(&self, now: Instant) -> Option<News> {
        self.watch(|watch| watch.stored(now))
    }

    /// The outage that goes on now; `None` where the stream takes records.
    pub fn standing(&self, now: Instant) -> Option<Standing> {
        self.watch(|watch| watch.standing(now))
    }

    fn watch<T>(&self, look: impl FnOnce(&mut Watch) -> T) -> T {
        look(&mut self.0.lock().expect("no holder of this lock panics"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::model::Reason;

    const REFUSED: Cause = Cause::ConnectionRefused;
    const DENIED: Cause = Cause::Blocked(Reason::AccessDenied);

    struct Kit {
        outage: Outage,
        began: Instant,
    }

    impl Kit {
        fn new() -> Self {
            Self { outage: Outage::default(), began: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.began + Duration::from_millis(ms)
        }

        fn fails(&self, cause: Cause, ms: u64) -> Option<News> {
            self.outage.failed(cause, self.at(ms), self.at(ms))
        }

        fn stored(&self, ms: u64) -> Option<News> {
            self.outage.stored(self.at(ms))
        }
    }

    #[test]
    fn an_outage_is_told_once_after_a_while_with_its_cause_and_once_at_its_end_with_how_long() {
        let kit = Kit::new();
        let news: Vec<_> =
            (0..9_000).step_by(100).filter_map(|ms| kit.fails(REFUSED, ms)).collect();
        let lasts = TELL_AFTER;
        assert_eq!(news, [News::Fails { cause: REFUSED, lasts, requests: 31, untold: 0 }]);
        let standing = Standing { cause: REFUSED, lasts: Duration::from_secs(9), requests: 90 };
        assert_eq!(kit.outage.standing(kit.at(9_000)), Some(standing));
        let ended = News::Ended { lasted: Duration::from_secs(10), requests: 90 };
        assert_eq!((kit.stored(10_000), kit.stored(10_001)), (Some(ended), None));
        assert_eq!(kit.outage.standing(kit.at(10_001)), None);
    }

    #[test]
    fn failures_among_which_something_is_stored_are_no_outage() {
        let kit = Kit::new();
        for ms in (0..60_000).step_by(1_000) {
            assert_eq!((kit.fails(Cause::Service, ms), kit.stored(ms + 900)), (None, None));
        }
        // Sent before the last record was stored, and given up long after.
        assert_eq!(kit.outage.failed(Cause::ReplyTimeout, kit.at(50_000), kit.at(60_000)), None);
        assert!(kit.outage.failed(Cause::ReplyTimeout, kit.at(60_000), kit.at(70_000)).is_some());
    }

    #[test]
    fn a_request_that_hung_for_long_is_an_outage_by_itself() {
        let kit = Kit::new();
        let news = kit.outage.failed(Cause::ReplyTimeout, kit.at(0), kit.at(10_000));
        let lasts = Duration::from_secs(10);
        assert_eq!(
            news,
            Some(News::Fails { cause: Cause::ReplyTimeout, lasts, requests: 1, untold: 0 })
        );
    }

    #[test]
    fn a_block_is_told_at_once_and_one_that_flaps_a_few_times_a_minute() {
        let kit = Kit::new();
        let mut news = Vec::new();
        for ms in (0..600_000).step_by(30) {
            news.extend(kit.fails(DENIED, ms));
            news.extend(kit.stored(ms + 10));
        }
        assert!(
            matches!(news[0], News::Fails { cause: DENIED, requests: 1, untold: 0, .. }),
            "{:?}",
            news[0]
        );
        let (begun, ended): (Vec<_>, Vec<_>) =
            news.iter().partition(|news| matches!(news, News::Fails { .. }));
        assert_eq!(
            (begun.len(), ended.len()),
            (12, 12),
            "3 at once and one a minute, each with its end"
        );
        let untold = |news: &&News| matches!(news, News::Fails { untold: 1_900.., .. });
        assert_eq!(begun.iter().filter(|news| untold(news)).count(), 9);
    }

    #[test]
    fn another_cause_is_news_and_two_that_take_turns_are_not() {
        let kit = Kit::new();
        let causes = |from: u64| {
            (from..from + 50_000)
                .step_by(1_000)
                .zip([REFUSED, Cause::ConnectTimeout].into_iter().cycle())
        };
        assert!(kit.fails(REFUSED, 0).is_none() && kit.fails(REFUSED, 4_000).is_some());
        let news = kit.fails(DENIED, 5_000);
        assert!(matches!(news, Some(News::Fails { cause: DENIED, requests: 3, .. })), "{news:?}");
        assert_eq!(causes(6_000).filter_map(|(ms, cause)| kit.fails(cause, ms)).count(), 1);
        assert!(matches!(kit.stored(60_000), Some(News::Ended { requests: 53, .. })));
    }
}
