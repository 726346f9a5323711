//! Whether the stream takes records at all: what blocks it, and when it is tried again.
//!
//! Pure. A blocked stream takes nothing until an operator acts. It is probed with one record at a
//! time, at waits of its own (`PROBE`, whatever the settings say); nothing is refused for it.
//! Whether a refusal is the stream's or the record's, `doubt` says.

use std::time::{Duration, Instant};

use rand::Rng;

use super::batch::Batch;
use super::doubt::{Doubt, is_about_records, named_record};
use dispatchd_core::model::backoff::Backoff;
use dispatchd_core::model::{PutError, Reason};

/// The waits between probes of a blocked stream: short at first, for an operator who is watching,
/// then one half a minute.
const PROBE: Backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30) };

/// The waits between probes while the daemon drains: its deadline is seconds away.
const DRAIN_PROBE: Backoff = Backoff { min: PROBE.min, max: PROBE.min };

/// What a lane knows of the stream as a whole.
#[derive(Debug, Default)]
pub(super) struct StreamHealth {
    blocked: Option<Blocked>,
    doubt: Doubt,
}

/// A stream that takes nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocked {
    pub reason: Reason,
    pub since: Instant,
    pub next_probe: Instant,
    /// Probes that failed in a row.
    pub probes: u32,
}

impl StreamHealth {
    /// What blocks the stream; `None` while it takes records.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        self.blocked
    }

    /// Why the stream is blocked; `None` while it takes records.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.blocked.map(|blocked| blocked.reason)
    }

    /// A request was taken: nothing blocks the stream, and refusals are about records.
    pub(super) fn request_was_taken(&mut self) {
        self.blocked = None;
        self.doubt.end();
    }

    /// A request was refused by what looks at requests: the stream lets them in so far.
    pub(super) fn request_was_looked_at(&mut self) {
        self.blocked = None;
    }

    /// A request was refused for what is in it, or so it says. Whether it is the stream that takes
    /// nothing. It is where two records that have nothing in common are refused alone in the same
    /// words; and then every refusal that names no record, until a request is taken or one of its
    /// records is named.
    pub(super) fn is_at_fault(&mut self, batch: &Batch, error: &PutError) -> bool {
        let is_at_fault = !is_about_records(error)
            && match batch.sole() {
                _ if self.reason() == Some(Reason::RequestRefused) => true,
                Some(item) => self.doubt.is_about_the_stream(item, error),
                None => false,
            };
        if !is_at_fault && named_record(&error.message).is_some() {
            self.doubt.end();
        }
        is_at_fault
    }

    /// Whether these are the words that another record was refused in: they repeat nothing of a
    /// record.
    pub(super) fn is_in_known_words(&self, error: &PutError) -> bool {
        self.doubt.is_in_the_words_of_the_first(error)
    }

    /// Something blocks the stream: plans the next probe. False where one is planned already, since
    /// flights that were out when the block began come back blocked too.
    pub(super) fn block(
        &mut self,
        reason: Reason,
        is_draining: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> bool {
        let (since, probes) = match self.blocked {
            Some(blocked) if now < blocked.next_probe => return false,
            Some(blocked) => (blocked.since, blocked.probes.saturating_add(1)),
            None => (now, 0),
        };
        let waits = if is_draining { DRAIN_PROBE } else { PROBE };
        let next_probe = now + waits.delay(probes, rng);
        self.blocked = Some(Blocked { reason, since, next_probe, probes });
        true
    }

    /// Plans a probe at `now`, and the ones after it as if it were the first.
    pub(super) fn probe(&mut self, now: Instant) {
        if let Some(blocked) = &mut self.blocked {
            *blocked = Blocked { next_probe: now, probes: 0, ..*blocked };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn a_probe_that_fails_at_its_time_counts_and_what_was_out_before_does_not() {
        let (mut health, mut rng) = (StreamHealth::default(), SmallRng::seed_from_u64(7));
        let start = Instant::now();
        let mut block = |health: &mut StreamHealth, now| {
            health.block(Reason::AccessDenied, false, now, &mut rng)
        };
        assert!(block(&mut health, start));
        let first = health.blocked().expect("it is blocked");
        assert!(!block(&mut health, first.next_probe - Duration::from_nanos(1)));
        assert!(block(&mut health, first.next_probe), "the probe itself");
        let second = health.blocked().expect("it is blocked still");
        assert_eq!((second.since, second.probes), (start, 1));
        health.probe(second.next_probe);
        let again = health.blocked().expect("it is blocked still");
        assert_eq!((again.next_probe, again.probes), (second.next_probe, 0));
        assert_eq!(again.since, start);
    }
}
