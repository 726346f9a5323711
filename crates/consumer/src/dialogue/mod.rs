//! The dialogue with one child that is delivered a shard by the KCL's protocol: what may be told it
//! when, what follows from what it says, and which of the checkpoints that it asks for are set.
//!
//! 1. It is told one action at a time: `initialize`, then any number of `processRecords`, then
//!    `shardEnded`, or `leaseLost` with `shutdownRequested` before it. The next one follows when it
//!    has said that the last one is done.
//! 2. Its checkpoint never passes what was delivered to it, and never goes back.
//! 3. The end of a shard is set by the child, once it was told `shardEnded`, and never otherwise: a
//!    child that does not set it has not ended the shard.
//! 4. A line that is no message changes nothing. A child that says it has done something else than
//!    what it was told is broken, and what it did is not known.
//!
//! A child is asked nothing while a checkpoint of its is being stored: the lines after it wait in
//! the pipe. It makes the lines that are written to the child, so that none is written out of turn.
//! Pure: how long a child may take to answer is for its caller.

mod page;
mod range;
mod restarts;
#[cfg(test)]
mod tests;

use dispatchd_core::wire::multilang::{
    self, Action, Asked, Message, RecordsMessage, Refusal, Skipped,
};

pub use self::page::{Page, PageMessage};
pub use self::restarts::{Restart, Restarts};

use self::range::{Range, Resolved};
use crate::delivery::{Checkpoint, Place};

/// What is known of one child, from its start to its end.
#[derive(Debug)]
pub struct Dialogue {
    turn: Turn,
    range: Range,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Turn {
    /// It is told nothing, and may be.
    Ours { began: bool },
    /// It was told this, and has not said that it is done.
    Childs(Action),
    /// It asked for this checkpoint, which is being stored; then the turn is as it was.
    Storing { asked: Asked, checkpoint: Checkpoint, during: Box<Turn> },
    /// It has done the last thing that a child is told.
    Over,
}

/// What follows a line of the child's.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: it was no message.
    Skipped(Skipped),
    /// Nothing: it says that something is done, and was told nothing.
    Unasked,
    /// It has done this. The next thing may be told.
    Done(Action),
    /// Store this, and then call [`Dialogue::stored`].
    Store(Checkpoint),
    /// Write this line to it.
    Answer(Vec<u8>),
    /// End it: it does not keep to the protocol.
    Broken(Breach),
}

/// How a child broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("it was told {told} and said that it has done {}", said.map_or("something else", Action::name))]
    OtherStatus { told: Action, said: Option<Action> },
    #[error("it was told that the shard has ended, and set no checkpoint there")]
    EndNotSet,
}

impl Dialogue {
    /// A child that goes on behind this checkpoint; `None` if nothing of the shard was done yet.
    pub fn new(checkpoint: Option<Checkpoint>) -> Self {
        Self { turn: Turn::Ours { began: false }, range: Range::new(checkpoint) }
    }

