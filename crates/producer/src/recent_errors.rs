//! Keeps the last errors, for the operator who asks a running daemon: what failed, when, how often.
//!
//! Never a payload. An error with a call and a code that are kept already is counted, not kept
//! again: a ring of copies would hide everything else.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

/// How many errors are kept; the oldest one is dropped first.
pub const RECENT_ERRORS_MAX: usize = 16;
/// How many characters of the service's own words are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// The last errors of the daemon's calls to Kinesis, the one that was seen last at the end.
///
/// A lock, since lanes and the refresher write it and the admin thread reads it. It guards sixteen
/// short texts and is held for a copy of them; a writer takes it only for a request that failed,
/// never on the way of an event that is stored. A channel would need a task that owns the ring, and
/// the ring must be readable when every other task is stuck.
#[derive(Debug, Default)]
pub struct RecentErrors(Mutex<VecDeque<RecentError>>);

/// One error, or several of the same kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentError {
    /// The call that failed.
    pub call: &'static str,
    pub code: String,
    /// The message of the last one.
    pub message: String,
    pub first: SystemTime,
    pub last: SystemTime,
    pub count: u64,
}

impl RecentErrors {
    /// Keeps an error that happened at `now`.
    pub fn note(&self, call: &'static str, code: &str, message: &str, now: SystemTime) {
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let mut errors = self.0.lock().expect("no holder of this lock panics");
        let same = errors.iter().position(|error| error.call == call && error.code == code);
        let (first, count) = match same.and_then(|index| errors.remove(index)) {
            Some(before) => (before.first, before.count),
            None => (now, 0),
        };
        if errors.len() == RECENT_ERRORS_MAX {
            errors.pop_front();
        }
        errors.push_back(RecentError {
            call,
            code: code.to_owned(),
            message,
            first,
            last: now,
            count: count + 1,
        });
    }

    /// A copy of what is kept.
    pub fn errors(&self) -> Vec<RecentError> {
        self.0.lock().expect("no holder of this lock panics").iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_same_error_again_is_counted_and_the_oldest_kind_goes_first() {
        let recent = RecentErrors::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for n in 0..5 {
            recent.note("PutRecords", "Timeout", &format!("the {n}th"), at(n));
        }
        let [error] = &recent.errors()[..] else { panic!("one kind") };
        assert_eq!(
            (error.count, error.first, error.last, error.message.as_str()),
            (5, at(0), at(4), "the 4th")
        );
        for n in 0..RECENT_ERRORS_MAX as u64 {
            recent.note("ListShards", &n.to_string(), &"x".repeat(1000), at(10 + n));
        }
        let errors = recent.errors();
        assert_eq!(errors.len(), RECENT_ERRORS_MAX);
        assert_eq!(errors[0].code, "0", "the timeouts made room");
        assert_eq!(errors[0].message.len(), MESSAGE_CHARS_MAX);
    }
}
