//! Two surfaces on a thread and a runtime of their own, so that both answer while the data path is busy.
//!
//! Over TCP, for everybody and read-only: `pages`, metrics and probes. No answer depends on Kinesis (a probe that does
//! takes every pod down with a brown-out). Over a Unix socket, for the daemon's own user: `desk`, what an operator asks
//! and tells. `status` is what it says, `client` asks it.

pub mod client;
pub mod desk;
mod pages;
pub mod status;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use desk::Desk;
use pages::Pages;

use crate::socket::bind::Reach;
use crate::telemetry::metrics::{Exposition, State};

/// Of a request's head, on both: a probe's has some 200. hyper's own bound is 400 KB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How often samples are folded into the histograms when nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The state, written by the daemon, read by the probes.
#[derive(Debug, Clone)]
pub struct Probe(Arc<AtomicU8>);

/// The HTTP servers, bound and not yet running.
#[derive(Debug)]
pub struct Admin {
    listener: Option<TcpListener>,
    exposition: Exposition,
    probe: Probe,
    reach: Option<Reach>,
    desk: Option<(mpsc::Receiver<UnixListener>, Desk)>,
}

/// The port is taken or not ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for metrics and probes: {source}. Choose another address with --admin-listen, or \"off\""
)]
pub struct AdminError {
    address: SocketAddr,
    source: io::Error,
}

impl Probe {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(State::Starting as u8)))
    }

    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    pub fn state(&self) -> State {
        let now = self.0.load(Ordering::Acquire);
        State::ALL.into_iter().find(|state| *state as u8 == now).expect("only states are stored")
    }
}

impl Admin {
    /// Binds. Without an address nothing listens, and the metrics are only kept in shape.
    pub fn bind(address: Option<SocketAddr>, exposition: Exposition) -> Result<Self, AdminError> {
        let bind = |address| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener =
            address.map(|address| bind(address).map_err(|source| AdminError { address, source })).transpose()?;
        Ok(Self { listener, exposition, probe: Probe::new(), reach: None, desk: None })
    }

    /// Is not ready while callers cannot connect.
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach: Some(reach), ..self }
    }

    /// Serves the admin socket too: its listener, and the one that takes its place.
    pub fn with_desk(self, listeners: mpsc::Receiver<UnixListener>, desk: Desk) -> Self {
        Self { desk: Some((listeners, desk)), ..self }
    }

    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Starts the thread. It ends with the process: probes are answered to the last moment.
    ///
    /// # Errors
    /// If the system gives no thread or no event queue.
    pub fn spawn(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("admin".into()).spawn(move || runtime.block_on(self.run()))?;
        Ok(())
    }

    async fn run(self) {
        let Self { listener, exposition, probe, reach, desk } = self;
        let pages = Arc::new(Pages::new(exposition, probe, reach));
        let tcp = async {
            match listener.map(tokio::net::TcpListener::from_std).transpose() {
                Ok(Some(listener)) => Arc::clone(&pages).serve(listener).await,
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "metrics and probes are not served"),
            }
        };
        let unix = async {
            if let Some((listeners, desk)) = desk {
                desk::serve(listeners, desk).await;
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
