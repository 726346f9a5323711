//! What can go wrong, as a deck of cards: every kind is dealt once before any is dealt again, so a
//! short run meets all of them. Decides what a card means to service and network; plays nothing.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::ATTEMPT_TIMEOUT;
use testkit::fault::plan::{Plan, Refusal, ShardLimits};
use testkit::tcp::Weather;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Card {
    // The service, record by record.
    RecordsThrottled,
    ShardsFull,
    RecordsFail,
    // The service, request by request.
    ReplyCut,
    ReplyShort,
    ClosedBefore,
    HangsBefore,
    HangsAfter,
    Refused,
    Blocked,
    Rotated,
    LimitMoved,
    // The network.
    Slow,
    Stalled,
    ResetNow,
    ResetSome,
    NobodyListens,
    HalfOpen,
    Silent,
    // The stream.
    Split,
    Merge,
    // The daemon.
    Terminated,
    Killed,
}

impl Card {
    pub(crate) const ALL: [Card; 23] = [
        Card::RecordsThrottled,
        Card::ShardsFull,
        Card::RecordsFail,
        Card::ReplyCut,
        Card::ReplyShort,
        Card::ClosedBefore,
        Card::HangsBefore,
        Card::HangsAfter,
        Card::Refused,
        Card::Blocked,
        Card::Rotated,
        Card::LimitMoved,
        Card::Slow,
        Card::Stalled,
        Card::ResetNow,
        Card::ResetSome,
        Card::NobodyListens,
        Card::HalfOpen,
        Card::Silent,
        Card::Split,
        Card::Merge,
        Card::Terminated,
        Card::Killed,
    ];

    /// A full deck, shuffled.
    pub(crate) fn deck(rng: &mut StdRng) -> Vec<Card> {
        let mut deck = Card::ALL.to_vec();
        deck.shuffle(rng);
        deck
    }

    /// How long it is played. A fault that must outlast an attempt does.
    pub(crate) fn length(self, rng: &mut impl Rng) -> Duration {
        match self {
            Card::Blocked | Card::Rotated => Duration::from_millis(rng.random_range(2000..3000)),
            Card::Stalled | Card::HalfOpen | Card::Silent | Card::HangsAfter => {
                ATTEMPT_TIMEOUT.mul_f64(rng.random_range(1.2..2.0))
            }
            _ => Duration::from_millis(rng.random_range(600..1500)),
        }
    }

    /// What it makes of the service, beside what the director alone can do. Ratios of two cards add
    /// up to less than 1; a card alone may be nearly certain, so that events lose every attempt
    /// they have.
    pub(crate) fn darken(self, is_alone: bool, plan: &mut Plan, rng: &mut impl Rng) {
        let ratio =
            if is_alone && rng.random_bool(0.3) { 0.9 } else { rng.random_range(0.05..0.35) };
        match self {
            Card::RecordsThrottled => plan.throttled_ratio = ratio,
            Card::ShardsFull => {
                let records_per_s = rng.random_range(20..150);
                plan.shard_limits = Some(ShardLimits { records_per_s, bytes_per_s: 1 << 20 });
            }
            Card::RecordsFail => plan.internal_ratio = ratio,
            Card::ReplyCut => plan.cut_ratio = ratio,
            Card::ReplyShort => plan.short_ratio = ratio,
            Card::ClosedBefore => plan.close_before_ratio = ratio,
            // A drain in fair weather leaves nothing for its deadline.
            Card::HangsBefore | Card::Terminated => plan.hang_before_ratio = ratio,
            Card::HangsAfter => plan.hang_after_ratio = ratio,
            Card::Refused => {
                let refusals = [
                    Refusal::throttled(),
                    Refusal::limit_exceeded(),
                    Refusal::kms_throttled(),
                    Refusal::internal(),
                    Refusal::unavailable(),
                    Refusal::empty(502),
                    Refusal::empty(429),
                ];
                plan.refusals.extend(refusals.into_iter().map(|refusal| (0.04, refusal)));
            }
            Card::Blocked => {
                let why = [
                    Refusal::access_denied(),
                    Refusal::expired_token(),
                    Refusal::stream_missing("s"),
                ];
                plan.denied
                    .insert("PutRecords".into(), why[rng.random_range(0..why.len())].clone());
            }
            _ => {}
        }
    }

    /// What it makes of the network.
    pub(crate) fn cloud(self, weather: &mut Weather, rng: &mut impl Rng) {
        let delay = Duration::from_millis(rng.random_range(5..150));
        match self {
            Card::Slow => (weather.delay_up, weather.delay_down) = (delay, delay / 2),
            Card::Stalled => weather.stalled = true,
            Card::ResetSome => (weather.reset_ratio, weather.reset_after_bytes) = (0.4, 60_000),
            Card::NobodyListens => weather.refusing = true,
            Card::HalfOpen => weather.swallowing = true,
            _ => {}
        }
    }

    /// Whether a request or a reply may be lost or late for the network's sake.
    pub(crate) fn is_network(self) -> bool {
        matches!(
            self,
            Card::Slow
                | Card::Stalled
                | Card::ResetNow
                | Card::ResetSome
                | Card::NobodyListens
                | Card::HalfOpen
                | Card::Silent
        )
    }
}
