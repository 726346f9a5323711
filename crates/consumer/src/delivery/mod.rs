//! The delivery of a shard's records to a target: which of them go in which request, when, and what
//! follows what the target says. One [`ShardDelivery`] for each shard and target.
//!
//! Everything here is pure: time and chance are arguments, work is returned as [`Step`]s. It sends
//! nothing and keeps nothing; a record is done when whoever does that says so.
//!
//! # Words
//! A *batch* goes in one request. A *strand* is the part of a shard's keys that is delivered in
//! order: all of them, or 1 of `parallelization`. A *part* is a batch that is to be sent again, or
//! half of one. The *checkpoint* is the last record before which everything is done.
//!
//! # Invariants
//! - One batch of a strand is under way. Nothing passes a record of its strand that is not done; so
//!   the records of a key are delivered in their order, also after failures.
//! - A record is done when it is delivered, when its dead letter is kept, or when it was not
//!   wanted.
//! - The checkpoint never passes a record that is not done, and never goes back.
//! - What is held is bounded: no more is taken in than there is room for (`held`).
//! - Nothing is tried again without a wait, whatever the target says; the wait is 60 s at most, or
//!   what the target asks for, at most five minutes.
//!
//! # What follows a response
//! | response | the records | an attempt? | wait |
//! |---|---|---|---|
//! | delivered | done | | none |
//! | until `i` > 0 | before `i` done; from `i` on sent again, alone | counts anew | back-off |
//! | until 0 | all again; after `max_attempts` retries the first alone is given up | yes | back-off |
//! | unavailable (no connection, 429, 503) | all again | no | back-off, or as asked |
//! | failed (5xx, function error, time-out) | all again; after `max_attempts` retries all are given up | yes | back-off |
//! | failed, more than one record, `bisect` | both halves, one after the other | no | back-off, not growing |
//! | refused (400, 413), more than one record | both halves, one after the other | no | back-off, not growing |
//! | refused, one record, dead-letter | given up at once | yes | back-off before what follows |
//! | refused, one record, block | again: the strand is blocked | yes | back-off |
//! | unauthorized (401, 403, redirect) | all again: the strand is blocked, whatever the rules | no | back-off |
//!
//! N retries are N + 1 deliveries. A half inherits the attempts of its whole. Before a batch is
//! sent, what is older than `max_age` is cut out of it and given up, without a response; not while
//! the target refuses us. So is what the target's form has no place for, and neither has what
//! follows wait. The waits grow until a success, also past what the target had given up: one that
//! refuses everything does not empty the stream into the dead letters in a minute. A dead letter
//! that cannot be kept is handed out again alone, after a wait.
//!
//! Lambda gives up the whole rest of a batch whose first record it names. Here the named one alone
//! is given up: nothing was said against the others.
//!
//! # Rooms
//! A file imports only from files that stand below it in this list.
//!
//! | room | what it is about |
//! |---|---|
//! | `shard` | [`ShardDelivery`]: the rooms put together |
//! | `strand` | records in their order, and the one batch of them that is under way |
//! | `follow` | the table above |
//! | `held` | what was read and is not done, and how far the shard is done |
//! | `persisting` | when a checkpoint is persisted |
//! | `wedge` | whether a target is there and does nothing |
//! | `sequence` | numbers that only grow, for targets that want them |
//! | `step`, `rules`, `dead_letter`, `batch`, `checkpoint`, `response`, `delivered` | the words |

mod batch;
mod checkpoint;
mod dead_letter;
mod delivered;
mod follow;
mod held;
mod persisting;
mod response;
mod rules;
#[cfg(test)]
mod samples;
mod sequence;
mod shard;
mod step;
mod strand;
mod wedge;

pub use batch::{Batch, BatchId};
pub use checkpoint::Checkpoint;
pub use dead_letter::{Condition, DeadLetters};
pub use delivered::{Delivered, Place, number_order};
pub use held::TAKEN_IN_MAX;
pub use response::{Failure, FailureKind, Response};
pub use rules::{
    BACKOFF, BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BATCH_WINDOW_MAX, GiveUp, Rules, STRANDS_MAX,
};
pub use sequence::IncreasingNumbers;
pub use shard::{ShardDelivery, bytes_beside_pages_max};
pub use step::{End, Follows, Holding, Now, Read, Settled, Standing, Step};
pub use wedge::{Wedge, WedgeNews};