    /// How far the shard is done, by what is stored.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.range.stored()
    }

    /// What the child was told and has not done.
    pub fn awaited(&self) -> Option<Action> {
        match &self.turn {
            Turn::Childs(action) => Some(*action),
            Turn::Storing { during, .. } => match **during {
                Turn::Childs(action) => Some(action),
                _ => None,
            },
            Turn::Ours { .. } | Turn::Over => None,
        }
    }

    /// The line that begins the dialogue.
    ///
    /// # Panics
    /// If it has begun.
    pub fn initialize(&mut self, shard: &str) -> Vec<u8> {
        assert_eq!(
            self.turn,
            Turn::Ours { began: false },
            "a child is initialized once, and first"
        );
        self.turn = Turn::Childs(Action::Initialize);
        let (number, sub) = self.range.said_at_start();
        let mut line = Vec::new();
        multilang::initialize(&mut line, shard, number, sub);
        line
    }

    /// The line with these records, the last of which is at `last`; `None` if there are none.
    ///
    /// # Panics
    /// If the child has something else to do, or the shard has ended.
    pub fn records(
        &mut self,
        records: RecordsMessage,
        last: Option<&Place>,
        behind_ms: u64,
    ) -> Vec<u8> {
        self.begin(Action::ProcessRecords);
        if let Some(last) = last {
            self.range.delivered(last);
        }
        records.finish(behind_ms)
    }

    /// The line that tells what has no more to it than its name.
    ///
    /// # Panics
    /// If the child has something else to do, or it needs more than its name.
    pub fn tell(&mut self, action: Action) -> Vec<u8> {
        assert!(
            !matches!(action, Action::Initialize | Action::ProcessRecords),
            "{action} has more to it than its name"
        );
        self.begin(action);
        if action == Action::ShardEnded {
            self.range.ended();
        }
        let mut line = Vec::new();
        multilang::plain(&mut line, action);
        line
    }

    fn begin(&mut self, action: Action) {
        assert_eq!(self.turn, Turn::Ours { began: true }, "{action} is told when it is our turn");
        self.turn = Turn::Childs(action);
    }

    /// Takes in a line of the child's.
    ///
    /// # Panics
    /// While a checkpoint is being stored.
    pub fn heard(&mut self, line: &[u8]) -> Heard {
        assert!(!matches!(self.turn, Turn::Storing { .. }), "lines wait while one is stored");
        match multilang::read(line) {
            Err(skipped) => Heard::Skipped(skipped),
            Ok(Message::Status(said)) => self.status(said),
            Ok(Message::Checkpoint(asked)) => self.asked(asked),
        }
    }

    fn status(&mut self, said: Option<Action>) -> Heard {
        // One who calls back twice says so twice; the KCL takes the second for the next one's.
        let Turn::Childs(told) = self.turn else { return Heard::Unasked };
        if said != Some(told) {
            return Heard::Broken(Breach::OtherStatus { told, said });
        }
        match told {
            Action::ShardEnded if self.checkpoint() != Some(&Checkpoint::End) => {
                return Heard::Broken(Breach::EndNotSet);
            }
            Action::ShardEnded | Action::LeaseLost => self.turn = Turn::Over,
            Action::Initialize | Action::ProcessRecords | Action::ShutdownRequested => {
                self.turn = Turn::Ours { began: true };
            }
        }
        Heard::Done(told)
    }

    fn asked(&mut self, asked: Asked) -> Heard {
        let resolved = match self.turn {
            Turn::Ours { began: false } | Turn::Over => Err(Refusal::InvalidState),
            Turn::Childs(Action::Initialize | Action::LeaseLost) => Err(Refusal::InvalidState),
            _ => self.range.resolve(&asked),
        };
        match resolved {
            Err(refusal) => Heard::Answer(answer(&asked, Some(refusal))),
            Ok(Resolved::AsItIs) => Heard::Answer(answer(&asked, None)),
            Ok(Resolved::To(checkpoint)) => {
                let during = Box::new(self.turn.clone());
                self.turn = Turn::Storing { asked, checkpoint: checkpoint.clone(), during };
                Heard::Store(checkpoint)
            }
        }
    }

    /// Takes note of what came of the checkpoint that was to be stored. Returns the line that
    /// answers the child.
    ///
    /// # Panics
    /// If none was.
    pub fn stored(&mut self, stored: Result<(), Refusal>) -> Vec<u8> {
        let turn = std::mem::replace(&mut self.turn, Turn::Over);
        let Turn::Storing { asked, checkpoint, during } = turn else {
            panic!("nothing was to be stored: {turn:?}")
        };
        self.turn = *during;
        if stored.is_ok() {
            self.range.store(checkpoint);
        }
        answer(&asked, stored.err())
    }
}

fn answer(asked: &Asked, refusal: Option<Refusal>) -> Vec<u8> {
    let mut line = Vec::new();
    multilang::checkpoint_answer(&mut line, asked, refusal);
    line
}
