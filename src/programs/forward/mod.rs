//! The forwarder: brings what is in the stream to its targets.
//!
//! Build can fail, spawn cannot: [`Forwarder::build`] (`build`) binds, connects and checks,
//! [`Forwarder::run`] (`run`) starts, and drains.
//!
//! | room | what it is about |
//! |---|---|
//! | `run` | the program's task: signals, operators, the drain |
//! | `supervisor` | which targets run |
//! | `taker` | hands on what a reload changes |
//! | `target_factory` | builds targets from their settings, at the start and by a reload |
//! | `subscription` | one target's readers, with a task for each shard |
//! | `target` | one target: its rules of delivery, and what the tasks of its shards share |
//! | `shard` | one shard on its way to one target |
//! | `unpack` | from a page to what is delivered of it |
//! | `seldom` | when what happens often is told |
//!
//! The drain: the signal → readiness falls → nothing more is read or sent → what is out is waited
//! for, at most for `shutdown.timeout` → checkpoints are kept → targets end. What is out and not
//! answered by then will be sent again by the next start.

mod build;
mod run;
mod seldom;
mod shard;
mod subscription;
mod supervisor;
mod taker;
mod target;
mod target_factory;
mod unpack;

use dispatchd_aws::{ConnectError, Kinesis};

pub(crate) use self::build::connection;
use self::supervisor::Supervisor;
use self::taker::Targets;
use self::target_factory::BuildError;
pub(crate) use self::target_factory::http_target;
use super::control::Control;
use super::manager::ServiceManager;
use crate::admin::socket::AdminSocket;
use crate::admin::{Admin, ListenError, SocketError};
use crate::config::{Inputs, Resolved};
use crate::telemetry::log::Log;

/// A forwarder, built and not yet running.
#[derive(Debug)]
pub(crate) struct Forwarder {
    kinesis: Kinesis,
    supervisor: Supervisor,
    admin: Admin,
    /// `None`: the admin socket is off.
    admin_socket: Option<AdminSocket>,
    /// Where metrics and probes are served, for the log.
    admin_address: Option<String>,
    control: Control<Targets>,
}

/// What a forwarder is made from.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Read again by a reload.
    pub inputs: Inputs,
    pub resolved: Resolved,
    /// Where an embedded stream of another process listens; `None`: the stream is where the
    /// configuration says.
    pub local_url: Option<String>,
    /// Whether the stream is an emulator's on another host.
    pub emulator: bool,
    pub log: Log,
    /// Is told how the forwarder stands.
    pub manager: ServiceManager,
}

/// Why there is no forwarder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    AdminSocket(#[from] SocketError),
    #[error(transparent)]
    Admin(#[from] ListenError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Target(#[from] BuildError),
    #[error("cannot start the admin thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How the forwarder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ended {
    /// Whether it was not waited for until every target had stopped.
    pub cut_short: bool,
    /// Requests that were out and not answered when the time was up.
    pub unanswered: usize,
    /// Whether the stream could not be read any more, which waiting does not help.
    pub failed: bool,
    /// Whether a task died on the way: a defect.
    pub task_died: bool,
}
