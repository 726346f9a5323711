//! Two surfaces on a thread and a runtime of their own, so that both answer while the data path is
//! busy.
//!
//! Over TCP, for everybody and read-only: `pages`, metrics and probes. No answer depends on Kinesis
//! (a probe that does takes every pod down with a brown-out). Over a Unix socket, for the daemon's
//! own user: `desk`, what an operator asks and tells. `status` is what it says, `client` asks it.

pub mod api;
mod pages;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use api::Desk;
use pages::Pages;

use crate::socket::bind::Reach;
use crate::telemetry::metrics::{Exposition, State};

/// Of a request's head, on both: a probe's has some 200. hyper's own bound is 400 KB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Connections that may wait to be accepted: each is accepted as it comes.
const BACKLOG: u32 = 1024;
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
    /// Whether [`Admin::bind`] could have this address now. Nobody is listened to, so that two may
    /// look at once.
    pub fn try_address(address: SocketAddr) -> Result<(), AdminError> {
        bound(address).map(drop).map_err(|source| AdminError { address, source })
    }

    /// Binds. Without an address nothing listens, and the metrics are only kept in shape.
    pub fn bind(address: Option<SocketAddr>, exposition: Exposition) -> Result<Self, AdminError> {
        let listen = |address| {
            let listener = bound(address).and_then(|socket| socket.listen(BACKLOG)?.into_std());
            listener.map_err(|source| AdminError { address, source })
        };
        let listener = address.map(listen).transpose()?;
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
        std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || runtime.block_on(self.run()))?;
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
                api::serve(listeners, desk).await;
            }
        };
        tokio::join!(upkeep(&pages.exposition), tcp, unix);
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    first_that_is_had(address, |address| {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?; // or a restart would wait for the last one's connections
        socket.bind(address)?;
        Ok(socket)
    })
}

/// All addresses of a host without IPv6 are those of IPv4.
fn first_that_is_had<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let is_without_ipv6 = |error: &io::Error| {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
    };
    match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        had => had,
    }
}

async fn upkeep(exposition: &Exposition) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    loop {
        every.tick().await;
        exposition.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_ipv6_is_listened_to_on_all_its_addresses() {
        for missing in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let bind = |address: SocketAddr| {
                if address.is_ipv6() {
                    Err(io::Error::from(missing))
                } else {
                    Ok(address.to_string())
                }
            };
            let had = |address: &str| first_that_is_had(address.parse().expect("an address"), bind);
            assert_eq!(had("[::]:16464").expect("IPv4 is there"), "0.0.0.0:16464");
            assert!(
                had("[::1]:16464").is_err(),
                "one address that was asked for by name is no other"
            );
        }
        let in_use = |_| Err::<(), _>(io::Error::from(Errno::ADDRINUSE));
        assert!(first_that_is_had("[::]:1".parse().expect("an address"), in_use).is_err());
    }
}
