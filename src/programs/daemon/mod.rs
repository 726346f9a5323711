//! The daemon: builds every part, owns every task, and ends them in order.
//!
//! Build can fail, spawn cannot: [`Daemon::build`] (`build`) binds, connects and checks,
//! [`Daemon::run`] (`run`) starts, and `drain` stops. What operators say is `control`'s to do,
//! which hands reloads to `taker`. No event passes here.
//!
//! The drain, by what ends what: the signal → readiness falls, nothing lingers, what cools wakes →
//! no caller is connected, or the reserve is reached: the listener closes and readers stop →
//! inboxes close → lanes empty → outboxes close → writers flush and half-close. At the deadline
//! what is left is answered `ShuttingDown`. An operator may ask for the beginning alone (`admin
//! drain`): readiness falls and nothing lingers, and the daemon serves on.

mod build;
mod drain;
mod open_files;
mod run;
mod taker;

use std::sync::Arc;

use tokio::sync::watch;

use crate::admin::socket::AdminSocket;
use crate::admin::{Admin, ListenError, SocketError};
use crate::config::{Inputs, Resolved};
#[cfg(feature = "local")]
use crate::embedded_stream::{Local, LocalError};
use crate::inputs::callers::Callers;
use crate::inputs::http::HttpServer;
use crate::inputs::kinesis_api::KinesisApiServer;
use crate::inputs::loopback::{Loopback, LoopbackError, OwnEndpoint};
use crate::inputs::presence::Presence;
use crate::inputs::socket::BindError;
use crate::inputs::socket::listener::Listener;
use crate::producer::lane::LaneTask;
use crate::producer::refresher::Refresher;
use crate::schema::LoadError;
use crate::telemetry::log::Log;
use dispatchd_aws::{ConnectError, Kinesis};
use dispatchd_producer::counters::InputCounters;

use self::drain::Stop;
pub(crate) use self::open_files::raise_open_files;
use self::taker::LanesAndStream;
use super::control::Control;
use super::manager::ServiceManager;

/// The daemon, built and not yet running.
#[derive(Debug)]
pub(crate) struct Daemon {
    kinesis: Kinesis,
    counters: InputCounters,
    listener: Listener,
    /// `None`: HTTP is served on the socket alone.
    http_listener: Option<(Loopback, HttpServer)>,
    kinesis_api: Option<(Loopback, KinesisApiServer)>,
    callers: Arc<Callers>,
    presence: watch::Receiver<Presence>,
    lanes: Vec<LaneTask<Kinesis>>,
    refresher: Refresher,
    admin: Admin,
    /// `None`: the admin socket is off.
    admin_socket: Option<AdminSocket>,
    /// Where metrics and probes are served, for the log.
    admin_address: Option<String>,
    control: Control<LanesAndStream>,
    stop: Stop,
    #[cfg(feature = "local")]
    embedded: Option<Local>,
}

/// What a daemon is made from.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Read again by a reload.
    pub inputs: Inputs,
    pub resolved: Resolved,
    pub log: Log,
    /// Is told how the daemon stands.
    pub manager: ServiceManager,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("socket.path (--socket): {0}")]
    Socket(#[from] BindError),
    #[error("schema.dir: {0}")]
    Schemas(#[from] LoadError),
    #[error(transparent)]
    Loopback(#[from] LoopbackError),
    #[error(transparent)]
    AdminSocket(#[from] SocketError),
    #[error(transparent)]
    Admin(#[from] ListenError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[cfg(feature = "local")]
    #[error(transparent)]
    Local(#[from] LocalError),
    #[cfg(not(feature = "local"))]
    #[error(
        "this dispatchd was built without the embedded stream (cargo feature `local`): run it \
         against Kinesis with --stream"
    )]
    WithoutLocal,
    #[error(transparent)]
    OwnEndpoint(#[from] OwnEndpoint),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Events that were accepted and not confirmed, and lines that were not read of callers that
    /// had gone.
    pub unconfirmed: u64,
    /// Whether a task died on the way: a defect.
    pub task_died: bool,
}
