//! How fast a shard that was throttled may be sent to.
//!
//! Pure. A shard that was never throttled has no pace: nothing is limited beforehand, since other
//! producers share it and its limit may be raised. Once throttled, it is paced by a bucket of
//! *shard-seconds* (what one shard takes in one second: 1,000 records or 1 MiB, whichever a record
//! uses more of). The bucket's rate grows with time and falls with what is refused. At rest the two
//! cancel: each producer has `GROWTH / FALL`, 2.5 % of a shard, refused, whatever its rate is. Of
//! two that share a shard the faster one has more refused and so falls further: they come to equal
//! shares.

use std::time::{Duration, Instant};

use dispatchd_core::limits::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};

/// By how much the rate grows in a second, in shard-seconds a second. Two producers come to equal
/// shares in some ten seconds.
const GROWTH: f64 = 0.05;
/// The time without a refusal after which the rate grows faster and faster: there is room. Kinesis
/// counts over a second, so at rest there is a refusal in most seconds.
const STEADY: Duration = Duration::from_secs(2);
/// By how much the rate falls for each shard-second that is refused.
const FALL: f64 = 2.0;
/// The rate to begin with: what the whole shard takes. Refusals bring it down within a second.
const RATE_FIRST: f64 = 1.0;
/// The least rate: so slow a shard is still tried.
const RATE_MIN: f64 = 0.02;
/// The greatest rate, a bound for the arithmetic: what is so fast cannot be limited by a shard.
const RATE_MAX: f64 = 16.0;
/// For how long tokens pile up while there is nothing to send.
const BURST_SECONDS: f64 = 0.25;
/// For how long tokens pile up before the shard is sent to again: so that a request carries a
/// handful of records and not one.
const QUANTUM_SECONDS: f64 = 0.02;
/// The time without a refusal after which the shard is not paced any more.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// The pace of one shard.
#[derive(Debug, Clone)]
pub(super) struct Pacing {
    /// Shard-seconds a second.
    rate: f64,
    /// Shard-seconds that may be sent; negative after a large record.
    tokens: f64,
    /// When `rate` and `tokens` were as they are here.
    at: Instant,
    began: Instant,
    last_refused: Instant,
}

/// What a record of this size takes of a shard, in shard-seconds.
pub(super) fn cost(record_bytes: usize) -> f64 {
    (1.0 / SHARD_RECORDS_PER_SECOND).max(record_bytes as f64 / SHARD_BYTES_PER_SECOND)
}

/// What a record of this size takes of a shard as one more member of a packed record.
pub(super) fn cost_of_more(record_bytes: usize) -> f64 {
    record_bytes as f64 / SHARD_BYTES_PER_SECOND
}

