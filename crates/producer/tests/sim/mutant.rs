//! Lanes that are wrong on purpose: each breaks a promise in one way, and the simulation must see
//! it.
//!
//! The lane's code is not touched: a mutant changes what goes into it or what comes out. What
//! cannot be done from outside was tried by hand, see the table in `main.rs`. One mutant cannot be
//! written at all: answering twice. A ticket is used up by its answer.

use std::sync::Arc;

use dispatchd_core::model::Class;
use dispatchd_core::model::shard_map::Shard;
use dispatchd_core::model::{ShardMap, Verdict};
use dispatchd_producer::lane::Batch;
use dispatchd_producer::lane::Settings;
use dispatchd_producer::lane::dedupe::Window;
use dispatchd_producer::lane::{Aggregation, KeyOrder};

use crate::plan::{At, ms};
use crate::stream::Reply;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The first verdict is taken for the whole request.
    VerdictForTheRequest,
    /// Records that failed are acked.
    FailedAcked,
    /// Each record gets its neighbour's verdict.
    VerdictsRotated,
    /// Events are acked when sent, not when stored.
    AckBeforeReply,
    /// What failed goes back in reverse.
    RetriesReversed,
    /// What failed is sent again at once.
    NothingCools,
    /// A batch that came home is forgotten.
    BatchLost,
    /// An event whose key is in flight is sent all the same.
    KeyInFlightIgnored,
    /// Strict order is taken for relaxed.
    StrictForgotten,
    /// A lost reply is not remembered as one that may mean stored.
    MaybeStoredForgotten,
    /// A record of which the reply says nothing is taken for one that failed.
    UnclearAsFailed,
    /// A poison request takes its innocent records with it.
    PoisonTakesAll,
    /// A stream that refuses all is never known for it: each record is thought to be at fault.
    StreamBlamesRecords,
    /// A blocked stream is taken for one that fails in passing.
    BlockedAsTransient,
    /// One throttled shard makes all others rest.
    ThrottleSpreads,
    /// Everything expires too late.
    ExpiresLate,
    /// Everything expires too soon.
    ExpiresEarly,
    /// Nobody hears until when a caller waits.
    DeadlineUnheard,
    /// Callers are thought to wait longer than they do.
    DeadlineLate,
    /// Callers are thought to wait less than they do.
    DeadlineEarly,
    /// What a caller no longer waits for is dropped, not answered.
    DeadlineDropsEvent,
    /// One flight too many.
    FlightTooMany,
    /// One record too many.
    RecordTooMany,
    /// Requests grow past their bytes.
    BytesTooMany,
    /// The lane lingers too long.
    LingersLong,
    /// The drain is not heard.
    DrainUnheard,
    /// Any refused request is thought to name its first record.
    PoisonMisread,
    /// What is late is dropped, not answered.
    LateForgotten,
    /// A flight that lands is not noticed.
    LandingUnnoticed,
    /// The timer goes off too late.
    TimerSleepsIn,
    /// Keys cool for half as long as they should.
    KeyCoolsHalf,
    /// An event whose key cools is sent, before the one that failed.
    CoolingKeySkipped,
    /// Only the poison of a request that was refused for it is dealt with.
    PoisonMatesForgotten,
    /// A copy is acked while its first is on its way, rightly as it turns out.
    CopyAckedEarly,
    /// A copy that joined is never answered.
    CopyForgotten,
    /// A copy that joined is dropped.
    CopyDropped,
    /// A copy that joined is answered with another outcome.
    CopyTimesOut,
    /// A copy goes on its way as if it were new.
    CopyOnItsOwn,
    /// A copy that is acked again is not told that it is one.
    DeduplicatedUntold,
    /// Another event with a known id is taken for a new one.
    ReusedTaken,
    /// Another event with a known id is taken for a copy.
    ReusedJoins,
    /// An id is forgotten of which an attempt may have stored the event.
    UnconfirmedForgotten,
    /// What was acked is forgotten too soon.
    WindowForgetsSoon,
    /// What was acked is remembered for too long.
    WindowRemembersLong,
    /// More ids are remembered than may be.
    WindowTooLarge,
    /// The window is not dropped with the lane.
    WindowOutlivesLane,
    /// A packed record that went to another shard than all of its members belong to is acked.
    MisplacementUnseen,
    /// The ack of a packed record's member does not say which one it is.
    MembersUnnumbered,
    /// More events share a record than may.
    AggregatesTooLarge,
    /// Events share a record though nobody asked for it.
    AggregatesUnasked,
}

