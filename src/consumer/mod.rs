//! The thin shell around the engine of the way out: tasks with a clock and the service. What is
//! read when, and what follows a failure, `dispatchd_consumer` decides.
//!
//! `readers` owns one `shard_reader` for each shard that is read.

mod readers;
mod shard_reader;

pub(crate) use readers::{Options, run};
pub(crate) use shard_reader::Chunk;
