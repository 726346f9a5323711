//! How far each target of `forward` is, kept between two runs: a checkpoint a shard.
//!
//! - One book for a stream and a target: a file of its own, which one process at a time holds
//!   (`lock`).
//! - What was written is there after a crash: a new file is written beside the old one, brought to
//!   the disk, and takes its place (`file`).
//! - A file that is torn, or another stream's or target's, is an error and never a fresh start:
//!   that would deliver a day again, or leave one out (`document`). So is one of a stream that was
//!   deleted and made again under the same name (`book`).
//! - `book` is the task that writes; those who wait for it write together.

mod book;
mod document;
mod file;
mod keep;
mod lock;

pub(crate) use book::{Book, OtherStream};
pub(crate) use file::{OpenError, Survey, survey, writable};
pub(crate) use keep::Keep;
