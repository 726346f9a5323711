//! Deliveries that are wrong on purpose: each breaks a promise in one way, and the simulation must
//! see it. The engine's code is not touched: a mutant changes what goes into it or what comes out.

use std::time::Duration;

use dispatchd_consumer::delivery::{FailureKind, GiveUp, Response, Rules};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// What failed is taken for delivered.
    FailedAsDelivered,
    /// One record more than the target says is taken for delivered.
    UntilOneMore,
    /// What the target did of a batch is forgotten.
    UntilAsFailed,
    /// A target that is not there costs an attempt.
    UnavailableCounts,
    /// A target that refuses us is taken for one that refuses the record.
    UnauthorizedAsRefused,
    /// A record that is refused is taken for one that failed.
    RefusedAsFailed,
    RetriesOneMore,
    RetriesOneLess,
    /// Nothing is halved.
    BisectForgotten,
    AgeDoubled,
    AgeHalved,
    /// What is to block is given up.
    BlockForgotten,
    BatchOneMore,
    BytesDoubled,
    WindowIgnored,
    WindowDoubled,
    /// A shard is split by key though nobody asked for it.
    StrandsUnasked,
    /// No record has a key.
    KeysIgnored,
    /// What the target does not want is sent.
    FilterForgotten,
    /// What the target wants is skipped.
    WantedSkipped,
    /// What the target does not want is not told.
    SkippedUntold,
    /// A page is taken in backwards.
    PageReversed,
    /// A checkpoint that was not persisted is taken for persisted.
    PersistFailureUnseen,
    /// What is stored is one record ahead.
    CheckpointAhead,
    /// What is stored is the place before the last one.
    CheckpointBack,
    /// What is stored takes a packed record for done with its first event.
    MembersForgotten,
    /// Dead letters that were not kept are taken for kept.
    LossUnseen,
    /// Where one dead letter was not kept, all that were kept with it count as not kept.
    LossForAll,
    /// A batch that came home is forgotten.
    ResponseForgotten,
    /// Waits are not kept.
    WaitsIgnored,
    /// The waits between attempts are nothing.
    NoBackoff,
    /// A shard counts as read though more comes.
    EndsEarly,
    /// Children begin with their parents.
    ParentsUnasked,
    /// Nobody hears that it is to stop.
    StopUnheard,
    /// The timer goes off too late.
    TimerSleepsIn,
    /// Where reading began is not remembered.
    StartForgotten,
    /// It is remembered for a shard that is read whole, too.
    StartForAll,
    /// A delivery begins without the checkpoint, though it is read from there.
    CheckpointUntold,
    /// What a page holds is never let go.
    PagesKept,
}