impl Pacing {
    /// The pace of a shard that was throttled at `now` and had none.
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: RATE_FIRST, tokens: 0.0, at: now, began: now, last_refused: now }
    }

    /// The rate in shard-seconds a second, as of the last record that was sent or refused.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Shard-seconds that may be sent now; 0 while a handful has not come together.
    pub(super) fn allowance(&self, now: Instant) -> f64 {
        let tokens = self.tokens_at(now);
        if tokens < self.quantum() { 0.0 } else { tokens }
    }

    /// Whether nothing is left of the allowance.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.tokens_at(now) <= 0.0
    }

    /// When there is an allowance again.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let missing = (self.quantum() - self.tokens_at(now)).max(0.0);
        // A microsecond more than the sum says, which is rounded: then it is there.
        now + Duration::from_secs_f64(missing / self.rate) + Duration::from_micros(1)
    }

    pub(super) fn spend(&mut self, cost: f64, now: Instant) {
        self.pass(now);
        self.tokens -= cost;
    }

    /// A record was refused that went out at `sent`. What went out before it was paced says nothing
    /// about the pace.
    pub(super) fn refused(&mut self, cost: f64, sent: Instant, now: Instant) {
        self.pass(now);
        self.last_refused = now;
        if sent >= self.began {
            self.rate = (self.rate - FALL * cost).max(RATE_MIN);
        }
    }

    /// Whether the shard has taken everything for so long that it need not be paced.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_refused) >= FORGET_AFTER
    }

    /// The shard cools: what it might have been sent meanwhile is not made up for. The second over
    /// which Kinesis counts was used up; sent in the next one, it would be too much there.
    pub(super) fn rest(&mut self, until: Instant) {
        self.pass(until);
        self.tokens = self.tokens.min(0.0);
    }

    /// Lets time pass: tokens come, and the rate grows.
    fn pass(&mut self, now: Instant) {
        if now <= self.at {
            return; // it cools
        }
        self.tokens = self.tokens_at(now);
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let unrefused =
            now.saturating_duration_since(self.last_refused).saturating_sub(STEADY).as_secs_f64();
        self.rate = (self.rate + GROWTH * (1.0 + unrefused) * seconds).min(RATE_MAX);
        self.at = now;
    }

    fn tokens_at(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since * self.rate).min(self.rate * BURST_SECONDS)
    }

    fn quantum(&self) -> f64 {
        (self.rate * QUANTUM_SECONDS).max(cost(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);
    const RECORD: f64 = 1.0 / SHARD_RECORDS_PER_SECOND;

    /// A shard that takes `limit` shard-seconds a second, counted over whole seconds, under endless
    /// demand by `paces`. Gives the part of the limit that each used and the part of what was sent
    /// that was refused, in the last minute.
    fn share_a_shard(
        limit: f64,
        producers: usize,
        begins: impl Fn(usize) -> f64,
    ) -> (Vec<f64>, f64) {
        let start = Instant::now();
        let mut paces: Vec<Pacing> =
            (0..producers).map(|n| Pacing { rate: begins(n), ..Pacing::new(start) }).collect();
        let (mut used, mut refused, mut sent) = (vec![0.0; producers], 0.0, 0.0);
        let mut left = limit;
        for step in 0..18_000u32 {
            let now = start + STEP * step;
            if step % 100 == 0 {
                left = limit;
            }
            let last_minute = step >= 12_000;
            for n in 0..producers {
                // Who comes first in a step takes turns.
                let n = (n + step as usize) % producers;
                let mut allowance = paces[n].allowance(now);
                while allowance > 0.0 {
                    allowance -= RECORD;
                    paces[n].spend(RECORD, now);
                    let fits = left >= RECORD;
                    if fits {
                        left -= RECORD;
                    } else {
                        paces[n].refused(RECORD, now, now);
                    }
                    if last_minute {
                        sent += RECORD;
                        used[n] += if fits { RECORD } else { 0.0 };
                        refused += if fits { 0.0 } else { RECORD };
                    }
                }
            }
        }
        (used.iter().map(|used| used / (limit * 60.0)).collect(), refused / sent)
    }

    #[test]
    fn one_producer_fills_the_shard_and_few_records_are_refused() {
        for limit in [0.2, 1.0, 3.0] {
            let (used, refused) = share_a_shard(limit, 1, |_| RATE_FIRST);
            assert!(used[0] > 0.97, "{limit}: {used:?}");
            assert!(refused < 0.10 / limit.min(1.0), "{limit}: {refused}");
        }
    }

    #[test]
    fn two_producers_come_to_equal_shares_whoever_was_first() {
        let (used, refused) = share_a_shard(1.0, 2, |n| if n == 0 { 1.0 } else { 0.05 });
        assert!(used.iter().all(|used| *used > 0.45), "{used:?}");
        assert!(used.iter().sum::<f64>() > 0.97, "{used:?}");
        assert!(refused < 0.10, "{refused}");
    }

    #[test]
    fn a_record_larger_than_the_burst_goes_out_and_is_paid_for() {
        let start = Instant::now();
        let mut pace = Pacing::new(start);
        let ready = pace.ready_at(start);
        assert!(pace.allowance(ready) > 0.0);
        pace.spend(cost(10 << 20), ready);
        assert!(
            pace.ready_at(ready) - ready >= Duration::from_secs(9),
            "10 MiB take a shard ten seconds"
        );
    }

    #[test]
    fn after_half_a_minute_without_a_refusal_the_pace_is_over() {
        let start = Instant::now();
        let mut pace = Pacing::new(start);
        pace.refused(RECORD, start, start);
        assert!(!pace.is_over(start + FORGET_AFTER / 2));
        assert!(pace.is_over(start + FORGET_AFTER));
    }
}
