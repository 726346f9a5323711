//! The engine of the way out: which shards of a stream are read now, from where, how much at once,
//! and what follows when a call fails.
//!
//! - A shard is read once, by one reader, and never before its parents are read to their end. So
//!   the records of one key come in the order in which they were stored, across splits and merges
//!   too.
//! - No record comes twice and none is left out, also when calls fail or an iterator expires.
//!
//! `delivery` is what follows the reading: batches, attempts, progress. `format` is in which form
//! records go to a target, and `filter` says which are wanted. `dialogue` is the same for a child
//! that is delivered to by the KCL's protocol, and says itself what is done. `plan` decides which
//! shards to read, `cursor` knows the place in a shard, `polling` how much is asked for next and
//! when, `window` bounds what all readers hold, `recovery` decides what follows a failed call, and
//! `failure_report` what is told of it. Nothing here makes a call, starts a task, reads a clock or
//! draws a number: time and chance are arguments. Of tokio it uses `sync` alone.

pub mod cursor;
pub mod delivery;
pub mod dialogue;
pub mod failure_report;
pub mod filter;
pub mod format;
pub mod plan;
pub mod polling;
pub mod recovery;
pub mod window;
