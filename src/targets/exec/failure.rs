//! How a child fails, in words for the log: what happened, and what to do about it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use dispatchd_consumer::dialogue::Breach;
use dispatchd_core::wire::multilang::Action;

/// Why a child is followed by another.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the command cannot be started: {0}")]
    NotStarted(io::Error),
    #[error("the child ended by itself, with {0}")]
    Exited(ExitStatus),
    #[error("the child closed its standard output and runs on")]
    OutputClosed,
    #[error("the child has not answered {action} within {within:?}")]
    Unanswered { action: Action, within: Duration },
    #[error("the child broke the protocol: {0}")]
    Broken(#[from] Breach),
}

/// The kinds of failures: the log tells each of them by itself, and the metric counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    NotStarted,
    Exited,
    OutputClosed,
    Unanswered,
    Broken,
}

impl Cause {
    pub(super) const ALL: [Self; 5] =
        [Self::NotStarted, Self::Exited, Self::OutputClosed, Self::Unanswered, Self::Broken];

    /// The label of the metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Exited => "exited",
            Self::OutputClosed => "output_closed",
            Self::Unanswered => "unanswered",
            Self::Broken => "broken",
        }
    }
}

impl Failure {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::NotStarted(_) => Cause::NotStarted,
            Self::Exited(_) => Cause::Exited,
            Self::OutputClosed => Cause::OutputClosed,
            Self::Unanswered { .. } => Cause::Unanswered,
            Self::Broken(_) => Cause::Broken,
        }
    }

    /// What an operator, or who wrote the processor, can do.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::NotStarted(_) => {
                "see that the program is there and may be executed; the command is split at \
                 spaces, and no shell reads it"
            }
            Self::Exited(_) => "what it wrote to standard error stands above",
            Self::OutputClosed => "a processor must leave standard output to its library",
            Self::Unanswered { .. } => {
                "where a batch takes longer, raise exec_timeout or lower batch_size; else see \
                 whether the processor calls back"
            }
            Self::Broken(Breach::EndNotSet) => {
                "the processor has to checkpoint in shardEnded (in shutdown, with the reason \
                 TERMINATE): until then the shards after this one are not begun"
            }
            Self::Broken(Breach::OtherStatus { .. }) => {
                "only the library may write the protocol's messages to standard output"
            }
        }
    }
}