impl Mutant {
    /// Every mutant with the check that is there for it.
    pub(crate) const ALL: &[(Mutant, &str)] = &[
        (Mutant::FailedAsDelivered, "the checkpoint passes only what is done"),
        (Mutant::UntilOneMore, "the checkpoint passes only what is done"),
        (Mutant::UntilAsFailed, "what is done is not sent again"),
        (Mutant::UnavailableCounts, "attempts"),
        (Mutant::UnauthorizedAsRefused, "given up for its reason"),
        (Mutant::RefusedAsFailed, "attempts"),
        (Mutant::RetriesOneMore, "attempts"),
        (Mutant::RetriesOneLess, "attempts"),
        (Mutant::BisectForgotten, "attempts"),
        (Mutant::AgeDoubled, "nothing too old is sent"),
        (Mutant::AgeHalved, "given up for its reason"),
        (Mutant::BlockForgotten, "given up for its reason"),
        (Mutant::BatchOneMore, "the bounds of a batch"),
        (Mutant::BytesDoubled, "the bounds of a batch"),
        (Mutant::WindowIgnored, "a batch waits for its window"),
        (Mutant::WindowDoubled, "a batch is sent when its window ends"),
        (Mutant::StrandsUnasked, "order"),
        (Mutant::KeysIgnored, "order"),
        (Mutant::FilterForgotten, "what is not wanted is not sent"),
        (Mutant::WantedSkipped, "the checkpoint passes only what is done"),
        (Mutant::SkippedUntold, "the checkpoint gets to the end"),
        (Mutant::PageReversed, "order"),
        (Mutant::PersistFailureUnseen, "the checkpoint gets to the end"),
        (Mutant::CheckpointAhead, "the checkpoint passes only what is done"),
        (Mutant::CheckpointBack, "the checkpoint never goes back"),
        (Mutant::MembersForgotten, "the checkpoint passes only what is done"),
        (Mutant::LossUnseen, "the checkpoint passes only what is done"),
        (Mutant::LossForAll, "what is kept is not kept again"),
        (Mutant::ResponseForgotten, "everything is done in the end"),
        (Mutant::WaitsIgnored, "nothing spins"),
        (Mutant::NoBackoff, "nothing spins"),
        (Mutant::EndsEarly, "the checkpoint passes only what is done"),
        (Mutant::ParentsUnasked, "order"),
        (Mutant::StopUnheard, "a stop ends"),
        (Mutant::TimerSleepsIn, "a batch is sent when its window ends"),
        (Mutant::StartForgotten, "where reading began is kept"),
        (Mutant::StartForAll, "order"),
        (Mutant::CheckpointUntold, "what is checkpointed is not sent again"),
        (Mutant::PagesKept, "pages are let go"),
    ];

    /// The rules as the engine gets them; the checks go by the scenario's.
    pub(crate) fn rules(self, mut rules: Rules) -> Rules {
        if let Some(give_up) = &mut rules.give_up {
            self.give_up(give_up);
        }
        match self {
            Mutant::BisectForgotten => rules.bisect = false,
            Mutant::BlockForgotten if rules.give_up.is_none() => {
                rules.give_up = Some(GiveUp { retries_max: Some(1), age_max: None });
            }
            Mutant::BatchOneMore => rules.batch_records += 1,
            Mutant::BytesDoubled => rules.batch_bytes *= 2,
            Mutant::WindowIgnored => rules.batch_window = Duration::ZERO,
            Mutant::WindowDoubled => rules.batch_window *= 2,
            Mutant::StrandsUnasked if rules.strands == 1 => rules.strands = 2,
            Mutant::NoBackoff => {
                (rules.backoff.min, rules.backoff.max) = (Duration::ZERO, Duration::ZERO);
            }
            _ => {}
        }
        rules
    }

    fn give_up(self, give_up: &mut GiveUp) {
        if let Some(retries_max) = &mut give_up.retries_max {
            match self {
                Mutant::RetriesOneMore => *retries_max += 1,
                Mutant::RetriesOneLess => *retries_max = retries_max.saturating_sub(1),
                _ => {}
            }
        }
        if let Some(age_max) = &mut give_up.age_max {
            match self {
                Mutant::AgeDoubled => *age_max *= 2,
                Mutant::AgeHalved => *age_max /= 2,
                _ => {}
            }
        }
    }

    /// The response as the engine gets it.
    pub(crate) fn response(self, response: Response) -> Response {
        let as_kind = |response: Response, from, to| match response {
            Response::Failed(mut failure) if failure.kind == from => {
                failure.kind = to;
                Response::Failed(failure)
            }
            other => other,
        };
        use FailureKind::{Failed, Refused, Unauthorized, Unavailable};
        match (self, response) {
            (Mutant::FailedAsDelivered, Response::Failed(_)) => Response::Delivered,
            (Mutant::UntilOneMore, Response::Until(done)) => Response::Until(done + 1),
            (Mutant::UntilAsFailed, Response::Until(_)) => Response::Until(0),
            (Mutant::UnavailableCounts, response) => as_kind(response, Unavailable, Failed),
            (Mutant::UnauthorizedAsRefused, response) => as_kind(response, Unauthorized, Refused),
            (Mutant::RefusedAsFailed, response) => as_kind(response, Refused, Failed),
            (_, response) => response,
        }
    }
}
