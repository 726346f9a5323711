//! Two HTTP servers on a thread and a runtime of their own, so that both answer while the data path
//! is busy: metrics and probes over TCP for everybody (`pages`), and the admin socket for the
//! daemon's own user (`api`, with its one long answer in `status` and its file in `socket`).
//!
//! They read what others publish and hand commands to the daemon. They decide nothing, and no event
//! passes here.

pub(crate) mod api;
pub(crate) mod forward_status;
mod pages;
mod settings;
pub(crate) mod socket;
pub(crate) mod status;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::api::{AdminApi, COMMANDS_MAX, Command, StatusOf};
use self::pages::Pages;
use self::socket::AdminSocket;
use self::status::LiveSettings;
use crate::http_server::listen::{listen, try_address};
use crate::http_server::probes::SharedState;
use crate::inputs::socket::Reach;
use crate::telemetry::exporter::Exposition;

pub(crate) use self::settings::Settings;
pub(crate) use self::socket::SocketError;

/// How often samples are folded into the histograms when nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The TCP listener of metrics and probes, bound and not yet served; or none.
#[derive(Debug)]
pub(crate) struct PagesListener(Option<TcpListener>);

/// Both servers, bound and not yet running.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: PagesListener,
    pages: Pages,
    /// `None`: the admin socket is off.
    socket: Option<(mpsc::Receiver<UnixListener>, AdminApi)>,
}

/// The program's side of both servers.
#[derive(Debug)]
pub(crate) struct AdminHandle {
    pub operators: Operators,
    /// Keeps the socket's file while the daemon runs. `None`: the admin socket is off.
    pub socket: Option<AdminSocket>,
    /// Where metrics and probes are served; the port is the real one where 0 was asked for.
    pub address: Option<SocketAddr>,
}

/// What operators say to the program, and what they and the probes are shown of it.
#[derive(Debug)]
pub(crate) struct Operators {
    pub commands: mpsc::Receiver<Command>,
    /// What the probes answer by.
    pub state: SharedState,
    /// What `admin status` shows of the settings that hold now.
    pub live: watch::Sender<LiveSettings>,
}

/// What both servers answer from.
#[derive(Debug)]
pub(crate) struct Answers {
    pub exposition: Exposition,
    /// Whether callers reach the socket for events: without them the daemon is not ready.
    pub reach: Reach,
    pub shown: StatusOf,
    pub live: LiveSettings,
}

/// The port of metrics and probes is taken, or not ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for metrics and probes: {source}. Choose another address with \
     --admin-listen, or \"off\""
)]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

impl PagesListener {
    /// Listens; without an address nothing does.
    ///
    /// # Errors
    /// The address is taken, or not ours to have.
    pub(crate) fn bind(address: Option<SocketAddr>) -> Result<Self, ListenError> {
        let bind = |address| listen(address).map_err(|source| ListenError { address, source });
        Ok(Self(address.map(bind).transpose()?))
    }

    /// Whether [`Self::bind`] could have this address now. It listens to nobody, so that two may
    /// look at once.
    ///
    /// # Errors
    /// Those of [`Self::bind`].
    pub(crate) fn try_address(address: SocketAddr) -> Result<(), ListenError> {
        try_address(address).map_err(|source| ListenError { address, source })
    }
}

impl Admin {
    /// Binds the admin socket at `path`, unless it is off, and joins it to the listener of metrics
    /// and probes. Without that listener the metrics are only kept in shape.
    ///
    /// # Errors
    /// The path cannot be had.
    pub(crate) async fn bind(
        listener: PagesListener,
        path: Option<&Path>,
        answers: Answers,
    ) -> Result<(Self, AdminHandle), SocketError> {
        let Answers { exposition, reach, shown, live } = answers;
        let state = SharedState::default();
        let (live_in, live) = watch::channel(live);
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let (file, socket) = match path {
            None => (None, None),
            Some(path) => {
                let (file, listeners) = AdminSocket::bind(path).await?;
                let api = AdminApi::new(shown, state.clone(), live, commands_in);
                (Some(file), Some((listeners, api)))
            }
        };
        let address = listener.0.as_ref().and_then(|listener| listener.local_addr().ok());
        let pages = Pages::new(exposition, state.clone(), reach);
        let operators = Operators { commands, state, live: live_in };
        let handle = AdminHandle { operators, socket: file, address };
        Ok((Self { listener, pages, socket }, handle))
    }

    /// Starts the thread. It ends with the process: probes are answered to the last moment.
    ///
    /// # Errors
    /// If the system gives no thread or no event queue.
    pub(crate) fn spawn(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || runtime.block_on(self.run()))?;
        Ok(())
    }

    async fn run(self) {
        let Self { listener, pages, socket } = self;
        let pages = Arc::new(pages);
        let tcp = async {
            match listener.0.map(tokio::net::TcpListener::from_std).transpose() {
                Ok(Some(listener)) => Arc::clone(&pages).serve(listener).await,
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "metrics and probes are not served"),
            }
        };
        let unix = async {
            if let Some((listeners, api)) = socket {
                api::serve(listeners, api).await;
            }
        };
        tokio::join!(upkeep(&pages.exposition), tcp, unix);
    }
}

async fn upkeep(exposition: &Exposition) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    loop {
        every.tick().await;
        exposition.run_upkeep();
    }
}
