//! A target that is a program: the KCL's MultiLangDaemon protocol over its standard input and
//! output, one child a shard. So record processors that were written for the KCL run without it.
//!
//! - A child that dies, hangs or breaks the protocol is ended, told, and followed by another, which
//!   goes on behind the checkpoint. The children of other shards do not notice.
//! - The checkpoint is the child's to say; `dispatchd_consumer::dialogue` decides which it may set.
//!   Records are not kept for a child that may die: the shard is read again.
//! - No child outlives its shard's delivery, and neither does what it started in its own process
//!   group.
//!
//! `command` is what is started, `child` one process and its pipes, `stderr` what it says beside
//! the protocol, `delivery` the loop of one shard, `failure` how a child fails, `kcl_file` the
//! KCL's own file of settings.

mod child;
mod command;
mod delivery;
mod failure;
mod kcl_file;
mod metrics;
mod stderr;
#[cfg(all(test, feature = "local"))]
mod tests;

use std::time::Duration;

pub(crate) use child::MESSAGES_BYTES_MAX;
pub(crate) use command::{CommandError, CommandLine};
pub(crate) use delivery::{Shard, deliver};
pub(crate) use kcl_file::{KclFile, Preset};
pub(crate) use metrics::ExecMetrics;

/// What holds for the children of all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What the target is called, for the log.
    pub target_name: String,
    pub command: CommandLine,
    /// How long a child may take until it answers.
    pub answer_timeout: Duration,
    /// How long it may take to stop.
    pub stop_grace: Duration,
    /// Records of one message.
    pub records_max: usize,
    /// Whether it is told of pages without records.
    pub tells_empty: bool,
}