impl Mutant {
    /// Every mutant with the check that is there for it.
    pub(crate) const ALL: &[(Mutant, &str)] = &[
        (Mutant::VerdictForTheRequest, "acked is stored"),
        (Mutant::FailedAcked, "acked is stored"),
        (Mutant::VerdictsRotated, "acked is stored"),
        (Mutant::AckBeforeReply, "acked is stored"),
        (Mutant::RetriesReversed, "oldest of the key first"),
        (Mutant::NothingCools, "a key cools"),
        (Mutant::NothingCools, "a shard rests"),
        (Mutant::BatchLost, "nothing is forgotten"),
        (Mutant::KeyInFlightIgnored, "one flight per key"),
        (Mutant::StrictForgotten, "strict: one record per key"),
        (Mutant::MaybeStoredForgotten, "maybe stored is told"),
        (Mutant::UnclearAsFailed, "maybe stored is told"),
        (Mutant::PoisonTakesAll, "rejected is poison"),
        (Mutant::StreamBlamesRecords, "rejected is poison"),
        (Mutant::StreamBlamesRecords, "a blocked stream is known"),
        (Mutant::BlockedAsTransient, "a blocked stream is known"),
        (Mutant::ThrottleSpreads, "sent within linger"),
        (Mutant::ExpiresLate, "no timeout is late"),
        (Mutant::ExpiresLate, "nothing late is sent"),
        (Mutant::ExpiresEarly, "no timeout is early"),
        (Mutant::DeadlineUnheard, "no deadline is late"),
        (Mutant::DeadlineUnheard, "nothing late is sent"),
        (Mutant::DeadlineLate, "no deadline is late"),
        (Mutant::DeadlineLate, "nothing late is sent"),
        (Mutant::DeadlineEarly, "no timeout is early"),
        (Mutant::DeadlineDropsEvent, "nothing is forgotten"),
        (Mutant::FlightTooMany, "flights"),
        (Mutant::RecordTooMany, "request limits"),
        (Mutant::BytesTooMany, "request limits"),
        (Mutant::LingersLong, "sent within linger"),
        (Mutant::DrainUnheard, "sent within linger"),
        (Mutant::PoisonMisread, "poison is found in log2(n)+1"),
        (Mutant::LateForgotten, "nothing is forgotten"),
        (Mutant::LandingUnnoticed, "everything is answered in time"),
        (Mutant::TimerSleepsIn, "sent within linger"),
        (Mutant::TimerSleepsIn, "what may go goes on"),
        (Mutant::KeyCoolsHalf, "a key cools"),
        (Mutant::CoolingKeySkipped, "oldest of the key first"),
        (Mutant::PoisonMatesForgotten, "nothing is forgotten"),
        (Mutant::CopyAckedEarly, "no copy is acked early"),
        (Mutant::CopyForgotten, "a copy is answered with its first"),
        (Mutant::CopyDropped, "nothing is forgotten"),
        (Mutant::CopyTimesOut, "a copy is answered as its first"),
        (Mutant::CopyOnItsOwn, "one record an id"),
        (Mutant::DeduplicatedUntold, "deduplicated is told"),
        (Mutant::ReusedTaken, "an id means one event"),
        (Mutant::ReusedJoins, "an id means one event"),
        (Mutant::UnconfirmedForgotten, "maybe stored is told"),
        (Mutant::UnconfirmedForgotten, "an id means one event"),
        (Mutant::WindowForgetsSoon, "one record an id"),
        (Mutant::WindowRemembersLong, "the window is bounded"),
        (Mutant::WindowTooLarge, "the window is bounded"),
        (Mutant::WindowOutlivesLane, "answered once"),
        (Mutant::MisplacementUnseen, "acked is stored"),
        (Mutant::MembersUnnumbered, "acked is stored"),
        (Mutant::AggregatesTooLarge, "aggregates"),
        (Mutant::AggregatesUnasked, "aggregates"),
    ];

