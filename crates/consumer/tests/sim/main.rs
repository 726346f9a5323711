//! The delivery of shards to a target under chance: plan, cursor and [`delivery`] as they are,
//! against a model stream and a model target, in virtual time, with every fault that both know. One
//! seed is one run and decides all of it, so a failing seed is a bug report:
//! `DISPATCHD_SIM_SEED=2834 cargo test -p dispatchd-consumer --test sim` runs it alone;
//! `DISPATCHD_SIM_SEEDS` runs as many as it says.
//!
//! - [`scenario`]: what a seed stands for: rules, events, faults.
//! - [`stream`], [`target`]: the models.
//! - [`run`]: the process in virtual time: it crashes, stops, starts again from what it persisted.
//! - [`watch`]: the promises, each a named check. [`tally`] counts, to see that the seeds get to
//!   everything.
//! - [`mutant`]: deliveries that are wrong on purpose, and the check that is there for each.
//!
//! It never sleeps, starts no thread and no task, and reads the clock once a run, for an origin.
//! The fixed seeds take 3 s of a core in dev, and the mutants as long (2026-11).
//!
//! What a mutant cannot do from outside was tried by hand, by changing
//! `crates/consumer/src/delivery` and looking at what fails (2026-11):
//!
//! | change | the check that fails |
//! |---|---|
//! | retries go behind other parts; the second half goes first; the queue goes before retries | order |
//! | the records of a key are spread | order |
//! | two batches of a strand at a time | panics |
//! | a half counts as an attempt; after a partial response the attempts go on | attempts |
//! | what is behind a record that is given up is dropped | everything is done in the end |
//! | what is young in a batch is dropped with what is too old | order |
//! | dead letters that were not kept count as done | the checkpoint passes only what is done |
//! | places are compared as text, or without their sub-sequence numbers | the checkpoint passes only what is done |
//! | the checkpoint is what was read last; a shard ends when it is read | the checkpoint passes only what is done |
//! | what is at the checkpoint is sent again | what is checkpointed is not sent again |
//! | it stops with a batch under way | panics |
//! | waits are drawn and not kept | nothing spins |
//! | the window begins with the last record | a batch is sent when its window ends |
//! | a checkpoint that failed is not tried again | the checkpoint gets to the end |
//!
//! [`delivery`]: dispatchd_consumer::delivery

mod clock;
mod mutant;
mod run;
mod scenario;
mod stream;
mod tally;
mod target;
mod watch;

use dispatchd_simulation::{every_mutant_is_caught, every_promise_holds};
use mutant::Mutant;

/// Seeds 0 to this, always.
const SEEDS_COUNT: u64 = 1000;

#[test]
fn every_promise_holds_in_the_fixed_seeds_and_in_one_more() {
    every_promise_holds(SEEDS_COUNT, |seed| run::run(seed, None));
}

#[test]
fn every_mutant_is_caught_by_the_check_that_is_there_for_it() {
    every_mutant_is_caught(Mutant::ALL, SEEDS_COUNT, |seed, mutant| run::run(seed, Some(mutant)));
}
