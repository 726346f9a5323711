//! The thin shell around the engine of the way out: tasks with a clock and the service. What is
//! read when, and what follows a failure, `dispatchd_consumer` decides.
//!
//! `readers` owns one task for each shard that is read, in the plan's order. What that task is says
//! who reads: a `shard_reader` alone, whose pages go to one taker (`tail`), or a delivery that has
//! the shard read from where it likes (`shard_source`). How much is behind is counted in `backlog`.

mod backlog;
mod readers;
mod shard_reader;
mod shard_source;
mod start_from;

pub(crate) use backlog::Backlog;
pub(crate) use readers::{Options, ReaderShared, read_all, read_one, run};
pub(crate) use shard_reader::{Chunk, End, Failures};
pub(crate) use shard_source::ShardSource;
pub(crate) use start_from::start_from;