    /// The settings as the lane gets them; the checks go by the plan's.
    pub(crate) fn settings(self, mut settings: Settings) -> Settings {
        match self {
            Mutant::NothingCools => (settings.backoff.min, settings.backoff.max) = (ms(0), ms(0)),
            Mutant::StrictForgotten => settings.ordering = KeyOrder::Relaxed,
            Mutant::ExpiresEarly => settings.timeout = settings.timeout * 3 / 4,
            Mutant::ExpiresLate => settings.timeout = settings.timeout * 5 / 4,
            Mutant::FlightTooMany => settings.max_in_flight += 1,
            Mutant::RecordTooMany => settings.max_records += 1,
            Mutant::BytesTooMany => settings.max_bytes += settings.max_bytes / 4,
            Mutant::AggregatesTooLarge => settings.aggregate_max_bytes *= 2,
            Mutant::AggregatesUnasked => settings.aggregation = Aggregation::Shard,
            Mutant::LingersLong => settings.linger += ms(5),
            Mutant::KeyCoolsHalf => {
                (settings.backoff.min, settings.backoff.max) =
                    (settings.backoff.min / 2, settings.backoff.max / 2)
            }
            _ => {}
        }
        settings
    }

    /// Until when a caller waits, as the lane gets it.
    pub(crate) fn deadline(self, deadline: Option<At>) -> Option<At> {
        match self {
            Mutant::DeadlineUnheard => None,
            Mutant::DeadlineLate => deadline.map(|deadline| deadline + ms(5)),
            Mutant::DeadlineEarly => deadline.map(|deadline| deadline.saturating_sub(ms(5))),
            _ => deadline,
        }
    }

    /// The dedupe window as the lane gets it.
    pub(crate) fn window(self, mut window: Window) -> Window {
        match self {
            Mutant::WindowForgetsSoon => window.keep_for /= 2,
            Mutant::WindowRemembersLong => window.keep_for *= 2,
            Mutant::WindowTooLarge => window.ids_max += 1,
            _ => {}
        }
        window
    }

    /// The shards as the lane gets them.
    pub(crate) fn map(self, map: Arc<ShardMap>) -> Arc<ShardMap> {
        if self != Mutant::ThrottleSpreads {
            return map;
        }
        let one = Shard { id: map.id(0).to_owned(), first: 0 };
        Arc::new(ShardMap::new(vec![one]).expect("one shard"))
    }

    /// A landed flight as the lane gets it.
    pub(crate) fn landed(self, batch: Batch, reply: Reply) -> (Batch, Reply) {
        match (self, reply) {
            (Mutant::VerdictForTheRequest, Ok(verdicts)) => {
                let first = verdicts.first().expect("a request has a record").clone();
                let verdicts = vec![first; verdicts.len()];
                (batch, Ok(verdicts))
            }
            (Mutant::FailedAcked, Ok(mut verdicts)) => {
                for verdict in &mut verdicts {
                    if matches!(
                        verdict,
                        Verdict::Failed { class: Class::Throttled | Class::Transient, .. }
                    ) {
                        *verdict = Verdict::Stored {
                            shard_id: "shardId-0".into(),
                            sequence_number: "0".into(),
                        };
                    }
                }
                (batch, Ok(verdicts))
            }
            (Mutant::VerdictsRotated, Ok(mut verdicts)) => {
                verdicts.rotate_left(1);
                (batch, Ok(verdicts))
            }
            (Mutant::RetriesReversed, Err(error)) => {
                (batch.into_items().rev().collect(), Err(error))
            }
            (Mutant::MaybeStoredForgotten, Err(mut error)) => {
                error.maybe_stored = false;
                (batch, Err(error))
            }
            (Mutant::UnclearAsFailed, Ok(verdicts)) => {
                let (class, code, message) =
                    (Class::Transient, "BadReply".to_owned(), String::new());
                let failed = Verdict::Failed { class, code, message };
                let heard =
                    |verdict| if verdict == Verdict::Unclear { failed.clone() } else { verdict };
                (batch, Ok(verdicts.into_iter().map(heard).collect()))
            }
            (Mutant::PoisonTakesAll, Err(error)) if error.class == Class::Poison => {
                let (class, code, message) = (error.class, error.code, error.message);
                let verdicts = vec![Verdict::Failed { class, code, message }; batch.len()];
                (batch, Ok(verdicts))
            }
            (Mutant::StreamBlamesRecords, Err(mut error)) if error.class == Class::Poison => {
                error.message.push_str(&format!(
                    " {:?}",
                    batch.records().map(|record| &record.data).collect::<Vec<_>>()
                ));
                (batch, Err(error))
            }
            (Mutant::PoisonMisread, Err(mut error)) => {
                error.message = "records.1.member".to_owned();
                (batch, Err(error))
            }
            (Mutant::BlockedAsTransient, Err(mut error))
                if matches!(error.class, Class::Blocked(_)) =>
            {
                error.class = Class::Transient;
                (batch, Err(error))
            }
            (_, reply) => (batch, reply),
        }
    }
}
