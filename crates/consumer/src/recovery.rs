//! Decides what follows a call that failed: whether to try again, when, and from where.

use std::time::Duration;

use dispatchd_core::model::{Backoff, CallError, Class, Reason};
use rand::Rng;

use crate::polling::CALLS_APART;

/// The waits after calls that failed, throttled ones too.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(10) };

/// Failures in a row that say "not found" before the shard is taken to be gone: AWS's lists and
/// shards agree only after a while.
const NOT_FOUND_MAX: u32 = 3;

/// The stream cannot be read, and waiting will not help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{call}: {}", advice(.call.class))]
pub struct ReadError {
    pub call: CallError,
}

/// The failures in a row of one shard's calls.
#[derive(Debug, Default)]
pub struct ShardCalls {
    failures: u32,
}

/// The failures in a row of the calls that list a stream's shards.
#[derive(Debug, Default)]
pub struct ListCalls {
    failures: u32,
    has_listed: bool,
}

/// What follows a failed call on a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The stream cannot be read, and waiting will not help.
    GiveUp,
    /// The service does not know the shard: it is past retention, if the stream still exists.
    ShardNotFound,
    /// The next call, so long after the start of this one.
    Again { after: Duration },
}

impl ShardCalls {
    /// Takes note that a page came.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// What follows this failure. `has_read`: whether anybody has read from the stream since the
    /// start; until then a refusal is an error of the set-up, later it is an outage.
    pub fn failed(&mut self, call: &CallError, has_read: bool, rng: &mut impl Rng) -> Next {
        if !call.is_expired_iterator() && is_final(call.class, has_read) {
            return Next::GiveUp;
        }
        self.failures = self.failures.saturating_add(1);
        let is_not_found = call.class == Class::Blocked(Reason::StreamNotFound);
        if is_not_found && self.failures > NOT_FOUND_MAX {
            return Next::ShardNotFound;
        }
        // An iterator that expired is no reason to wait; one that expires right after another is.
        let is_first_expiry = call.is_expired_iterator() && self.failures == 1;
        let after = if is_first_expiry { CALLS_APART } else { BACKOFF.delay(self.failures, rng) };
        Next::Again { after }
    }
}

impl ListCalls {
    /// Takes note that a list came.
    pub fn succeeded(&mut self) {
        (self.failures, self.has_listed) = (0, true);
    }

    /// The time from this call to the next one; `None` if waiting will not help. A stream that does
    /// not exist is an error at any time: one that comes back has other records.
    pub fn failed(&mut self, call: &CallError, rng: &mut impl Rng) -> Option<Duration> {
        let is_gone = call.class == Class::Blocked(Reason::StreamNotFound);
        if is_gone || is_final(call.class, self.has_listed) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        Some(BACKOFF.delay(self.failures, rng))
    }
}

/// Whether waiting will not help. Permissions and credentials may come back if they were there
/// before.
fn is_final(class: Class, worked_before: bool) -> bool {
    match class {
        Class::Poison => true,
        Class::Blocked(_) => !worked_before,
        Class::Throttled | Class::Transient => false,
    }
}

/// What the person who reads the stream does about it.
fn advice(class: Class) -> &'static str {
    match class {
        Class::Blocked(reason) => reason.advice_to_readers(),
        Class::Poison => Reason::RequestRefused.advice_to_readers(),
        Class::Throttled | Class::Transient => "it may pass",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_core::model::Cause;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn call(class: Class, code: &str) -> CallError {
        let (operation, cause) = ("GetRecords", Cause::from(class));
        CallError { operation, class, cause, code: code.into(), message: String::new() }
    }

    fn waits(next: Next) -> bool {
        matches!(next, Next::Again { after } if (BACKOFF.min..=BACKOFF.max).contains(&after))
    }

    #[test]
    fn a_refusal_is_final_until_somebody_has_read_and_an_outage_never_is() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let denied = call(Class::Blocked(Reason::AccessDenied), "AccessDeniedException");
        assert_eq!(ShardCalls::default().failed(&denied, false, rng), Next::GiveUp);
        assert!(waits(ShardCalls::default().failed(&denied, true, rng)));
        assert_eq!(ListCalls::default().failed(&denied, rng), None);
        let mut list = ListCalls::default();
        list.succeeded();
        assert!(list.failed(&denied, rng).is_some());
        for class in [Class::Throttled, Class::Transient] {
            assert!(waits(ShardCalls::default().failed(&call(class, "x"), false, rng)));
            assert!(ListCalls::default().failed(&call(class, "x"), rng).is_some());
        }
        let poison = call(Class::Poison, "InvalidArgumentException");
        assert_eq!(ShardCalls::default().failed(&poison, true, rng), Next::GiveUp);
        assert_eq!(list.failed(&poison, rng), None);
    }

    #[test]
    fn a_shard_is_gone_after_a_few_answers_in_a_row_and_a_stream_at_once() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let gone = call(Class::Blocked(Reason::StreamNotFound), "ResourceNotFoundException");
        let mut shard = ShardCalls::default();
        for _ in 0..NOT_FOUND_MAX {
            assert!(waits(shard.failed(&gone, true, rng)));
        }
        assert_eq!(shard.failed(&gone, true, rng), Next::ShardNotFound);
        shard.succeeded();
        assert!(waits(shard.failed(&gone, true, rng)), "the count begins anew");
        let mut list = ListCalls::default();
        list.succeeded();
        assert_eq!(list.failed(&gone, rng), None);
    }

    #[test]
    fn an_expired_iterator_is_no_reason_to_wait_or_to_give_up_and_a_second_one_is_to_wait() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let expired = call(Class::Poison, "ExpiredIteratorException");
        let mut shard = ShardCalls::default();
        assert_eq!(shard.failed(&expired, true, rng), Next::Again { after: CALLS_APART });
        assert!(waits(shard.failed(&expired, true, rng)));
    }
}
